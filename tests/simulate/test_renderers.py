"""The live demo's renderer draws what scoring and evaluation are of, on every pattern that physadv comes with."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tiny import standing

from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.detect import load_detector
from physadv.patch import Patch, load_patch, shipped_names
from physadv.simulate.fast_render import fast_render
from physadv.simulate.placement import Placement, people_of, wears
from physadv.simulate.render import render
from physadv.types import Detections, Frame, UInt8Array

Scenes = list[tuple[UInt8Array, Detections]]
# Of 255, mean and 99th percentile over the pixels that either changes.
MEAN, P99 = 1.5, 8


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """People of the built-in sample, near and in the street, and one drawn at each of six heights on noise."""
    detector, camera = load_detector(backend="torch", imgsz=320), SampleSource(CaptureSettings())
    out: Scenes = []
    for number in (0, 480):
        pixels = camera.image(number)
        found = detector.detect(Frame(pixels, 0, 0, 0.0))
        out.append((pixels, found.pick(wears(found))))
    noise = np.random.default_rng(0).integers(0, 256, (520, 260, 3), dtype=np.uint8)
    for height in (60, 90, 140, 220, 330, 500):
        box = np.array([[20.3, 7.6, 20.3 + 0.42 * height, 7.6 + height]], np.float32)
        points = standing(box)
        # One shoulder lower than the other, so that nothing lies along the rows.
        points[0, 5, 1] += 0.03 * height
        out.append((noise, people_of(box, points)))
    assert all(len(people) for _, people in out)
    return out


def apart(pixels: UInt8Array, patch: Patch, people: Detections, placement: Placement) -> tuple[float, float]:
    prints = placement.prints(people)
    exact, fast = (draw(pixels, patch, prints).astype(int) for draw in (render, fast_render))
    changed = (exact != pixels).any(2) | (fast != pixels).any(2)
    assert changed.any()
    difference = np.abs(exact - fast)[changed]
    return float(difference.mean()), float(np.percentile(difference, 99))


@pytest.mark.parametrize("name", shipped_names())
def test_both_renderers_draw_a_shipped_pattern_alike(name: str, scenes: Scenes) -> None:
    patch = load_patch(name)
    others = [Placement("outfit")] if patch.tiles else [Placement("poster", scale=0.35), Placement("chest", scale=0.65)]
    places = [Placement.worn(patch), *(other.shaped(patch) for other in others)]
    for pixels, people in scenes:
        for place in places:
            mean, p99 = apart(pixels, patch, people, place)
            assert mean <= MEAN and p99 <= P99, (people.xyxy[:, 3] - people.xyxy[:, 1], place)


def test_both_renderers_draw_a_masked_banner_alike(scenes: Scenes) -> None:
    blobs = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(blobs, (200, 100), interpolation=cv2.INTER_CUBIC), np.uint8)
    mask = np.zeros((100, 200), np.uint8)
    cv2.ellipse(mask, (100, 50), (95, 45), 0, 0, 360, 255, -1, cv2.LINE_AA)
    banner = Patch("banner", pixels, mask, (400.0, 200.0))
    for image, people in scenes:
        mean, p99 = apart(image, banner, people, Placement("chest", scale=0.4).shaped(banner))
        # The mask's edge is a pixel wide, on noise: 1.1 and 14 on the smallest person.
        assert mean <= MEAN and p99 <= 2 * P99


def test_the_renderer_averages_over_each_pixel_as_a_camera_does() -> None:
    patch = load_patch("webcam")
    grey = np.full((260, 200, 3), 128, np.uint8)
    box = np.array([[50.0, 10.0, 150.0, 250.0]], np.float32)
    for scale in (0.2, 0.35, 0.6):
        prints = Placement("poster", scale=scale).prints(people_of(box))
        shown = render(grey, patch, prints).astype(float)
        fine = replace(prints, quads=prints.quads * 8)
        large = render(np.full((2080, 1600, 3), 128, np.uint8), patch, fine)
        true = cv2.resize(large, (200, 260), interpolation=cv2.INTER_AREA).astype(float)
        inside = np.abs(true - 128).max(2) > 0
        contrast = true[inside].std()
        # A print laid between the pixels is blurred by half of one: what is wrong is far below what is shown.
        assert np.sqrt(np.mean((shown - true)[inside] ** 2)) < 0.5 * contrast
        assert np.abs((shown - true)[inside].mean()) < 0.3, "and no light is lost"
