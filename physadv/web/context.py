"""What every part of the page shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from fastapi import WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

from physadv.errors import SettingsError
from physadv.live.library import PatchLibrary
from physadv.web.decoder import Decoder

if TYPE_CHECKING:
    # A page without a demo loads none of them.
    from physadv.live.camera_demo import CameraDemo
    from physadv.live.demo import Demo
    from physadv.live.replay import Replay
    from physadv.trial.run import TrialRun

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class PageContext:
    """The running demo, or None where a page is served without one (a pattern shown at true size).

    calibration: the one that a command has begun (`calibrate.Calibration`), or None: the page then has one of its own.
    trial: the one that is run, whose page then is the only one, or None.
    library: patterns to print and show where there is no demo to have them from; None means those that are shipped.
    viewer_token: what a read-only link carries, or "" where there are none. address: by which others in the network reach
    the page, or "" where only this machine does, or it is known by one address alone. decoder: of what visitors send in.
    """

    demo: Demo | None = None
    calibration: object = None
    trial: TrialRun | None = None
    library: PatchLibrary | None = None
    viewer_token: str = ""
    address: str = ""
    decoder: Decoder = field(default_factory=Decoder)

    @property
    def live(self) -> Demo:
        """Return the demo, for parts that are only there with one.

        Raises: RuntimeError if there is none, which `app.build_app` rules out.
        """
        if self.demo is None:
            raise RuntimeError("this part of the page needs a running demo")
        return self.demo

    @property
    def camera(self) -> CameraDemo:
        """Return the demo, for what a recording cannot do: other sources, detectors, defences.

        Raises: SettingsError if a recording is shown.
        """
        if self.live.recorded:
            raise SettingsError("a recording is being shown", hint="use `physadv live`")
        return cast("CameraDemo", self.live)

    @property
    def replay(self) -> Replay:
        """Return the demo, for what only a recording can do: pause, step, jump.

        Raises: SettingsError if it is live.
        """
        if not self.live.recorded:
            raise SettingsError("this demo is live", hint="play a recording with `physadv replay FILE`")
        return cast("Replay", self.live)

    def detectors(self) -> list[dict[str, Any]]:
        """Return the detectors that can be chosen, as `DetectorLibrary.described`; none where a recording is shown."""
        return [] if self.live.recorded else self.camera.detectors.described()

    def patterns(self) -> PatchLibrary:
        """Return the patterns that can be worn, printed and shown."""
        if self.demo is not None:
            return self.demo.library
        return self.library or PatchLibrary([])


def page(name: str) -> FileResponse:
    """Return a file of `static/` as an answer: what a router's own page is sent with."""
    return FileResponse(STATIC / name)


async def received(socket: WebSocket, kind: Literal["text", "bytes"]) -> Any:
    """Return the next message of a web socket: str or bytes.

    Raises: SettingsError for a message of the other kind. WebSocketDisconnect once the client has left.
    """
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    value = message.get(kind)
    if value is None:
        other = "bytes" if kind == "text" else "text"
        raise SettingsError(f"expected messages of {kind} on this socket, got {other}")
    return value
