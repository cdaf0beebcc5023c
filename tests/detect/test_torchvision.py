"""torchvision's models as detectors and as what is attacked: equal to what torchvision itself returns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from physadv.detect import load_detector, load_gradient_detector
from physadv.detect.candidate_net import CandidateDetector, CandidateGradient
from physadv.detect.torchvision_models import TorchvisionNet
from physadv.detect.weights import Weights, find_weights
from physadv.errors import BackendError, WeightsError
from physadv.types import Frame, UInt8Array
from tests.detect.torchvision_small import SMALL, lively_ssdlite, small

SSDLITE = "torchvision:ssdlite320_mobilenet_v3_large"
NOWHERE = Weights("small", Path("small"), "0" * 64)


def same_boxes(ours: Any, theirs: Any) -> None:
    """Each of ours is one of theirs; among equal scores the order is free."""
    distance = np.abs(ours[:, None] - theirs[None]).max(2)
    assert distance.min(1).max() < 1e-2 and len(set(distance.argmin(1))) == len(ours)


@pytest.mark.parametrize("family", SMALL)
def test_people_are_those_of_torchvision(family: str, blurred: UInt8Array) -> None:
    model = small(family, imgsz=160)
    images = [blurred, np.ascontiguousarray(blurred[:, ::-1])]
    with torch.inference_mode():
        theirs: Any = model([torch.from_numpy(i).permute(2, 0, 1) / 255 for i in images])
    detector = CandidateDetector(TorchvisionNet(model, name=family), NOWHERE, imgsz=160, min_conf=0.05)
    assert detector.imgsz == (96 if family == "ssd" else 160) and detector.own_size == (family == "ssd")
    ours = detector.detect_batch(images)
    for found, said in zip(ours, theirs, strict=True):
        person = said["labels"] == 1
        boxes, scores = said["boxes"][person].numpy(), said["scores"][person].numpy()
        assert len(found) == min(len(boxes), 300) > 3, "the net is dead: agreement would prove nothing"
        np.testing.assert_allclose(found.score, scores[:300], atol=1e-5)
        if len(boxes) <= 300:
            same_boxes(found.xyxy, boxes)
        assert (found.keypoints is not None) == (family == "keypointrcnn")
        if found.keypoints is not None:
            np.testing.assert_allclose(found.keypoints[..., :2], said["keypoints"][person][..., :2].numpy(), atol=2e-2)
            np.testing.assert_allclose(found.keypoints[..., 2], said["keypoints_scores"][person].sigmoid(), atol=1e-4)
    for shape in ((1, 500, 3), (7, 7, 3)):
        assert np.isfinite(detector.detect(Frame(np.full(shape, 90, np.uint8), 0, 0, 0.0)).xyxy).all()
    red = np.zeros_like(blurred)
    red[..., 0] = 200
    assert not np.allclose(detector.detect(Frame(red, 0, 0, 0.0)).score[:3], _score(detector, red[..., ::-1])[:3])


def _score(detector: CandidateDetector, pixels: UInt8Array) -> Any:
    return detector.detect(Frame(np.ascontiguousarray(pixels), 0, 0, 0.0)).score


@pytest.mark.parametrize("family", SMALL)
def test_gradients_reach_every_pixel_and_lower_scores(family: str) -> None:
    detector = CandidateGradient(TorchvisionNet(small(family, imgsz=160), name=family))
    before = detector.fingerprint()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), requires_grad=True)
    answer = detector.candidates(images)
    assert answer.logit.shape == answer.xyxy.shape[:2] and answer.xyxy.shape[2] == 4
    best = answer.logit.topk(5, 1).values
    (slope,) = torch.autograd.grad(best.sum(), images)
    assert torch.isfinite(slope).all() and (slope.flatten(1).abs().sum(1) > 0).all()
    lowered = detector.candidates((images - 0.02 * slope / slope.abs().max()).detach())
    assert lowered.logit.topk(5, 1).values.sum() < best.sum()
    # A box covers the part of the image that it says it covers.
    (slope,) = torch.autograd.grad(detector.candidates(images).xyxy.sum(), images)
    assert slope.abs().sum() > 0
    assert detector.fingerprint() == before


@pytest.fixture(scope="module")
def ssdlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssdlite") / "w.pth"
    torch.save(lively_ssdlite().state_dict(), path)
    return path


def test_a_local_state_dict_is_loaded_by_name(ssdlite: Path, blurred: UInt8Array, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    name = f"{SSDLITE}={ssdlite}"
    detector = load_detector(name, imgsz=640, min_conf=0.001, device="cpu")
    assert (detector.name, detector.backend, detector.imgsz) == (SSDLITE[12:], "torch", 320)
    assert detector.sha256 == find_weights(name).sha256 == load_gradient_detector(name, device="cpu").sha256
    assert detector.fingerprint() == load_gradient_detector(name, device="cpu").fingerprint() != ""
    model = torchvision.models.get_model(SSDLITE[12:], weights=None, weights_backbone=None)
    model.load_state_dict(torch.load(ssdlite, weights_only=True))
    model.score_thresh, model.detections_per_img, model.topk_candidates = 0.001, 100_000, 100_000
    with torch.inference_mode():
        theirs = model.eval()([torch.from_numpy(blurred).permute(2, 0, 1) / 255])[0]
    person = theirs["labels"] == 1
    ours = detector.detect(Frame(blurred, 0, 0, 0.0))
    np.testing.assert_allclose(ours.score, theirs["scores"][person][:300], atol=1e-5)
    same_boxes(ours.xyxy[:100], theirs["boxes"][person].numpy())
    # A state dict of frozen batch norms, as most of torchvision's own files are: the same network.
    state_dict = torch.load(ssdlite, weights_only=True)
    frozen = tmp_path / "frozen.pth"
    torch.save({k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}, frozen)
    again = load_detector(f"{SSDLITE}={frozen}", min_conf=0.001, device="cpu").detect(Frame(blurred, 0, 0, 0.0))
    np.testing.assert_allclose(again.score, ours.score, atol=1e-5)
    # Weights drawn only to be replaced leave torch's chance as it was.
    torch.set_rng_state(state)
    load_detector(name, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_no_state_dict_of_the_model_is_refused_in_a_line(ssdlite: Path, tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(WeightsError) as caught:
            load_detector(name, device="cpu")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def saved(content: Any) -> str:
        torch.save(content, tmp_path / "x.pth")
        return f"{SSDLITE}={tmp_path / 'x.pth'}"

    assert "did you mean ssdlite320_mobilenet_v3_large?" in refused("torchvision:ssdlite320_mobilenet_v3_larg")
    assert "no such file" in refused(f"{SSDLITE}={tmp_path / 'none.pth'}")
    state = torch.load(ssdlite, weights_only=True)
    first = next(iter(state))
    assert f"{first} is missing" in refused(saved({k: v for k, v in state.items() if k != first}))
    assert f"expected {first} of shape" in refused(saved({**state, first: state[first][:1]}))
    assert "extra is not of this model" in refused(saved({**state, "extra": state[first]}))
    assert f"{first} holds NaN" in refused(saved({**state, first: state[first] * float("nan")}))
    assert "expected a state dict" in refused(saved({"model": 3}))
    assert "expected a state dict" in refused(saved(Path("code")))
    (tmp_path / "x.pth").write_bytes(ssdlite.read_bytes()[:20_000])
    assert "expected a state dict" in refused(f"{SSDLITE}={tmp_path / 'x.pth'}")
    # One of torchvision's own training script, and one fine-tuned on people alone, are read.
    assert load_detector(saved({"model": state, "epoch": 3}), device="cpu").imgsz == 320
    people = torchvision.models.get_model(SSDLITE[12:], weights=None, weights_backbone=None, num_classes=2)
    assert load_detector(saved(people.state_dict()), device="cpu").imgsz == 320


def test_weights_that_cannot_be_fetched_say_how_to_name_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(url: str, *args: object, **more: object) -> None:
        raise OSError(f"no route to {url}")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=f"could not be fetched .* name it: {SSDLITE}=FILE"):
        find_weights(SSDLITE)
    # In torchvision's own cache they are found, whoever fetched them.
    fetched = tmp_path / "checkpoints" / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    fetched.write_bytes(b"weights")
    assert find_weights(SSDLITE).path == fetched


def test_only_what_it_has_can_be_asked_for(ssdlite: Path) -> None:
    with pytest.raises(BackendError, match="runs on torch alone"):
        load_detector(f"{SSDLITE}={ssdlite}", backend="openvino")
    with pytest.raises(BackendError, match="computes in fp32"):
        load_detector(f"{SSDLITE}={ssdlite}", precision="bf16")
    assert load_detector(f"{SSDLITE}={ssdlite}", backend="reference", device="cpu").precision == "fp32"
