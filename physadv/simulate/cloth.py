"""Cloth: a print that is stretched, wrinkled and folded with its wearer's body."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.simulate.geometry import pixel_grid
from physadv.simulate.spline import spline_basis
from physadv.simulate.transform import Draw, Transform, normal, uniform

CONTROL = 5
FIELD = 20
FOLDS = 2


@dataclass(frozen=True, slots=True, eq=False)
class ClothDraw(Draw):
    """How cloth lies.

    control: (b, 25, 2) shifts of the control points, in half sides. stretch: (b, 2) factors. folds: (b, 2, 5) each fold's
    direction (radians), place (half sides), width (half sides), depth, and shade.
    """

    control: torch.Tensor
    stretch: torch.Tensor
    folds: torch.Tensor


class Cloth(Transform[ClothDraw]):
    """Thin-plate-spline wrinkles, stretch, and folds that shade.

    Source: Xu et al. 2020 (Adversarial T-shirt), thin-plate splines; the spline is linear in its control points, so its
    basis is solved once and each draw is one small matrix product.
    """

    wrinkle: float = Field(default=0.05, ge=0, le=0.3, description="spread of a control point's shift, in half sides")
    fold: float = Field(default=0.35, ge=0, le=1, description="how dark a fold can get")

    def sample(self, batch: int, generator: torch.Generator) -> ClothDraw:
        """Return wrinkles and folds for `batch` prints."""
        s = self.strength
        folds = torch.stack(
            [
                uniform((batch, FOLDS), 0, math.pi, generator),
                uniform((batch, FOLDS), -1, 1, generator),
                uniform((batch, FOLDS), 0.08, 0.35, generator),
                normal((batch, FOLDS), 0.03 * s, generator),
                normal((batch, FOLDS), self.fold * s / 2, generator),
            ],
            2,
        )
        stretch = 1 + normal((batch, 2), 0.05 * s, generator)
        return ClothDraw(normal((batch, CONTROL * CONTROL, 2), self.wrinkle * s, generator), stretch, folds)

    def apply(self, images: torch.Tensor, params: ClothDraw) -> torch.Tensor:
        """Return images (b, c, h, w) worn on moving cloth; the border's colours continue outwards."""
        if self.strength == 0:
            return images
        grid, shade = self.fields(params, images.shape[-2:])
        warped = F.grid_sample(images, grid.to(images), padding_mode="border", align_corners=False)
        return warped * shade.to(images)

    def fields(self, params: ClothDraw, size: tuple[int, int] | torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where each pixel of (h, w) looks, (b, h, w, 2) in [-1, 1], and its shading (b, 1, h, w)."""
        points = _field_points().to(params.control)
        basis = _wrinkles().to(params.control)
        shift = torch.einsum("pk,bkc->bpc", basis, params.control)
        angle, place, width, depth, dark = params.folds.unbind(2)
        across = torch.stack([angle.cos(), angle.sin()], -1)
        distance = (torch.einsum("pc,bfc->bfp", points, across) - place[..., None]) / width[..., None]
        ridge = torch.exp(-0.5 * distance**2)
        # Light falls from one side: one flank of a fold is brighter, the other darker, as the slope of its ridge.
        shade = 1 + (dark[..., None] * distance * ridge).sum(1)
        shift = shift + torch.einsum("bfp,bfc->bpc", depth[..., None] * ridge, across)
        both = torch.cat([shift, shade[..., None]], 2).transpose(1, 2).reshape(-1, 3, FIELD, FIELD)
        # The coarse field holds shifts, not places: places read from it were off by up to 5 pixels of 224 at the rim of a
        # print without any wrinkle, and the outermost pixels got a third of their gradient or none.
        pixels = pixel_grid(size).to(params.control).expand(len(both), -1, -1, -1)
        fine = F.grid_sample(both, pixels, align_corners=True)
        where = pixels * params.stretch[:, None, None] + fine[:, :2].permute(0, 2, 3, 1)
        return where, fine[:, 2:].clamp(0.3, 1.7)


@cache
@torch.inference_mode(False)
def _field_points() -> torch.Tensor:
    """Return the (FIELD^2, 2) nodes of a grid over [-1, 1]^2 whose outermost lie on the rim, x first."""
    line = torch.linspace(-1, 1, FIELD)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


@cache
@torch.inference_mode(False)
def _wrinkles() -> torch.Tensor:
    """Return (FIELD^2, 25): how far each field point moves when one control point moves by one."""
    line = torch.linspace(-1, 1, CONTROL, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return spline_basis(torch.stack([x, y], -1).reshape(-1, 2), _field_points()).float()
