"""A pattern worn in the image: composited with OpenCV onto each person's chest, or over the torso as a T-shirt."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from physadv.patch import Patch
from physadv.simulate.placement import (
    FRONT_CM,
    SLEEVE_CM,
    chest_quads,
    chests_visible,
    shirt_fronts,
    shoulders_visible,
    sleeve_quads,
)
from physadv.types import BoolArray, Detections, Float32Array, UInt8Array

# Below this score on the clean image a candidate is more often furniture than somebody to dress; up to the second it
# needs shoulders, which furniture has not.
PLACE_CONF, SURE_CONF = 0.4, 0.6
# A shirt does not flicker: a person whom the detector misses keeps the last placement for so many seconds.
HOLD_S = 0.27
# Where images come without their time they count as those of a usual camera.
USUAL_STEP_S = 1 / 30
SAME_PERSON_IOU = 0.3
# Paper in a dim room is not white: the pattern is dimmed where even the brightest 5 % of the person (skin, a collar) stay
# below this value. Light and the colour of cloth cannot be told apart in one image, so it never goes far.
LIT_VALUE = 200.0
DIMMEST = 0.7


@dataclass(slots=True)
class _Wearer:
    xyxy: Float32Array
    keypoints: Float32Array | None
    seen_s: float
    missed: int = 0


def wears(people: Detections) -> BoolArray:
    """Return (n,) who of those found in a clean image wears the pattern: sure to be somebody, and with a chest to see."""
    sure = (people.score >= PLACE_CONF) & chests_visible(people.xyxy, people.keypoints)
    if people.keypoints is None:
        return sure
    return sure & ((people.score >= SURE_CONF) | shoulders_visible(people.keypoints, len(people)))


class Worn:
    """Puts one pattern on everybody, image after image.

    Placement comes from people found in the clean image, before the pattern is on: found in the worn image, a pattern
    that works would hide its own place. Someone missed for up to `HOLD_S` seconds, and in any case for one image, keeps
    the last place, moved nowhere; a pattern is therefore shown where a person was, for a quarter of a second, and this is
    what a recording shows too. `reset` after a cut ends that at once.

    on: whom the pattern was put on in the image before, boxes (n, 4); found: (n,) which of them were found in it, and not
    just held at their last place.
    """

    def __init__(self, patch: Patch, *, size_cm: float | None = None) -> None:
        """size_cm: the printed width, or None for the patch's own; the height follows in proportion."""
        width, height = patch.size_mm
        scale = 1.0 if size_cm is None else size_cm * 10 / width
        self.patch = patch
        self.size_cm = (width * scale / 10, height * scale / 10)
        self._pyramid = mip_levels(patch.rgba())
        self._wearers: list[_Wearer] = []
        self._now_s = 0.0
        self.on = np.zeros((0, 4), np.float32)
        self.found = np.zeros(0, bool)

    def reset(self) -> None:
        """Forget everybody: after a cut, a new source, a switch."""
        self._wearers = []

    def apply(self, pixels: UInt8Array, clean: Detections, *, at_s: float | None = None) -> UInt8Array:
        """Return a copy of the (h, w, 3) uint8 RGB image with the pattern on each person of `clean` who `wears` it.

        clean: people found in these same pixels. at_s: when they were filmed, in seconds; without it, a thirtieth of a
        second after those before.
        """
        self._now_s = self._now_s + USUAL_STEP_S if at_s is None else at_s
        self._follow(clean.pick(wears(clean)))
        out = pixels.copy()
        # Far people first, so that a near person's pattern lies over theirs.
        for wearer in sorted(self._wearers, key=lambda w: float(w.xyxy[3])):
            self._dress(out, wearer)
        self.on = np.array([w.xyxy for w in self._wearers], np.float32).reshape(-1, 4)
        self.found = np.array([not w.missed for w in self._wearers], bool)
        return out

    def quads(self, xyxy: Float32Array, keypoints: Float32Array | None) -> Float32Array:
        """Return (n, 4, 2) corners of the pattern on each person: the chest print, or the shirt's front."""
        if self.patch.target == "tshirt":
            return shirt_fronts(xyxy, keypoints)
        return chest_quads(xyxy, keypoints, size_cm=self.size_cm)

    def _follow(self, people: Detections) -> None:
        """Match people to those of the image before; keep the unmatched for a while."""
        fresh = [
            _Wearer(people.xyxy[i], None if people.keypoints is None else people.keypoints[i], self._now_s)
            for i in range(len(people))
        ]
        missed = [o for o in self._wearers if not any(_overlap(o.xyxy, n.xyxy) > SAME_PERSON_IOU for n in fresh)]
        if fresh and len(missed) == len(self._wearers):
            # Nobody stands where anybody stood: a cut, and those of the scene before wear nothing in this one.
            missed = []
        for old in missed:
            if not old.missed or abs(self._now_s - old.seen_s) <= HOLD_S:
                old.missed += 1
                fresh.append(old)
        self._wearers = fresh

    def _dress(self, out: UInt8Array, wearer: _Wearer) -> None:
        light = _light(out, wearer.xyxy)
        # Nothing is painted beyond the person: below the box stands what hides the rest of them, a table or a back.
        left, top = np.maximum(np.floor(wearer.xyxy[:2]), 0).astype(int)
        right, bottom = np.maximum(np.ceil(wearer.xyxy[2:]), 0).astype(int)
        body = out[top:bottom, left:right]
        for quad, cut in self.pieces(wearer.xyxy, wearer.keypoints):
            pyramid, tiles = (self._pyramid, (1.0, 1.0)) if cut is None else self.cloth(*cut)
            paste(body, pyramid, quad - np.array([left, top], np.float32), tiles=tiles, light=light)

    def pieces(
        self, xyxy: Float32Array, keypoints: Float32Array | None
    ) -> list[tuple[Float32Array, tuple[float, float] | None]]:
        """Return what one person, xyxy (4,) and keypoints (17, 3), wears, sleeves first: corners (4, 2) and cloth.

        The cloth is the centimetres of the texture that a piece shows, or None for a print that is shown once, whole.
        """
        points = None if keypoints is None else keypoints[None]
        quad = self.quads(xyxy[None], points)[0]
        if self.patch.target != "tshirt":
            return [(quad, None)]
        # A texture repeats every `size_cm`, on the front and, at the same scale, on the sleeves.
        sleeves = [] if points is None else list(sleeve_quads(points, shoulders_visible(points, 1))[1])
        return [*((sleeve, SLEEVE_CM) for sleeve in sleeves), (quad, FRONT_CM)]

    def cloth(self, width: float, height: float) -> tuple[list[UInt8Array], tuple[float, float]]:
        """Return the `mip_levels` of what a piece of cloth of that many centimetres shows, and its repeats on it."""
        return self._pyramid, (width / self.size_cm[0], height / self.size_cm[1])


