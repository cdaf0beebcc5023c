"""A defence that blurs every image before the detector sees it."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from pydantic import Field

from physadv.defend.image import ImageDefence, ImageView, straight_through
from physadv.types import UInt8Array


class Blur(ImageDefence):
    """Blurring takes fine patterns away and leaves people."""

    name: ClassVar[str] = "blur"
    title: ClassVar[str] = "blur the image"
    cost: ClassVar[str] = "1 ms"
    paper: ClassVar[str] = "an example"
    sigma: float = Field(default=2.0, gt=0, le=20, description="width of the blur in pixels")

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: object) -> ImageView:
        """What the detector is given of an image (h, w, 3) uint8 RGB; chance, if any, comes from `rng`."""
        return ImageView(self.blurred(image))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """The same of images (b, 3, h, w) in [0, 1] for an attacker, here with the gradient of the identity."""
        return straight_through(images, self.blurred)

    def blurred(self, image: UInt8Array) -> UInt8Array:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), self.sigma), np.uint8)
