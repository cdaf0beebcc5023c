"""A detector with few channels and images with people of plain colours: what the lab is tested on in seconds."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics
import yaml
from torch import nn

from physadv.dataset import LabelledImage
from physadv.types import UInt8Array

SIDE = 96


@cache
def pose_config() -> dict[str, Any]:
    """Ultralytics' YOLO11 pose network for one class, with an eighth of the smallest one's channels."""
    path = Path(ultralytics.__file__).parent / "cfg" / "models" / "11" / "yolo11-pose.yaml"
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return {**config, "nc": 1, "scales": {"n": [0.33, 0.0625, 256]}, "scale": "n"}


def tiny_network(seed: int = 0, *, nc: int = 1) -> nn.Module:
    """Return an untrained pose network, ready to give its loss."""
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import PoseModel

    torch.manual_seed(seed)
    network: nn.Module = PoseModel(pose_config(), nc=nc, data_kpt_shape=[17, 3], verbose=False)  # type: ignore[no-untyped-call]
    network.args = get_cfg()  # type: ignore[assignment]
    network.names = {0: "person", 1: "patch"} if nc == 2 else {0: "person"}  # type: ignore[assignment]
    return network


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
