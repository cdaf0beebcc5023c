"""A print takes light, blur and noise of the cloth under it, within bounds; where that is not asked for it is flat."""

import cv2
import numpy as np
import pytest

from physadv.patch import load_patch
from physadv.simulate.conditions import PLAIN, ROBUST, apply_patch
from physadv.simulate.fast_render import fast_render
from physadv.simulate.lit import BRIGHTEST, DARKEST, DIMMEST, VEIL, Lit, lit_of
from physadv.simulate.placement import Placement, Prints, people_of
from physadv.types import Float32Array, UInt8Array

BOX: Float32Array = np.array([[20.0, 10.0, 180.0, 290.0]], np.float32)
PRINTS = Placement("poster", scale=0.4).prints(people_of(BOX))


def scene(
    blur: tuple[float, float] = (0.0, 0.0), noise: float = 0.0, light: Float32Array | float = 1.0, low: float = 0.0
) -> UInt8Array:
    """Edges all over, grey cloth where the print will be, as a camera of that blur, noise and light sees it."""
    blocks = np.random.default_rng(1).choice(np.array([30, 240], np.uint8), (25, 17))
    fine = np.asarray(cv2.resize(blocks, (200 * 4, 300 * 4), interpolation=cv2.INTER_NEAREST), np.float32)
    fine[100 * 4 : 190 * 4, 50 * 4 : 150 * 4] = 120
    if max(blur):
        fine = np.asarray(
            cv2.GaussianBlur(fine, (0, 0), 4 * max(blur[0], 0.01), sigmaY=4 * max(blur[1], 0.01)), np.float32
        )
    seen = cv2.resize(fine, (200, 300), interpolation=cv2.INTER_AREA)[..., None] * light
    seen = np.repeat(low + seen * (255 - low) / 255, 3, axis=2)
    return np.clip(seen + np.random.default_rng(2).normal(0, noise, (*seen.shape[:2], 1)), 0, 255).astype(np.uint8)


def read(image: UInt8Array) -> Lit:
    return lit_of(image, BOX, PRINTS)[0]


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize("blur", [(0.6, 0.6), (1.2, 1.2), (1.5, 0.4), (0.4, 1.5), (2.0, 2.0), (3.0, 3.0), (2.5, 1.0)])
def test_blur_is_read_along_each_axis_whatever_the_noise(blur: tuple[float, float], noise: float) -> None:
    assert read(scene(blur, noise)).blur == pytest.approx(blur, abs=0.4, rel=0.25)


@pytest.mark.parametrize("noise", [0.0, 3.0, 6.0])
def test_noise_is_read(noise: float) -> None:
    assert float(read(scene((0.6, 0.6), noise)).noise[0]) == pytest.approx(noise, rel=0.35, abs=0.5)


def test_light_is_read_within_bounds() -> None:
    bright, dim, dark = (read(scene(light=factor)) for factor in (1.0, 0.7, 0.1))
    assert bright.high.min() > 230 and dim.high.mean() < 0.85 * 255
    assert dark.high.mean() == pytest.approx(255 * DIMMEST), "never darker, whatever the cloth"
    hazy = read(scene(low=40))
    assert 30 < hazy.low[0] <= VEIL and bright.low[0] <= 32
    warm = scene()
    warm[..., 2] = (warm[..., 2] * 0.6).astype(np.uint8)
    assert read(warm).high[2] < read(warm).high[0] and read(warm).high[2] > 0.6 * 255


def test_shading_is_a_smooth_surface_and_no_motif() -> None:
    across = np.linspace(0.6, 1.0, 200, dtype=np.float32)[None, :, None]
    shading = read(scene(light=across)).shading
    assert (np.diff(shading.mean(0)) > 0).all() and shading[:, -1].mean() / shading[:, 0].mean() == pytest.approx(
        1.28, 0.1
    )
    striped = scene()
    striped[100:190, 50:150:8] = 10
    striped[100:190, 54:150:8] = 250
    assert np.ptp(read(striped).shading) < 0.25
    half = scene()
    half[100:190, 50:100] = 5
    assert read(half).shading.min() >= DARKEST and read(half).shading.max() <= BRIGHTEST


def changed(image: UInt8Array, lit: bool) -> UInt8Array:
    """The middle of the print, of a black and white pattern."""
    fine = np.kron(np.indices((12, 12)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    patch = load_patch("street")
    board = type(patch)("board", np.repeat(fine[..., None], 3, 2), np.full((96, 96), 255, np.uint8), (360.0, 360.0))
    return fast_render(image, board, PRINTS, lit_of(image, BOX, PRINTS) if lit else {})[105:175, 60:140]


def test_a_print_is_drawn_as_the_cloth_under_it_is_seen() -> None:
    sharp, soft, noisy = scene((0.5, 0.5)), scene((2.0, 0.5)), scene((0.5, 0.5), 6.0)
    flat = changed(sharp, lit=False)
    assert (changed(soft, lit=False) == flat).all() and flat.min() == 0 and flat.max() == 255

    def slope(image: UInt8Array, axis: int) -> float:
        return float(np.abs(np.diff(image[..., 0].astype(int), axis=axis)).max())

    assert slope(changed(soft, lit=True), 1) < 0.6 * slope(changed(sharp, lit=True), 1)
    assert slope(changed(soft, lit=True), 0) > 0.7 * slope(changed(sharp, lit=True), 0), "blurred along one axis alone"
    grain = [
        float(np.median(np.abs(np.diff(changed(i, lit=True)[..., 0].astype(int), axis=1)))) for i in (sharp, noisy)
    ]
    assert grain[0] <= 1 and 3 < grain[1] < 12
    ink = changed(noisy, lit=True)
    assert (ink == changed(noisy, lit=True)).all(), "the same image gives the same pixels"
    assert changed(scene(light=0.6), lit=True).mean() < 0.9 * flat.mean()


def test_nothing_is_drawn_far_beyond_the_print_and_nobody_without_a_print_is_read() -> None:
    image = scene((2.0, 2.0))
    out = fast_render(image, load_patch("webcam"), PRINTS, lit_of(image, BOX, PRINTS))
    where = np.argwhere((out != image).any(2))[:, ::-1]
    low, high = PRINTS.quads[0].min(0), PRINTS.quads[0].max(0)
    assert (where.min(0) > low - 8).all() and (where.max(0) < high + 8).all()
    none: Prints = PRINTS.pick(np.zeros(0, np.int64))
    assert lit_of(image, BOX, none) == {} and lit_of(image, BOX, PRINTS, people=[]) == {}


def test_an_evaluation_is_flat_unless_asked_and_the_grid_stays_flat() -> None:
    image, patch, placement = scene((1.5, 1.5), light=0.7), load_patch("street"), Placement("poster", scale=0.4)

    def worn(lit: bool, condition: object = PLAIN) -> UInt8Array:
        return apply_patch(
            image, people_of(BOX), patch, placement, condition, rng=np.random.default_rng(0), imgsz=320, lit=lit  # type: ignore[arg-type]
        )  # fmt: skip

    flat, lit = worn(lit=False), worn(lit=True)
    assert (flat == apply_patch(image, people_of(BOX), patch, placement, rng=None, imgsz=320)).all()
    assert np.abs(flat.astype(int) - lit).max() > 30 and (lit == worn(lit=True)).all()
    turned = next(c for c in ROBUST if c.name == "rotation 10")
    assert (worn(lit=True, condition=turned) == worn(lit=False, condition=turned)).all()
