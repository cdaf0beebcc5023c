"""Write a pattern as a PDF or PNG with the given settings: the file is complete or absent."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image

from physadv.arrays import signed_png
from physadv.camera.lens import PERSON_CM
from physadv.camera.profile import PrinterProfile
from physadv.controls import control
from physadv.errors import FabricationError
from physadv.fabricate import marks
from physadv.fabricate.artwork import DPI, PatternRaster, Raster
from physadv.fabricate.body import CALLED, DRAWN, TRAINED, check_length
from physadv.fabricate.clothes import clothes_of, panels_of
from physadv.fabricate.document import Document
from physadv.fabricate.guide import draw_guide, guide
from physadv.fabricate.inks import Inks, cmyk, srgb
from physadv.fabricate.layout import Layout, fitting_paper, plan
from physadv.fabricate.panels import PanelRaster, draw_lines, panel_raster
from physadv.fabricate.settings import PrintSettings
from physadv.fabricate.sheet import Legend, draw
from physadv.fabricate.units import check_person, checked_size, cm, paper_mm, size_for_person
from physadv.files import atomic_write
from physadv.outputs import check_replaceable
from physadv.patch import Patch, srgb_profile
from physadv.types import UInt8Array

# One image in memory with transparency: a square metre at 300 dpi is 560 MB.
MAX_DTG_MM = 1000.0
MAX_PNG_MM2 = MAX_DTG_MM**2
PROOF_SIDE = 1200
# The area that usual garment printers print at once.
PLATEN_MM = (400.0, 500.0)
SUFFIXES = (".pdf", ".png")
_PDFIUM = threading.Lock()


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to print: the poster, or a panel of clothes. name: "" for the poster. layout: its sheets."""

    name: str
    raster: Raster
    layout: Layout


@dataclass(frozen=True, slots=True)
class Printed:
    """What was written. paths: the files, the main one first. size_mm: of the pattern. layouts: of each part, by name.

    shift: mean change of the colours by CMYK, of 255 a channel, or None for sRGB.
    """

    paths: tuple[Path, ...]
    size_mm: tuple[float, float]
    layouts: dict[str, Layout]
    shift: float | None = None

    @property
    def pages(self) -> int:
        """Return how many sheets of paper all parts take."""
        return sum(len(layout.sheets) for layout in self.layouts.values())


def printed_size(patch: Patch, settings: PrintSettings) -> tuple[float, float]:
    """Return (width, height) in millimetres at which a pattern is printed: as asked, or its own size.

    Raises: FabricationError if both a size and a person are given, the size is absurd, or what hangs on a body is too long
    for the person, or for an adult where none is given.
    """
    if settings.size is not None and settings.for_person is not None:
        raise FabricationError(
            "given beside `for_person`", field="size", hint="give one of the two; the person's height decides the size"
        )
    width, height = _size(patch, settings)
    field = "size" if settings.scale is None else "scale"
    check_length(patch.target, height, field=field, person_cm=settings.for_person or PERSON_CM)
    return width, height


def _size(patch: Patch, settings: PrintSettings) -> tuple[float, float]:
    width, height = patch.size_mm
    if settings.for_person is not None and settings.scale is None:
        check_person(settings.for_person * 10)
        return checked_size(*(side * settings.for_person / PERSON_CM for side in patch.size_mm))
    if settings.for_person is not None and settings.scale is not None:
        # A pattern that is not square keeps the area of the square that the rule asks for.
        side = size_for_person(settings.for_person * 10, settings.rule, settings.scale)
        return checked_size(side * (width / height) ** 0.5, side * (height / width) ** 0.5)
    if settings.size is None:
        return checked_size(width, height)
    wanted = settings.size * 10
    return checked_size(wanted, wanted * height / width)


def print_name(patch: Patch, settings: PrintSettings) -> str:
    """Return the file name of a print without its ending: every setting by which prints of one pattern differ.

    Raises: FabricationError as `printed_size` does.
    """
    words = (
        patch.name,
        settings.control,
        settings.garment,
        settings.clothes if settings.garment == "panels" else None,
        settings.shirt if settings.garment == "panels" else None,
        f"{cm(printed_size(patch, settings)[0])}cm",
        settings.paper,
        "smooth" if settings.texels == "smooth" else None,
        None if settings.printer is None else Path(settings.printer).stem,
        None if settings.cmyk is None else f"cmyk-{settings.cmyk.stem}",
    )
    return re.sub(r"[^\w.+ -]+", "-", "-".join(word for word in words if word))


