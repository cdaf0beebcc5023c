"""An edited film in the demo: after each cut nothing of the scene before is left, and what is counted is what is drawn."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.errors import EndOfStream
from physadv.live.session import Session
from physadv.live.shown import Shown
from physadv.patch import Patch, save_patch
from physadv.types import Detections, Frame, UInt8Array
from tests.capture.test_cuts import scene
from tests.live.scene import demo, finished

EACH = 6
SCENES = 21


class Edited:
    """Scenes of six images, ten a second, each of other walls and of people at other places, no two cuts alike."""

    live = False
    name = "edited film"

    def __init__(self, scenes: int = SCENES) -> None:
        self.count, self.index = scenes * EACH, 0

    def read(self) -> Frame:
        if self.index >= self.count:
            raise EndOfStream("that was the last")
        number = self.index // EACH
        # Grey walls: the detector of these tests finds green.
        grey = cv2.cvtColor(scene(number, (240, 320)), cv2.COLOR_RGB2GRAY)
        pixels = np.ascontiguousarray(np.repeat(grey[..., None], 3, 2), np.uint8)
        for person in range(1 + number % 3):
            x = 10 + 100 * person + 13 * (number % 5) + self.index % EACH
            draw_person(pixels, (x, 30, x + 70, 230))
        frame = Frame(pixels, self.index, time.monotonic_ns(), self.index / 10)
        self.index += 1
        return frame

    def close(self) -> None:
        self.index = self.count


class Doubting(BlobDetector):
    """One that a print of 42 x 80 cm brings from 1 to about .23."""

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [replace(found, score=found.score**5) for found in super().detect_batch(images)]


@pytest.fixture
def worn(tmp_path: Path) -> str:
    pixels = np.full((32, 32, 3), (200, 0, 200), np.uint8)
    save_patch(Patch("plain", pixels, np.full((32, 32), 255, np.uint8), (420.0, 800.0)), tmp_path, stem="plain")
    return str(tmp_path / "plain.safetensors")


def covered(shown: Shown) -> UInt8Array:
    return np.asarray((shown.frame.pixels != shown.clean.pixels).any(2), np.uint8)


def test_after_twenty_cuts_nothing_of_the_scene_before_is_left(worn: str) -> None:
    every: list[Shown] = []
    running = demo(Edited(), Doubting(), wear=[worn], defend="persistence")
    running.subscribe(every.append)
    finished(running)
    assert [s.number for s in every if s.cut] == [EACH * n for n in range(SCENES)]
    for shown in every:
        people = BlobDetector().detect(shown.clean).above(0.4)
        # Prints lie on those who are in this very image, and every box that a defence holds is one of theirs.
        mask = covered(shown)
        for x1, y1, x2, y2 in people.xyxy.round().astype(int):
            mask[y1:y2, x1:x2] = 0
        assert not mask.any(), shown.number
        assert shown.wearers is not None and len(shown.wearers) == len(people)
        if shown.cut:
            assert not any(w.state in ("held", "missed", "unknown") for w in shown.wearers)
            held = shown.people.held
            assert held is None or not held.any()


def recorded(tmp_path: Path, worn: str, **settings: Any) -> tuple[Path, list[dict[str, Any]]]:
    video = tmp_path / "v.mp4"
    # Flat: what `Doubting` makes of a print is reckoned by its very colours.
    finished(demo(Edited(6), Doubting(), wear=[worn], wear_lit=False, record=video, **settings))
    return video, [json.loads(line) for line in video.with_suffix(".jsonl").read_text().splitlines()]


def test_in_every_line_the_states_are_those_of_the_boxes(tmp_path: Path, worn: str) -> None:
    # In the light of the made-up person, who is plain green, a print would be green too.
    _, lines = recorded(tmp_path, worn, defend="persistence", wear_from=0.3)
    states = set()
    for line in lines:
        for people, wearers in ((line["persons"], line["wearers"]), (line["bare"], line["bare_wearers"])):
            if line["worn"] is None:
                assert wearers is None
                continue
            theirs = [w["person"] for w in wearers if w["person"] >= 0]
            assert len(theirs) == len(set(theirs)), "a box is one wearer's"
            for w in wearers:
                states.add(w["state"])
                if w["state"] == "seen":
                    assert people[w["person"]]["score"] >= line["conf"] and not people[w["person"]]["held"]
                elif w["state"] == "held":
                    assert people[w["person"]]["held"]
                else:
                    assert w["person"] == -1 and w["score"] < line["conf"]
    assert states == {"held", "hidden"}


def test_side_by_side_both_panes_are_recorded_and_replayed(tmp_path: Path, worn: str) -> None:
    video, lines = recorded(tmp_path, worn, defend="persistence")
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (640, 240)
    assert all(line["panes"] == 2 and line["bare"] is not None for line in lines)
    # The people of the right pane, where they were.
    for item in Session(video):
        boxes = np.array([p["xyxy"] for p in item.line["persons"]], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(item.detections.xyxy[:, 0], boxes[:, 0] + 320, atol=0.01)
        assert item.frame.size == (640, 240)


def test_without_a_comparison_one_pane_is_recorded(tmp_path: Path, worn: str) -> None:
    video, lines = recorded(tmp_path, worn, defend="persistence", compare=False)
    with av.open(str(video)) as container:
        assert container.streams.video[0].width == 320
    assert all(line["panes"] == 1 and line["bare"] is None for line in lines)
