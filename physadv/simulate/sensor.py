"""The camera: blur, lost resolution, exposure, noise, chroma subsampling and JPEG, on whole images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.simulate.jpeg import jpeg, subsample_chroma
from physadv.simulate.transform import Draw, Transform, chance, normal, uniform

NOISE_SIDE = 512
# Blurs are kept to what a step can pay for: a kernel grows with them, from 7 x 7 for the usual ones to 41 x 41.
WIDEST_BLUR, LONGEST_MOTION = 6.0, 7.0
SMALLEST_RADIUS = 3
# A line cannot be drawn on pixels thinner than this, as a standard deviation.
THINNEST = 0.4
# Standard deviations of a Gaussian that a kernel holds: its own deviation is then 2 % low.
HELD = 2.8


@dataclass(frozen=True, slots=True, eq=False)
class SensorDraw(Draw):
    """All (b,): 0 means that an effect is absent, but for `exposure`, a factor.

    defocus: blur's standard deviation in pixels. motion: length in pixels along `angle`, radians from the x axis. shrink:
    factor above 1 by which resolution falls. noise: standard deviation, taken at `noise_at` of a fixed table. chroma: 1 for
    4:2:0. quality: of the JPEG.
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
    """What lens, sensor and codec do to an image. Each effect strikes some images of a batch, so a step stays cheap.

    kornia's JPEG and blurs are not used here: at 540 and 46 ms an image of 256 pixels on two CPU cores they cost
    more than the detector; these take about 6 and 3.
    """

    blur: float = Field(default=1.2, ge=0, le=WIDEST_BLUR, description="largest defocus, pixels of sigma")
    motion: float = Field(default=4.0, ge=0, le=LONGEST_MOTION, description="longest motion blur, pixels")
    shrink: float = Field(default=2.0, ge=1, le=6, description="largest loss of resolution")
    exposure: float = Field(default=0.12, ge=0, le=0.6)
    noise: float = Field(default=0.03, ge=0, le=0.2)
    quality: int = Field(default=50, ge=5, le=95, description="lowest JPEG quality")
    often: float = Field(default=0.2, ge=0, le=1, description="share of images that each effect strikes at strength 1")

    def sample(self, batch: int, generator: torch.Generator) -> SensorDraw:
        """Return a camera for each of `batch` images."""
        s = self.strength
        often = min(self.often * s, 1.0)

        def some(low: float, high: float) -> torch.Tensor:
            return uniform((batch,), low, max(high, low), generator) * chance(batch, often, generator)

        lowest = max(100 - (100 - self.quality) * s, 5)
        return SensorDraw(
            defocus=some(0.3, min(self.blur * s, WIDEST_BLUR)),
            motion=some(1.5, min(self.motion * s, LONGEST_MOTION)),
            angle=uniform((batch,), 0, math.pi, generator),
            shrink=some(1.2, 1 + (self.shrink - 1) * s),
            exposure=(normal((batch,), 2 * self.exposure * s, generator) * chance(batch, often, generator)).exp(),
            noise=some(0.003, self.noise * s),
            noise_at=torch.randint(0, NOISE_SIDE * NOISE_SIDE, (batch,), generator=generator),
            chroma=chance(batch, often, generator).float(),
            quality=some(lowest, 95) if s else torch.zeros(batch),
        )

    def apply(self, images: torch.Tensor, params: SensorDraw) -> torch.Tensor:
        """Return images (b, 3, h, w) in [0, 1] as the camera gives them, clipped to [0, 1]."""
        p = params
        struck = (p.exposure != 1) | (p.defocus > 0) | (p.motion > 0) | (p.shrink > 1)
        struck = struck | (p.noise > 0) | (p.chroma > 0) | (p.quality > 0)
        index = struck.nonzero().squeeze(1)
        if self.strength == 0 or len(index) == 0:
            return images
        out = torch.cat([self._one(images[i : i + 1], p.pick(torch.tensor([i]))) for i in index.tolist()])
        # One copy, in the memory order of the images (channels_last), so that what follows need not reorder them.
        return images.index_copy(0, index, out.to(images))

    def _one(self, image: torch.Tensor, p: SensorDraw) -> torch.Tensor:
        """Return one image (1, 3, h, w) with the effects that strike it."""
        if p.exposure != 1:
            image = image * p.exposure.to(image)
        if p.defocus > 0 or p.motion > 0:
            image = blur(image, kernels(p))
        if p.shrink > 1:
            image = lose_resolution(image, p.shrink)
        image = image.clamp(0, 1)
        if p.noise > 0:
            image = (image + unit_noise(p.noise_at, image) * p.noise.to(image)).clamp(0, 1)
        if p.chroma > 0:
            image = subsample_chroma(image).clamp(0, 1)
        return jpeg(image, p.quality) if p.quality > 0 else image


