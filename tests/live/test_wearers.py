"""Who of those who wear a pattern is seen, whatever else is in the picture."""

import numpy as np

from physadv.live.wearers import Hiding, hiding
from physadv.types import Detections

LEFT, RIGHT, WINDOW = [0, 0, 80, 200], [120, 0, 200, 200], [240, 10, 300, 60]


def people(*found: tuple[list[int], float], held: list[bool] | None = None) -> Detections:
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    score = np.array([score for _, score in found], np.float32)
    return Detections(boxes, score, held=None if held is None else np.array(held))


def test_a_window_does_not_make_a_hidden_wearer_seen() -> None:
    clean = people((LEFT, 0.9))
    answer = people((WINDOW, 0.26), (LEFT, 0.19))
    assert hiding(clean, answer, conf=0.25) == Hiding(1, 1, float(np.float32(0.19)))


def test_two_of_three_are_hidden_and_furniture_wears_nothing() -> None:
    clean = people((LEFT, 0.9), (RIGHT, 0.8), ([400, 0, 480, 200], 0.7), (WINDOW, 0.2))
    answer = people((RIGHT, 0.5), (WINDOW, 0.6))
    assert hiding(clean, answer, conf=0.25) == Hiding(3, 2, 0.5)


def test_whom_a_defence_holds_is_seen() -> None:
    assert hiding(people((LEFT, 0.9)), people((LEFT, 0.0), held=[True]), conf=0.25).hidden == 0


def test_nobody_wears_and_nobody_is_found() -> None:
    assert hiding(people(), people((LEFT, 0.9)), conf=0.25) == Hiding(0, 0, 0.0)
    assert hiding(people((LEFT, 0.9)), people(), conf=0.25) == Hiding(1, 1, 0.0)
