"""Geometry: how a flat print is turned, tilted, nearer or off its place, and a tall one folded across."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from kornia.geometry.transform import get_perspective_transform
from pydantic import Field

from physadv.simulate.transform import Draw, Transform, apart, chance, normal, uniform

# Distance of the eye in half sides: a 40 cm print seen from about a metre and a half.
EYE = 7.0
CORNERS = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
# Where a print from chest to thighs is folded, down its half sides: from the waist to below the hips.
HINGE = (-0.1, 0.4)
# How far the part below is tilted towards the camera, by somebody who steps and by one who sits.
FOLDED_DEG = (15.0, 60.0)
# Spread of how far it goes aside, half widths a half height: about ten degrees.
STEP = 0.3
FLAT = (1.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class GeometryDraw(Draw):
    """turn, yaw, pitch: (b,) radians. scale: (b,) factor. shift: (b, 2) in half sides, x right, y down. fold: (b, 3) as of
    `unfolded`; (1, 1, 0) folds nothing."""

    turn: torch.Tensor
    yaw: torch.Tensor
    pitch: torch.Tensor
    scale: torch.Tensor
    shift: torch.Tensor
    fold: torch.Tensor


class Geometry(Transform[GeometryDraw]):
    """In-plane rotation, perspective from yaw and pitch, scale and offset; prints down to the thighs are folded too."""

    turn_deg: float = Field(default=8.0, ge=0, le=180, description="spread of the in-plane rotation")
    yaw_deg: float = Field(default=20.0, ge=0, le=75, description="largest turn about the vertical")
    pitch_deg: float = Field(default=10.0, ge=0, le=60, description="largest tilt")
    scale: float = Field(default=0.15, ge=0, le=0.6, description="largest change of size")
    shift: float = Field(default=0.12, ge=0, le=1, description="spread of the place, in half sides")
    hinge: float = Field(default=0.5, ge=0, le=1, description="share of prints down to the thighs that are folded")

    def sample(self, batch: int, generator: torch.Generator) -> GeometryDraw:
        """Return poses for `batch` prints."""
        s = self.strength
        yaw = math.radians(min(self.yaw_deg * s, 75))
        pitch = math.radians(min(self.pitch_deg * s, 60))
        low, high = -math.log1p(self.scale * s), math.log1p(self.scale * s)
        return GeometryDraw(
            normal((batch,), math.radians(self.turn_deg * s), generator),
            # The triangular law: people mostly face the camera.
            (uniform((batch,), -1, 1, generator) + uniform((batch,), -1, 1, generator)) / 2 * yaw,
            uniform((batch,), -pitch, pitch, generator),
            uniform((batch,), low, high, generator).exp(),
            normal((batch, 2), self.shift * s, generator),
            self._folds(batch, apart(generator)),
        )

    def _folds(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        """Return (batch, 3) folds. The strength says how often: who sits down folds a print whole, in any world."""
        angle = uniform((batch,), math.radians(FOLDED_DEG[0]), math.radians(FOLDED_DEG[1]), generator)
        folded = torch.stack(
            [uniform((batch,), HINGE[0], HINGE[1], generator), angle.cos(), normal((batch,), STEP, generator)], dim=1
        )
        hit = chance(batch, min(self.hinge * self.strength, 1), generator)
        return torch.where(hit[:, None], folded, torch.tensor(FLAT))

    def corners(self, params: GeometryDraw, aspect: torch.Tensor | None = None) -> torch.Tensor:
        """Return (b, 4, 2) where the corners of the unit square [-1, 1]^2 go, in half sides.

        aspect: (b,) width over height of what it stands for, 1 if None: a turned banner stays a rectangle.
        """
        x, y = CORNERS.to(params.scale).T
        wide = torch.ones_like(params.scale) if aspect is None else aspect.to(params.scale).sqrt()
        sides = torch.stack([wide, 1 / wide], 1)[:, None]
        x, y = x[None] * params.scale[:, None] * sides[..., 0], y[None] * params.scale[:, None] * sides[..., 1]
        turn, yaw, pitch = params.turn[:, None], params.yaw[:, None], params.pitch[:, None]
        x, y = x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()
        x, depth = x * yaw.cos(), x * yaw.sin()
        y, depth = y * pitch.cos() - depth * pitch.sin(), y * pitch.sin() + depth * pitch.cos()
        near = EYE / (EYE + depth)
        return torch.stack([x * near, y * near], -1) / sides + params.shift[:, None]

    def quads(self, quads: torch.Tensor, params: GeometryDraw) -> torch.Tensor:
        """Return quads (b, 4, 2) in pixels after the change of pose, each within its own plane."""
        width, height = sides_px(quads).clamp_min(1e-6).unbind(1)
        return project(homography(quads), self.corners(params, width / height))

    def apply(self, images: torch.Tensor, params: GeometryDraw) -> torch.Tensor:
        """Return images (b, c, h, w) turned within their own frame, with zeros around them."""
        if self.strength == 0:
            return images
        h, w = images.shape[-2:]
        inverse = torch.linalg.inv(homography(self.corners(params)))
        points = pixel_grid((h, w), images.device).reshape(1, -1, 2).expand(len(images), -1, -1).to(inverse)
        grid = project(inverse, points).reshape(-1, h, w, 2).to(images)
        return F.grid_sample(images, grid, align_corners=False)


def unfolded(u: torch.Tensor, v: torch.Tensor, fold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return where on a flat print places u, v (m, h, w) of a folded one lie, and how high a half side is there.

    fold: (m, 3): `place`, down the print's half sides, from which on it is seen shorter by the factor `length` and sheared
    by `aside`, half widths a half height. All places and the first two results count in half sides, [-1, 1].
    """
    place, length, aside = fold[..., None, None].unbind(1)
    below = (v - place).clamp_min(0) / length
    return u - aside * below, v.minimum(place) + below, torch.where(v > place, length, 1.0)


