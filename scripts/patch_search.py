"""A search for a patch that hides a certified person: if it ever finds one, the certificate is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from physadv.boxes import covered_by
from physadv.defend.certify import bears
from physadv.defend.masks import PatchSize, hide, positions_hidden, region
from physadv.defend.objectseeker import ObjectSeeker
from physadv.defend.rolling import in_batches
from physadv.detect.base import WrappedDetector
from physadv.types import BoolArray, Detections, Detector, Float32Array, Frame, Int64Array, UInt8Array

# Places drawn, of which the one that fewest masks hide is tried.
PLACES_DRAWN = 16


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one certified person. tries: patches. fooled: the bare detector lost the person to one of them.

    hidden: the defended detector did, which a correct certificate rules out.
    """

    name: str
    tries: int
    fooled: bool
    hidden: bool


def search(
    detector: Detector,
    defence: ObjectSeeker,
    image: UInt8Array,
    people: Float32Array,
    rng: np.random.Generator,
    *,
    tries: int,
    starts: Sequence[UInt8Array] = (),
    name: str = "",
    min_area: float = 0.02,
) -> list[Attempt]:
    """Return one attempt for each certified person of an image.

    Half the patches are drawn anew (noise, stripes, checks, flat colours, pieces of the image, and `starts`: images of
    patterns made by other means, brought to the patch's size) at a new place of the location class that the defence
    certifies, every other time where few of the masks that bear the person hide it; the other half changes the patch that
    so far lowers the bare detector's score for the person most. The
    defended detector is asked about every patch that hides the person from the bare one, and about every tenth of the
    others; it looks at all masked views each time, except that pixels seen before get the answer they got before.

    Raises: DefenceError if the image is too small for the masks.
    """
    height, width = image.shape[:2]
    share = (people[:, 2:] - people[:, :2]).clip(0).prod(1) / (width * height)
    people = people[share > min_area]
    masks = defence.masks(width, height)
    known = _Remembering(detector, [hide(image, m[None]) for m in masks])
    guard = defence.model_copy(update={"per_frame": 0}).guard(known)
    views = [a.xyxy[a.score >= defence.conf] for a in known.answers]
    sure = defence.certify(people, views, masks, (width, height))
    out = []
    for person in people[sure]:
        good = np.array([bears(person[None], v, defence.still)[0] for v in views], bool)
        out.append(_attempt(detector, guard, defence, image, person, masks[good], rng, tries, starts, name))
    return out


class _Remembering(WrappedDetector):
    """A detector that is not asked again about images it was shown first: views whose mask hides the whole patch."""

    def __init__(self, inner: Detector, images: Sequence[UInt8Array]) -> None:
        super().__init__(inner)
        self.answers = in_batches(inner, images)
        self._known = dict(zip((_key(p) for p in images), self.answers, strict=True))

    def detect(self, frame: Frame) -> Detections:
        return self.detect_batch([frame.pixels])[0]

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        keys = [_key(image) for image in images]
        new = [image for image, key in zip(images, keys, strict=True) if key not in self._known]
        answers = iter(self.inner.detect_batch(new))
        return [self._known[key] if key in self._known else next(answers) for key in keys]


def _key(image: UInt8Array) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


