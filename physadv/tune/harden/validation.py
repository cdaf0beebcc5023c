"""The held-out people of a training, clean and under fixed patterns: loss and AP50 of a network as it is now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from physadv.arrays import to_tensor
from physadv.boxes import Letterbox
from physadv.dataset import LabelledImage
from physadv.detect.head import HeadSpec, people_from
from physadv.detect.matching import AP_CONF
from physadv.detect.yolo import PersonNet
from physadv.evaluate.metrics import ap50
from physadv.evaluate.own import FILLS, own_fit, share_of_image
from physadv.patch import Patch
from physadv.simulate.conditions import apply_patch, chance_of
from physadv.simulate.placement import people_of
from physadv.tune.yolo_data import labelled_points
from physadv.types import Detections, UInt8Array

# As in every detector that physadv loads.
IOU_ABOVE = 0.7
CLEAN = ""
# Answers of a network and the batch -> terms of its loss, and what is shown of them.
Criterion = Callable[[Any, dict[str, Any]], tuple[torch.Tensor, Any]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What held-out people say of a network. loss: mean of the training's loss over images. ap50: by pattern.

    attacked: the means or the worst over the patterns, None without any.
    """

    clean_loss: float
    clean_ap50: float | None
    attacked_loss: float | None
    attacked_ap50: float | None
    by_pattern: dict[str, float | None]


class Validation:
    """Held-out images, clean and with each pattern worn by everybody who counts; drawn once.

    Patterns are worn as `evaluate` has them worn, and images are seen as it shows them, so that an AP50 here is the one
    that it gives.
    """

    def __init__(self, images: Sequence[LabelledImage], patterns: Sequence[Patch], *, imgsz: int, seed: int) -> None:
        self._images, self._imgsz = list(images), imgsz
        filling = share_of_image(self._images) > FILLS
        self._boxes = [Letterbox.fit(*image.size, imgsz) for image in self._images]
        self._seen: dict[str, list[UInt8Array]] = {CLEAN: [self._input(i, None, seed, filling) for i in self._numbers]}
        for patch in patterns:
            self._seen[patch.name] = [self._input(i, patch, seed, filling) for i in self._numbers]

    @property
    def _numbers(self) -> range:
        return range(len(self._images))

    def _input(self, number: int, patch: Patch | None, seed: int, filling: bool) -> UInt8Array:
        image, pixels = self._images[number], self._images[number].pixels
        if patch is not None and image.counts.any():
            pixels = apply_patch(
                pixels,
                people_of(image.targets, image.keypoints[image.counts]),
                patch,
                own_fit(patch, filling=filling).placement,
                rng=chance_of(image.sha256 or image.name, seed=seed),
                imgsz=self._imgsz,
            )
        return self._boxes[number].apply(pixels)

    def measure(self, network: nn.Module, person: int) -> Judgement:
        """Return the figures of a network, which stays in the modes in which it is. person: the class that is one."""
        losses, scores = {}, {}
        # Of its own: a training may have put terms into the network's, which are not asked for here.
        criterion = network.init_criterion()  # type: ignore[operator]
        spec = PersonNet(network, person, name="").spec
        with _judged(network), torch.no_grad():
            for name, inputs in self._seen.items():
                both = [self._one(network, criterion, spec, person, i, pixels) for i, pixels in enumerate(inputs)]
                losses[name] = float(np.mean([loss for loss, _ in both]))
                scores[name] = ap50(self._images, [answer for _, answer in both])
        attacked = [name for name in self._seen if name != CLEAN]
        values = [score for name in attacked if (score := scores[name]) is not None]
        return Judgement(
            losses[CLEAN],
            scores[CLEAN],
            float(np.mean([losses[n] for n in attacked])) if attacked else None,
            min(values) if values else None,
            {name: scores[name] for name in attacked},
        )

    def _one(
        self, network: nn.Module, criterion: Criterion, spec: HeadSpec, person: int, number: int, pixels: UInt8Array
    ) -> tuple[float, Detections]:
        """Return loss and detections of one image from one forward pass."""
        device = next(network.parameters()).device
        batch = {"img": to_tensor(pixels)[None].to(device), **self._labels(number, person, device)}
        answer = network(batch["img"])
        loss = criterion(answer, batch)[0].sum()
        raw: dict[str, torch.Tensor] = answer[1]
        if "one2many" in raw:
            raw = answer[1]["one2one" if spec.end2end else "one2many"]
        parts = [raw["scores"][0, person], raw["boxes"][0]]
        people = people_from(
            [part.float().cpu().numpy() for part in parts],
            spec,
            self._boxes[number],
            min_conf=AP_CONF,
            iou_above=IOU_ABOVE,
        )
        return float(loss), people

    def _labels(self, number: int, person: int, device: torch.device) -> dict[str, Any]:
        """Return the labels of one image as an Ultralytics batch has them."""
        image, box = self._images[number], self._boxes[number]
        scale, shift = np.array(box.scale * 2), np.array([box.left, box.top] * 2)
        size = np.array([box.width, box.height], np.float32)
        corners = image.boxes * scale + shift
        n = len(corners)
        centres, sides = (corners[:, :2] + corners[:, 2:]) / 2 / size, (corners[:, 2:] - corners[:, :2]) / size
        points = labelled_points(image)
        points[..., :2] = (points[..., :2] * scale[:2] + shift[:2]) / size
        return {
            "cls": torch.full((n, 1), float(person), device=device),
            "bboxes": torch.from_numpy(np.concatenate([centres, sides], 1).astype(np.float32)).to(device),
            "batch_idx": torch.zeros(n, device=device),
            "keypoints": torch.from_numpy(points.astype(np.float32)).to(device),
        }


@contextmanager
def _judged(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode for a while; each part comes back to the mode that it was in.

    A training that holds the statistics of BatchNorm has these parts in eval mode and the others not.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