def kernels(params: SensorDraw) -> torch.Tensor:
    """Return (b, k, k) blur kernels that sum to 1: a Gaussian smeared along a line; k is odd, 7 or what the widest needs.

    Their variances are those asked for: across the line defocus^2, along it defocus^2 + motion^2 / 12. A motion without a
    defocus is `THINNEST` across.
    """
    along_asked = params.defocus.square() + params.motion.square() / 12
    moved = params.motion > 0
    spread = torch.where(moved, params.defocus.clamp_min(THINNEST), params.defocus.clamp_min(0.1))
    # What the Gaussian leaves of the variance along the line is that of a box.
    half = (3 * (along_asked - spread.square()).clamp_min(0)).sqrt().clamp_min(0.05)
    radius = max(SMALLEST_RADIUS, math.ceil(float((HELD * spread + half).max()) - 0.5))
    line = torch.arange(-radius, radius + 1, device=spread.device)
    y, x = torch.meshgrid(line.float(), line.float(), indexing="ij")
    cos, sin = params.angle.cos()[:, None, None], params.angle.sin()[:, None, None]
    along, aside = x * cos + y * sin, y * cos - x * sin
    # A line along an axis is sampled in steps of a pixel across it, a longer or more oblique one between them as well.
    aligned = torch.exp(-((math.pi * params.motion * (2 * params.angle).sin()) ** 2) / 24)
    wide, half = _on_pixels(spread, aligned)[:, None, None], half[:, None, None]
    # A box convolved with the Gaussian, along the line; the Gaussian alone across it.
    scale = math.sqrt(2) * wide
    smear = torch.erf((along + half) / scale) - torch.erf((along - half) / scale)
    out = smear * torch.exp(-((aside / scale) ** 2))
    return out / out.sum((1, 2), keepdim=True)


def _on_pixels(spread: torch.Tensor, aligned: torch.Tensor) -> torch.Tensor:
    """Return the parameters of Gaussians that have these standard deviations once they are sampled at whole pixels.

    A narrow one falls between the pixels. Of three samples e, 1, e the variance is 2 e / (1 + 2 e). aligned: how much of
    that holds, 0 to 1.
    """
    variance = spread.square()
    narrow = variance.clamp_max(0.3)
    sampled = -0.5 / (narrow / (2 * (1 - narrow))).log()
    return torch.where(variance < 0.3, torch.lerp(variance, sampled, aligned), variance).sqrt()


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


def unit_noise(at: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return unit noise like images (b, c, h, w): a window of a fixed table, at each one's place `at`."""
    _, c, h, w = images.shape
    tall, wide = (max(-(-side // NOISE_SIDE), 1) for side in (h, w))
    table = _noise_table().repeat(1, tall, wide) if tall > 1 or wide > 1 else _noise_table()
    free = table.shape[1] - h + 1, table.shape[2] - w + 1
    cut = [(int(a) // NOISE_SIDE % free[0], int(a) % NOISE_SIDE % free[1]) for a in at.tolist()]
    return torch.stack([table[:c, y : y + h, x : x + w] for y, x in cut]).to(images)


@cache
@torch.inference_mode(False)
def _noise_table() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, NOISE_SIDE, NOISE_SIDE, generator=generator)
