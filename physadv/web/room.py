"""What every part of the page shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastapi.responses import FileResponse

from physadv.live.demo import Demo
from physadv.live.wardrobe import Wardrobe

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Room:
    """The running demo, or None where a page is served without one (a pattern shown at true size).

    desk: the calibration a command has begun (`calibrate.Desk`), or None: the page then has one of its own.
    wardrobe: patterns to print and show where there is no demo to have them from; None means those that are shipped.
    """

    demo: Demo | None = None
    desk: object = None
    wardrobe: Wardrobe | None = None

    @property
    def live(self) -> Demo:
        """Return the demo, for parts that are only there with one.

        Raises: RuntimeError if there is none, which `app.build_app` rules out.
        """
        if self.demo is None:
            raise RuntimeError("this part of the page needs a running demo")
        return self.demo

    def patterns(self) -> Wardrobe:
        """Return the patterns that can be worn, printed and shown."""
        if self.demo is not None:
            return self.demo.wardrobe
        return self.wardrobe or Wardrobe([])


def page(name: str) -> FileResponse:
    """Return a file of `static/` as an answer: what a router's own page is sent with."""
    return FileResponse(STATIC / name)
