"""Erase: a small network marks pasted patterns; each mark is completed to a shape without holes and filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.defend.erase_network import (
    CELL,
    KIND,
    MULTIPLE,
    EraserBackend,
    TorchEraser,
    backbone_features,
    eraser_for,
    load_erase_head,
)
from physadv.defend.followed import FollowedMask
from physadv.defend.image import ONCE_MORE, PLAIN, ImageGuard, ImageView, at_work_size
from physadv.defend.learned import weights_file
from physadv.defend.removal import RemovalDefence
from physadv.types import Detections, Detector, Float32Array, Frame, UInt8Array


class PatternEraser(RemovalDefence):
    """Regions that look pasted to a small head on a frozen backbone, completed to their hulls and filled.

    In a video the network looks at every `every`-th image, and in between regions follow their own pixels
    (`FollowedMask`). Single images, images in a batch and images of a folder are each looked at.
    """

    name = "erase"
    title = "a small network finds pasted patterns, in a video in every third image, and inpainting fills them"
    cost = f"a network of its own, about a pass of the detector, and {ONCE_MORE}"
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
        description="factor by which the image is enlarged for the search, which finds smaller patterns, as far as its "
        "long side stays within `within`",
    )
    within: int = Field(
        default=640,
        ge=32,
        le=4096,
        description="pixels that the enlarged image stays within; the input of a larger detector is searched as it is",
    )
    plain: bool = Field(default=True, description=PLAIN)
    complete: bool = Field(default=True, description="fill each region to its convex hull")
    smallest: int = Field(default=3, ge=1, le=1000, description="cells of 4 x 4 pixels below which a region is kept")
    every: int = Field(
        default=3,
        ge=1,
        le=8,
        description="video: images of which the network looks at one; in the others regions are followed, for .25 s at "
        "most; 1: it looks at each",
    )
    weights: str = Field(default="", description="a file made by `physadv learn erase`; empty: the shipped one")

    def guard(self, detector: Detector) -> Detector:
        """Return the defended detector.

        Raises: DefenceError if the weights cannot be read. BackendError if the network cannot be exported.
        """
        return EraseGuard(self, detector)

    def weights_path(self) -> Path:
        """Return the file named by `weights`, or the shipped one."""
        return weights_file(KIND, self.weights)

    def at_size(self, imgsz: int) -> PatternEraser:
        """Return this defence with the factor by which it enlarges a detector's input of that long side.

        1.5 up to 416, as it was measured, and 1 from 640 on: there AP50 with two patterns is the same within .005 for half
        of the time (40 photographs), and of 45 images of a webcam 32 show the wearer of `webcam` again instead of 26.
        """
        factor = min(self.enlarge, max(1.0, self.within / imgsz))
        return self.model_copy(update={"enlarge": factor})

    def locate(self, image: UInt8Array) -> UInt8Array:
        """Return the mask of pasted regions of an image at the network's size, by the reference."""
        return self.at_size(max(image.shape[:2])).searched(image, TorchEraser(self.weights))

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the image with pasted regions filled; the network runs on the detector's backend."""
        mask = self.at_size(detector.imgsz).searched(image, eraser_for(detector, self.weights))
        return self.removed(image, mask)

    def searched(self, image: UInt8Array, eraser: EraserBackend) -> UInt8Array:
        """Return the grown mask that a backend finds in an image enlarged by `enlarge`, whatever its size."""
        return self.grown(self.regions(eraser.confidence(image, self.enlarge)))

    def regions(self, share: Float32Array) -> UInt8Array:
        """Return the mask of what a map (h, w) of confidences calls pasted."""
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
        return [self.grown(self.regions(one[0])) for one in share]

    @property
    def reason(self) -> str:
        """Return why a region was removed."""
        return "it looks pasted on"


class EraseGuard(ImageGuard):
    """The detector behind the eraser: `detect` takes the frames of one source in order, `detect_batch` has no memory."""

    def __init__(self, defence: PatternEraser, inner: Detector) -> None:
        super().__init__(defence, inner)
        self._eraser = eraser = eraser_for(inner, defence.weights)
        sized = defence.at_size(inner.imgsz)
        self._masks = FollowedMask(defence.every, lambda image: sized.searched(image, eraser))

    def reset(self) -> None:
        """Forget earlier frames."""
        super().reset()
        self._masks.reset()

    def respond(self, frame: Frame) -> Detections:
        """Return the people found in the filled image, and in the frame itself with `plain`."""
        out = super().respond(frame)
        self._masks.saw(out)
        return out

    def view_of_frame(self, frame: Frame) -> ImageView:
        """Return the frame with regions filled that were found in it, or followed into it."""
        defence = cast(PatternEraser, self.defence)

        def filled(image: UInt8Array) -> ImageView:
            mask = self._masks.of(image, frame)
            return defence.removed(image, mask, age=self._masks.age)

        return at_work_size(frame.pixels, self.imgsz, filled)
