"""The pictures of an evaluation: more of them than memory holds."""

from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import write_png
from physadv.attack.timing import made_up
from physadv.detect.tiny import BlobDetector
from physadv.errors import DataError
from physadv.evaluate import scene as module
from physadv.evaluate.scene import Scenes, read_scenes


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (tmp_path / "labels").mkdir()
    for picture in made_up(3):
        write_png(folder / f"{picture.name}.png", picture.pixels)
        (tmp_path / "labels" / f"{picture.name}.txt").write_text("0 .5 .5 .4 .6\n")
    return folder


def read(pictures: Path) -> Scenes:
    return read_scenes(
        pictures, pictures.parent / "labels", min_area=0.02, labeller=lambda: BlobDetector(), keypoints=False
    )


def test_pictures_that_memory_does_not_hold_are_read_again(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = read(pictures).scenes
    # One picture of 640 x 480 fits.
    monkeypatch.setattr(module, "HELD_BYTES", 1_000_000)
    scenes = read(pictures).scenes
    assert [isinstance(s.source, np.ndarray) for s in scenes] == [True, False, False]
    for one, other in zip(scenes, held, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert (one.shape, one.sha256) == (other.shape, other.sha256) == ((480, 640), one.sha256)
    (pictures / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png"):
        _ = scenes[2].pixels
