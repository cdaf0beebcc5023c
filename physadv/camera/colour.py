"""The colour map: what a camera sees of a printed colour, with its spread. For numpy images and for training.

A digital colour goes through one monotone curve per channel, a low-order polynomial that mixes the channels, and a second
monotone curve per channel (the camera's tone). "Camera colour" is what the camera's file holds: sRGB-coded, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch.nn.functional import grid_sample

from physadv.camera.colour_table import ColourTable
from physadv.errors import CalibrationError
from physadv.settings import one_line
from physadv.types import UInt8Array


def interpolate(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return channel-wise piecewise-linear curves at x.

    values: (3, k), the curves at k even steps over [0, 1]. x: (n, 3); beyond [0, 1] the curve stays at its end.
    """
    steps = values.shape[1] - 1
    position = x.T.clamp(0, 1) * steps
    low = position.detach().floor().clamp(max=steps - 1).long()
    start, stop = values.gather(1, low), values.gather(1, low + 1)
    return (start + (stop - start) * (position - low)).T


def polynomial(x: torch.Tensor, terms: list[tuple[int, int, int]]) -> torch.Tensor:
    """Return the (n, t) terms of a polynomial for x (n, 3)."""
    r, g, b = x.unbind(1)
    return torch.stack([r**i * g**j * b**k for i, j, k in terms], 1)


@dataclass(frozen=True, slots=True, eq=False)
class ColourMap:
    """Digital colour in, camera colour out, both RGB in [0, 1]; float32 tensors on one device.

    curve_in, curve_out: (3, k) monotone, at even steps over [0, 1]. terms: powers of each polynomial term. weights:
    (3, t). covariance: (3, 3) of what the map leaves unexplained from colour to colour. shift_covariance: (3, 3) of what
    differs from photograph to photograph (zero after one photograph).
    """

    curve_in: torch.Tensor
    terms: tuple[tuple[int, int, int], ...]
    weights: torch.Tensor
    curve_out: torch.Tensor
    covariance: torch.Tensor
    shift_covariance: torch.Tensor

    def __post_init__(self) -> None:
        for name, want in (("curve_in", (3, None)), ("curve_out", (3, None)), ("weights", (3, len(self.terms)))):
            value = getattr(self, name)
            if value.ndim != 2 or value.shape[0] != 3 or (want[1] and value.shape[1] != want[1]):
                raise CalibrationError(f"colour map: {name}: expected {want}, got {tuple(value.shape)}")
        for name in ("covariance", "shift_covariance"):
            if getattr(self, name).shape != (3, 3):
                raise CalibrationError(f"colour map: {name}: expected (3, 3), got {tuple(getattr(self, name).shape)}")

    def to(self, device: str | torch.device) -> ColourMap:
        """Return the same map on another device."""
        names = ("curve_in", "weights", "curve_out", "covariance", "shift_covariance")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def colours(self, digital: torch.Tensor) -> torch.Tensor:
        """Return (n, 3) camera colours for (n, 3) digital colours. Differentiable."""
        mixed = (
            polynomial(interpolate(self.curve_in.to(digital), digital), list(self.terms)) @ self.weights.to(digital).T
        )
        return interpolate(self.curve_out.to(digital), mixed)

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (b, 3, h, w) in [0, 1] as the camera would see them printed, same shape. Differentiable."""
        b, _, h, w = images.shape
        flat = images.permute(0, 2, 3, 1).reshape(-1, 3)
        return self.colours(flat).reshape(b, h, w, 3).permute(0, 3, 1, 2)

    def sample_residual(self, batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return (batch, 3, 1, 1) draws of the map's error, to be added to what `apply` returns.

        Each is one photograph's shift plus one colour's residual; the generator lives on the CPU, the result where the
        map lives.
        """
        spread = (self.covariance + self.shift_covariance).double().cpu()
        values, vectors = torch.linalg.eigh(spread)
        root = vectors * values.clamp_min(0).sqrt()
        draws = torch.randn(batch, 3, generator=generator, dtype=torch.float64) @ root.T
        return draws.to(self.weights).reshape(batch, 3, 1, 1)

    def image(self, pixels: UInt8Array) -> UInt8Array:
        """Return an (h, w, 3) uint8 RGB image as the camera would see it printed."""
        flat = torch.from_numpy(np.array(pixels).reshape(-1, 3)).float().div_(255)
        with torch.inference_mode():
            parts = [self.colours(part.to(self.weights.device)).cpu() for part in torch.split(flat, 1 << 20)]
        out = torch.cat(parts).clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        return np.ascontiguousarray(out.numpy().reshape(pixels.shape))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "curve_in": _plain(self.curve_in),
            "terms": [list(t) for t in self.terms],
            "weights": _plain(self.weights),
            "curve_out": _plain(self.curve_out),
            "covariance": _plain(self.covariance, digits=9),
            "shift_covariance": _plain(self.shift_covariance, digits=9),
        }

    def table(self) -> ColourTable:
        """Return the map as a profile holds it."""
        return ColourTable.model_validate(self.to_dict())

    @classmethod
    def from_dict(cls, table: ColourTable | dict[str, Any], *, name: str) -> ColourMap:
        """Return the map that `to_dict` wrote.

        Raises: CalibrationError naming `name` and the field that is missing, malformed, not finite or not monotone.
        """
        try:
            checked = table if isinstance(table, ColourTable) else ColourTable.model_validate(table)
        except ValidationError as error:
            raise CalibrationError(f"{name}: map: {one_line(error)}") from error
        fields = {key: torch.tensor(value) for key, value in checked.model_dump(exclude={"terms"}).items()}
        return cls(terms=tuple((t[0], t[1], t[2]) for t in checked.terms), **fields)

    @classmethod
    def identity(cls) -> ColourMap:
        """Return the map of a perfect printer and camera: colours as they are, no spread."""
        line = torch.linspace(0, 1, 2).repeat(3, 1)
        weights = torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        zero = torch.zeros(3, 3)
        return cls(line, ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)), weights, line.clone(), zero, zero.clone())


def _plain(value: torch.Tensor, *, digits: int = 7) -> list[list[float]]:
    return [[round(float(v), digits) for v in row] for row in value.cpu()]


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Any map of RGB to RGB as a table on even steps, read trilinearly. Differentiable.

    values: (s, s, s, 3), what the map gives at red, green and blue steps (in that order of axes) over [0, 1].
    """

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
