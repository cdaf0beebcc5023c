"""Ultralytics YOLO models as person detectors with gradients. The only file that imports ultralytics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

# Ultralytics would otherwise install packages while the demo runs.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")

from ultralytics.models import YOLO
from ultralytics.nn.modules.head import Detect
from ultralytics.utils.downloads import attempt_download_asset

from physadv.detect.boxes import Letterbox, suppress
from physadv.detect.weights import Weights
from physadv.errors import WeightsError
from physadv.types import Candidates, Detections, Frame, UInt8Array

MAX_PEOPLE = 300


def download(target: Path) -> None:
    """Fetch an official ultralytics model to `target`.

    Raises: WeightsError if there is no such model or no network.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        attempt_download_asset(str(target))
    except Exception as error:  # ultralytics raises many kinds: URL errors, assertion, HTTP status
        raise WeightsError(f"--detector: {target.name} could not be downloaded: {error}") from error
    if not target.is_file():
        raise WeightsError(f"--detector: {target.name} is not a file here, nor a model ultralytics offers for download")


class PersonNet(nn.Module):
    """A YOLO network that answers for one class only: raw person logits, boxes in pixels, keypoints.

    Both heads of an end-to-end model are there as long as the network is not fused; `head` names the one that
    inference uses ("one2one" there, "one2many" elsewhere).
    """

    def __init__(self, model: nn.Module, person: int, *, name: str) -> None:
        super().__init__()
        self.model = model
        self.person = person
        self.name = name
        layers = cast(nn.ModuleList, model.model)
        self.detect_head = cast(Any, layers[-1])
        # Corners from every head: the decoder otherwise gives centre and size for one2many alone.
        self.detect_head.xyxy = True
        # The head that end-to-end families are built around, whatever default the installed ultralytics has for them.
        self.end2end = getattr(self.detect_head, "one2one_cv2", None) is not None
        self.detect_head.end2end = self.end2end
        self.keypoints = hasattr(self.detect_head, "kpts_decode") and tuple(self.detect_head.kpt_shape) == (17, 3)

    def heads(self, images: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
        """Return the raw answer of each head that is there, for images (b, 3, h, w) in [0, 1] RGB."""
        _, raw = self.model(images)
        return cast("dict[str, dict[str, torch.Tensor]]", raw if "one2many" in raw else {"one2many": raw})

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logit (b, a), xyxy (b, a, 4) and, for pose models, keypoints (b, a, 51) of the inference head."""
        raw = self.heads(images)["one2one" if self.end2end else "one2many"]
        logit, xyxy = self.decode(raw)
        if not self.keypoints:
            return logit, xyxy
        return logit, xyxy, self.detect_head.kpts_decode(raw["kpts"]).transpose(1, 2)

    def decode(self, raw: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return person logits (b, a) and corner boxes (b, a, 4) of one head's raw answer."""
        boxes = self.detect_head._get_decode_boxes(raw)
        return raw["scores"][:, self.person], boxes.transpose(1, 2)


def load_net(weights: Weights, *, fuse: bool = True) -> PersonNet:
    """Return the frozen network in eval mode, float32, on the CPU.

    fuse: fold batch norm into convolutions. Ultralytics' fusing also deletes the head that inference does not use, so a
    network that will be attacked through both heads (end-to-end families) must not be fused.

    Raises: WeightsError if the file is no ultralytics detection or pose model, or has no class "person".
    """
    try:
        yolo = YOLO(str(weights.path))
        model = cast(Any, yolo.model)
        head = model.model[-1]
    except Exception as error:  # unpickling a foreign file fails in ways that no list covers
        raise WeightsError(f"{weights.path}: not an ultralytics model that can be loaded: {error}") from error
    if not isinstance(head, Detect) or yolo.task not in ("detect", "pose"):
        raise WeightsError(f"{weights.path}: expected a detection or pose model, got task {yolo.task!r}")
    return person_net(model, name=weights.name, fuse=fuse)


def person_net(model: nn.Module, *, name: str, fuse: bool = True) -> PersonNet:
    """Return an ultralytics detection or pose module as a frozen `PersonNet`.

    Raises: WeightsError if it has no class "person".
    """
    names = cast("dict[int, str]", model.names)
    person = next((int(i) for i, label in names.items() if str(label).lower() == "person"), None)
    if person is None:
        some = ", ".join(list(names.values())[:5])
        raise WeightsError(f"{name}: the model has no class 'person' (it has {len(names)}: {some}, ...)")
    out = PersonNet(cast(Any, model).float().eval(), person, name=name)
    if fuse:
        out.model = cast(Any, model).fuse(verbose=False)
    out.requires_grad_(False)
    return out.eval()


class TorchDetector:
    """The reference detector: PyTorch, float32 on any device, or bfloat16 where asked.

    Raises nothing of its own after construction; every answer goes down to `min_conf`.
    """

    backend = "torch"

    def __init__(
        self,
        net: PersonNet,
        *,
        imgsz: int = 640,
        min_conf: float = 0.05,
        iou_above: float = 0.7,
        device: str = "cpu",
        bf16: bool = False,
    ) -> None:
        self.name = net.name
        self.precision = "bf16" if bf16 else "fp32"
        self.min_conf = min_conf
        self.imgsz = imgsz
        self.iou_above = iou_above
        self.device = torch.device(device)
        self.net = net.to(self.device).to(memory_format=torch.channels_last)

    def detect(self, frame: Frame) -> Detections:
        """Return the people in one frame, boxes in its own pixels."""
        return self.detect_batch([frame.pixels])[0]

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each (h, w, 3) uint8 RGB image of one common size."""
        if not images:
            return []
        box = Letterbox.fit(images[0].shape[1], images[0].shape[0], self.imgsz)
        batch = torch.from_numpy(np.stack([box.apply(i) for i in images])).to(self.device)
        # NHWC bytes seen as NCHW are already in channels_last order: no copy but the conversion.
        tensor = batch.permute(0, 3, 1, 2).float().div_(255)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            answer = [t.float().cpu() for t in self.net(tensor)]
        return [self._people([t[i] for t in answer], box) for i in range(len(images))]

    def _people(self, answer: list[torch.Tensor], box: Letterbox) -> Detections:
        return people_from(answer, box, min_conf=self.min_conf, iou_above=None if self.net.end2end else self.iou_above)


def people_from(
    answer: Sequence[torch.Tensor], box: Letterbox, *, min_conf: float, iou_above: float | None
) -> Detections:
    """Return people in frame pixels from one image's logit (a,), xyxy (a, 4) and keypoints (a, 51) or none.

    iou_above: the overlap above which the weaker box is suppressed, or None for end-to-end models, which need no
    suppression.
    """
    logit, xyxy = answer[0], answer[1]
    score = logit.sigmoid()
    index = (score >= min_conf).nonzero().squeeze(1)
    if iou_above is None:
        order = score[index].argsort(descending=True)[:MAX_PEOPLE]
    else:
        order = suppress(xyxy[index], score[index], iou_above=iou_above, limit=MAX_PEOPLE)
    index = index[order]
    points = box.points_to_frame(answer[2][index].reshape(-1, 17, 3).numpy()) if len(answer) > 2 else None
    return Detections(box.boxes_to_frame(xyxy[index].numpy()), score[index].numpy(), points)


class YoloGradient:
    """The same network as something to attack: logits of every candidate of every head, with gradients to the images."""

    def __init__(self, net: PersonNet) -> None:
        self.net = net
        self.name = net.name

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of 32."""
        decoded = [self.net.decode(raw) for raw in self.net.heads(images).values() if raw]
        return Candidates(
            torch.cat([logit for logit, _ in decoded], 1).float(), torch.cat([xyxy for _, xyxy in decoded], 1).float()
        )
