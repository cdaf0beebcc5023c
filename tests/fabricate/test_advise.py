"""Advice follows the optics, and a measured curve tells what a simulated camera will see."""

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from check_advise import simulate

from physadv.dataset import LabelledImage
from physadv.errors import FabricationError, PatchError
from physadv.evaluate.size_curve import (
    RELATIVE,
    WHOLE_PX,
    SizeCell,
    SizeTrial,
    Subject,
    Tried,
    measure,
    mirrored,
    shot,
    shots,
    table,
    worn,
)
from physadv.fabricate.advise import (
    CLEARLY,
    Expected,
    Optics,
    PrintInView,
    SizeCurve,
    advise,
    has_curve,
    instead_of,
    seen,
)
from physadv.patch import Patch, load_patch, shipped_names
from physadv.types import Detections, Frame, UInt8Array
from tests.detectors import FakeDetector

MAGENTA = Patch("magenta", np.full((16, 16, 3), (255, 0, 255), np.uint8), np.full((16, 16), 255, np.uint8), (400, 400))


def figure(number: int, *, tall: int = 640) -> Subject:
    """Return somebody drawn standing: green, of a shade by which the detector below tells people apart."""
    width = tall * 2 // 5
    pixels = np.full((tall + 40, tall + 40, 3), 90, np.uint8)
    x = (tall + 40 - width) // 2
    pixels[20 : 20 + tall, x : x + width] = (0, 120 + number, 0)
    points = np.zeros((17, 3), np.float32)
    cm, middle = tall / 170, x + width / 2
    for joint, (across, down) in {
        0: (0, 12), 5: (18, 30), 6: (-18, 30), 11: (12, 80), 12: (-12, 80), 15: (12, 168), 16: (-12, 168)
    }.items():  # fmt: skip
        points[joint] = (middle + across * cm, 20 + down * cm, 1)
    box = np.array([x, 20, x + width, 20 + tall], np.float32)
    return Subject(LabelledImage(str(number), pixels, box[None], points[None]), float(tall), True)


class ShadeDetector(FakeDetector):
    """Finds the green figure unless the magenta on it is large, in pixels and on the person; each has a limit."""

    name = "shade"

    def __init__(self, imgsz: int = 640) -> None:
        self.imgsz = imgsz

    def detect(self, frame: Frame) -> Detections:
        pixels: UInt8Array = frame.pixels
        scale = self.imgsz / max(pixels.shape[:2])
        if scale != 1:
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        person = (pixels[..., 1] > 110) & (pixels[..., 0] < 40)
        print_ = (pixels[..., 0] > 150) & (pixels[..., 1] < 60)
        if not person.any():
            return Detections.empty()
        number = int(np.median(pixels[..., 1][person])) - 120
        limit = 25 + 4 * (number % 20)
        if math.sqrt(np.count_nonzero(print_)) > limit:
            return Detections.empty()
        shown = person | print_
        xs, ys = np.flatnonzero(shown.any(0)), np.flatnonzero(shown.any(1))
        box = np.array([[xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]], np.float32) / scale
        return Detections(box, np.ones(1, np.float32) * 0.9)

    def detect_batch(self, images: Any) -> list[Detections]:
        return [self.detect(Frame(i, 0, 0, 0.0)) for i in images]


@pytest.fixture(scope="module")
def curve() -> dict[str, Any]:
    # What this detector says does not depend on where somebody stands: one shot of each is enough. Nor does it rise and
    # fall within the sizes, and nobody below stands farther away than 126 pixels.
    with pytest.MonkeyPatch.context() as once:
        for name, value in (("ENOUGH_SHOTS", 20), ("WHOLE_PX", WHOLE_PX[2:]), ("RELATIVE_CUT", RELATIVE)):
            once.setattr(f"physadv.evaluate.size_curve.{name}", value)
        return measure(MAGENTA, [figure(i) for i in range(20)], ShadeDetector())


def test_pinhole() -> None:
    optics = Optics.from_fov(1280, 720, 90, imgsz=640)
    view = seen(optics, distance_m=2, side_cm=40)
    assert view.side_px == pytest.approx(640 * 40 / 200 / 2)
    assert view.person_px == pytest.approx(640 * 170 / 200 / 2)
    assert view.shown == 1
    assert seen(optics, distance_m=0.5, side_cm=40).shown == pytest.approx(360 * 0.95 / (640 * 170 / 50 / 2))


