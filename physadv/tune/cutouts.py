"""People cut out of photographs with soft masks, turned, and pasted into others, as Wu et al. 2022 (Just Rotate It) do.

They mask by a segmentation network. Here masks come from GrabCut (Rother et al. 2004), begun from a person's box and
joints; where it finds no body, from the ellipse in the box. Either is worse than a network's, so the seam must not tell: as
many people are pasted upright, with labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from physadv.boxes import coverage, iou
from physadv.dataset import LabelledImage
from physadv.simulate.silhouette import soft_mask
from physadv.types import Float32Array, UInt8Array

# Around a box, as a part of its sides: GrabCut learns there what is no person.
MARGIN = 0.15
# Height of somebody pasted, as a part of the image's; nobody is enlarged further than this.
HEIGHTS, LARGEST_SCALE = (0.35, 0.85), 1.6
# How much of others a pasted person may cover, and how often a place is sought.
COVERED, TRIES = 0.3, 25


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """Somebody cut out. rgba: (h, w, 4) uint8, straight alpha. keypoints: (17, 3) in its pixels. source: the image."""

    rgba: UInt8Array
    keypoints: Float32Array
    source: str


def cut_out(image: LabelledImage, person: int) -> CutOut:
    """Return a person of an image by their number, with what surrounds the box as far as the mask is soft."""
    width, height = image.size
    x0, y0, x1, y1 = image.boxes[person].tolist()
    wide, high = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(math.floor(x0 - wide), 0), max(math.floor(y0 - high), 0)
    right, bottom = min(math.ceil(x1 + wide), width), min(math.ceil(y1 + high), height)
    part = image.pixels[top:bottom, left:right]
    points = image.keypoints[person].copy()
    points[:, :2] -= (left, top)
    box = np.array([x0 - left, y0 - top, x1 - left, y1 - top])
    return CutOut(np.dstack([part, soft_mask(part, box, points)]), points, image.name)


def pasted(image: LabelledImage, cut: CutOut, degrees: float, rng: np.random.Generator) -> LabelledImage | None:
    """Return an image with somebody more in it, turned clockwise, where they cover few others; None where there is no room.

    The new person comes last: their box is that of their mask as it lies, their keypoints move along.
    """
    width, height = image.size
    for _ in range(TRIES):
        scale = min(rng.uniform(*HEIGHTS) * height / cut.rgba.shape[0], LARGEST_SCALE)
        matrix, size = _laid(cut.rgba.shape[1::-1], degrees, scale)
        box = _box_of(_warped(cut.rgba[..., 3], matrix, size))
        wide, high = box[2:] - box[:2]
        if wide > width or high > height:
            continue
        # Whole in the image: somebody cut off is another sight than somebody turned.
        shift = np.array([rng.uniform(0, width - wide), rng.uniform(0, height - high)]) - box[:2]
        place = (box + np.tile(shift, 2))[None].astype(np.float32)
        if len(image.boxes) and (
            coverage(image.boxes, place).max() > COVERED or iou(image.boxes, place).max() > COVERED
        ):
            continue
        matrix[:, 2] += shift
        rgba = _warped(_premultiplied(cut.rgba), matrix, image.size)
        cover = rgba[..., 3:].astype(np.float32) / 255
        pixels = np.clip(rgba[..., :3] + image.pixels * (1 - cover) + 0.5, 0, 255).astype(np.uint8)
        points = cut.keypoints.copy()
        points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        others = _uncovered(image.keypoints, cover[..., 0])
        return replace(
            image,
            source=pixels,
            boxes=np.concatenate([image.boxes, place]),
            keypoints=np.concatenate([others, points[None]]).astype(np.float32),
        )
    return None


def _uncovered(keypoints: Float32Array, cover: np.ndarray) -> Float32Array:
    """Return keypoints (n, 17, 3) of which those that are covered are not seen. cover: (h, w), from 0 to 1."""
    height, width = cover.shape
    x = np.clip(keypoints[..., 0].astype(int), 0, width - 1)
    y = np.clip(keypoints[..., 1].astype(int), 0, height - 1)
    out = keypoints.copy()
    out[..., 2][cover[y, x] > 0.5] = 0
    return out


def _laid(size: tuple[int, int], degrees: float, scale: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the map (2, 3) that scales and turns a picture of (width, height), and the size that holds the result."""
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    held = (math.ceil(size[0] * abs(cos) + size[1] * abs(sin)), math.ceil(size[0] * abs(sin) + size[1] * abs(cos)))
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    matrix[:, 2] = np.array(held) / 2 - matrix[:, :2] @ (np.array(size) / 2)
    return matrix, (max(held[0], 1), max(held[1], 1))


def _warped(picture: UInt8Array, matrix: np.ndarray, size: tuple[int, int]) -> UInt8Array:
    shrinks = abs(np.linalg.det(matrix[:, :2])) < 0.5
    # Linear sampling of something much larger would leave out pixels.
    if shrinks:
        picture = np.asarray(
            cv2.GaussianBlur(picture, (0, 0), 0.35 / math.sqrt(abs(np.linalg.det(matrix[:, :2])))), np.uint8
        )
    return np.asarray(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR), np.uint8)


def _premultiplied(rgba: UInt8Array) -> UInt8Array:
    cover = rgba[..., 3:].astype(np.float32) / 255
    return np.dstack([(rgba[..., :3] * cover + 0.5).astype(np.uint8), rgba[..., 3]])


def _box_of(mask: UInt8Array) -> np.ndarray:
    """Return (4,) the box around what is more than half covered."""
    rows, columns = np.flatnonzero((mask > 127).any(1)), np.flatnonzero((mask > 127).any(0))
    if not len(rows):
        return np.array([0.0, 0.0, mask.shape[1], mask.shape[0]])
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