def cautions(patch: Patch, settings: PrintSettings) -> tuple[str, ...]:
    """Return sentences about what is easily overlooked: how a texture repeats, what a garment printer takes.

    Raises: FabricationError as `printed_size` does.
    """
    if not patch.tiles:
        width, height = printed_size(patch, settings)
        if settings.garment != "dtg" or (width <= PLATEN_MM[0] and height <= PLATEN_MM[1]):
            return ()
        usual = " x ".join(cm(side) for side in PLATEN_MM)
        return (
            f"{cm(width)} x {cm(height)} cm is more than most garment printers take ({usual} cm): ask the shop first",
        )
    width, own = printed_size(patch, settings)[0], patch.size_mm[0]
    out = []
    if abs(width - own) > 0.01 * own:
        field = "size" if settings.for_person is None else "for_person"
        out.append(
            f"`{field}`: {patch.name} was trained to repeat every {cm(own)} cm and now repeats every {cm(width)} cm, of "
            f"which nothing is known; leave `{field}` out to print what was trained"
        )
    if settings.garment != "panels":
        out.append(
            f"{patch.name} is a texture that repeats every {cm(width)} cm: this prints one tile of it; for "
            "clothes to cut and sew use `garment=panels` with a `shirt` of S, M, L, XL or XXL"
        )
    elif (cut := clothes_of(patch, settings)) not in DRAWN[patch.target]:
        out.append(
            f"`clothes`: nothing is known of {patch.name} as {CALLED[cut]}: it was trained and scored as "
            f"{CALLED[TRAINED[patch.target]]}"
        )
    return tuple(out)


def what_to_print(patch: Patch, settings: PrintSettings) -> Patch:
    """Return the pattern, or the control that was asked for in its place, in the colours that go to the printer.

    Raises: FabricationError if a printer's profile does not go with the pattern or with CMYK. CalibrationError if the
    profile is missing, damaged or stale.
    """
    shown = patch if settings.control is None else control(patch, settings.control, np.random.default_rng(0))
    if settings.printer is None:
        return shown
    if settings.cmyk is not None:
        raise FabricationError(
            "given beside `cmyk`", field="printer", hint="give one of the two; the profile was measured on sRGB prints"
        )
    profile = PrinterProfile.load(settings.printer)
    profile.check_age()
    trained = patch.record.get("printer")
    if trained == profile.sha256:
        raise FabricationError(
            f"{patch.name} was trained through {profile.name}, so its colours are right",
            field="printer",
            hint="leave out `printer`",
        )
    if trained:
        raise FabricationError(
            f"{patch.name} was trained through another printer (profile {str(trained)[:12]}, got "
            f"{profile.sha256[:12]})",
            field="printer",
            hint=f"print it there without `printer`, or train again: physadv train --printer {settings.printer}",
        )
    return replace(shown, pixels=profile.precompensate_image(shown.pixels))


