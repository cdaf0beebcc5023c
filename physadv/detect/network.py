"""The detector that every backend shares: letterbox, inference, decoding. Backends differ in the inference alone."""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch import nn

from physadv.boxes import Letterbox
from physadv.detect.base import BareDetector
from physadv.detect.head import HeadSpec, people_from
from physadv.types import Detections, Float32Array, UInt8Array

if TYPE_CHECKING:
    from physadv.detect.weights import Weights


class Options(TypedDict, total=False):
    """What may be chosen for every backend, as in `physadv.detect.load_detector`."""

    imgsz: int
    min_conf: float
    iou_above: float


class NetworkDetector(BareDetector):
    """A detector around one network. Several threads may call it: one inference runs at a time.

    imgsz: long side in pixels to which images are scaled, a multiple of the network's stride.
    """

    def __init__(
        self,
        weights: Weights,
        spec: HeadSpec,
        *,
        precision: str,
        imgsz: int = 640,
        min_conf: float = 0.05,
        iou_above: float = 0.7,
    ) -> None:
        self.name = weights.name
        self.sha256 = weights.sha256
        self.spec = spec
        self.precision = precision
        self.min_conf = min_conf
        self.iou_above = iou_above
        self.imgsz = -(-imgsz // spec.stride) * spec.stride
        self._lock = threading.Lock()

    @abstractmethod
    def infer(self, batch: UInt8Array) -> Sequence[Float32Array]:
        """Return logit (b, a), distance (b, 4 * reg_max, a) and perhaps keypoints (b, 51, a) for (b, h, w, 3) RGB.

        The next call may overwrite what is returned: callers hold the lock until they have copied it.
        """

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size."""
        if not images:
            return []
        box = Letterbox.fit(images[0].shape[1], images[0].shape[0], self.imgsz, stride=self.spec.stride)
        batch = np.stack([box.apply(i) for i in images]) if len(images) > 1 else box.apply(images[0])[None]
        with self._lock:
            raw = self.infer(batch)
            return [
                people_from([r[i] for r in raw], self.spec, box, min_conf=self.min_conf, iou_above=self.iou_above)
                for i in range(len(images))
            ]

    def activation(self, image: UInt8Array) -> Float32Array:
        """Return the class activation map of "person" for one (h, w, 3) uint8 RGB image, scaled to [0, 1].

        Each place has the largest logit of all levels, before suppression. The grid is that of the finest level, without
        the padding.

        Source: Zhou et al., "Learning deep features for discriminative localization" (2016), the map and its scaling.
        """
        box = Letterbox.fit(image.shape[1], image.shape[0], self.imgsz, stride=self.spec.stride)
        with self._lock:
            logit = self.infer(box.apply(image)[None])[0][0].astype(np.float32)
        fine = min(self.spec.strides)
        out = np.full((box.height // fine, box.width // fine), -np.inf, np.float32)
        start = 0
        for stride in self.spec.strides:
            rows, columns = box.height // stride, box.width // stride
            level = logit[start : start + rows * columns].reshape(rows, columns)
            out = np.maximum(out, level.repeat(stride // fine, 0).repeat(stride // fine, 1))
            start += rows * columns
        width, height = box.inner
        top, left = box.top // fine, box.left // fine
        out = out[
            top : max(-(-(box.top + height) // fine), top + 1), left : max(-(-(box.left + width) // fine), left + 1)
        ]
        return (out - out.min()) / max(float(out.max() - out.min()), 1e-6)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the weights file: the network compiled from it does not change."""
        return self.sha256 or self.name


def weights_hash(net: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers: equal before and after means that nothing changed."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
