"""Detectors that are attacked: what they want of images, and their candidates of several looks side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from physadv.detect.boxes import STRIDE
from physadv.types import Candidates, GradientDetector


def device_of(detector: GradientDetector) -> torch.device:
    """Return the device of a detector's images; the CPU where it does not say."""
    where: torch.device = getattr(detector, "device", torch.device("cpu"))
    return where


def precision_of(detector: GradientDetector) -> str:
    """Return what a detector's network computes in, "fp32" or "bf16"; "fp32" where it does not say."""
    return str(getattr(detector, "precision", "fp32"))


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


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Return the candidates of several looks at the same images side by side."""
    numbers = [torch.zeros_like(p.logit[0], dtype=torch.long) if p.head is None else p.head for p in parts]
    return Candidates(
        torch.cat([p.logit for p in parts], 1),
        torch.cat([p.xyxy for p in parts], 1),
        None if all(p.head is None for p in parts) else torch.cat(numbers),
    )


def parted(candidates: Candidates, count: int) -> list[Candidates]:
    """Return the candidates of a batch that is `count` batches of equal length as those of each."""
    parts = zip(candidates.logit.chunk(count), candidates.xyxy.chunk(count), strict=True)
    return [Candidates(logit, xyxy, candidates.head) for logit, xyxy in parts]
