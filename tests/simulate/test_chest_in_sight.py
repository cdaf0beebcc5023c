"""People whom the image cuts off at the chest: prints are cut off there too, and nobody wears one who shows no chest."""

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.attack.crops import CUT_CM, CropSampler, PlacementRange
from physadv.attack.score import HeldOutPeople
from physadv.dataset import Dataset, LabelledImage
from physadv.errors import DataError
from physadv.evaluate.answers import Answers
from physadv.evaluate.people_in_time import follow
from physadv.evaluate.scorer import Entry, Scorer
from physadv.evaluate.settings import EvaluateSettings
from physadv.live.overlay import Overlay
from physadv.simulate.placement import Placement, people_of
from physadv.simulate.render import render
from physadv.types import Detections, Float32Array
from tests.evaluate.conftest import patch_of

# Seen from the front, 2 pixels a centimetre: shoulders 72 apart at 90, the head's top at 30, hips 100 below the shoulders.
IMAGE = (200, 240)
SHOULDERS = ((136, 90), (64, 90))


def joints(*, hips: bool = False, at: tuple[tuple[float, float], ...] = SHOULDERS) -> Float32Array:
    points = np.zeros((1, 17, 3), np.float32)
    points[0, 0] = [100, 60, 1]
    points[0, [5, 6], :2], points[0, [5, 6], 2] = at, 1
    if hips:
        points[0, [11, 12]] = [[126, 190, 1], [74, 190, 1]]
    return points


def box(bottom: float) -> Float32Array:
    return np.array([[50, 30, 150, bottom]], np.float32)


def face() -> tuple[Float32Array, Float32Array]:
    """A face that fills the image, its shoulders at the very edge."""
    return np.array([[20, 10, 180, 240]], np.float32), joints(at=((176, 232), (24, 232)))


def cut_off() -> tuple[Float32Array, Float32Array]:
    return box(150), joints()


CHEST = Placement("chest", "area", 0.65)


def test_a_print_of_somebody_cut_off_is_as_large_as_of_the_same_person_whole_and_cut_where_they_are() -> None:
    whole = CHEST.prints(people_of(box(190), joints(hips=True)), image=IMAGE)
    cut = CHEST.prints(people_of(*cut_off()), image=(200, 150))
    np.testing.assert_allclose(cut.quads, whole.quads, atol=1e-3)
    # From 3 cm below the shoulders, and no farther than the body is in the image.
    assert cut.quads[0, 0, 1] == pytest.approx(96) and cut.bounds.tolist() == box(150).tolist()
    image = np.full((150, 200, 3), 200, np.uint8)
    rows = np.nonzero((render(image, patch_of((0, 0, 0), "black"), cut) != 200).any((1, 2)))[0]
    assert rows.min() == 96 and rows.max() == 149


@pytest.mark.parametrize("target", ["chest", "portrait", "tshirt", "outfit"])
def test_whoever_shows_no_chest_wears_nothing(target: str) -> None:
    cloth = target in ("tshirt", "outfit")
    place = Placement(target, scale=None if cloth else 0.6, size_cm=(20.0, 20.0) if cloth else None)  # type: ignore[arg-type]
    boxes, points = (np.concatenate(pair) for pair in zip(face(), cut_off(), strict=True))
    people = people_of(boxes, points)
    assert place.dresses(people, IMAGE).tolist() == [False, True]
    assert set(place.prints(people, np.random.default_rng(0), image=IMAGE).person.tolist()) == {1}
    # A poster lies where the box says, on everybody, as published figures have it.
    assert len(Placement("poster", scale=0.35).prints(people, image=IMAGE)) == 2


def test_without_joints_a_box_that_the_lower_edge_cuts_off_has_its_print_below_the_head() -> None:
    upper_body = people_of(np.array([[45, 30, 155, 150]], np.float32))
    hung = CHEST.prints(upper_body, image=(200, 150))
    # By the width, 2 pixels a centimetre: shoulders at 90, the print from just below.
    assert hung.quads[0, 0, 1] == pytest.approx(96) and hung.bounds.tolist() == upper_body.xyxy.tolist()
    # One that ends within the image is somebody who sits or bends: it lies in the middle of the box, as before.
    middle = CHEST.prints(upper_body, image=IMAGE).quads[0, :, 1].mean()
    assert middle == pytest.approx(30 + 0.42 * 120)
    # So low that next to nothing of it would be left.
    head = people_of(np.array([[45, 30, 155, 110]], np.float32))
    assert not CHEST.dresses(head, (200, 110)).any() and len(CHEST.prints(head, image=(200, 110))) == 0


