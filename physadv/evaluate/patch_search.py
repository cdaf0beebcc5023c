"""A search for a patch that hides a certified person: if it ever finds one, the certificate is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from physadv.defend.certify import covered_by
from physadv.defend.masks import hide
from physadv.defend.objectseeker import ObjectSeeker
from physadv.defend.rolling import in_batches
from physadv.types import BoolArray, Detector, Float32Array, UInt8Array


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
    picture: UInt8Array,
    people: Float32Array,
    rng: np.random.Generator,
    *,
    tries: int,
    name: str = "",
    min_area: float = 0.02,
) -> list[Attempt]:
    """Return one attempt for each certified person of a picture.

    Half the patches are drawn anew (noise, stripes, checks, flat colours, pieces of the picture) at a new place; the other
    half changes the patch that so far lowers the bare detector's score for the person most. The defended detector is asked
    about every patch that hides the person from the bare one, and about every tenth of the others.

    Raises: DefenceError if the picture is too small for the masks.
    """
    height, width = picture.shape[:2]
    share = (people[:, 2:] - people[:, :2]).clip(0).prod(1) / (width * height)
    people = people[share >= min_area]
    guard = defence.model_copy(update={"per_frame": 0}).guard(detector)
    masks = defence.masks(width, height)
    answers = in_batches(detector, [hide(picture, m[None]) for m in masks])
    sure = defence.certify(people, [a.xyxy[a.score >= defence.conf] for a in answers], masks, (width, height))
    return [_attempt(detector, guard, defence, picture, p, rng, tries, name) for p in people[sure]]


def _attempt(
    detector: Detector,
    guard: Detector,
    defence: ObjectSeeker,
    picture: UInt8Array,
    person: Float32Array,
    rng: np.random.Generator,
    tries: int,
    name: str,
) -> Attempt:
    size = defence.patch_for(picture.shape[1], picture.shape[0], person)
    best, fooled = (
        (np.inf, _drawn(picture, size.width, size.height, rng), _place(picture, person, size.width, rng)),
        False,
    )
    for i in range(tries):
        _, patch, at = best
        if i % 2 == 0:
            patch, at = _drawn(picture, size.width, size.height, rng), _place(picture, person, size.width, rng)
        else:
            patch = _changed(patch, rng)
        worn = picture.copy()
        spot = worn[max(at[1], 0) : at[1] + size.height, max(at[0], 0) : at[0] + size.width]
        spot[:] = patch[max(-at[1], 0) :, max(-at[0], 0) :][: spot.shape[0], : spot.shape[1]]
        found = detector.detect_batch([worn])[0]
        seen = found.pick(_on(person, found.xyxy))
        score = float(seen.score.max()) if len(seen) else 0.0
        lost = score < defence.whole_conf
        fooled |= lost
        if score < best[0]:
            best = (score, patch, at)
        if lost or i % 10 == 0:
            defended = guard.detect_batch([worn])[0].above(defence.conf)
            if covered_by(person[None], defended.xyxy)[0] < defence.still:
                return Attempt(name, i + 1, fooled, True)
    return Attempt(name, tries, fooled, False)


def _on(person: Float32Array, boxes: Float32Array) -> BoolArray:
    """Return which boxes cover a fifth of the person or more."""
    return np.array([covered_by(person[None], b[None])[0] >= 0.2 for b in boxes], bool)


def _place(picture: UInt8Array, person: Float32Array, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return a corner: on the person two times in three, else anywhere, sticking out included."""
    if rng.random() < 2 / 3:
        x, y = rng.uniform(person[:2] - size / 2, person[2:] - size / 2)
    else:
        x, y = rng.uniform(1 - size, picture.shape[1]), rng.uniform(1 - size, picture.shape[0])
    return int(x), int(y)


def _drawn(picture: UInt8Array, width: int, height: int, rng: np.random.Generator) -> UInt8Array:
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
        x, y = rng.integers(0, picture.shape[1] - width + 1), rng.integers(0, picture.shape[0] - height + 1)
        out = picture[y : y + height, x : x + width][:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return np.ascontiguousarray(out).astype(np.uint8)


def _changed(patch: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return the patch with a smooth random field added, strong in a random part of it."""
    cells = rng.normal(0, 60, (int(rng.integers(2, 8)), int(rng.integers(2, 8)), 3)).astype(np.float32)
    field = cv2.resize(cells, (patch.shape[1], patch.shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(patch.astype(np.float32) + field, 0, 255).astype(np.uint8)
