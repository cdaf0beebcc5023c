"""From sheet to shirt: every print says on what, how hot, which side up, in which order, and where it goes."""

import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader

from physadv.cli import main
from physadv.fabricate.body import Cover, cover_of, top_cm
from physadv.fabricate.document import LEAST_PT, Document
from physadv.fabricate.guide import draw_guide, fitting_shirt, guide, sheets_in_words
from physadv.fabricate.inks import srgb
from physadv.fabricate.poster import layouts_of, print_patch
from physadv.fabricate.settings import PrintSettings
from physadv.patch import Patch, load_patch
from physadv.simulate.placement import CHEST_DROP_CM


def smallest_type(reader: PdfReader) -> float:
    """Return the size in points of the smallest words of a document whose pages are not scaled."""
    pages = [page.get_contents() for page in reader.pages]
    return min(float(s) for page in pages if page is not None for s in re.findall(rb"([\d.]+) Tf", page.get_data()))


def said(patch: Patch, tmp_path: Path, **values: object) -> tuple[str, int]:
    """Return the words of the last page, and how many pages there are."""
    out = tmp_path / "s.pdf"
    done = print_patch(patch, PrintSettings(**values), out)  # type: ignore[arg-type]
    reader = PdfReader(out)
    sheets = sum(len(layout.sheets) for layout in done.layouts.values())
    assert len(reader.pages) == sheets + 1
    assert smallest_type(reader) >= LEAST_PT
    return " ".join(reader.pages[-1].extract_text().split()), sheets


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": "40cm"}, ["Print 6 sheets", "Glue row by row", "Fix it flat on the chest", "8 cm"]),
        ({"size": "18cm", "paper": "a3"}, ["Print 1 sheet of", "Cut along the marks.", "18 x 18 cm"]),
        ({"garment": "light-transfer"}, ["LIGHT", "FACE DOWN", "185 degrees C for 20 s", "edge to edge", "size S"]),
        ({"garment": "dark-transfer", "size": "48cm"}, ["DARK", "FACE UP", "170 degrees C for 20 s", "size M"]),
        ({"size": "20cm", "paper": "150x200mm"}, ["20 x 20 cm"]),
    ],
)
def test_the_last_page_tells_how_a_print_goes_on(tmp_path: Path, values: dict[str, object], words: list[str]) -> None:
    text, _ = said(load_patch("street"), tmp_path, **values)
    assert [w for w in words if w not in text] == []


def test_panels_say_cloth_and_the_order_of_sewing(tmp_path: Path) -> None:
    shirt, settings = load_patch("tshirt"), PrintSettings(garment="panels", paper="a2")
    layouts = layouts_of(shirt, settings, tmp_path / "s.pdf")
    text = " ".join(guide(shirt, settings, shirt.size_mm, layouts).steps)
    assert f"Print {sum(len(layout.sheets) for layout in layouts.values())} sheets" in text
    order = [text.index(word) for word in ("1 shoulders", "2 neck", "3 sleeves", "4 sides", "5 hems")]
    assert order == sorted(order) and "polyester" in text and "195 degrees C" in text


