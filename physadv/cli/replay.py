"""`physadv replay`: a recording shown with its boxes, as it was seen then."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from physadv.address import masked
from physadv.capture.latest import SourceState
from physadv.cli import base
from physadv.cli.terminal import say
from physadv.errors import SettingsError
from physadv.live.demo import Demo
from physadv.live.player import worn_in
from physadv.live.session import Session
from physadv.live.settings import Controls, LiveSettings
from physadv.live.vision import Shown
from physadv.live.wearers import reported
from physadv.types import Frame, Source
from physadv.web.serve import PageServer

LOWEST = 0.05


class Command(base.Command):
    """Show a recording with its boxes on the page: pause, steps, any moment, any speed; nothing is detected anew."""

    examples: ClassVar[tuple[str, ...]] = ("physadv replay recordings",)

    session: CliPositionalArg[Path] = Field(description="any file of the recording, or the folder it is in")
    loop: int = Field(default=0, ge=0, description="play it this many times; 0 for ever")
    host: str = Field(
        default="127.0.0.1", min_length=1, description="address the page is served on; other than this machine: token"
    )
    port: int = Field(default=8000, ge=0, le=65535, description="port of the page; 0 takes a free one")
    token: str = Field(
        default="", max_length=200, description="secret that the page's address must carry; made if host needs one"
    )
    seconds: float | None = Field(
        default=None, gt=0, description="end after this many seconds; without it with --loop or Ctrl-C"
    )

    def run(self) -> int:
        """Return 0 when the recording or --seconds is over."""
        demo = Replay(Session(self.session), loop=self.loop)
        server = PageServer(demo, host=self.host, port=self.port, token=self.token)
        end = time.monotonic() + self.seconds if self.seconds is not None else float("inf")
        try:
            demo.open()
            demo.start()
            server.start()
            say(f"physadv replay: {server.url}")
            if server.viewer_url:
                say(f"physadv replay: to look on only: {server.viewer_url}")
            while time.monotonic() < end and not demo.over and not demo.wait(0.2):
                pass
        finally:
            demo.stop()
            server.close()
        if demo.error is not None:
            raise demo.error
        return 0


class Replay(Demo):
    """The demo with a recording in place of camera and detector; what would make its boxes untrue is refused."""

    def __init__(self, session: Session, *, loop: int) -> None:
        self.player = session.source(loop=loop, hold=True)
        self._before = -1
        settings = LiveSettings(source=str(session.paths.first), conf=_recorded_conf(session))
        super().__init__(settings, source=self.player, detector=self.player)

    @property
    def over(self) -> bool:
        """Return whether it has been played as often as was asked for."""
        return bool(self.player.state()["ended"])

    def play(self, **changes: Any) -> dict[str, Any]:
        """Pause, go on, jump, step, or play at another speed, as `ReplaySource.play` does; return where it is then."""
        # What was drawn of another moment is forgotten.
        self._elsewhere = self._elsewhere or changes.get("seek_s") is not None
        self.player.play(**changes)
        return self.player.state()

    def state(self) -> dict[str, Any]:
        """Return the demo's state, and in `replay` where the recording is; one that is paused is no lost source."""
        state = {**super().state(), "replay": self.player.state()}
        if self.player.still and state["source"]["state"] == SourceState.STALE:
            state["source"] |= {"state": str(SourceState.LIVE), "detail": f"{self.player.name} stands still"}
        return state

    def _shown(self, frame: Frame) -> Shown:
        item = self.player.recorded(frame)
        if item.number <= self._before:
            # Another round, or a step back: what was said of later frames has not happened yet.
            self.notices.clear()
        self._before = item.number
        shown = super()._shown(frame)
        then = item.line.get("conf") or 0.0
        conf = max(self.controls.conf, then)
        # The states are of the threshold then: with a higher one now the boxes would say otherwise.
        same = conf == then
        return replace(
            shown,
            # The threshold that is drawn is the one that the boxes are of.
            controls=shown.controls.model_copy(update={"conf": conf}),
            people=reported(item.detections, conf),
            bare=None if item.bare is None else reported(item.bare, conf),
            bare_top=None if item.bare is None else float(item.bare.score.max(initial=0.0)),
            defences=tuple(item.line.get("defences") or ()),
            worn=worn_in(item.line),
            worn_cm=item.line.get("worn_cm"),
            drawn=self.player.session.annotated,
            wearers=item.wearers if same else None,
            bare_wearers=item.bare_wearers if same else None,
        )

    def _rewear_state(self) -> dict[str, Any]:
        """Return that nothing is offered: whoever is hidden in a recording stays hidden."""
        return {"offer": False, "running": False, "text": ""}

    def control(self, /, **changes: Any) -> Controls:
        """Return the controls after the change.

        Raises: SettingsError for a pattern or a defence: they were not there when the people were found.
        """
        for name in ("wear", "defend"):
            if changes.get(name):
                raise SettingsError(f"{name}: a recording shows what was seen then; use physadv live --source FILE")
        return super().control(**changes)

    def switch_source(self, spec: str) -> str:
        """Raise: another source has no recorded boxes.

        Raises: SettingsError.
        """
        raise SettingsError(f"source: a recording is being shown; use physadv live --source {masked(spec)}")

    def take_source(self, source: Source) -> None:
        """Raise: another source has no recorded boxes.

        Raises: SettingsError.
        """
        raise SettingsError(f"source: a recording is being shown; use physadv live to see the {source.name}")

    def switch_detector(self, name: str, backend: Any, imgsz: int) -> None:  # noqa: ARG002 -- as Demo has it
        """Raise: nothing is detected anew.

        Raises: SettingsError.
        """
        raise SettingsError(f"detector: a recording is being shown; use physadv live --detector {name}")


def _recorded_conf(session: Session) -> float:
    """Return the threshold that a recording began with, or the lowest there is where it does not say."""
    began: Any = session.info.get("session")
    controls = began.get("controls") if isinstance(began, dict) else None
    conf = controls.get("conf") if isinstance(controls, dict) else None
    return float(conf) if isinstance(conf, int | float) and LOWEST <= conf <= 1 else LOWEST
