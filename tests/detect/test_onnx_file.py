"""ONNX files as detectors: those exported from Ultralytics and torchvision give the boxes that these models give."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from ultralytics.models import RTDETR, YOLO
from ultralytics.nn.tasks import DetectionModel

from physadv.detect import load_detector, load_gradient_detector
from physadv.detect.candidate_net import CandidateDetector
from physadv.detect.torchvision_models import TorchvisionNet
from physadv.detect.weights import Weights
from physadv.errors import BackendError, PluginError, WeightsError
from physadv.types import Frame, UInt8Array
from tests.detect.models import SMALL
from tests.detect.test_rtdetr import save_rtdetr
from tests.detect.torchvision_small import small


def save_wide(path: Path) -> Path:
    """Write a YOLO of one level with as many weights as Ultralytics' exporter takes for a real one: 100 kB."""
    torch.manual_seed(0)
    make: Any = DetectionModel
    layers = [[-1, 1, "Conv", [width, 3, 2]] for width in (16, 64, 64)]
    model = make({"nc": 2, "reg_max": 2, "backbone": layers, "head": SMALL["head"]}, ch=3, verbose=False)
    model.names = {0: "person", 1: "car: any"}
    for level in model.model[-1].cv3:
        level[-1].bias.data.fill_(-1.0)
        level[-1].weight.data.mul_(20)
    torch.save({"model": model, "train_args": {"task": "detect"}}, path)
    return path


@pytest.mark.parametrize("kind", ["yolo", "yolo of any size", "rtdetr"])
def test_an_export_of_ultralytics_gives_the_boxes_of_its_model(kind: str, tmp_path: Path, blurred: UInt8Array) -> None:
    path = save_rtdetr(tmp_path / "m.pt") if kind == "rtdetr" else save_wide(tmp_path / "m.pt")
    make: Any = RTDETR if kind == "rtdetr" else YOLO
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = make(str(path)).export(format="onnx", imgsz=96, simplify=False, opset=17, dynamic="any" in kind)
    logging.disable(logging.NOTSET)
    detector = load_detector(file, imgsz=96, min_conf=0.01)
    assert (detector.backend, detector.imgsz, detector.own_size) == ("onnxruntime", 96, "any" not in kind)
    reference = load_detector(str(path), backend="torch", imgsz=96, min_conf=0.01, device="cpu")
    # Square, so that a network of one size letterboxes it as one of any size does.
    square = np.ascontiguousarray(blurred[:, :150])
    for image in [square, blurred] if kind != "yolo" else [square]:
        ours, theirs = (d.detect(Frame(image, 0, 0, 0.0)) for d in (detector, reference))
        # The export of an RT-DETR gives the best 30 of all classes.
        assert len(theirs) >= len(ours) > 3, "the net is dead: agreement would prove nothing"
        assert len(theirs) == len(ours) or kind == "rtdetr"
        np.testing.assert_allclose(ours.score, theirs.score[: len(ours)], atol=1e-4)
        np.testing.assert_allclose(ours.xyxy[:3], theirs.xyxy[:3], atol=0.05)
    theirs = make(str(path)).predict(blurred[..., ::-1].copy(), imgsz=96, conf=0.01, verbose=False, rect=False)[0].boxes
    people = theirs.cls.numpy() == (1 if kind == "rtdetr" else 0)
    found = detector.detect(Frame(blurred, 0, 0, 0.0))
    if kind != "yolo of any size":
        assert abs(found.score[0] - theirs.conf.numpy()[people][0]) < 1e-4


@pytest.mark.parametrize("family", ["fasterrcnn", "ssd"])
def test_an_export_of_torchvision_gives_the_boxes_of_its_model(
    family: str, tmp_path: Path, blurred: UInt8Array
) -> None:
    model = small(family, imgsz=128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, ([torch.rand(3, 120, 160)],), str(tmp_path / "m.onnx"), opset_version=17, dynamo=False,
            input_names=["image"], dynamic_axes={"image": {1: "height", 2: "width"}},
        )  # fmt: skip
    with pytest.raises(WeightsError, match=r"expected one of yolo, .*, got none; declare it, also as m.onnx=ssd"):
        load_detector(str(tmp_path / "m.onnx"))
    detector = load_detector(f"{tmp_path / 'm.onnx'}=ssd", imgsz=128)
    own = Weights("own", Path("own"), "0" * 64)
    reference = CandidateDetector(TorchvisionNet(model, name="own"), own, imgsz=128)
    ours, theirs = (d.detect(Frame(blurred, 0, 0, 0.0)) for d in (detector, reference))
    assert len(ours) == len(theirs) > 3
    np.testing.assert_allclose(ours.score, theirs.score, atol=1e-4)
    np.testing.assert_allclose(ours.xyxy[:3], theirs.xyxy[:3], atol=0.05)
    # Another class is another answer, and a layout that does not fit is named.
    other = load_detector(f"{tmp_path / 'm.onnx'}=ssd:2").detect(Frame(blurred, 0, 0, 0.0))
    assert not np.allclose(other.score[:3], ours.score[:3])
    with pytest.raises(WeightsError, match=r"layout: .*expected the layout yolo .* got float32 .*declare another"):
        load_detector(f"{tmp_path / 'm.onnx'}=yolo")


