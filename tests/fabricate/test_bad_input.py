"""What cannot be printed is refused in one line, and nothing is written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from physadv.cli import main
from physadv.errors import FabricationError, PhysadvError
from physadv.fabricate.layout import row_name
from physadv.fabricate.poster import cautions, print_name, print_patch, printed_size
from physadv.fabricate.settings import PrintSettings
from physadv.fabricate.units import length_in, paper_mm, size_for_person
from physadv.patch import Patch, Target, load_patch
from physadv.settings import parse


@pytest.mark.parametrize(
    ("values", "out", "message"),
    [
        ({"size": "0cm"}, "x.pdf", "size"),
        ({"size": "36 ells"}, "x.pdf", "a plain number is in cm"),
        ({"size": "-3cm"}, "x.pdf", "size"),
        ({"size": "nancm"}, "x.pdf", "size"),
        ({"size": "1mm"}, "x.pdf", "too small to print"),
        ({"size": "40m"}, "x.pdf", "too large"),
        ({"paper": "a9"}, "x.pdf", "paper"),
        ({"paper": "0x0mm"}, "x.pdf", "paper"),
        ({"paper": "1.2.3x4mm"}, "x.pdf", "paper"),
        ({"paper": "80x90mm"}, "x.pdf", "too small for ruler"),
        ({"size": "171cm"}, "x.pdf", "size: a print 171 cm high is longer than a person of 170 cm from neck to floor"),
        ({"for_person": "170cm", "rule": "diagonal", "scale": 0.97}, "x.pdf", "scale: a print 174.7 cm high is longer"),
        ({"size": "1.39m", "paper": "150x110mm"}, "x.pdf", "sheets"),
        ({"size": "30cm", "for_person": "170cm"}, "x.pdf", "one of the two"),
        ({"for_person": "17cm"}, "x.pdf", "for_person"),
        ({"for_person": "170cm", "scale": 0}, "x.pdf", "scale"),
        ({}, "x.jpg", ".pdf or .png"),
        ({"size": "1.39m"}, "x.png", "write a PDF"),
        ({"size": "1m", "paper": "fit"}, "x.png", "102.4 x 106.4 cm is too large for a PNG"),
        ({"garment": "dtg"}, "x.pdf", "PNG"),
        ({"garment": "dtg", "paper": "a4"}, "x.png", "paper"),
        ({"garment": "dtg", "size": "1.2m"}, "x.png", "larger"),
        ({"cmyk": "missing.icc"}, "x.pdf", "cannot be read"),
        ({"cmyk": "missing.icc"}, "x.png", "PNG cannot hold CMYK"),
    ],
)
def test_one_line_says_what_to_do(cells: Patch, tmp_path: Path, values: dict[str, Any], out: str, message: str) -> None:
    with pytest.raises(PhysadvError, match=message) as caught:
        print_patch(cells, parse(PrintSettings, values), tmp_path / out)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_tall_print_is_refused_by_its_height_and_a_poster_hangs_on_walls_too(tall: Patch) -> None:
    assert printed_size(tall, PrintSettings(size=69)) == (690, 1380)
    with pytest.raises(
        FabricationError,
        match=r"a print 140 cm high is longer than a person of 170 cm from neck to floor: expected 139\.6 cm or less",
    ):
        printed_size(tall, PrintSettings(size=70))
    assert printed_size(replace(tall, target="poster"), PrintSettings(size=150)) == (1500, 3000)


@pytest.mark.parametrize("flags", [["--scale", ".3"], ["--rule", "area", "--size", "30cm"]])
def test_a_rule_without_a_person_is_refused(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["print", "webcam", *flags, "--out", str(tmp_path / "x.pdf")]) == 2
    assert "--for-person" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("webcam --for-person 170cm --rule area", "--rule: only with --scale"),
        ("webcam --shirt L", "--shirt: only with --garment panels"),
        ("webcam --clothes skirt", "--clothes: only with --garment panels"),
        (
            "webcam --garment panels --clothes trousers",
            "--garment panels: webcam is a chest pattern: expected a texture",
        ),
        ("webcam --out .", "--out: expected a name that ends in .pdf or .png, got '.'"),
        ("webcam --out file/x.pdf", "--out: expected a folder that can be written, got 'file': it is a file"),
        ("webcam --out folder.pdf", "--out: folder.pdf is a folder: expected a file name"),
        ("notes.md", "notes.md: not an image"),
    ],
)
def test_one_line_names_the_flag_or_the_file(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder.pdf").mkdir()
    (tmp_path / "notes.md").write_text("# no image")
    assert main(["print", *words.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"physadv print: {message}")
    assert not any(p.is_file() and p.stat().st_size > 20 for p in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "cells-36cm"),
        ({"size": "18.5cm", "control": "grey"}, "cells-grey-18.5cm"),
        ({"garment": "panels", "shirt": "L", "printer": "calib/printers/desk.json"}, "cells-panels-L-36cm-desk"),
        ({"garment": "panels", "clothes": "skirt"}, "cells-panels-skirt-M-36cm"),
        ({"paper": "300x400 mm", "texels": "smooth", "cmyk": "a/fogra.icc"}, "cells-36cm-300x400 mm-smooth-cmyk-fogra"),
    ],
)
def test_prints_that_differ_have_names_that_differ(cells: Patch, values: dict[str, Any], name: str) -> None:
    assert print_name(cells, PrintSettings.model_validate(values)) == name


def test_what_a_print_of_a_texture_is_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["print", "tshirt", "--size", "10cm"]) == 0
    said = capsys.readouterr().out
    assert "--size: tshirt was trained to repeat every 20 cm and now repeats every 10 cm" in said
    assert "is a texture that repeats every 10 cm: this prints one tile of it; for clothes to cut and sew use" in said
    assert [p.name for p in tmp_path.iterdir()] == ["tshirt-10cm.pdf"]
    assert main(["print", "webcam", "--size", "10cm"]) == 0
    assert "texture" not in capsys.readouterr().out
    assert cautions(load_patch("tshirt"), PrintSettings(garment="panels")) == ()


@pytest.mark.parametrize("target", ["poster", "chest", "portrait"])
def test_clothes_are_not_cut_from_a_pattern_with_edges(cells: Patch, tmp_path: Path, target: Target) -> None:
    for clothes in ("shirt", "outfit"):
        settings = PrintSettings.model_validate({"garment": "panels", "clothes": clothes})
        with pytest.raises(
            FabricationError, match=f"cells is a {target} pattern: expected a texture that repeats without"
        ):
            print_patch(replace(cells, target=target), settings, tmp_path / "x.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_is_none_is_refused(cells: Patch, tmp_path: Path) -> None:
    fake = tmp_path / "fake.icc"
    fake.write_bytes(b"not a profile")
    with pytest.raises(FabricationError, match="not an ICC profile"):
        print_patch(cells, PrintSettings(cmyk=fake), tmp_path / "x.pdf")


@pytest.mark.parametrize(
    ("text", "mm"), [("36cm", 360), ("0.5 m", 500), ("10in", 254), ('4"', 101.6), (".5m", 500), ("36", 36)]
)
def test_lengths(text: str, mm: float) -> None:
    assert length_in("mm")(text) == pytest.approx(mm)


@pytest.mark.parametrize(("text", "sides"), [("A4", (210, 297)), ("400x300mm", (300, 400)), ("30x42cm", (300, 420))])
def test_papers(text: str, sides: tuple[float, float]) -> None:
    assert paper_mm(text) == pytest.approx(sides)


def test_a_fifth_of_a_standing_persons_diagonal_is_36_cm(cells: Patch) -> None:
    assert size_for_person(1700, "diagonal", 0.2) == pytest.approx(360, abs=1)
    assert printed_size(cells, PrintSettings(for_person=170, scale=0.2))[0] == pytest.approx(360, abs=1)


def test_without_a_share_a_print_is_as_large_on_anybody_as_its_own_size_is_on_an_adult(
    cells: Patch, tall: Patch
) -> None:
    assert printed_size(tall, PrintSettings(for_person=170)) == (360.0, 720.0)
    assert printed_size(tall, PrintSettings(for_person=190)) == pytest.approx((360 * 190 / 170, 720 * 190 / 170))
    assert printed_size(cells, PrintSettings(for_person=85)) == pytest.approx((180, 180))


def test_rows_are_named_like_a_spreadsheets_columns() -> None:
    assert [row_name(i) for i in (0, 25, 26, 27)] == ["A", "Z", "AA", "AB"]
