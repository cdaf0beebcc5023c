"""Render the image to print at 300 dots an inch, in pieces: sheets of one print join without a seam.

A cell of a trained pattern is an area of one colour: what the trainer shows the detector is the average of those areas
over each camera pixel. Printed as areas ("texel") the camera's own optics take that average. "smooth" interpolates
between the cells' centres instead, as an image viewer would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from physadv.fabricate.settings import Texels
from physadv.fabricate.units import MM_PER_INCH
from physadv.patch import Patch
from physadv.types import Float32Array, UInt8Array

Positions = npt.NDArray[np.floating]
DPI = 300
WHITE = 255.0


@dataclass(frozen=True)
class Raster(ABC):
    """An image of a size in millimetres on a grid of about 300 dots an inch, rendered piece by piece.

    width, height: of the grid, in dots; the grid fits the size exactly, so its pitch is within half a dot over the whole
    print of 1/300 inch.
    """

    width_mm: float
    height_mm: float

    @property
    def width(self) -> int:
        """Return the dots across."""
        return max(1, round(self.width_mm * DPI / MM_PER_INCH))

    @property
    def height(self) -> int:
        """Return the dots down."""
        return max(1, round(self.height_mm * DPI / MM_PER_INCH))

    @abstractmethod
    def at(self, rows: Positions, columns: Positions) -> UInt8Array:
        """Return the image where `rows` and `columns` cross, (h, w, 4) uint8 RGBA, straight alpha.

        rows, columns: evenly spaced positions in dots, .5 being the middle of the first.
        """

    def piece(self, x0: int, y0: int, x1: int, y1: int) -> UInt8Array:
        """Return the dots x0..x1, y0..y1 as (y1-y0, x1-x0, 4) uint8 RGBA, straight alpha."""
        return self.at(np.arange(y0, y1) + 0.5, np.arange(x0, x1) + 0.5)

    def small(self, width: int, height: int) -> UInt8Array:
        """Return the whole image on white as (height, width, 3) uint8, each pixel the mean of sixteen samples."""
        step = 4
        rows = (np.arange(height * step) + 0.5) * (self.height / (height * step))
        columns = (np.arange(width * step) + 0.5) * (self.width / (width * step))
        fine = on_white(self.at(rows, columns)).astype(np.float32).reshape(height, step, width, step, 3)
        return (fine.mean((1, 3)) + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class PatternRaster(Raster):
    """One pattern stretched over the whole size. mirrored: left and right exchanged, for transfers ironed face down."""

    patch: Patch
    texels: Texels = "texel"
    mirrored: bool = False

    def at(self, rows: Positions, columns: Positions) -> UInt8Array:
        """Return the image where `rows` and `columns` cross, (h, w, 4) uint8 RGBA, straight alpha."""
        h, w = self.patch.mask.shape
        across = columns * (w / self.width)
        return sample(self._rgba, rows * (h / self.height), w - across if self.mirrored else across, self.texels)

    @cached_property
    def _rgba(self) -> UInt8Array:
        return self.patch.rgba()


def sample(rgba: UInt8Array, rows: Positions, columns: Positions, texels: Texels) -> UInt8Array:
    """Return an (h, w, 4) image sampled at every crossing of `rows` and `columns`.

    rows, columns: 1-d positions in texels, 0 at the outer edge of the first texel. texels: "texel" takes the one that
    holds the position; "smooth" is linear between the four nearest centres, the outermost repeated beyond the edge, with
    colour weighted by the mask. The mask itself stays hard in either case.
    """
    h, w = rgba.shape[:2]
    r0, c0 = np.clip(rows.astype(int), 0, h - 1), np.clip(columns.astype(int), 0, w - 1)
    nearest = rgba[r0][:, c0]
    if texels == "texel":
        return nearest
    alpha = (rgba[..., 3:] > 127).astype(np.float32)
    premultiplied = np.dstack([rgba[..., :3] * alpha, alpha])
    out = _linear(_linear(premultiplied, rows, axis=0), columns, axis=1)
    blended = out[..., :3] / np.maximum(out[..., 3:], 1e-3)
    nearest[..., :3] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
    return nearest


def _linear(a: Float32Array, at: Positions, *, axis: int) -> Float32Array:
    """Return `a` interpolated along `axis` at positions `at`, in units whose texel centres lie at .5, 1.5, ..."""
    last = a.shape[axis] - 1
    position = np.clip(at - 0.5, 0, last)
    low = np.minimum(position.astype(int), max(last - 1, 0))
    fraction = (position - low).astype(np.float32)
    fraction = fraction.reshape([-1 if i == axis else 1 for i in range(a.ndim)])
    first, second = np.take(a, low, axis), np.take(a, np.minimum(low + 1, last), axis)
    second -= first
    second *= fraction
    second += first
    return second


def on_white(rgba: UInt8Array) -> UInt8Array:
    """Return (h, w, 3) uint8: the image on white paper, its transparency hard."""
    if (rgba[..., 3] > 127).all():
        return np.ascontiguousarray(rgba[..., :3])
    return np.where(rgba[..., 3:] > 127, rgba[..., :3], np.uint8(WHITE))
