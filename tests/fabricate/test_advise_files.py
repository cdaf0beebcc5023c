"""Where a measured curve is kept, and which images it may be measured on."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.arrays import pixels_sha256, write_png
from physadv.camera.profile import CameraProfile
from physadv.cli.advise import AdviseVerb, file_of, held_out
from physadv.cli.advise import run as advise
from physadv.dataset import Dataset, ImageFile, LabelledImage, labelled_images
from physadv.errors import CalibrationError, FabricationError, PatchError
from physadv.evaluate import doubts
from physadv.patch import SHIPPED, Patch, load_patch, save_patch

NOBODY = np.zeros((0, 4), np.float32)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A folder of six images of one person each, and a damaged one."""
    folder = tmp_path / "people"
    folder.mkdir()
    for i in range(6):
        pixels = np.full((240, 320, 3), 90, np.uint8)
        draw_person(pixels, (100 + 10 * i, 40, 170 + 10 * i, 220))
        write_png(folder / f"{i}.png", pixels)
    (folder / "damaged.png").write_bytes(b"rubbish")
    return folder


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector and a measurement that take no time."""
    cell = {"visible_px": 400, "shown": 1.0, "relative": 0.2, "n": 8, "asr": 0.5, "ci95": [0.4, 0.6]}

    def measured(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"cells": [cell]}

    monkeypatch.setattr("physadv.detect.load_detector", lambda *a, **k: BlobDetector())
    monkeypatch.setattr("physadv.evaluate.size_curve.measure", measured)


def test_images_that_were_trained_on_are_left_out_as_an_evaluation_leaves_them_out() -> None:
    names = ("a.jpg", "b.jpg", "c.jpg", "d.png")
    images = [ImageFile(Path("people") / name, None) for name in names]
    patch = Patch("mine", np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8), (300, 300))
    trained = replace(patch, record={"split": {"train": ["a.jpg", "b", "d.jpg"], "held_out": ["c.jpg"]}})
    assert [p.path.name for p in held_out(images, trained)] == ["c.jpg"]
    data = Dataset([LabelledImage(n, patch.pixels, NOBODY, sha256=n) for n in names])
    assert doubts.of_patch(trained, data) == ["3 of 4 images were trained on (a.jpg, b.jpg, d.png)"]
    assert held_out(images, patch) == held_out(images, replace(patch, record={"split": {"train": 3}})) == images
    with pytest.raises(PatchError, match="every one"):
        held_out(images[:2], trained)


def test_a_image_that_was_trained_on_is_left_out_under_another_name(tmp_path: Path) -> None:
    for i, name in enumerate(("a.png", "b.png")):
        write_png(tmp_path / name, np.full((8, 8, 3), i, np.uint8))
    patch = Patch("mine", np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8), (300, 300))
    pixels = {"old.png": [pixels_sha256(np.full((8, 8, 3), 0, np.uint8))], "b.png": ["another's"]}
    trained = replace(patch, record={"split": {"train": ["old.png", "b.png"], "pixels": pixels}})
    assert [p.path.name for p in held_out(labelled_images(tmp_path), trained)] == ["b.png"]


def test_a_patch_is_rewritten_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.touch()
    assert file_of(str(file)) == tmp_path / "mine.safetensors"
    assert file_of(str(tmp_path)) == tmp_path / "patch.safetensors"
    assert file_of("webcam") == SHIPPED / "webcam.safetensors"


@pytest.mark.usefixtures("quickly")
def test_damaged_images_are_named_and_not_measured_on(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "art.png", np.full((32, 32, 3), 128, np.uint8))
    assert advise(AdviseVerb(patch=str(tmp_path / "art.png"), measure=True, images=people)) == 0
    said = capsys.readouterr().out
    assert "left out as unreadable: 1 file" in said and "damaged.png" in said
    assert "6 people in 6 images" in said


def test_an_old_calibration_is_refused_before_anything_is_measured(people: Path, tmp_path: Path) -> None:
    values = {
        "name": "desk", "created": datetime.now(UTC) - timedelta(days=400), "width": 640, "height": 480, "rms_px": 0.2,
        "matrix": [[500, 0, 320], [0, 500, 240], [0, 0, 1]], "distortion": [0, 0, 0, 0, 0], "focal_error_px": 0.5,
        "views": 14, "coverage": 0.9,
    }  # fmt: skip
    CameraProfile.model_validate(values).save(tmp_path / "desk.json")
    write_png(tmp_path / "art.png", np.full((32, 32, 3), 128, np.uint8))
    asked = {"patch": str(tmp_path / "art.png"), "camera": str(tmp_path / "desk.json")}
    for measured in ({}, {"measure": True, "images": people}):
        with pytest.raises(CalibrationError, match="400 days old"):
            advise(AdviseVerb.model_validate({**asked, **measured}))


@pytest.mark.usefixtures("quickly")
def test_a_users_image_is_never_written_and_its_measurement_is_kept_beside_it(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    art, kept = tmp_path / "art.png", tmp_path / "art.safetensors"
    write_png(art, np.full((32, 32, 3), 128, np.uint8))
    before = art.read_bytes()
    assert advise(AdviseVerb(patch=str(art), measure=True, images=people)) == 0
    assert art.read_bytes() == before
    assert f"physadv advise {kept}" in capsys.readouterr().out
    assert advise(AdviseVerb(patch=str(kept))) == 0
    said = capsys.readouterr().out
    assert "expected: 50% of people hidden (40% to 60%, measured on 8 people in photographs; " in said, "found again"
    assert advise(AdviseVerb(patch=str(kept), measure=True, images=people)) == 0
    assert art.read_bytes() == before and "name that file" not in capsys.readouterr().out


def test_a_t_shirt_is_as_large_as_its_wearer(capsys: pytest.CaptureFixture[str]) -> None:
    assert advise(AdviseVerb(patch="tshirt", wanted=0.9)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "worn over the torso at 3 m: on a person of 314 detector pixels, whole in the image"
    assert said[2].endswith("hides 90% of people at no distance; use another pattern or a lower --wanted")
    with pytest.raises(FabricationError, match=r"^size: tshirt is worn as a whole T-shirt"):
        advise(AdviseVerb(patch="tshirt", size=40))


def test_an_outfit_is_as_large_as_its_wearer_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_patch(replace(load_patch("tshirt"), name="all", target="outfit"), tmp_path, stem="all")
    where = str(tmp_path / "all.safetensors")
    assert advise(AdviseVerb(patch=where)) == 0
    said = capsys.readouterr().out
    assert (
        said.startswith("worn over torso and legs at 3 m: on a person of 314 detector pixels") and "cover" not in said
    )
    with pytest.raises(
        FabricationError, match=r"^size: all is worn as a whole T-shirt and trousers, as large as its wearer"
    ):
        advise(AdviseVerb(patch=where, size=40))


def test_a_tall_print_is_said_by_width_and_height_and_what_it_covers(
    tall: Patch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        {"visible_px": 400, "shown": 1.0, "relative": relative, "n": 8, "asr": asr, "ci95": [asr, asr]}
        for relative, asr in ((0.1, 0.0), (0.2, 0.7), (0.3, 0.8))
    ]
    save_patch(replace(tall, record={"size_curve": {"cells": cells}}), tmp_path, stem="tall")
    where = str(tmp_path / "tall.safetensors")

    def said(**values: float) -> str:
        assert advise(AdviseVerb.model_validate({"patch": where, **values})) == 0
        return capsys.readouterr().out

    first, covers, _, text = said(distance=2).splitlines()
    # 36 and 72 cm at 2 m, of 640 pixels over 60 degrees.
    pixels = 640 / 2 / math.tan(math.radians(30)) / 200
    assert first.startswith(f"36 x 72 cm at 2 m: {36 * pixels:.0f} x {72 * pixels:.0f} detector pixels on a person of")
    assert (
        covers
        == "standing it covers chest to thighs, 8 to 80 cm below the neck; sitting, its lower 30 cm lie on the lap"
    )
    assert text.startswith("large enough at 2 m: 36 x 72 cm works") and "; 21 x 42 cm would do" in text
    near = said(distance=1, wanted=0.9)
    assert "80 cm below the neck, of which 61% is in the image; sitting" in near
    assert "no size up to 36 x 72 cm, the largest measured" in near and "36 x 72 cm does at no distance" in near
    with pytest.raises(FabricationError, match=r"^size: a print 140 cm high is longer than a person of 170 cm"):
        advise(AdviseVerb(patch=where, size=70))


@pytest.mark.usefixtures("quickly")
def test_the_record_beside_a_image_is_kept_if_it_is_of_that_pattern(people: Path, tmp_path: Path) -> None:
    pixels = np.full((32, 32, 3), 128, np.uint8)
    patch = Patch("mine", pixels, np.full((32, 32), 255, np.uint8), (300, 300), record={"split": {"train": ["0.png"]}})
    save_patch(patch, tmp_path, stem="mine")
    assert advise(AdviseVerb(patch=str(tmp_path / "mine.png"), measure=True, images=people)) == 0
    record = load_patch(tmp_path / "mine.safetensors").record
    assert record["split"] == {"train": ["0.png"]} and record["size_curve"]["pictures"] == 5
    write_png(tmp_path / "mine.png", pixels + 1)
    with pytest.raises(PatchError, match="holds another pattern"):
        advise(AdviseVerb(patch=str(tmp_path / "mine.png"), measure=True, images=people))
    assert load_patch(tmp_path / "mine.safetensors").record == record
