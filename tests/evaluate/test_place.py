"""Patterns land where the rule says, antialiased, and the grid changes what it names and nothing else."""

import cv2
import numpy as np
import pytest

from physadv.detect.boxes import Letterbox
from physadv.evaluate.place import (
    CLOTH,
    PLAIN,
    ROBUST,
    Condition,
    CutWorn,
    Dresser,
    Placement,
    bent,
    covered,
    filmed,
    posed,
)
from physadv.patch import Patch
from physadv.types import UInt8Array
from tests.evaluate.conftest import patch_of, scene_of

BIG, SMALL = (100, 20, 180, 220), (300, 10, 308, 30)
RED = patch_of((250, 10, 20))


def red(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 200) & (pixels[..., 1] < 60)


@pytest.mark.parametrize(
    ("rule", "scale", "side"),
    [("area", 0.35, 0.35 * (80 * 200) ** 0.5), ("diagonal", 0.2, 0.2 * (80**2 + 200**2) ** 0.5), ("height", 0.25, 50)],
)
def test_side_and_centre_follow_the_rule(rule: str, scale: float, side: float) -> None:
    scene = scene_of(BIG, SMALL)
    out = Dresser(RED, Placement(rule, scale, 0.42), 0, 640).apply(scene, 0)  # type: ignore[arg-type]
    y, x = np.nonzero(red(out))
    assert abs(np.sqrt(len(x)) - side) < 1.5
    assert abs(x.mean() + 0.5 - 140) < 0.6 and abs(y.mean() + 0.5 - (20 + 0.42 * 200)) < 0.6
    untouched = np.ones(out.shape[:2], bool)
    untouched[int(y.min()) - 2 : int(y.max()) + 3, int(x.min()) - 2 : int(x.max()) + 3] = False
    assert np.array_equal(out[untouched], scene.pixels[untouched]), "small people and everything else stay as they are"


def test_shrinking_averages_instead_of_picking_texels() -> None:
    fine = np.indices((256, 256)).sum(0) % 2 * 255
    checks = Patch(
        "checks", np.repeat(fine[..., None], 3, 2).astype(np.uint8), np.full((256, 256), 255, np.uint8), (1, 1)
    )
    out = Dresser(checks, Placement("area", 0.35, 0.42), 0, 640).apply(scene_of(BIG), 0)
    middle = out[94:114, 130:150].astype(float)
    assert abs(middle.mean() - 127) < 3 and middle.std() < 4


def test_the_same_scene_gets_the_same_pixels_and_the_grid_is_seeded() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    patch = Patch("noise", noise, np.full((64, 64), 255, np.uint8), (300, 300))
    scene, place = scene_of(BIG), Placement("area", 0.5, 0.42)
    plain = Dresser(patch, place, 0, 640).apply(scene, 3)
    assert len({c.name for c in ROBUST}) == len(ROBUST) == 16
    for condition in ROBUST:
        a, b = (
            Dresser(patch, place, 0, 640).apply(scene, 3, condition),
            Dresser(patch, place, 0, 640).apply(scene, 3, condition),
        )
        assert np.array_equal(a, b), condition.name
        assert not np.array_equal(a, plain), condition.name
    other = Dresser(patch, place, 0, 640).apply(scene, 4, ROBUST[10])
    assert not np.array_equal(other, Dresser(patch, place, 0, 640).apply(scene, 3, ROBUST[10]))


def test_the_grid_is_the_same_whatever_the_seed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    patch = Patch("noise", noise, np.full((64, 64), 255, np.uint8), (300, 300))
    for condition in ROBUST:
        one, other = (
            Dresser(patch, Placement("area", 0.5, 0.42), s, 640).apply(scene_of(BIG), 3, condition) for s in (0, 7)
        )
        assert np.array_equal(one, other), condition.name


