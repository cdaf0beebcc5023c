"""`physadv replay`: a recording shown with its boxes, as it was seen then."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import Field

from physadv.cli.terminal import say
from physadv.live.settings import PageSettings
from physadv.settings import Positional, Seconds

EXAMPLES = ("physadv replay recordings",)


class ReplayVerb(PageSettings):
    """A recording, and where it is shown."""

    session: Positional[Path] = Field(description="any file of the recording, or the folder it is in")
    loop: int = Field(default=0, ge=0, description="play it this many times; 0 for ever")
    seconds: Seconds | None = Field(
        default=None, gt=0, description="end after this many seconds; without it with `loop` or Ctrl-C"
    )


def run(settings: ReplayVerb) -> int:
    """Show a recording with its boxes on the page: pause, steps, any moment, any speed; nothing is detected anew."""
    from physadv.live.replay import Replay
    from physadv.live.session import Session
    from physadv.web.serve import Listener, PageServer

    session = Session(settings.session)
    listener = Listener(host=settings.host, port=settings.port, token=settings.token)
    demo = Replay(session, loop=settings.loop)
    server = PageServer(listener, demo)
    end = time.monotonic() + settings.seconds if settings.seconds is not None else float("inf")
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
