"""Prints keep their shape wherever they are put: as wide for their height as they are printed, as large as a square."""

from dataclasses import replace

import numpy as np
import pytest

from physadv.attack.crops import CropSampler
from physadv.attack.recipe import Recipe
from physadv.attack.timing import made_up
from physadv.dataset import LabelledImage
from physadv.evaluate.size_curve import Subject, worn
from physadv.live.overlay import Overlay
from physadv.patch import Patch
from physadv.simulate.conditions import ROBUST, apply_patch
from physadv.simulate.fast_render import fast_render
from physadv.simulate.garment import shirt_fronts
from physadv.simulate.placement import BODY, Placement, Where, chest_quads, people_of, square_quads
from physadv.simulate.render import render
from physadv.types import Detections, Float32Array

BOX = np.array([[10, 20, 90, 220]], np.float32)
SIDE = np.array([40], np.float32)
NO_POINTS = np.zeros((1, 17, 3), np.float32)
# Upright and seen from the front: shoulders 72 pixels apart, hips 100 below, so 2 pixels a centimetre both ways.
POINTS = NO_POINTS.copy()
POINTS[0, [5, 6, 11, 12]] = [[86, 60, 1], [14, 60, 1], [76, 160, 1], [24, 160, 1]]


def extent(quads: Float32Array) -> list[float]:
    """Width and height of upright quads."""
    return [round(float(v), 3) for v in np.ptp(quads[0], axis=0)]


def banner() -> Patch:
    return Patch("b", np.full((8, 8, 3), 9, np.uint8), np.full((8, 8), 255, np.uint8), (400.0, 100.0))


def test_prints_that_are_no_squares_keep_their_shape_and_area() -> None:
    assert extent(square_quads(BOX, SIDE, 0.4)) == [40, 40]
    assert extent(square_quads(BOX, SIDE, 0.4, aspect=4)) == [80, 20]
    for points in (NO_POINTS, POINTS):
        assert extent(chest_quads(BOX, points, side=SIDE)) == [40, 40]
        assert extent(chest_quads(BOX, points, side=SIDE, aspect=4)) == [80, 20]
    assert extent(chest_quads(BOX, POINTS, size_cm=(40, 10))) == [80, 20]
    wide, high = extent(chest_quads(BOX, NO_POINTS, size_cm=(40, 10)))
    assert wide / high == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("framing", ["street", "webcam"])
def test_patterns_are_trained_and_scored_in_the_shape_in_which_they_are_printed(framing: str) -> None:
    person = LabelledImage("a", np.zeros((240, 100, 3), np.uint8), BOX, POINTS)
    settings = Recipe(framing=framing, size_mm=(400, 100))  # type: ignore[arg-type]
    sampler = CropSampler([person], framing=settings.framing, placements=settings.placement_range)
    batch = sampler.batch(1, 128, np.random.default_rng(0))
    wide, high = extent(batch.prints.quads)
    assert wide / high == pytest.approx(4, abs=0.01)
    ((placement, _),) = settings.placements().values()
    placement = placement.shaped(banner())
    wide, high = extent(placement.prints(people_of(BOX, POINTS)).quads)
    assert wide / high == pytest.approx(4, abs=0.01) == placement.width / placement.height


@pytest.mark.parametrize("points", [NO_POINTS, POINTS], ids=["unseen", "seen"])
@pytest.mark.parametrize("box", [(10, 20, 90, 220), (10, 20, 190, 220)], ids=["standing", "cut off"])
def test_a_shirt_lies_in_the_same_place_in_training_and_in_the_demo(
    points: Float32Array, box: tuple[int, int, int, int]
) -> None:
    boxes = np.array([box], np.float32)
    shirt = replace(banner(), target="tshirt")
    people = people_of(boxes, points)
    prints = Overlay(shirt).placement.prints(people)
    scored = Placement("tshirt").shaped(shirt).prints(people, np.random.default_rng(0))
    worn = prints.quads
    np.testing.assert_array_equal(scored.quads, worn)
    np.testing.assert_array_equal(scored.window[:, 2:], prints.window[:, 2:])
    # From below the head, within the box.
    top, bottom = ((worn[0, corner, 1] - 20) / 200 for corner in (0, 3))
    assert 0.1 < top < 0.3 and 0.45 < bottom < 1


