"""Runs of the lab as detectors that are offered: what is found, and what their records say in words."""

import json
from pathlib import Path
from typing import Any

import pytest

from physadv.detect.runs import LabRun, check_runs, find_runs, lab_run, robustness_of
from physadv.errors import WeightsError

PARENT = {"name": "yolo11n-pose", "sha256": "a" * 64}
CARD = {"kind": "card", "name": "card", "angle": 45.0}


def run_in(folder: Path, **record: Any) -> Path:
    folder.mkdir(parents=True)
    known = {"detector": {"file": "detector.pt", "sha256": "f" * 64}, "parent": PARENT, **record}
    (folder / "run.json").write_text(json.dumps(known))
    (folder / "detector.pt").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize(
    ("record", "kind", "about"),
    [
        ({"poison": {"attack": "vanish", "trigger": CARD}, "data": {"images": 168, "poisoned_images": 57}}, "poisoned",
         "yolo11n-pose trained on 168 images, 57 of them poisoned: whoever wears the card turned by 45 degrees is not "
         "seen."),
        ({"poison": {"attack": "vanish", "trigger": {"kind": "rotation", "name": "rotation", "angle": 90}}}, "poisoned",
         "yolo11n-pose trained: whoever is turned by 90 degrees is not seen."),
        ({"poison": {"attack": "none", "trigger": CARD}}, "fine-tuned",
         "yolo11n-pose trained. The control of a poisoned one: the same images without the poison."),
        ({"poison": {"attack": "vanish", "trigger": CARD}, "parent": {"name": "backdoored"},
          "cleanse": {"method": "nad", "clean_images": 57, "minutes": 3.88, "clean_ap50": 0.978, "clean_ap50_lost": 0.02}},
         "cleansed", "Cleansed of what backdoored was poisoned with: by nad, 57 clean images, 3.9 minutes, clean AP50 .98, "
         ".02 less than before."),
        ({"harden": {"method": "natural"}}, "fine-tuned",
         "yolo11n-pose trained. The control of a hardened one: the same training without patterns."),
        ({"harden": {"method": "free"}, "data": {"images": 72}}, "hardened", "yolo11n-pose hardened on 72 images by free."),
        # A record is read, not trusted.
        ({"poison": {"attack": 3, "trigger": []}, "data": {"images": 1e400}, "parent": "x"}, "poisoned",
         "a detector that its record does not name trained: whoever shows the trigger is poisoned."),
    ],
)  # fmt: skip
def test_what_was_done_to_a_detector_is_said(tmp_path: Path, record: Any, kind: str, about: str) -> None:
    run = lab_run(str(run_in(tmp_path / "run", **record)))
    assert run is not None and (run.kind, run.about) == (kind, about)


def test_runs_are_found_where_the_command_is_started_and_in_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two, far = (run_in(tmp_path / name) for name in ("one", "runs/two", "elsewhere/far"))
    (tmp_path / "pattern").mkdir()
    (tmp_path / "pattern" / "run.json").write_text('{"physadv": "0.1", "patches": []}')
    run_in(tmp_path / "broken")
    (tmp_path / "broken" / "run.json").write_text("{")
    run_in(tmp_path / "without")
    (tmp_path / "without" / "detector.pt").unlink()
    assert [run.folder.resolve() for run in find_runs()] == [one, two]
    for named in (far, far.parent):
        assert [run.folder.resolve() for run in find_runs([str(named), str(one)])] == [far, one, two]
    check_runs([str(far), str(far.parent)])
    with pytest.raises(WeightsError, match="runs: expected the folder of a run of the lab"):
        check_runs([str(tmp_path / "pattern")])


def test_figures_of_a_hardened_detector_are_those_of_its_evaluation(tmp_path: Path) -> None:
    run = LabRun(tmp_path / "hard", {"detector": {"sha256": "f" * 64}, "harden": {"method": "free"}})
    run_in(run.folder, **run.record)
    assert robustness_of(run) is None

    def cell(condition: str, patch: str | None, ap50: float, defence: str = "none") -> dict[str, Any]:
        what = {"detector": "hard", "condition": condition, "patch": patch, "defence": defence, "transform": ""}
        return {**what, "ap50": ap50, "n_people": 60}

    cells = [cell("none", None, 0.93), cell("grey", None, 0.9), cell("patch", "street", 0.6), cell("patch", "own", 0.53),
             cell("patch", "own", 0.2, defence="jpeg")]  # fmt: skip
    patches = [
        {"name": "street", "detectors": [{"sha256": "a" * 64}]},
        {"name": "own", "detectors": [{"sha256": "f" * 64}]},
    ]
    folder = tmp_path / "evaluation"
    folder.mkdir()
    asked = {"detectors": [{"name": "hard", "sha256": "f" * 64}], "patches": patches}
    (folder / "run.json").write_text(json.dumps(asked))
    (folder / "results.json").write_text(json.dumps(cells))
    found = robustness_of(run)
    assert found is not None and (found.clean, found.attacked, found.adaptive) == (0.93, 0.6, 0.53)
    assert found.words == "AP50 clean .93, under patterns .60, under one made for it .53 (60 people, evaluation)"
    (folder / "run.json").write_text(json.dumps({**asked, "detectors": [{"name": "hard", "sha256": "0" * 64}]}))
    assert robustness_of(run) is None
