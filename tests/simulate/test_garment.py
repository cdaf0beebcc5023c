"""Clothes on bodies: trousers on the legs that are seen, cut from one length of cloth, in the right order."""

import numpy as np
import pytest

from physadv.simulate.conditions import Condition
from physadv.simulate.garment import (
    FRONT_CM,
    LOWER_LEG_CM,
    SIDE_CM,
    SLEEVE_CM,
    UPPER_LEG_CM,
    wears_trousers,
)
from physadv.simulate.placement import Placement, Prints, people_of
from physadv.types import Float32Array

# Somebody of 340 pixels, two a centimetre, from the front: shoulders 72 apart, hips 100 below them, legs of 76 and 76.
BOX = np.array([[40, 20, 200, 360]], np.float32)
POINTS = np.zeros((1, 17, 3), np.float32)
POINTS[0, [5, 6, 7, 8]] = [[156, 80, 1], [84, 80, 1], [170, 140, 1], [70, 140, 1]]
POINTS[0, [11, 13, 15]] = [[140, 180, 1], [140, 256, 1], [140, 332, 1]]
POINTS[0, [12, 14, 16]] = [[100, 180, 1], [100, 256, 1], [100, 332, 1]]
OUTFIT = Placement("outfit", size_cm=(20.0, 20.0))


def worn(points: Float32Array | None, box: Float32Array = BOX, *, seed: int | None = None) -> Prints:
    return OUTFIT.prints(people_of(box, points), None if seed is None else np.random.default_rng(seed))


def without(*joints: int) -> Float32Array:
    points = POINTS.copy()
    points[0, list(joints), 2] = 0.1
    return points


def cloth(prints: Prints) -> list[tuple[float, float]]:
    """Centimetres across and along of each print."""
    return [(round(float(w), 3), round(float(h), 3)) for w, h in prints.window[:, 2:] * 20]


def test_trousers_lie_on_thighs_and_shins_as_wide_as_legs_are() -> None:
    prints = worn(POINTS)
    assert cloth(prints) == [FRONT_CM, SLEEVE_CM, SLEEVE_CM, *[UPPER_LEG_CM] * 2, *[LOWER_LEG_CM] * 2]
    thigh, shin = prints.quads[3], prints.quads[5]
    # From above the hip, under the shirt, to the knee; upright, left before right, 20, 17 and 15 centimetres wide.
    np.testing.assert_allclose(thigh, [[120, 168], [160, 168], [157, 256], [123, 256]], atol=1e-3)
    np.testing.assert_allclose(shin, [[123, 256], [157, 256], [155, 336], [125, 336]], atol=1e-3)
    assert prints.part.tolist() == [0, 0, 0, 1, 2, 3, 4] or prints.part.tolist() == [0, 0, 0, 2, 1, 4, 3]
    assert prints.bounds.tolist() == BOX[prints.person].tolist() and prints.arms[1:].max() == 0


def test_the_shirt_hangs_over_the_trousers_and_the_nearer_leg_over_the_other() -> None:
    points = POINTS.copy()
    points[0, [13, 15], 1] += 8
    rank = worn(points).rank
    front, sleeves, (near, far), (near_shin, far_shin) = rank[0], rank[1:3], rank[3:5], rank[5:7]
    assert front > sleeves.max() > near > near_shin > far > far_shin
    # Of two people the one who stands lower is wholly in front.
    both = worn(np.concatenate([points, POINTS + np.array([30, 20, 0], np.float32)]), np.concatenate([BOX, BOX + 20]))
    assert both.rank[both.person == 1].min() > both.rank[both.person == 0].max()


def test_a_shin_goes_on_with_the_cloth_of_its_thigh() -> None:
    prints = worn(POINTS, seed=0)
    begin, length = prints.window[:, :2], prints.window[:, 3]
    for thigh, shin in ((3, 5), (4, 6)):
        assert begin[shin, 0] == begin[thigh, 0]
        off = (begin[thigh, 1] + length[thigh] - begin[shin, 1]) % 1
        assert min(off, 1 - off) <= 1 / 16, "to an eighth of the period"
        np.testing.assert_allclose(prints.quads[shin][:2], prints.quads[thigh][[3, 2]])
    assert len({tuple(b) for b in begin[:5].tolist()}) == 5, "other pieces are cut anywhere"


