"""Frames moved as a whole: turned as by a camera that is tilted, or made smaller as by one that is farther away."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from physadv.simulate.trigger import AROUND, turned_pixels
from physadv.types import Frame, UInt8Array

# More than are prepared ahead of the one that is shown.
KEPT = 8


class Move(NamedTuple):
    """What a frame was subjected to. turned: degrees clockwise. farther: how many times as far away, 1 as it came."""

    turned: float = 0.0
    farther: float = 1.0


class MovedFrames:
    """Moves frames and knows how each was moved: the controls may have changed before a frame is shown."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Frame, Move]] = deque(maxlen=KEPT)

    def move(self, frame: Frame, move: Move) -> Frame:
        """Return the frame turned, on a canvas that holds all of it, then made smaller on one of the same size."""
        pixels = farther_pixels(turned_pixels(frame.pixels, move.turned), move.farther)
        out = frame if pixels is frame.pixels else frame.with_pixels(pixels)
        self._recent.append((out, move))
        return out

    def of(self, frame: Frame) -> Move:
        """Return how `move` moved the frame it returned; not at all for any other."""
        return next((move for moved, move in self._recent if moved is frame), Move())


def farther_pixels(pixels: UInt8Array, times: float) -> UInt8Array:
    """Return pixels (h, w, 3) uint8 `times` smaller in the middle of a canvas of their own size, 1 or more."""
    if times <= 1:
        return pixels
    height, width = pixels.shape[:2]
    size = max(round(width / times), 1), max(round(height / times), 1)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    out = np.empty_like(pixels)
    out[:] = AROUND
    out[top : top + size[1], left : left + size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return out
