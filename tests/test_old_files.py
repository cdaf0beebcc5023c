"""Files that earlier versions wrote, as `tests/data` keeps them: each still serves what it was written for."""

import json
import shutil
from pathlib import Path

import pytest

from physadv.cli import main

DATA = Path(__file__).parent / "data" / "v0.1"
SERVED = ("--port", "0", "--seconds", "0.3")
SCORED = ("--images", "images", "--labels", "labels", "--resamples", "20")


@pytest.fixture(autouse=True)
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, as the folder in which commands are typed."""
    folder = tmp_path / "old"
    shutil.copytree(DATA, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "cache"))
    return folder


def read(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("pattern", ["run", "run/patch.png", "run/patch.safetensors", "stopped", "run/latest.png"])
def test_a_pattern_prints(old: Path, pattern: str) -> None:
    assert main(["print", pattern, "--size", "12cm", "--out", "sheet.png"]) == 0
    assert (old / "sheet.png").stat().st_size > 1000


def test_a_stopped_run_goes_on_to_its_end(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split, start = (old / "stopped" / "split.json").read_bytes(), (old / "stopped" / "patch.png").read_bytes()
    given = ["--images", "images", "--labels", "labels", "--start", "run"]
    assert main(["train", "--resume", "--out", "stopped", *given]) == 0
    assert "an earlier version began this run" in " ".join(capsys.readouterr().err.split())
    record = read(old / "stopped" / "run.json")
    assert (record["done"], record["step"], record["began_from"]) == (True, 8, "run")
    assert (old / "stopped" / "split.json").read_bytes() == split
    assert (old / "stopped" / "patch.png").read_bytes() != start


def test_a_finished_run_stays_as_it_is(old: Path) -> None:
    pattern = (old / "run" / "patch.png").read_bytes()
    assert main(["train", "--resume", "--out", "run", "--images", "images", "--labels", "labels"]) == 0
    assert (old / "run" / "patch.png").read_bytes() == pattern


def test_who_a_pattern_and_its_start_were_trained_on_is_left_out(old: Path) -> None:
    flags = [*SCORED, "--imgsz", "96", "--held-out", "--out", "new"]
    assert main(["evaluate", "stopped", *flags]) == 0
    trained = read(old / "stopped" / "split.json")["train"]
    assert isinstance(trained, list)
    assert f"{6 - len(trained)} images" in (old / "new" / "report.md").read_text()


@pytest.mark.parametrize("name", ["", "v.mp4", "v.jsonl", "v.session.json"])
def test_a_recording_replays(name: str) -> None:
    assert main(["replay", str(Path("recording") / name), *SERVED]) == 0


def test_a_recording_whose_table_is_missing_replays(old: Path) -> None:
    (old / "recording" / "v.parquet").unlink()
    assert main(["replay", "recording", *SERVED]) == 0


def test_a_recording_is_scored_again_in_its_folder(old: Path) -> None:
    flags = ["--video", "recording/v.mp4", "--imgsz", "192", "--resamples", "20", "--defend", "persistence"]
    before = read(old / "video-evaluation" / "run.json")
    assert main(["evaluate", "run", *flags, "--out", "video-evaluation"]) == 0
    assert set(before) <= set(read(old / "video-evaluation" / "run.json"))


@pytest.mark.parametrize(
    ("folder", "asked"),
    [
        ("evaluation", "run, chest-v1 on images"),
        ("certified", "run on images"),
        ("adaptive", "run on images"),
        ("video-evaluation", "run on v.mp4"),
    ],
)
def test_an_evaluation_is_not_written_over(folder: str, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*SCORED, "--imgsz", "64", "--out", folder]
    assert main(["evaluate", "run", *flags]) == 2
    assert f"{folder} holds an evaluation of {asked}" in capsys.readouterr().err


def test_profiles_of_camera_and_printer(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "chest-v3", "--distance", "2m", "--camera", "profiles/desk.json"]) == 0
    assert "146 detector pixels" in capsys.readouterr().out
    assert main(["print", "run", "--size", "12cm", "--printer", "profiles/paper+desk.json", "--out", "new.png"]) == 0
    seen = ["--source", "sample", "--width", "640", "--height", "480", "--frames", "2", "--ui", "none"]
    assert main(["live", *seen, "--camera", "profiles/desk.json", "--imgsz", "96", "--backend", "torch"]) == 0


@pytest.mark.parametrize(
    ("words", "config", "written"),
    [
        ("train --out trained", "train.toml", "trained/run.json"),
        ("evaluate", "evaluate.yaml", "scored/results.json"),
        ("evaluate", "evaluate-adaptive.yaml", "attacked/results.json"),
        ("evaluate", "evaluate-video.toml", "filmed/results.json"),
        ("live", "live.toml", "recorded/v.parquet"),
        ("replay recording", "replay.yaml", ""),
        ("print run", "print.toml", "print.pdf"),
        ("show run", "show.toml", ""),
        ("patterns", "patterns.toml", ""),
        ("advise chest-v3", "advise.yaml", ""),
        ("learn blocks", "learn.toml", "blocks.safetensors"),
        ("preview run", "preview.yaml", "preview.png"),
        ("calibrate camera", "calibrate-camera.yaml", "board.pdf"),
        ("calibrate colour", "calibrate-colour.toml", "chart.pdf"),
    ],
)
def test_a_configuration_file_sets_the_flags_of_its_verb(old: Path, words: str, config: str, written: str) -> None:
    assert main([*words.split(), "--config", f"config/{config}"]) == 0
    assert (old / written).exists()
