"""Every YOLO family through every backend, with seeded networks built from ultralytics' architecture files."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics.models import YOLO
from ultralytics.nn.tasks import DetectionModel, PoseModel

from physadv.boxes import Letterbox
from physadv.detect import load_detector, load_gradient_detector
from physadv.detect.head import HeadSpec, _boxes, _points, decode_boxes
from physadv.detect.weights import find_weights
from physadv.detect.yolo import load_net
from physadv.types import Frame, UInt8Array

FAMILIES = ["yolov8n", "yolov10n", "yolo11n-pose", "yolo12n", "yolo26n", "yolo26n-pose"]
END2END = {"yolov10n", "yolo26n", "yolo26n-pose"}


def build(name: str, path: Path, image: UInt8Array, classes: tuple[str, ...] = ("dog", "person")) -> Path:
    """Save a seeded net whose batch norms fit the image, so that signals reach the head with a natural spread."""
    torch.manual_seed(0)
    pose = "pose" in name
    net: Any = (PoseModel if pose else DetectionModel)(f"{name}.yaml", nc=len(classes), verbose=False)
    net.names = dict(enumerate(classes))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.from_numpy(cv2.resize(image, (96, 64))).permute(2, 0, 1)[None].float() / 255
    net.train()
    with torch.no_grad():
        net(images + 0.2 * torch.randn(4, 3, 64, 96))
        head: Any = net.model[-1]
        for level in [*head.cv3, *(getattr(head, "one2one_cv3", None) or [])]:
            level[-1].bias.fill_(0.0)
        head.end2end = name in END2END
    torch.save({"model": net.eval(), "train_args": {"task": "pose" if pose else "detect"}}, path)
    return path


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory, blurred: UInt8Array) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("nets")
    return {name: build(name, folder / f"{name}.pt", blurred) for name in FAMILIES}


@pytest.mark.parametrize("name", ["yolov8n", "yolov10n", "yolo12n", "yolo26n-pose"])
def test_backends_agree_on_every_shape_and_batch(name: str, nets: dict[str, Path], blurred: UInt8Array) -> None:
    detectors: list[Any] = [
        load_detector(str(nets[name]), backend=backend, imgsz=64, min_conf=0.01, precision="fp32")
        for backend in ("torch", "onnxruntime", "openvino")
    ]
    for batch in (blurred[None], np.stack([blurred.swapaxes(0, 1)] * 3)):
        small = np.stack([cv2.resize(i, (96, 64) if batch.shape[1] == 150 else (64, 96)) for i in batch])
        want, *others = [[np.array(r) for r in d.infer(small)] for d in detectors]
        assert want[0].std() > 0.01, "the net is dead: agreement would prove nothing"
        for raw in others:
            for a, b in zip(want, raw, strict=True):
                np.testing.assert_allclose(a, b, atol=2e-3 * float(np.abs(a).max()))
    answers = [d.detect(Frame(blurred, 0, 0, 0.0)) for d in detectors]
    assert len(answers[0]) > 0
    for answer in answers[1:]:
        np.testing.assert_allclose(answers[0].score[:1], answer.score[:1], atol=1e-3)
    assert (answers[0].keypoints is not None) == ("pose" in name)
    assert detectors[0].spec.end2end == (name in END2END)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_the_image_through_each_head(name: str, nets: dict[str, Path]) -> None:
    detector = load_gradient_detector(str(nets[name]), device="cpu")
    before = detector.fingerprint()
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1), requires_grad=True)
    candidates = detector.candidates(images)
    cells = (64 * 96) * (1 / 64 + 1 / 256 + 1 / 1024)
    heads = 2 if name in END2END else 1
    assert candidates.logit.shape == (1, int(cells) * heads)
    which = torch.arange(heads).repeat_interleave(int(cells))
    assert (
        candidates.head is None if heads == 1 else candidates.head is not None and torch.equal(candidates.head, which)
    )
    for start in range(0, int(cells) * heads, int(cells)):
        part = candidates.logit[:, start : start + int(cells)]
        (gradient,) = torch.autograd.grad(part.sum(), images, retain_graph=True)
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    (gradient,) = torch.autograd.grad(candidates.xyxy.sum(), images)
    assert gradient.abs().sum() > 0
    assert detector.fingerprint() == before


@pytest.mark.parametrize("name", FAMILIES)
def test_decoding_is_that_of_ultralytics(name: str, nets: dict[str, Path]) -> None:
    net = load_net(find_weights(str(nets[name])), fuse=False)
    head: Any = net._head
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        raw = net.heads(images, every=False)["one2one" if name in END2END else "one2many"]
        head.xyxy = True
        boxes = head._get_decode_boxes(raw).transpose(1, 2)
        torch.testing.assert_close(decode_boxes(raw["boxes"], net.spec, 64, 96), boxes, atol=1e-3, rtol=1e-4)
        box, every = Letterbox.fit(96, 64, 96), np.arange(boxes.shape[1])
        distance = raw["boxes"][1].numpy()
        np.testing.assert_allclose(_boxes(distance, every, net.spec, box), boxes[1].numpy(), atol=1e-3, rtol=1e-4)
        if "pose" in name:
            points = head.kpts_decode(raw["kpts"]).transpose(1, 2).reshape(2, -1, 17, 3)[1].numpy()
            own_points = _points(raw["kpts"][1].numpy(), every, net.spec, box)
            np.testing.assert_allclose(own_points, points, atol=1e-3, rtol=1e-4)
        own = net.model(images)[1]
        own = own.get("one2one", own)
        torch.testing.assert_close(raw["scores"], own["scores"])


def test_one_class_models_give_the_boxes_of_ultralytics_predict(tmp_path: Path, blurred: UInt8Array) -> None:
    path = build("yolov8n", tmp_path / "n.pt", blurred, classes=("person",))
    detector = load_detector(str(path), backend="torch", imgsz=96, min_conf=0.02, device="cpu")
    ours = detector.detect(Frame(blurred, 0, 0, 0.0))
    bgr = blurred[..., ::-1].copy()
    theirs: Any = YOLO(str(path)).predict(bgr, imgsz=96, conf=0.02, verbose=False, device="cpu")
    boxes = theirs[0].boxes
    assert len(ours) == len(boxes) > 0
    np.testing.assert_allclose(ours.score[: len(boxes)], boxes.conf.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.xyxy[:5], boxes.xyxy.numpy()[:5], atol=1e-2)


def test_the_stride_of_a_p6_model_is_its_coarsest_level() -> None:
    assert HeadSpec((8, 16, 32, 64), 16, False, None).stride == 64
