"""Erase: a small network marks pasted patterns, each mark is completed to a shape without holes, and filled."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.defend.erase_net import CELL, MULTIPLE, EraseHead, backbone_features
from physadv.defend.learned import SHIPPED, load_weights
from physadv.defend.removal import RemovalDefence
from physadv.types import Detector, Float32Array, UInt8Array

KIND = "erase"


class Erase(RemovalDefence):
    """Regions that a small head on a frozen backbone takes for pasted, completed to their hulls and filled."""

    name = "erase"
    title = "Erase: a small network finds pasted patterns, inpainting fills them"
    paper = "masking with completion after Liu et al., 'Segment and complete' (CVPR 2022), trained on random textures"
    threshold: float = Field(default=0.5, ge=0.02, le=0.99, description="confidence from which a cell is marked")
    extent: float = Field(
        default=0.5, ge=0.02, le=0.99, description="confidence down to which a region around marked cells belongs to it"
    )
    complete: bool = Field(default=True, description="fill each region to its convex hull")
    smallest: int = Field(default=3, ge=1, le=1000, description="cells of 4 x 4 pixels below which a region is kept")
    weights: str = Field(default="", description="a file made by `physadv learn erase`; empty: the shipped one")

    def guard(self, detector: Detector) -> Detector:
        """Return the defended detector.

        Raises: DefenceError if the weights cannot be read.
        """
        load_erase_head(self.weights)
        return super().guard(detector)

    def locate(self, picture: UInt8Array) -> UInt8Array:
        """Return the mask of pasted regions."""
        height, width = picture.shape[:2]
        share = confidence_map(load_erase_head(self.weights), picture)
        sure = share >= self.threshold
        hot = np.asarray(share >= min(self.extent, self.threshold), np.uint8)
        mask: UInt8Array = np.zeros(hot.shape, np.uint8)
        contours, _ = cv2.findContours(hot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in contours:
            part = np.zeros(hot.shape, np.uint8)
            cv2.drawContours(part, [contour], -1, (255,), cv2.FILLED)
            if not sure[part > 0].any():
                continue
            shape = cv2.convexHull(contour) if self.complete else contour
            cv2.drawContours(part, [shape], -1, (255,), cv2.FILLED)
            if np.count_nonzero(part) >= self.smallest:
                mask |= part
        large = cv2.resize(mask, (mask.shape[1] * CELL, mask.shape[0] * CELL), interpolation=cv2.INTER_NEAREST)
        return np.ascontiguousarray(large[:height, :width]).astype(np.uint8)

    def soft_mask(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's confidence, with its gradient."""
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        share = load_erase_head(self.weights)(backbone_features(padded)).sigmoid()
        return F.interpolate(share, scale_factor=float(CELL), mode="bilinear")[..., :height, :width]

    @property
    def reason(self) -> str:
        """Return why a region was removed."""
        return "it looks pasted on"


def confidence_map(head: EraseHead, picture: UInt8Array) -> Float32Array:
    """Return the confidence in [0, 1] that each cell of 4 x 4 pixels is pasted; the picture is padded to 32s first."""
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(picture, 0, -height % MULTIPLE, 0, -width % MULTIPLE, cv2.BORDER_REPLICATE)
    with torch.inference_mode():
        image = torch.from_numpy(padded).permute(2, 0, 1)[None].float().div_(255)
        features = backbone_features(image.contiguous(memory_format=torch.channels_last))
        return np.asarray(head(features).sigmoid()[0, 0], np.float32)


@lru_cache(maxsize=4)
def load_erase_head(path: str = "") -> EraseHead:
    """Return the head in a weights file, frozen; the shipped one for an empty path.

    Raises: DefenceError if it cannot be read.
    """
    head = EraseHead()
    load_weights(Path(path) if path else SHIPPED / f"{KIND}.safetensors", head, kind=KIND)
    return head.to(memory_format=torch.channels_last)
