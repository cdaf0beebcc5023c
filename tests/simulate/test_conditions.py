"""Patterns land where the rule says, antialiased, and the grid changes what it names and nothing else."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tiny import standing

from physadv.boxes import Letterbox
from physadv.dataset import LabelledImage
from physadv.patch import Patch
from physadv.simulate.conditions import FOLDS, PLAIN, ROBUST, Condition, apply_patch, chance_of, filmed
from physadv.simulate.geometry import HINGE
from physadv.simulate.placement import Placement, people_of
from physadv.types import UInt8Array
from tests.evaluate.conftest import patch_of, scene_of

BIG, SMALL = (100, 20, 180, 220), (300, 10, 308, 30)
RED = patch_of((250, 10, 20))


AT_BOX = Placement("poster", scale=0.35)
HALF = Placement("poster", scale=0.5)


def drawn(
    patch: Patch | None, placement: Placement, scene: LabelledImage, condition: Condition = PLAIN, *, seed: int = 0
) -> UInt8Array:
    """The scene with the patch on everybody who counts."""
    rng = chance_of(scene.name, seed=seed, condition=condition)
    return apply_patch(scene.pixels, people_of(scene.targets), patch, placement, condition, rng=rng, imgsz=640)


def red(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 200) & (pixels[..., 1] < 60)


@pytest.mark.parametrize(
    ("rule", "scale", "side"),
    [("area", 0.35, 0.35 * (80 * 200) ** 0.5), ("diagonal", 0.2, 0.2 * (80**2 + 200**2) ** 0.5), ("height", 0.25, 50)],
)
def test_side_and_centre_follow_the_rule(rule: str, scale: float, side: float) -> None:
    scene = scene_of(BIG, SMALL)
    out = drawn(RED, Placement("poster", rule, scale), scene)  # type: ignore[arg-type]
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
    out = drawn(checks, AT_BOX, scene_of(BIG))
    middle = out[94:114, 130:150].astype(float)
    assert abs(middle.mean() - 127) < 3 and middle.std() < 4


def test_the_same_scene_gets_the_same_pixels_and_the_grid_is_seeded() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    patch = Patch("noise", noise, np.full((64, 64), 255, np.uint8), (300, 300))
    scene = scene_of(BIG)
    plain = drawn(patch, HALF, scene)
    assert len({c.name for c in ROBUST}) == len(ROBUST) == 16
    for condition in ROBUST:
        once, again, other_seed = (drawn(patch, HALF, scene, condition, seed=s) for s in (0, 0, 7))
        assert np.array_equal(once, again) and np.array_equal(once, other_seed), condition.name
        assert not np.array_equal(once, plain), condition.name
    other = drawn(patch, HALF, scene_of(BIG, name="other.png"), ROBUST[10])
    assert not np.array_equal(other, drawn(patch, HALF, scene, ROBUST[10]))


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


def turned(quad: np.ndarray, condition: Condition) -> np.ndarray:
    """The corners of a flat square print under a condition."""
    prints = HALF.prints(people_of(np.array([[0, 0, 10, 10]], np.float32)))
    return condition.turned(replace(prints, quads=quad[None]), 1.0).quads[0]


def test_pose_turns_and_foreshortens() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    np.testing.assert_allclose(turned(square, Condition("t", turn=90)), square[[1, 2, 3, 0]], atol=1e-4)
    tilted = turned(square, Condition("y", yaw=30))
    width = tilted[1, 0] - tilted[0, 0]
    assert 8.3 < width < 9.0, "cos 30 of the width, about"
    left, right = tilted[3, 1] - tilted[0, 1], tilted[2, 1] - tilted[1, 1]
    assert left > right, "the side turned away looks smaller"
    np.testing.assert_array_equal(turned(square, PLAIN), square)
    edge = square * np.array([0, 1], np.float32)
    np.testing.assert_array_equal(turned(edge, Condition("t", turn=90)), edge)


def test_bending_keeps_the_outline() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    patch, scene = Patch("noise", noise, np.full((64, 64), 255, np.uint8), (300, 300)), scene_of(BIG)
    flat, bent = (drawn(patch, HALF, scene, c) for c in (PLAIN, Condition("b", bend=0.1)))
    outline = (flat != scene.pixels).any(2)
    assert (outline != (bent != scene.pixels).any(2)).sum() < 0.01 * outline.sum()
    moved = np.abs(flat[outline].astype(int) - bent[outline]).mean()
    assert moved > 20


def test_a_round_pattern_keeps_what_its_mask_leaves_open() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[:16] = 255
    half = Patch("half", RED.pixels.copy(), mask, (300, 300))
    whole, part = (red(drawn(p, replace(AT_BOX, scale=0.4), scene_of(BIG))).sum() for p in (RED, half))
    assert 0.4 < part / whole < 0.6


GRID = {condition.name: condition for condition in ROBUST}
WIDE = scene_of((100, 40, 300, 340), size=(400, 380))


def worn(name: str, patch: Patch = RED) -> np.ndarray:
    """A large print under a condition of the grid."""
    return drawn(patch, HALF, WIDE, GRID.get(name, PLAIN))


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
    out = drawn(None, HALF, step_of(), GRID[f"blur {sigma} px"])
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
    torso = Placement("tshirt")
    scene, other = scene_of(BIG), scene_of(BIG, name="other.png")
    first, second = drawn(shirt, torso, scene), drawn(shirt, torso, other)
    assert np.array_equal(first, drawn(shirt, torso, scene)), "the same image gets the same cut"
    changed = (first != second).any(2)
    worn = (first != scene.pixels).any(2)
    assert changed.sum() > 0.2 * worn.sum(), "another image another"
    assert not np.array_equal(first, drawn(shirt, torso, scene, Condition("bend", bend=0.2)))
    assert not np.array_equal(first, drawn(shirt, torso, scene, Condition("dark", brightness=-0.2)))
    flat = apply_patch(scene.pixels, people_of(scene.targets), shirt, torso, rng=None, imgsz=640)
    edges = (np.abs(np.diff(flat[62:112, 115:165, 0].astype(int), axis=1)) > 100).sum(0)
    assert set(edges) == {0, 50}, "without chance cloth lies flat: its stripes are straight"


def test_sleeves_move_with_the_front() -> None:
    condition = Condition("c", turn=20, yaw=30)
    flat = Placement("tshirt", size_cm=(20.0, 20.0)).prints(people_of(WIDE.boxes, standing(WIDE.boxes)))
    pose = condition.turned(flat, 46 / 61)
    assert len(flat) == len(pose) == 3
    # One perspective map takes all three pieces from where they were to where they are.
    matrix = cv2.getPerspectiveTransform(flat.quads[0], pose.quads[0])
    mapped = cv2.perspectiveTransform(flat.quads.reshape(1, -1, 2), matrix)[0]
    np.testing.assert_allclose(mapped, pose.quads.reshape(-1, 2), atol=0.05)
    assert np.abs(pose.quads - flat.quads).max() > 5


def test_a_fold_shortens_the_lower_part_of_a_tall_print_and_no_other() -> None:
    tall = replace(RED, size_mm=(360.0, 720.0), target="portrait")
    placement, scene = Placement("poster", scale=0.5, at=0.5), scene_of(BIG)
    rows = [np.nonzero(red(drawn(tall, placement, scene, c)).any(1))[0] for c in (PLAIN, *FOLDS)]
    assert len({int(each.min()) for each in rows}) == 1, "the upper edge stays"
    ends = [int(each.max()) for each in rows]
    assert ends == sorted(ends, reverse=True) and len(set(ends)) == 4
    assert (ends[0] - ends[3]) / (ends[0] - int(rows[0].min())) == pytest.approx(
        0.5 * (1 - sum(HINGE) / 2) / 2, abs=0.02
    )
    for other in (RED, replace(tall, target="poster")):
        assert np.array_equal(drawn(other, placement, scene, FOLDS[2]), drawn(other, placement, scene))