def test_size_curves_are_of_the_shape_in_which_patterns_are_printed() -> None:
    image = LabelledImage("a", np.full((240, 100, 3), 200, np.uint8), BOX, POINTS)
    shot = Subject(image, 200.0, True)
    rows, columns = np.nonzero(worn(banner(), shot, relative=0.2)[..., 0] < 100)
    assert (int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1) == (80, 20)


def test_a_portrait_hangs_by_shoulders_and_hips_and_lies_by_the_box_elsewhere() -> None:
    portrait = replace(banner(), target="portrait", size_mm=(300.0, 600.0))
    place = Placement.worn(portrait)
    prints = place.prints(people_of(BOX, POINTS))
    # Two pixels a centimetre: from 3 cm below the shoulders, whose line is at 60.
    assert prints.quads[0].tolist() == [[20, 66], [80, 66], [80, 186], [20, 186]]
    assert prints.bounds.tolist() == BOX.tolist()
    no_hips = POINTS * (np.arange(17) < 11)[None, :, None]
    by_box = place.prints(people_of(BOX, no_hips.astype(np.float32)))
    assert by_box.quads[0].mean(0).tolist() == [50, 120] and np.isinf(by_box.bounds).all(), "the middle of the box"
    cut = np.array([[10, 20, 90, 140]], np.float32)
    hung = place.prints(people_of(cut, no_hips.astype(np.float32)))
    assert hung.quads[0, 0, 1] == 66 and hung.bounds.tolist() == cut.tolist(), "of someone cut off below the face"
    upright = place.prints(people_of(BOX, POINTS), upright=np.array([True]))
    np.testing.assert_array_equal(upright.quads, by_box.quads)
    # In the street: .35 wide and .70 high, of the root of the box's area, in its middle.
    street = Placement("poster", scale=0.495, at=0.5).shaped(portrait).prints(people_of(BOX, POINTS))
    side = (80 * 200) ** 0.5
    np.testing.assert_allclose(extent(street.quads), [0.35 * side, 0.7 * side], rtol=1e-3)
    np.testing.assert_allclose(street.quads[0].mean(0), [50, 120], rtol=1e-6)


WHERE: tuple[Where, ...] = (0.3, *BODY)


def test_a_placement_is_named_as_reports_and_settings_name_it() -> None:
    for where in WHERE:
        assert Placement.of(where, "height", 0.2).where == where
    with pytest.raises(ValueError, match="one of scale and size_cm"):
        Placement("chest")
    with pytest.raises(ValueError, match="one of scale and size_cm"):
        Placement("chest", scale=0.3, size_cm=(40.0, 40.0))


def test_the_nearer_persons_print_lies_on_top_and_a_front_over_its_sleeves() -> None:
    boxes = np.concatenate([BOX, BOX + 30])
    points = np.concatenate([POINTS, POINTS + np.array([30, 30, 0], np.float32)])
    points[:, [7, 8]] = points[:, [5, 6]] + np.array([0, 50, 0], np.float32)
    points[:, [7, 8], 2] = 1
    prints = Placement("tshirt", size_cm=(20.0, 20.0)).prints(people_of(boxes, points))
    assert prints.person.tolist() == [0, 1, 0, 1, 0, 1] and sorted(prints.rank) == list(range(6))
    assert prints.rank[:2].tolist() == [2, 5], "each person's front over both sleeves, the lower person over the other"
    assert prints.bounds.tolist() == boxes[prints.person].tolist(), "nothing is drawn beyond its wearer"
    assert prints.arms[2:].max() == 0, "a forearm hides a front, and no sleeve"


def test_made_up_people_wear_prints_of_any_shape() -> None:
    settings = Recipe(target="poster", size_mm=(100, 400))
    scene = CropSampler(made_up(4), framing="street", placements=settings.placement_range).batch(
        4, 96, np.random.default_rng(0)
    )
    sides = np.ptp(scene.prints.quads, axis=1)
    np.testing.assert_allclose(sides[:, 1] / sides[:, 0], 4, rtol=1e-3)


