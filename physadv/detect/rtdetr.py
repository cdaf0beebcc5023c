"""RT-DETR of Ultralytics as a person network, with gradients: a transformer that answers with 300 people or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from physadv.detect.candidate_net import CandidateNet, NetAnswer
from physadv.detect.restricted import unreadable
from physadv.detect.weights import Weights
from physadv.detect.yolo import body_of, person_class, read_model, run_layers
from physadv.errors import WeightsError
from physadv.types import Candidates, UInt8Array

HEAD = "RTDETRDecoder"


class RtdetrNet(CandidateNet):
    """An RT-DETR that answers for people alone. Its queries need no suppression.

    Like Ultralytics it looks at images stretched to a square, whatever their shape.
    """

    def __init__(self, model: nn.Module, person: int, *, name: str) -> None:
        super().__init__()
        self.name = name
        self.model = model
        self.person = person
        self._body, self._head, self._kept = body_of(model)

    def scaled(self, images: Sequence[UInt8Array], imgsz: int) -> torch.Tensor:
        """Return (b, 3, imgsz, imgsz) of images (h, w, 3) uint8 RGB, stretched as Ultralytics does."""
        square = [cv2.resize(image, (imgsz, imgsz), interpolation=cv2.INTER_LINEAR) for image in images]
        return torch.from_numpy(np.stack(square)).permute(0, 3, 1, 2).float().div_(255)

    def answer(self, images: torch.Tensor) -> NetAnswer:
        """Return what it says of images (b, 3, h, w) in [0, 1] RGB, in float32; boxes in their pixels."""
        height, width = images.shape[2:]
        side = max(height, width)
        square = images.float()
        if height != width:
            square = F.interpolate(square, size=(side, side), mode="bilinear")
        # Kept from the last size by the head, and if that was asked without gradients of no use with them.
        self._head.shapes = []
        _, (boxes, scores, *_) = self._head(run_layers(self._body, self._head, self._kept, square))
        centre, size = boxes[-1].float().split(2, -1)
        pixels = torch.tensor([width, height] * 2, device=images.device)
        xyxy = torch.cat([centre - size / 2, centre + size / 2], -1) * pixels
        return NetAnswer(Candidates(scores[-1][..., self.person].float(), xyxy))


def load_rtdetr(weights: Weights) -> RtdetrNet:
    """Return the frozen network in eval mode, float32, on the CPU. Code in the file runs only if it was trusted.

    Raises: WeightsError if the file is damaged, would run code, or has no class "person".
    """
    model = read_model(weights)
    try:
        return rtdetr_net(model, name=weights.name)
    except WeightsError as error:
        raise WeightsError(f"{weights.path}: {error}") from error
    except Exception as error:  # a damaged network fails in many ways
        raise WeightsError(f"{weights.path}: {unreadable(error)}") from error


def rtdetr_net(model: nn.Module, *, name: str) -> RtdetrNet:
    """Return an RT-DETR of Ultralytics as a frozen `RtdetrNet`, batch norm folded.

    Raises: WeightsError if it is no RT-DETR or has no class "person".
    """
    network = cast(Any, model)
    kind = type(network.model[-1]).__name__
    if kind != HEAD:
        raise WeightsError(f"expected an RT-DETR, got a model whose head is {kind}")
    person = person_class(getattr(network, "names", None))
    if person >= network.model[-1].nc:
        raise WeightsError(f"the class 'person' has number {person}, but the model knows fewer classes")
    network.float().eval().fuse(verbose=False)
    return RtdetrNet(network, person, name=name).requires_grad_(False).eval()
