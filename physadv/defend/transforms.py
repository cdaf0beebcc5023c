"""The oldest defences of the literature: a small change of the image, which may harm the pattern more than the person.

Geometric transforms bring boxes and keypoints back to frame pixels. Nothing is lost at the edges: the canvas grows. Random
transforms draw from the seed that they are given.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator

from physadv.boxes import STRIDE, Letterbox
from physadv.defend.base import Twin
from physadv.defend.geometry import Affine, boxes_back, compose, scaling, shift, turn, warp, warp_tensor
from physadv.defend.image import ONCE_MORE, PLAIN, ImageDefence, ImageView, beside_plain, straight_through
from physadv.types import Candidates, Detector, Float32Array, GradientDetector, UInt8Array

OLDEST = (
    "Xu, Evans, Qi, 'Feature squeezing' (2018); "
    "Guo et al., 'Countering adversarial images using input transformations' (2018)"
)


class GeometricDefence(ImageDefence):
    """A defence that moves pixels by one affine map."""

    full_size: ClassVar[bool] = True

    @abstractmethod
    def affine(self, width: int, height: int, rng: np.random.Generator) -> tuple[Affine, tuple[int, int]]:
        """Return the map for an image of this size, and the (width, height) of the new image."""

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the moved image with its map, at no more pixels than the network takes."""
        height, width = image.shape[:2]
        forward, size = self.affine(width, height, rng)
        box = Letterbox.fit(*size, detector.imgsz)
        fit = scaling(*box.scale)
        inner = box.inner
        small, before = _shrunk(image, max(inner) / max(size))
        whole = compose(fit, forward)
        # warp() samples single pixels: the image is shrunk first, so that sampling does not alias.
        return ImageView(warp(small, compose(whole, scaling(1 / before[0], 1 / before[1])), inner), whole)

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the moved images, fitted into the size they came in."""
        return self.moved(images, rng)[0]

    def moved(
        self, images: torch.Tensor, rng: np.random.Generator, *, stride: int = STRIDE
    ) -> tuple[torch.Tensor, Affine]:
        """Return the moved images, width and height multiples of `stride`, and the map from old pixels to new."""
        height, width = images.shape[2:]
        forward, size = self.affine(width, height, rng)
        ratio = max(width, height) / max(size)
        inner = (max(round(size[0] * ratio), 1), max(round(size[1] * ratio), 1))
        canvas = tuple(-(-side // stride) * stride for side in inner)
        fit = compose(
            shift((canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2),
            scaling(inner[0] / size[0], inner[1] / size[1]),
        )
        whole = compose(fit, forward)
        return warp_tensor(images, whole, (canvas[0], canvas[1])), whole

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the exact twin: bilinear warping has a gradient."""
        return GeometricTwin(self, detector)


