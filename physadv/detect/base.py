"""What detectors have in common: one base for those that stand alone, one for those around another. Loads no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from physadv.types import Detections, Detector, Float32Array, Frame, UInt8Array


class BareDetector(ABC):
    """A detector without memory, chance or weights of its own, until a subclass says otherwise.

    Subclasses set `name` and `backend` and write `detect_batch`. own_size: whether it looks at images of one size of its
    own, whatever `imgsz` was asked for. weights_known: whether `fingerprint` differs where its weights do.
    parameters: how many weights it has, year: when its kind was published, where it says so.
    """

    name: str
    backend: str
    own_size: bool = False
    weights_known: bool = True
    parameters: int | None = None
    year: int | None = None
    precision: str = "fp32"
    min_conf: float = 0.05
    imgsz: int = 640
    sha256: str | None = None
    deterministic: bool = True
    cost_ms: float = 0.0

    @abstractmethod
    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size."""

    def detect(self, frame: Frame) -> Detections:
        """Return the people in one frame, boxes in its own pixels."""
        return self.detect_batch([frame.pixels])[0]

    def activation(self, image: UInt8Array) -> Float32Array:
        """Return (h, w) in [0, 1]: each box that is found in an (h, w, 3) image filled with its score, the best on top."""
        out = np.zeros(image.shape[:2], np.float32)
        found = self.detect(Frame(image, 0, 0, 0.0))
        for (x1, y1, x2, y2), score in zip(found.xyxy.round().astype(int).tolist(), found.score.tolist(), strict=True):
            part = out[max(y1, 0) : y2, max(x1, 0) : x2]
            np.maximum(part, score, out=part)
        return out

    def lanes(self) -> tuple[Detector, ...]:
        """Return itself alone: a second pass at the same time would take from the first."""
        return (self,)

    def reset(self) -> None:  # noqa: B027 -- a subclass with a memory overwrites it
        """Forget earlier frames: nothing to do without a memory."""

    def fingerprint(self) -> str:
        """Return the name: there are no weights to hash."""
        return self.name


class WrappedDetector:
    """A detector around another: answers what the other answers and offers what it offers.

    Subclasses overwrite what they change: guards, detectors that can be cut off, detectors that add keypoints.
    """

    def __init__(self, inner: Detector) -> None:
        self.inner = inner
        self.name = inner.name
        self.backend = inner.backend
        self.precision = inner.precision
        self.min_conf = inner.min_conf
        self.imgsz = inner.imgsz
        self.sha256 = inner.sha256
        self.deterministic = inner.deterministic
        self.cost_ms = 0.0

    def detect(self, frame: Frame) -> Detections:
        """Return the people in one frame, boxes in its own pixels."""
        return self.inner.detect(frame)

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size."""
        return self.inner.detect_batch(images)

    def activation(self, image: UInt8Array) -> Float32Array:
        """Return the activation of the innermost detector for an (h, w, 3) uint8 RGB image."""
        return self.inner.activation(image)

    def lanes(self) -> tuple[Detector, ...]:
        """Return itself alone: it may have a memory."""
        return (self,)

    def reset(self) -> None:
        """Forget everything that came from earlier frames, here and further in."""
        self.inner.reset()

    def fingerprint(self) -> str:
        """Return a hash of the innermost detector's weights as they are now."""
        return self.inner.fingerprint()
