"""Detectors that give gradients: their bases, and their candidates of several views side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from physadv.boxes import STRIDE
from physadv.types import Candidates, GradientDetector

CPU = torch.device("cpu")


class BareGradient(ABC):
    """An attacked detector without chance or weights of its own, until a subclass says otherwise.

    Subclasses set `name` and write `candidates`.
    """

    name: str
    device: torch.device = CPU
    precision: str = "fp32"
    stride: int = STRIDE
    sha256: str | None = None
    reentrant: bool = False

    @abstractmethod
    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""

    def reseed(self, seed: tuple[int, ...]) -> None:  # noqa: B027 -- a subclass that draws overwrites it
        """Restart the random draws from a seed: nothing to do without any."""

    def fingerprint(self) -> str:
        """Return the name: there are no weights to hash."""
        return self.name


class WrappedGradient(ABC):
    """An attacked detector around another: takes the images that the other takes and offers what it offers.

    Not reentrant: a defence's twin may draw at random, and its draws would depend on which thread came first.
    """

    reentrant = False

    def __init__(self, inner: GradientDetector) -> None:
        self.inner = inner
        self.name = inner.name
        self.device = inner.device
        self.precision = inner.precision
        self.stride = inner.stride
        self.sha256 = inner.sha256

    @abstractmethod
    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""

    def reseed(self, seed: tuple[int, ...]) -> None:
        """Restart all random draws from `seed`, here and further in."""
        self.inner.reseed(seed)

    def fingerprint(self) -> str:
        """Return a hash of the innermost detector's weights as they are now."""
        return self.inner.fingerprint()


def imgsz_for(imgsz: int, *detectors: GradientDetector) -> int:
    """Return `imgsz` in pixels, rounded up to the stride that all detectors take: 32, or 64 with a P6 model among them."""
    largest = max((d.stride for d in detectors), default=STRIDE)
    return -(-imgsz // largest) * largest


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Return the candidates of several views of the same images side by side."""
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
