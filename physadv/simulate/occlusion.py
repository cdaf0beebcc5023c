"""Partial occlusion: blocks of a print that something hides, and forearms in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field

from physadv.simulate.transform import Draw, Transform, chance, uniform

BLOCKS = 2


@dataclass(frozen=True, slots=True, eq=False)
class OcclusionDraw(Draw):
    """blocks: (b, 2, 4) hidden rectangles x0, y0, x1, y1 in half sides; one outside the print hides nothing. arms: (b, 2),
    True for each of the wearer's forearms, where it is known, that is in front of the print and not behind it."""

    blocks: torch.Tensor
    arms: torch.Tensor


class Occlusion(Transform[OcclusionDraw]):
    """Block-wise erasing: no single part of the pattern may carry the effect.

    Source: DePatch (2024), block-wise decoupling; here blocks become transparent, as behind a bag, a hand or a fold. Arms
    lie in the image and not in the print: `World.apply` puts them there.
    """

    share: float = Field(default=0.12, ge=0, le=0.6, description="share of the print that a block can hide")
    probability: float = Field(default=0.4, ge=0, le=1)
    arms: float = Field(default=0.5, ge=0, le=1, description="share of forearms that are in front of the print")

    def sample(self, batch: int, generator: torch.Generator) -> OcclusionDraw:
        """Return hidden blocks for `batch` prints."""
        hit = chance(batch, min(self.probability * self.strength, 1), generator)
        area = uniform((batch, BLOCKS), 0.1, 1, generator) * min(self.share * self.strength, 0.6) * 4 / BLOCKS
        aspect = uniform((batch, BLOCKS), -0.7, 0.7, generator).exp()
        half = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], -1) / 2
        centre = uniform((batch, BLOCKS, 2), -1, 1, generator)
        blocks = torch.cat([centre - half, centre + half], -1)
        arms = uniform((batch, 2), 0, 1, generator) < self.arms * self.strength
        return OcclusionDraw(torch.where(hit[:, None, None], blocks, torch.full_like(blocks, 2.0)), arms)

    def apply(self, images: torch.Tensor, params: OcclusionDraw) -> torch.Tensor:
        """Return images (b, c, h, w) with the last channel, their opacity, 0 in the hidden blocks."""
        if self.strength == 0:
            return images
        hidden = self.hidden(params, images.shape[-2], images.shape[-1]).to(images)
        return torch.cat([images[:, :-1], images[:, -1:] * (1 - hidden)], 1)

    def hidden(self, params: OcclusionDraw, h: int, w: int) -> torch.Tensor:
        """Return the (b, 1, h, w) share of each texel that is hidden, in [0, 1]."""
        x0, y0, x1, y1 = params.blocks.unbind(-1)
        # By area: a block that ended at whole texels would hide up to a tenth more or less of a pattern of 48.
        shares = _covered(y0, y1, h)[..., :, None] * _covered(x0, x1, w)[..., None, :]
        return 1 - (1 - shares).prod(1, keepdim=True)


def _covered(low: torch.Tensor, high: torch.Tensor, count: int) -> torch.Tensor:
    """Return (b, k, count): the share of each of `count` cells of [-1, 1] that lies between low and high (b, k)."""
    cells = torch.arange(count, device=low.device) / count * 2 - 1
    size = 2 / count
    return ((high[..., None] - cells).clamp(0, size) - (low[..., None] - cells).clamp(0, size)) / size
