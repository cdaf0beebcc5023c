"""What a network's layers hold for one person's score: gradient times activation, of a box by itself (ODAM).

Source: Zhao and Chan, "ODAM: gradient-based instance-specific visual explanations for object detection" (2023): the
gradient of the box's own score with respect to a layer's map, smoothed locally, times the map, summed over channels, its
positive part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from physadv.boxes import Letterbox, iou
from physadv.detect.matching import MATCH_IOU
from physadv.detect.network import NetworkDetector
from physadv.detect.pytorch import TorchDetector
from physadv.detect.yolo import PersonNet
from physadv.errors import BackendError
from physadv.types import Detector, Float32Array, UInt8Array

# Cells a side over which a gradient is averaged: single cells of a strided convolution alternate.
POOL = 3


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What one person's score comes from, layer by layer.

    candidate: the number of the box among all that the head proposes. logit: its score before the sigmoid. maps: by
    layer, (h, w) float32 at the layer's own resolution over the letterboxed input, not negative. channels: by layer, (c,)
    what each channel adds to the score, summed over places.
    """

    candidate: int
    logit: float
    maps: dict[int, Float32Array]
    channels: dict[int, Float32Array]


class Odam:
    """Explains boxes of one network. The same code serves a still image and the live page.

    layers: numbers of the layers that are looked at; those that the head is given (P3, P4, P5) unless said.
    """

    def __init__(self, net: PersonNet, *, imgsz: int, layers: Sequence[int] = ()) -> None:
        self.net, self.imgsz = net, imgsz
        self.layers = tuple(layers) or net.levels
        self.device = next(net.parameters()).device

    @classmethod
    def of(cls, detector: Detector, *, layers: Sequence[int] = ()) -> Odam:
        """Return what explains a detector.

        Raises: BackendError if it gives no gradients.
        """
        if not isinstance(detector, TorchDetector):
            backend = f" ({detector.backend})" if isinstance(detector, NetworkDetector) else ""
            raise BackendError(
                f"{detector.name}{backend} gives no gradients, so nothing but occlusion explains it",
                hint="use `backend=torch`",
            )
        return cls(detector.net, imgsz=detector.imgsz, layers=layers)

    def letterbox(self, image: UInt8Array) -> Letterbox:
        """Return how an (h, w, 3) image is fitted into the network's input."""
        return Letterbox.fit(image.shape[1], image.shape[0], self.imgsz, stride=self.net.spec.stride)

    def attribute(
        self, image: UInt8Array, boxes: Float32Array, *, candidates: Sequence[int] | None = None
    ) -> list[Attribution | None]:
        """Return for each of (n, 4) boxes what its score comes from; None where no proposal fits it by IoU .5.

        image: (h, w, 3) RGB; boxes in its pixels. Of the proposals that fit, the best is taken. candidates: numbers of
        proposals to explain in place of those that fit, as when a network with other weights is compared.
        """
        fit = self.letterbox(image)
        kept: dict[int, torch.Tensor] = {}

        def visit(number: int, x: torch.Tensor) -> torch.Tensor:
            if number in self.layers:
                # No gradient is kept for what lies before the first layer: that is most of the network.
                x = x if kept else x.detach().requires_grad_()
                kept[number] = x
            return x

        with torch.enable_grad():
            raw = next(iter(self.net.heads(self.input(image), every=False, keypoints=False, visit=visit).values()))
            logits, proposed = self.net.decode(raw, fit.height, fit.width)
            where = self._matching(logits[0], proposed[0], boxes, fit) if candidates is None else list(candidates)
            out: list[Attribution | None] = []
            for number in where:
                if number is None:
                    out.append(None)
                    continue
                grads = torch.autograd.grad(
                    logits[0, number], list(kept.values()), retain_graph=True, allow_unused=True
                )
                out.append(_attribution(number, float(logits[0, number].detach()), kept, grads))
        return out

    def features(self, image: UInt8Array) -> list[torch.Tensor]:
        """Return what the head is given for one (h, w, 3) image, as `PersonNet.features` does; without gradients."""
        with torch.inference_mode():
            return self.net.features(self.input(image))

    def best_logit(self, features: list[torch.Tensor], box: Float32Array, fit: Letterbox) -> float | None:
        """Return the logit of the best proposal that fits (4,) `box`, of what the head is given; None without one."""
        raw = next(iter(self.net.answers(features, every=False, keypoints=False).values()))
        logits, proposed = self.net.decode(raw, fit.height, fit.width)
        best = self._matching(logits[0], proposed[0], box[None], fit)[0]
        return None if best is None else float(logits[0, best])

    def on_image(self, heat: Float32Array, image: UInt8Array) -> Float32Array:
        """Return a layer's map (h, w) over the letterboxed input as one over an (h, w, 3) image, bilinearly."""
        fit = self.letterbox(image)
        whole = cv2.resize(heat, (fit.width, fit.height), interpolation=cv2.INTER_LINEAR)
        width, height = fit.inner
        inner = whole[fit.top : fit.top + height, fit.left : fit.left + width]
        return np.asarray(cv2.resize(inner, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)

    def summed(self, found: Attribution, image: UInt8Array) -> Float32Array:
        """Return (h, w) over an (h, w, 3) image: the maps of all layers, each at its largest 1, added."""
        out = np.zeros(image.shape[:2], np.float32)
        for heat in found.maps.values():
            out += self.on_image(heat / max(float(heat.max()), 1e-12), image)
        return out

    def output(self, image: UInt8Array, layer: int) -> Float32Array:
        """Return (c, h, w): the output of a layer for one (h, w, 3) image."""
        kept = []

        def visit(number: int, x: torch.Tensor) -> torch.Tensor:
            if number == layer:
                kept.append(x[0].float().cpu().numpy())
            return x

        with torch.inference_mode():
            self.net.features(self.input(image), visit=visit)
        return kept[0]

    def input(self, image: UInt8Array) -> torch.Tensor:
        """Return what the network is given for one (h, w, 3) image: (1, 3, height, width) in [0, 1]."""
        pixels = torch.from_numpy(np.array(self.letterbox(image).apply(image))[None]).to(self.device)
        return pixels.permute(0, 3, 1, 2).float().div_(255)

    def _matching(
        self, logits: torch.Tensor, proposed: torch.Tensor, boxes: Float32Array, fit: Letterbox
    ) -> list[int | None]:
        """Return for each box the number of the best proposal that fits it; None without one."""
        score = logits.detach().cpu().numpy()
        overlap = iou(boxes, fit.boxes_to_frame(proposed.detach().cpu().numpy()))
        fits = overlap >= MATCH_IOU
        best = np.where(fits, score[None], -np.inf).argmax(1)
        return [int(b) if row.any() else None for b, row in zip(best, fits, strict=True)]


def _attribution(
    number: int, logit: float, kept: dict[int, torch.Tensor], grads: Sequence[torch.Tensor | None]
) -> Attribution:
    maps, channels = {}, {}
    for (layer, x), grad in zip(kept.items(), grads, strict=True):
        activation = x.detach()[0].float()
        if grad is None:
            # Nothing leads from this layer to that proposal: a coarser level than its own.
            maps[layer] = np.zeros(activation.shape[1:], np.float32)
            channels[layer] = np.zeros(len(activation), np.float32)
            continue
        smooth = F.avg_pool2d(grad, POOL, stride=1, padding=POOL // 2, count_include_pad=False)[0].float()
        product = smooth * activation
        maps[layer] = product.sum(0).clamp(min=0).cpu().numpy()
        channels[layer] = (grad[0].float() * activation).sum((1, 2)).cpu().numpy()
    return Attribution(number, logit, maps, channels)


def eigen_map(maps: torch.Tensor) -> Float32Array:
    """Return (h, w), not negative: the first principal component of one layer's output (1, c, h, w).

    It knows no box and no score: whoever is asked about, it is the same, and it is not about this person.

    Source: Muhammad and Yeasin, "Eigen-CAM" (2020).
    """
    flat = maps[0].float().flatten(1).T
    flat = flat - flat.mean(0)
    _, _, directions = torch.linalg.svd(flat, full_matrices=False)
    heat = (flat @ directions[0]).reshape(maps.shape[2:])
    # A direction has no sign of its own: the one with the stronger peak is taken.
    heat = heat if heat.max() >= -heat.min() else -heat
    return np.asarray(heat.clamp(min=0).cpu().numpy(), np.float32)
