"""The images of an evaluation: more of them than memory holds."""

from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.arrays import write_png
from physadv.attack.timing import made_up
from physadv.dataset import Dataset
from physadv.errors import DataError
from physadv.evaluate import images as module
from physadv.evaluate.images import Labeller, read_dataset
from physadv.evaluate.steps import finish


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (tmp_path / "labels").mkdir()
    for image in made_up(3):
        write_png(folder / f"{image.name}.png", image.pixels)
        (tmp_path / "labels" / f"{image.name}.txt").write_text("0 .5 .5 .4 .6\n")
    return folder


def read(images: Path) -> Dataset:
    return finish(read_dataset(images, images.parent / "labels", Labeller(BlobDetector), keypoints=False))


def test_images_that_memory_does_not_hold_are_read_again(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = read(images).images
    # One image of 640 x 480 fits.
    monkeypatch.setattr(module, "HELD_BYTES", 1_000_000)
    again = read(images).images
    assert [isinstance(s.source, np.ndarray) for s in again] == [True, False, False]
    for one, other in zip(again, held, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert (one.size, one.sha256) == (other.size, other.sha256) == ((640, 480), one.sha256)
    (images / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png"):
        _ = again[2].pixels
