"""`physadv print`: sheets true to the millimetre, garment files and panels, controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from physadv.cli.outputs import Overwrite, check_writable
from physadv.errors import FabricationError
from physadv.fabricate.settings import PrintSettings
from physadv.settings import Groups, PatternName, Positional

if TYPE_CHECKING:
    from physadv.cli.console import Terminal
    from physadv.fabricate.guide import Instructions
    from physadv.fabricate.layout import Layout
    from physadv.fabricate.poster import Printed
    from physadv.patch import Patch

EXAMPLES = (
    "physadv print webcam --size 48cm --paper a4",
    "physadv print tshirt --garment panels --shirt L",
    "physadv print --trigger card --paper a3",
)


class PrintVerb(PrintSettings):
    """A print, and the file that it is written to."""

    groups: ClassVar[Groups] = {"file": ("out", "overwrite"), "pattern": ("trigger",), **PrintSettings.groups}

    patch: Positional[PatternName | None] = Field(
        default=None, description="a shipped name (webcam), a patch file, an image or a run folder"
    )
    trigger: Literal["card", "shirt"] | None = Field(
        default=None, description="print what a poisoned detector waits for (see lab poison) in place of a pattern"
    )
    out: Path | None = Field(
        default=None,
        description="file to write, .pdf or .png; without it named after pattern, size and the flags that change it",
    )
    overwrite: Overwrite = False


def run(settings: PrintVerb) -> int:
    """Print a pattern true to size: on sheets to cut and glue, as transfers, for a garment printer, or as cut panels.

    Raises: FabricationError if flags do not go together. SettingsError if the file cannot be written.
    """
    from physadv.cli.console import Terminal
    from physadv.fabricate.guide import guide
    from physadv.fabricate.poster import layouts_of, print_name, print_patch

    _check(settings)
    patch = _chosen(settings)
    suffix = "png" if settings.garment == "dtg" else "pdf"
    out = settings.out or Path(f"{print_name(patch, settings)}.{suffix}")
    if out.suffix:
        check_writable("out", out, overwrite=settings.overwrite)
    console = Terminal(highlight=False, soft_wrap=True)
    layouts = layouts_of(patch, settings, out)
    _announce(console, patch, settings, layouts)
    done = print_patch(patch, settings, out, overwrite=settings.overwrite)
    _report(console, done)
    _steps(console, guide(patch, settings, done.size_mm, layouts), in_pdf=out.suffix.lower() == ".pdf")
    return 0


def _chosen(settings: PrintVerb) -> Patch:
    """Return the pattern or the trigger's print that is named.

    Raises: FabricationError unless it is one of the two.
    """
    from physadv.patch import load_patch
    from physadv.simulate.trigger import Trigger

    if settings.trigger is not None and settings.patch is None:
        patch = Trigger.named(settings.trigger).patch
        assert patch is not None
        return patch
    if settings.patch is None or settings.trigger is not None:
        got = "none" if settings.patch is None else "both"
        raise FabricationError(expected="PATTERN or `trigger`", got=got, hint="--help shows what is taken")
    return load_patch(settings.patch)


def _check(settings: PrintVerb) -> None:
    """Raise FabricationError for a setting that would have no effect beside the others."""
    given = settings.model_fields_set
    if settings.for_person is None and (unused := [name for name in ("rule", "scale") if name in given]):
        raise FabricationError(
            "only with `for_person`, whose height it turns into a size", field=unused[0], hint="or use `size`"
        )
    if settings.scale is None and "rule" in given:
        raise FabricationError("only with `scale`, which is a fraction of it", field="rule", hint="leave it out")
    if settings.garment != "panels":
        for name, what in (("clothes", "which it cuts"), ("shirt", "whose size it is")):
            if name in given:
                raise FabricationError(f"only with `garment=panels`, {what}", field=name, hint="leave it out")


def _announce(console: Terminal, patch: Patch, settings: PrintSettings, layouts: dict[str, Layout]) -> None:
    """Print how large it becomes and how many sheets it takes, before anything is drawn."""
    from physadv.fabricate.poster import cautions, printed_size
    from physadv.fabricate.units import cm

    for text in cautions(patch, settings):
        console.print(text, style="yellow", markup=False)
    width, height = printed_size(patch, settings)
    what = "texture repeats every" if settings.garment == "panels" else "pattern"
    console.print(f"{what} {cm(width)} x {cm(height)} cm", markup=False)
    for name, layout in layouts.items():
        w, h = layout.paper
        count = len(layout.sheets)
        sheets = f"{count} sheets ({layout.columns} x {layout.rows})" if count > 1 else "1 sheet"
        console.print(f"{name + ': ' if name else ''}{sheets} of {w:g} x {h:g} mm", markup=False)
    if len(layouts) > 1:
        console.print(f"in all {sum(len(layout.sheets) for layout in layouts.values())} sheets", markup=False)


def _report(console: Terminal, done: Printed) -> None:
    if done.shift is not None:
        console.print(f"CMYK moves the colours by {done.shift:.1f} of 255 on average: see the proof", markup=False)
    for path in done.paths[:6]:
        console.print(f"wrote {path}", markup=False)
    if len(done.paths) > 6:
        console.print(f"and {len(done.paths) - 6} more", markup=False)
    if done.layouts:
        console.print("print at 100 % (no fit to page), then check the ruler: it must measure 100 mm", markup=False)


def _steps(console: Terminal, what: Instructions, *, in_pdf: bool) -> None:
    """Print how it comes onto paper or cloth; in a PDF that is the last page."""
    if in_pdf:
        console.print(
            "how it goes on, with a drawing of where: the last page, which is no part of the print", markup=False
        )
        return
    for step in (*what.steps, what.place):
        console.print(f"* {step}", markup=False)
