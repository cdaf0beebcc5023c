"""One state for each who wears a pattern, whatever else is in the image."""

import numpy as np

from physadv.live.wearers import Hiding, Wearer, judged, reported
from physadv.types import Alert, BoolArray, Detections, Float32Array

LEFT, RIGHT, WINDOW = [0, 0, 80, 200], [120, 0, 200, 200], [240, 10, 300, 60]


def people(*found: tuple[list[int], float], **more: object) -> Detections:
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    score = np.array([score for _, score in found], np.float32)
    return Detections(boxes, score, **more)  # type: ignore[arg-type]


def on(*boxes: list[int]) -> tuple[Float32Array, BoolArray]:
    return np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), bool)


def states(wearers: tuple[Wearer, ...]) -> list[str]:
    return [w.state for w in wearers]


def test_a_window_does_not_make_a_hidden_wearer_seen() -> None:
    (one,) = judged(*on(LEFT), people((WINDOW, 0.26), (LEFT, 0.19)), 0.25)
    assert (one.state, one.person) == ("hidden", -1)
    assert one.score == np.float32(0.19)


def test_one_box_makes_one_of_two_who_stand_close_seen() -> None:
    """It overlaps both by more than a tenth; drawn around the right one, it is the right one's."""
    left, right = [0, 0, 100, 200], [50, 0, 150, 200]
    found = judged(*on(left, right), people(([55, 0, 150, 200], 0.5)), 0.25)
    assert states(found) == ["hidden", "seen"]
    assert Hiding.of(found) == Hiding(2, 1, 0, 0, 1, 0, 0.5)


def test_a_box_on_somebodys_head_alone_is_theirs() -> None:
    assert states(judged(*on(LEFT), people(([20, 0, 60, 35], 0.4)), 0.25)) == ["seen"]


def test_who_is_held_by_a_defence_is_held_and_who_is_missed_is_missed() -> None:
    held = people((LEFT, 0.0), held=np.array([True]), track=np.array([1]))
    assert states(judged(*on(LEFT), held, 0.25)) == ["held"]
    # Seen by the detector itself, the memory of them is not what they are drawn by.
    itself = people((LEFT, 0.4), held=np.array([True]), track=np.array([1]))
    assert states(judged(*on(LEFT), itself, 0.25)) == ["seen"]
    assert not reported(itself, 0.25).held.any()  # type: ignore[union-attr]
    alarm = people(alerts=(Alert("vanished", "gone", (0, 0, 80, 190)), Alert("removed", "r", (120, 0, 200, 200))))
    assert states(judged(*on(LEFT, RIGHT), alarm, 0.25)) == ["missed", "hidden"]


def test_found_in_other_views_is_held_whatever_the_score() -> None:
    uncovered = people(
        (LEFT, 0.7), held=np.array([True]), track=np.array([-1]), alerts=(Alert("uncovered", "u", (0, 0, 80, 200)),)
    )
    assert states(judged(*on(LEFT), uncovered, 0.25)) == ["held"]


def test_nothing_is_said_of_people_that_the_clean_detector_lost() -> None:
    boxes, _ = on(LEFT, RIGHT)
    found = judged(boxes, np.array([False, False]), people((RIGHT, 0.5)), 0.25)
    assert states(found) == ["unknown", "seen"]


def test_nobody_wears_and_nobody_is_found() -> None:
    assert judged(*on(), people((LEFT, 0.9)), 0.25) == ()
    assert Hiding.of(()) == Hiding(0, 0, 0, 0, 0, 0, 0.0)
    assert Hiding.of(judged(*on(LEFT), people(), 0.25)) == Hiding(1, 0, 0, 0, 1, 0, 0.0)
