"""`physadv replay`: a recording shown with its boxes, as it was seen then."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from physadv.address import masked
from physadv.cli import base
from physadv.cli.terminal import say
from physadv.errors import SettingsError
from physadv.live.demo import Demo
from physadv.live.session import Session
from physadv.live.settings import Controls, LiveSettings
from physadv.types import Source
from physadv.web.serve import PageServer


class Command(base.Command):
    """Show a recording with its boxes on the page, at its own speed; nothing is detected anew."""

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
            while time.monotonic() < end and not demo.wait(0.2):
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
        source = session.source(loop=loop)
        super().__init__(LiveSettings(source=str(session.paths.first), conf=0.05), source=source, detector=source)

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
