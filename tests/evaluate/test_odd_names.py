"""Folders and files whose names are not UTF-8, as old archives and cameras write them: nothing is lost by them."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny import BlobDetector, tiny_detector, tiny_gradient

from physadv.attack import data as training
from physadv.attack.data import Inputs
from physadv.attack.recipe import Recipe
from physadv.attack.settings import TrainSettings
from physadv.attack.training import conclude, finished, prepare, trained
from physadv.cli import main
from physadv.files import text_bytes, write_json
from physadv.patch import load_patch


@pytest.fixture
def odd(folder: Path) -> Path:
    """The data set in a folder, and with images, of Latin-1 names."""
    place = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    shutil.copytree(folder, place, ignore=lambda *_: [place.name])
    for kind, ending in (("images", ".png"), ("labels", ".txt")):
        for i in range(3):
            (place / kind / f"{i}{ending}").rename(place / kind / os.fsdecode(b"stra\xdfe %d" % i + ending.encode()))
    return place


def test_a_report_is_whole_and_its_names_are_read_back(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("load_detector", "labelling"):
        monkeypatch.setattr(f"physadv.evaluate.run.{name}", lambda *_, **__: BlobDetector(min_conf=0.001))
    (odd / "images" / os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    out = odd / "out"
    flags = ["street", "--images", str(odd / "images"), "--labels", str(odd / "labels"), "--resamples", "20"]
    assert main(["evaluate", *flags, "--imgsz", "320", "--out", str(out)]) == 0
    run = json.loads((out / "run.json").read_text())
    assert any("\udcff.png" in why for why in run["skipped"])
    assert "\\udcff.png" in (out / "report.md").read_text()
    capsys.readouterr().out.encode()


def test_a_run_trains_on_them_and_its_record_names_them(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "load_detector", lambda *_, **__: tiny_detector(imgsz=64))
    recipe = Recipe(steps=2, batch=1, crops=(64,), texels=8, checkpoint_every=1)
    out = odd / "run"
    fields = {"images": [str(odd / "images")], "labels": odd / "labels", "out": out, "start": "none"}

    def inputs(resume: bool) -> Inputs:
        return Inputs(TrainSettings.model_validate({**fields, "resume": resume}), recipe, cache=odd / "cache")

    for _ in trained(finished(prepare(inputs(False), [tiny_gradient()]))):
        break
    prepared = finished(prepare(inputs(True), [tiny_gradient()]))
    assert [progress.step for progress in trained(prepared)] == [2]
    outcome = conclude(prepared)
    split = load_patch(out).record["split"]
    names = {*split["train"], *split["held_out"]}
    assert outcome.done and sum("\udcdf" in name for name in names) == 3


def test_json_reads_such_a_name_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    write_json(tmp_path / "a.json", {"name": name})
    assert json.loads((tmp_path / "a.json").read_text())["name"] == name
    assert text_bytes("é\udce9") == "é\\udce9".encode()
