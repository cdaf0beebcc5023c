"""Whose name is whose among patterns that are shipped, named at the start and uploaded."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from physadv.errors import PatchError
from physadv.live.library import MAX_UPLOADS, PatchLibrary
from physadv.live.wearing import overlay_of
from physadv.patch import load_patch, png_bytes, save_patch
from tests.live.test_demo import checkers


def image(seed: int) -> bytes:
    out = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_an_upload_takes_no_name_from_another_pattern(tmp_path: Path) -> None:
    save_patch(checkers(), tmp_path)
    library = PatchLibrary([str(tmp_path / "patch.safetensors")])
    before = library.get("checkers")
    assert library.upload(image(0), name="checkers") == "checkers (2)"
    assert library.upload(image(0), name="webcam") == "webcam (2)"
    assert library.upload(image(1), name="webcam") == "webcam (3)"
    assert library.upload(image(0), name="webcam") == "webcam (2)"
    assert library.get("checkers") is before
    assert library.get("webcam").sha256 == load_patch("webcam").sha256
    assert library.names()[:4] == ["checkers", "checkers (2)", "webcam (2)", "webcam (3)"]


def test_the_image_of_a_pattern_that_is_here_leaves_it_its_record() -> None:
    library = PatchLibrary([])
    names = library.names()
    assert library.upload(png_bytes(load_patch("webcam")), name="mine") == "webcam"
    assert "size_curve" in library.get("webcam").record
    assert library.names() == names


def test_a_pattern_named_at_the_start_is_not_thrown_out_as_an_upload(tmp_path: Path) -> None:
    png, _ = save_patch(checkers(), tmp_path)
    library = PatchLibrary([str(png)])
    assert library.upload(png.read_bytes(), name="checkers") == "checkers"
    for seed in range(MAX_UPLOADS + 3):
        library.upload(image(seed), name=f"number {seed}")
    assert library.get("checkers").sha256 == checkers().sha256
    assert [f"number {seed}" in library.names() for seed in (0, 2, 3)] == [False, False, True]


def test_an_upload_that_is_worn_stays_until_another_is() -> None:
    library = PatchLibrary([])
    for seed in range(MAX_UPLOADS):
        library.upload(image(seed), name=f"number {seed}")
    library.keep("number 0")
    for seed in range(MAX_UPLOADS, MAX_UPLOADS + 3):
        library.upload(image(seed), name=f"number {seed}")
    assert [f"number {seed}" in library.names() for seed in (0, 1, 2, 3, 4)] == [True, False, False, False, True]
    with pytest.raises(PatchError, match="no pattern named 'number 1'"):
        library.keep("number 1")
    library.upload(image(100), name="what was refused is not worn")
    assert "number 0" in library.names()
    library.keep("")
    library.upload(image(101), name="one more")
    assert "number 0" not in library.names()


def test_what_is_named_at_the_start_has_the_richer_record(tmp_path: Path) -> None:
    shipped = load_patch("webcam")
    png, _ = save_patch(shipped, tmp_path / "image")
    assert "size_curve" in PatchLibrary([str(png)]).get("webcam").record
    _, tensors = save_patch(replace(shipped, record={"mine": 1}), tmp_path / "own")
    library = PatchLibrary([str(tensors)])
    assert library.get("webcam").record == {"mine": 1}
    assert library.names()[0] == "webcam"


def test_a_size_is_for_prints_and_not_for_textures() -> None:
    library = PatchLibrary([])
    assert overlay_of(library.get("webcam"), 30.0).size_cm == (30.0, 30.0)
    assert overlay_of(library.get("webcam"), None).size_cm == (48.0, 48.0)
    assert overlay_of(library.get("tshirt"), 30.0).size_cm == (20.0, 20.0)
