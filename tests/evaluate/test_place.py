"""Patterns land where the rule says, antialiased, and the grid changes what it names and nothing else."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from physadv.attack.score import Placing, wear
from physadv.boxes import Letterbox
from physadv.dataset import LabelledImage
from physadv.detect.tiny import standing
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


@pytest.mark.parametrize("chest", [False, True])
@pytest.mark.parametrize("person", [(100, 20, 180, 220), (40, 60, 75, 150)])
def test_training_and_evaluation_put_the_same_pattern_on_the_same_person(chest: bool, person: tuple[int, ...]) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(colours, (192, 192), interpolation=cv2.INTER_CUBIC), np.uint8)
    patch = Patch("p", pixels, np.full((192, 192), 255, np.uint8), (300.0, 300.0))
    scene = scene_of(person)  # type: ignore[arg-type]
    scene = replace(scene, keypoints=standing(scene.boxes))
    scored = wear(patch, scene, scene.counts, Placing("area", 0.5, 0.42, chest=chest), seed=0).astype(int)
    shown = Dresser(patch, Placement("area", 0.5, "chest" if chest else 0.42), 0, 640).apply(scene, 0).astype(int)
    worn = (scored != scene.pixels).any(2)
    assert (worn != (shown != scene.pixels).any(2)).sum() < 0.02 * worn.sum()
    apart = np.abs(scored - shown)[worn]
    # Half a pixel of offset makes these 12 and 60.
    assert apart.mean() < 4 and np.percentile(apart, 99) < 20


def test_the_grid_is_the_same_whatever_the_seed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    patch = Patch("noise", noise, np.full((64, 64), 255, np.uint8), (300, 300))
    for condition in ROBUST:
        one, other = (
            Dresser(patch, Placement("area", 0.5, 0.42), s, 640).apply(scene_of(BIG), 3, condition) for s in (0, 7)
        )
        assert np.array_equal(one, other), condition.name


@pytest.mark.parametrize("condition", [c for c in ROBUST if c.of_image], ids=lambda c: c.name)
def test_a_large_photograph_is_worsened_at_the_size_at_which_it_is_seen(condition: Condition) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    small = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5), np.uint8)
    large = np.asarray(cv2.resize(small, (1120, 840), interpolation=cv2.INTER_LINEAR), np.uint8)

    def seen(pixels: UInt8Array) -> np.ndarray:
        return Letterbox.fit(pixels.shape[1], pixels.shape[0], 160).apply(pixels).astype(float)

    as_small, as_large = seen(filmed(small, condition, 160)), seen(filmed(large, condition, 160))
    changed = np.abs(as_small - seen(small)).mean()
    assert np.abs(as_large - as_small).mean() < 0.2 * changed, "the detector sees the same of either"
    # An image that is not larger is changed in its own pixels, whatever the detector makes of it.
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


GRID = {condition.name: condition for condition in ROBUST}
WIDE = scene_of((100, 40, 300, 340), size=(400, 380))


def worn(name: str, patch: Patch = RED) -> np.ndarray:
    """A large print under a condition of the grid."""
    return Dresser(patch, Placement("area", 0.5, 0.42), 0, 640).apply(WIDE, 0, GRID.get(name, PLAIN))


def step_of(width: int = 80) -> LabelledImage:
    """An image black at the left and white at the right, with nobody in it."""
    scene = scene_of(size=(width, 40))
    pixels = np.zeros_like(scene.pixels)
    pixels[:, width // 2 :] = 255
    return replace(scene, source=pixels)


@pytest.mark.parametrize("degrees", [10, 20])
def test_rotation_turns_the_print_by_its_degrees(degrees: int) -> None:
    y, x = np.nonzero(red(worn(f"rotation {degrees}", replace(RED, size_mm=(400.0, 200.0)))))
    (xx, xy), (_, yy) = np.cov(x, y)
    assert np.degrees(np.arctan2(2 * xy, xx - yy) / 2) == pytest.approx(degrees, abs=0.5)


@pytest.mark.parametrize("degrees", [15, 30])
def test_yaw_foreshortens_the_width_and_keeps_the_height(degrees: int) -> None:
    plain, turned = red(worn("")), red(worn(f"yaw {degrees}"))
    wide, high = (turned.any(axis).sum() / plain.any(axis).sum() for axis in (0, 1))
    assert wide == pytest.approx(np.cos(np.radians(degrees)), abs=0.02)
    # The edge that comes nearer is a little higher, by its distance to the eye.
    assert high == pytest.approx(7 / (7 - np.sin(np.radians(degrees))), abs=0.02)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_occlusion_hides_its_share_of_the_print(share: float) -> None:
    fine = patch_of((250, 10, 20), side=256)
    under = WIDE.pixels[..., 0].astype(float)
    hidden, plain = (
        ((worn(name, fine)[..., 0] - under) / (250 - under)).sum() for name in (f"occlusion .{share * 10:.0f}", "")
    )
    assert 1 - hidden / plain == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("sigma", [1, 2])
def test_blur_spreads_an_edge_by_its_pixels(sigma: int) -> None:
    out = Dresser(None, Placement("area", 0.5, 0.42), 0, 640).apply(step_of(), 0, GRID[f"blur {sigma} px"])
    slope = np.diff(out[20, :, 0].astype(float)) / 255
    at = np.arange(len(slope)) - slope @ np.arange(len(slope))
    assert np.sqrt(slope @ at**2) == pytest.approx(sigma, rel=0.05)


def test_compression_is_that_of_an_encoder_at_quality_60() -> None:
    _, data = cv2.imencode(".jpg", worn("")[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None and np.array_equal(worn("JPEG 60"), decoded[..., ::-1])


def test_half_resolution_keeps_means_of_two_pixels_and_loses_what_is_finer() -> None:
    fine = scene_of(size=(64, 64))
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    out = filmed(np.repeat(board[..., None], 3, 2), GRID["half resolution"], 640)
    assert np.abs(out.astype(int) - 128).max() <= 1
    pairs = np.repeat((np.arange(64) // 8 % 2 * 200).astype(np.uint8)[None], 64, 0)
    kept = filmed(np.repeat(pairs[..., None], 3, 2), GRID["half resolution"], 640)
    assert kept.shape == fine.pixels.shape and np.abs(kept[:, 3::8].astype(int) - pairs[:, 3::8, None]).max() <= 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("brightness -.1", 75), ("brightness +.1", 126), ("contrast .8", 106), ("contrast 1.2", 95)],
)
def test_light_changes_the_prints_colours_by_its_amount(name: str, expected: int) -> None:
    middle = worn(name, patch_of((100, 100, 100)))[40 + 126, 200]
    assert np.abs(middle.astype(int) - expected).max() <= 1


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


def test_sleeves_are_posed_with_the_front() -> None:
    shirt = replace(RED, target="tshirt")
    points = standing(WIDE.boxes)
    condition = Condition("c", turn=20, yaw=30)
    flat = CutWorn(shirt, PLAIN, np.random.default_rng(0)).pieces(WIDE.boxes[0], points[0])
    pose = CutWorn(shirt, condition, np.random.default_rng(0)).pieces(WIDE.boxes[0], points[0])
    assert len(flat) == len(pose) == 3 and [cut for _, cut in flat] == [cut for _, cut in pose]
    # One perspective map takes all three pieces from where they were to where they are.
    corners, moved = (np.concatenate([quad for quad, _ in worn]) for worn in (flat, pose))
    matrix = cv2.getPerspectiveTransform(flat[-1][0], pose[-1][0])
    mapped = cv2.perspectiveTransform(corners[None], matrix)[0]
    np.testing.assert_allclose(mapped, moved, atol=0.05)
    assert np.abs(moved - corners).max() > 5
