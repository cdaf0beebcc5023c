"""Small images with people of one plain colour, and batches of them as Ultralytics prepares them."""

from typing import Any

import numpy as np
import torch

from physadv.dataset import LabelledImage
from physadv.types import UInt8Array

SIDE = 96


def people_image(name: str, seed: int, people: int = 2) -> LabelledImage:
    """Return a noisy 96 x 96 image with people as upright rectangles of one colour."""
    rng = np.random.default_rng(seed)
    pixels: UInt8Array = rng.integers(0, 90, (SIDE, SIDE, 3)).astype(np.uint8)
    boxes = []
    for _ in range(people):
        w, h = int(rng.integers(24, 34)), int(rng.integers(50, 70))
        x, y = int(rng.integers(0, SIDE - w)), int(rng.integers(0, SIDE - h))
        pixels[y : y + h, x : x + w] = (200, 120, 60)
        boxes.append([x, y, x + w, y + h])
    return LabelledImage(name, pixels, np.array(boxes, np.float32).reshape(-1, 4), labelled=True)


def batch_of(images: list[LabelledImage]) -> dict[str, Any]:
    """Return images as an Ultralytics batch after its preprocessing."""
    boxes = [(i, box) for i, image in enumerate(images) for box in image.boxes]
    corners = np.array([box for _, box in boxes], np.float32).reshape(-1, 4) / SIDE
    both = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    return {
        "img": torch.from_numpy(np.stack([image.pixels for image in images])).permute(0, 3, 1, 2).float() / 255,
        "cls": torch.zeros(len(boxes), 1),
        "bboxes": torch.from_numpy(both),
        "batch_idx": torch.tensor([float(i) for i, _ in boxes]),
        "keypoints": torch.zeros(len(boxes), 17, 3),
    }
