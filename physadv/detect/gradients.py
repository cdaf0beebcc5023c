"""Detectors that give gradients: their bases, and their candidates of several views side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from physadv.boxes import STRIDE
from physadv.errors import PluginError
from physadv.types import Candidates, GradientDetector

CPU = torch.device("cpu")


class BareGradient(ABC):
    """An attacked detector without chance or weights of its own, until a subclass says otherwise.

    Subclasses set `name` and write `candidates`. parameters: how many weights it has, year: when its kind was published,
    where it says so.
    """

    name: str
    parameters: int | None = None
    year: int | None = None
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


def checked_candidates(what: str, answer: object, images: torch.Tensor) -> Candidates:
    """Return what the code of others answered as candidates in float32. what: begins the error, in words.

    answer: logits (b, a) and boxes (b, a, 4) for images (b, 3, h, w), with gradients to them if they ask for them.

    Raises: PluginError if it is anything else.
    """

    def wrong(expected: str, got: str) -> PluginError:
        return PluginError(f"{what} answered wrongly", expected=expected, got=got)

    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(torch.is_tensor(part) for part in answer):
        raise wrong("two tensors, logits and boxes", type(answer).__name__)
    logit, xyxy = answer
    if logit.ndim != 2 or len(logit) != len(images) or not logit.shape[1]:
        raise wrong(f"logits of shape ({len(images)}, a), a at least 1", str(tuple(logit.shape)))
    if xyxy.shape != (*logit.shape, 4):
        raise wrong(f"boxes of shape {(*logit.shape, 4)}", str(tuple(xyxy.shape)))
    if not (logit.is_floating_point() and xyxy.is_floating_point()):
        raise wrong("floating-point numbers", f"{logit.dtype} and {xyxy.dtype}")
    if not (logit.isfinite().all() and xyxy.isfinite().all()):
        raise wrong("finite numbers", "NaN or infinity")
    if images.requires_grad and torch.is_grad_enabled() and not logit.requires_grad:
        raise wrong("logits with gradients to the images", "logits cut off from them (detach, no_grad)")
    return Candidates(logit.float(), xyxy.float())


def parted(candidates: Candidates, count: int) -> list[Candidates]:
    """Return the candidates of a batch that is `count` batches of equal length as those of each."""
    parts = zip(candidates.logit.chunk(count), candidates.xyxy.chunk(count), strict=True)
    return [Candidates(logit, xyxy, candidates.head) for logit, xyxy in parts]
