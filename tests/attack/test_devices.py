"""Everything that is trained lies where the detectors are: rehearsed on a device that refuses tensors of another."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyNet

from physadv.attack import attack
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData
from physadv.attack.timing import seconds_a_step
from physadv.dataset import LabelledImage
from physadv.defend import DEFENCES, PRESETS, parse_pipeline
from physadv.defend.blocks import load_block_net
from physadv.defend.erase_network import backbone, load_erase_head
from physadv.evaluate.adaptive import gradient_share, unbounded
from physadv.types import Candidates
from tests.attack.running import ran
from tests.detectors import FakeGradient
from tests.elsewhere import PLACE, away

KINDS = [{}, {"worst_of": 2, "starts": 2, "start_steps": 2}, {"pyramid": True, "smooth": 0.1}, {"target": "tshirt"}]


class Here:
    """A worker that does at once what it is given: the rehearsed device is known to one thread."""

    def submit(self, work: Any, *args: Any) -> Future[Any]:
        out: Future[Any] = Future()
        out.set_result(work(*args))
        return out


class There(FakeGradient):
    """A tiny detector on the rehearsed device."""

    name = "there"
    device = PLACE

    def __init__(self) -> None:
        self.net = TinyNet().to(PLACE)

    def candidates(self, images: torch.Tensor) -> Candidates:
        assert images.device == PLACE
        raw = self.net.heads(images, keypoints=False)["one2many"]
        return Candidates(*self.net.decode(raw, *images.shape[2:]))


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("physadv.attack.gradients.ThreadPoolExecutor", lambda _: Here())
    caches = (backbone, load_block_net, load_erase_head)
    with away():
        yield
    for cached in caches:
        cached.cache_clear()


def test_the_rehearsed_device_refuses_what_a_gpu_refuses() -> None:
    there = torch.zeros(3, 3).to(PLACE)
    with pytest.raises(RuntimeError, match="one device"):
        there + torch.zeros(3, 3)
    with pytest.raises(TypeError, match="CPU"):
        there.numpy()


@pytest.mark.parametrize("change", KINDS)
def test_a_run_is_trained_where_its_detectors_are(
    people: list[LabelledImage], small: Recipe, tmp_path: Path, change: dict[str, Any]
) -> None:
    settings = small.model_copy(update={**change, "steps": 3, "batch": 2})
    data = TrainData(people, [There(), There()], look=torch.full((3, 16, 16), 0.5))
    assert data.device == PLACE
    stopped = ran(settings, data, folder=tmp_path, steps=1)
    run = ran(settings, data, folder=tmp_path, resume=True)
    assert {v.device for v in (*run.checkpoint.levels, *run.checkpoint.mean)} == {PLACE}
    assert run.patch().sha256 != stopped.patch().sha256


@pytest.mark.parametrize("name", [*DEFENCES, *PRESETS])
def test_twins_work_where_the_detector_within_is(name: str) -> None:
    twin = parse_pipeline(name).twin(There())
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)).to(PLACE).requires_grad_()
    answer = twin.candidates(images)
    assert answer.logit.device == answer.xyxy.device == PLACE
    (gradient,) = torch.autograd.grad(answer.logit.sum(), images)
    assert gradient.device == PLACE and float(gradient.abs().sum()) > 0


def test_a_defence_is_attacked_where_its_detector_is(people: list[LabelledImage], small: Recipe) -> None:
    settings = small.model_copy(update={"steps": 1, "batch": 2})
    assert TrainData(people, [parse_pipeline("noise,erase").twin(There())]).device == PLACE
    patch = attack(There(), [p.pixels for p in people], [p.boxes for p in people], recipe=settings, steps=1)
    assert patch.pixels.shape == (64, 64, 3)


def test_steps_are_timed_where_the_detector_is(people: list[LabelledImage], small: Recipe) -> None:
    settings = small.model_copy(update={"batch": 2})
    assert seconds_a_step(settings, [There()], steps=2) > 0


def test_gradients_are_checked_where_the_twin_is(people: list[LabelledImage]) -> None:
    from tiny import tiny_detector

    first = people[0]
    twin = parse_pipeline("flip").twin(There())
    assert gradient_share(first, twin, 96) > 0
    assert 0 <= unbounded([first], twin, tiny_detector(imgsz=96), 96) <= 1