@pytest.mark.parametrize("condition", [c for c in ROBUST if c.of_picture], ids=lambda c: c.name)
def test_a_large_photograph_is_worsened_at_the_size_at_which_it_is_seen(condition: Condition) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    small = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5), np.uint8)
    large = np.asarray(cv2.resize(small, (1120, 840), interpolation=cv2.INTER_LINEAR), np.uint8)

    def seen(pixels: UInt8Array) -> np.ndarray:
        return Letterbox.fit(pixels.shape[1], pixels.shape[0], 160).apply(pixels).astype(float)

    as_small, as_large = seen(filmed(small, condition, 160)), seen(filmed(large, condition, 160))
    changed = np.abs(as_small - seen(small)).mean()
    assert np.abs(as_large - as_small).mean() < 0.2 * changed, "the detector sees the same of either"
    # A picture that is not larger is changed in its own pixels, whatever the detector makes of it.
    assert np.array_equal(filmed(small, condition, 160), filmed(small, condition, 4000))
    assert filmed(large, condition, 160).shape == large.shape


def test_pose_turns_and_foreshortens() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    turned = posed(square, Condition("t", turn=90))
    np.testing.assert_allclose(turned, square[[1, 2, 3, 0]], atol=1e-4)
    tilted = posed(square, Condition("y", yaw=30))
    width = tilted[1, 0] - tilted[0, 0]
    assert 8.3 < width < 9.0, "cos 30 of the width, about"
    left, right = tilted[3, 1] - tilted[0, 1], tilted[2, 1] - tilted[1, 1]
    assert left > right, "the side turned away looks smaller"
    np.testing.assert_array_equal(posed(square, PLAIN), square)


def test_bending_keeps_the_outline_and_covering_hides_its_share() -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (60, 80, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    out = bent(rgba, 0.1, np.random.default_rng(0))
    assert out.shape == rgba.shape and np.array_equal(out[..., 3], rgba[..., 3])
    assert np.array_equal(bent(rgba, 0.0, np.random.default_rng(0))[5:-5, 5:-5, :3], rgba[5:-5, 5:-5, :3])
    hidden = covered(rgba, 0.25, np.random.default_rng(0))[..., 3] == 0
    assert abs(hidden.mean() - 0.25) < 0.02


def test_a_round_pattern_keeps_what_its_mask_leaves_open() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[:16] = 255
    half = Patch("half", RED.pixels.copy(), mask, (300, 300))
    whole, part = (
        red(Dresser(p, Placement("area", 0.4, 0.42), 0, 640).apply(scene_of(BIG), 0)).sum() for p in (RED, half)
    )
    assert 0.4 < part / whole < 0.6


def test_each_shirt_is_another_cut_of_the_texture_wrinkled() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, :32, 0] = 255
    shirt = Patch("stripes", stripes, np.full((64, 64), 255, np.uint8), (200.0, 200.0), "tshirt")
    dresser = Dresser(shirt, Placement("area", 0.35, "shirt"), 0, 640)
    scene = scene_of(BIG)
    first, second = dresser.apply(scene, 0), dresser.apply(scene, 1)
    assert np.array_equal(first, dresser.apply(scene, 0)), "the same scene gets the same cut"
    changed = (first != second).any(2)
    worn = (first != scene.pixels).any(2)
    assert changed.sum() > 0.2 * worn.sum(), "another scene another"
    assert not np.array_equal(first, dresser.apply(scene, 0, Condition("bend", bend=0.2)))
    assert not np.array_equal(first, dresser.apply(scene, 0, Condition("dark", brightness=-0.2)))


@pytest.mark.parametrize(("side", "size_mm"), [(1200, 400.0), (64, 1.0)])
def test_a_fine_texture_is_cut_no_finer_than_it_is_seen(side: int, size_mm: float) -> None:
    pixels = np.zeros((side, side, 3), np.uint8)
    shirt = Patch("fine", pixels, np.full((side, side), 255, np.uint8), (size_mm, size_mm), "tshirt")
    levels, _ = CutWorn(shirt, PLAIN, np.random.default_rng(0)).cloth(46, 61)
    assert max(levels[0].shape[:2]) <= 1.2 * CLOTH
