"""A cut is seen in the image in which it happens; shake, flashes and people who walk by are none."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from physadv.capture.cuts import Cuts
from physadv.capture.sample import SCENE_S, SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.types import UInt8Array

SIZES = [(480, 640), (720, 1280), (360, 203)]


def scene(seed: int, size: tuple[int, int] = (480, 640)) -> UInt8Array:
    """Made up: soft light, some things with edges, a little grain."""
    rng = np.random.default_rng(seed)
    h, w = size
    out = cv2.resize(rng.uniform(40, 200, (4, 5, 3)), (w, h), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        x, y = int(rng.integers(0, w)), int(rng.integers(0, h))
        corner = (x + int(rng.integers(w // 20, w // 4)), y + int(rng.integers(h // 20, h // 3)))
        cv2.rectangle(out, (x, y), corner, tuple(rng.uniform(0, 255, 3)), -1)
    return np.clip(out + rng.normal(0, 4, out.shape), 0, 255).astype(np.uint8)


def moved(image: UInt8Array, x: float, y: float, turn: float, zoom: float) -> UInt8Array:
    h, w = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), turn, zoom)
    matrix[:, 2] += (x * w, y * h)
    return cv2.warpAffine(image, matrix, (w, h), borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


def lit(image: UInt8Array, gain: float, more: float) -> UInt8Array:
    return np.clip(image.astype(np.float32) * gain + more, 0, 255).astype(np.uint8)


def passed_by(image: UInt8Array) -> UInt8Array:
    """Somebody in front of three fifths of the image."""
    out = image.copy()
    out[:, int(0.4 * out.shape[1]) :] = scene(99, (out.shape[0], out.shape[1]))[:, int(0.4 * out.shape[1]) :]
    return out


@pytest.mark.parametrize("size", SIZES)
def test_every_cut_among_unlike_scenes_is_seen_at_once(size: tuple[int, int]) -> None:
    scenes = [scene(seed, size) for seed in range(8)]
    cuts, steps = Cuts(), []
    for image in scenes:
        steps += [cuts.step(image), cuts.step(moved(image, 0.01, 0, 0.2, 1))]
    assert steps == ["on", "on", *["cut", "on"] * 7]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: moved(p, 0.06, -0.05, 2, 1.03),
        lambda p: lit(p, 1.8, 40),
        lambda p: lit(p, 0.35, 0),
        lambda p: cv2.blur(p, (p.shape[1] // 12, 1)),
        passed_by,
    ],
    ids=["shake", "flash", "light off", "motion blur", "somebody passes"],
)
def test_a_scene_goes_on_through(change: Callable[[UInt8Array], UInt8Array]) -> None:
    for seed in range(6):
        cuts, image = Cuts(), scene(seed)
        assert [cuts.step(p) for p in (image, change(image), image)] == ["on"] * 3, seed


def test_black_between_two_scenes_is_blank_and_what_follows_is_compared_across_it() -> None:
    black = np.zeros((480, 640, 3), np.uint8)
    cuts = Cuts()
    assert [cuts.step(p) for p in (scene(1), black, scene(1), black, scene(2))] == ["on", "blank", "on", "blank", "cut"]
    assert Cuts().step(scene(3)) == "on"


def test_the_samples_cuts_are_its_scenes_and_nothing_else() -> None:
    source = SampleSource(CaptureSettings(fps=6))
    cuts, each = Cuts(), round(6 * SCENE_S)
    found = [i for i in range(each * 7) if cuts.step(source.image(i)) == "cut"]
    assert found == [each * n for n in range(1, 7)]