@pytest.mark.parametrize(
    ("resolution", "distance"), [((640, 480), 1), ((640, 480), 2), ((640, 480), 3), ((640, 480), 5), ((1280, 720), 1)]
)
def test_the_curve_agrees_with_a_camera_within_ten_points(
    curve: dict[str, Any], resolution: tuple[int, int], distance: float
) -> None:
    optics = Optics.from_fov(*resolution, 60)
    assert any(0.3 < cell["asr"] < 0.7 for cell in curve["cells"])
    for size in (25.0, 40.0):
        expected = SizeCurve(curve).expected(seen(optics, distance_m=distance, side_cm=size)).asr
        people = [figure(i, tall=700) for i in range(20)]
        got = simulate(MAGENTA, people, ShadeDetector(), optics, distance_m=distance, side_cm=size).cell()
        assert got.n >= 15
        assert expected == pytest.approx(got.asr, abs=0.10)


@pytest.mark.parametrize("asr", [0.0, 0.25, 1.0])
def test_a_cell_reads_as_itself_however_few_people_it_holds(asr: float) -> None:
    cell = {"visible_px": 400, "shown": 1.0, "relative": 0.2, "n": 8, "asr": asr, "ci95": [0.9 * asr, asr]}
    found = SizeCurve({"cells": [cell]}).expected(PrintInView(person_px=400, shown=1.0, side_px=80, relative=0.2))
    assert (found.asr, found.low, found.high) == pytest.approx((asr, 0.9 * asr, asr))


def test_between_two_shares_a_print_is_compared_by_its_size_on_the_visible_part() -> None:
    cells = [
        {"visible_px": 400, "shown": shown, "relative": on_visible * shown, "n": 1000, "asr": asr, "ci95": [asr, asr]}
        for shown in (0.4, 0.8)
        for on_visible, asr in ((0.25, 0.1), (0.5, 0.9), (1.0, 0.2))
    ]
    for on_visible, asr in ((0.25, 0.1), (0.5, 0.9), (1.0, 0.2)):
        view = PrintInView(person_px=400 / 0.6, shown=0.6, side_px=400 * on_visible, relative=0.6 * on_visible)
        assert SizeCurve({"cells": cells}).expected(view).asr == pytest.approx(asr, abs=0.01)


def test_too_small_says_what_would_do(curve: dict[str, Any]) -> None:
    optics = Optics.from_fov(640, 480, 60)
    found = advise(SizeCurve(curve), optics, distance_m=4, width_cm=30)
    assert not found.enough and found.smallest_cm is not None and found.farthest_m is not None
    assert found.text == f"too small at 4 m: print at {found.smallest_cm:g} cm or stand at {found.farthest_m:g} m"
    for distance, width in ((4, found.smallest_cm), (found.farthest_m, 30)):
        again = advise(SizeCurve(curve), optics, distance_m=distance, width_cm=width)
        assert again.enough and again.text.startswith("large enough")


def test_a_pattern_that_never_works_is_called_so(curve: dict[str, Any]) -> None:
    cells = [{**c, "asr": 0.0, "ci95": [0.0, 0.1]} for c in curve["cells"]]
    found = advise(SizeCurve({**curve, "cells": cells}), Optics.from_fov(640, 480, 60), distance_m=3, width_cm=30)
    assert "not strong enough" in found.text and found.smallest_cm is None


def test_a_print_that_hides_more_when_smaller_is_called_too_large() -> None:
    cells = [
        {"visible_px": 400, "shown": 1.0, "relative": relative, "n": 100, "asr": asr, "ci95": [asr, asr]}
        for relative, asr in ((0.12, 0.2), (0.24, 0.8), (0.33, 0.1))
    ]
    found = advise(SizeCurve({"cells": cells}), Optics.from_fov(640, 480, 60), distance_m=2.35, width_cm=56)
    assert not found.enough and found.smallest_cm is not None and 20 < found.smallest_cm < 41
    assert found.text == f"too large at 2.35 m: print at {found.smallest_cm:g} cm"


def test_a_garment_is_as_large_as_its_wearer_so_only_the_distance_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.evaluate.size_curve.ENOUGH_SHOTS", 20)
    shirt = replace(MAGENTA, target="tshirt", size_mm=(200.0, 200.0))
    record = measure(shirt, [figure(i) for i in range(20)], ShadeDetector())
    curve, optics = SizeCurve(record), Optics.from_fov(640, 480, 60)
    assert curve.one_size and record["cells"][0]["relative"] == pytest.approx(20 / 170) and len(record["cells"]) >= 5
    near, far = (advise(curve, optics, distance_m=d, width_cm=20) for d in (1.5, 9))
    assert near.enough and near.farthest_m is not None and near.text == f"works at 1.5 m, up to {near.farthest_m:g} m"
    assert far.text == f"too far at 9 m: stand at {far.farthest_m:g} m" and far.smallest_cm is None
    assert advise(curve, optics, distance_m=1.5, width_cm=5, person_cm=190).expected == (
        advise(curve, optics, distance_m=1.5, width_cm=90, person_cm=190).expected
    )
    for distance in (1, 2, 5):
        got = simulate(shirt, [figure(i, tall=700) for i in range(20)], ShadeDetector(), optics, distance_m=distance,
                       side_cm=20).cell()  # fmt: skip
        assert curve.expected(seen(optics, distance_m=distance, side_cm=20)).asr == pytest.approx(got.asr, abs=0.1)


