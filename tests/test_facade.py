"""`import physadv`: what a notebook needs, without waiting for what it does not ask for."""

import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

import physadv
from physadv.arrays import write_png
from physadv.defend import DEFENCES, parse_pipeline

NAMES = ("load_detector", "load_patch", "train", "evaluate", "guard")


def test_names_are_there_at_once() -> None:
    script = (
        f"import sys, physadv\nfor name in {NAMES}: getattr(physadv, name)\n"
        "print([m for m in ('torch', 'pydantic', 'kornia', 'ultralytics', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_shows_what_a_notebook_needs() -> None:
    text = pydoc.plain(pydoc.render_doc(physadv))
    for name in physadv.__all__:
        assert callable(getattr(physadv, name))
        assert name in text
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = physadv.nothing_of_that_name
    assert (Path(physadv.__file__).parent / "py.typed").is_file()


def test_an_image_is_read_by_a_path_or_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.full((4, 6, 3), 90, np.uint8))
    np.testing.assert_array_equal(physadv.read_image(str(path)), physadv.read_image(path))


def test_a_guarded_detector_is_a_detector() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    draw_person(image, (50, 20, 90, 110))
    detector = BlobDetector()
    for defences in (("median", "flip"), (parse_pipeline("median,flip"),), (DEFENCES["median"](), "flip"), ()):
        guarded = physadv.guard(detector, *defences)
        np.testing.assert_allclose(guarded.detect_batch([image])[0].xyxy, [[50, 20, 90, 110]], atol=2)
    assert guarded is detector
    with pytest.raises(physadv.PhysadvError, match="twice"):
        physadv.guard(detector, "median", "median")
