"""The part of an image that a person's maps are of, cut into equal cells."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from physadv.types import Float32Array, Int64Array, UInt8Array

# Around the box, as a part of its sides: what the detector takes from beside a person is seen too.
MARGIN = 0.15
# Side of a cell, as a part of the root of the box's area: some 20 rows for somebody who stands.
CELL = 0.1


@dataclass(frozen=True, slots=True)
class CellGrid:
    """A box of whole pixels, xyxy, in rows and columns of cells."""

    left: int
    top: int
    right: int
    bottom: int
    rows: int
    columns: int

    @classmethod
    def around(cls, box: Float32Array, size: tuple[int, int], *, cell: float = CELL) -> CellGrid:
        """Return the region of a person's box (4,) in an image of (width, height)."""
        x0, y0, x1, y1 = box.tolist()
        wide, high = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
        left, top = max(round(x0 - wide), 0), max(round(y0 - high), 0)
        right, bottom = min(round(x1 + wide), size[0]), min(round(y1 + high), size[1])
        side = max(cell * float(np.sqrt(max((x1 - x0) * (y1 - y0), 1))), 1.0)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        rows, columns = (min(max(round(extent / side), 1), extent) for extent in (bottom - top, right - left))
        return cls(left, top, right, bottom, rows, columns)

    @property
    def cells(self) -> int:
        """Return how many cells there are."""
        return self.rows * self.columns

    def of(self, heat: Float32Array) -> Float32Array:
        """Return (rows, columns) means of a map (h, w) of the whole image over the cells."""
        part = heat[self.top : self.bottom, self.left : self.right]
        # By area each cell gets the mean of exactly what it covers, also where sides are no multiples.
        return np.asarray(cv2.resize(part, (self.columns, self.rows), interpolation=cv2.INTER_AREA), np.float32)

    def labels(self) -> Int64Array:
        """Return (h, w) of the region: the number of the cell that each pixel lies in, row by row."""
        y = np.arange(self.bottom - self.top) * self.rows // (self.bottom - self.top)
        x = np.arange(self.right - self.left) * self.columns // (self.right - self.left)
        return y[:, None] * self.columns + x[None]

    def filled(self, image: UInt8Array, where: np.ndarray, filling: UInt8Array | int) -> UInt8Array:
        """Return a copy of an (h, w, 3) image in which the cells of a mask (cells,) show `filling`: a grey, or an image."""
        out = image.copy()
        part = out[self.top : self.bottom, self.left : self.right]
        inside = where[self.labels()]
        part[inside] = (
            filling if isinstance(filling, int) else filling[self.top : self.bottom, self.left : self.right][inside]
        )
        return out