@pytest.mark.parametrize("size", ["S", "XXL"])
def test_an_outfit_says_how_much_cloth_and_what_is_sewn_to_what(tmp_path: Path, size: str) -> None:
    texture = replace(load_patch("tshirt"), target="outfit")
    settings = PrintSettings.model_validate({"garment": "panels", "paper": "a4", "shirt": size})
    layouts = layouts_of(texture, settings, tmp_path / "o.pdf")
    # The last page alone: the sheets before it are drawn elsewhere.
    pdf = Document(title="", subject="", profile=srgb().profile, profile_name="sRGB")
    draw_guide(pdf, texture, settings, texture.size_mm, guide(texture, settings, texture.size_mm, layouts))
    (page,) = PdfReader(BytesIO(bytes(pdf.output()))).pages
    text = " ".join(page.extract_text().split())
    words = [
        "T-shirt.",
        "3 sleeves",
        "Trousers.",
        "1 sides",
        "one notch",
        "3 crotch",
        "fold 40 mm in",
        "elastic",
        "5 hems",
    ]
    assert [w for w in words if w not in text] == [] and text.index("3 sleeves") < text.index("3 crotch")
    needed = {"S": 255, "XXL": 355}[size]
    assert f"{needed} cm of it 150 cm wide" in text and "right back leg" in text
    assert "whole T-shirt and trousers" in text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["A1 A2 B1 B2 C1 C2 D1 D2:", "down to the thighs", "82 cm long", "8 cm", "Somebody of 170 cm"]),
        ({"paper": "a3"}, ["Glue row by row, A1 B1 C1 D1:"]),
        ({"garment": "light-transfer", "paper": "a3"}, ["Lay the shirt flat", "below the hem of any T-shirt"]),
    ],
)
def test_a_tall_print_is_joined_in_order_and_worn_over_more_than_a_shirt(
    tall: Patch, tmp_path: Path, values: dict[str, object], words: list[str]
) -> None:
    text, _ = said(tall, tmp_path, **values)
    assert [w for w in words if w not in text] == []


def test_what_a_print_covers_of_whoever_stands_and_sits(tall: Patch) -> None:
    cover = cover_of(tall, tall.size_mm)
    assert cover.parts == "chest to thighs" and (cover.top, cover.bottom) == (8, 80)
    assert cover.on_lap == pytest.approx(30.4, abs=0.1)
    # On a child more of the body, and the lap comes sooner.
    child = cover_of(tall, tall.size_mm, 110)
    assert child.parts == "chest to shins" and child.on_lap > cover.on_lap
    assert (cover.shown(1.0), cover.shown(0.1)) == (1.0, 0.0) and 0 < cover.shown(0.5) < cover.shown(0.6) < 1
    square = load_patch("street")
    assert cover_of(square, square.size_mm).parts == "chest to belly" and cover_of(square, square.size_mm).on_lap == 0


def test_the_place_is_that_of_training() -> None:
    street, poster = load_patch("street"), load_patch("poster")
    # A small print's middle lies on the chest; a large one hangs from just under the neck.
    assert top_cm(street, (200.0, 200.0)) == 5 + CHEST_DROP_CM - 10
    assert top_cm(street, (480.0, 480.0)) == 8
    assert top_cm(poster, poster.size_mm) == pytest.approx(41 - 29.7)
    chest = Cover(8, 56)
    assert (fitting_shirt(360, chest), fitting_shirt(480, chest), fitting_shirt(900, chest)) == ("S", "M", None)
    assert (fitting_shirt(360, Cover(8, 74)), fitting_shirt(360, Cover(8, 90))) == ("L", None)
    wide = guide(street, PrintSettings(garment="dtg", size=90), (900.0, 900.0), {})
    assert "mount it on a board" in wide.place and any("underbase" in step for step in wide.steps)


def test_sheets_are_counted_before_anything_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shirt = load_patch("tshirt")
    settings = PrintSettings(garment="panels", paper="a3")
    layouts = layouts_of(shirt, settings, tmp_path / "s.pdf")
    total = sum(len(layout.sheets) for layout in layouts.values())
    assert f"{total} sheets in all" in sheets_in_words(layouts)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("physadv.fabricate.poster.print_patch", stop)
    flags = ["--garment", "panels", "--paper", "a3", "--out", str(tmp_path / "s.pdf")]
    assert main(["print", "tshirt", *flags]) == 130
    assert f"in all {total} sheets" in capsys.readouterr().out


def test_a_image_for_a_shop_has_its_words_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["print", "street", "--garment", "dtg", "--size", "10cm", "--out", str(tmp_path / "s.png")]) == 0
    assert "not mirrored" in capsys.readouterr().out
