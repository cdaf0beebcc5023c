"""From sheet to shirt: every print says on what, how hot, which side up, in which order, and where it goes."""

import re
from pathlib import Path

import pytest
from pypdf import PdfReader

from physadv.cli import main
from physadv.fabricate.document import LEAST_PT
from physadv.fabricate.guide import fitting_shirt, guide, sheets_in_words, top_cm
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


def test_the_place_is_that_of_training() -> None:
    street, poster = load_patch("street"), load_patch("poster")
    # A small print's middle lies on the chest; a large one hangs from just under the neck.
    assert top_cm(street, (200.0, 200.0)) == 5 + CHEST_DROP_CM - 10
    assert top_cm(street, (480.0, 480.0)) == 8
    assert top_cm(poster, poster.size_mm) == pytest.approx(41 - 29.7)
    assert (fitting_shirt(360), fitting_shirt(480), fitting_shirt(900)) == ("S", "M", None)
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
