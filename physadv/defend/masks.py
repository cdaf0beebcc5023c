"""Sets of masks that hide a patch wherever it is, and the exact check that they do.

A mask is the rectangle that it hides: x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive. Masks are laid on the image
before it is scaled: the pixels under a mask become one grey, so an image with a patch wholly under the mask and the
image without the patch are the same array, bit for bit, and get the same answer. A mask laid after scaling would not
do: bilinear scaling carries a patch a pixel beyond its own edge.

The position of a patch is the pixel of its top left corner, which may lie outside the image as long as part of the
patch is inside. The positions at which one mask hides the whole patch form a rectangle, so whether a set of masks hides
it everywhere in a region is a question about a union of rectangles, answered here without sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from physadv.defend.base import Twin
from physadv.detect.gradients import joined, parted
from physadv.errors import DefenceError
from physadv.types import BoolArray, Candidates, Float32Array, GradientDetector, Int64Array, UInt8Array

FILL = 114
Where = Literal["anywhere", "far", "close", "over"]
PLACES: tuple[Where, ...] = ("anywhere", "far", "close", "over")
# A patch is "close" if it does not touch the person's box but lies within this fraction of the image's width and height.
CLOSE = 0.1


@dataclass(frozen=True, slots=True)
class PatchSize:
    """The largest upright rectangle of pixels, width x height, that one patch may change."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise DefenceError(f"patch size: expected at least 1 x 1 pixel, got {self.width} x {self.height}")

    @classmethod
    def of_area(cls, pixels: float, *, margin: int = 0) -> PatchSize:
        """Return the square of that area in pixels, rounded up to whole pixels, with `margin` pixels more all round."""
        side = int(np.ceil(np.sqrt(max(pixels, 1.0)) - 1e-9)) + 2 * margin
        return cls(side, side)

    def check(self, width: int, height: int) -> None:
        """Raise DefenceError if such a patch is larger than an image of width x height."""
        if self.width > width or self.height > height:
            raise DefenceError(
                f"patch size: a patch of {self.width} x {self.height} pixels is larger than the image of "
                f"{width} x {height}; no certificate can be given, ask for a smaller one"
            )


def half_planes(width: int, height: int, lines: int) -> Int64Array:
    """Return the (4 * lines, 4) masks that hide one side of each of `lines` evenly spaced upright and level lines.

    The masks do not depend on the size of the patch.

    Raises: DefenceError if the image has no room for so many lines.

    Source: ObjectSeeker, Xiang et al., S&P 2023, section 3.2.
    """
    if lines < 1 or lines >= min(width, height):
        raise DefenceError(f"lines: expected 1 to {min(width, height) - 1} for {width} x {height} pixels, got {lines}")
    out = []
    for i in range(1, lines + 1):
        x, y = round(i * width / (lines + 1)), round(i * height / (lines + 1))
        out += [(0, 0, x, height), (x, 0, width, height), (0, 0, width, y), (0, y, width, height)]
    return np.array(out, np.int64)


