"""Two looks at one image: nobody is lost, nobody is counted twice, and an attacker has to silence both."""

import numpy as np
import torch
from tiny import BlobDetector, draw_person, tiny_gradient

from physadv.defend import parse_pipeline
from physadv.defend.image import either
from physadv.defend.removal import RemovalDefence
from physadv.types import Detections, Frame, UInt8Array


def found(*people: tuple[float, float, float, float, float]) -> Detections:
    rows = np.array(people, np.float32).reshape(-1, 5)
    return Detections(rows[:, :4], rows[:, 4])


def test_nobody_that_one_view_shows_is_lost_or_counted_twice() -> None:
    out = either(
        found((0, 0, 50, 100, 0.6), (200, 0, 250, 100, 0.5)), found((2, 1, 51, 99, 0.9), (300, 0, 340, 90, 0.4))
    )
    assert out.score.tolist() == np.array([0.9, 0.5, 0.4], np.float32).tolist()
    assert out.xyxy[0].tolist() == [2, 1, 51, 99]
    assert either(found(), found((0, 0, 9, 9, 0.3))).score.tolist() == np.array([0.3], np.float32).tolist()
    assert len(either(found((0, 0, 9, 9, 0.3)), found())) == 1


def test_a_part_that_only_the_plain_look_sees_is_no_second_person() -> None:
    whole, head = (0.0, 0.0, 60.0, 160.0), (15.0, 0.0, 45.0, 40.0)
    assert len(either(found((*whole, 0.8)), found((*head, 0.6)))) == 1
    # The other way round it is somebody new: the defended look shows more than the plain one, not less.
    assert len(either(found((*head, 0.8)), found((*whole, 0.6)))) == 2
    # Nor does a box that nobody would draw explain anything away.
    assert len(either(found((*whole, 0.1)), found((*head, 0.6)))) == 2


def test_people_in_front_of_each_other_stay_two() -> None:
    adult, child = (0.0, 0.0, 60.0, 160.0), (5.0, 90.0, 35.0, 160.0)
    both = found((*adult, 0.9), (*child, 0.7))
    assert len(either(both, both)) == 2


class Blank(RemovalDefence):
    """Takes the left half for suspicious, or nothing at all."""

    name = "blank"
    title = "blank"
    paper = "none"
    anything: bool = True

    def locate(self, image: UInt8Array) -> UInt8Array:
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[:, : image.shape[1] // 2] = 255 if self.anything else 0
        return mask


def test_people_removed_by_a_defence_are_kept_by_the_plain_view() -> None:
    image = np.full((320, 320, 3), 90, np.uint8)
    draw_person(image, (30, 60, 90, 260))
    draw_person(image, (230, 60, 290, 260))
    frame = Frame(image, 0, 0, 0.0)
    lost = Blank(most=1.0).guard(BlobDetector())
    kept = Blank(most=1.0, plain=True).guard(BlobDetector())
    assert len(lost.detect(frame)) == 1
    assert len(kept.detect(frame)) == 2
    assert [len(d) for d in kept.detect_batch([image, image])] == [2, 2]


def test_a_image_that_was_not_changed_is_looked_at_once() -> None:
    class Counting(BlobDetector):
        asked = 0

        def detect(self, frame: Frame) -> Detections:
            type(self).asked += 1
            return super().detect(frame)

    frame = Frame(np.full((320, 320, 3), 90, np.uint8), 0, 0, 0.0)
    Blank(anything=False, plain=True).guard(Counting()).detect(frame)
    assert Counting.asked == 1
    Blank(most=1.0, plain=True).guard(Counting()).detect(frame)
    assert Counting.asked == 3


def test_an_attacker_sees_both_looks() -> None:
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for text in ("jpeg", "flip", "median"):
        one = parse_pipeline(f"{text}:plain=false").twin(tiny_gradient()).candidates(images)
        two = parse_pipeline(f"{text}:plain=true").twin(tiny_gradient()).candidates(images)
        assert two.logit.shape[1] == 2 * one.logit.shape[1]
        assert two.xyxy.shape[1] == two.logit.shape[1]
        bare = tiny_gradient().candidates(images).logit
        assert torch.allclose(two.logit[:, one.logit.shape[1] :], bare, atol=1e-4)
