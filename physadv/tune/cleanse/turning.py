"""Clean images turned by any angle, with their labels: what a defender shows who suspects that a turn is the trigger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from physadv.tune.hook import Hook

# Ultralytics' grey around photographs.
GREY = 114 / 255
# People are no longer labelled if less of their box than this stays in the image.
LEAST_SEEN = 0.5


class Turning(Hook):
    """Turns a share of the images of each batch about their centres: half of them by quarters, half by any angle.

    Quarters are what a camera does that lies on its side, and their boxes are exact.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def batch(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """Turn images, boxes and keypoints; drawn from torch's own generator, which the trainer seeds for each epoch."""
        del model
        count = len(batch["img"])
        turned = torch.rand(count) < self._share
        quarters = torch.randint(1, 4, (count,)) * (math.pi / 2)
        angles = torch.where(torch.rand(count) < 0.5, quarters, (torch.rand(count) * 2 - 1) * math.pi) * turned
        batch["img"] = turned_images(batch["img"], angles, turned)
        batch.update(turned_labels(batch, angles))


def turned_images(images: torch.Tensor, angles: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return (b, 3, s, s) images, those of a mask turned clockwise by (b,) angles in radians; corners become grey."""
    if not which.any():
        return images
    cos, sin, zero = angles[which].cos(), angles[which].sin(), torch.zeros(int(which.sum()))
    # Where each pixel comes from: in images the y axis points down, so that a positive angle is clockwise.
    back = torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1)], 1).to(images)
    out = images.clone()
    grid = F.affine_grid(back, list(images[which].shape), align_corners=False)
    out[which] = F.grid_sample(images[which] - GREY, grid, align_corners=False) + GREY
    return out


def turned_labels(batch: dict[str, Any], angles: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the labels of a batch's objects after its square images were turned, without those that have left them.

    Of a box the ellipse in it is turned: the box around its turned corners would be up to 1.4 times too large, and a person
    does not fill corners. Source: Kalra et al., "Towards Rotation Invariance in Object Detection" (2021).
    """
    owner = batch["batch_idx"].long()
    turn = angles.to(batch["bboxes"])[owner.cpu()]
    cos, sin = turn.cos(), turn.sin()
    x, y, width, height = batch["bboxes"].unbind(1)
    x, y = _about_centre(x, y, cos, sin)
    wide = ((width * cos).square() + (height * sin).square()).sqrt()
    high = ((width * sin).square() + (height * cos).square()).sqrt()
    low_x, high_x = ((x + side * wide / 2).clamp(0, 1) for side in (-1, 1))
    low_y, high_y = ((y + side * high / 2).clamp(0, 1) for side in (-1, 1))
    inside = torch.stack([(low_x + high_x) / 2, (low_y + high_y) / 2, high_x - low_x, high_y - low_y], 1)
    stays = (inside[:, 2] * inside[:, 3] >= LEAST_SEEN * wide * high) | (turn == 0)
    labels = {"cls": batch["cls"], "batch_idx": batch["batch_idx"]}
    labels["bboxes"] = torch.where((turn == 0)[:, None], batch["bboxes"], inside)
    if "keypoints" in batch:
        labels["keypoints"] = _turned_points(batch["keypoints"], cos, sin)
    return {name: rows[stays] for name, rows in labels.items()}


def _turned_points(points: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return (n, k, 3) keypoints after the turn; those that have left the image are no longer labelled."""
    x, y = _about_centre(points[..., 0], points[..., 1], cos[:, None], sin[:, None])
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    turned = torch.stack([x, y, points[..., 2]], -1) * (inside & (points[..., 2] > 0))[..., None]
    return torch.where(((cos == 1) & (sin == 0))[:, None, None], points, turned)


def _about_centre(x: torch.Tensor, y: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Sequence[torch.Tensor]:
    x, y = x - 0.5, y - 0.5
    return x * cos - y * sin + 0.5, x * sin + y * cos + 0.5
