"""Patterns put on the people of an image, and the fixed grid of conditions that a robust pattern must stand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import torch

from physadv.dataset import LabelledImage
from physadv.patch import Patch
from physadv.simulate.geometry import EYE
from physadv.simulate.placement import FRONT_CM, Rule, chest_quads, side_px, square_quads
from physadv.simulate.spline import spline_basis
from physadv.simulate.wear import Worn, mip_levels, paste
from physadv.types import Detections, Float32Array, UInt8Array

# How far a worn T-shirt's cloth lies from flat, in sides of the piece.
WRINKLES = 0.05
# Texels along a side to which a pattern is brought before it is bent: no print covers more pixels at usual sizes.
BENT = 256
# The same of the largest piece of a T-shirt, all repeats of the texture on it together.
CLOTH = 512


@dataclass(frozen=True, slots=True)
class Placement:
    """Where patterns go: as large as a square of `scale` by the rule, at the box's fraction `at`, or chest, or a shirt."""

    rule: Rule
    scale: float
    at: float | Literal["chest", "shirt"]

    def quads(self, image: LabelledImage, aspect: float = 1.0) -> Float32Array:
        """Return (k, 4, 2) places on the people who count; aspect: the print's width over its height."""
        side = side_px(image.targets, self.rule, self.scale)
        if self.at == "chest":
            points = image.keypoints[image.counts]
            return chest_quads(image.targets, points, side=side, aspect=aspect)
        return square_quads(image.targets, side, self.at if isinstance(self.at, float) else 0.42, aspect=aspect)


@dataclass(frozen=True, slots=True)
class Condition:
    """One cell of the robust grid.

    Of the print: turn and yaw in degrees, brightness added, contrast multiplied about mid grey, bend (thin-plate spline, in
    sides), covered (share of its area hidden). Of the whole image, at the size at which the detector sees it where it is
    larger: blur (sigma in pixels), jpeg (quality), shrink (resolution kept).
    """

    name: str = ""
    turn: float = 0.0
    yaw: float = 0.0
    brightness: float = 0.0
    contrast: float = 1.0
    bend: float = 0.0
    covered: float = 0.0
    blur: float = 0.0
    jpeg: int = 0
    shrink: float = 1.0

    @property
    def of_image(self) -> bool:
        """Return whether the image changes even without a pattern."""
        return bool(self.blur or self.jpeg or self.shrink != 1.0)


PLAIN = Condition()
GRID_SEED = 0
ROBUST: tuple[Condition, ...] = (
    Condition("rotation 10", turn=10),
    Condition("rotation 20", turn=20),
    Condition("brightness -.1", brightness=-0.1),
    Condition("brightness +.1", brightness=0.1),
    Condition("contrast .8", contrast=0.8),
    Condition("contrast 1.2", contrast=1.2),
    Condition("blur 1 px", blur=1),
    Condition("blur 2 px", blur=2),
    Condition("JPEG 60", jpeg=60),
    Condition("half resolution", shrink=0.5),
    Condition("TPS .1", bend=0.1),
    Condition("yaw 15", yaw=15),
    Condition("yaw 30", yaw=30),
    Condition("occlusion .1", covered=0.1),
    Condition("occlusion .2", covered=0.2),
    Condition("occlusion .3", covered=0.3),
)


