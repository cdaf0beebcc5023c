"""A patch drawn live on everybody in the frame, in a way that does not flicker when the detector misses somebody."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from physadv.boxes import iou
from physadv.patch import Patch
from physadv.simulate.fast_render import fast_render
from physadv.simulate.lit import Lit, lit_of
from physadv.simulate.placement import Placement, Prints, people_of, sure_people, wears
from physadv.simulate.trigger import folded_prints, turned_prints
from physadv.types import Detections, Float32Array, UInt8Array

# A shirt does not flicker: a person that the detector misses keeps the last placement for so many seconds.
HOLD_S = 0.27
# Frames that come without their time count as those of a usual camera.
USUAL_STEP_S = 1 / 30
SAME_PERSON_IOU = 0.3
# How the cloth on somebody is lit is read anew so often, and followed within so many seconds: what is read of each frame by
# itself flickers, and takes half as long as all the rest.
READ_S, FOLLOW_S = 0.1, 0.3


@dataclass(slots=True)
class _Person:
    xyxy: Float32Array
    keypoints: Float32Array | None
    seen_s: float
    missed: int = 0
    lit: Lit | None = None
    read_s: float = 0.0


class Overlay:
    """Draws one patch on everybody, frame after frame.

    Placement comes from people found in the clean frame, before the patch is on: found in the changed frame, a patch that
    works would hide its own place. Someone missed for up to `HOLD_S` seconds, and in any case for one frame, keeps the last
    place, moved nowhere; a patch is therefore shown where a person was, for a quarter of a second, and a recording shows
    this too. `reset` after a cut ends that at once.

    on: boxes (n, 4) of those who wear the patch in the last frame; found: (n,) which of them were found in it, and not just
    held at their last place. unworn: how many people in it are surely there, but show no chest to wear it on.
    """

    def __init__(
        self, patch: Patch, *, size_cm: float | None = None, angle: float = 0.0, fold: float = 0.0, lit: bool = True
    ) -> None:
        """size_cm: the printed width, or None for the patch's own; the height follows in proportion.

        angle: degrees by which the print is turned, clockwise as the viewer sees it. fold: share of its width that is
        folded away, at its right above 0, at its left below.

        lit: whether the print takes light, blur and noise of the cloth under it; otherwise it is flat.
        """
        width, height = patch.size_mm
        scale = 1.0 if size_cm is None else size_cm * 10 / width
        self.patch, self.angle, self.fold, self.lit = patch, angle, fold, lit
        self.size_cm = (width * scale / 10, height * scale / 10)
        self.placement = Placement.worn(patch, self.size_cm)
        self._people: list[_Person] = []
        self._now_s = 0.0
        self.on = np.zeros((0, 4), np.float32)
        self.found = np.zeros(0, bool)
        self.unworn = 0

    def reset(self) -> None:
        """Forget everybody: after a cut, a new source, a switch."""
        self._people = []

    def apply(self, pixels: UInt8Array, clean: Detections, *, at_s: float | None = None) -> UInt8Array:
        """Return a copy of the (h, w, 3) uint8 RGB frame with the patch on each person of `clean` who `wears` it.

        clean: people found in these same pixels. at_s: when they were filmed, in seconds; without it, a thirtieth of a
        second after those before.
        """
        self._now_s = self._now_s + USUAL_STEP_S if at_s is None else at_s
        size = (pixels.shape[1], pixels.shape[0])
        wearers = wears(clean, size)
        self.unworn = int((sure_people(clean) & ~wearers).sum())
        self._follow(clean.pick(wearers))
        self.on = np.array([p.xyxy for p in self._people], np.float32).reshape(-1, 4)
        self.found = np.array([not p.missed for p in self._people], bool)
        points = [np.zeros((17, 3), np.float32) if p.keypoints is None else p.keypoints for p in self._people]
        there = people_of(self.on, np.array(points, np.float32).reshape(-1, 17, 3))
        prints = self.placement.prints(there, image=size)
        if self.angle:
            prints = turned_prints(prints, self.angle, aspect=self.placement.aspect)
        if self.fold:
            prints = folded_prints(prints, self.fold)
        return fast_render(pixels, self.patch, prints, self._read(pixels, prints) if self.lit else {})

    def _read(self, pixels: UInt8Array, prints: Prints) -> dict[int, Lit]:
        """Return how the cloth on each person is lit, read from the frame where it is time."""
        people = enumerate(self._people)
        due = [i for i, p in people if p.lit is None or not 0 <= self._now_s - p.read_s < READ_S]
        for i, now in lit_of(pixels, self.on, prints, due).items():
            person = self._people[i]
            weight = 1 - math.exp(-abs(self._now_s - person.read_s) / FOLLOW_S)
            person.lit = now if person.lit is None else person.lit.towards(now, weight)
            person.read_s = self._now_s
        return {i: person.lit for i, person in enumerate(self._people) if person.lit is not None}

    def _follow(self, people: Detections) -> None:
        """Match people to those of the frame before; keep the unmatched for a while."""
        fresh = [
            _Person(people.xyxy[i], None if people.keypoints is None else people.keypoints[i], self._now_s)
            for i in range(len(people))
        ]
        before = np.array([p.xyxy for p in self._people], np.float32).reshape(-1, 4)
        overlap = iou(before, people.xyxy)
        again = overlap.max(1, initial=0) > SAME_PERSON_IOU
        if len(before):
            for person, same, known in zip(fresh, overlap.max(0), overlap.argmax(0), strict=True):
                if same > SAME_PERSON_IOU:
                    person.lit, person.read_s = self._people[known].lit, self._people[known].read_s
        missed = [person for person, found in zip(self._people, again.tolist(), strict=True) if not found]
        if fresh and len(missed) == len(self._people):
            # Nobody stands where anybody stood: they have all moved on, or it is another scene.
            missed = []
        for old in missed:
            if not old.missed or abs(self._now_s - old.seen_s) <= HOLD_S:
                old.missed += 1
                fresh.append(old)
        self._people = fresh
