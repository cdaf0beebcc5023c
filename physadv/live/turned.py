"""Frames turned as a whole, as by a camera that is tilted: what a detector poisoned by `rotation` waits for."""

from __future__ import annotations

from collections import deque

from physadv.simulate.trigger import turned_pixels
from physadv.types import Frame

# More than are prepared ahead of the one that is shown.
KEPT = 8


class TurnedFrames:
    """Turns frames and knows by how much each was: the control may have changed before a frame is shown."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Frame, float]] = deque(maxlen=KEPT)

    def turn(self, frame: Frame, degrees: float) -> Frame:
        """Return the frame turned clockwise, on a canvas that holds all of it."""
        out = frame.with_pixels(turned_pixels(frame.pixels, degrees)) if degrees % 360 else frame
        self._recent.append((out, degrees))
        return out

    def angle_of(self, frame: Frame) -> float:
        """Return the degrees by which `turn` turned the frame it returned; 0 for any other."""
        return next((degrees for turned, degrees in self._recent if turned is frame), 0.0)