@dataclass(slots=True)
class Dresser:
    """Puts one pattern on everyone who counts, in one way. The same image always gets the same pixels.

    seed: of what chance there is in the plain image; that of the grid's conditions is always the same. imgsz: long side
    in pixels at which the detector sees an image.
    """

    patch: Patch | None
    placement: Placement
    seed: int
    imgsz: int
    _levels: dict[str, list[UInt8Array]] = field(default_factory=dict)

    def apply(self, image: LabelledImage, index: int, condition: Condition = PLAIN) -> UInt8Array:
        """Return (h, w, 3) uint8 RGB. index: the image's number, which with the seed decides what chance there is."""
        rng = np.random.default_rng([self.seed if condition == PLAIN else GRID_SEED, index])
        if self.patch is None or not image.counts.any():
            return filmed(image.pixels, condition, self.imgsz)
        dress = self._shirts if self.placement.at == "shirt" else self._squares
        return filmed(dress(image, condition, rng), condition, self.imgsz)

    def _squares(self, image: LabelledImage, condition: Condition, rng: np.random.Generator) -> UInt8Array:
        out = image.pixels.copy()
        assert self.patch is not None
        width, height = self.patch.size_mm
        quads = self.placement.quads(image, width / height)
        # Far people first, so that a near person's pattern lies over theirs.
        for i in np.argsort(image.targets[:, 3], kind="stable"):
            paste(out, self._pattern(condition, rng), posed(quads[i], condition, aspect=width / height))
        return out

    def _shirts(self, image: LabelledImage, condition: Condition, rng: np.random.Generator) -> UInt8Array:
        assert self.patch is not None
        points = image.keypoints[image.counts]
        everyone = Detections(image.targets, np.ones(len(image.targets), np.float32), points)
        return CutWorn(self.patch, condition, rng).apply(image.pixels, everyone)

    def _pattern(self, condition: Condition, rng: np.random.Generator) -> list[UInt8Array]:
        """Return the levels of the pattern under a condition; those without chance are made once."""
        assert self.patch is not None
        if not (condition.bend or condition.covered):
            if condition.name not in self._levels:
                self._levels[condition.name] = mip_levels(lit(self.patch.rgba(), condition))
            return self._levels[condition.name]
        rgba = lit(self.patch.rgba(), condition)
        if max(rgba.shape[:2]) > BENT:
            h, w = (max(1, round(s * BENT / max(rgba.shape[:2]))) for s in rgba.shape[:2])
            rgba = np.asarray(cv2.resize(rgba, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
        if condition.bend:
            rgba = bent(rgba, condition.bend, rng)
        if condition.covered:
            rgba = covered(rgba, condition.covered, rng)
        return mip_levels(rgba)


class CutWorn(Worn):
    """T-shirts whose pieces are cut from the texture anywhere and lie in wrinkles, under a condition."""

    def __init__(self, patch: Patch, condition: Condition, rng: np.random.Generator) -> None:
        super().__init__(patch)
        self._condition, self._rng = condition, rng
        self._rgba = self._small(lit(patch.rgba(), condition))

    def _small(self, rgba: UInt8Array) -> UInt8Array:
        """Return the texture with no more texels than the largest piece can show of it: bending takes 500 bytes of each."""
        sides = [s / size * piece for s, size, piece in zip(rgba.shape[1::-1], self.size_cm, FRONT_CM, strict=True)]
        if max(sides) <= CLOTH:
            return rgba
        h, w = (max(1, round(s * CLOTH / max(sides))) for s in rgba.shape[:2])
        return np.asarray(cv2.resize(rgba, (w, h), interpolation=cv2.INTER_AREA), np.uint8)

    def pieces(
        self, xyxy: Float32Array, keypoints: Float32Array | None
    ) -> list[tuple[Float32Array, tuple[float, float] | None]]:
        """Return what one person wears, as `Worn.pieces`, all of it posed by the condition with the front."""
        worn = super().pieces(xyxy, keypoints)
        front, aspect = worn[-1][0], FRONT_CM[0] / FRONT_CM[1]
        return [(posed(quad, self._condition, of=front, aspect=aspect), cut) for quad, cut in worn]

    def cloth(self, width: float, height: float) -> tuple[list[UInt8Array], tuple[float, float]]:
        """Return the `mip_levels` of one piece, cut and wrinkled anew, which covers its place once."""
        h, w = self._rgba.shape[:2]
        columns, rows = (max(1, round(v)) for v in (width / self.size_cm[0] * w, height / self.size_cm[1] * h))
        top, left = self._rng.integers(h), self._rng.integers(w)
        piece = self._rgba[np.ix_((top + np.arange(rows)) % h, (left + np.arange(columns)) % w)]
        piece = bent(piece, self._condition.bend or WRINKLES, self._rng)
        if self._condition.covered:
            piece = covered(piece, self._condition.covered, self._rng)
        return mip_levels(piece), (1.0, 1.0)


def lit(rgba: UInt8Array, condition: Condition) -> UInt8Array:
    """Return the pattern (h, w, 4) with contrast about mid grey and brightness changed."""
    if condition.brightness == 0 and condition.contrast == 1:
        return rgba
    colour = (rgba[..., :3].astype(np.float32) - 127.5) * condition.contrast + 127.5 + 255 * condition.brightness
    return np.dstack([np.clip(colour + 0.5, 0, 255).astype(np.uint8), rgba[..., 3]])


def posed(
    quad: Float32Array, condition: Condition, *, of: Float32Array | None = None, aspect: float = 1.0
) -> Float32Array:
    """Return a quad (4, 2) turned in its plane, then about the vertical through its centre, seen in perspective.

    of: the quad (4, 2) of a larger thing that is so turned and that this one is part of. aspect: width over height of what
    is turned, lying flat: a print that is no square is turned and not sheared.
    """
    if condition.turn == 0 and condition.yaw == 0:
        return quad
    whole = quad if of is None else of
    centre = whole.mean(0)
    axes = np.stack([(whole[1] - whole[0]) / 2, (whole[3] - whole[0]) / 2], 1).astype(np.float64)
    if abs(np.linalg.det(axes)) < 1e-6:
        # Seen from its edge: there is nothing to turn.
        return quad
    # Halves of the sides of a square of the same area, in which a turn is a turn.
    axes = axes / np.array([aspect**0.5, aspect**-0.5])
    x, y = np.linalg.solve(axes, (quad - centre).T.astype(np.float64))
    turn, yaw = math.radians(condition.turn), math.radians(condition.yaw)
    u, v = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    near = EYE / (EYE + u * math.sin(yaw))
    return ((axes @ np.stack([u * math.cos(yaw) * near, v * near])).T + centre).astype(np.float32)


def bent(rgba: UInt8Array, strength: float, rng: np.random.Generator) -> UInt8Array:
    """Return the pattern wrinkled inside its outline: a thin-plate spline moves a 4 x 4 grid of points at random.

    strength: largest shift of a point in sides of the pattern.
    """
    h, w = rgba.shape[:2]
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 4)), -1).reshape(-1, 2)
    moved = grid + rng.uniform(-strength, strength, grid.shape)
    y, x = np.mgrid[0:h, 0:w]
    points = np.stack([(x.ravel() + 0.5) / w, (y.ravel() + 0.5) / h], 1)
    basis = spline_basis(torch.from_numpy(grid), torch.from_numpy(points))
    where = (basis @ torch.from_numpy(moved)).reshape(h, w, 2).float().numpy()
    colour = cv2.remap(
        rgba[..., :3], where[..., 0] * w - 0.5, where[..., 1] * h - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.dstack([np.asarray(colour, np.uint8), rgba[..., 3]])


def covered(rgba: UInt8Array, share: float, rng: np.random.Generator) -> UInt8Array:
    """Return the pattern with a square hole of `share` of its area at a random place, as an arm or bag would make."""
    h, w = rgba.shape[:2]
    high, wide = (max(1, round(s * math.sqrt(share))) for s in (h, w))
    top, left = int(rng.integers(0, h - high + 1)), int(rng.integers(0, w - wide + 1))
    out = rgba.copy()
    out[top : top + high, left : left + wide, 3] = 0
    return out


def filmed(pixels: UInt8Array, condition: Condition, imgsz: int) -> UInt8Array:
    """Return the image as a worse camera would give it: blurred, at lower resolution, compressed.

    imgsz: long side at which the detector sees it. A larger image is changed at that size and enlarged again: two pixels
    of blur on a photograph of twelve megapixels would be none by the time that it is looked at.
    """
    if not condition.of_image:
        return pixels
    h, w = pixels.shape[:2]
    ratio = imgsz / max(h, w)
    out = pixels
    if ratio < 1:
        # By the detector's own way of shrinking, so that the effect is all that differs.
        seen = (max(1, round(w * ratio)), max(1, round(h * ratio)))
        out = cv2.resize(out, seen, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if condition.blur:
        out = cv2.GaussianBlur(out, (0, 0), condition.blur)  # type: ignore[assignment]
    if condition.shrink != 1:
        size = out.shape[1::-1]
        small = (max(1, round(size[0] * condition.shrink)), max(1, round(size[1] * condition.shrink)))
        reduced = cv2.resize(out, small, interpolation=cv2.INTER_AREA)
        out = cv2.resize(reduced, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if condition.jpeg:
        _, data = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, condition.jpeg])
        out = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
    return out if ratio >= 1 else np.asarray(cv2.resize(out, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