def print_patch(patch: Patch, settings: PrintSettings, out: Path, *, overwrite: bool = False) -> Printed:
    """Print a pattern as `settings` say to a PDF or PNG, and return what was written.

    A PDF holds every sheet. A PNG is one sheet at 300 dpi; where a paper is given that takes several, each is a file of
    its own (`s-A1.png`, ...). The same request always gives the same bytes. overwrite: replace files of other programs.

    Raises: FabricationError if paper, size, garment, profile or file name do not go together. CalibrationError for a
    printer's profile that cannot be used. OutputError for a file that may not be replaced. OSError if a file cannot be
    written.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise FabricationError(field="out", expected="a name that ends in .pdf or .png", got=repr(str(out)))
    size = printed_size(patch, settings)
    shown = what_to_print(patch, settings)
    if settings.garment == "dtg":
        return _write_dtg(shown, settings, size, out, overwrite)
    if settings.cmyk is not None and suffix == ".png":
        raise FabricationError("PNG cannot hold CMYK", field="cmyk", hint="write a PDF (`out=poster.pdf`)")
    inks = srgb() if settings.cmyk is None else cmyk(settings.cmyk)
    parts = list(_parts(shown, settings, size, single=suffix == ".png"))
    if suffix == ".png":
        _check_sheets(parts)
    data = pdf_bytes(patch, shown, settings, parts, inks, guided=suffix == ".pdf")
    layouts = {part.name: part.layout for part in parts}
    if suffix == ".png":
        return Printed(_write_sheets(data, parts, out, overwrite), size, layouts)
    proof_path = out.with_name(f"{out.stem}-proof.png")
    for path in (out, proof_path) if settings.cmyk is not None else (out,):
        check_replaceable(path, overwrite=overwrite)
    with atomic_write(out) as stream:
        stream.write(data)
    if settings.cmyk is None:
        return Printed((out,), size, layouts)
    proof, shift = _write_proof(parts[0].raster, inks, proof_path)
    return Printed((out, proof), size, layouts, shift)


def layouts_of(patch: Patch, settings: PrintSettings, out: Path) -> dict[str, Layout]:
    """Return the sheets of each part of a print by name, before anything is written; none for a garment printer.

    Raises: FabricationError as `print_patch` does.
    """
    if settings.garment == "dtg":
        return {}
    parts = _parts(patch, settings, printed_size(patch, settings), single=out.suffix.lower() == ".png")
    return {part.name: part.layout for part in parts}


def preview_png(patch: Patch, settings: PrintSettings, *, sheet: int = 0, width: int = 700) -> tuple[bytes, int]:
    """Return one sheet as a PNG `width` dots wide, and how many sheets there are; for DTG the whole image.

    Raises: FabricationError as `print_patch` does, or if there is no such sheet.
    """
    size = printed_size(patch, settings)
    shown = what_to_print(patch, settings)
    if settings.garment == "dtg":
        raster = PatternRaster(*size, shown, settings.texels)
        return _png(raster.small(width, max(1, round(width * size[1] / size[0])))), 1
    inks = srgb() if settings.cmyk is None else cmyk(settings.cmyk)
    parts = list(_parts(shown, settings, size, single=False))
    numbers = [s.number for part in parts for s in part.layout.sheets]
    if sheet not in numbers:
        raise FabricationError(field="sheet", expected=f"0 to {numbers[-1]}", got=str(sheet))
    data = pdf_bytes(patch, shown, settings, parts, inks, only=sheet)
    with _opened(data) as document:
        page = document[0]
        pixels = _rendered(page, width / page.get_width() * 72)
    return _png(pixels), len(numbers)


def _parts(shown: Patch, settings: PrintSettings, size: tuple[float, float], *, single: bool) -> Iterator[Part]:
    """Yield what is to be printed, laid out on its paper.

    single: without a paper given, one sheet as large as it takes, as each panel of clothes in any case.
    """
    paper = settings.paper or ("fit" if single or settings.garment == "panels" else "a4")
    if settings.garment == "panels":
        rasters: dict[str, Raster] = {
            panel.name: panel_raster(shown, panel, size, settings.texels) for panel in panels_of(shown, settings)
        }
    else:
        rasters = {"": PatternRaster(*size, shown, settings.texels, settings.garment == "light-transfer")}
    first = 0
    for name, raster in rasters.items():
        width, height = raster.width_mm, raster.height_mm
        sides = fitting_paper(width, height) if paper.strip().lower() == "fit" else paper_mm(paper)
        layout = plan(width, height, (raster.width, raster.height), sides, first=first)
        first += len(layout.sheets)
        yield Part(name, raster, layout)


NOTES = {
    None: "",
    "light-transfer": "Mirrored, for light cloth: press it on face down, and it reads rightly. Heat and time: last page.",
    "dark-transfer": "Not mirrored, for dark cloth: peel off the backing, press on face up. Heat and time: last page.",
    "panels": "Cloth and sewing order: last page.",
}
ADVICE = {
    "one": "Print at 100 %, not fitted to the page, and check the ruler. Cut along the marks.",
    "many": "Print at 100 %, not fitted to the page, and check the ruler. Cut along the marks; a sheet lies over the "
    "grey edges of the one before.",
    "panels": "Print at 100 %, not fitted to the page, and check the ruler. Cut along the drawn line.",
}


def pdf_bytes(
    patch: Patch,
    shown: Patch,
    settings: PrintSettings,
    parts: list[Part],
    inks: Inks,
    *,
    only: int | None = None,
    guided: bool = False,
) -> bytes:
    """Return the PDF of some parts, or of the one sheet numbered `only`. guided: with a last page that says what to do."""
    title = patch.name
    pdf = Document(
        title=f"{title}, {settings.control} control" if settings.control else title,
        subject=f"sha256 {shown.sha256}",
        profile=inks.profile,
        profile_name="sRGB" if inks.channels == 3 else inks.name,
        channels=inks.channels,
    )
    for part in parts:
        many = len(part.layout.sheets) > 1
        kind = [f"{settings.control} control"] if settings.control else []
        advice = "panels" if settings.garment == "panels" else "many" if many else "one"
        if settings.printer:
            kind.append(f"colours for {Path(settings.printer).stem}")
        if settings.garment == "panels":
            kind.append(f"{CALLED[clothes_of(patch, settings)]} {settings.shirt}, {part.name}")
        legend = Legend(title, "   ".join(kind), shown.sha256, NOTES[settings.garment or None], ADVICE[advice])
        over = None
        if isinstance(part.raster, PanelRaster):
            over = partial(draw_lines, pdf, part.raster.panel, settings.shirt)
        elif "rim" in patch.record:
            over = partial(marks.upright, pdf, part.raster.width_mm, float(patch.record["rim"]))
        draw(pdf, part.raster, part.layout, legend, inks, over, only=only)
    if guided:
        size = printed_size(patch, settings)
        draw_guide(pdf, patch, settings, size, guide(patch, settings, size, {p.name: p.layout for p in parts}))
    return bytes(pdf.output())


@contextmanager
def _opened(data: bytes) -> Iterator[pypdfium2.PdfDocument]:
    """Yield a PDF for rendering, and close it."""
    # pdfium knows no threads: two previews at once have crashed the page's server.
    with _PDFIUM, closing(pypdfium2.PdfDocument(data)) as document:
        yield document


def _rendered(page: pypdfium2.PdfPage, dpi: float) -> UInt8Array:
    return np.ascontiguousarray(page.render(scale=dpi / 72, rev_byteorder=True).to_numpy()[..., :3])


def _png(pixels: UInt8Array, dpi: float | None = None) -> bytes:
    out = BytesIO()
    resolution = {} if dpi is None else {"dpi": (dpi, dpi)}
    Image.fromarray(pixels).save(out, "PNG", icc_profile=srgb_profile(), compress_level=3, **resolution)
    return signed_png(out.getvalue())


def _check_sheets(parts: list[Part]) -> None:
    """Raise FabricationError if a sheet would be an image that takes more memory than there may be."""
    width, height = max((part.layout.paper for part in parts), key=lambda paper: paper[0] * paper[1])
    if width * height > MAX_PNG_MM2:
        raise FabricationError(
            f"a sheet of {width / 10:g} x {height / 10:g} cm is too large for a PNG at {DPI} dpi",
            field="out",
            expected="a square metre at most (a0)",
            hint="write a PDF (`out=poster.pdf`), or give a smaller `paper`",
        )


def _write_sheets(data: bytes, parts: list[Part], out: Path, overwrite: bool) -> tuple[Path, ...]:
    """Write each page of a PDF as PNG and return their paths."""
    labels = [(part.name, sheet.label, len(part.layout.sheets)) for part in parts for sheet in part.layout.sheets]
    paths = []
    for name, label, count in labels:
        tail = "-".join(word.replace(" ", "-") for word in (name, label if count > 1 else "") if word)
        paths.append(out.with_name(f"{out.stem}-{tail}.png") if tail else out)
        check_replaceable(paths[-1], overwrite=overwrite)
    with _opened(data) as document:
        for page, path in zip(document, paths, strict=True):
            with atomic_write(path) as stream:
                stream.write(_png(_rendered(page, DPI), DPI))
    return tuple(paths)


def _write_dtg(shown: Patch, settings: PrintSettings, size: tuple[float, float], out: Path, overwrite: bool) -> Printed:
    """Write the image that a direct-to-garment printer takes: sRGB, not mirrored, ink or nothing, 300 dpi."""
    if out.suffix.lower() != ".png":
        raise FabricationError(
            field="garment=dtg", expected="a PNG by `out`, as direct-to-garment printers take", got=out.name
        )
    if settings.cmyk is not None:
        raise FabricationError(
            "these printers take sRGB and convert it themselves", field="garment=dtg", hint="leave out `cmyk`"
        )
    if settings.paper is not None:
        raise FabricationError("the image has the print's own size", field="garment=dtg", hint="leave out `paper`")
    if max(size) > MAX_DTG_MM:
        raise FabricationError(
            f"{size[0] / 10:g} x {size[1] / 10:g} cm is larger than any such printer takes",
            field="garment=dtg",
            expected=f"{MAX_DTG_MM / 10:g} cm at most (a shirt's front takes about 40)",
        )
    check_replaceable(out, overwrite=overwrite)
    raster = PatternRaster(*size, shown, settings.texels)
    rgba = raster.piece(0, 0, raster.width, raster.height)
    rgba[..., 3] = np.where(rgba[..., 3] > 127, 255, 0)
    rgba[rgba[..., 3] == 0] = 0
    data = _png(rgba, DPI)
    with atomic_write(out) as stream:
        stream.write(data)
    return Printed((out,), size, {})


def _write_proof(raster: Raster, inks: Inks, path: Path) -> tuple[Path, float]:
    """Write how the print will look on paper, as an sRGB image; return its path and the mean change of 255."""
    scale = PROOF_SIDE / max(raster.width_mm, raster.height_mm)
    small = raster.small(max(1, round(raster.width_mm * scale)), max(1, round(raster.height_mm * scale)))
    proof = inks.proof(small)
    with atomic_write(path) as stream:
        stream.write(_png(proof))
    return path, float(np.abs(proof.astype(np.float32) - small).mean())