def folded_outlines(quads: torch.Tensor, fold: torch.Tensor) -> torch.Tensor:
    """Return (m, 6, 2) corners, in pixels, of prints on quads (m, 4, 2) that are folded as in `unfolded`."""
    place, length, aside = fold[..., None].unbind(1)
    left, right, shift = -torch.ones_like(place), torch.ones_like(place), aside * (1 - place)
    x = torch.cat([left, right, left, right, left + shift, right + shift], 1)
    end = place + length * (1 - place)
    y = torch.cat([left, left, place, place, end, end], 1)
    return project(homography(quads), torch.stack([x, y], 2))


def pixel_grid(size: tuple[int, int] | torch.Size, device: torch.device | None = None) -> torch.Tensor:
    """Return (1, h, w, 2): the centres of the pixels of (h, w) over [-1, 1]^2, x first."""
    across, down = ((torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in reversed(size))
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([x, y], -1)[None]


def sides_px(quads: torch.Tensor) -> torch.Tensor:
    """Return (m, 2) mean width and height of quads (m, 4, 2) in pixels."""
    a, b, c, d = quads.unbind(1)
    width = ((b - a).norm(dim=1) + (c - d).norm(dim=1)) / 2
    height = ((d - a).norm(dim=1) + (c - b).norm(dim=1)) / 2
    return torch.stack([width, height], 1)


def homography(quads: torch.Tensor) -> torch.Tensor:
    """Return (b, 3, 3) maps from the unit square [-1, 1]^2 to quads (b, 4, 2), corners in the order of `CORNERS`."""
    return get_perspective_transform(CORNERS.to(quads).expand_as(quads).contiguous(), quads)


def project(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return points (b, k, 2) through maps (b, 3, 3)."""
    out = points @ maps[:, :, :2].transpose(1, 2) + maps[:, None, :, 2]
    return out[..., :2] / out[..., 2:]
