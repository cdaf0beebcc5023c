"""Random defences: an attacker does not know what will be drawn. All draw from the seed they are given."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from physadv.defend.geometry import Affine, compose, scaling, shift
from physadv.defend.image import ONCE_MORE, PLAIN, ImageDefence, View
from physadv.defend.transforms import GeometricDefence
from physadv.types import Detector, UInt8Array


class Noise(ImageDefence):
    """Gaussian noise added to every pixel, drawn anew for each image."""

    random = True
    name = "noise"
    title = "random grain added"
    cost = "no more passes"
    paper = "Cohen, Rosenfeld, Kolter, 'Certified adversarial robustness via randomized smoothing' (2019), one sample"
    sigma: float = Field(default=6.0, ge=0, le=64, description="standard deviation in grey levels")
    seed: int = Field(default=0, ge=0, description="where the random sequence starts")

    @property
    def first_seed(self) -> int:
        """Return `seed`."""
        return self.seed

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> View:
        """Return the noisy image."""
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        grain *= self.sigma
        grain += image
        return View(grain.round().clip(0, 255).astype(np.uint8))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the noisy images: exact."""
        grain = rng.standard_normal(tuple(images.shape), dtype=np.float32)
        return (images + torch.from_numpy(grain).to(images) * (self.sigma / 255)).clamp(0, 1)


class ResizePad(GeometricDefence):
    """The image shrunk by a random factor and put at a random place on grey, drawn anew for each image."""

    random = True
    name = "resize-pad"
    title = "random size at a random place"
    cost = ONCE_MORE
    paper = "Xie et al., 'Mitigating adversarial effects through randomization' (ICLR 2018)"
    smallest: float = Field(default=0.9, ge=0.3, le=1, description="smallest factor drawn; the largest is 1")
    plain: bool = Field(default=True, description=PLAIN)
    seed: int = Field(default=0, ge=0, description="where the random sequence starts")

    @property
    def first_seed(self) -> int:
        """Return `seed`."""
        return self.seed

    def affine(self, width: int, height: int, rng: np.random.Generator) -> tuple[Affine, tuple[int, int]]:
        """Return the map into a canvas of the same size."""
        factor = float(rng.uniform(self.smallest, 1))
        left, top = rng.uniform(0, width * (1 - factor)), rng.uniform(0, height * (1 - factor))
        return compose(shift(left, top), scaling(factor, factor)), (width, height)
