"""A colour lattice: any map of RGB to RGB as a table on even steps, read trilinearly. Differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import grid_sample


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """values: (s, s, s, 3), what the map gives at red, green and blue steps (in that order of axes) over [0, 1]."""

    values: torch.Tensor

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[float]]) -> Lattice:
        """Return a lattice from s**3 rows, blue running fastest.

        Raises: ValueError if the number of rows is no cube.
        """
        steps = round(len(rows) ** (1 / 3))
        if steps**3 != len(rows) or steps < 2:
            raise ValueError(f"rows: expected a cube of 2 or more, got {len(rows)}")
        return cls(torch.tensor(rows, dtype=torch.float32).reshape(steps, steps, steps, 3))

    @staticmethod
    def nodes(steps: int) -> torch.Tensor:
        """Return the (steps**3, 3) colours at the nodes, blue running fastest."""
        line = torch.linspace(0, 1, steps)
        return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mapped images, (b, 3, h, w) in [0, 1], same shape; values beyond the range count as its ends."""
        b, _, h, w = images.shape
        table = self.values.to(images).permute(3, 0, 1, 2)[None]
        # grid_sample reads (x, y, z) along (width, height, depth) of the table, which are blue, green, red here.
        at = images.permute(0, 2, 3, 1).flip(-1).mul(2).sub(1).reshape(1, 1, b * h, w, 3)
        out = grid_sample(table, at, mode="bilinear", padding_mode="border", align_corners=True)
        return out.reshape(3, b, h, w).permute(1, 0, 2, 3)
