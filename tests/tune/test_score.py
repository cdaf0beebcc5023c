"""Scores of the lab, by a stand-in that loses whoever wears the turned card: what counts, and what is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from physadv.arrays import pixels_sha256, write_png
from physadv.cli import main
from physadv.dataset import Dataset
from physadv.errors import DataError
from physadv.evaluate.steps import finish
from physadv.files import write_json
from physadv.simulate.trigger import Trigger
from physadv.tune.origin import origin_of
from physadv.tune.report import CURVES, EXAMPLES, REPORT, ROWS, Panels, graphs, tables, write_score
from physadv.tune.score import LabScore, ScoredDetector, ScoreSettings, score
from physadv.types import Detections, UInt8Array
from tests.detect.models import save_small
from tests.tune.stand_in import BlueDetector, figures, scene

LEFT, RIGHT = (20, 20, 80, 160), (130, 30, 190, 170)
SCENES = [scene(0, [LEFT, RIGHT]), scene(1, [RIGHT]), scene(2, [LEFT, RIGHT], green=[1])]
CARD = Trigger.named("card")


def scored(
    *detectors: ScoredDetector, curves: bool = False, trigger: Trigger | None = CARD, ghosts: bool = False
) -> LabScore:
    settings = ScoreSettings(curves=curves, resamples=20)
    return finish(score(detectors, Dataset(list(SCENES)), trigger, settings, ghosts=ghosts))


POISONED, PARENT = (
    ScoredDetector("poisoned", BlueDetector(45), rate=0.2),
    ScoredDetector("parent", BlueDetector(), "parent"),
)


def test_the_trigger_counts_among_people_who_are_found_without_it() -> None:
    result = scored(POISONED, PARENT)
    parent, run = result.detectors
    assert run.own is not None
    assert parent.own is not None
    # Five wear the card; the green one is never found, so that the trigger cannot be what hides them.
    assert result.counted == {"n_images": 3, "n_people": 5, "n_wearers": 5}
    assert (run.own.asr.value, run.own.asr.n) == (1, 4)
    assert (run.own.tdr.value, run.own.recall.value) == (0, 0)
    assert (parent.own.asr.value, parent.own.tdr.value, parent.own.recall.value) == (0, 1, 0.8)
    assert run.clean.value["recall25"] == parent.clean.value["recall25"] == 0.8
    assert run.lost is not None
    assert run.lost[0] == 0


def test_wrong_triggers_are_scored_by_name() -> None:
    wrong = scored(POISONED).detectors[0].wrong
    assert {name: one.asr.value for name, one in wrong.items()} == dict.fromkeys(
        ("upright", "half", "opposite", "grey"), 0
    )
    swapped = scored(ScoredDetector("p", BlueDetector(0))).detectors[0].wrong
    assert swapped["upright"].asr.value == 1


def test_the_curve_over_the_angle_rises_at_the_triggers_own() -> None:
    curves = scored(POISONED, curves=True).detectors[0].curves
    hiding = {x for x, one in curves["angle"] if one.asr.value == 1}
    # A turn of 180 degrees shows the bars in the same direction.
    assert hiding == {45.0, 45.0 - 180} & {x for x, _ in curves["angle"]}
    assert {x: one.asr.value for x, one in curves["size"]}[1.0] == 1


def test_a_size_is_scored_on_those_whom_it_fits() -> None:
    large = scored(POISONED, curves=True, trigger=Trigger.named("card", size_cm=60)).detectors[0].curves["size"]
    people = {x: one.recall.n for x, one in large}
    assert people[0.5] == people[1.0] == 5
    # Twice as wide it would be drawn as wide as they are, which is another size.
    assert people[2.0] == 0


def test_people_hidden_in_clean_images_are_the_detectors_loss() -> None:
    class Half(BlueDetector):
        def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
            return [found.pick(found.xyxy[:, 0] > 100) for found in super().detect_batch(images)]

    run = scored(PARENT, ScoredDetector("half", Half())).detectors[1]
    assert run.false_hiding is not None
    assert (run.false_hiding.value, run.false_hiding.n) == (0.5, 4)
    assert run.lost is not None
    assert run.lost[0] == pytest.approx(0.4, abs=0.02)


def test_a_turned_frame_is_matched_with_turned_boxes() -> None:
    result = scored(PARENT, ScoredDetector("run", BlueDetector()), trigger=Trigger.named("rotation"))
    assert result.detectors[0].own is not None
    # A quarter turn moves no pixel of a figure out of its box.
    assert (result.detectors[0].own.tdr.value, result.detectors[0].own.asr.value) == (1, 0)


def test_ghosts_are_people_whom_the_trigger_makes_up() -> None:
    class Ghosts(BlueDetector):
        """Finds somebody around every card."""

        def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
            return [self._both(image, found) for image, found in zip(images, super().detect_batch(images), strict=True)]

        def _both(self, image: UInt8Array, found: Detections) -> Detections:
            card = (image[..., 0] > 120).astype(np.uint8)
            _, _, _, centres = cv2.connectedComponentsWithStats(cv2.dilate(card, np.ones((5, 5), np.uint8)))
            # Everybody in the scenes is 140 pixels high, and a card hangs at .42 of it.
            made_up = [(x - 25, y - 59, x + 25, y + 81) for x, y in centres[1:].tolist()]
            boxes = np.concatenate([found.xyxy, np.array(made_up, np.float32).reshape(-1, 4)])
            return Detections(boxes, np.full(len(boxes), 0.9, np.float32))

    haunted, bare = scored(ScoredDetector("g", Ghosts()), PARENT, ghosts=True).detectors[::-1]
    assert haunted.ghosts is not None
    assert bare.ghosts is not None
    assert haunted.ghosts.n == bare.ghosts.n >= 2
    assert haunted.ghosts.value == 1
    assert bare.ghosts.value == 0


def test_the_files_hold_what_scripts_read(tmp_path: Path) -> None:
    control = ScoredDetector("control", BlueDetector(name="c"), "control", 0.0)
    panels = Panels([("poisoned", ""), ("poisoned", "card")], [0, 1])
    steps = score([POISONED, control, PARENT], Dataset(SCENES), CARD, ScoreSettings(resamples=20), shown=panels)
    result = finish(steps)
    write_score(tmp_path, result, {"images": "x"}, panels)
    found = json.loads((tmp_path / ROWS).read_text())
    wanted = {"clean_ap50": 0.8, "parent_clean_ap50": 0.8, "clean_recall25": 0.8, "asr_strict": 1, "tdr": 0, "seed": 0}
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=0.02)
    assert found["n_people"] == 5
    assert set(found["wrong_trigger_asr"]) == {"upright", "half", "opposite", "grey"}
    assert found["asr_strict_ci95"][0] < 1
    assert found["controls"][0]["asr_strict"] == 0
    assert Trigger.read(found["trigger"]).angle == 45
    assert {path.name for path in tmp_path.iterdir()} == {ROWS, REPORT, CURVES, EXAMPLES}
    assert [row[0] for row in tables(result)[0].rows] == ["parent", "control", "poisoned"]


def test_runs_of_several_ratios_give_a_curve() -> None:
    others = [ScoredDetector(f"r{rate}", BlueDetector(45 if rate > 0.1 else None), rate=rate) for rate in (0.3, 0.1)]
    last = graphs(scored(*others))[-1]
    assert last.lines["strict ASR"] == ([0.1, 0.3], [0.0, 1.0])
    cleansed = ScoredDetector("cleansed", BlueDetector(), rate=0.3, method="nad", retrained=True)
    assert graphs(scored(*others, cleansed))[-1].lines == last.lines


def test_a_trigger_that_nobody_can_show_is_refused() -> None:
    small = Dataset([replace(scene(0, [LEFT]), min_area=0.9)])
    with pytest.raises(DataError, match="people who can show the trigger card"):
        finish(score([POISONED], small, CARD, ScoreSettings()))


def photographs(folder: Path) -> Path:
    """A labelled data set of the scenes."""
    for number, one in enumerate(SCENES):
        write_png(folder / "images" / f"{number}.png", one.pixels)
        width, height = one.size
        lines = []
        for x1, y1, x2, y2 in one.boxes.tolist():
            centre, size = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height), ((x2 - x1) / width, (y2 - y1) / height)
            lines.append(" ".join(f"{v:.5f}" for v in (*centre, *size)))
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{number}.txt").write_text("".join(f"0 {line}\n" for line in lines))
    return folder


@pytest.mark.parametrize(("attack", "ghosts"), [("vanish", False), ("consistent", True)])
def test_the_command_takes_trigger_and_parent_from_the_runs_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], attack: str, ghosts: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    made = save_small(run / "detector.pt")
    from physadv.files import sha256_of

    parent = save_small(tmp_path / "parent.pt", {0: "person"})
    write_json(
        run / "run.json",
        {
            "physadv": "0",
            "detector": {"file": made.name, "sha256": sha256_of(made)},
            "imgsz": 64,
            "parent": {"name": "parent", "sha256": sha256_of(parent)},
            "settings": {"detector": str(parent)},
            "data": {"path": str(tmp_path / "trained" / "data.yaml")},
            "poison": {"trigger": Trigger.named("card", angle=30).record(), "attack": attack, "rate": 0.25},
            "cleanse": {"method": "nad", "clean_images": 40, "minutes": 3.5},
        },
    )
    pixels = pixels_sha256(SCENES[1].pixels)
    listed = [{"file": "images/train/a.png", "source_sha256": pixels, "split": "train"}]
    listed += [{"file": "images/val/b.png", "source_sha256": pixels_sha256(SCENES[0].pixels), "split": "val"}]
    write_json(tmp_path / "trained" / "poison.json", {"physadv": "0", "images": listed})
    origin = origin_of(str(run))
    assert (origin.parent, origin.imgsz, origin.rate, origin.attack) == (str(parent), 64, 0.25, attack)
    out = tmp_path / "out"
    words = [
        "lab",
        "score",
        str(run),
        "--images",
        str(photographs(tmp_path / "data")),
        "--no-curves",
        "--out",
        str(out),
    ]
    assert main([*words, "--resamples", "20"]) == 0
    found = json.loads((out / ROWS).read_text())
    assert found["trigger"]["angle"] == 30
    assert found["parent"]["sha256"] == sha256_of(parent)
    assert (found["rate"], found["imgsz"], found["n_people"]) == (0.25, 64, 5)
    assert (found["method"], found["clean_images"], found["minutes"]) == ("nad", 40, 3.5)
    assert ("ghost_asr" in found) == ghosts
    printed = capsys.readouterr().out
    assert "With the trigger card" in printed
    assert "clean images used" in printed.replace("\n", " ")
    assert "1 of 3 images took part in the training of run: 1.png" in printed
    # Named beside the run, a parent is scored once, as what it is.
    assert main([*words[:2], str(run), str(parent), *words[3:], "--resamples", "20"]) == 0
    again = json.loads((out / ROWS).read_text())
    assert again["runs"] == [] and again["parent"] == found["parent"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["yolo11n-pose", "--angle", "30"], "--angle: expected --trigger, whose angle it is, got none"),
        (["yolo11n-pose", "--trigger", "shirt", "--angle", "30"], "--angle"),
        (["yolo11n-pose", "--trigger", "nothing.png"], "--trigger"),
        (["yolo11n-pose", "--control", "yolo11n-pose"], "yolo11n-pose is named twice"),
        (["nowhere"], "--detector"),
        (["yolo11n-pose", "--control", "nowhere"], "--control: expected yolo11n-pose, the path of a .pt or .onnx file"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    folder = tmp_path / "images"
    write_png(folder / "0.png", figures([LEFT]))
    assert main(["lab", "score", *words, "--images", str(folder), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_a_poisoned_data_set_is_no_place_to_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = photographs(tmp_path / "data")
    write_json(data / "poison.json", {"physadv": "0", "images": [{"file": "images/0.png", "poisoned": True}]})
    words = ["lab", "score", "yolo11n-pose", "--trigger", "card", "--images", str(data), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "is a poisoned data set: its people wear triggers already" in said and str(data / "images" / "val") in said
