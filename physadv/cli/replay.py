"""`physadv replay`: a recording shown with its boxes, as it was seen then."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from physadv.cli import base
from physadv.cli.terminal import say
from physadv.live.replay import Replay
from physadv.live.session import Session
from physadv.web.serve import Listener, PageServer


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
        session = Session(self.session)
        listener = Listener(host=self.host, port=self.port, token=self.token)
        demo = Replay(session, loop=self.loop)
        server = PageServer(listener, demo)
        end = time.monotonic() + self.seconds if self.seconds is not None else float("inf")
        try:
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
