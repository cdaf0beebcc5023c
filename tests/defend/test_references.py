"""Defences from papers beside what their authors' code, or the library it calls, gives for the same images.

The numbers were computed once with scikit-image 0.26 (`denoise_wavelet`, BayesShrink in YCbCr; `denoise_tv_chambolle` run
to its end) and with an independent PyTorch implementation of local gradients smoothing (unfold, mean, fold).
"""

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.defend import parse_pipeline
from physadv.defend.lgs import LocalGradientSmoothing
from physadv.defend.pixel_deflection import deflected, denoised
from physadv.defend.total_variation import TotalVariation, flattening
from physadv.errors import DefenceError
from physadv.types import UInt8Array

Colours = list[list[float]]
Y, X = np.mgrid[0:145, 0:205]
CLEAN: UInt8Array = np.stack(
    [(X * 3 + Y) % 256, np.where((X // 29 + Y // 31) % 2 == 0, 60, 190), (X * X // 97 + Y * 2) % 256], -1
).astype(np.uint8)
GRAIN = np.random.default_rng(0).normal(0, 0.06 * 255, CLEAN.shape)
NOISY: UInt8Array = np.clip(CLEAN + GRAIN, 0, 255).round().astype(np.uint8)
PLACES = [(0, 0), (30, 29), (72, 100), (144, 204), (100, 7)]


def psnr(image: UInt8Array) -> float:
    return float(10 * np.log10(255**2 / ((image.astype(float) - CLEAN) ** 2).mean()))


@pytest.mark.parametrize(
    ("sigma", "decibels", "colours"),
    [
        (
            0.03,
            25.69,
            [
                [4.1, 57.1, 12.5],
                [120.1, 191.6, 80.2],
                [118.3, 207.7, 255],
                [219.0, 188.9, 185.0],
                [137.1, 223.4, 196.6],
            ],
        ),
        (
            0.06,
            29.10,
            [
                [1.4, 49.5, 7.6],
                [116.5, 169.0, 74.6],
                [116.5, 200.2, 249.6],
                [219.1, 188.7, 185.1],
                [129.4, 213.9, 208.0],
            ],
        ),
        (
            0.10,
            24.95,
            [
                [9.2, 60.5, 13.6],
                [107.4, 105.4, 64.0],
                [117.5, 189.5, 255],
                [219.2, 188.1, 185.3],
                [120.9, 201.0, 209.9],
            ],
        ),
    ],
)
def test_wavelets_denoise_as_the_reference_does(sigma: float, decibels: float, colours: Colours) -> None:
    out = denoised(NOISY, sigma)
    assert psnr(out) == pytest.approx(decibels, abs=0.02)
    np.testing.assert_allclose([out[place] for place in PLACES], colours, atol=1.1)


def test_as_many_pixels_are_replaced_as_asked_for_and_by_neighbours_within_the_window() -> None:
    height, width, window = 60, 80, 3
    numbers = np.arange(height * width)
    image = np.stack([numbers % 256, numbers // 256, np.zeros_like(numbers)], -1).reshape(height, width, 3)
    spared = np.zeros((height, width), np.float32)
    spared[:, 40:] = 1
    for chance, where in ((None, slice(0, 80)), (1 - spared, slice(0, 40))):
        out = deflected(image.astype(np.uint8), 400, window, chance, np.random.default_rng(0)).astype(int)
        y, x = np.nonzero((out != image).any(2))
        # Drawn twice, or replaced by itself: a few of the 400 do not show; those spared are drawn again elsewhere.
        assert 340 < len(y) <= 400 and set(x) <= set(range(80)[where])
        place = out[y, x, 0] + 256 * out[y, x, 1]
        reach = np.maximum(abs(place // width - y), abs(place % width - x))
        assert reach.max() == window, "the window's parameter is how far it reaches, half of its side"
    everything = np.zeros((height, width), np.float32)
    assert np.array_equal(deflected(image.astype(np.uint8), 400, 3, everything, np.random.default_rng(0)), image)


@pytest.mark.parametrize(
    ("weight", "removed", "colours"),
    [
        (
            0.05,
            13.297,
            [
                [9.5, 56.1, 11.7],
                [116.6, 174.9, 69.1],
                [116.1, 190.4, 242.6],
                [231.9, 185.3, 196.1],
                [121.7, 194.3, 203.3],
            ],
        ),
        (
            0.10,
            14.296,
            [
                [13.8, 61.3, 14.3],
                [116.7, 164.9, 68.7],
                [115.0, 187.1, 237.2],
                [227.2, 176.9, 189.9],
                [121.2, 188.6, 203.6],
            ],
        ),
    ],
)
def test_total_variation_takes_away_what_the_reference_does(weight: float, removed: float, colours: Colours) -> None:
    exact = TotalVariation(weight=weight, rounds=200).view(NOISY, np.random.default_rng(0), BlobDetector()).pixels
    np.testing.assert_allclose([exact[place] for place in PLACES], colours, atol=2.5)
    planes = np.ascontiguousarray(NOISY.transpose(2, 0, 1), np.float32)
    usual, whole = (flattening(planes, weight * 255, rounds) for rounds in (TotalVariation().rounds, 200))
    assert float((whole**2).mean()) ** 0.5 == pytest.approx(removed, rel=0.003)
    assert float(((usual - whole) ** 2).mean() / (whole**2).mean()) < 0.03, "the usual rounds leave little to do"


def spoilt() -> UInt8Array:
    """A smooth image with a square of noise and stripes at the right."""
    out = np.stack([60 + X // 3, 90 + Y // 3, 120 + (X + Y) // 6], -1)
    out[40:100, 60:130] += np.random.default_rng(0).integers(-60, 60, (60, 70, 3))
    out[:, 150:] += np.where(X[:, 150:] % 12 < 6, 0, 70)[..., None]
    return np.clip(out, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("threshold", "mean", "colours"),
    [
        (
            0.1,
            113.31,
            [[13.8, 28.1, 25.7], [24.3, 29.9, 83.3], [42.9, 91.0, 124.0], [111.1, 94.4, 147.5], [63, 93, 123]],
        ),
        (0.2, 119.28, [[13.8, 28.1, 25.7], [24.3, 29.9, 83.3], [74, 157, 214], [113, 96, 150], [63, 93, 123]]),
    ],
)
def test_gradients_are_smoothed_as_in_the_reference(threshold: float, mean: float, colours: Colours) -> None:
    image = spoilt()
    defence = LocalGradientSmoothing(threshold=threshold)
    assert (defence.block, defence.overlap, defence.smoothing, LocalGradientSmoothing().threshold) == (15, 5, 2.3, 0.1)
    out = defence.view(image, np.random.default_rng(0), BlobDetector()).pixels
    assert float(out.mean()) == pytest.approx(mean, abs=0.05)
    places = [(50, 80), (70, 100), (99, 129), (20, 160), (10, 10)]
    np.testing.assert_allclose([out[place] for place in places], colours, atol=0.6)


@pytest.mark.parametrize("block", [14, 15])
def test_blocks_end_where_they_should_and_with_the_image(block: int) -> None:
    image = np.full((70, 70, 3), 128, np.uint8)
    image[-8:, -8:] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    defence = LocalGradientSmoothing(block=block, overlap=0, threshold=0.05)
    rows, columns = np.nonzero((defence.view(image, np.random.default_rng(0), BlobDetector()).pixels != image).any(2))
    assert len(rows) > 40 and min(rows.min(), columns.min()) >= 61, "also where no whole number of blocks fits"
    with pytest.raises(DefenceError, match="overlap"):
        parse_pipeline("lgs:block=10+overlap=10")
