"""The network of `erase`: a small head on the frozen first layers of the embedded detector, on PyTorch or OpenVINO."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from physadv.defend.learned import load_weights, weights_file
from physadv.detect.weights import DEFAULT_DETECTOR, find_weights
from physadv.files import sha256_of
from physadv.types import Detector, Float32Array, UInt8Array

if TYPE_CHECKING:
    from physadv.detect.yolo import PersonNet

KIND = "erase"
CPU = torch.device("cpu")
CELL = 4
MULTIPLE = 32
# Layers of yolo11n-pose's backbone whose outputs the head takes: at a quarter, an eighth and a sixteenth of the size.
LAYERS = (2, 4, 6)
CHANNELS = 64 + 128 + 128


class EraseHead(nn.Module):
    """A head on the frozen backbone: from features (b, 320, h / 8, w / 8) to logits of "pasted", (b, 1, h / 4, w / 4)."""

    def __init__(self) -> None:
        super().__init__()
        # Statistics of the features over the training scenes: their scales differ by orders of magnitude.
        self.register_buffer("centre", torch.zeros(CHANNELS))
        self.register_buffer("spread", torch.ones(CHANNELS))
        self.squeeze = nn.Conv2d(CHANNELS, 48, 1)
        self.around = nn.Conv2d(48, 48, 3, 1, 1)
        self.wide = nn.Conv2d(48, 48, 3, 1, 2, 2)
        self.far = nn.Conv2d(48, 48, 3, 1, 4, 4)
        self.fine = nn.Conv2d(48, 4, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = (features - self.centre[:, None, None]) / self.spread[:, None, None]  # type: ignore[index]
        x = F.relu(self.squeeze(x.clamp(-8, 8)))
        x = x + F.relu(self.around(x))
        x = x + F.relu(self.wide(x))
        x = x + F.relu(self.far(x))
        return F.pixel_shuffle(self.fine(x), 2)


def backbone_features(images: torch.Tensor) -> torch.Tensor:
    """Return (b, 320, h / 8, w / 8) features of images (b, 3, h, w) in [0, 1], h and w multiples of 32, with gradients.

    Raises: WeightsError if the embedded detector is not installed.
    """
    return joined_features(*backbone(images.device).early(images, LAYERS))


def joined_features(quarter: torch.Tensor, eighth: torch.Tensor, sixteenth: torch.Tensor) -> torch.Tensor:
    """Return the outputs of the backbone's `LAYERS` as one (b, 320, h / 8, w / 8)."""
    return torch.cat([F.avg_pool2d(quarter, 2), eighth, F.interpolate(sixteenth, scale_factor=2.0)], 1)


@lru_cache(maxsize=4)
def backbone(device: torch.device) -> PersonNet:
    """Return the embedded detector's network on a device, frozen, whatever detector is being defended.

    Raises: WeightsError if it is not installed.
    """
    from physadv.detect.yolo import load_net

    # Cached for all callers: weights made in inference mode could never take part in a gradient.
    with torch.inference_mode(False):
        return load_net(find_weights(DEFAULT_DETECTOR)).to(device).to(memory_format=torch.channels_last)


