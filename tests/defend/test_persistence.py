"""Persistence: kept while weak, carried while absent, missed when gone from mid-image, and never at the rim."""

from collections.abc import Sequence

import numpy as np
import pytest

from physadv.defend.persistence import Persistence
from physadv.types import Detections, Frame, UInt8Array
from tests.detectors import FakeDetector

BLANK: UInt8Array = np.zeros((480, 640, 3), np.uint8)
Person = tuple[float, float, float, float, float]


class Script(FakeDetector):
    """A detector that answers from a list: one entry a frame, people as (x1, y1, x2, y2, score)."""

    name = "script"

    def __init__(self, answers: Sequence[Sequence[Person]]) -> None:
        self.answers = answers

    def detect(self, frame: Frame) -> Detections:
        people = np.array(sorted(self.answers[frame.index], key=lambda p: -p[4]), np.float32).reshape(-1, 5)
        return Detections(people[:, :4], people[:, 4], np.zeros((len(people), 17, 3), np.float32))

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [self.detect(Frame(image, i, 0, 0.0)) for i, image in enumerate(images)]


def watch(answers: Sequence[Sequence[Person]], fps: float = 30, **settings: float) -> list[Detections]:
    guard = Persistence.model_validate(settings).guard(Script(answers))
    return [guard.detect(Frame(BLANK, i, 0, i / fps)) for i in range(len(answers))]


def kinds(found: Detections) -> set[str]:
    return {a.kind for a in found.alerts}


HERE: Person = (250, 150, 350, 400, 0.9)


def test_nothing_the_detector_found_is_lost() -> None:
    weak: Person = (20, 20, 60, 120, 0.3)
    for found in watch([[HERE, weak]] * 5):
        assert len(found.above(0.25)) == 2


def test_somebody_seen_is_kept_at_a_low_score_under_the_same_identity() -> None:
    out = watch([[HERE]] * 40 + [[(*HERE[:4], 0.12)]] * 30)
    assert out[39].track is not None and out[-1].track is not None and out[-1].held is not None
    assert len(out[-1].above(0.25)) == 1
    assert out[-1].track[0] == out[39].track[0] and out[-1].held[0]
    assert out[39].held is not None and not out[39].held[0], "who is seen well needs no memory"


def test_a_low_score_alone_is_nobody() -> None:
    out = watch([[(*HERE[:4], 0.12)]] * 60)
    assert all(len(found.above(0.25)) == 0 for found in out)


def test_somebody_absent_is_carried_on_their_way_and_then_let_go() -> None:
    walking: list[list[Person]] = [[(100.0 + 2 * i, 100, 160.0 + 2 * i, 300, 0.9)] for i in range(60)]
    out = watch(walking + [[]] * 90)
    soon = out[65].above(0.25)
    assert len(soon) == 1 and soon.held is not None and soon.held[0]
    assert soon.xyxy[0, 0] > walking[-1][0][0] + 4
    assert soon.keypoints is not None and soon.keypoints.shape == (1, 17, 3)
    assert len(out[-1].above(0.25)) == 0


def test_vanishing_in_mid_image_raises_the_alarm_within_a_second() -> None:
    out = watch([[HERE]] * 90 + [[]] * 60)
    assert not any("vanished" in kinds(f) for f in out[:92])
    first = next(i for i, f in enumerate(out) if "vanished" in kinds(f))
    assert 90 < first <= 120
    alert = next(a for a in out[first].alerts if a.kind == "vanished")
    assert "without leaving the image" in alert.text and alert.xyxy is not None


def test_being_weakened_by_a_pattern_raises_the_alarm_too() -> None:
    out = watch([[HERE]] * 90 + [[(*HERE[:4], 0.11)]] * 30)
    assert "vanished" in kinds(out[-1])


def test_fading_suddenly_is_reported_within_a_second_and_ends_when_usual() -> None:
    weak: Person = (*HERE[:4], 0.5)
    out = watch([[HERE]] * 60 + [[weak]] * 60 + [[HERE]] * 5)
    assert not any("faded" in kinds(found) for found in out[:60])
    assert all("faded" in kinds(found) for found in out[89:120])
    assert "faded" not in kinds(out[-1])


def test_fading_slowly_or_behind_somebody_is_no_riddle() -> None:
    slow: list[list[Person]] = [[(*HERE[:4], 0.9 - 0.5 * i / 240)] for i in range(240)]
    front: Person = (200, 140, 340, 470, 0.9)
    behind: list[list[Person]] = [[HERE]] * 60 + [[front, (*HERE[:4], 0.45)]] * 60
    for answers in (slow, behind):
        assert not any("faded" in kinds(found) for found in watch(answers))


def test_the_alarm_ends_when_the_person_comes_back() -> None:
    out = watch([[HERE]] * 90 + [[]] * 30 + [[HERE]] * 10)
    assert "vanished" in kinds(out[119]) and "vanished" not in kinds(out[-1])


def test_leaving_by_the_rim_is_no_riddle() -> None:
    leaving: list[list[Person]] = [[(400.0 + 3 * i, 100, 460.0 + 3 * i, 300, 0.9)] for i in range(58)]
    assert not any("vanished" in kinds(f) for f in watch(leaving + [[]] * 60))


def test_walking_behind_somebody_is_no_riddle() -> None:
    front: Person = (240, 100, 380, 450, 0.9)
    both: list[list[Person]] = [[front, (100.0 + 2 * i, 150, 160.0 + 2 * i, 400, 0.9)] for i in range(75)]
    assert not any("vanished" in kinds(f) for f in watch(both + [[front]] * 60))


def test_people_at_the_limit_of_what_is_found_are_not_missed() -> None:
    weak: Person = (*HERE[:4], 0.55)
    flickering: list[list[Person]] = [[HERE] if i % 3 else [] for i in range(90)]
    for before in ([[weak]] * 90, flickering):
        assert not any("vanished" in kinds(f) for f in watch(before + [[]] * 60))
    assert any("vanished" in kinds(f) for f in watch([[weak]] * 90 + [[]] * 60, usual=0.5))


def test_the_alarm_does_not_stand_for_ever() -> None:
    out = watch([[HERE]] * 90 + [[]] * 240)
    assert sum("vanished" in kinds(f) for f in out) < 30 * 5


def test_a_pattern_worn_from_the_first_frame_is_said_to_be_beyond_it() -> None:
    out = watch([[(*HERE[:4], 0.08)]] * 120)
    for found in (out[0], out[-1]):
        assert any(a.kind == "notice" and "people it has already seen" in a.text for a in found.alerts)
    assert "notice" not in kinds(watch([[HERE]] * 120)[-1])


def test_reset_and_a_jump_of_the_clock_forget_everybody() -> None:
    guard = Persistence().guard(Script([[HERE]] * 60 + [[]] * 60))
    for i in range(60):
        guard.detect(Frame(BLANK, i, 0, i / 30))
    assert len(guard.detect(Frame(BLANK, 60, 0, 60.0)).above(0.25)) == 0


def test_a_batch_has_no_memory() -> None:
    guard = Persistence().guard(Script([[HERE]] * 60))
    for i in range(59):
        guard.detect(Frame(BLANK, i, 0, i / 30))
    assert guard.detect_batch([BLANK])[0].held is None


@pytest.mark.parametrize("fps", [5, 10, 60])
def test_the_alarm_keeps_time_at_any_frame_rate(fps: int) -> None:
    out = watch([[HERE]] * (3 * fps) + [[]] * (2 * fps), fps=fps)
    first = next(i for i, f in enumerate(out) if "vanished" in kinds(f))
    assert first / fps - 3 <= 1.0
