from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import standing

from physadv.live.overlay import HOLD_S, Overlay
from physadv.patch import Patch, load_patch
from physadv.simulate.fast_render import fast_render
from physadv.types import Detections, UInt8Array

QUADRANTS = {
    "top_left": (255, 0, 0),
    "top_right": (0, 0, 255),
    "bottom_left": (255, 255, 0),
    "bottom_right": (255, 0, 255),
}


def quadrants(side: int = 128, size_mm: tuple[float, float] = (300.0, 300.0)) -> Patch:
    """A pattern whose corners tell which way up it is."""
    pixels = np.zeros((side, side, 3), np.uint8)
    half = side // 2
    for i, colour in enumerate(QUADRANTS.values()):
        pixels[half * (i // 2) : half * (i // 2 + 1), half * (i % 2) : half * (i % 2 + 1)] = colour
    return Patch("quadrants", pixels, np.full((side, side), 255, np.uint8), size_mm)


def person(*box: float, score: float = 0.9, keypoints: bool = True) -> Detections:
    xyxy = np.array([box], np.float32)
    return Detections(xyxy, np.array([score], np.float32), standing(xyxy) if keypoints else None)


def grey(width: int = 640, height: int = 480) -> UInt8Array:
    return np.full((height, width, 3), 200, np.uint8)


def centre_of(image: UInt8Array, colour: tuple[int, int, int]) -> tuple[float, float]:
    rows, columns = np.nonzero((np.abs(image.astype(int) - colour) < 40).all(2))
    assert len(rows), f"{colour} is not there"
    return float(columns.mean()), float(rows.mean())


@pytest.mark.parametrize("keypoints", [True, False])
def test_it_sits_upright_on_the_chest_in_proportion(keypoints: bool) -> None:
    out = Overlay(quadrants(), lit=False).apply(grey(), person(250, 40, 400, 460, keypoints=keypoints))
    left, top = centre_of(out, QUADRANTS["top_left"])
    right, low = centre_of(out, QUADRANTS["bottom_right"])
    assert 250 < left < right < 400
    assert 40 + 0.15 * 420 < top < low < 40 + 0.65 * 420
    # Square print, person seen from the front: as wide as high, within the body's own ratio.
    assert 0.6 < (right - left) / (low - top) < 1.6


def test_turned_by_a_right_angle_its_top_left_is_at_the_top_right() -> None:
    out = Overlay(quadrants(), angle=90, lit=False).apply(grey(), person(250, 40, 400, 460))
    top_left, bottom_right = (centre_of(out, QUADRANTS[name]) for name in ("top_left", "bottom_right"))
    assert top_left[0] > bottom_right[0] + 10 and top_left[1] < bottom_right[1] - 10


def test_twice_the_size_is_twice_as_wide() -> None:
    def width(cm: float) -> int:
        out = Overlay(quadrants(), size_cm=cm).apply(grey(), person(250, 40, 400, 460))
        return int(np.ptp(np.nonzero((out != 200).any(2))[1]))

    assert width(30) == pytest.approx(2 * width(15), rel=0.08)


def test_shrinking_averages_and_does_not_alias() -> None:
    pixels = ((np.indices((512, 512)).sum(0) % 2) * 255).astype(np.uint8)
    fine = Patch("fine", np.dstack([pixels] * 3), np.full((512, 512), 255, np.uint8), (300.0, 300.0))
    out = Overlay(fine).apply(grey(), person(300, 100, 360, 270))
    inside = out[(out != 200).any(2)].mean(1)
    assert inside.std() < 20
    assert abs(np.median(inside) - 128) < 20


def test_the_mask_leaves_the_shirt_as_it_is() -> None:
    patch = quadrants()
    mask = patch.mask.copy()
    mask[:, 64:] = 0
    out = Overlay(Patch("half", patch.pixels, mask, patch.size_mm), lit=False).apply(grey(), person(250, 40, 400, 460))
    centre_of(out, QUADRANTS["top_left"])
    with pytest.raises(AssertionError):
        centre_of(out, QUADRANTS["top_right"])


@pytest.mark.parametrize("fps", [3, 10, 30])
def test_a_missed_person_keeps_the_print_for_a_quarter_of_a_second_and_then_loses_it(fps: int) -> None:
    overlay = Overlay(quadrants())
    first = overlay.apply(grey(), person(250, 40, 400, 460), at_s=7.0)
    nobody = Detections.empty(keypoints=True)
    held = [(overlay.apply(grey(), nobody, at_s=7 + i / fps) == first).all() for i in range(1, fps + 1)]
    kept = max(int(HOLD_S * fps), 1)
    assert held == [True] * kept + [False] * (fps - kept)
    assert (overlay.apply(grey(), nobody, at_s=8.5) == grey()).all()


def test_after_a_cut_those_of_the_scene_before_wear_nothing() -> None:
    overlay, image = Overlay(quadrants()), grey()
    overlay.apply(image, person(20, 60, 180, 460))
    after = overlay.apply(image, person(420, 60, 580, 460))
    alone = Overlay(quadrants()).apply(image, person(420, 60, 580, 460))
    assert np.array_equal(after, alone)


def test_nobody_and_doubtful_candidates_wear_nothing() -> None:
    assert (Overlay(quadrants()).apply(grey(), person(250, 40, 400, 460, score=0.2)) == grey()).all()
    window = person(250, 40, 400, 460, score=0.5)
    assert (Overlay(quadrants()).apply(grey(), window) != grey()).any(), "somebody far away"
    assert window.keypoints is not None
    window.keypoints[..., 2] = 0.1
    assert (Overlay(quadrants()).apply(grey(), window) == grey()).all(), "no shoulders: furniture"
    window.score[:] = 0.7
    assert (Overlay(quadrants()).apply(grey(), window) != grey()).any(), "somebody from behind a table"


def test_partly_outside_the_image_and_the_input_is_not_touched() -> None:
    before = grey()
    before.setflags(write=False)
    out = Overlay(quadrants(), size_cm=60).apply(before, person(-60, 100, 90, 700))
    assert out.shape == before.shape
    assert (out != before).any()


def test_a_shirt_covers_the_torso_and_the_sleeves_with_repeats() -> None:
    patch = quadrants(size_mm=(150.0, 150.0))
    shirt = Patch("shirt", patch.pixels, patch.mask, patch.size_mm, "tshirt")
    covered = (Overlay(shirt).apply(grey(), person(250, 40, 400, 460)) != 200).any(2)
    chest = (Overlay(quadrants()).apply(grey(), person(250, 40, 400, 460)) != 200).any(2)
    assert covered.sum() > 1.3 * chest.sum()
    red = (np.abs(Overlay(shirt).apply(grey(), person(250, 40, 400, 460)).astype(int) - (255, 0, 0)) < 60).all(2)
    assert cv2.connectedComponents(np.asarray(red, np.uint8))[0] - 1 >= 4


@pytest.mark.shared
def test_on_a_real_clip_every_image_has_it_on_the_chest(shared_dir: Path) -> None:
    """Blocks of its colours change where the chest is, in every image of a webcam clip whose person shows shoulders."""
    from physadv.capture import open_source
    from physadv.detect import load_detector
    from physadv.errors import EndOfStream
    from physadv.simulate.joints import shoulders_visible

    detector = load_detector(backend="torch", imgsz=320)
    overlay = Overlay(load_patch(shared_dir / "zoo" / "tsea_v5-demo.png"))
    source = open_source(str(shared_dir / "data" / "video" / "hungry.mkv"))
    seen = 0
    while True:
        try:
            frame = source.read()
        except EndOfStream:
            break
        if frame.index % 6:
            continue
        clean = detector.detect(frame)
        if not shoulders_visible(clean.keypoints, len(clean))[:1].any():
            continue
        assert clean.keypoints is not None
        out = overlay.apply(frame.pixels, clean)
        rows, columns = np.nonzero((out != frame.pixels).any(2))
        shoulders = clean.keypoints[0, [5, 6], :2]
        assert abs(columns.mean() - shoulders[:, 0].mean()) < 0.25 * abs(np.diff(shoulders[:, 0]).item())
        assert rows.min() > shoulders[:, 1].min() - 2
        assert 0.6 < np.ptp(columns) / np.ptp(rows) < 1.7
        seen += 1
    source.close()
    assert seen >= 6


def test_a_print_follows_the_light_without_flicker_and_can_be_flat() -> None:
    """A lamp that flickers from frame to frame, and one that is switched off for good."""
    someone = person(250, 40, 400, 460)
    bright, dark = np.full((480, 640, 3), 250, np.uint8), np.full((480, 640, 3), 80, np.uint8)

    def colours(worn: Overlay, frames: list[UInt8Array]) -> list[float]:
        out = [worn.apply(image, someone, at_s=i / 10) for i, image in enumerate(frames)]
        return [float(image[(image != frame).any(2)].mean()) for image, frame in zip(out, frames, strict=True)]

    flicker = colours(Overlay(quadrants()), [bright, dark] * 6)
    assert np.abs(np.diff(flicker[4:])).max() < 0.35 * np.abs(flicker[0] - colours(Overlay(quadrants()), [dark])[0])
    off = colours(Overlay(quadrants()), [bright] * 2 + [dark] * 12)
    assert off[-1] == pytest.approx(colours(Overlay(quadrants()), [dark])[0], rel=0.03) and off[-1] < 0.85 * off[0]
    flat = colours(Overlay(quadrants(), lit=False), [bright, dark])
    assert flat[0] == pytest.approx(flat[1], rel=0.01)
    worn = Overlay(quadrants(), lit=False)
    prints = worn.placement.prints(someone)
    assert (worn.apply(dark, someone) == fast_render(dark, worn.patch, prints)).all()