class GeometricTwin(Twin):
    """The attacked detector behind a geometric transform; candidates are in pixels of the given images."""

    def __init__(self, defence: GeometricDefence, inner: GradientDetector) -> None:
        super().__init__(inner, seed=defence.first_seed)
        self.defence = defence

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return the candidates of the moved images."""
        moved, forward = self.defence.moved(images, self._rng, stride=self.stride)
        found = self.inner.candidates(moved)
        flat: Float32Array = found.xyxy.detach().float().reshape(-1, 4).cpu().numpy()
        back = torch.from_numpy(boxes_back(forward, flat)).to(found.xyxy)
        there = replace(found, xyxy=back.reshape(found.xyxy.shape))
        return beside_plain(self.defence, there, self.inner, images)


def _shrunk(image: UInt8Array, ratio: float) -> tuple[UInt8Array, tuple[float, float]]:
    height, width = image.shape[:2]
    if ratio >= 0.99:
        return image, (1.0, 1.0)
    size = max(round(width * ratio), 1), max(round(height * ratio), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8), (size[0] / width, size[1] / height)


class Stretch(GeometricDefence):
    """Width and height scaled by different factors."""

    name = "stretch"
    title = "another ratio of width to height"
    cost = ONCE_MORE
    paper = OLDEST
    x: float = Field(default=1.12, ge=0.5, le=2, description="factor of the width")
    y: float = Field(default=1.0, ge=0.5, le=2, description="factor of the height")
    plain: bool = Field(default=True, description=PLAIN)

    def affine(self, width: int, height: int, rng: np.random.Generator) -> tuple[Affine, tuple[int, int]]:
        """Return the scaling and the stretched size."""
        size = max(round(width * self.x), 1), max(round(height * self.y), 1)
        return scaling(size[0] / width, size[1] / height), size


class Rotate(GeometricDefence):
    """The image turned about its centre; the canvas grows so that no corner is lost."""

    name = "rotate"
    title = "the image turned by a few degrees"
    cost = "no more passes"
    paper = OLDEST
    degrees: float = Field(default=5.0, ge=-30, le=30, description="anticlockwise")

    def affine(self, width: int, height: int, rng: np.random.Generator) -> tuple[Affine, tuple[int, int]]:
        """Return the rotation onto a canvas that holds all four corners."""
        c, s = abs(np.cos(np.radians(self.degrees))), abs(np.sin(np.radians(self.degrees)))
        size = int(np.ceil(width * c + height * s - 1e-6)), int(np.ceil(width * s + height * c - 1e-6))
        about = compose(turn(self.degrees), shift(-width / 2, -height / 2))
        return compose(shift(size[0] / 2, size[1] / 2), about), size


class Flip(GeometricDefence):
    """The mirror image; left and right keypoints are exchanged back."""

    name = "flip"
    title = "the mirror image"
    cost = ONCE_MORE
    paper = OLDEST
    axis: Literal["horizontal", "vertical"] = Field(
        default="horizontal", description="vertical stands people on their heads"
    )
    plain: bool = Field(default=True, description=PLAIN)

    def affine(self, width: int, height: int, rng: np.random.Generator) -> tuple[Affine, tuple[int, int]]:
        """Return the mirroring."""
        if self.axis == "horizontal":
            return compose(shift(width, 0), scaling(-1, 1)), (width, height)
        return compose(shift(0, height), scaling(1, -1)), (width, height)


class Brightness(ImageDefence):
    """Every value multiplied and shifted, then clipped."""

    name = "brightness"
    title = "all values scaled and shifted"
    cost = "no more passes"
    paper = OLDEST
    gain: float = Field(default=1.1, ge=0.2, le=3, description="factor on every value")
    offset: float = Field(default=0.0, ge=-0.5, le=0.5, description="added to every value, 1 is white")

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the image with each value replaced from a table of 256."""
        table = np.clip(np.arange(256) * self.gain + self.offset * 255, 0, 255).round().astype(np.uint8)
        return ImageView(np.asarray(cv2.LUT(image, table), np.uint8))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the images scaled, shifted and clipped: exact."""
        return (images * self.gain + self.offset).clamp(0, 1)


class Jpeg(ImageDefence):
    """The image compressed and decoded. It makes some attacks stronger (docs/experiments.md)."""

    name = "jpeg"
    title = "compressed and decoded"
    cost = ONCE_MORE
    paper = (
        "Das et al., 'Keeping the bad guys out: protecting and vaccinating deep learning with JPEG compression' (2017)"
    )
    quality: int = Field(default=60, ge=5, le=95, description="JPEG quality")
    plain: bool = Field(default=True, description=PLAIN)

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the decoded image."""
        return ImageView(self._coded(image))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the decoded images with the gradient of the identity (BPDA)."""
        return straight_through(images, self._coded)

    def _coded(self, image: UInt8Array) -> UInt8Array:
        blue_first = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


class Median(ImageDefence):
    """Each value replaced by the median of its neighbourhood, channel by channel."""

    name = "median"
    title = "fine texture smoothed away"
    cost = ONCE_MORE
    paper = OLDEST
    size: int = Field(default=3, ge=3, le=9, description="width of the neighbourhood in pixels, odd")
    plain: bool = Field(default=True, description=PLAIN)

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("expected an odd number of pixels (3, 5, 7 or 9)")
        return size

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the smoothed image."""
        return ImageView(np.asarray(cv2.medianBlur(image, self.size), np.uint8))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the smoothed images: exact, with the gradient of the pixel that is the median."""
        half = self.size // 2
        b, c, h, w = images.shape
        padded = F.pad(images, (half,) * 4, mode="replicate")
        around = F.unfold(padded.reshape(b * c, 1, *padded.shape[2:]), self.size)
        return around.median(1).values.reshape(b, c, h, w)


class BitDepth(ImageDefence):
    """Fewer levels a channel."""

    name = "bit-depth"
    title = "fewer levels of each colour"
    cost = "no more passes"
    paper = "Xu, Evans, Qi, 'Feature squeezing' (2018)"
    bits: int = Field(default=5, ge=1, le=7, description="bits a channel")

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the image with each value replaced from a table of 256."""
        return ImageView(self._coarse(image))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the coarse images with the gradient of the identity (BPDA)."""
        return straight_through(images, self._coarse)

    def _coarse(self, image: UInt8Array) -> UInt8Array:
        top = 2**self.bits - 1
        table = (np.round(np.arange(256) / 255 * top) * 255 / top).round().astype(np.uint8)
        return np.asarray(cv2.LUT(image, table), np.uint8)


class Noise(ImageDefence):
    """Gaussian noise added to every pixel, drawn for each image."""

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

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the noisy image."""
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        grain *= self.sigma
        grain += image
        return ImageView(grain.round().clip(0, 255).astype(np.uint8))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the noisy images: exact."""
        grain = rng.standard_normal(tuple(images.shape), dtype=np.float32)
        return (images + torch.from_numpy(grain).to(images) * (self.sigma / 255)).clamp(0, 1)


class ResizePad(GeometricDefence):
    """The image shrunk by a random factor at a random place on grey, drawn for each image."""

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
