"""Canaries and woodpeckers: alarms for what swallows people, silence otherwise, chance that is never the same twice."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from physadv.defend.canaries import canary_box, cutouts, overlay, peck_boxes
from physadv.defend.probes import Probes, pecked
from physadv.types import Candidates, Float32Array, Frame, UInt8Array
from tests.defend.adversaries import Pure
from tests.detectors import FakeGradient

WIDTH, HEIGHT = 160, 120
PERSON = np.array([60, 20, 100, 110], np.float32)
PATCH = (70, 45, 92, 67)
BACK = 40


def scene(worn: bool) -> UInt8Array:
    image = np.full((HEIGHT, WIDTH, 3), BACK, np.uint8)
    if worn:
        image[PATCH[1] : PATCH[3], PATCH[0] : PATCH[2]] = (255, 0, 255)
    return image


def reads(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    """A detector of one person, almost hidden by the whole magenta square, and of whatever else is not background."""
    whole = (image[PATCH[1] : PATCH[3], PATCH[0] : PATCH[2]] == (255, 0, 255)).all()
    boxes, scores = [PERSON], [0.1 if whole else 0.8]
    other = (image != BACK).any(2)
    other[PATCH[1] : PATCH[3], PATCH[0] : PATCH[2]] = False
    if other.sum() > 300 and not whole:
        ys, xs = np.nonzero(other)
        boxes.append(np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32))
        scores.append(0.7)
    return np.array(boxes, np.float32), np.array(scores, np.float32)


def test_pecks_bring_a_hidden_person_back_with_an_alarm() -> None:
    guard = Probes(canary=False, seed=0).guard(Pure(reads))
    outs = [guard.detect(Frame(scene(worn=True), i, 0, 0.0)) for i in range(5)]
    back = [o for o in outs if len(o.above(0.25))]
    assert len(back) >= 4
    assert all(o.held is not None and o.above(0.25).held is not None and o.alerts[0].kind == "probe" for o in back)
    unrestored = (
        Probes(canary=False, restore=False, seed=0).guard(Pure(reads)).detect(Frame(scene(worn=True), 0, 0, 0.0))
    )
    assert unrestored.alerts and len(unrestored.above(0.25)) == 0


def swallows(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    """A detector that finds nobody surely as long as some of the magenta square is to be seen."""
    left = (image == (255, 0, 255)).all(2).sum() > 20
    return PERSON[None], np.array([0.1 if left else 0.8], np.float32)


def test_a_canary_that_is_swallowed_twice_is_an_alarm() -> None:
    guard = Probes(woodpecker=False, seed=0).guard(Pure(swallows))
    outs = guard.detect_batch([scene(worn=True), scene(worn=False)])
    assert [a.kind for a in outs[0].alerts] == ["probe"] and "pasted" in outs[0].alerts[0].text
    assert not outs[1].alerts and len(outs[1]) == 1


def test_no_canary_is_pasted_too_small_to_be_found_anyway() -> None:
    low = np.array([60, 80, 100, 80 + 0.2 * HEIGHT], np.float32)

    def small(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        return low[None], np.array([0.1], np.float32)

    guard = Probes(woodpecker=False, seed=0).guard(Pure(small))
    assert not any(guard.detect(Frame(scene(worn=True), i, 0, 0.0)).alerts for i in range(5))


def test_a_canary_that_is_found_raises_nothing() -> None:
    def weak(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        ys, xs = np.nonzero((image != BACK).any(2))
        if len(ys) == 0:
            return PERSON[None], np.array([0.1], np.float32)
        box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)
        return np.stack([box, PERSON]), np.array([0.9, 0.1], np.float32)

    guard = Probes(woodpecker=False, places=1).guard(Pure(weak))
    assert not any(guard.detect(Frame(scene(worn=False), i, 0, 0.0)).alerts for i in range(20))


def test_where_somebody_vanished_is_probed_though_no_candidate_is_left() -> None:
    def none_left(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        boxes, scores = reads(image)
        return boxes[scores > 0.2], scores[scores > 0.2]

    guard = Probes(seed=1, canary=False).guard(Pure(none_left))
    assert not guard.detect(Frame(scene(worn=False), 0, 0, 0.0)).alerts
    assert any(guard.detect(Frame(scene(worn=True), i, 0, 0.1)).alerts for i in range(1, 5))
    guard.reset()
    assert not guard.detect(Frame(scene(worn=True), 9, 0, 0.9)).alerts


def test_draws_differ_from_frame_to_frame_and_repeat_with_a_seed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    rng = np.random.default_rng(3)
    first, second = pecked(image, PERSON[None], rng), pecked(image, PERSON[None], rng)
    assert not np.array_equal(first, second) and not np.array_equal(first, image)
    assert np.array_equal(first, pecked(image, PERSON[None], np.random.default_rng(3)))
    changed = (first != image).any(2)
    assert not changed[:, :50].any() and not changed[:, 110:].any()


def test_canaries_lie_inside_the_image_and_beside_the_place() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        place = np.array([rng.uniform(-10, 120), rng.uniform(-10, 60), 0, 0], np.float32)
        place[2:] = place[:2] + rng.uniform(20, 90, 2)
        x0, y0, x1, y1 = canary_box(place, float(rng.uniform(0.3, 0.7)), (WIDTH, HEIGHT), rng)
        assert 0 <= x0 < x1 <= WIDTH and 0 <= y0 < y1 <= HEIGHT
        pecks = peck_boxes(place[None], rng)
        assert np.isfinite(pecks).all() and (pecks[:, 2:] > pecks[:, :2]).all()
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for cutout in cutouts():
        overlay(image, cutout, -30, 100, 90, gain=1.0, mirror=True)
        overlay(image, cutout, 400, 400, 50, gain=1.0, mirror=False)
    assert image.any()


def test_no_trap_at_all_is_refused() -> None:
    with pytest.raises(ValidationError, match="canary, woodpecker or both"):
        Probes(canary=False, woodpecker=False)


class Two(FakeGradient):
    """Two candidates, each as sure as its half of the image is bright."""

    name = "two"

    def candidates(self, images: torch.Tensor) -> Candidates:
        height, width = images.shape[2:]
        half = width // 2
        logit = torch.stack([images[..., :half].mean((1, 2, 3)), images[..., half:].mean((1, 2, 3))], 1)
        boxes = torch.tensor([[0.0, 0, half, height], [half, 0, width, height]])
        return Candidates(logit, boxes.expand(len(images), 2, 4))


def test_the_twin_makes_the_alarms_part_of_what_an_attacker_has_to_bring_down() -> None:
    images = torch.rand((2, 3, 96, 128), requires_grad=True)
    found = Probes(seed=0, pecks=2).twin(Two()).candidates(images)
    assert found.logit.shape == (2, 7) and found.xyxy.shape == (2, 7, 4)
    for column in range(7):
        (gradient,) = torch.autograd.grad(found.logit[:, column].sum(), images, retain_graph=True, allow_unused=True)
        if column == 6 and (found.logit[:, 6] == 10).all():
            continue
        assert gradient is not None and gradient.abs().sum() > 0, column
    assert (found.logit[:, 6] <= 10).all()
