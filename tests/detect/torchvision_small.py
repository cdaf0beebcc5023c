"""torchvision's detection models with a backbone of 32 channels: its own code, milliseconds an image."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.ops import MultiScaleRoIAlign

CHANNELS = 32


class Body(nn.Module):
    """Two levels of features, strides 8 and 16."""

    out_channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, CHANNELS, 8, 8)
        self.coarse = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1)

    def forward(self, images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        fine = self.fine(images).relu()
        return OrderedDict([("0", fine), ("1", self.coarse(fine).relu())])


def _anchors() -> Any:
    return AnchorGenerator(((16, 32), (48, 64)), ((0.5, 1.0, 2.0),) * 2)


def _faster() -> nn.Module:
    return FasterRCNN(
        Body(), 3, rpn_anchor_generator=_anchors(), box_roi_pool=MultiScaleRoIAlign(["0", "1"], 7, 2),
        rpn_post_nms_top_n_test=60,
    )  # fmt: skip


def _keypoints() -> nn.Module:
    return KeypointRCNN(
        Body(), 2, rpn_anchor_generator=_anchors(), box_roi_pool=MultiScaleRoIAlign(["0", "1"], 7, 2),
        keypoint_roi_pool=MultiScaleRoIAlign(["0", "1"], 6, 2), keypoint_head=KeypointRCNNHeads(CHANNELS, (16,)),
        keypoint_predictor=KeypointRCNNPredictor(16, 17), rpn_post_nms_top_n_test=40,
    )  # fmt: skip


def _fcos() -> nn.Module:
    return FCOS(Body(), 3, anchor_generator=AnchorGenerator(((8,), (16,)), ((1.0,),) * 2))


def _ssd() -> nn.Module:
    boxes = DefaultBoxGenerator([[2], [2]])
    return SSD(Body(), boxes, (96, 96), 3, head=SSDHead([CHANNELS] * 2, boxes.num_anchors_per_location(), 3))


SMALL: dict[str, Callable[[], nn.Module]] = {
    "fasterrcnn": _faster,
    "keypointrcnn": _keypoints,
    "retinanet": lambda: RetinaNet(Body(), 3, anchor_generator=_anchors()),
    "fcos": _fcos,
    "ssd": _ssd,
}


def small(family: str, *, imgsz: int) -> Any:
    """Return a seeded model of a family whose scores are spread, as torchvision itself would run it at a long side."""
    torch.manual_seed(0)
    model: Any = SMALL[family]().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Trained for rare objects, dense heads begin at scores of .01, all alike.
            if "cls_logits" in name:
                parameter.mul_(20) if name.endswith("weight") else parameter.zero_()
    if model.transform.fixed_size is None:
        model.transform.min_size, model.transform.max_size = (imgsz,), imgsz
    heads = model.roi_heads if isinstance(model, FasterRCNN) else model
    heads.score_thresh, heads.detections_per_img = 0.05, 10_000
    model.topk_candidates = 10_000
    return model


def lively_ssdlite() -> Any:
    """Return a seeded ssdlite320 whose batch norms fit noise, so that signals reach the heads with a natural spread."""
    torch.manual_seed(0)
    model: Any = torchvision.models.get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        images = nn.functional.interpolate(torch.rand(2, 3, 20, 20), size=(320, 320), mode="bilinear") * 2 - 1
        model.head(list(model.backbone(images).values()))
        for name, parameter in model.head.named_parameters():
            if "classification" in name and parameter.ndim == 4 and parameter.shape[2:] == (1, 1):
                parameter.mul_(8)
    return model.eval()
