"""The live demo's renderer: OpenCV in place of PyTorch, one image at a time, about a millisecond a person, no gradients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil

import cv2
import numpy as np

from physadv.patch import Patch
from physadv.simulate.lit import FLAT, Lit, fronts_of
from physadv.simulate.placement import SMALLEST, Prints, TexelGrid, texels_for
from physadv.types import Float32Array, UInt8Array

EMPTY: Mapping[int, Lit] = {}


def fast_render(image: UInt8Array, patch: Patch, prints: Prints, lit: Mapping[int, Lit] = EMPTY) -> UInt8Array:
    """Return a copy of an image (h, w, 3) uint8 RGB with prints of a patch on it, as `render.render` draws them.

    lit: how the image shows the cloth on a person, by their numbers in `prints`: their prints take its light, blur and
    noise. Those of the others are flat.

    Flat it differs from `render` by 8-bit rounding and by OpenCV's coordinates, which are a 32nd of a texel apart. A test
    holds the two together on every shipped pattern. Forearms are not looked at.
    """
    out = image.copy()
    height, width = out.shape[:2]
    levels = _mip_levels(patch)
    grids = texels_for(prints.quads, prints.window, levels[0].shape[:2])
    fronts = fronts_of(prints) if lit else {}
    for i in np.argsort(prints.rank):
        left, top = (int(v) for v in np.maximum(np.floor(prints.bounds[i, :2]), 0))
        right, bottom = (int(v) for v in np.minimum(np.ceil(prints.bounds[i, 2:]), (width, height)))
        if right > left and bottom > top:
            texture, shown = _shown(levels, grids[i], prints.window[i])
            quad = prints.quads[i] - np.array([left, top], np.float32)
            person = int(prints.person[i])
            shaded = fronts.get(person) == i
            cloth = lit.get(person, FLAT)
            _paste(out[top:bottom, left:right], texture, shown, quad, cloth, shaded=shaded)
    return out


@lru_cache(maxsize=4)
def _mip_levels(patch: Patch) -> list[UInt8Array]:
    """Return a patch's pixels and mask (h, w, 4) at full size, half, quarter and so on."""
    levels = [patch.rgba()]
    while min(levels[-1].shape[:2]) >= SMALLEST:
        height, width = levels[-1].shape[:2]
        levels.append(_averaged(levels[-1], (width // 2, height // 2)))
    return levels


def _averaged(rgba: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return a texture (h, w, 4) at a smaller (width, height): means by area, of colours weighted by the mask."""
    if rgba[..., 3].min() == 255:
        return np.asarray(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA), np.uint8)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    colour = cv2.resize(rgba[..., :3] * alpha, size, interpolation=cv2.INTER_AREA)
    cover = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)[..., None]
    whole = np.dstack([colour / np.maximum(cover, 1e-3), cover * 255])
    return np.clip(whole + 0.5, 0, 255).astype(np.uint8)


def _shown(levels: list[UInt8Array], grid: TexelGrid, window: Float32Array) -> tuple[UInt8Array, tuple[float, float]]:
    """Return the texture that a print shows and how much of it in texels (width, height), the last ones in part."""
    texture = levels[grid.halvings]
    size = (grid.width, grid.height)
    left, top = (round(float(window[i]) * texture.shape[1 - i]) for i in (0, 1))
    if left or top:
        # Cut before it is averaged, as `World` does: afterwards whole texels are up to a pixel large.
        texture = np.roll(texture, (-top, -left), (0, 1))
    if texture.shape[1::-1] != size:
        texture = _averaged(texture, size)
    width, height = (float(window[2 + i]) * size[i] for i in (0, 1))
    if (width, height) != size:
        rows, columns = np.arange(ceil(height)), np.arange(ceil(width))
        texture = texture[np.ix_(rows % grid.height, columns % grid.width)]
    return texture, (width, height)


def _paste(
    out: UInt8Array,
    texture: UInt8Array,
    shown: tuple[float, float],
    quad: Float32Array,
    cloth: Lit,
    *,
    shaded: bool,
) -> None:
    """Warp `shown` texels of a texture onto `quad` (4, 2) of `out`, in place; what lies outside `out` is cut off.

    cloth: what is under it. shaded: whether its shading is that of this print.
    """
    height, width = out.shape[:2]
    # Blurred, a print ends farther out.
    margin = 1 + ceil(2.5 * float(cloth.blur.max()))
    left, top = np.floor(quad.min(0)).astype(int) - margin
    right, bottom = np.ceil(quad.max(0)).astype(int) + margin
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        return
    size = (right - left, bottom - top)
    # OpenCV's whole numbers are the centres of pixels, corners are the outer edges of the outer texels: half a texel beyond
    # their centres, and half a pixel in the image too.
    corners = (quad - (left, top) - 0.5).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(_rectangle(*shown), corners)
    colour = cv2.warpPerspective(
        texture[..., :3], matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    # The edge of a print is one pixel wide however large its texels are, so its cover is warped from a sheet of its own.
    sides = np.hypot(*(quad - np.roll(quad, 1, 0)).T)
    across, down = (max(round(float(sides[i] + sides[i + 2]) / 2), 1) for i in (1, 0))
    cover = cv2.warpPerspective(
        np.full((down, across), 255, np.uint8),
        cv2.getPerspectiveTransform(_rectangle(across, down), corners),
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    if texture[..., 3].min() < 255:
        mask = cv2.warpPerspective(
            texture[..., 3], matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        cover = cv2.multiply(cover, mask, scale=1 / 255)
    if cloth is not FLAT:
        shone = cloth.shone_on(np.asarray(colour, np.uint8), corners if shaded else None)
        colour, cover = cloth.grained(cloth.blurred(shone)), cloth.blurred(np.asarray(cover, np.uint8))
    region = out[top:bottom, left:right]
    # Nearly all pixels are covered whole and only copied; arithmetic on all of them would take twice as long as the warps.
    y, x = np.nonzero((cover > 0) & (cover < 255))
    under, weight = region[y, x].astype(np.float32), cover[y, x, None].astype(np.float32) / 255
    blended = (under + (colour[y, x] - under) * weight + 0.5).astype(np.uint8)
    cv2.copyTo(colour, (cover == 255).view(np.uint8), region)
    region[y, x] = blended


def _rectangle(width: float, height: float) -> Float32Array:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
