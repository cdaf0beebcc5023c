"""The differentiable twin of the probes: what an attacker who knows of them has to bring down."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from physadv.defend.base import Twin
from physadv.defend.canaries import Cutout, canary_box, cutouts, peck_boxes
from physadv.detect.gradients import joined
from physadv.types import Candidates, Float32Array, GradientDetector

# Overlap with the canary from which a candidate counts as finding it.
HEARD = 0.4


class ProbeTwin(Twin):
    """An attacked detector whose candidates include the alarms of the probes, drawn anew at each call.

    The image's strongest candidate, which is what an attack is about, is taken as the suspicious place. Its pecked views
    add their candidates: bringing them down keeps the woodpecker silent. A canary beside it adds one candidate at that
    place, its logit the negative of the best logit that finds the canary: bringing it down leaves the canary to be found.
    """

    def __init__(self, inner: GradientDetector, *, canary: bool, pecks: int, seed: int | None) -> None:
        super().__init__(inner, seed=seed)
        self._canary = canary
        self._pecks = pecks

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of 32."""
        plain = self.inner.candidates(images)
        places = _places(plain)
        looks = [plain, *(self.inner.candidates(self._peck(images, places)) for _ in range(self._pecks))]
        if self._canary:
            view, boxes = self._sing(images, places)
            found = self.inner.candidates(view)
            looks.append(Candidates(-_heard(found, boxes), torch.from_numpy(places).to(images)[:, None]))
        return joined(looks)

    def _peck(self, images: torch.Tensor, places: Float32Array) -> torch.Tensor:
        keep = torch.ones_like(images[:, :1])
        for i, (x0, y0, x1, y1) in enumerate(peck_boxes(places, self._rng)):
            keep[i, :, max(int(y0), 0) : int(np.ceil(y1)), max(int(x0), 0) : int(np.ceil(x1))] = 0
        fill = images.detach().mean((2, 3), keepdim=True)
        return images * keep + fill * (1 - keep)

    def _sing(self, images: torch.Tensor, places: Float32Array) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = images.shape[2:]
        layer, alpha = torch.zeros_like(images), torch.zeros_like(images[:, :1])
        boxes = []
        for i, place in enumerate(places):
            cutout = cutouts()[int(self._rng.integers(len(cutouts())))]
            box = canary_box(place, cutout.pixels.shape[1] / cutout.pixels.shape[0], (width, height), self._rng)
            x0, y0, x1, y1 = (int(v) for v in box)
            pixels, cover = _scaled(cutout, x1 - x0, y1 - y0)
            layer[i, :, y0:y1, x0:x1] = torch.from_numpy(pixels).to(images)
            alpha[i, :, y0:y1, x0:x1] = torch.from_numpy(cover).to(images)
            boxes.append(box)
        return images * (1 - alpha) + layer * alpha, torch.from_numpy(np.array(boxes, np.float32)).to(images)


def _places(found: Candidates) -> Float32Array:
    """Return (b, 4) the box of each image's strongest candidate, at least 8 pixels wide and high."""
    best = found.logit.detach().argmax(1)
    boxes: Float32Array = found.xyxy.detach()[torch.arange(len(best)), best].float().cpu().numpy().copy()
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 8)
    return boxes


def _heard(found: Candidates, canaries: torch.Tensor) -> torch.Tensor:
    """Return (b, 1) the best logit among candidates that overlap the canary; very low if there is none."""
    low = torch.maximum(found.xyxy[..., :2], canaries[:, None, :2])
    high = torch.minimum(found.xyxy[..., 2:], canaries[:, None, 2:])
    common = (high - low).clamp_min(0).prod(2)
    both = (found.xyxy[..., 2:] - found.xyxy[..., :2]).clamp_min(0).prod(2)
    own = (canaries[:, 2:] - canaries[:, :2]).prod(1)[:, None]
    near = common / (both + own - common).clamp_min(1e-6) >= HEARD
    return found.logit.masked_fill(~near, -10.0).amax(1, keepdim=True)


def _scaled(cutout: Cutout, width: int, height: int) -> tuple[Float32Array, Float32Array]:
    pixels = cv2.resize(cutout.pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    alpha = cv2.resize(cutout.alpha, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), alpha[None]