def constant(path: Path, shape: tuple[int, ...], rows: Any, *, inputs: list[Any] | None = None) -> str:
    """Write a network that says the same of every image."""
    values = np.broadcast_to(np.asarray(rows, np.float32), shape)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, inputs or [1, 3, 64, 64])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)
    kept = helper.make_tensor("value", TensorProto.FLOAT, shape, values.ravel().tolist())
    # Used once, or onnxruntime has no input.
    nodes = [
        helper.make_node("Constant", [], ["constant"], value=kept),
        helper.make_node("ReduceMin", ["image"], ["least"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value=helper.make_tensor("z", TensorProto.FLOAT, [], [0.0])),
        helper.make_node("Mul", ["least", "zero"], ["nothing"]),
        helper.make_node("Add", ["constant", "nothing"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "constant", [image], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return str(path)


def test_rows_are_read_as_the_layout_says(tmp_path: Path) -> None:
    wide = np.zeros((100, 200, 3), np.uint8)

    def boxes(layout: str, shape: tuple[int, ...], rows: Any) -> list[list[float]]:
        found = load_detector(f"{constant(tmp_path / 'c.onnx', shape, rows)}={layout}").detect(Frame(wide, 0, 0, 0.0))
        return [[*map(float, b.round(2)), round(float(s), 2)] for b, s in zip(found.xyxy, found.score, strict=True)]

    # A frame of 200 x 100 lies in 64 x 64 at scale .32, 16 rows below the top.
    assert boxes("yolo-nms", (1, 2, 6), [[16, 16, 48, 48, 0.9, 0], [0, 0, 9, 9, 0.8, 3]]) == [[50, 0, 150, 100, 0.9]]
    assert boxes("yolo-nms:3", (1, 2, 6), [[16, 16, 48, 48, 0.9, 0], [0, 16, 32, 48, 0.8, 3]]) == [
        [0, 0, 100, 100, 0.8]
    ]
    # Stretched, shares of the input are shares of the frame.
    assert boxes("rtdetr", (1, 1, 6), [[0.5, 0.5, 0.5, 0.5, 0.7, 0]]) == [[50, 25, 150, 75, 0.7]]
    assert boxes("detr:1", (1, 9, 7), [[0.5, 0.5, 0.5, 0.5, 0.7, 0.2, 0]])[0] == [50, 25, 150, 75, 0.2]
    # Centres, and the weaker of two boxes in one place suppressed.
    column = np.array([[32, 32], [32, 32], [32, 32], [32, 32], [0.9, 0.8], [0, 0]])
    many = np.concatenate([column, np.zeros((6, 10))], 1)
    assert boxes("yolo", (1, 6, 12), many) == [[50, 0, 150, 100, 0.9]]


def test_what_cannot_be_read_is_refused_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def refused(layout: str, shape: tuple[int, ...], rows: Any, **more: Any) -> str:
        with pytest.raises(WeightsError) as caught:
            load_detector(f"{constant(tmp_path / 'c.onnx', shape, rows, **more)}={layout}")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "did you mean yolo?" in refused("yollo", (1, 1, 6), 0.5)
    assert "got float32 (1, 1, 6)" in refused("yolo", (1, 1, 6), 0.5)
    assert "scores from 7 to 7, which are no probabilities" in refused("yolo-nms", (1, 1, 6), 7.0)
    assert "expected one input of images" in refused("yolo", (1, 1, 6), 0.5, inputs=[1, 64, 64, 3])
    (tmp_path / "j.onnx").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="onnxruntime cannot read it"):
        load_detector(f"{tmp_path / 'j.onnx'}=yolo")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(WeightsError, match="no such file"):
        load_detector(str(tmp_path / "none.onnx"))
    good = f"{constant(tmp_path / 'c.onnx', (1, 1, 6), 0.5)}=yolo-nms"
    with pytest.raises(PluginError, match=r"gives no gradients.*evaluated, defended and shown live"):
        load_gradient_detector(good)
    with pytest.raises(BackendError, match="runs on onnxruntime alone"):
        load_detector(good, backend="openvino")
