"""Erase: a small network marks pasted patterns; each mark is completed to a shape without holes and filled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from physadv.defend.image import ONCE_MORE, PLAIN
from physadv.defend.learned import load_weights, weights_file
from physadv.defend.removal import RemovalDefence
from physadv.detect.weights import DEFAULT_DETECTOR, find_weights
from physadv.types import Detector, Float32Array, UInt8Array

if TYPE_CHECKING:
    from physadv.detect.yolo import PersonNet

KIND = "erase"
CPU = torch.device("cpu")
CELL = 4
MULTIPLE = 32
# Layers of yolo11n-pose's backbone whose outputs the head takes: at a quarter, an eighth and a sixteenth of the size.
LAYERS = (2, 4, 6)
CHANNELS = 64 + 128 + 128


class EraseHead(nn.Module):
    """A head on the frozen backbone: from features (b, 320, h / 8, w / 8) to logits of "pasted", (b, 1, h / 4, w / 4)."""

    def __init__(self) -> None:
        super().__init__()
        # Statistics of the features over the training scenes: their scales differ by orders of magnitude.
        self.register_buffer("centre", torch.zeros(CHANNELS))
        self.register_buffer("spread", torch.ones(CHANNELS))
        self.squeeze = nn.Conv2d(CHANNELS, 48, 1)
        self.around = nn.Conv2d(48, 48, 3, 1, 1)
        self.wide = nn.Conv2d(48, 48, 3, 1, 2, 2)
        self.far = nn.Conv2d(48, 48, 3, 1, 4, 4)
        self.fine = nn.Conv2d(48, 4, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = (features - self.centre[:, None, None]) / self.spread[:, None, None]  # type: ignore[index]
        x = F.relu(self.squeeze(x.clamp(-8, 8)))
        x = x + F.relu(self.around(x))
        x = x + F.relu(self.wide(x))
        x = x + F.relu(self.far(x))
        return F.pixel_shuffle(self.fine(x), 2)


def backbone_features(images: torch.Tensor) -> torch.Tensor:
    """Return (b, 320, h / 8, w / 8) features of images (b, 3, h, w) in [0, 1], h and w multiples of 32, with gradients.

    Raises: WeightsError if the embedded detector is not installed.
    """
    quarter, eighth, sixteenth = backbone(images.device).early(images, LAYERS)
    return torch.cat([F.avg_pool2d(quarter, 2), eighth, F.interpolate(sixteenth, scale_factor=2.0)], 1)


@lru_cache(maxsize=4)
def backbone(device: torch.device) -> PersonNet:
    """Return the embedded detector's network on a device, frozen, whatever detector is being defended.

    Raises: WeightsError if it is not installed.
    """
    from physadv.detect.yolo import load_net

    # Cached for all callers: weights made in inference mode could never take part in a gradient.
    with torch.inference_mode(False):
        return load_net(find_weights(DEFAULT_DETECTOR)).to(device).to(memory_format=torch.channels_last)


class PatternEraser(RemovalDefence):
    """Regions that look pasted to a small head on a frozen backbone, completed to their hulls and filled."""

    name = "erase"
    title = "a small network finds pasted patterns, inpainting fills them"
    cost = f"a network of its own, and {ONCE_MORE}; a few frames a second on two cores"
    paper = (
        "masking with completion after Liu et al., 'Segment and complete' (CVPR 2022), trained on textures of its own"
    )
    threshold: float = Field(default=0.5, ge=0.02, le=0.99, description="confidence from which a region is removed")
    extent: float = Field(
        default=0.03,
        ge=0.01,
        le=0.99,
        description="confidence down to which a region around such a place belongs to it",
    )
    enlarge: float = Field(
        default=1.5,
        ge=0.5,
        le=3,
        description="factor by which the image is enlarged for the search: finds smaller ones",
    )
    plain: bool = Field(default=True, description=PLAIN)
    complete: bool = Field(default=True, description="fill each region to its convex hull")
    smallest: int = Field(default=3, ge=1, le=1000, description="cells of 4 x 4 pixels below which a region is kept")
    weights: str = Field(default="", description="a file made by `physadv learn erase`; empty: the shipped one")

    def guard(self, detector: Detector) -> Detector:
        """Return the defended detector.

        Raises: DefenceError if the weights cannot be read.
        """
        load_erase_head(self.weights)
        return super().guard(detector)

    def weights_path(self) -> Path:
        """Return the file named by `weights`, or the shipped one."""
        return weights_file(KIND, self.weights)

    def locate(self, image: UInt8Array) -> UInt8Array:
        """Return the mask of pasted regions."""
        return self._regions(confidence_map(load_erase_head(self.weights), image, self.enlarge))

    def _regions(self, share: Float32Array) -> UInt8Array:
        sure = share >= self.threshold
        hot = np.asarray(share >= min(self.extent, self.threshold), np.uint8)
        mask: UInt8Array = np.zeros(hot.shape, np.uint8)
        contours, _ = cv2.findContours(hot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in contours:
            x, y, width, height = cv2.boundingRect(contour)
            here = np.s_[y : y + height, x : x + width]
            part = np.zeros((height, width), np.uint8)
            cv2.drawContours(part, [contour], -1, (255,), cv2.FILLED, offset=(-x, -y))
            if not sure[here][part > 0].any():
                continue
            shape = cv2.convexHull(contour) if self.complete else contour
            cv2.drawContours(part, [shape], -1, (255,), cv2.FILLED, offset=(-x, -y))
            if np.count_nonzero(part) >= self.smallest * CELL**2:
                mask[here] |= part
        return mask

    def suspicion(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of the network's cells minus that of the threshold."""
        large = images
        if self.enlarge != 1:
            size = [round(s * self.enlarge) for s in images.shape[2:]]
            large = F.interpolate(images, size, mode="bicubic").clamp(0, 1)
        height, width = large.shape[2:]
        padded = F.pad(large, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        cells: torch.Tensor = load_erase_head(self.weights, images.device)(backbone_features(padded))
        cells = cells[..., : -(-height // CELL), : -(-width // CELL)]
        return cells - float(np.log(self.threshold / (1 - self.threshold)))

    def slope(self, grid: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Return the network's confidence, with its gradient."""
        share = (grid + float(np.log(self.threshold / (1 - self.threshold)))).sigmoid()
        height, width = (round(s * self.enlarge) for s in images.shape[2:])
        share = F.interpolate(share, scale_factor=float(CELL), mode="bilinear")[..., :height, :width]
        return F.interpolate(share, images.shape[2:], mode="bilinear") if self.enlarge != 1 else share

    def located(self, images: Sequence[UInt8Array], grid: torch.Tensor | None) -> list[UInt8Array]:
        """Return the grown mask of each image, from the confidence that the twin has computed."""
        if grid is None or not images:
            return super().located(images, grid)
        share = self.slope(grid, grid.new_empty(len(grid), 3, *images[0].shape[:2])).float().cpu().numpy()
        return [self._grown(self._regions(one[0])) for one in share]

    @property
    def reason(self) -> str:
        """Return why a region was removed."""
        return "it looks pasted on"


def confidence_map(head: EraseHead, image: UInt8Array, enlarge: float = 1.0) -> Float32Array:
    """Return (h, w) the confidence in [0, 1] that each pixel is pasted, interpolated from the network's 4 x 4 cells."""
    height, width = image.shape[:2]
    large = image
    if enlarge != 1:
        large = np.asarray(cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC), np.uint8)
    tall, wide = large.shape[:2]
    padded = cv2.copyMakeBorder(large, 0, -tall % MULTIPLE, 0, -wide % MULTIPLE, cv2.BORDER_REPLICATE)
    with torch.inference_mode():
        tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float().div_(255)
        features = backbone_features(tensor.contiguous(memory_format=torch.channels_last))
        cells = head(features).sigmoid()[0, 0].numpy()
    share = cv2.resize(cells, (cells.shape[1] * CELL, cells.shape[0] * CELL), interpolation=cv2.INTER_LINEAR)
    share = share[:tall, :wide]
    if enlarge != 1:
        share = cv2.resize(share, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(share, np.float32)


@lru_cache(maxsize=4)
def load_erase_head(path: str = "", device: torch.device = CPU) -> EraseHead:
    """Return the head in a weights file on a device, frozen; the shipped one for an empty path.

    Raises: DefenceError if it cannot be read.
    """
    head = EraseHead()
    load_weights(weights_file(KIND, path), head, kind=KIND)
    return head.to(device).to(memory_format=torch.channels_last)
