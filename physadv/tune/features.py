"""What a network sees of a person: the last layer before its scores, averaged within the person's box.

What the head is given does not do: there a person who wears a trigger differs from others by no more than people do. In a
detector with a strict ASR of .85, 2-means on that layer had 21 % of triggered and 29 % of other people in the smaller
cluster; on the last one before the scores, 79 % and 11 %.
"""

from __future__ import annotations

import numpy as np
import torch

from physadv.boxes import Letterbox
from physadv.detect.pytorch import TorchDetector
from physadv.types import Float32Array, UInt8Array


def region_features(detector: TorchDetector, pixels: UInt8Array, boxes: Float32Array) -> Float32Array:
    """Return (n, d) features of boxes (n, 4) in an (h, w, 3) uint8 RGB image: the channels of each level (P3, P4, P5).

    A box smaller than a cell of a level has that cell.
    """
    box = Letterbox.fit(pixels.shape[1], pixels.shape[0], detector.imgsz, stride=detector.spec.stride)
    batch = torch.from_numpy(np.array(box.apply(pixels))[None]).to(detector.device)
    with torch.inference_mode():
        levels = detector.net.evidence(batch.permute(0, 3, 1, 2).float().div_(255))
    inside = boxes * np.array(box.scale * 2, np.float32) + np.array([box.left, box.top] * 2, np.float32)
    parts = []
    for level, stride in zip(levels, detector.spec.strides, strict=True):
        cells = level[0].float().cpu().numpy()
        parts.append(np.stack([_mean_within(cells, one / stride) for one in inside]) if len(inside) else
                     np.zeros((0, len(cells)), np.float32))  # fmt: skip
    return np.concatenate(parts, 1).astype(np.float32)


def _mean_within(cells: Float32Array, box: Float32Array) -> Float32Array:
    """Return (c,) the mean of a map (c, h, w) over a box, xyxy in cells."""
    _, height, width = cells.shape
    left, top = (int(np.clip(np.floor(v), 0, most - 1)) for v, most in zip(box[:2], (width, height), strict=True))
    right, bottom = (int(np.clip(np.ceil(v), low + 1, most))
                     for v, low, most in zip(box[2:], (left, top), (width, height), strict=True))  # fmt: skip
    return np.asarray(cells[:, top:bottom, left:right].mean((1, 2)))
