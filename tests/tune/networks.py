"""A small network with the blocks and the three levels of a YOLO model, and a batch for its loss."""

from __future__ import annotations

from typing import Any

import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

# Blocks of every kind that matters: a convolution, one that ends in a convolution, one that adds, and three levels.
TINY = {
    "nc": 1,
    "reg_max": 2,
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "C3k2", [8, False]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "SPPF", [16, 5, 3, True]],
        [-1, 1, "Conv", [16, 3, 2]],
    ],
    "head": [[[3, 5, 6], 1, "Detect", ["nc"]]],
}


def pyramid_network(seed: int = 0) -> Any:
    """Return a seeded detector of people in training mode, unfused, with what its loss needs."""
    torch.manual_seed(seed)
    make: Any = DetectionModel
    network = make(TINY, ch=3, verbose=False)
    network.names = {0: "person"}
    network.args = get_cfg()
    return network


def batch_of(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a batch as Ultralytics' trainer gives it: images (b, 3, h, w), each with one box in its middle."""
    n = len(images)
    return {
        "img": images,
        "batch_idx": torch.arange(n).float(),
        "cls": torch.zeros(n, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6]]).repeat(n, 1),
    }
