"""A photograph of two people and the detector that finds them, small enough to be asked often."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from physadv.arrays import read_image
from physadv.detect import load_detector
from physadv.detect.pytorch import TorchDetector
from physadv.explain.score import MIN_CONF
from physadv.types import Float32Array, Frame, UInt8Array


@pytest.fixture(scope="session")
def street(bus: Path) -> UInt8Array:
    part = read_image(bus)[370:930, 20:400]
    return np.asarray(cv2.resize(part, None, fx=0.28, fy=0.28, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="session")
def yolo() -> TorchDetector:
    detector = load_detector(backend="torch", imgsz=160, min_conf=MIN_CONF, precision="fp32", device="cpu")
    assert isinstance(detector, TorchDetector)
    return detector


@pytest.fixture(scope="session")
def boxes(street: UInt8Array, yolo: TorchDetector) -> Float32Array:
    """The people found in the street, the surest first."""
    found = yolo.detect(Frame(street, 0, 0, 0.0)).above(0.4)
    assert len(found) >= 2
    return found.xyxy
