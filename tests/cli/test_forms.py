"""Forms of values that several commands share: lengths with units, lists, the detector's image size."""

from pathlib import Path
from typing import Any

import pytest

from physadv.attack.recipe import Recipe
from physadv.cli import main, verb
from physadv.cli.detectors import rounded_imgsz


def flags(name: str, *words: str) -> Any:
    return verb(name).parsed(words)


@pytest.mark.parametrize("text", ["36", "36cm", "360mm", "0.36m", "36.0 cm"])
def test_lengths_with_their_unit_or_as_the_flag_says(text: str) -> None:
    assert flags("live", "--wear-size", text).wear_size == 36
    millimetres = "360" if text == "36" else text
    assert flags("train", "--width-mm", millimetres).width_mm == 360
    assert flags("calibrate camera", "--square-mm", millimetres).square_mm == 360


@pytest.mark.parametrize("text", ["40", "40cm", "400mm"])
def test_a_size_by_every_command(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "webcam", "--size", text, "--distance", "2", "--person-height", "170"]) == 0
    assert "40 cm" in capsys.readouterr().out
    assert main(["print", "webcam", "--size", text, "--out", str(tmp_path / "p.png")]) == 0
    assert "pattern 40 x 40 cm" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["live", "--wear-size", "0cm"], ["train", "--width-mm", "36 feet"], ["live", "--wear-size", "nan"],
              ["live", "--wear-size", "4m"], ["advise", "webcam", "--size", "large"]],
)  # fmt: skip
def test_what_is_no_length_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{words[-2]}: expected" in line


@pytest.mark.parametrize("words", [("a", "b"), ("a,b",), ("a, b",), ("a", "{flag}", "b")])
@pytest.mark.parametrize(("name", "field"), [("train", "images"), ("train", "detector"), ("live", "wear")])
def test_lists_as_words_or_between_commas(name: str, field: str, words: tuple[str, ...]) -> None:
    flag = f"--{field}"
    assert getattr(flags(name, flag, *(w.format(flag=flag) for w in words), "--seconds", "3"), field) == ["a", "b"]


def test_patterns_of_evaluate_and_a_flag_before_them() -> None:
    assert flags("evaluate", "a,b", "--defend", "lgs,median", "--defend", "tv").patches == ["a", "b"]
    found = flags("evaluate", "--defend", "lgs,median", "a", "b")
    assert (found.patches, found.defend) == (["a", "b"], ["lgs,median"])


def test_a_path_with_a_comma_stays_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    assert flags("train", "--images", str(folder)).images == [str(folder)]
    assert flags("preview", "webcam", "--images", f"{folder}").images == [str(folder)]


@pytest.mark.parametrize("name", ["live", "evaluate", "advise webcam", "learn blocks --out x.safetensors"])
def test_imgsz_has_the_same_bounds_everywhere(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for imgsz in ("31", "4097"):
        assert main([*name.split(), "--imgsz", imgsz]) == 2
        assert "--imgsz: expected" in capsys.readouterr().err


def test_imgsz_is_rounded_up_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert rounded_imgsz(640, "x") == 640
    assert capsys.readouterr().err == ""
    assert rounded_imgsz(600, "physadv live") == 608
    assert capsys.readouterr().err == "physadv live: --imgsz 600 is rounded up to 608, a multiple of 32\n"
    assert main(["advise", "webcam", "--imgsz", "600"]) == 0
    assert "rounded up to 608" in capsys.readouterr().err


def test_renamed_flags() -> None:
    assert Recipe.of(flags("train", "--occlusion", "0")).world.erase.strength == 0
    assert flags("preview", "webcam", "--view-size", "96").view_size == 96