def faces_and_others(n: int = 2) -> list[LabelledImage]:
    """Images (240, 200) of one person each; in the last their chest is out of sight."""
    people = [(box(239), joints())] * (n - 1) + [face()]
    rng = np.random.default_rng(0)
    return [
        LabelledImage(f"{i}.png", rng.integers(0, 255, (240, 200, 3), np.uint8), *one) for i, one in enumerate(people)
    ]


def test_whoever_shows_no_chest_is_counted_apart_and_named() -> None:
    data, patch = Dataset(faces_and_others(3)), patch_of((9, 9, 9), "p")
    settings = EvaluateSettings(resamples=20)
    scorer = Scorer(data, BlobDetector(min_conf=0.001), settings, placements=[CHEST])
    cells = [scorer.score(Entry("none", None, None)), scorer.score(Entry("patch", "p", patch, CHEST, of=patch))]
    for cell in cells:
        assert cell.counted == {"n_images": 3, "n_people": 2, "n_unworn": 1} and len(cell.cases) == 2
        assert any("1 of 3 people show no chest" in doubt and "2.png" in doubt for doubt in cell.doubts)
    # Not a pixel of them is changed.
    assert (scorer.wear(scorer.data.images[2], Entry("patch", "p", patch, CHEST)) == data.images[2].pixels).all()
    posters = Scorer(data, BlobDetector(min_conf=0.001), settings, placements=[Placement("poster", scale=0.35)])
    assert posters.score(Entry("none", None, None)).counted == {"n_images": 3, "n_people": 3}
    score = HeldOutPeople(data.images, BlobDetector(min_conf=0.001), CHEST).score(patch)
    assert (score.n_people, score.n_unworn, score.plain()["n_unworn"]) == (2, 1, 1)


def test_nobody_is_trained_on_whose_chest_is_out_of_sight() -> None:
    images = faces_and_others()
    views = CropSampler(images, framing="webcam", placements=PlacementRange())
    assert views.rows == [(0, 0)]
    batch = views.batch(8, 96, np.random.default_rng(0))
    assert batch.prints.person.tolist() == list(range(len(batch.boxes)))
    assert (batch.prints.quads[:, 0, 1] > batch.boxes[:, 1].numpy()).all()
    # In the street prints are scored by the box, and trained so.
    assert CropSampler(images, framing="street", placements=PlacementRange()).rows == [(0, 0), (1, 0)]
    with pytest.raises(DataError, match="none of 1 people shows the chest"):
        CropSampler(images[1:], framing="webcam", placements=PlacementRange())


def test_the_demo_counts_whoever_shows_no_chest() -> None:
    boxes, points = (np.concatenate(pair) for pair in zip(face(), cut_off(), strict=True))
    people = Detections(boxes, np.array([0.9, 0.9], np.float32), points)
    overlay = Overlay(patch_of((9, 9, 9), "p"), lit=False)
    overlay.apply(np.full((240, 200, 3), 200, np.uint8), people)
    assert overlay.unworn == 1 and overlay.on.tolist() == cut_off()[0].tolist()


def test_recordings_that_are_compared_name_whoever_shows_no_chest() -> None:
    moments = np.arange(20) / 10
    found = tuple(
        Detections(np.concatenate([face()[0], box(239) + 300]), np.array([0.9, 0.9], np.float32)) for _ in moments
    )
    chests = tuple(np.array([i > 15, True]) for i in range(20))
    answers = Answers(moments, moments, np.zeros(20, bool), found, chests, (), "")
    people, short = follow(answers, 0.25)
    assert [person.shows_chest for person in people] == [False, True] and short == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_as_many_views_before_a_webcam_as_asked_for_end_at_the_chest(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of somebody who is whole in the image; and their heads are in these views."""
    monkeypatch.setattr("physadv.attack.crops.CUT_AT_CHEST", share)
    aside = np.array([100, 0, 0], np.float32)
    whole = LabelledImage("w", np.zeros((480, 400, 3), np.uint8), box(400) + aside[[0, 1, 0, 1]], joints() + aside)
    views = CropSampler([whole], framing="webcam", placements=PlacementRange())
    drawn = [views._frame(whole, 0, True, 128, np.random.default_rng(seed)) for seed in range(40)]
    tops, ends = (np.array([centre[1] + half / scale for scale, centre in drawn]) for half in (-64, 64))
    # Shoulders at 90, 2 pixels a centimetre, the top of the head at 30.
    low, high = (90 + 2 * cm for cm in CUT_CM)
    if share:
        assert low - 0.1 <= ends.min() and ends.max() <= high + 0.1 and tops.min() >= -0.1 and tops.max() <= 30.1
    else:
        assert ends.max() > high + 20
