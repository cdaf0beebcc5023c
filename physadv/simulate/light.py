"""Light on a print: brightness, contrast, white balance, a gradient, a cast shadow, glare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import Field

from physadv.simulate.transform import Draw, Transform, chance, normal, uniform


@dataclass(frozen=True, slots=True, eq=False)
class LightDraw(Draw):
    """How light falls.

    gain, offset: (b, 3) on the colours. slope: (b, 2) of the gradient. shadow: (b, 4) direction's cosine and sine, place,
    darkness. glare: (b, 4) place x, y, radius in half sides, and strength.
    """

    gain: torch.Tensor
    offset: torch.Tensor
    slope: torch.Tensor
    shadow: torch.Tensor
    glare: torch.Tensor


class Light(Transform[LightDraw]):
    """Colours as lit: an affine change of each channel, a smooth field times it, and a highlight added."""

    brightness: float = Field(default=0.08, ge=0, le=0.5)
    contrast: float = Field(default=0.15, ge=0, le=0.8)
    white_balance: float = Field(default=0.05, ge=0, le=0.3)
    gradient: float = Field(default=0.15, ge=0, le=0.8)
    shadow: float = Field(default=0.5, ge=0, le=0.9, description="how dark a cast shadow can be")
    glare: float = Field(default=0.35, ge=0, le=1)

    def sample(self, batch: int, generator: torch.Generator) -> LightDraw:
        """Return the light on `batch` prints; about a quarter get a shadow and a sixth a highlight."""
        s = self.strength
        contrast = 1 + normal((batch, 1), self.contrast * s, generator, limit=2)
        balance = 1 + normal((batch, 3), self.white_balance * s, generator)
        gain = (contrast * balance).clamp_min(0.2)
        middle = 0.5 + normal((batch, 1), self.brightness * s, generator)
        angle = uniform((batch,), 0, 2 * math.pi, generator)
        dark = uniform((batch,), 0.1, 1, generator) * min(self.shadow * s, 0.9) * chance(batch, 0.25, generator)
        place = uniform((batch,), -0.8, 0.8, generator)
        shine = uniform((batch,), 0.1, 1, generator) * self.glare * s * chance(batch, 0.16, generator)
        spot = uniform((batch, 2), -0.9, 0.9, generator)
        radius = uniform((batch,), 0.2, 0.7, generator)
        return LightDraw(
            gain,
            middle - 0.5 * gain,
            normal((batch, 2), self.gradient * s, generator),
            torch.stack([angle.cos(), angle.sin(), place, dark], 1),
            torch.cat([spot, radius[:, None], shine[:, None]], 1),
        )

    def apply(self, images: torch.Tensor, params: LightDraw) -> torch.Tensor:
        """Return images (b, 3, h, w) as lit; values may leave [0, 1] until the sensor clips them."""
        if self.strength == 0:
            return images
        field, shine = self.fields(params, images.shape[-2], images.shape[-1])
        lit = images * params.gain[..., None, None].to(images) + params.offset[..., None, None].to(images)
        return lit * field.to(images) + shine.to(images)

    def fields(self, params: LightDraw, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the shading to multiply by and the highlight to add, both (b, 1, h, w)."""
        device = params.gain.device
        y = ((torch.arange(h, device=device) + 0.5) / h * 2 - 1)[None, :, None]
        x = ((torch.arange(w, device=device) + 0.5) / w * 2 - 1)[None, None, :]
        slope, shadow, glare = (t[..., None, None] for t in (params.slope, params.shadow, params.glare))
        gradient = (1 + slope[:, 0] * x + slope[:, 1] * y).clamp(0.3, 1.7)
        edge = torch.sigmoid((shadow[:, 0] * x + shadow[:, 1] * y - shadow[:, 2]) / 0.06)
        spot = torch.exp(-((x - glare[:, 0]) ** 2 + (y - glare[:, 1]) ** 2) / (2 * glare[:, 2] ** 2))
        return (gradient * (1 - shadow[:, 3] * edge))[:, None], (glare[:, 3] * spot)[:, None]
