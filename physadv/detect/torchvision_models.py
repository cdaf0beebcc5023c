"""torchvision's detection models as person networks, with gradients: SSD, RetinaNet, FCOS, Faster, Mask and Keypoint R-CNN.

The only file that imports torchvision's models. Classes are numbered as torchvision does: 0 is the background, 1 a person.
"""

from __future__ import annotations

import math
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import keypointrcnn_inference
from torchvision.models.detection.ssd import SSD
from torchvision.ops.misc import FrozenBatchNorm2d

from physadv.detect.candidate_net import CandidateNet, NetAnswer
from physadv.detect.head import KEYPOINTS
from physadv.detect.restricted import archive_fault, reason
from physadv.detect.weights import Weights
from physadv.errors import WeightsError
from physadv.types import Candidates, UInt8Array

PERSON = 1
# COCO with its unused numbers; or the background and people alone, as of a keypoint model or one fine-tuned on people.
CLASSES = (91, 2)
# Of a candidate that is none: images have different numbers of proposals.
NOBODY = -100.0
# A score of 1 has no logit.
SUREST = -1e-7
# Of torchvision's files for which it takes 0 for the epsilon of frozen batch norm: the first digits of their SHA-256.
WITHOUT_EPSILON = ("258fb6c6", "eeacb38b", "fc266e95", "9f466800", "bf2d0c1e")
NOT_ONE = "expected a state dict, tensors by name, as torch.save(model.state_dict(), ...) writes it"


class TorchvisionNet(CandidateNet):
    """A detection model of torchvision that answers for people alone."""

    def __init__(self, model: nn.Module, *, name: str) -> None:
        super().__init__()
        self.name = name
        self.model = cast(Any, model).float().eval().requires_grad_(False)
        own = self.model.transform
        self.fixed_imgsz = None if own.fixed_size is None else int(max(own.fixed_size))
        heads = self.model.roi_heads if isinstance(model, FasterRCNN) else self.model
        self.iou_above = float(heads.nms_thresh)
        # What torchvision removes of two-stage models alone.
        self.smallest = 1e-2 if isinstance(model, FasterRCNN) else 0.0

    def scaled(self, images: Sequence[UInt8Array], imgsz: int) -> torch.Tensor:
        """Return (b, 3, h', w') of images (h, w, 3) uint8 RGB: stretched to the model's own size, or long side `imgsz`."""
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
        if self.fixed_imgsz is not None:
            return self._stretched(batch)
        scale = imgsz / max(batch.shape[2:])
        # Rounded down as torchvision does, which fails where nothing is left.
        size = [max(math.floor(side * scale), 1) for side in batch.shape[2:]]
        return F.interpolate(batch, size=size, mode="bilinear")

    def answer(self, images: torch.Tensor) -> NetAnswer:
        """Return what it says of images (b, 3, h, w) in [0, 1] RGB, in float32; boxes in their pixels, unclipped."""
        seen = images.float() if self.fixed_imgsz is None else self._stretched(images.float())
        height, width = seen.shape[2:]
        model = self.model
        step = model.transform.size_divisible
        padded = F.pad(model.transform.normalize(seen), (0, -width % step, 0, -height % step))
        features = model.backbone(padded)
        if isinstance(features, torch.Tensor):
            features = OrderedDict([("0", features)])
        view = ImageList(padded, [(height, width)] * len(images))
        logit, xyxy = (
            _two_stage(model, view, features) if isinstance(model, FasterRCNN) else _dense(model, view, features)
        )
        back = torch.tensor([images.shape[3] / width, images.shape[2] / height] * 2, device=images.device)
        return NetAnswer(Candidates(logit, xyxy * back), (features, (height, width)))

    def keypoints(self, answer: NetAnswer, image: int, xyxy: torch.Tensor) -> torch.Tensor | None:
        """Return the (n, 17, 3) keypoints of a Keypoint R-CNN; the third is the sigmoid of torchvision's own score."""
        heads = getattr(self.model, "roi_heads", None)
        if heads is None or not heads.has_keypoint():
            return None
        if not len(xyxy):
            return xyxy.new_zeros(0, KEYPOINTS, 3)
        levels, size = answer.features
        levels = OrderedDict((name, level[image : image + 1]) for name, level in levels.items())
        maps = heads.keypoint_predictor(heads.keypoint_head(heads.keypoint_roi_pool(levels, [xyxy], [size])))
        points, scores = keypointrcnn_inference(maps, [xyxy])
        return torch.cat([points[0][..., :2], scores[0].sigmoid()[..., None]], 2)

    def _stretched(self, images: torch.Tensor) -> torch.Tensor:
        return F.interpolate(images, size=tuple(self.model.transform.fixed_size[::-1]), mode="bilinear")


