"""Loading the embedded detector: its figures, its threads, and one clear line for everything that can go wrong."""

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics.models import YOLO

import physadv.detect as detect
from physadv.arrays import read_image
from physadv.detect import installed_backends, load_detector, load_gradient_detector
from physadv.detect.weights import find_weights, known_detectors
from physadv.errors import BackendError, SettingsError, WeightsError
from physadv.types import Detections, Detector, Frame, GradientDetector


def test_the_reference_is_ultralytics_to_the_digit(bus: Path) -> None:
    pixels = read_image(bus)
    ours = load_detector(backend="torch", device="cpu").detect(Frame(pixels, 0, 0, 0.0))
    bgr = pixels[..., ::-1].copy()
    results: Any = YOLO(str(find_weights().path)).predict(bgr, conf=0.05, verbose=False, device="cpu")
    theirs = results[0]
    np.testing.assert_allclose(ours.xyxy, theirs.boxes.xyxy.numpy(), atol=1e-3)
    np.testing.assert_allclose(ours.score, theirs.boxes.conf.numpy(), atol=1e-5)
    assert ours.keypoints is not None
    inside = np.all((theirs.keypoints.xy.numpy() > 0) & (theirs.keypoints.xy.numpy() < 809), axis=2)
    np.testing.assert_allclose(ours.keypoints[..., :2][inside], theirs.keypoints.xy.numpy()[inside], atol=1e-2)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_other_backends_see_the_same_people(backend: detect.Backend, bus: Path) -> None:
    pixels = read_image(bus)
    messages: list[str] = []
    reference = load_detector(backend="torch", imgsz=416, device="cpu")
    other = load_detector(backend=backend, imgsz=416, precision="fp32", progress=messages.append)
    assert (other.backend, other.precision) == (backend, "fp32")
    for image in (pixels, pixels[300:]):
        a, b = (d.detect(Frame(image, 0, 0, 0.0)) for d in (reference, other))
        assert len(a) == len(b) > 2
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.05)
        np.testing.assert_allclose(a.score, b.score, atol=1e-3)
        # Lanes that answered otherwise would make a file's figures depend on how it was played.
        for lane in other.lanes():
            np.testing.assert_array_equal(lane.detect(Frame(image, 0, 0, 0.0)).xyxy, b.xyxy)
    assert other.lanes() == (other,) if backend == "onnxruntime" else len(set(other.lanes())) in (1, 2)
    again: list[str] = []
    load_detector(backend=backend, imgsz=416, progress=again.append)
    assert not again, "a second load must come from the cache"


def test_bf16_on_torch_keeps_the_people_where_they_are(bus: Path) -> None:
    frame = Frame(read_image(bus), 0, 0, 0.0)
    exact = load_detector(backend="torch", imgsz=416, device="cpu").detect(frame).above(0.5)
    rounded = load_detector(backend="torch", imgsz=416, device="cpu", precision="bf16").detect(frame).above(0.5)
    assert len(exact) == len(rounded)
    assert np.abs(exact.xyxy - rounded.xyxy).max() < 6
    assert np.abs(exact.score - rounded.score).max() < 0.05


def test_auto_takes_the_fastest_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_detector(imgsz=96, device="cpu").backend == "openvino"
    monkeypatch.setattr(detect, "find_spec", lambda name: None if name == "openvino" else object())
    assert load_detector(imgsz=96, device="cpu").backend == "onnxruntime"
    with pytest.raises(BackendError, match="backend=openvino: the package openvino is not installed"):
        load_detector(backend="openvino")


@pytest.mark.parametrize("backend", installed_backends())
def test_threads_share_one_detector(backend: detect.Backend, bus: Path) -> None:
    pixels = cv2.resize(read_image(bus), (120, 160))
    detector = load_detector(backend=backend, imgsz=160, device="cpu")
    frames = [Frame(np.ascontiguousarray(p), 0, 0, 0.0) for p in (pixels, pixels[:80], pixels[::-1])]
    want = [detector.detect(f) for f in frames]
    wrong: list[object] = []

    def work(i: int) -> None:
        for _ in range(8):
            got = detector.detect(frames[i])
            if len(got) != len(want[i]) or np.abs(got.xyxy - want[i].xyxy).max(initial=0) > 0.01:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_training_and_inference_share_a_process(bus: Path) -> None:
    """Buffers that a network makes under inference mode would break the gradient that is asked for next."""
    load_detector(backend="torch", imgsz=96, device="cpu").detect(Frame(read_image(bus), 0, 0, 0.0))
    attacked = load_gradient_detector(device="cpu", precision="bf16")
    images = torch.rand(1, 3, 96, 96, requires_grad=True)
    answer = attacked.candidates(images)
    assert answer.logit.dtype == answer.xyxy.dtype == torch.float32
    (gradient,) = torch.autograd.grad(answer.logit.max(), images)
    assert gradient.abs().sum() > 0


def test_interfaces_are_met() -> None:
    assert isinstance(load_detector(backend="torch", device="cpu"), Detector)
    assert isinstance(load_gradient_detector(device="cpu"), GradientDetector)


def test_wrong_weights_are_one_clear_line(tmp_path: Path) -> None:
    def message(path: Path | str) -> str:
        with pytest.raises(WeightsError) as caught:
            load_detector(str(path), backend="torch")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    junk, empty, foreign = tmp_path / "junk.pt", tmp_path / "empty.pt", tmp_path / "foreign.pt"
    junk.write_bytes(b"not a model at all")
    empty.write_bytes(b"")
    torch.save({"hello": 1}, foreign)
    assert "not an ultralytics model" in message(junk)
    assert "empty (0 bytes)" in message(empty)
    assert "not an ultralytics model" in message(foreign)
    assert "no such file" in message(tmp_path / "missing.pt")
    said = message("nonsense")
    assert "expected yolo11n-pose, the path of a .pt or .onnx file, the folder of a run of the lab, an official" in said
    assert "or a plug-in (module:factory), got 'nonsense'" in said


def test_a_model_without_people_is_refused(tmp_path: Path) -> None:
    yolo: Any = YOLO("yolo11n.yaml")
    yolo.model.names = dict(enumerate(["cat"] * 80))
    torch.save({"model": yolo.model, "train_args": {}}, tmp_path / "cats.pt")
    with pytest.raises(WeightsError, match="no class 'person'"):
        load_detector(str(tmp_path / "cats.pt"), backend="torch")


def test_wrong_hash_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.detect.weights.EMBEDDED_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="expected SHA-256 0000"):
        find_weights()


def test_known_detectors_are_the_embedded_and_the_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path))
    assert known_detectors() == ["yolo11n-pose"]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "yolo11s.pt").write_bytes(b"x")
    assert known_detectors() == ["yolo11n-pose", "yolo11s.pt"]


@pytest.mark.parametrize(
    "values",
    [{"imgsz": 16}, {"min_conf": float("nan")}, {"min_conf": 1.0}, {"iou_above": 0.0}, {"backend": "tensorrt"}],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="expected"):
        load_detector(**values)  # type: ignore[arg-type]


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(BackendError, match="device: expected auto, cpu"):
        load_detector(device="cuda:99")
    assert isinstance(load_detector(backend="torch", device="cpu").detect_batch([]), list)
    assert len(Detections.empty()) == 0