def test_a_tall_print_keeps_its_shape_in_every_cell_and_its_curve_agrees_with_a_camera(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("ENOUGH_SHOTS", 12), ("WHOLE_PX", (126.0, 190.0, 285.0, 440.0)), ("SHARES", ())):
        monkeypatch.setattr(f"physadv.evaluate.size_curve.{name}", value)
    tall = replace(MAGENTA, target="portrait", size_mm=(360.0, 720.0))
    near = shot(figure(3), person_px=300, frame=(640, 480), rng=np.random.default_rng(0))
    assert near is not None
    for relative in (0.12, 0.24):
        ys, xs = np.nonzero(worn(tall, near, relative=relative)[..., 0] > 150)
        wide, high = np.ptp(xs) + 1, np.ptp(ys) + 1
        assert high == pytest.approx(2 * wide, abs=3) and (wide * high) ** 0.5 == pytest.approx(
            relative * 300, rel=0.06
        )
    people = [figure(i) for i in range(12)]
    record = measure(tall, people, ShadeDetector())
    assert record["aspect"] == 2 and {c["relative"] for c in record["cells"]} >= {0.08, 0.33}
    optics = Optics.from_fov(640, 480, 60)
    for distance in (2, 5):
        got = simulate(tall, people, ShadeDetector(), optics, distance_m=distance, side_cm=36 * 2**0.5).cell()
        expected = SizeCurve(record).expected(seen(optics, distance_m=distance, side_cm=36 * 2**0.5))
        assert expected.asr == pytest.approx(got.asr, abs=0.1)


def test_people_are_placed_as_far_away_as_asked() -> None:
    rng = np.random.default_rng(0)
    far = shot(figure(3), person_px=120, frame=(640, 480), rng=rng)
    assert far is not None and far.image.pixels.shape == (480, 640, 3)
    (box,) = far.image.boxes
    assert box[3] - box[1] == pytest.approx(120, abs=1.5)
    near = shot(figure(3), person_px=900, frame=(640, 480), rng=rng)
    assert near is not None
    assert near.image.boxes[0, 3] == 480 and near.image.boxes[0, 1] == pytest.approx(24, abs=1.5)
    assert shot(replace(figure(3), whole=False), person_px=120, frame=(640, 480), rng=rng) is None


