"""The map over the nearest person: where it lies, of whom it is, and what it says where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from physadv.arrays import read_image
from physadv.errors import BackendError, DataError, SettingsError
from physadv.live.looking import LONGEST, Looking, load_looked_at
from physadv.live.settings import Controls
from physadv.live.shown import Shown
from physadv.types import Detections, Detector, Frame
from tests.detectors import FakeDetector

NEAR, FAR = [48, 400, 244, 906], [223, 404, 344, 860]


class Blind(FakeDetector):
    def detect_batch(self, images: object) -> list[Detections]:
        return []


@pytest.fixture(scope="module")
def shown(bus: Path) -> Shown:
    frame = Frame(np.asarray(cv2.resize(read_image(bus), None, fx=0.5, fy=0.5), np.uint8), 7, 0, 0.0)
    people = Detections((np.array([FAR, NEAR]) / 2).astype(np.float32), np.array([0.9, 0.8], np.float32))
    return Shown(7, frame, frame, people, None, 0.9, None, Controls(), (), "")


def test_the_map_is_of_the_nearest_person_and_lies_on_them(shown: Shown) -> None:
    asked: list[str] = []

    def loader(where: str) -> Detector:
        asked.append(where)
        return load_looked_at(where)

    looking = Looking(lambda _: "yolo11n-pose", loader)
    look = looking.look(shown, None)
    assert look.frame == 7
    assert look.score is not None
    assert look.score > 0.5
    left, top, right, bottom = look.xyxy
    assert left <= 24 < 122 <= right
    assert top < 200 < 453 <= bottom
    assert max(look.heat.shape[:2]) <= LONGEST
    # Red, green, blue and cover: clear beside the person, dense on them.
    cover = look.heat[..., 3].astype(float)
    y, x = np.unravel_index(int(cover.argmax()), cover.shape)
    at = left + x * (right - left) / cover.shape[1], top + y * (bottom - top) / cover.shape[0]
    assert 24 <= at[0] <= 122
    assert 200 <= at[1] <= 453
    # Another layer by the same network; a person who is hidden by a pattern is where the clean frame shows them.
    assert not np.array_equal(looking.look(shown, 4).heat, look.heat)
    hidden = replace(shown, people=Detections.empty(), placed=shown.people)
    assert looking.look(hidden, None).xyxy == look.xyxy
    assert asked == ["yolo11n-pose"]
    assert ("C3k2, P3") in dict(looking.layers("yolo11n-pose")).values()
    with pytest.raises(SettingsError, match="layer: expected 0 to 22"):
        looking.look(shown, 23)


def test_what_cannot_be_looked_at_is_said(shown: Shown) -> None:
    with pytest.raises(DataError, match="nobody is in the image"):
        Looking(str).look(replace(shown, people=Detections.empty()), None)
    with pytest.raises(BackendError, match="fake gives no gradients of its layers"):
        Looking(str, lambda _: Blind()).look(shown, None)
