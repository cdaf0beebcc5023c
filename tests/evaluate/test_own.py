"""A pattern is scored as it was made to be worn, several each in their own way, and it is said where one is not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.attack.recipe import Recipe
from physadv.cli.evaluate import run
from physadv.cli.evaluate_flags import EvaluateVerb
from physadv.errors import SettingsError
from physadv.evaluate.images import Labeller, read_dataset
from physadv.evaluate.own import Fit, fit_of, not_own, other_framing, own_fit, share_of_image
from physadv.evaluate.scorer import entries
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.patch import Patch, load_patch, save_patch
from physadv.simulate.placement import Placement
from tests.evaluate.conftest import patch_of, scene_of


def trained(name: str, **settings: object) -> Patch:
    """A pattern whose record says how it was trained."""
    made = Recipe.model_validate(settings)
    record = {"settings": made.model_dump(mode="json"), "split": {"train": ["elsewhere.png"]}}
    return replace(patch_of((200, 30, 30), name), size_mm=made.print_size(), target=made.target, record=record)


@pytest.mark.parametrize(
    ("name", "placement", "sizes"),
    [
        ("street", Placement("poster", "area", 0.35), (416,)),
        ("poster", Placement("poster", "area", 0.5775), (416,)),
        ("webcam", Placement("chest", "area", 0.65), (320, 640)),
        ("tshirt", Placement("tshirt"), (416,)),
    ],
)
def test_each_shipped_pattern_is_worn_as_its_record_says(
    name: str, placement: Placement, sizes: tuple[int, ...]
) -> None:
    for filling in (False, True):
        assert own_fit(load_patch(name), filling=filling) == Fit(
            placement, sizes, load_patch(name).record["settings"]["framing"]
        )
    assert not_own(load_patch(name), placement, sizes[-1]) is None


def test_a_pattern_for_both_framings_is_worn_as_its_people_are() -> None:
    mixed = trained("both", framing="mixed")
    assert own_fit(mixed, filling=False) == Fit(Placement("poster", "area", 0.4667), (416,), "mixed")
    assert own_fit(mixed, filling=True) == Fit(Placement("chest", "area", 0.65), (320, 640), "mixed")
    assert other_framing(mixed, 0.1) is None and other_framing(mixed, 0.6) is None


def test_a_pattern_without_a_record_is_as_large_as_its_print() -> None:
    unknown = patch_of((1, 2, 3))  # 30 cm
    assert own_fit(unknown, filling=False) == Fit(Placement("poster", "area", 0.2917), (640,))
    assert own_fit(unknown, filling=True) == Fit(Placement("chest", "area", 0.4062), (640,))
    assert "its record does not say how it is worn: scored side 0.3" in str(
        not_own(unknown, Placement("poster", "area", 0.3), 640)
    )


def test_what_is_asked_for_goes_before_its_own_and_the_rest_stays() -> None:
    chest, shirt = load_patch("webcam"), load_patch("tshirt")
    assert fit_of(chest, EvaluateSettings(scale=0.45), filling=True).placement == Placement("chest", "area", 0.45)
    lower = Placement("poster", "area", 0.65, at=0.3)
    assert fit_of(chest, EvaluateSettings(at=0.3, imgsz=512), filling=True) == Fit(lower, (512,), "webcam")
    # By another rule it is as large as it was: 48 cm of a body seen from head to hips.
    assert fit_of(chest, EvaluateSettings(rule="height"), filling=True).placement == Placement("chest", "height", 0.6)
    assert fit_of(load_patch("street"), EvaluateSettings(rule="height"), filling=True).placement.scale == pytest.approx(
        0.2118
    )
    # A T-shirt's texture is worn as one, unless a square's size is asked for.
    assert fit_of(shirt, EvaluateSettings(), filling=False).placement.where == "shirt"
    assert fit_of(shirt, EvaluateSettings(scale=0.5), filling=False).placement == Placement("poster", "area", 0.5)


def test_what_is_not_its_own_is_doubted() -> None:
    chest = load_patch("webcam")
    said = not_own(chest, Placement("poster", "area", 0.35), 640)
    assert said == (
        "scored side 0.35 by area at 0.42, 640 px; it was made to be worn side 0.65 by area on the chest and seen at 320 "
        "and 640 px"
    )
    assert "416 px; it was made" in str(not_own(chest, Placement("chest", "area", 0.65), 416))
    assert "as before a webcam; here the largest person takes 9% of it (median)" in str(other_framing(chest, 0.09))
    assert "whole people in the street" in str(other_framing(load_patch("street"), 0.4))
    assert other_framing(chest, 0.4) is None


def test_controls_of_patterns_worn_otherwise_are_their_own_and_no_two_rows_are_called_alike() -> None:
    patches = [patch_of((i, 2, 3), f"p{i}") for i in range(3)]
    small, large = Placement("poster", "area", 0.3), Placement("chest", "area", 0.6)
    listed = entries(patches, {"p0": small, "p1": large, "p2": large})
    assert [(e.condition, e.stands_for) for e in listed if e.condition in ("grey", "shuffled")] == [
        ("grey", ("p0",)), ("shuffled", ("p0",)), ("grey", ("p1", "p2")), ("shuffled", ("p1",)), ("shuffled", ("p2",)),
    ]  # fmt: skip
    assert {e.placement for e in listed if "p0" in e.stands_for} == {small}


def blobs(*_: object, imgsz: int = 640, **__: object) -> BlobDetector:
    detector = BlobDetector(min_conf=0.001)
    detector.imgsz = imgsz
    return detector


def test_several_patterns_are_scored_in_one_command_each_at_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("physadv.evaluate.run.load_detector", blobs)
    monkeypatch.setattr("physadv.evaluate.run.labelling", blobs)
    for patch in (
        trained("street", size_mm=(360.0, 360.0)),
        trained("webcam", framing="webcam"),
        trained("poster", target="poster"),
    ):
        save_patch(patch, tmp_path, stem=patch.name)
    given = [str(tmp_path / f"{name}.safetensors") for name in ("street", "webcam", "poster")]
    out = tmp_path / "out"
    assert run(EvaluateVerb(patches=given, images=folder, resamples=20, out=out)) == 0
    cells = json.loads((out / "results.json").read_text())
    rows = {(c["patch"], c["imgsz"]): (c["scale"], c["at"]) for c in cells if c["condition"] == "patch"}
    assert rows == {
        ("street", 416): (0.35, 0.42), ("poster", 416): (0.5775, 0.42),
        ("webcam", 320): (0.65, "chest"), ("webcam", 640): (0.65, "chest"),
    }  # fmt: skip
    names = [(c["imgsz"], c["condition"], tuple(c.get("control_of", [c["patch"]]))) for c in cells]
    assert len(set(names)) == len(names)
    text = (out / "report.md").read_text()
    assert "side 0.5775 by area at 0.42" in text and "at 320 px" in text
    said = capsys.readouterr()
    assert "shuffled (street)" in said.out and "shuffled (poster)" in said.out and "grey (poster)" in said.out
    assert "made for people who fill the image" in said.out and "made to be worn" not in said.out
    assert "physadv evaluate:" in said.err
    assert json.loads((out / "run.json").read_text())["settings"].keys().isdisjoint({"scale", "at", "imgsz"})


def test_adaptive_attacks_want_one_way_of_wearing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physadv.evaluate.run.load_detector", blobs)
    monkeypatch.setattr("physadv.evaluate.run.labelling", blobs)
    given: dict[str, object] = {"images": folder, "out": tmp_path / "o", "defend": ["median"], "adaptive": True}
    with pytest.raises(SettingsError, match=r"worn alike.*side 0.35 by area at 0.42; side 0.65 by area on the chest"):
        run(EvaluateVerb(patches=["street", "webcam"], **given))  # type: ignore[arg-type]


def test_share_of_image_is_that_of_the_largest_person(folder: Path) -> None:
    scenes = finish(read_dataset(folder, None, Labeller(BlobDetector), keypoints=False)).images
    assert share_of_image(scenes) == pytest.approx(70 * 170 / (320 * 240), rel=0.01)
    assert share_of_image([scene_of()]) == 0
    assert np.isfinite(share_of_image([]))
