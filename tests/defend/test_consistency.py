"""Local against global: a person that views show and the whole does not is reported and restored."""

import numpy as np
import pytest
import torch

from physadv.defend.consistency import Consistency, views
from physadv.defend.geometry import boxes_back, boxes_through, warp
from physadv.types import Candidates, Float32Array, Frame, UInt8Array
from tests.defend.adversaries import Pure
from tests.detectors import FakeGradient

WIDTH, HEIGHT = 160, 120
PERSON = np.array([60, 24, 100, 96], np.float32)


def scene(upright_hides: bool) -> UInt8Array:
    """A white figure; a red mark in its middle, seen at its true place, hides it from the detector below."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[24:96, 60:100] = 255
    if upright_hides:
        image[50:60, 72:84] = (255, 0, 0)
    return image


def fragile(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    ys, xs = np.nonzero((image > 180).all(2))
    red = (image[50:60, 72:84] == (255, 0, 0)).all()
    if red or len(ys) < 200:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
    return box, np.array([0.9], np.float32)


@pytest.mark.parametrize("per_frame", [0, 2])
def test_a_person_absent_in_the_whole_is_reported_and_restored(per_frame: int) -> None:
    guard = Consistency(per_frame=per_frame).guard(Pure(fragile))
    for i in range(6):
        out = guard.detect(Frame(scene(upright_hides=True), i, 0, 0.0))
    assert [a.kind for a in out.alerts] == ["inconsistent"] and len(out) == 1
    assert out.held is not None and out.held.all()
    assert np.abs(out.xyxy[0] - PERSON).max() < 14
    unrestored = Consistency(per_frame=0, restore=False).guard(Pure(fragile)).detect(Frame(scene(True), 0, 0, 0.0))
    assert unrestored.alerts and len(unrestored) == 0


def test_nothing_is_reported_where_all_views_agree() -> None:
    guard = Consistency().guard(Pure(fragile))
    outs = [guard.detect(Frame(scene(upright_hides=False), i, 0, 0.0)) for i in range(8)]
    outs += guard.detect_batch([scene(upright_hides=False)] * 2)
    assert not any(o.alerts for o in outs) and {len(o) for o in outs} == {1}


def test_one_view_alone_and_small_people_are_not_believed() -> None:
    frame = Frame(scene(upright_hides=True), 0, 0, 0.0)
    assert not Consistency(per_frame=1, agree=2).guard(Pure(fragile)).detect(frame).alerts
    assert not Consistency(per_frame=0, smallest=0.9).guard(Pure(fragile)).detect(frame).alerts


def test_every_view_maps_a_box_there_and_back() -> None:
    every = views(WIDTH, HEIGHT)
    assert len(every) == 8 and len({name for name, _ in every}) == 8
    for name, forward in every:
        assert np.abs(boxes_back(forward, boxes_through(forward, PERSON[None])) - PERSON).max() < 12, name
    for name, forward in every[:2]:
        moved = warp(scene(False), forward, (WIDTH, HEIGHT))
        ys, xs = np.nonzero((moved > 180).all(2))
        want = np.clip(boxes_through(forward, PERSON[None])[0], 0, [WIDTH, HEIGHT] * 2)
        assert np.abs(np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) - want).max() <= 1.5, name


class Mean(FakeGradient):
    """One candidate an image: its brightness, and a fixed box."""

    name = "mean"

    def candidates(self, images: torch.Tensor) -> Candidates:
        box = torch.tensor([10.0, 10, 40, 50])
        return Candidates(images.mean((1, 2, 3))[:, None], box.expand(len(images), 1, 4))


def test_the_twin_brings_boxes_back_and_lets_gradients_through() -> None:
    images = torch.rand((2, 3, 64, 96), requires_grad=True)
    found = Consistency().twin(Mean()).candidates(images)
    assert found.logit.shape == (2, 3) and found.xyxy.shape == (2, 3, 4)
    for column in range(3):
        (gradient,) = torch.autograd.grad(found.logit[:, column].sum(), images, retain_graph=True)
        assert gradient.abs().sum() > 0
