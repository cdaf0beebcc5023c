"""The camera: blur, lost resolution, exposure, noise, chroma subsampling and JPEG, on whole pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.simulate.jpeg import jpeg, subsample_chroma
from physadv.simulate.transform import Draw, Transform, chance, normal, uniform

KERNEL = 7
NOISE_SIDE = 512


@dataclass(frozen=True, slots=True, eq=False)
class SensorDraw(Draw):
    """All (b,): 0 means that an effect is absent, but for `exposure`, a factor.

    defocus: blur's sigma in pixels. motion: length in pixels along `angle`. shrink: factor above 1 by which resolution
    falls. noise: standard deviation, taken at `noise_at` of a fixed table. chroma: 1 for 4:2:0. quality: of the JPEG.
    """

    defocus: torch.Tensor
    motion: torch.Tensor
    angle: torch.Tensor
    shrink: torch.Tensor
    exposure: torch.Tensor
    noise: torch.Tensor
    noise_at: torch.Tensor
    chroma: torch.Tensor
    quality: torch.Tensor


class Sensor(Transform[SensorDraw]):
    """What lens, sensor and codec do to a picture. Each effect strikes some pictures of a batch, so a step stays cheap.

    kornia's JPEG and blurs are not used here: at 540 and 46 ms a picture of 256 pixels on two CPU cores they cost
    more than the detector; these take about 6 and 3.
    """

    blur: float = Field(default=1.2, ge=0, le=6, description="largest defocus, pixels of sigma")
    motion: float = Field(default=4.0, ge=0, le=KERNEL, description="longest motion blur, pixels")
    shrink: float = Field(default=2.0, ge=1, le=6, description="largest loss of resolution")
    exposure: float = Field(default=0.12, ge=0, le=0.6)
    noise: float = Field(default=0.03, ge=0, le=0.2)
    quality: int = Field(default=50, ge=5, le=95, description="lowest JPEG quality")
    often: float = Field(
        default=0.2, ge=0, le=1, description="share of pictures that each effect strikes at strength 1"
    )

    def sample(self, batch: int, generator: torch.Generator) -> SensorDraw:
        """Return a camera for each of `batch` pictures."""
        s = self.strength
        often = min(self.often * s, 1.0)

        def some(low: float, high: float) -> torch.Tensor:
            return uniform((batch,), low, max(high, low), generator) * chance(batch, often, generator)

        lowest = max(100 - (100 - self.quality) * s, 5)
        return SensorDraw(
            defocus=some(0.3, self.blur * s),
            motion=some(1.5, min(self.motion * s, KERNEL)),
            angle=uniform((batch,), 0, math.pi, generator),
            shrink=some(1.2, 1 + (self.shrink - 1) * s),
            exposure=normal((batch,), self.exposure * s, generator).exp(),
            noise=some(0.003, self.noise * s),
            noise_at=torch.randint(0, NOISE_SIDE * NOISE_SIDE, (batch,), generator=generator),
            chroma=chance(batch, often, generator).float(),
            quality=some(lowest, 95) if s else torch.zeros(batch),
        )

    def apply(self, images: torch.Tensor, params: SensorDraw) -> torch.Tensor:
        """Return pictures (b, 3, h, w) as the camera gives them, clipped to [0, 1]."""
        if self.strength == 0:
            return images.clamp(0, 1)
        p = params
        images = images * p.exposure.to(images)[:, None, None, None]
        images = _some(images, (p.defocus > 0) | (p.motion > 0), lambda x, i: blur(x, kernels(p.pick(i))))
        images = _some(images, p.shrink > 1, lambda x, i: lose_resolution(x, p.shrink[i]))
        images = images.clamp(0, 1)
        images = _some(images, p.noise > 0, lambda x, i: x + noise_of(p.noise_at[i], x) * _wide(p.noise[i], x))
        images = _some(images, p.chroma > 0, lambda x, _: subsample_chroma(x))
        images = _some(images, p.quality > 0, lambda x, i: jpeg(x.clamp(0, 1), p.quality[i]))
        return images.clamp(0, 1)


def kernels(params: SensorDraw) -> torch.Tensor:
    """Return (b, 7, 7) blur kernels that sum to 1: a Gaussian smeared along a line."""
    line = torch.arange(KERNEL, device=params.defocus.device) - KERNEL // 2
    y, x = torch.meshgrid(line.float(), line.float(), indexing="ij")
    cos, sin = params.angle.cos()[:, None, None], params.angle.sin()[:, None, None]
    along, aside = x * cos + y * sin, y * cos - x * sin
    spread = params.defocus.clamp_min(0.35)[:, None, None]
    # A box of the motion's length convolved with the Gaussian, along the line; the Gaussian alone across it.
    half = params.motion[:, None, None] / 2
    smear = torch.erf((along + half.clamp_min(0.05)) / spread) - torch.erf((along - half.clamp_min(0.05)) / spread)
    out = smear * torch.exp(-0.5 * (aside / spread) ** 2)
    return out / out.sum((1, 2), keepdim=True)


def blur(images: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Return images (b, c, h, w), each blurred by its own kernel (b, k, k); the border's colours continue outwards."""
    b, c, h, w = images.shape
    pad = kernel.shape[-1] // 2
    padded = F.pad(images, (pad,) * 4, mode="replicate").reshape(1, b * c, h + 2 * pad, w + 2 * pad)
    weight = kernel.to(images)[:, None].repeat_interleave(c, 0)
    return F.conv2d(padded, weight, groups=b * c).reshape(b, c, h, w)


def lose_resolution(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return images (b, c, h, w) shrunk by each one's factor and enlarged again."""
    h, w = images.shape[-2:]
    out = []
    for i, f in enumerate(factor.tolist()):
        small = F.interpolate(images[i : i + 1], size=(max(round(h / f), 1), max(round(w / f), 1)), mode="area")
        out.append(F.interpolate(small, size=(h, w), mode="bilinear", align_corners=False))
    return torch.cat(out)


def noise_of(at: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return unit noise like images (b, c, h, w): a fixed table, rolled to each one's place `at`."""
    _, c, h, w = images.shape
    table = _noise_table().to(images)
    rolled = [table.roll((int(a) // NOISE_SIDE, int(a) % NOISE_SIDE), (1, 2)) for a in at.tolist()]
    tall, wide = -(-h // NOISE_SIDE), -(-w // NOISE_SIDE)
    return torch.stack(rolled).repeat(1, 1, tall, wide)[:, :c, :h, :w]


@cache
def _noise_table() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, NOISE_SIDE, NOISE_SIDE, generator=generator)


def _wide(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.to(like)[:, None, None, None]


def _some(
    images: torch.Tensor, hit: torch.Tensor, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return images with `change` done to those of them that are hit."""
    index = hit.nonzero().squeeze(1)
    if len(index) == 0:
        return images
    if len(index) == len(images):
        return change(images, index)
    # A copy in the memory order of the images (channels_last), so that what follows need not reorder them.
    return images.index_copy(0, index, change(images[index], index).to(images))
