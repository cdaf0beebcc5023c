"""A patch drawn live on everybody in the frame, in a way that does not flicker when the detector misses somebody."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from physadv.boxes import iou
from physadv.patch import Patch
from physadv.simulate.fast_render import fast_render
from physadv.simulate.placement import Placement, people_of, wears
from physadv.types import Detections, Float32Array, UInt8Array

# A shirt does not flicker: a person that the detector misses keeps the last placement for so many seconds.
HOLD_S = 0.27
# Frames that come without their time count as those of a usual camera.
USUAL_STEP_S = 1 / 30
SAME_PERSON_IOU = 0.3
# Paper in a dim room is not white: the patch is dimmed where even the brightest 5 % of the person (skin, a collar) stay
# below this value. Light and the colour of cloth cannot be separated in one frame, so it never goes far.
LIT_VALUE = 200.0
DIMMEST = 0.7


@dataclass(slots=True)
class _Person:
    xyxy: Float32Array
    keypoints: Float32Array | None
    seen_s: float
    missed: int = 0


class Overlay:
    """Draws one patch on everybody, frame after frame.

    Placement comes from people found in the clean frame, before the patch is on: found in the changed frame, a patch that
    works would hide its own place. Someone missed for up to `HOLD_S` seconds, and in any case for one frame, keeps the last
    place, moved nowhere; a patch is therefore shown where a person was, for a quarter of a second, and a recording shows
    this too. `reset` after a cut ends that at once.

    on: boxes (n, 4) of those who wear the patch in the last frame; found: (n,) which of them were found in it, and not just
    held at their last place.
    """

    def __init__(self, patch: Patch, *, size_cm: float | None = None) -> None:
        """size_cm: the printed width, or None for the patch's own; the height follows in proportion."""
        width, height = patch.size_mm
        scale = 1.0 if size_cm is None else size_cm * 10 / width
        self.patch = patch
        self.size_cm = (width * scale / 10, height * scale / 10)
        self.placement = Placement.worn(patch, self.size_cm)
        self._people: list[_Person] = []
        self._now_s = 0.0
        self.on = np.zeros((0, 4), np.float32)
        self.found = np.zeros(0, bool)

    def reset(self) -> None:
        """Forget everybody: after a cut, a new source, a switch."""
        self._people = []

    def apply(self, pixels: UInt8Array, clean: Detections, *, at_s: float | None = None) -> UInt8Array:
        """Return a copy of the (h, w, 3) uint8 RGB frame with the patch on each person of `clean` who `wears` it.

        clean: people found in these same pixels. at_s: when they were filmed, in seconds; without it, a thirtieth of a
        second after those before.
        """
        self._now_s = self._now_s + USUAL_STEP_S if at_s is None else at_s
        self._follow(clean.pick(wears(clean)))
        self.on = np.array([p.xyxy for p in self._people], np.float32).reshape(-1, 4)
        self.found = np.array([not p.missed for p in self._people], bool)
        points = [np.zeros((17, 3), np.float32) if p.keypoints is None else p.keypoints for p in self._people]
        prints = self.placement.prints(people_of(self.on, np.array(points, np.float32).reshape(-1, 17, 3)))
        light = np.array([_light(pixels, box) for box in self.on], np.float32)
        return fast_render(pixels, self.patch, replace(prints, light=light[prints.person]))

    def _follow(self, people: Detections) -> None:
        """Match people to those of the frame before; keep the unmatched for a while."""
        fresh = [
            _Person(people.xyxy[i], None if people.keypoints is None else people.keypoints[i], self._now_s)
            for i in range(len(people))
        ]
        before = np.array([p.xyxy for p in self._people], np.float32).reshape(-1, 4)
        again = iou(before, people.xyxy).max(1, initial=0) > SAME_PERSON_IOU
        missed = [person for person, found in zip(self._people, again.tolist(), strict=True) if not found]
        if fresh and len(missed) == len(self._people):
            # Nobody stands where anybody stood: they have all moved on, or it is another scene.
            missed = []
        for old in missed:
            if not old.missed or abs(self._now_s - old.seen_s) <= HOLD_S:
                old.missed += 1
                fresh.append(old)
        self._people = fresh


def _light(pixels: UInt8Array, xyxy: Float32Array) -> float:
    """Return the factor in [DIMMEST, 1] that carries the person's light to the patch."""
    x1, y1, x2, y2 = (max(int(v), 0) for v in xyxy)
    person = pixels[y1 : y2 + 1 : 4, x1 : x2 + 1 : 4]
    if not person.size:
        return 1.0
    return float(np.clip(np.percentile(person.max(2), 95) / LIT_VALUE, DIMMEST, 1.0))
