"""`physadv print`: sheets true to the millimetre, garment files and panels, controls."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from physadv.cli.base import OVERWRITE, check_writable
from physadv.cli.base import Command as BaseCommand
from physadv.cli.console import Terminal
from physadv.controls import Control
from physadv.errors import FabricationError
from physadv.fabricate.guide import Guide, guide
from physadv.fabricate.layout import Layout
from physadv.fabricate.poster import Printed, cautions, layouts_of, print_name, print_patch, printed_size
from physadv.fabricate.settings import Garment, PrintSettings, ShirtSize, Texels
from physadv.fabricate.units import cm
from physadv.patch import Patch, load_patch
from physadv.simulate.placement import Rule


class Command(BaseCommand):
    """Print a pattern true to size: on sheets to cut and glue, as transfers, for a garment printer, or as cut panels."""

    groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "file and size": ("out", "overwrite", "size", "paper", "control"),
        "size by a person": ("for_person", "rule", "scale"),
        "garment": ("garment", "shirt"),
        "colours": ("printer", "cmyk", "texels"),
    }
    examples: ClassVar[tuple[str, ...]] = (
        "physadv print chest-v3 --size 48cm --paper a4",
        "physadv print shirt-v2 --garment panels --shirt L",
    )

    patch: CliPositionalArg[str] = Field(
        description="a shipped name (chest-v1), a patch file, an image or a run folder"
    )
    paper: str | None = Field(default=None, description=PrintSettings.model_fields["paper"].description)
    size: str | None = Field(default=None, description=PrintSettings.model_fields["size"].description)
    for_person: str | None = Field(default=None, description=PrintSettings.model_fields["for_person"].description)
    rule: Rule = Field(default="diagonal", description=PrintSettings.model_fields["rule"].description)
    scale: float = Field(default=0.2, description=PrintSettings.model_fields["scale"].description)
    control: Control | None = Field(default=None, description=PrintSettings.model_fields["control"].description)
    garment: Garment | None = Field(default=None, description=PrintSettings.model_fields["garment"].description)
    shirt: ShirtSize = Field(default="M", description=PrintSettings.model_fields["shirt"].description)
    cmyk: Path | None = Field(default=None, description=PrintSettings.model_fields["cmyk"].description)
    printer: str | None = Field(default=None, description=PrintSettings.model_fields["printer"].description)
    texels: Texels = Field(default="texel", description=PrintSettings.model_fields["texels"].description)
    out: Path | None = Field(
        default=None,
        description="file to write, .pdf or .png; without it named after pattern, size and the flags that change it",
    )
    overwrite: bool = Field(default=False, description=OVERWRITE)

    def run(self) -> int:
        """Write the file and say what to do with it.

        Raises: FabricationError if flags do not go together. SettingsError if the file cannot be written.
        """
        if self.for_person is None and self.model_fields_set & {"rule", "scale"}:
            raise FabricationError(
                "--rule, --scale: only with --for-person, whose height they turn into a size; or use --size"
            )
        if self.garment != "panels" and "shirt" in self.model_fields_set:
            raise FabricationError("only with --garment panels, whose size it is", field="shirt", hint="leave it out")
        patch = load_patch(self.patch)
        settings = PrintSettings(**self.model_dump(exclude={"patch", "out", "overwrite"}))
        suffix = "png" if self.garment == "dtg" else "pdf"
        out = self.out or Path(f"{print_name(patch, settings)}.{suffix}")
        if out.suffix:
            check_writable("out", out, overwrite=self.overwrite)
        console = Terminal(highlight=False, soft_wrap=True)
        layouts = layouts_of(patch, settings, out)
        _announce(console, patch, settings, layouts)
        done = print_patch(patch, settings, out, overwrite=self.overwrite)
        _report(console, done)
        _steps(console, guide(patch, settings, done.size_mm, layouts), in_pdf=out.suffix.lower() == ".pdf")
        return 0


def _announce(console: Terminal, patch: Patch, settings: PrintSettings, layouts: dict[str, Layout]) -> None:
    """Say how large it becomes and how many sheets it takes, before anything is drawn."""
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


def _steps(console: Terminal, what: Guide, *, in_pdf: bool) -> None:
    """Say how it comes onto paper or cloth; in a PDF it is the last page."""
    if in_pdf:
        console.print(
            "how it goes on, with a drawing of where: the last page, which is no part of the print", markup=False
        )
        return
    for step in (*what.steps, what.place):
        console.print(f"* {step}", markup=False)