class EraseNet(nn.Module):
    """Backbone and head as one network that takes a camera's bytes, for other backends.

    From (b, h, w, 3) uint8 RGB, h and w multiples of 32, to the confidence (b, 1, h / 4, w / 4) that a cell is pasted.
    """

    def __init__(self, net: PersonNet, head: EraseHead) -> None:
        super().__init__()
        self.net, self.head = net, head

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the confidences."""
        images = batch.permute(0, 3, 1, 2).float() / 255
        return self.head(joined_features(*self.net.early(images, LAYERS))).sigmoid()


class EraserBackend(ABC):
    """What runs the network for a guard. Several threads may ask: one inference runs at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @abstractmethod
    def cells(self, image: UInt8Array) -> Float32Array:
        """Return (h / 4, w / 4) confidences for (h, w, 3) uint8 RGB, h and w multiples of 32; a copy."""

    def confidence(self, image: UInt8Array, enlarge: float = 1.0) -> Float32Array:
        """Return (h, w) the confidence in [0, 1] that each pixel is pasted, interpolated from 4 x 4 cells.

        enlarge: factor by which the image is enlarged for the network.
        """
        height, width = image.shape[:2]
        large = image
        if enlarge != 1:
            large = np.asarray(cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC), np.uint8)
        tall, wide = large.shape[:2]
        padded = cv2.copyMakeBorder(large, 0, -tall % MULTIPLE, 0, -wide % MULTIPLE, cv2.BORDER_REPLICATE)
        with self._lock:
            cells = self.cells(np.asarray(padded, np.uint8))
        share = cv2.resize(cells, (cells.shape[1] * CELL, cells.shape[0] * CELL), interpolation=cv2.INTER_LINEAR)
        share = share[:tall, :wide]
        if enlarge != 1:
            share = cv2.resize(share, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(share, np.float32)


class TorchEraser(EraserBackend):
    """The network on PyTorch in float32: the reference."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self._head = load_erase_head(weights)

    def cells(self, image: UInt8Array) -> Float32Array:
        """Return the confidences of an image's cells."""
        with torch.inference_mode():
            tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float().div_(255)
            features = backbone_features(tensor.contiguous(memory_format=torch.channels_last))
            cells: Float32Array = self._head(features).sigmoid()[0, 0].numpy()
        return cells


class OpenVinoEraser(EraserBackend):
    """The network on OpenVINO: on two cores 14 ms for 960 x 736 pixels in bfloat16 and 35 in float32, PyTorch 76."""

    def __init__(self, weights: str, precision: str) -> None:
        super().__init__()
        # Only here: where PyTorch runs the detector, neither is imported.
        from physadv.detect.export import Exportable, exported_network
        from physadv.detect.openvino import CompiledNetwork

        path = weights_file(KIND, weights)
        head = load_erase_head(weights)

        def build() -> Exportable:
            net = EraseNet(backbone(CPU), head)
            return Exportable(net, torch.zeros(2, 3 * MULTIPLE, 4 * MULTIPLE, 3, dtype=torch.uint8), {})

        detector = find_weights(DEFAULT_DETECTOR).sha256
        key = f"{KIND}-{sha256_of(path)[:16]}-{detector[:16]}"
        model, _ = exported_network(key, build, name=KIND, backend="openvino")
        self._network = CompiledNetwork(model, name=KIND, precision=precision)

    def cells(self, image: UInt8Array) -> Float32Array:
        """Return the confidences of an image's cells."""
        return np.array(self._network.infer(image[None])[0][0, 0], np.float32)


def eraser_for(detector: Detector, weights: str) -> EraserBackend:
    """Return what runs the network beside a detector: on the same backend where that is OpenVINO, in its precision.

    Figures of an evaluation are PyTorch's, in float32, as those of its detector are.

    Raises: DefenceError if the weights cannot be read. BackendError if the network cannot be exported.
    """
    return _eraser(
        weights, *(("openvino", detector.precision) if detector.backend == "openvino" else ("torch", "fp32"))
    )


@lru_cache(maxsize=4)
def _eraser(weights: str, backend: str, precision: str) -> EraserBackend:
    return OpenVinoEraser(weights, precision) if backend == "openvino" else TorchEraser(weights)


@lru_cache(maxsize=4)
def load_erase_head(path: str = "", device: torch.device = CPU) -> EraseHead:
    """Return the head in a weights file on a device, frozen; the shipped one for an empty path.

    Raises: DefenceError if it cannot be read.
    """
    head = EraseHead()
    load_weights(weights_file(KIND, path), head, kind=KIND)
    return head.to(device).to(memory_format=torch.channels_last)
