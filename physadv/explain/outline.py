"""Texture against outline: who is still found when patches of a person are shuffled, or only silhouette or edges are left.

Sources: Geirhos et al., "ImageNet-trained CNNs are biased towards texture" (2019), silhouettes and edges; Brendel and
Bethge, "Approximating CNNs with bag-of-local-features models" (2019), shuffled patches.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from physadv.detect.matching import FOUND_CONF
from physadv.explain.odam import Odam
from physadv.explain.score import people_scores
from physadv.simulate.silhouette import soft_mask
from physadv.types import Detections, Detector, Float32Array, UInt8Array

Change = Literal["none", "shuffled", "silhouette", "edges"]
CHANGES: tuple[Change, ...] = get_args(Change)
# Side of a tile, as a part of the root of the box's area: a face or a hand stays whole, a body does not.
TILE = 0.25
# Around a box, as a part of its sides: GrabCut learns there what is no person.
AROUND = 0.15
# Of Canny's edge detector, after a blur that takes the texture of cloth.
LOW, HIGH, SOFTENED = 60, 160, 1.2


@dataclass(frozen=True, slots=True)
class UnderChange:
    """Scores of people under one change. scores: (n,); images: how many images they are in."""

    change: Change
    scores: tuple[float, ...]
    images: int

    @property
    def recall(self) -> float | None:
        """Return the share that is found at .25; None of nobody."""
        return self.found / len(self.scores) if self.scores else None

    @property
    def found(self) -> int:
        """Return how many are found at .25."""
        return sum(score >= FOUND_CONF for score in self.scores)


def changed(image: UInt8Array, people: Detections, change: Change, rng: np.random.Generator) -> UInt8Array:
    """Return an image (h, w, 3) whose people are changed.

    shuffled: the tiles of each box have changed places, so texture is left and outline is not. silhouette: each person is
    filled with the mean of their colours. edges: the whole image is its edges, dark on white.
    """
    if change == "edges":
        soft = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), SOFTENED)
        lines = 255 - np.asarray(cv2.Canny(soft, LOW, HIGH), np.uint8)
        return np.repeat(lines[..., None], 3, 2)
    out = image.copy()
    if change == "none":
        return out
    points = np.zeros((len(people), 17, 3), np.float32) if people.keypoints is None else people.keypoints
    for box, joints in zip(people.xyxy, points, strict=True):
        if change == "shuffled":
            _shuffle(out, box, rng)
        else:
            _fill(out, image, box, joints)
    return out


def texture_or_outline(
    detector: Detector, images: Sequence[tuple[UInt8Array, Detections]], *, seed: int
) -> Generator[tuple[float, str], None, list[UnderChange]]:
    """Yield how far the work is; the scores of all people under each change are returned.

    images: each with its people, as boxes and keypoints; only people that the detector finds in the image as it is count.
    """
    scores: dict[Change, list[float]] = {change: [] for change in CHANGES}
    for number, (image, people) in enumerate(images):
        yield number / len(images), "texture or outline"
        views = [changed(image, people, c, np.random.default_rng([seed, number])) for c in CHANGES]
        each = people_scores(detector, views, people.xyxy).T
        for row in each[each[:, 0] >= FOUND_CONF].tolist():
            for change, score in zip(CHANGES, row, strict=True):
                scores[change].append(score)
    return [UnderChange(change, tuple(values), len(images)) for change, values in scores.items()]


@dataclass(frozen=True, slots=True, eq=False)
class ChangedView:
    """One person under a change. image: (h, w, 3); odam: a map of it, None where no proposal fits the person."""

    change: Change
    image: UInt8Array
    score: float
    odam: Float32Array | None


def changed_views(
    detector: Detector, odam: Odam | None, image: UInt8Array, people: Detections, box: Float32Array, *, seed: int
) -> list[ChangedView]:
    """Return what is left of one person, (4,) `box`, under each change of everybody in an image (h, w, 3)."""
    views = [changed(image, people, change, np.random.default_rng([seed, 0])) for change in CHANGES]
    scores = people_scores(detector, views, box[None])[:, 0].tolist()
    out = []
    for change, view, score in zip(CHANGES, views, scores, strict=True):
        found = None if odam is None else odam.attribute(view, box[None])[0]
        heat = None if odam is None or found is None else odam.summed(found, view)
        out.append(ChangedView(change, view, score, heat))
    return out


def _whole(box: Float32Array, image: UInt8Array, around: float = 0.0) -> tuple[int, int, int, int]:
    """Return a box with what surrounds it, as whole pixels within an image."""
    x0, y0, x1, y1 = box.tolist()
    wide, high = around * (x1 - x0), around * (y1 - y0)
    height, width = image.shape[:2]
    left, top = max(int(x0 - wide), 0), max(int(y0 - high), 0)
    return (
        left,
        top,
        max(min(int(np.ceil(x1 + wide)), width), left + 1),
        max(min(int(np.ceil(y1 + high)), height), top + 1),
    )


def _shuffle(out: UInt8Array, box: Float32Array, rng: np.random.Generator) -> None:
    """Exchange the tiles of a box, in place; a rim that is no whole tile stays."""
    left, top, right, bottom = _whole(box, out)
    side = max(round(TILE * float(np.sqrt((right - left) * (bottom - top)))), 4)
    rows, columns = max((bottom - top) // side, 1), max((right - left) // side, 1)
    high, wide = (bottom - top) // rows, (right - left) // columns
    part = out[top : top + rows * high, left : left + columns * wide]
    tiles = part.reshape(rows, high, columns, wide, 3).swapaxes(1, 2).reshape(-1, high, wide, 3)
    tiles = tiles[rng.permutation(len(tiles))]
    part[:] = tiles.reshape(rows, columns, high, wide, 3).swapaxes(1, 2).reshape(part.shape)


def _fill(out: UInt8Array, image: UInt8Array, box: Float32Array, joints: Float32Array) -> None:
    """Fill a person with the mean of their colours, in place. image: without what was filled before."""
    left, top, right, bottom = _whole(box, image, AROUND)
    moved = joints.copy()
    moved[:, :2] -= (left, top)
    part = image[top:bottom, left:right]
    mask = soft_mask(part, box - np.array([left, top] * 2, np.float32), moved)[..., None].astype(np.float32) / 255
    colour = (part * mask).sum((0, 1)) / max(float(mask.sum()), 1e-6)
    there = out[top:bottom, left:right]
    there[:] = (there * (1 - mask) + colour * mask + 0.5).astype(np.uint8)
