from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import draw_person

from physadv.dataset import LabelledImage
from physadv.patch import Patch
from physadv.simulate.placement import Placement
from physadv.types import UInt8Array

PLACED = Placement.of(0.42, "area", 0.5)


def patch_of(colour: tuple[int, int, int], name: str = "plain", side: int = 32) -> Patch:
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:] = colour
    return Patch(name, pixels, np.full((side, side), 255, np.uint8), (300.0, 300.0))


def scene_of(
    *people: tuple[int, int, int, int], size: tuple[int, int] = (320, 240), name: str = "p.png"
) -> LabelledImage:
    """A grey image with green people; those under 2 % of it do not count."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    for xyxy in people:
        draw_person(pixels, xyxy)
    boxes = np.array(people, np.float32).reshape(-1, 4)
    return LabelledImage(name, pixels, boxes, sha256=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A YOLO data set of six images: two large people and one tiny in each."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for i in range(6):
        people = [(20 + 5 * i, 30, 80 + 5 * i, 200), (180, 40, 250, 210), (300, 10, 308, 30)]
        scene = scene_of(*people)
        write(tmp_path / "images" / f"{i}.png", scene.pixels)
        rows = [
            f"0 {(x0 + x1) / 640} {(y0 + y1) / 480} {(x1 - x0) / 320} {(y1 - y0) / 240}" for x0, y0, x1, y1 in people
        ]
        (tmp_path / "labels" / f"{i}.txt").write_text("\n".join(rows))
    return tmp_path


def worn(patches: Sequence[Patch], placement: Placement = PLACED) -> dict[str, Placement]:
    """How patches are worn, all alike, by name."""
    return {patch.name: placement for patch in patches}


def write(path: Path, pixels: UInt8Array) -> None:
    assert cv2.imwrite(str(path), pixels[..., ::-1])
