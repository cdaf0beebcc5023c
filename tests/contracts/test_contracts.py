"""One table of everything that plugs in, one set of promises each: detectors, defences, transforms, sources."""

import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import BlobDetector, BlobGradient, draw_person, tiny_detector, tiny_gradient

from physadv.capture import open_source
from physadv.capture.settings import CaptureSettings
from physadv.defend import DEFENCES, parse_pipeline
from physadv.detect.base import WrappedDetector
from physadv.detect.candidate_net import CandidateDetector, CandidateGradient
from physadv.detect.torchvision_models import TorchvisionNet
from physadv.detect.weights import Weights
from physadv.errors import EndOfStream
from physadv.live.inference import RevocableDetector
from physadv.types import Detections, Detector, Frame, GradientDetector, Source
from tests.detect.torchvision_small import small

IMAGE = np.random.default_rng(0).integers(0, 90, (120, 160, 3), dtype=np.uint8)
draw_person(IMAGE, (40, 20, 80, 110))


def small_torchvision() -> Detector:
    own = Weights("small", Path("small"), "2" * 64, "torchvision")
    return CandidateDetector(TorchvisionNet(small("keypointrcnn", imgsz=160), name="small"), own, imgsz=160)


DETECTORS: dict[str, Callable[[], Detector]] = {
    "tiny": tiny_detector,
    "blobs": BlobDetector,
    "wrapped": lambda: WrappedDetector(BlobDetector()),
    "torchvision": small_torchvision,
    "revocable": lambda: RevocableDetector(BlobDetector()),
}
GRADIENTS: dict[str, Callable[[], GradientDetector]] = {
    "tiny": tiny_gradient,
    "blobs": BlobGradient,
    "torchvision": lambda: CandidateGradient(TorchvisionNet(small("keypointrcnn", imgsz=160), name="small")),
}


def promised(detector: Detector, answer: Detections) -> None:
    """What every answer must be."""
    assert answer.xyxy.dtype == answer.score.dtype == np.float32
    assert np.isfinite(answer.xyxy).all() and ((answer.score >= 0) & (answer.score <= 1)).all()
    assert (answer.score[:-1] >= answer.score[1:]).all(), "sorted by falling score"
    held = np.zeros(len(answer), bool) if answer.held is None else answer.held
    assert (answer.score[~held] >= detector.min_conf - 1e-6).all()
    assert (answer.xyxy[:, :2] <= answer.xyxy[:, 2:]).all()
    assert answer.xyxy.min(initial=0) >= -1 and (answer.xyxy <= np.array([161, 121, 161, 121])).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name: str) -> None:
    detector = DETECTORS[name]()
    assert isinstance(detector, Detector)
    single = detector.detect(Frame(IMAGE.copy(), 0, 0, 0.0))
    promised(detector, single)
    batch = detector.detect_batch([IMAGE, IMAGE[:, ::-1].copy()])
    assert len(batch) == 2
    np.testing.assert_allclose(batch[0].xyxy, single.xyxy, atol=1e-3)
    assert detector.detect_batch([]) == []
    assert detector.deterministic and detector.cost_ms == 0 and detector.imgsz > 0 and len(detector.sha256 or "") == 64
    seen = detector.activation(IMAGE)
    assert seen.ndim == 2 and 0 <= seen.min() <= seen.max() <= 1
    assert detector.fingerprint() == DETECTORS[name]().fingerprint() != ""
    detector.reset()


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_detectors(name: str) -> None:
    detector = GRADIENTS[name]()
    assert isinstance(detector, GradientDetector)
    images = (torch.from_numpy(IMAGE[:96, :128].copy()).permute(2, 0, 1)[None] / 255).requires_grad_()
    answer = detector.candidates(images)
    assert answer.logit.shape == answer.xyxy.shape[:2] and answer.xyxy.shape[2] == 4
    (gradient,) = torch.autograd.grad(answer.logit.sum(), images)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    detector.reseed((1, 2))
    assert detector.fingerprint() == GRADIENTS[name]().fingerprint() != ""
    assert detector.stride % 32 == 0 and detector.device == torch.device("cpu")


@pytest.mark.parametrize("name", DEFENCES)
def test_defences(name: str) -> None:
    defence = parse_pipeline(name)
    inner = BlobDetector()
    guarded = defence.guard(inner)
    assert isinstance(guarded, Detector) and guarded.name == inner.name
    untouched = IMAGE.copy()
    for index in range(2):
        answer = guarded.detect(Frame(untouched, index, index * 33_000_000, index / 30))
        promised(guarded, answer)
    assert np.array_equal(untouched, IMAGE), "a defence must not write into the camera's image"
    assert guarded.cost_ms >= 0 and guarded.deterministic != defence.defences[0].random
    assert guarded.fingerprint() == inner.fingerprint()
    assert guarded.activation(untouched).max() > 0
    guarded.reset()


@pytest.mark.parametrize("name", DEFENCES)
def test_twins_of_defences_can_be_attacked(name: str) -> None:
    inner = tiny_gradient()
    twin = parse_pipeline(name).twin(inner)
    assert isinstance(twin, GradientDetector) and (twin is inner or not twin.reentrant)
    for offered in ("name", "device", "precision", "stride", "sha256"):
        assert getattr(twin, offered) == getattr(inner, offered), offered
    assert twin.fingerprint() == inner.fingerprint()
    twin.reseed((3,))
    images = (torch.from_numpy(IMAGE[:96, :128].copy()).permute(2, 0, 1)[None] / 255).requires_grad_()
    answer = twin.candidates(images)
    (gradient,) = torch.autograd.grad(answer.logit.sum(), images)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def clip(folder: Path) -> Path:
    writer = cv2.VideoWriter(str(folder / "c.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for _ in range(3):
        writer.write(IMAGE)
    writer.release()
    return folder / "c.avi"


def images(folder: Path) -> Path:
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), IMAGE)
    return folder


@pytest.mark.parametrize("make", [clip, images], ids=["video", "folder"])
def test_finite_sources(make: Callable[[Path], Path], tmp_path: Path) -> None:
    source = open_source(str(make(tmp_path)), CaptureSettings())
    assert isinstance(source, Source) and not source.live
    frames = [source.read() for _ in range(3)]
    assert [f.index for f in frames] == [0, 1, 2]
    assert all(f.pixels.shape == (120, 160, 3) and not f.pixels.flags.writeable for f in frames)
    assert all(a.pts_s <= b.pts_s and a.captured_ns <= b.captured_ns for a, b in itertools.pairwise(frames))
    for _ in range(2):
        with pytest.raises(EndOfStream):
            source.read()
    source.close()
    source.close()


def test_the_sample_never_ends_and_repeats_itself() -> None:
    first, again = (open_source("sample", CaptureSettings(seed=3, width=160, height=120)) for _ in range(2))
    a, b = first.read(), again.read()
    assert np.array_equal(a.pixels, b.pixels) and a.pixels.std() > 5
    first.close()
    again.close()