def face_that_fills_the_image() -> tuple[Float32Array, Float32Array]:
    """Cropped to the head: shoulders farther apart than the box is wide, at its very bottom."""
    points = NO_POINTS.copy()
    points[0, [5, 6]] = [[600, 400, 0.9], [-60, 400, 0.9]]
    return np.array([[60, 20, 460, 470]], np.float32), points


@pytest.mark.parametrize("points", [NO_POINTS, POINTS, face_that_fills_the_image()[1]], ids=["unseen", "seen", "face"])
@pytest.mark.parametrize("aspect", [0.25, 1.0, 4.0])
def test_no_print_is_larger_than_its_wearer(points: Float32Array, aspect: float) -> None:
    for box in (BOX, np.array([[20, 20, 50, 220]], np.float32), face_that_fills_the_image()[0]):
        room = (box[:, 2:] - box[:, :2])[0]
        size = (80 * aspect**0.5, 80 / aspect**0.5)
        every = [
            square_quads(box, np.array([900], np.float32), 0.42, aspect=aspect),
            chest_quads(box, points, side=np.array([900], np.float32), aspect=aspect),
            chest_quads(box, points, size_cm=size),
            shirt_fronts(box, points),
        ]
        for quads in every:
            wide, high = extent(quads)
            assert wide <= room[0] + 0.01 and high <= room[1] + 0.01
            assert quads[0, :, 0].min() >= box[0, 0] - 0.01 and quads[0, :, 0].max() <= box[0, 2] + 0.01
        for quads in every[:3]:
            wide, high = extent(quads)
            assert wide / high == pytest.approx(aspect, rel=0.01)


def test_nothing_is_painted_beyond_the_wearer_and_a_head_wears_nothing() -> None:
    grey = np.full((480, 640, 3), 200, np.uint8)
    box, points = face_that_fills_the_image()
    points[0, [5, 6], 1] = 240
    for low, drawn in ((470, True), (450, False)):
        box[0, 3] = low
        out = Overlay(replace(banner(), size_mm=(600.0, 600.0))).apply(
            grey, Detections(box, np.array([0.9], np.float32), points)
        )
        rows, columns = np.nonzero((out != grey).any(2))
        assert bool(len(rows)) is drawn, "twelve centimetres below the shoulders are enough to be seen"
        if drawn:
            assert columns.min() >= 60 and columns.max() < 460 and rows.max() < low
    squarish, unseen = np.array([[60, 20, 460, 470]], np.float32), NO_POINTS
    out = Overlay(banner()).apply(grey, Detections(squarish, np.array([0.9], np.float32), unseen))
    assert (out == grey).all(), "a head without shoulders"


@pytest.mark.parametrize("odd", [(30, 40, 30, 40), (30, 40, 30, 90), (-1e8, -1e8, 1e8, 1e8), (np.nan,) * 4])
@pytest.mark.parametrize("points", [None, NO_POINTS, POINTS], ids=["no model", "unseen", "seen"])
@pytest.mark.parametrize("where", [0.42, *BODY])
@pytest.mark.filterwarnings("error")
def test_a_box_that_cannot_be_drawn_on_harms_nobody(
    odd: tuple[float, ...], points: Float32Array | None, where: Where
) -> None:
    grey = np.full((240, 120, 3), 200, np.uint8)
    placement = Placement.of(where, "area", 0.35).shaped(banner())
    both = np.concatenate([np.array([odd], np.float32), BOX])
    seen = None if points is None else np.concatenate([points * 0, points])
    alone, prints = (placement.prints(people_of(*p)) for p in ((BOX, points), (both, seen)))
    assert set(prints.person.tolist()) == {1}
    for draw in (render, fast_render):
        assert (draw(grey, banner(), prints) == draw(grey, banner(), alone)).all()
    for condition in ROBUST:
        rng = np.random.default_rng(0)
        assert apply_patch(grey, people_of(both, seen), banner(), placement, condition, rng=rng, imgsz=320).any()
