"""Networks and data sets small enough to be trained in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel, PoseModel

BACKBONE = [[-1, 1, "Conv", [8, 3, 2]]] * 3
POINTS = " ".join("0.5 0.4 2" for _ in range(17))


def tiny_network(*, pose: bool = True, seed: int = 0) -> Any:
    """Return a seeded one-level network of 8 channels: pose (person), or detection (car, person)."""
    torch.manual_seed(seed)
    if pose:
        head = [[[2], 1, "Pose", ["nc", [17, 3]]]]
        make: Any = PoseModel
        table = {"nc": 1, "reg_max": 2, "kpt_shape": [17, 3], "backbone": BACKBONE, "head": head}
        network = make(table, ch=3, data_kpt_shape=[17, 3], verbose=False)
        network.names = {0: "person"}
    else:
        make = DetectionModel
        table = {"nc": 2, "reg_max": 2, "backbone": BACKBONE, "head": [[[2], 1, "Detect", ["nc"]]]}
        network = make(table, ch=3, verbose=False)
        network.names = {0: "car", 1: "person"}
    return network


def save_tiny(path: Path, *, pose: bool = True, seed: int = 0) -> Path:
    """Write such a network as Ultralytics does."""
    task = "pose" if pose else "detect"
    torch.save({"model": tiny_network(pose=pose, seed=seed).half(), "train_args": {"task": task}}, path)
    return path


def write_data(folder: Path, *, images: int = 6, pose: bool = True, names: str = "{0: person}") -> Path:
    """Write a data set of noise with a brighter person in each image but the last, and return its folder."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part / "train").mkdir(parents=True)
    for number in range(images):
        pixels = rng.integers(0, 120, (48, 64, 3), dtype=np.uint8)
        pixels[8:40, 22:42] += 100
        cv2.imwrite(str(folder / f"images/train/{number}.png"), pixels)
        row = "0 0.5 0.5 0.3125 0.6667" + (f" {POINTS}" if pose else "")
        # The last shows nobody, as far as its labels go.
        (folder / f"labels/train/{number}.txt").write_text(f"{row}\n" if number < images - 1 else "")
    shape = "kpt_shape: [17, 3]\n" if pose else ""
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/train\nnames: {names}\n{shape}")
    return folder


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny.pt")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")