def _two_stage(model: Any, view: ImageList, features: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return person logits (b, a) and boxes (b, a, 4) of an R-CNN's proposals; images with fewer are filled up.

    Which regions are proposed has no gradient, as in torchvision's own training; what is said of each has.
    """
    proposals, _ = model.rpn(view, features)
    heads = model.roi_heads
    classes, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, view.image_sizes)))
    boxes = heads.box_coder.decode(deltas, proposals)[:, PERSON]
    counts = [len(p) for p in proposals]
    logit = torch.split(_logit_of_softmax(classes), counts)
    most = max(*counts, 1)
    return (
        torch.stack([F.pad(each, (0, most - len(each)), value=NOBODY) for each in logit]),
        torch.stack([F.pad(each, (0, 0, 0, most - len(each))) for each in torch.split(boxes, counts)]),
    )


def _dense(
    model: SSD | RetinaNet | FCOS, view: ImageList, features: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return person logits (b, a) and boxes (b, a, 4) of every anchor of a one-stage model."""
    levels = list(features.values())
    said = model.head(levels)
    anchors = torch.stack(model.anchor_generator(view, levels))
    deltas = said["bbox_regression"]
    if isinstance(model, FCOS):
        return _logit_of_fcos(said["cls_logits"], said["bbox_ctrness"]), model.box_coder.decode(deltas, anchors)
    boxes = model.box_coder.decode_single(deltas.flatten(0, 1), anchors.flatten(0, 1)).view_as(deltas)
    classes = said["cls_logits"]
    return (_logit_of_softmax(classes) if isinstance(model, SSD) else classes[..., PERSON]), boxes


def _logit_of_softmax(classes: torch.Tensor) -> torch.Tensor:
    """Return the logit whose sigmoid is the softmax of "person", for class logits (..., c)."""
    others = torch.cat([classes[..., :PERSON], classes[..., PERSON + 1 :]], -1)
    return classes[..., PERSON] - others.logsumexp(-1)


def _logit_of_fcos(classes: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Return (b, a) logits of FCOS's scores, the root of class times centreness; classes (b, a, c), centre (b, a, 1)."""
    log = ((F.logsigmoid(classes[..., PERSON]) + F.logsigmoid(centre[..., 0])) / 2).clamp_max(SUREST)
    return log - torch.log(-torch.expm1(log))


def load_torchvision(weights: Weights) -> TorchvisionNet:
    """Return the frozen model in eval mode on the CPU. No code in the file is run.

    weights: as `find_weights` has them.

    Raises: WeightsError if the file is no state dict of this model, or has other classes than COCO's or people alone.
    """
    state = _state(weights.path)
    wrong = []
    for classes in CLASSES:
        model = _built(weights.name, classes, state)
        difference = _difference(model.state_dict(), state)
        if difference is None:
            model.load_state_dict(state)
            if weights.sha256.startswith(WITHOUT_EPSILON):
                for module in model.modules():
                    if isinstance(module, FrozenBatchNorm2d):
                        module.eps = 0.0
            return TorchvisionNet(model, name=weights.name)
        wrong.append(difference)
    # The number of classes is the last thing in which a state dict differs: the later the difference, the nearer.
    raise WeightsError(
        f"{weights.path}: no state dict of {weights.name} for {CLASSES[0]} or {CLASSES[1]} classes: {max(wrong)[1]}"
    )


def _state(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors in a file, by name; as torchvision's own training writes them too, under "model".

    Raises: WeightsError if it holds anything else, or cannot be read.
    """
    try:
        # Files from before torch 1.6 are no archives; nothing in them is packed.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if wrong := archive_fault(archive):
                    raise WeightsError(f"{NOT_ONE}: {wrong}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # foreign and damaged files fail in many ways
        raise WeightsError(f"{path}: {NOT_ONE} ({reason(error)})") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not content or not all(isinstance(t, torch.Tensor) for t in content.values()):
        raise WeightsError(f"{path}: {NOT_ONE}")
    broken = next((name for name, tensor in content.items() if not tensor.isfinite().all()), None)
    if broken is not None:
        raise WeightsError(
            f"{path}: {str(broken)[:80]} holds NaN or infinity; the file is damaged, or training diverged"
        )
    return content


def _built(name: str, classes: int, state: dict[str, torch.Tensor]) -> nn.Module:
    """Return a model of torchvision without weights, with the kind of batch norm that a state dict was made with."""
    # Weights are drawn at random only to be replaced: whoever draws next gets what it would have got.
    with torch.random.fork_rng(devices=[]):
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    for place, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and f"{place}.num_batches_tracked" not in state:
            parent, _, last = place.rpartition(".")
            setattr(model.get_submodule(parent), last, FrozenBatchNorm2d(module.num_features, module.eps))
    return model


def _difference(wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> tuple[int, str] | None:
    """Return the first difference of two state dicts: its place among the tensors, and what to say; None without one."""
    for number, (name, tensor) in enumerate(wanted.items()):
        if name not in state:
            return number, f"{name} is missing"
        if state[name].shape != tensor.shape:
            return number, f"expected {name} of shape {tuple(tensor.shape)}, got {tuple(state[name].shape)}"
    more = next((name for name in state if name not in wanted), None)
    return None if more is None else (len(wanted), f"{str(more)[:80]} is not of this model")
