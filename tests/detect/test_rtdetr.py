"""RT-DETR by Ultralytics: its boxes, and gradients through its queries."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.models import RTDETR
from ultralytics.nn.tasks import RTDETRDetectionModel

from physadv.detect import load_detector, load_gradient_detector
from physadv.detect.weights import find_weights
from physadv.detect.yolo import load_net
from physadv.errors import WeightsError
from physadv.types import Frame, UInt8Array

# The layers of rtdetr-l.yaml in small: two levels, 30 queries, two decoder layers.
SMALL = {
    "nc": 2,
    "backbone": [
        [-1, 1, "HGStem", [8, 8]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "AIFI", [32, 2]], [-1, 1, "Conv", [16, 3, 2]],
    ],
    "head": [[[2, 3], 1, "RTDETRDecoder", ["nc", 16, 30, 2, 2, 2, 32]]],
}  # fmt: skip


def save_rtdetr(path: Path) -> Path:
    """Write a seeded RT-DETR of two classes, dog and person, as Ultralytics does."""
    torch.manual_seed(0)
    make: Any = RTDETRDetectionModel
    model = make(SMALL, ch=3, verbose=False)
    model.names = {0: "dog", 1: "person"}
    for name, parameter in model.named_parameters():
        # Trained for rare objects, every score begins at .01.
        if "score_head" in name:
            parameter.data.mul_(8) if name.endswith("weight") else parameter.data.fill_(-0.5)
    torch.save({"model": model, "train_args": {"task": "detect"}}, path)
    return path


@pytest.fixture(scope="module")
def rtdetr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rtdetr(tmp_path_factory.mktemp("rtdetr") / "small.pt")


def test_people_are_those_of_ultralytics(rtdetr: Path, blurred: UInt8Array) -> None:
    detector = load_detector(str(rtdetr), imgsz=96, min_conf=0.02, device="cpu")
    assert (detector.backend, detector.name, detector.own_size) == ("torch", "small", False)
    ours = detector.detect(Frame(blurred, 0, 0, 0.0))
    bgr = blurred[..., ::-1].copy()
    theirs: Any = RTDETR(str(rtdetr)).predict(bgr, imgsz=96, conf=0.02, verbose=False, device="cpu", classes=[1])
    boxes = theirs[0].boxes
    assert len(ours) >= len(boxes) > 3, "the net is dead: agreement would prove nothing"
    np.testing.assert_allclose(ours.score[: len(boxes)], boxes.conf.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.xyxy[: len(boxes)], boxes.xyxy.numpy().clip(0, [200, 150] * 2), atol=1e-2)
    assert detector.fingerprint() == load_detector(str(rtdetr), backend="reference", device="cpu").fingerprint()


def test_gradients_reach_the_image_after_it_was_asked_without(rtdetr: Path) -> None:
    detector = load_gradient_detector(str(rtdetr), device="cpu")
    before = detector.fingerprint()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with torch.inference_mode():
        detector.candidates(images.detach())
    answer = detector.candidates(images)
    assert answer.logit.shape == (2, 30) and answer.xyxy.shape == (2, 30, 4)
    (slope,) = torch.autograd.grad(answer.logit.max(1).values.sum(), images)
    assert torch.isfinite(slope).all() and (slope.flatten(1).abs().sum(1) > 0).all()
    assert detector.fingerprint() == before


def test_it_is_neither_taken_apart_nor_run_elsewhere(rtdetr: Path) -> None:
    with pytest.raises(WeightsError, match="RT-DETR is attacked, defended and evaluated, but not trained"):
        load_net(find_weights(str(rtdetr)))
