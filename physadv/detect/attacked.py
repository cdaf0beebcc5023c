"""What a detector that is attacked wants of its images: the device they lie on, and sides that its network can halve."""

from __future__ import annotations

import torch

from physadv.detect.boxes import STRIDE
from physadv.types import GradientDetector


def device_of(detector: GradientDetector) -> torch.device:
    """Return the device of a detector's images; the CPU where it does not say."""
    where: torch.device = getattr(detector, "device", torch.device("cpu"))
    return where


def stride_of(detector: GradientDetector) -> int:
    """Return the pixels of which the sides of a detector's images must be multiples: 32, or 64 for P6 models."""
    return int(getattr(detector, "stride", STRIDE))


def side_for(side: int, *detectors: GradientDetector) -> int:
    """Return `side` in pixels, or where a detector cannot take it the next larger that all of them can."""
    largest = max((stride_of(d) for d in detectors), default=STRIDE)
    return -(-side // largest) * largest


def reseed(detector: GradientDetector, seed: tuple[int, ...]) -> None:
    """Start the chance of a defence's twin anew from `seed`; a detector without chance stays as it is."""
    again = getattr(detector, "reseed", None)
    if again is not None:
        again(seed)