def mip_levels(rgba: UInt8Array) -> list[UInt8Array]:
    """Return a pattern (h, w, 4) at full size, half, quarter...: each an area average, colour weighted by the mask."""
    levels = [rgba]
    while min(levels[-1].shape[:2]) >= 8:
        last = levels[-1].astype(np.float32)
        alpha = last[..., 3:] / 255
        size = (last.shape[1] // 2, last.shape[0] // 2)
        colour = cv2.resize(last[..., :3] * alpha, size, interpolation=cv2.INTER_AREA)
        cover = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)[..., None]
        half = np.dstack([colour / np.maximum(cover, 1e-3), cover * 255])
        levels.append(np.clip(half + 0.5, 0, 255).astype(np.uint8))
    return levels


def paste(
    out: UInt8Array,
    pyramid: list[UInt8Array],
    quad: Float32Array,
    *,
    tiles: tuple[float, float] = (1.0, 1.0),
    light: float = 1.0,
) -> None:
    """Warp a pattern, repeated `tiles` times along and across, onto `quad` (4, 2) of `out`, in place and antialiased.

    pyramid: its `mip_levels`. light: factor on its colours. Edges are anti-aliased; pixels outside `out` are cut off.
    """
    height, width = out.shape[:2]
    left, top = np.floor(quad.min(0)).astype(int) - 1
    right, bottom = np.ceil(quad.max(0)).astype(int) + 2
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right - left < 3 or bottom - top < 3:
        return
    texture = _texture(pyramid, quad, tiles)
    h, w = texture.shape[:2]
    # Corners at the outer edges of the outer texels: half a texel beyond their centres, which is where OpenCV's whole
    # numbers are, in the image too.
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(corners, (quad - (left, top) - 0.5).astype(np.float32))
    size = (right - left, bottom - top)
    colour = cv2.warpPerspective(
        texture[..., :3], matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cover = cv2.warpPerspective(texture[..., 3], matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    region = out[top:bottom, left:right]
    weight = (cover.astype(np.float32) / 255)[..., None]
    lit = colour.astype(np.float32) * light
    region[:] = np.clip(region + (lit - region) * weight + 0.5, 0, 255).astype(np.uint8)


def _texture(pyramid: list[UInt8Array], quad: Float32Array, tiles: tuple[float, float]) -> UInt8Array:
    """Return the level with the fewest texels that still has one for each pixel it will cover, tiled."""
    across = max(np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[3])) / tiles[0]
    down = max(np.linalg.norm(quad[3] - quad[0]), np.linalg.norm(quad[2] - quad[1])) / tiles[1]
    level = 0
    while level + 1 < len(pyramid):
        h, w = pyramid[level + 1].shape[:2]
        if w < across or h < down:
            break
        level += 1
    texture = pyramid[level]
    # Between two levels the last step, of less than half, is an area average as well.
    h, w = texture.shape[:2]
    size = (max(1, min(w, round(across))), max(1, min(h, round(down))))
    if size != (w, h):
        texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if tiles == (1.0, 1.0):
        return texture
    h, w = texture.shape[:2]
    columns, rows = max(1, round(tiles[0] * w)), max(1, round(tiles[1] * h))
    return texture[np.ix_(np.arange(rows) % h, np.arange(columns) % w)]


def _light(pixels: UInt8Array, xyxy: Float32Array) -> float:
    """Return the factor in [DIMMEST, 1] that carries the person's light to the pattern."""
    x1, y1, x2, y2 = (max(int(v), 0) for v in xyxy)
    person = pixels[y1 : y2 + 1 : 4, x1 : x2 + 1 : 4]
    if not person.size:
        return 1.0
    return float(np.clip(np.percentile(person.max(2), 95) / LIT_VALUE, DIMMEST, 1.0))


def _overlap(a: Float32Array, b: Float32Array) -> float:
    """Return the intersection over union of two boxes."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    inter = float(w * h)
    return inter / float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)