@pytest.mark.parametrize(
    ("unseen", "legs"),
    [((), 4), ((15,), 3), ((13,), 2), ((11, 12), 0), ((13, 14, 15, 16), 0), ((5, 6), 4), ((5, 6, 11), 0)],
    ids=["none", "an ankle", "a knee", "hips", "below the hips", "shoulders", "shoulders and a hip"],
)
def test_a_leg_needs_its_hip_and_knee_and_a_shin_its_ankle(unseen: tuple[int, ...], legs: int) -> None:
    cut = np.array([[40, 20, 240, 360]], np.float32)
    prints = worn(without(*unseen), cut)
    lengths = [size for size in cloth(prints) if size not in (FRONT_CM, SLEEVE_CM)]
    assert len(lengths) == legs and bool(wears_trousers(cut, without(*unseen))[0]) is bool(legs)
    assert cloth(prints)[0] == FRONT_CM


@pytest.mark.parametrize("points", [None, np.zeros((1, 17, 3), np.float32)], ids=["no model", "nothing seen"])
def test_by_the_box_somebody_who_stands_wears_trousers_and_somebody_cut_off_the_shirt(
    points: Float32Array | None,
) -> None:
    prints = worn(points)
    assert cloth(prints) == [FRONT_CM, *[UPPER_LEG_CM] * 2, *[LOWER_LEG_CM] * 2]
    shirt, legs = prints.quads[0], prints.quads[1:]
    assert legs[:2, :2, 1].max() < shirt[2, 1] and 320 < legs[2:, 2:, 1].max() <= 340, (
        "no gap below the shirt, to the ankles"
    )
    # A narrow box has a short shirt, and trousers that reach it.
    narrow = worn(points, np.array([[40, 20, 100, 360]], np.float32)).quads
    assert narrow[1:3, :2, 1].max() < narrow[0, 2, 1]
    assert cloth(worn(points, np.array([[40, 20, 240, 240]], np.float32))) == [FRONT_CM]
    assert not wears_trousers(np.array([[40, 20, 240, 240]], np.float32), points)[0]


def test_a_bent_leg_is_covered_at_the_knee() -> None:
    points = POINTS.copy()
    # Somebody who sits, from the side: thighs level, shins down.
    points[0, [13, 14], :2], points[0, [15, 16], :2] = [[64, 180], [60, 180]], [[64, 256], [60, 256]]
    thigh, shin = worn(points).quads[[3, 5]]
    assert thigh[:, 0].min() < 64 - 10, "beyond the knee's joint, so that no wedge stays open"
    assert abs(np.ptp(thigh[:2, 1]) - 40) < 1e-3 and abs(np.ptp(shin[2:, 0]) - 30) < 1e-3
    # Slightly bent ones share their edge.
    points[0, [13, 14], 0], points[0, [13, 14], 1] = points[0, [11, 12], 0] - 30, 250
    points[0, [15, 16], 0], points[0, [15, 16], 1] = points[0, [11, 12], 0], 326
    thigh, shin = worn(points).quads[[3, 5]]
    np.testing.assert_allclose(shin[:2], thigh[[3, 2]])


def test_somebody_seen_from_the_side_wears_a_shirt_as_wide_as_a_side() -> None:
    points = POINTS.copy()
    points[0, [5, 6], 0], points[0, [11, 12], 0] = [123, 117], [121, 119]
    front = worn(points).quads[0]
    wide = np.linalg.norm(front[1] - front[0])
    assert wide == pytest.approx(2 * SIDE_CM, rel=0.05)
    assert front[0, 0] < front[1, 0] and front[0, 1] < front[3, 1], "neither mirrored nor upside down"
    shirt = Placement("tshirt", size_cm=(20.0, 20.0)).prints(people_of(BOX, points)).quads[0]
    assert np.linalg.norm(shirt[1] - shirt[0]) < 10, "a T-shirt by itself is its front alone"


def test_legs_are_turned_by_themselves_and_sleeves_with_the_shirt() -> None:
    prints = worn(POINTS)
    turned = Condition(turn=20).turned(prints, FRONT_CM[0] / FRONT_CM[1])
    moved = np.linalg.norm(turned.quads.mean(1) - prints.quads.mean(1), axis=1)
    assert moved[0] < 2 and moved[1:3].min() > 5 and moved[3:].max() < 2


def test_no_joint_out_of_place_makes_trousers_huge() -> None:
    points = POINTS.copy()
    points[0, 13, :2] = [140, 3000]
    prints = worn(points)
    widths = np.linalg.norm(prints.quads[3:, 1] - prints.quads[3:, 0], axis=1)
    assert widths.max() <= 20 * 340 / 100 + 1e-3
