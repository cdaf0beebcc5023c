"""The figures: against faster-coco-eval, against counts made by hand, and under resampling."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import BlobDetector

from physadv.attack.score import HeldOutPeople
from physadv.dataset import Dataset, LabelledImage
from physadv.detect.matching import ImageMatch, match_image
from physadv.evaluate.doubts import of_data
from physadv.evaluate.metrics import ap50, figures
from physadv.simulate.placement import Placement
from physadv.types import Detections, Frame, UInt8Array
from tests.evaluate.conftest import patch_of, scene_of


def answer(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    table = table[np.argsort(-table[:, 4], kind="stable")]
    return Detections(table[:, :4], table[:, 4])


BIG, OTHER, SMALL = (20, 30, 80, 200), (180, 40, 250, 210), (300, 10, 308, 30)


def part(image: LabelledImage, clean: Detections, worn: Detections) -> ImageMatch:
    return match_image(image.boxes, image.counts, clean, worn)


def value(scene: LabelledImage, clean: Detections, worn: Detections) -> dict[str, float | None]:
    ap = ap50([scene], [worn])
    return figures([part(scene, clean, worn)], ap50=ap, resamples=20, rng=np.random.default_rng(0)).value


def test_counts_by_hand() -> None:
    scene = scene_of(BIG, OTHER, SMALL)
    clean = answer((*BIG, 0.9), (*OTHER, 0.8))
    # The first is found weakly; of the second only a box on the head is left; somebody else's box is false.
    worn = answer((*BIG, 0.4), (180, 40, 250, 75, 0.3), (100, 100, 150, 200, 0.6))
    got = value(scene, clean, worn)
    assert got["recall25"] == 0.5
    assert got["asr_strict25"] == 0.0, "a box on the head touches the person: not invisible by the strict rule"
    assert got["asr_strict50"] == 1.0
    assert got["asr_lenient50"] == 1.0
    assert got["false_boxes_per_image"] == 2.0
    assert got["mean_max_conf"] == pytest.approx((0.4 + 0.3) / 2, abs=1e-4)


def test_success_is_counted_over_people_that_the_clean_detector_finds() -> None:
    scene = scene_of(BIG, OTHER)
    got = value(scene, answer((*BIG, 0.9)), answer())
    assert got["asr_strict25"] == 1.0 and got["recall25"] == 0.0 and got["ap50"] == 0.0
    nobody = value(scene, answer(), answer())
    assert nobody["asr_strict25"] is None, "with nobody found there is no success to claim"


def test_a_box_on_a_small_person_is_neither_right_nor_wrong() -> None:
    scene = scene_of(BIG, SMALL)
    clean = answer((*BIG, 0.9), (*SMALL, 0.95))
    got = value(scene, clean, clean)
    assert got["false_boxes_per_image"] == 0.0 and got["ap50"] == 1.0 and got["recall25"] == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_average_precision_is_that_of_faster_coco_eval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes, answers = [], []
    for _ in range(rng.integers(1, 6)):
        corner = rng.integers(0, 180, (rng.integers(1, 5), 2))
        size = rng.integers(8, 60, (len(corner), 2))
        scenes.append(scene_of(*(tuple(int(v) for v in row) for row in np.hstack([corner, corner + size]))))  # type: ignore[arg-type]
        people = scenes[-1].boxes[rng.integers(0, len(corner), rng.integers(0, 9))]
        boxes = people + rng.normal(0, 6, people.shape).astype(np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
        score = np.sort(rng.random(len(boxes)).astype(np.float32))[::-1].copy()
        answers.append(Detections(boxes, score))
    reference = ap50(scenes, answers)
    tallies = [part(s, a, a) for s, a in zip(scenes, answers, strict=True)]
    own = figures(tallies, ap50=None, resamples=20, rng=rng).value["ap50"]
    if reference is None:
        assert own is None
    else:
        assert own == pytest.approx(reference, abs=2e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_training_counts_as_an_evaluation_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes: list[LabelledImage] = []
    clean: list[Detections] = []
    worn: list[Detections] = []
    for some in ((BIG, OTHER, SMALL), (BIG,), (SMALL,)):
        scenes.append(scene_of(*some))
        for answers in (clean, worn):
            boxes = scenes[-1].boxes[rng.integers(0, len(some), 6)] + rng.normal(0, 15, (6, 4)).astype(np.float32)
            boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
            answers.append(answer(*np.hstack([boxes, rng.random((6, 1))]).tolist()))
    # Nobody in the last image is large enough to wear anything: it stays as it is, and so does the answer.
    worn[2] = clean[2]
    tallies = [part(s, c, a) for s, c, a in zip(scenes, clean, worn, strict=True)]
    wanted = figures(tallies, ap50=ap50(scenes, worn), resamples=20, rng=rng).value

    class Says(BlobDetector):
        def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
            return [said.pop(0) for _ in images]

        def detect(self, frame: Frame) -> Detections:
            return said.pop(0)

    said = [*clean, *worn[:2]]
    scorer = HeldOutPeople(scenes, Says(), Placement("poster", scale=0.35))
    got = scorer.score(patch_of((1, 2, 3)))
    for name in ("recall25", "ap50", "asr_strict25", "mean_max_conf"):
        assert (got.plain()[name] or 0) == pytest.approx(wanted[name] or 0, abs=2e-4), name


def test_intervals_hold_the_figure_and_shrink_with_more_images() -> None:
    def interval(n: int) -> tuple[float, float]:
        tallies = [
            part(scene_of(BIG), answer((*BIG, 0.9)), answer((*BIG, 0.9)) if i % 2 else answer()) for i in range(n)
        ]
        got = figures(tallies, ap50=None, resamples=400, rng=np.random.default_rng(0))
        low, high = got.ci95["recall25"] or (0, 0)
        assert low <= 0.5 <= high and got.value["recall25"] == 0.5
        return low, high

    few, many = interval(10), interval(160)
    assert (many[1] - many[0]) < 0.5 * (few[1] - few[0])


@pytest.mark.parametrize("n", [6, 40])
def test_where_everybody_is_hidden_the_interval_has_a_width(n: int) -> None:
    tallies = [part(scene_of(BIG, OTHER), answer((*BIG, 0.9), (*OTHER, 0.8)), answer()) for _ in range(n)]
    got = figures(tallies, ap50=None, resamples=100, rng=np.random.default_rng(0))
    low, high = got.ci95["asr_strict25"] or (1, 1)
    assert got.value["asr_strict25"] == 1.0 == high
    # Two people in an image are one case: Wilson's n / (n + 1.96 ** 2).
    assert low == pytest.approx(n / (n + 1.96**2), abs=1e-3)
    assert (got.ci95["recall25"] or ()) == pytest.approx((0.0, 1 - low), abs=1e-3)
    assert {got.ci95["ap50"], got.ci95["mean_max_conf"]} == {None}, "no shares: nothing is claimed"


def test_a_few_images_have_no_narrow_interval() -> None:
    tallies = [part(scene_of(BIG), answer((*BIG, 0.9)), answer((*BIG, 0.9)) if i else answer()) for i in range(4)]
    low, high = figures(tallies, ap50=None, resamples=100, rng=np.random.default_rng(0)).ci95["recall25"] or (0, 0)
    assert (low, high) == pytest.approx((0.3006, 0.9544), abs=1e-3)


def test_one_image_has_no_interval() -> None:
    one = part(scene_of(BIG), answer((*BIG, 0.9)), answer((*BIG, 0.9)))
    got = figures([one], ap50=None, resamples=20, rng=np.random.default_rng(0))
    assert got.value["recall25"] == 1.0 and set(got.ci95.values()) == {None}
    assert any("only one image" in d for d in of_data(Dataset([scene_of(BIG)])))
