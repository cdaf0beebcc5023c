"""The frames of one window on their way from the demo into its recording."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from physadv.live.recorder import Recorder, info_of
from physadv.live.shown import Shown
from physadv.types import UInt8Array

# Every so many pixels are looked at for light and for a picture that stands still.
STRIDE = 8
# From this share of images that repeat the one before a camera is taken to stand still.
STILL = 0.5
# Share of an image's width and height that counts as its rim.
RIM = 0.125


def rim(pixels: UInt8Array) -> UInt8Array:
    """Return (n, 3) pixels of an image's left, right and upper rim.

    What lights the scene shows there too, and no print does: over the whole image of somebody near, the medians of a print
    alone differ by more than an exposure that somebody should doubt.
    """
    height, width = pixels.shape[:2]
    x, y = max(round(width * RIM), 1), max(round(height * RIM), 1)
    return np.concatenate([part.reshape(-1, 3) for part in (pixels[:, :x], pixels[:, -x:], pixels[:y])])


class WindowTaking:
    """Takes the frames of one window from the demo, on its thread, and records what the detector was given.

    worn: the pattern that software puts on, "" for none. done: set with the first frame after the window, or when it
    failed; `failed` then says why.
    """

    def __init__(self, recorder: Recorder, *, length_s: float, worn: str, first: int | None) -> None:
        """first: the number of a file's first frame; None for a camera, whose frames count from now on."""
        self.done = threading.Event()
        self.failed = ""
        self.frames = self.repeated = 0
        self.heard = time.monotonic()
        self._recorder, self._length_s, self._worn, self._first = recorder, length_s, worn, first
        self._from_ns = time.monotonic_ns()
        self._start_s: float | None = None
        self._light: list[Any] = []
        self._last: UInt8Array | None = None
        self._in_view = not worn

    def __call__(self, shown: Shown) -> None:
        """Take a frame."""
        if self.done.is_set() or not self._begun(shown):
            return
        self.heard = time.monotonic()
        if self._start_s is None:
            self._start_s = shown.frame.pts_s
        at_s = shown.frame.pts_s - self._start_s
        if at_s >= self._length_s - 1e-6 or at_s < 0:
            self.failed = "the source began anew" if at_s < 0 else ""
            self.done.set()
            return
        if shown.worn != self._worn:
            self.failed = f"{shown.worn or 'nothing'} was put on in place of {self._worn or 'nothing'}"
            self.done.set()
            return
        pixels = shown.frame.pixels[::STRIDE, ::STRIDE]
        self._in_view = self._in_view or not np.array_equal(pixels, shown.clean.pixels[::STRIDE, ::STRIDE])
        self._light.append(np.median(rim(pixels), axis=0))
        self.repeated += self._last is not None and np.array_equal(self._last, pixels)
        self._last = pixels
        # What was given, a pattern that software put on included: scored again, the untouched video must show it.
        taken = self._recorder.write(
            shown.frame, lambda: shown.annotated, shown.people, info_of(shown), wait=self._first is not None
        )
        self.frames += taken
        if self._recorder.error:
            self.done.set()

    def _begun(self, shown: Shown) -> bool:
        if self._first is not None:
            return shown.frame.index >= self._first
        return shown.frame.captured_ns >= self._from_ns

    @property
    def light(self) -> tuple[float, float, float]:
        """Return the medians of red, green and blue of the rim, over the window."""
        red, green, blue = (round(float(v), 2) for v in np.median(self._light, axis=0)) if self._light else (0.0,) * 3
        return red, green, blue

    def fault(self) -> str:
        """Return what is wrong with a window that was recorded to its end, "" for nothing."""
        if self.failed:
            return self.failed
        if self.frames < 2:
            return f"the source gave fewer than two images in its {self._length_s:g} s"
        if self._first is None and self.repeated > STILL * self.frames:
            return "the camera stood still"
        if not self._in_view:
            # A face that fills the image has no chest: the arm would count as one in which the print does nothing.
            return "the print that software puts on is nowhere in the image: there is nobody, or no chest, to put it on"
        return ""
