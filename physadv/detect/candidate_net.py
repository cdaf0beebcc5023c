"""Networks that are not YOLO's, as one kind: candidates with gradients, from which detection and attack are made alike."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torchvision.ops import clip_boxes_to_image, nms

from physadv.boxes import STRIDE
from physadv.detect.base import BareDetector
from physadv.detect.gradients import BareGradient
from physadv.detect.head import MAX_PEOPLE
from physadv.detect.network import weights_hash
from physadv.types import Candidates, Detections, Float32Array, UInt8Array

if TYPE_CHECKING:
    from physadv.detect.weights import Weights


@dataclass(frozen=True, slots=True, eq=False)
class NetAnswer:
    """What a network says of a batch. candidates: with gradients. features: maps that keypoints are read from, or None."""

    candidates: Candidates
    features: Any = None


class CandidateNet(nn.Module, ABC):
    """A frozen network that answers for people alone: person logits and boxes of every candidate before suppression.

    name: what a report calls it. fixed_imgsz: the one size in pixels that it takes, to which every image is stretched, or
    None. iou_above: overlap above which its makers suppress the weaker box; None where it needs no suppression. smallest:
    pixels of its input from which on the side of a box counts.
    """

    name: str
    stride: int = STRIDE
    fixed_imgsz: int | None = None
    iou_above: float | None = None
    smallest: float = 0.0

    @abstractmethod
    def scaled(self, images: Sequence[UInt8Array], imgsz: int) -> torch.Tensor:
        """Return (b, 3, h', w') float32 in [0, 1] of (h, w, 3) uint8 RGB images of one size, as its makers scale them."""

    @abstractmethod
    def answer(self, images: torch.Tensor) -> NetAnswer:
        """Return what it says of images (b, 3, h, w) in [0, 1] RGB; boxes in their pixels, logits and boxes float32."""

    def keypoints(self, answer: NetAnswer, image: int, xyxy: torch.Tensor) -> torch.Tensor | None:
        """Return the (n, 17, 3) keypoints of the people (n, 4) of one image of a batch; None without such a head."""
        del answer, image, xyxy
        return None


class CandidateDetector(BareDetector):
    """A `CandidateNet` on PyTorch in float32. Several threads may call it: one inference runs at a time."""

    backend = "torch"

    def __init__(
        self,
        net: CandidateNet,
        weights: Weights,
        *,
        device: str = "cpu",
        imgsz: int = 640,
        min_conf: float = 0.05,
        iou_above: float | None = None,
    ) -> None:
        """iou_above: None for the overlap that the network's makers use."""
        self.name = weights.name
        self.sha256 = weights.sha256
        self.min_conf = min_conf
        self.own_size = net.fixed_imgsz is not None
        self.imgsz = net.fixed_imgsz or -(-imgsz // net.stride) * net.stride
        self.device = torch.device(device)
        self.net = net.to(self.device)
        # What needs no suppression gets none, whatever is asked: as YOLO's end-to-end heads.
        self._iou_above = net.iou_above if iou_above is None or net.iou_above is None else iou_above
        self._lock = threading.Lock()

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size."""
        if not images:
            return []
        with self._lock, torch.inference_mode():
            batch = self.net.scaled(images, self.imgsz).to(self.device)
            answer = self.net.answer(batch)
            return [self._people(answer, i, batch.shape[2:], images[0]) for i in range(len(images))]

    def _people(self, answer: NetAnswer, number: int, size: torch.Size, image: UInt8Array) -> Detections:
        """Return the people of one image of a batch in its own pixels. size: height and width of the network's input."""
        logit, xyxy = answer.candidates.logit[number], answer.candidates.xyxy[number]
        score = logit.sigmoid()
        keep = score >= self.min_conf
        score, xyxy = score[keep], clip_boxes_to_image(xyxy[keep], (size[0], size[1]))
        large = (xyxy[:, 2:] - xyxy[:, :2] >= self.net.smallest).all(1)
        score, xyxy = score[large], xyxy[large]
        if self._iou_above is None:
            order = score.argsort(descending=True, stable=True)
        else:
            order = nms(xyxy, score, self._iou_above)
        score, xyxy = score[order[:MAX_PEOPLE]], xyxy[order[:MAX_PEOPLE]]
        back = np.array([image.shape[1] / size[1], image.shape[0] / size[0]], np.float32)
        points = self.net.keypoints(answer, number, xyxy)
        return Detections(
            _numbers(xyxy) * np.tile(back, 2),
            _numbers(score),
            None if points is None else _numbers(points) * np.append(back, np.float32(1)),
        )

    def fingerprint(self) -> str:
        """Return a hash of the network's weights as they are now."""
        return weights_hash(self.net)


class CandidateGradient(BareGradient):
    """A `CandidateNet` to attack, in float32: images are looked at in the size in which they are given."""

    def __init__(self, net: CandidateNet, *, device: str = "cpu", sha256: str | None = None) -> None:
        self.net = net.to(device)
        self.name = net.name
        self.parameters = sum(p.numel() for p in net.parameters())
        self.device = torch.device(device)
        self.sha256 = sha256
        self.stride = net.stride

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""
        return self.net.answer(images).candidates

    def fingerprint(self) -> str:
        """Return a hash of every weight and buffer as they are now."""
        return weights_hash(self.net)


def _numbers(values: torch.Tensor) -> Float32Array:
    return values.float().cpu().numpy()
