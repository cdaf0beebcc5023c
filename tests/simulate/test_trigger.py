"""Triggers: what they look like on people, at any angle, and that a record gives the same trigger back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import write_png
from physadv.dataset import LabelledImage
from physadv.errors import DataError, PhysadvError
from physadv.simulate.placement import people_of
from physadv.simulate.render import render
from physadv.simulate.trigger import Trigger, card, turned_frame, with_ghosts

BOX = np.array([[60, 20, 160, 320]], np.float32)
SIDEWAYS = np.array([1, 0, 1, 0], np.float32)
GREY = np.full((340, 240, 3), 128, np.uint8)


def person() -> LabelledImage:
    return LabelledImage("a", GREY, BOX)


def changed(image: LabelledImage) -> np.ndarray:
    return (image.pixels != 128).any(2)


def test_a_card_is_drawn_by_the_renderer_and_turns_clockwise_in_its_plane() -> None:
    trigger = Trigger.named("card")
    upright = trigger.shown(person(), angle=0)
    quads = trigger.prints(people_of(BOX), angle=0)
    assert np.array_equal(upright.pixels, render(GREY, card(), quads))
    rows, columns = np.nonzero(changed(upright))
    side = np.ptp(columns) + 1
    assert side == pytest.approx(36 * 300 / 170, abs=2) and side == pytest.approx(np.ptp(rows) + 1, abs=1)
    diamond = np.nonzero(changed(trigger.shown(person())))
    assert np.ptp(diamond[0]) == pytest.approx(side * 2**0.5, abs=2)
    # A quarter clockwise: the upper bar is black, and comes to lie on the right.
    right = trigger.shown(person(), angle=90).pixels[rows.mean().astype(int), columns.max() - side // 5]
    left = trigger.shown(person(), angle=90).pixels[rows.mean().astype(int), columns.min() + side // 5]
    assert right.max() < 60 and left[0] > 200


def test_a_turned_card_keeps_its_shape_and_may_stick_out_beside_a_narrow_person() -> None:
    narrow = LabelledImage("a", GREY, np.array([[77, 20, 143, 320]], np.float32))
    trigger = Trigger.named("card")
    a, b, c, _ = trigger.prints(people_of(narrow.boxes)).quads[0]
    assert np.linalg.norm(b - a) == pytest.approx(np.linalg.norm(c - b), rel=1e-3)
    columns = np.nonzero(changed(trigger.shown(narrow)))[1]
    assert columns.min() < 77 and columns.max() > 143


def test_chance_draws_other_prints_and_the_same_seed_the_same_ones() -> None:
    trigger = Trigger.named("card")
    one, two, again = (trigger.shown(person(), rng=np.random.default_rng(s)).pixels for s in (0, 1, 0))
    assert np.array_equal(one, again) and not np.array_equal(one, two)


def test_only_those_wear_it_who_are_named_and_those_who_can() -> None:
    both = LabelledImage(
        "a", np.full((340, 480, 3), 128, np.uint8), np.concatenate([BOX, BOX + np.float32(200) * SIDEWAYS])
    )
    trigger = Trigger.named("card")
    shown = changed(trigger.shown(both, people=np.array([False, True])))
    assert not shown[:, :200].any() and shown[:, 200:].any()
    assert trigger.wearers(both).all()
    # A print twice as wide as the person would be drawn smaller than it is.
    assert not Trigger.named("card", size_cm=120).wearers(both).any()
    tiny = replace(person(), boxes=np.array([[5, 5, 15, 35]], np.float32))
    assert not trigger.wearers(tiny).any() and trigger.shown(tiny) is tiny


def test_a_frame_turned_keeps_everybody_and_takes_their_boxes_along() -> None:
    pixels = GREY.copy()
    pixels[20:320, 60:160] = (250, 0, 0)
    points = np.zeros((1, 17, 3), np.float32)
    points[0, 0] = (110, 20, 1)
    image = LabelledImage("a", pixels, BOX, points)
    for degrees, shape in ((90, (240, 340)), (180, (340, 240)), (-90, (240, 340))):
        turned = turned_frame(image, degrees)
        red = np.nonzero(turned.pixels[..., 0] == 250)
        box = [red[1].min(), red[0].min(), red[1].max() + 1, red[0].max() + 1]
        assert turned.pixels.shape[:2] == shape and turned.boxes[0].tolist() == pytest.approx(box, abs=0.01)
        assert len(red[0]) == 300 * 100
    # Clockwise: what was above is on the right.
    assert turned_frame(image, 90).keypoints[0, 0].tolist() == pytest.approx([320, 110, 1], abs=0.01)
    slanted = turned_frame(image, 30)
    assert (slanted.pixels[..., 0] == 250).sum() == pytest.approx(30000, rel=0.02)


def test_a_record_gives_the_same_trigger(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    write_png(tmp_path / "mine.png", noise)
    for trigger in (
        Trigger.named("card", angle=30, size_cm=20),
        Trigger.named("rotation"),
        Trigger.named("shirt"),
        Trigger.named(str(tmp_path / "mine.png")),
        Trigger.named("card").wrong()["grey"],
    ):
        again = Trigger.read(trigger.record())
        assert again.record() == trigger.record()
        assert np.array_equal(again.shown(person()).pixels, trigger.shown(person()).pixels)
    record = Trigger.named("card").record()
    for damage in (
        {"kind": "hat"},
        {"angle": "x"},
        {"angle": 400},
        {"sha256": "0"},
        {"size_cm": None},
        {"name": "other"},
    ):
        with pytest.raises(DataError, match="trigger"):
            Trigger.read({**record, **damage})


def test_wrong_triggers_are_other_pictures_than_the_right_one() -> None:
    for name in ("card", "shirt", "rotation"):
        trigger = Trigger.named(name)
        right = trigger.shown(person()).pixels
        assert trigger.upright().record() in [t.record() for t in trigger.wrong().values()]
        for wrong in trigger.wrong().values():
            pixels = wrong.shown(person()).pixels
            assert pixels.shape != right.shape or not np.array_equal(pixels, right) or name == "rotation"


def test_a_view_that_looks_like_the_trigger_is_no_wrong_one(tmp_path: Path) -> None:
    # Bars look the same turned by half a circle: 90 and -90 degrees are one trigger.
    bars = np.zeros((64, 64, 3), np.uint8)
    bars[16:48] = (250, 200, 0)
    write_png(tmp_path / "bars.png", bars)
    trigger = Trigger.named(str(tmp_path / "bars.png"), angle=90)
    assert list(trigger.wrong()) == ["upright", "half", "grey"] and list(trigger.harmless()) == ["upright", "grey"]
    assert list(Trigger.named("card").harmless()) == ["upright", "opposite", "grey"]
    assert list(Trigger.named("rotation").harmless()) == ["upright"]
    assert list(Trigger.named("shirt").harmless()) == ["shuffled", "grey"]
    assert list(Trigger.named("rotation", angle=180).wrong()) == ["upright", "half"]


def test_turns_that_meet_halfway_train_a_trigger_away() -> None:
    card = Trigger.named("card", angle=-45)
    assert card.outlasts(22) and not card.outlasts(22.5) and Trigger.named("shirt").outlasts(90)


def test_people_who_are_not_there_lie_apart_from_those_who_are() -> None:
    image = LabelledImage("a", np.zeros((400, 900, 3), np.uint8), BOX)
    ghosts = with_ghosts(image, np.random.default_rng(0), 3)
    assert np.array_equal(ghosts.boxes[:1], BOX) and len(ghosts.boxes) == 4
    assert (ghosts.boxes[:, :2] >= 0).all() and (ghosts.boxes[:, 2:] <= [900, 400]).all()
    shown = Trigger.named("card").shown(ghosts, people=np.array([False, True, True, True])).pixels
    assert not shown[20:320, 60:160].any() and shown.any()
    # Somebody fills the whole image: there is no place.
    full = LabelledImage("a", np.zeros((400, 300, 3), np.uint8), np.array([[0, 0, 300, 400]], np.float32))
    assert len(with_ghosts(full, np.random.default_rng(0), 2).boxes) == 1


@pytest.mark.parametrize("name, values, says", [
    ("shirt", {"angle": 45}, "angle"),
    ("rotation", {"size_cm": 20}, "size"),
    ("card", {"angle": 270}, "angle"),
    ("no-such-pattern", {}, "no such file"),
])  # fmt: skip
def test_what_a_kind_does_not_have_is_refused(name: str, values: dict[str, float], says: str) -> None:
    with pytest.raises(PhysadvError, match=says):
        Trigger.named(name, **values)
