"""How the answer of a YOLO head is decoded into people: once for every backend, in float32.

Networks answer with raw numbers (person logit, distances to the box's edges, keypoint offsets) for every candidate. Only
the few candidates above the lowest score are decoded, and always outside the network: a backend that computes in
bfloat16 would round pixel coordinates to steps of 2 to 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import nms

from physadv.boxes import Letterbox
from physadv.types import Detections, Float32Array

MAX_PEOPLE = 300
KEYPOINTS = 17


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What decoding needs to know of a network.

    strides: pixels per cell of each level. reg_max: bins of the distance distribution, 1 for plain distances. end2end:
    True where the head needs no suppression. keypoints: how offsets are scaled ("double" up to YOLO12, "plain" from
    YOLO26 on), or None for models without keypoints.
    """

    strides: tuple[int, ...]
    reg_max: int
    end2end: bool
    keypoints: Literal["double", "plain"] | None

    @property
    def stride(self) -> int:
        """Return the pixels of which the input's height and width are multiples."""
        return max(*self.strides, 32)


@lru_cache(maxsize=64)
def anchors(height: int, width: int, strides: tuple[int, ...]) -> tuple[Float32Array, Float32Array]:
    """Return cell centres (a, 2) in cells and strides (a,), in the order in which the head lists candidates."""
    centres, steps = [], []
    for stride in strides:
        rows, columns = height // stride, width // stride
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) + np.float32(0.5)
        centres.append(np.stack([x.ravel(), y.ravel()], 1))
        steps.append(np.full(rows * columns, stride, np.float32))
    centre, step = np.concatenate(centres), np.concatenate(steps)
    centre.setflags(write=False)
    step.setflags(write=False)
    return centre, step


@lru_cache(maxsize=32)
def anchor_tensors(
    height: int, width: int, strides: tuple[int, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `anchors` as tensors (a, 2) and (a, 1) on `device`, usable with gradients."""
    # Cached for all callers: tensors made in inference mode could never take part in a gradient.
    with torch.inference_mode(False):
        centre, step = anchors(height, width, strides)
        return torch.tensor(centre, device=device), torch.tensor(step, device=device)[:, None]


def decode_boxes(distance: torch.Tensor, spec: HeadSpec, height: int, width: int) -> torch.Tensor:
    """Return corner boxes (b, a, 4) in network pixels, with gradients, from raw distances (b, 4 * reg_max, a)."""
    centre, step = anchor_tensors(height, width, spec.strides, distance.device)
    reach = distance.float()
    if spec.reg_max > 1:
        b, _, a = reach.shape
        bins = torch.arange(spec.reg_max, dtype=reach.dtype, device=reach.device)
        # A weighted sum over bins written as a product of matrices: no (b, 4, bins, a) temporary beside the softmax.
        reach = (reach.view(b, 4, spec.reg_max, a).softmax(2) * bins.view(1, 1, -1, 1)).sum(2)
    reach = reach.transpose(1, 2)
    return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], 2) * step


def people_from(
    raw: Sequence[Float32Array], spec: HeadSpec, box: Letterbox, *, min_conf: float, iou_above: float
) -> Detections:
    """Return the people of one image in frame pixels, best first, at most 300.

    raw: logit (a,), distance (4 * reg_max, a) and, for pose models, keypoint offsets (51, a), as the network gave them.
    They may be views into the network's memory: what is kept is copied. iou_above: overlap above which the weaker box is
    suppressed; end-to-end heads need no suppression.
    """
    logit = raw[0]
    # A little below the limit, so that rounding in the sigmoid cannot lose a score equal to it.
    index = np.flatnonzero(logit > _logit(min_conf) - 1e-3)
    score = _sigmoid(logit[index].astype(np.float32))
    index, score = index[score >= min_conf], score[score >= min_conf]
    if spec.end2end:
        order = np.argsort(-score, kind="stable")[:MAX_PEOPLE]
        index, score = index[order], score[order]
        xyxy = _boxes(raw[1], index, spec, box)
    else:
        xyxy = _boxes(raw[1], index, spec, box)
        keep = nms(torch.from_numpy(xyxy), torch.from_numpy(score), iou_above)[:MAX_PEOPLE].numpy()
        index, score, xyxy = index[keep], score[keep], xyxy[keep]
    points = _points(raw[2], index, spec, box) if len(raw) > 2 else None
    return Detections(box.boxes_to_frame(xyxy), score, points)


def _boxes(distance: Float32Array, index: npt.NDArray[np.intp], spec: HeadSpec, box: Letterbox) -> Float32Array:
    centre, step = anchors(box.height, box.width, spec.strides)
    reach = distance[:, index].astype(np.float32)
    if spec.reg_max > 1:
        part = reach.reshape(4, spec.reg_max, -1)
        part = np.exp(part - part.max(1, keepdims=True))
        bins = np.arange(spec.reg_max, dtype=np.float32)[None, :, None]
        reach = (part * bins).sum(1) / part.sum(1)
    reach = reach.T
    out = np.concatenate([centre[index] - reach[:, :2], centre[index] + reach[:, 2:]], 1) * step[index, None]
    return np.ascontiguousarray(out, np.float32)


def _points(raw: Float32Array, index: npt.NDArray[np.intp], spec: HeadSpec, box: Letterbox) -> Float32Array:
    centre, step = anchors(box.height, box.width, spec.strides)
    y = raw[:, index].astype(np.float32).T.reshape(-1, KEYPOINTS, 3)
    base, factor = (centre[index] - 0.5, 2.0) if spec.keypoints == "double" else (centre[index], 1.0)
    out = np.empty_like(y)
    out[..., :2] = (y[..., :2] * factor + base[:, None]) * step[index, None, None]
    out[..., 2] = _sigmoid(y[..., 2])
    return box.points_to_frame(out)


def _sigmoid(x: Float32Array) -> Float32Array:
    # The two halves never overflow: exp of a negative number only.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def _logit(p: float) -> float:
    return -math.inf if p <= 0 else math.log(p / (1 - p)) if p < 1 else math.inf