def spans(length: int, patch: int, count: int) -> list[tuple[int, int]]:
    """Return at most `count` spans (start, stop) of an axis such that any `patch` adjoining pixels lie within one.

    Stride ceil((n - p + 1) / k), size p + stride - 1, the last span moved back to end with the axis.

    Raises: DefenceError if the patch is longer than the axis or `count` is not positive.

    Source: PatchCleanser, Xiang et al., USENIX Security 2022, section 3.4.
    """
    if not 1 <= patch <= length or count < 1:
        raise DefenceError(f"mask set: expected a patch of 1 to {length} pixels and a count >= 1, got {patch}, {count}")
    stride = -(-(length - patch + 1) // count)
    size = patch + stride - 1
    starts = list(range(0, length - size + 1, stride))
    if starts[-1] != length - size:
        starts.append(length - size)
    return [(s, s + size) for s in starts]


def windows(width: int, height: int, patch: PatchSize, count: int) -> Int64Array:
    """Return at most count * count rectangular masks such that one hides any patch of that size, wherever it is.

    Raises: DefenceError if the patch is larger than the image.

    Source: PatchCleanser, Xiang et al., USENIX Security 2022, section 3.4.
    """
    patch.check(width, height)
    columns, rows = spans(width, patch.width, count), spans(height, patch.height, count)
    return np.array([(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns], np.int64)


def hide(image: UInt8Array, masks: Sequence[Int64Array] | Int64Array) -> UInt8Array:
    """Return a copy of an (h, w, 3) image with grey 114 under each mask."""
    out = image.copy()
    for x0, y0, x1, y1 in masks:
        out[y0:y1, x0:x1] = FILL
    return out


def positions_hidden(masks: Int64Array, patch: PatchSize, width: int, height: int) -> Int64Array:
    """Return the (n, 4) rectangles of corner positions, last bounds exclusive, at which each mask hides the patch.

    A mask that reaches an edge of the image also hides what sticks out there. A mask smaller than the patch gives an
    empty rectangle, or the positions at which the rest of the patch is outside the image.
    """
    far = np.array([patch.width, patch.height, patch.width, patch.height], np.int64)
    edge = np.array([0, 0, width, height], np.int64)
    reach = np.where(masks == edge, edge + far * np.array([-1, -1, 1, 1]), masks)
    return reach - np.array([0, 0, patch.width - 1, patch.height - 1], np.int64)


def region(
    person: Float32Array, patch: PatchSize, width: int, height: int, where: Where
) -> tuple[Int64Array, Int64Array | None]:
    """Return the corner positions of a location class: a rectangle, and the rectangle taken out of it or None.

    person: (4,) xyxy in pixels. "over": the patch shares area with the person's box. "close": it does not, but the gap is
    within a tenth of the image's width across and of its height down. "far": the rest. "anywhere": all three.
    """
    size = np.array([patch.width, patch.height], np.float64)
    low, high = person[:2].astype(np.float64), person[2:].astype(np.float64)
    inside = np.array([1 - patch.width, 1 - patch.height, width, height], np.int64)
    over = _clip(np.concatenate([np.floor(low - size) + 1, np.ceil(high)]), inside)
    reach = CLOSE * np.array([width, height], np.float64)
    near = _clip(np.concatenate([np.ceil(low - reach - size), np.floor(high + reach) + 1]), inside)
    return {"anywhere": (inside, None), "over": (over, None), "close": (near, over), "far": (inside, near)}[where]


def _clip(rectangle: np.ndarray, within: Int64Array) -> Int64Array:
    low = np.clip(rectangle, np.tile(within[:2], 2), np.tile(within[2:], 2))
    return low.astype(np.int64)


def uncovered(whole: Int64Array, without: Int64Array | None, covers: Int64Array) -> tuple[bool, bool]:
    """Return whether the region has any position, and whether some position of it is in none of the rectangles.

    whole, without: the region, as `region` gives it. covers: (n, 4). All bounds are whole numbers, right and lower
    exclusive. This is exact: between two neighbouring bounds nothing changes, so each cell between bounds is tested once.
    """
    edges = [whole[None], covers.reshape(-1, 4)] + ([] if without is None else [without[None]])
    every = np.concatenate(edges)
    xs = np.unique(np.clip(every[:, 0::2], whole[0], whole[2]))
    ys = np.unique(np.clip(every[:, 1::2], whole[1], whole[3]))
    if len(xs) < 2 or len(ys) < 2:
        return False, False
    inside = np.ones((len(ys) - 1, len(xs) - 1), bool)
    if without is not None:
        inside &= ~_cells(without[None], xs, ys)
    return bool(inside.any()), bool((inside & ~_cells(covers, xs, ys)).any())


def _cells(rectangles: Int64Array, xs: Int64Array, ys: Int64Array) -> BoolArray:
    """Return which cells between neighbouring bounds lie in at least one rectangle."""
    out = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    x0, x1 = np.searchsorted(xs, rectangles[:, 0]), np.searchsorted(xs, rectangles[:, 2])
    y0, y1 = np.searchsorted(ys, rectangles[:, 1]), np.searchsorted(ys, rectangles[:, 3])
    for a, b, c, d in zip(x0, y0, x1, y1, strict=True):
        out[b:d, a:c] = True
    return out


DrawMasks = Callable[[int, int, np.random.Generator], list[Int64Array]]


def hide_tensor(images: torch.Tensor, masks: Sequence[Int64Array] | Int64Array) -> torch.Tensor:
    """Return images (b, 3, h, w) with grey under each mask; gradients pass everywhere else."""
    show = torch.ones((1, 1, *images.shape[2:]), dtype=images.dtype, device=images.device)
    for x0, y0, x1, y1 in masks:
        show[..., int(y0) : int(y1), int(x0) : int(x1)] = 0
    return images * show + (1 - show) * (FILL / 255)


class MaskedTwin(Twin):
    """An attacked detector that lists the candidates of the whole image and of masked views.

    The defence reports people that any view shows, so an attack has to lower all of them. A few views are drawn at each
    call, as in EOT: over many calls every view is drawn.
    """

    def __init__(self, inner: GradientDetector, draw: DrawMasks, *, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self._draw = draw

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of 32."""
        height, width = images.shape[2:]
        views = [images, *(hide_tensor(images, m) for m in self._draw(width, height, self._rng))]
        return joined(parted(self.inner.candidates(torch.cat(views)), len(views)))
