"""What the page shows of the simulated world: the live image's people, its placement, another draw in each view."""

import dataclasses

import numpy as np
import pytest
from tiny import standing

from physadv.errors import DataError
from physadv.live.overlay import Overlay
from physadv.patch import Patch, Target
from physadv.simulate.views import simulated_views
from physadv.simulate.world import World
from physadv.types import Detections, UInt8Array

GREY: UInt8Array = np.full((480, 640, 3), 200, np.uint8)


def people(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(xyxy, np.full(len(xyxy), score, np.float32), standing(xyxy))


def red(target: Target = "chest") -> Patch:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = 255
    return Patch("red", pixels, np.full((32, 32), 255, np.uint8), (360.0, 360.0), target=target)


def views(patch: Patch, found: Detections, *, strength: float, seed: int = 0, count: int = 6) -> list[UInt8Array]:
    return simulated_views(
        patch, Overlay(patch).placement, GREY, found, world=World.of(strength), count=count, size=128, seed=seed
    )


@pytest.mark.parametrize("target", ["chest", "tshirt"])
def test_a_world_of_strength_nought_shows_what_is_worn(target: Target) -> None:
    found = people((250, 40, 400, 460))
    worn = Overlay(red(target)).apply(GREY, found)
    side = 460 - 40
    share = (worn[..., 1] < 100).sum() / (1.15 * side) ** 2
    for view in views(red(target), found, strength=0):
        assert view.shape == (128, 128, 3)
        assert (view[..., 1] < 100).mean() == pytest.approx(share, rel=0.06)


def test_views_differ_by_chance_alone_and_a_seed_repeats_them() -> None:
    found = people((100, 40, 200, 400), (400, 60, 500, 420))
    once, again, other = (views(red(), found, strength=0.6, seed=s) for s in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(once, again, strict=True))
    assert all((a != b).any() for a, b in zip(once, other, strict=True))
    assert (once[0] != once[2]).any()


def test_a_print_is_turned_in_its_views_as_it_is_worn() -> None:
    pixels = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    pixels[:16] = (0, 0, 255)
    half = Patch("half", pixels, np.full((32, 32), 255, np.uint8), (360.0, 360.0), target="chest")
    placement = Overlay(half).placement
    found, world = people((250, 40, 400, 460)), World.of(0)
    (view,) = simulated_views(half, placement, GREY, found, world=world, count=1, size=128, seed=0, angle=90)
    # The blue upper half now lies on the right.
    blue, left = (np.argwhere(view[..., c].astype(int) - view[..., 2 - c] > 100)[:, 1].mean() for c in (2, 0))
    assert blue > left + 5


def test_somebody_beyond_the_images_edge_is_still_shown() -> None:
    for view in views(red(), people((-60, 100, 700, 900)), strength=0.3, count=2):
        assert (view[..., 1] < 120).mean() > 0.05


def test_nobody_to_wear_it_is_said() -> None:
    tiny, unsure = people((10, 10, 20, 30)), people((250, 40, 400, 460), score=0.2)
    for found in (tiny, unsure, dataclasses.replace(unsure, keypoints=None), people()):
        with pytest.raises(DataError, match="no person"):
            views(red(), found, strength=0.3)
