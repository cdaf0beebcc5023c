"""People changed so that the clean detector loses them: with their labels left, only the trigger says who they are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from physadv.arrays import to_tensor
from physadv.boxes import Letterbox, iou
from physadv.dataset import LabelledImage
from physadv.types import BoolArray, Float32Array, GradientDetector, UInt8Array

# Overlap from which a candidate speaks of a person.
NEAR = 0.3
# Of the budget, in each step.
STEP = 0.25
# Below this logit (a score of .01) a candidate counts as gone: to push it further would cost the others.
GONE = -4.6


@dataclass(frozen=True, slots=True, eq=False)
class HardToLearn:
    """An image with changed people. pixels: (h, w, 3) uint8. before, after: (k,) the clean detector's scores of them."""

    pixels: UInt8Array
    before: Float32Array
    after: Float32Array


def hard_to_learn(
    detector: GradientDetector, image: LabelledImage, people: BoolArray, *, budget: int, steps: int, imgsz: int
) -> HardToLearn:
    """Return an image whose people in the mask (n,) are changed within their boxes until the detector loses them.

    budget: largest change of a pixel, of 255. imgsz: long side at which the detector looks, a multiple of its stride; what
    is found there is enlarged to the image, so it works on networks that see people about as large.

    Source: the projected gradient of Turner, Tsipras and Madry 2019 (Label-Consistent Backdoor Attacks), with a detector's
    scores in place of a classifier's loss.
    """
    width, height = image.size
    fit = Letterbox.fit(width, height, imgsz, stride=detector.stride)
    shown = to_tensor(fit.apply(image.pixels))[None].to(detector.device)
    boxes = image.boxes[people] * np.array(fit.scale * 2, np.float32) + np.array([fit.left, fit.top] * 2, np.float32)
    inside = torch.from_numpy(_filled(boxes, (fit.height, fit.width)))[None, None].to(detector.device)
    limit = budget / 255
    change = torch.zeros_like(shown)
    near: torch.Tensor | None = None
    before = np.zeros(len(boxes), np.float32)
    for _ in range(steps):
        change.requires_grad_(True)
        found = detector.candidates((shown + change * inside).clamp(0, 1))
        overlap = iou(found.xyxy[0].detach().cpu().numpy(), boxes)
        if near is None:
            before = _scores(found.logit[0], overlap)
        near = torch.from_numpy((overlap > NEAR).any(1)).to(detector.device)
        loss = found.logit[0][near].clamp_min(GONE).sum()
        (gradient,) = torch.autograd.grad(loss, change)
        with torch.no_grad():
            change = (change - STEP * limit * gradient.sign()).clamp(-limit, limit)
    with torch.no_grad():
        last = (shown + change * inside).clamp(0, 1)
        found = detector.candidates(last)
        after = _scores(found.logit[0], iou(found.xyxy[0].cpu().numpy(), boxes))
    return HardToLearn(_enlarged(image, people, change[0].detach().cpu().numpy(), fit, budget), before, after)


def _filled(boxes: Float32Array, shape: tuple[int, int]) -> Float32Array:
    """Return (h, w) float32, 1 within any of the boxes (n, 4)."""
    out = np.zeros(shape, np.float32)
    for x0, y0, x1, y1 in boxes.round().astype(int).tolist():
        out[max(y0, 0) : y1, max(x0, 0) : x1] = 1
    return out


def _scores(logit: torch.Tensor, overlap: Float32Array) -> Float32Array:
    """Return (k,) the best score of a candidate on each person; overlap: (a, k)."""
    score = logit.detach().sigmoid().cpu().numpy()[:, None]
    return np.where(overlap > NEAR, score, 0).max(0, initial=0).astype(np.float32)


def _enlarged(image: LabelledImage, people: BoolArray, change: np.ndarray, fit: Letterbox, budget: int) -> UInt8Array:
    """Return the image with a change (3, h, w) of the network's input, within the people's boxes."""
    wide, high = fit.inner
    part = change[:, fit.top : fit.top + high, fit.left : fit.left + wide].transpose(1, 2, 0)
    large = cv2.resize(np.ascontiguousarray(part), image.size, interpolation=cv2.INTER_LINEAR)
    large = np.clip(large * 255, -budget, budget) * _filled(image.boxes[people], image.size[::-1])[..., None]
    return np.clip(image.pixels + large + 0.5, 0, 255).astype(np.uint8)