def test_somebody_mirrored_stands_on_the_other_side() -> None:
    whole = figure(3).image
    one = replace(whole, source=whole.pixels[:, 100:], boxes=whole.boxes - np.array([100, 0, 100, 0], np.float32))
    one.keypoints[..., 0] -= 100
    other = mirrored(Subject(one, 640.0, True)).image
    x1, y1, x2, y2 = (int(v) for v in other.boxes[0])
    inside = np.zeros(other.pixels.shape[:2], bool)
    inside[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(other.pixels[..., 1] > 110, inside)
    # The left shoulder is on the image's right before and after, and so is the left foot.
    for left, right in ((5, 6), (11, 12), (15, 16)):
        assert x1 < other.keypoints[0, right, 0] < (x1 + x2) / 2 < other.keypoints[0, left, 0] < x2
    again = mirrored(Subject(other, 640.0, True)).image
    np.testing.assert_array_equal(again.pixels, one.pixels)
    np.testing.assert_allclose(again.keypoints, one.keypoints)


def test_where_few_can_be_shown_each_is_shown_more_often() -> None:
    def drawn(people: list[Subject]) -> list[int]:
        rng = np.random.default_rng(0)
        return [len(one) for one in shots(people, person_px=200, frame=(640, 480), rng=rng)]

    few, many = [figure(i) for i in range(5)], [figure(i) for i in range(30)]
    cut = [replace(figure(i), whole=False) for i in range(30)]
    assert drawn(few) == [6] * 5
    assert drawn(many) == [2] * 30
    assert drawn([*few, *cut]) == [6] * 5 + [0] * 30


def test_shots_of_one_person_differ_in_place_and_side() -> None:
    one = figure(3)
    one.image.pixels[:, :100] = 200
    got = shots([one], person_px=200, frame=(640, 480), rng=np.random.default_rng(0))[0]
    assert len({tuple(s.image.boxes[0].round(1)) for s in got}) == len(got) == 6
    # The bright edge of the photograph is left of the person, then right.
    left = [int(np.nonzero((s.image.pixels == 200).all(2))[1].mean()) < s.image.boxes[0, 0] for s in got]
    assert left == [True, False] * 3


def test_a_person_counts_once_however_often_shown() -> None:
    tried = Tried(found=np.array([4, 2, 0, 1]), hidden=np.array([1, 2, 0, 0]))
    cell = tried.cell()
    assert cell == SizeCell(3, 1.25) and cell.asr == pytest.approx(1.25 / 3)
    assert tried.cell(np.array([True, False, True, True])) == SizeCell(2, 0.25)
    assert SizeCell(3, 1.25).ci95[1] - SizeCell(3, 1.25).ci95[0] > 0.6
    row = table({(200.0, 1.0, 0.2): Tried(np.full(5, 4), np.array([1, 0, 0, 0, 4]))}, ShadeDetector())["cells"][0]
    assert (row["n"], row["hidden"], row["asr"]) == (5, 1.25, 0.25)
    assert (
        SizeCurve({"cells": [row]}).expected(seen(Optics.from_fov(640, 480, 60), distance_m=5, side_cm=34)).people == 5
    )


def test_shots_without_a_person_found_bare_do_not_count() -> None:
    bare = shot(figure(3), person_px=400, frame=(640, 480), rng=np.random.default_rng(0))
    assert bare is not None
    empty = replace(bare, image=replace(bare.image, source=np.full_like(bare.image.pixels, 90)))
    tried = SizeTrial([[bare, empty], [empty], []], ShadeDetector()).wears(MAGENTA, 0.3)
    assert tried.found.tolist() == [1, 0, 0] and tried.hidden.tolist() == [1, 0, 0]
    assert tried.cell() == SizeCell(1, 1.0)


def test_a_camera_of_more_pixels_than_the_detector_is_given_shows_the_same_people() -> None:
    people = [figure(i, tall=400) for i in range(5)]
    counts = []
    for width, height in ((640, 480), (1920, 1440)):
        optics = Optics.from_fov(width, height, 60)
        counts.append(simulate(MAGENTA, people, ShadeDetector(), optics, distance_m=1, side_cm=40).cell().n)
    assert counts == [5, 5]


def test_wilson() -> None:
    assert SizeCell(20, 10).ci95 == pytest.approx((0.299, 0.701), abs=0.001)
    assert SizeCell(0, 0).ci95 == (0.0, 1.0)


@pytest.mark.parametrize("values", [{"distance_m": 0}, {"side_cm": 0}, {"side_cm": 1e9}, {"person_cm": 1}])
def test_absurd_numbers_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(FabricationError, match="expected"):
        seen(Optics.from_fov(640, 480, 60), **{"distance_m": 3.0, "side_cm": 30.0, **values})


def test_a_strip_is_advised_about_like_other_prints() -> None:
    curve = SizeCurve(load_patch("street").record["size_curve"])
    strip = advise(curve, Optics.from_fov(640, 480, 60), distance_m=3.0, width_cm=300.0, aspect=1 / 30)
    assert strip.expected.people and strip.text


@pytest.mark.parametrize(("width", "fov"), [(640, 0), (640, 180), (10, 60)])
def test_impossible_cameras_are_refused(width: int, fov: float) -> None:
    with pytest.raises(FabricationError):
        Optics.from_fov(width, 480, fov)


@pytest.mark.parametrize("record", [{}, {"cells": []}, {"cells": [{"n": 3}]}, {"cells": 7}])
def test_a_damaged_curve_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(PatchError, match="measure again"):
        SizeCurve(record)


def test_every_shipped_pattern_has_a_curve_and_the_best_there_is_named() -> None:
    # One that acts on a condition is never advised instead of another.
    patches = [patch for patch in map(load_patch, shipped_names()) if not patch.when]
    assert all(map(has_curve, patches))
    optics = Optics.from_fov(640, 480, 60)

    def expected(patch: Patch) -> Expected:
        side = math.sqrt(patch.size_mm[0] * patch.size_mm[1]) / 10
        return SizeCurve(patch.record["size_curve"]).expected(seen(optics, distance_m=1.0, side_cm=side))

    ranked = sorted(patches, key=lambda p: expected(p).asr)
    worst, best = ranked[0], ranked[-1]
    other = instead_of(worst, expected(worst), optics, distance_m=1.0)
    assert other is not None and other.patch.name == best.name and other.expected.asr >= expected(worst).asr + CLEARLY
    assert other.text.startswith(f"{best.name}") and "expected to hide more there" in other.text
    assert instead_of(best, expected(best), optics, distance_m=1.0) is None
