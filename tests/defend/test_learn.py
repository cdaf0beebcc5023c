"""`physadv learn erase --patterns`: hostile patterns from the user's own photographs, and a head that the eraser takes."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.arrays import write_png
from physadv.cli.learn import LearnVerb, _watched
from physadv.cli.learn import run as learn
from physadv.defend import parse_pipeline
from physadv.defend.erase_network import EraseHead
from physadv.defend.hostile import hostile_textures
from physadv.defend.learned import load_weights
from physadv.errors import CameraLost, DataError
from physadv.types import Frame


def test_an_eraser_is_learnt_from_patterns_trained_on_the_users_own_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two steps of the second that a pattern is usually given.
    monkeypatch.setattr("physadv.defend.hostile.hostile_textures", partial(hostile_textures, steps=2))
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "images" / "damaged.png").write_bytes(b"rubbish")
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = rng.integers(60, 120, (160, 192, 3), np.uint8)
        draw_person(pixels, (60 + 10 * i, 20, 120 + 10 * i, 150))
        write_png(tmp_path / "images" / f"{i}.png", pixels)
        (tmp_path / "labels" / f"{i}.txt").write_text(f"0 {(90 + 10 * i) / 192} {85 / 160} {60 / 192} {130 / 160}")
    out = tmp_path / "mine.safetensors"
    values = {"defence": "erase", "images": tmp_path, "out": out, "patterns": 3, "scenes": 8, "passes": 1}
    assert learn(LearnVerb.model_validate(values)) == 0
    said = capsys.readouterr().out
    assert "training 3 patterns" in said and "3 of 3 patterns trained" in said
    assert "left out as unreadable: 1 file: " in said and "damaged.png" in said, (
        "a damaged image is named and the others are learnt from"
    )
    record = load_weights(out, EraseHead(), kind="erase")
    assert record["settings"]["patterns"] == 3 and record["pictures"] == 2
    guarded = parse_pipeline(f"erase:weights={out}").guard(BlobDetector())
    assert guarded.detect(Frame(pixels, 0, 0, 0.0)) is not None


class Camera:
    """A camera of 30 images a second that is lost after so many."""

    name, live = "webcam 0", True

    def __init__(self, frames: int) -> None:
        self._left, self._index = frames, 0

    def read(self) -> Frame:
        if self._index == self._left:
            raise CameraLost("webcam 0: gives no image any more")
        self._index += 1
        return Frame(np.full((8, 8, 3), self._index, np.uint8), self._index - 1, 0, (self._index - 1) / 30)

    def close(self) -> None:
        pass


def test_a_camera_that_is_lost_is_learnt_from_as_far_as_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("physadv.cli.learn.open_source", lambda _, notify: Camera(90))
    assert len(_watched("0", 60, 0.5, said.append)) == 6
    assert len(said) == 1 and "90 images" in said[0]
    monkeypatch.setattr("physadv.cli.learn.open_source", lambda _, notify: Camera(0))
    with pytest.raises(DataError, match="gave no image: webcam 0"):
        _watched("0", 60, 0.5, said.append)


def test_a_folder_of_damaged_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"rubbish")
    values = {"defence": "blocks", "images": tmp_path, "out": tmp_path / "mine.safetensors"}
    with pytest.raises(DataError, match="none of 1 images can be read"):
        learn(LearnVerb.model_validate(values))
