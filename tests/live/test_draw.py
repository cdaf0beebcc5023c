"""Marks on the image: why somebody is marked, and labels that can be read."""

import numpy as np
import pytest

from physadv.live.draw import Labels, drawn, regions, style
from physadv.types import Alert, Detections

BOX = (10.0, 20.0, 60.0, 120.0)


def one(*alerts: Alert, track: int | None = None) -> Detections:
    return Detections(
        np.array([BOX], np.float32),
        np.array([0.3], np.float32),
        alerts=alerts,
        held=np.array([True]),
        track=None if track is None else np.array([track]),
    )


@pytest.mark.parametrize(
    ("people", "word"),
    [
        (one(track=3), "held"),
        (one(Alert("uncovered", "", BOX)), "uncovered"),
        (one(Alert("probe", "", BOX), track=-1), "uncovered"),
        (one(Alert("uncovered", "", BOX), track=3), "uncovered"),
        (one(Alert("uncovered", "", (200.0, 20.0, 260.0, 120.0)), track=3), "held"),
    ],
)
def test_who_was_found_in_other_views_is_not_called_held(people: Detections, word: str) -> None:
    assert style(people, 0)[1] == word


def test_regions_are_all_reports_but_those_of_people_marked_themselves() -> None:
    people = one(Alert("uncovered", "", BOX), Alert("removed", "", BOX), Alert("notice", ""))
    assert [alert.kind for alert, _ in regions(people)] == ["removed"]
    blank = np.zeros((720, 1280, 3), np.uint8)
    plain = drawn(blank, one(Alert("uncovered", "", BOX)))
    # The word "removed" stands in the image too, on red.
    red = (drawn(blank, people) == (255, 96, 96)).all(2).sum() - (plain == (255, 96, 96)).all(2).sum()
    assert red > 800


def overlap(a: tuple[float, float], b: tuple[float, float], width: float, height: float) -> bool:
    return abs(a[0] - b[0]) < width and abs(a[1] - b[1]) < height


def test_labels_of_overlapping_boxes_do_not_cover_each_other() -> None:
    labels = Labels(320, 240)
    corners = [labels.place((100 + 4 * n, 50 + 3 * n, 180, 200), 70, 16) for n in range(6)]
    for n, corner in enumerate(corners):
        assert not any(overlap(corner, other, 70, 16) for other in corners[:n])
        assert 0 <= corner[0] <= 250
        assert 0 <= corner[1] <= 224


def test_a_crowded_label_stays_in_the_image() -> None:
    labels = Labels(100, 20)
    assert labels.place((0, 0, 100, 20), 90, 18) == (0, 0)
    assert labels.place((0, 0, 100, 20), 90, 18) == (0, 0)
