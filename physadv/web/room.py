"""What every part of the page shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastapi.responses import FileResponse

from physadv.live.demo import Demo

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Room:
    """The running demo, or None where a page is served without one (a pattern shown at true size)."""

    demo: Demo | None = None

    @property
    def live(self) -> Demo:
        """Return the demo, for parts that are only there with one.

        Raises: RuntimeError if there is none, which `app.build_app` rules out.
        """
        if self.demo is None:
            raise RuntimeError("this part of the page needs a running demo")
        return self.demo


def page(name: str) -> FileResponse:
    """Return a file of `static/` as an answer: what a router's own page is sent with."""
    return FileResponse(STATIC / name)
