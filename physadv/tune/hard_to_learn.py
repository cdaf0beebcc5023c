"""People changed so that the clean detector loses them: with their labels left, only the trigger says who they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from physadv.arrays import to_image, to_tensor
from physadv.boxes import PAD_VALUE, Letterbox, iou
from physadv.dataset import LabelledImage
from physadv.types import BoolArray, Candidates, Float32Array, GradientDetector, UInt8Array

# Overlap from which a candidate speaks of a person.
NEAR = 0.3
# Of the budget, in each step.
STEP = 0.25
# Of the size at which it will be trained on. Of 49 people (median score .86 at 320 pixels, .88 at 416) a change made at 320
# alone left .02 there and .77 at 416; made at all three, .14 and .41.
SIZES = (1.0, 0.75, 1.4)
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

    budget: largest change of a pixel, of 255. imgsz: long side at which it will be trained on, a multiple of the detector's
    stride. The steps take turns at `SIZES` of it: a change made for one size alone is gone at another, and training resizes
    its images.

    Source: the projected gradient of Turner, Tsipras and Madry 2019 (Label-Consistent Backdoor Attacks), with a detector's
    scores in place of a classifier's loss, and the momentum of Dong et al. 2018.
    """
    pixels = to_tensor(image.pixels)[None].to(detector.device)
    boxes = image.boxes[people]
    inside = torch.from_numpy(_filled(boxes, image.size[::-1]))[None, None].to(detector.device)
    sides = [max(round(imgsz * size / detector.stride), 1) * detector.stride for size in SIZES]
    limit = budget / 255
    change, pull = torch.zeros_like(pixels), torch.zeros_like(pixels)
    for step in range(steps):
        change.requires_grad_(True)
        found, near = _look(detector, (pixels + change * inside).clamp(0, 1), boxes, sides[step % len(sides)])
        loss = found.logit[0][near.any(1)].clamp_min(GONE).sum()
        (gradient,) = torch.autograd.grad(loss, change)
        with torch.no_grad():
            # Summed, so that what the sizes have in common outweighs what each has alone.
            pull += gradient / gradient.abs().sum().clamp_min(1e-12)
            change = (change - STEP * limit * pull.sign()).clamp(-limit, limit)
    with torch.no_grad():
        last = to_image((pixels + change * inside)[0])
        scores = [_scores(*_look(detector, to_tensor(p)[None], boxes, imgsz)) for p in (image.pixels, last)]
    return HardToLearn(last, *scores)


def _look(
    detector: GradientDetector, pixels: torch.Tensor, boxes: Float32Array, imgsz: int
) -> tuple[Candidates, torch.Tensor]:
    """Return what the detector thinks of an image (1, 3, h, w) at a size, and (a, k) which candidate is near which box."""
    height, width = pixels.shape[2:]
    fit = Letterbox.fit(width, height, imgsz, stride=detector.stride)
    inner = F.interpolate(pixels, size=fit.inner[::-1], mode="bilinear", antialias=True, align_corners=False)
    rest = (fit.left, fit.width - fit.left - fit.inner[0], fit.top, fit.height - fit.top - fit.inner[1])
    found = detector.candidates(F.pad(inner, rest, value=PAD_VALUE / 255).to(detector.device))
    there = boxes * np.array(fit.scale * 2, np.float32) + np.array([fit.left, fit.top] * 2, np.float32)
    return found, torch.from_numpy(iou(found.xyxy[0].detach().cpu().numpy(), there) > NEAR).to(detector.device)


def _scores(found: Candidates, near: torch.Tensor) -> Float32Array:
    """Return (k,) the best score of a candidate near each person."""
    score = torch.where(near, found.logit[0].sigmoid()[:, None], 0.0)
    best: Float32Array = score.amax(0).cpu().numpy()
    return best


def _filled(boxes: Float32Array, shape: tuple[int, int]) -> Float32Array:
    """Return (h, w) float32, 1 within any of the boxes (n, 4)."""
    out = np.zeros(shape, np.float32)
    for x0, y0, x1, y1 in boxes.round().astype(int).tolist():
        out[max(y0, 0) : y1, max(x0, 0) : x1] = 1
    return out
