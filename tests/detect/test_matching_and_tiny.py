import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import BlobDetector, BlobGradient, draw_person, tiny_detector, tiny_gradient

from physadv.boxes import Letterbox
from physadv.detect.matching import average_precision, best_score, found, judge, touched
from physadv.types import Detections, Detector, Frame, GradientDetector

PEOPLE = np.array([[0, 0, 10, 20], [8, 0, 18, 20]], np.float32)


def answer(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    table = table[np.argsort(-table[:, 4], kind="stable")]
    return Detections(table[:, :4], table[:, 4])


def test_one_box_never_finds_two_people() -> None:
    both = answer((0, 0, 18, 20, 0.9))
    assert found(PEOPLE, both, conf=0.25, iou_at_least=0.5).sum() == 1
    assert touched(PEOPLE, both, conf=0.25, iou_above=0.1).all()


def test_thresholds_of_score_and_overlap() -> None:
    detections = answer((0, 0, 10, 20, 0.3), (8, 10, 18, 20, 0.8))
    assert found(PEOPLE, detections, conf=0.25, iou_at_least=0.5).tolist() == [True, True]
    assert found(PEOPLE, detections, conf=0.5, iou_at_least=0.5).tolist() == [False, True]
    assert found(PEOPLE, detections, conf=0.25, iou_at_least=0.6).tolist() == [True, False]
    np.testing.assert_allclose(best_score(PEOPLE, detections, iou_above=0.1), [0.3, 0.8], atol=1e-6)


def test_people_held_by_a_defence_are_found() -> None:
    detections = Detections(PEOPLE, np.array([0.01, 0.9], np.float32), held=np.array([True, False]))
    assert found(PEOPLE, detections, conf=0.25, iou_at_least=0.5).all()


def test_held_people_are_added_in_order_of_score() -> None:
    seen = answer((0, 0, 10, 20, 0.9), (8, 0, 18, 20, 0.2))
    out, new = seen.with_held(PEOPLE[:1] + 40, np.array([0.5], np.float32))
    assert out.score.tolist() == np.array([0.9, 0.5, 0.2], np.float32).tolist()
    assert new.tolist() == [False, True, False] and out.held is not None and out.held.tolist() == new.tolist()
    assert len(out.above(0.95)) == 1 and out.xyxy[1].tolist() == (PEOPLE[0] + 40).tolist()
    again, _ = out.with_held(PEOPLE[:0], np.zeros(0, np.float32))
    assert again.held is not None and again.held.tolist() == new.tolist()


def test_nobody_and_nothing() -> None:
    nobody = np.zeros((0, 4), np.float32)
    assert found(nobody, answer((0, 0, 1, 1, 0.9)), conf=0.1, iou_at_least=0.5).shape == (0,)
    assert not found(PEOPLE, answer(), conf=0.1, iou_at_least=0.5).any()
    assert not touched(PEOPLE, answer(), conf=0.1, iou_above=0.1).any()


def test_of_many_boxes_on_one_person_one_is_right_and_the_hundred_best_count() -> None:
    many = answer(*((0, 0, 10, 20, 1 - i / 1000) for i in range(150)))
    scores, right = judge(PEOPLE[:1], PEOPLE[:0], many)
    assert len(scores) == 100 and right.sum() == 1 and right[0]
    scores, right = judge(PEOPLE[1:], PEOPLE[:1], many)
    assert len(scores) == 0, "boxes on somebody who is ignored count for nothing"


def test_average_precision_of_known_answers() -> None:
    assert average_precision(np.array([True, True]), 2) == pytest.approx(1.0)
    assert average_precision(np.array([True]), 2) == pytest.approx(51 / 101)
    assert average_precision(np.array([False, True]), 1) == pytest.approx(0.5)
    assert np.isnan(average_precision(np.zeros(0, bool), 0)) and average_precision(np.zeros(0, bool), 3) == 0
    assert average_precision(np.array([False, True]), 1, np.array([0.0, 2.0])) == 1, (
        "a box that was not drawn is not there"
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 40), st.sampled_from([32, 64]))
def test_letterbox_returns_every_box_to_where_it_was(w: int, h: int, k: int, stride: int) -> None:
    box = Letterbox.fit(w, h, k * stride, stride=stride)
    assert box.width % stride == box.height % stride == 0 and max(box.width, box.height) == k * stride
    inner_w, inner_h = box.inner
    whole = np.array([[box.left, box.top, box.left + inner_w, box.top + inner_h]], np.float32)
    np.testing.assert_allclose(box.boxes_to_frame(whole), [[0, 0, w, h]], atol=1e-2 * max(w, h) / 100)


def test_tiny_detectors_meet_the_interfaces_and_repeat_themselves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    first, again, other = tiny_detector(1), tiny_detector(1), tiny_detector(2)
    assert isinstance(first, Detector) and isinstance(tiny_gradient(), GradientDetector)
    assert isinstance(BlobDetector(), Detector) and isinstance(BlobGradient(), GradientDetector)
    a, b, c = (d.detect(Frame(image, 0, 0, 0.0)) for d in (first, again, other))
    assert len(a) > 3 and a.keypoints is not None
    assert np.array_equal(a.xyxy, b.xyxy) and not np.array_equal(a.score[:5], c.score[:5])
    single, double = first.detect_batch([image])[0], first.detect_batch([image, image[::-1].copy()])
    np.testing.assert_allclose(single.score, double[0].score, atol=1e-6)
    assert tiny_detector(keypoints=False).detect(Frame(image, 0, 0, 0.0)).keypoints is None


def test_a_step_along_the_tiny_gradient_lowers_the_logits() -> None:
    detector = tiny_gradient()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    start = detector.candidates(images).logit.amax()
    (gradient,) = torch.autograd.grad(start, images)
    lower = detector.candidates((images - 0.1 * gradient.sign()).clamp(0, 1)).logit.amax()
    assert lower < start - 0.1


def test_blobs_are_found_to_the_pixel_and_fade_as_they_are_covered() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    draw_person(image, (20, 30, 80, 200))
    draw_person(image, (120, 30, 180, 200))
    image[60:140, 130:170] = 255
    people = BlobDetector().detect(Frame(image, 0, 0, 0.0))
    np.testing.assert_array_equal(people.xyxy, [[20, 30, 80, 200], [120, 30, 180, 200]])
    assert people.score[0] == 1 and 0.6 < people.score[1] < 0.8
    grads = BlobGradient().candidates(torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255)
    assert grads.logit.max() > 5 and grads.logit.min() < -5