def _attempt(
    detector: Detector,
    guard: Detector,
    defence: ObjectSeeker,
    image: UInt8Array,
    person: Float32Array,
    masks: Int64Array,
    rng: np.random.Generator,
    tries: int,
    starts: Sequence[UInt8Array],
    name: str,
) -> Attempt:
    size = defence.patch_for(image.shape[1], image.shape[0], person)
    covers = positions_hidden(masks, size, image.shape[1], image.shape[0])
    lowest, fooled = np.inf, False
    patch, at = _drawn(image, size, starts, rng), _place(image, person, size, defence, covers, rng)
    best = patch, at
    for i in range(tries):
        if i % 2 == 0:
            patch, at = _drawn(image, size, starts, rng), _place(image, person, size, defence, covers, rng)
        else:
            patch, at = _changed(best[0], rng), best[1]
        worn = image.copy()
        spot = worn[max(at[1], 0) : at[1] + size.height, max(at[0], 0) : at[0] + size.width]
        spot[:] = patch[max(-at[1], 0) :, max(-at[0], 0) :][: spot.shape[0], : spot.shape[1]]
        found = detector.detect_batch([worn])[0]
        seen = found.pick(_on(person, found.xyxy))
        score = float(seen.score.max()) if len(seen) else 0.0
        lost = score < defence.whole_conf
        fooled |= lost
        if score < lowest:
            lowest, best = score, (patch, at)
        if lost or i % 10 == 0:
            defended = guard.detect_batch([worn])[0].above(defence.conf)
            if covered_by(person[None], defended.xyxy)[0] < defence.still:
                return Attempt(name, i + 1, fooled, True)
    return Attempt(name, tries, fooled, False)


def _on(person: Float32Array, boxes: Float32Array) -> BoolArray:
    """Return which boxes cover a fifth of the person or more."""
    return np.array([covered_by(person[None], b[None])[0] >= 0.2 for b in boxes], bool)


def _place(
    image: UInt8Array,
    person: Float32Array,
    size: PatchSize,
    defence: ObjectSeeker,
    covers: Int64Array,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Return a corner in the certified location class: every other time the least covered of a few.

    covers: the positions that each mask hides which bears the person; where few overlap, the certificate is thinnest.
    """
    drawn = [_somewhere(image, person, size, defence, rng) for _ in range(PLACES_DRAWN if rng.random() < 0.5 else 1)]
    return min(drawn, key=lambda at: int(((covers[:, :2] <= at) & (at < covers[:, 2:])).all(1).sum()))


def _somewhere(
    image: UInt8Array, person: Float32Array, size: PatchSize, defence: ObjectSeeker, rng: np.random.Generator
) -> tuple[int, int]:
    """Return a corner in the certified location class, sticking out included; mostly on the person if that is in it."""
    frame = (image.shape[1], image.shape[0])
    whole, without = region(person, size, *frame, defence.where)
    if defence.where == "anywhere" and rng.random() < 2 / 3:
        whole, _ = region(person, size, *frame, "over")
    while True:
        x, y = rng.integers(whole[:2], whole[2:])
        if without is None or not (without[0] <= x < without[2] and without[1] <= y < without[3]):
            return int(x), int(y)


def _drawn(image: UInt8Array, size: PatchSize, starts: Sequence[UInt8Array], rng: np.random.Generator) -> UInt8Array:
    width, height = size.width, size.height
    if starts and rng.random() < 0.5:
        start = starts[int(rng.integers(len(starts)))]
        return np.asarray(cv2.resize(start, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    kind = rng.integers(5)
    out: npt.NDArray[Any]
    if kind == 0:
        out = rng.integers(0, 256, (height, width, 3))
    elif kind == 1:
        out = np.broadcast_to(rng.integers(0, 256, 3), (height, width, 3))
    elif kind == 2:
        y, x = np.mgrid[:height, :width]
        phase = (x * rng.normal() + y * rng.normal())[..., None] * rng.uniform(0.1, 1.5) + rng.uniform(0, 6, 3)
        out = 127.5 + 127.5 * np.sin(phase)
    elif kind == 3:
        cells = rng.integers(0, 256, (int(rng.integers(2, 9)), int(rng.integers(2, 9)), 3), np.uint8)
        out = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
    else:
        x, y = rng.integers(0, image.shape[1] - width + 1), rng.integers(0, image.shape[0] - height + 1)
        out = image[y : y + height, x : x + width][:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return np.ascontiguousarray(out).astype(np.uint8)


def _changed(patch: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return the patch with a smooth random field added, strong in a random part of it."""
    cells = rng.normal(0, 60, (int(rng.integers(2, 8)), int(rng.integers(2, 8)), 3)).astype(np.float32)
    field = cv2.resize(cells, (patch.shape[1], patch.shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(patch.astype(np.float32) + field, 0, 255).astype(np.uint8)
