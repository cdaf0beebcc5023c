"""What a plan is done with: the pattern and its two controls as files and as sheets to print, and the checklist."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from physadv.controls import Control, control
from physadv.fabricate.poster import Printed, print_patch, printed_size
from physadv.fabricate.settings import Garment, PrintSettings
from physadv.files import atomic_write, text_bytes, write_json
from physadv.html_page import page, picture_of
from physadv.patch import Patch, png_bytes, save_tensors
from physadv.table import Table
from physadv.trial.plan import (
    ARMS,
    CHECKLIST,
    PATTERNS,
    PLAN,
    SHEETS,
    WORN,
    Arm,
    Plan,
    PlannedPattern,
    PlanSettings,
    plan_of,
)

STYLE = """
body { max-width: 900px; }
.arms { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: .6rem 0; text-align: center; }
.arms img { display: block; width: 100%; image-rendering: pixelated; border: 1px solid #c8cdd0; }
.arms div { aspect-ratio: 1; border: 1px dashed #8a9196; display: grid; place-items: center; color: #5f666c; }
table { width: 100%; }
td { font-size: 1.02rem; padding: .42rem .7rem; }
.box { display: inline-block; width: .95em; height: .95em; border: 1.4px solid #14181c; margin-right: .45em;
  vertical-align: -.1em; }
ol li { margin: .25rem 0; }
@media print { section { break-inside: avoid; } @page { margin: 14mm; } }
"""


@dataclass(frozen=True, slots=True)
class PlanFiles:
    """A plan that was written. sheets: what was printed of each arm but `none`. paths: every file, the plan first."""

    plan: Plan
    sheets: dict[Arm, Printed]
    paths: tuple[Path, ...]


def print_settings(patch: Patch, settings: PlanSettings, arm: Arm) -> PrintSettings:
    """Return how the print of an arm is made: the controls are as large as the pattern."""
    kind: Control | None = None if arm == "none" or arm == "pattern" else arm
    # A texture is worn as clothes, and so are its controls.
    garment: Garment | None = "panels" if patch.tiles else None
    return PrintSettings(size=settings.size, paper=settings.paper, control=kind, garment=garment)


def worn_in(arm: Arm, patch: Patch) -> Patch:
    """Return what is worn in an arm other than `none`: the pattern, or the control that its sheets show."""
    return patch if arm == "pattern" else control(patch, arm, np.random.default_rng(0))  # type: ignore[arg-type]


def write_plan(patch: Patch, settings: PlanSettings, folder: Path, *, overwrite: bool = False) -> PlanFiles:
    """Write plan.json, the sheets of three arms, their patterns, and the checklist into a folder.

    Raises: SettingsError as `plan_of` does. FabricationError if size and paper do not fit the pattern. OutputError for
    another program's file, unless `overwrite`. OSError if the disk is full.
    """
    width, height = printed_size(patch, print_settings(patch, settings, "pattern"))
    pattern = PlannedPattern(name=patch.name, sha256=patch.sha256, width_cm=width / 10, height_cm=height / 10)
    plan = plan_of(settings, pattern)
    sheets: dict[Arm, Printed] = {}
    paths: list[Path] = []
    for arm in ARMS[1:]:
        out = folder / SHEETS / f"{arm}.pdf"
        sheets[arm] = print_patch(patch, print_settings(patch, settings, arm), out, overwrite=overwrite)
        paths += sheets[arm].paths
    paths += save_patterns(replace(patch, size_mm=(width, height)), folder)
    with atomic_write(folder / CHECKLIST) as stream:
        stream.write(text_bytes(checklist(plan, patch, sheets)))
    # Last: a plan that is there is whole.
    write_json(folder / PLAN, plan.model_dump(mode="json"))
    return PlanFiles(plan, sheets, (folder / PLAN, folder / CHECKLIST, *paths))


def save_patterns(patch: Patch, folder: Path) -> list[Path]:
    """Write what is worn in each arm but `none` into a plan's folder, for the page and for software; return the files.

    patch: as large as it is printed.

    Raises: OSError if the disk is full.
    """
    paths = [folder / PATTERNS / f"{arm}.safetensors" for arm in ARMS[1:]]
    for arm, path in zip(ARMS[1:], paths, strict=True):
        save_tensors(worn_in(arm, patch), path)
    return paths


def checklist(plan: Plan, patch: Patch, sheets: dict[Arm, Printed]) -> str:
    """Return the checklist as an HTML file to print: what to bring, how it is set up, every block with boxes to tick."""
    minutes = plan.windows * (plan.window_s + 15) / 60
    parts = [
        f"<p>Cells: {len(plan.cells)}, blocks of each: {plan.blocks}, four windows of {plan.window_s:g} s in a block: at "
        f"most {plan.windows} windows, about {minutes:.0f} minutes with 15 s between two. Plan {plan.sha256[:12]}, seed "
        f"{plan.seed}.</p>",
        _arms(patch),
        f"<h2>Print</h2>{_sheets(plan, sheets, panels=patch.tiles)}",
        f"<h2>Set up</h2><ol>{''.join(f'<li>{line}</li>' for line in _set_up(plan, panels=patch.tiles))}</ol>",
        "<h2>Afterwards</h2><p>Keep the whole folder: the untouched videos, what was found in each frame, trial.json. "
        "<code>physadv trial report TRIAL</code> writes the report again.</p>",
        f"<h2>Windows, in this order</h2>{''.join(_cells(plan))}",
    ]
    return page(f"Trial of {plan.pattern.name}", parts, style=STYLE)


def _arms(patch: Patch) -> str:
    shown = ["<figure><div>nothing</div><figcaption>nothing</figcaption></figure>"]
    shown += [
        f"<figure>{picture_of(png_bytes(worn_in(arm, patch)))}<figcaption>{arm}</figcaption></figure>"
        for arm in ARMS[1:]
    ]
    return f'<div class="arms">{"".join(shown)}</div>'


def _sheets(plan: Plan, sheets: dict[Arm, Printed], *, panels: bool) -> str:
    rows = [
        (WORN[arm], ", ".join(f"{SHEETS}/{path.name}" for path in printed.paths), str(printed.pages))
        for arm, printed in sheets.items()
    ]
    size = f"{plan.pattern.width_cm:g} x {plan.pattern.height_cm:g} cm"
    how = (
        f"The texture repeats every {size}. Three garments of one cut and one cloth; for nothing, a plain one."
        if panels
        else f"All three {size}, on one paper, by one printer, at 100 %: the ruler on each sheet measures 100 mm."
    )
    return f"{Table.of('', ['arm', 'file', 'sheets'], rows).html()}<p>{how}</p>"


def _set_up(plan: Plan, *, panels: bool) -> Iterator[str]:
    """Yield what is done before the first window."""
    if not panels:
        yield (
            "Glue the three sheets on boards of one size and stiffness: as a <b>flip-book</b> (boards bound at the top, "
            "hung round the neck, the arm's page outside), or as a <b>four-sided card</b> (a box of four, three with "
            "a sheet). For <b>nothing</b> the book or box is out of sight, behind your back, your arms are as before: a "
            "board of any kind would be a fourth control."
        )
    marks = ", ".join(f"{distance:g} m" for distance in sorted({cell.distance_m for cell in plan.cells}))
    yield f"Fix the camera: a tripod, the height of a chest. Put marks on the floor at {html.escape(marks)} from it."
    if yaws := sorted({cell.yaw_deg for cell in plan.cells} - {0.0}):
        turned = ", ".join(f"{yaw:g}" for yaw in yaws)
        yield f"At each mark draw a line for the toes at {turned} degrees (above 0: to your right)."
    yield (
        "Lock exposure and white balance: <code>physadv trial run</code> does it for a webcam that allows it, and measures "
        "both for every camera. Keep lamps, blinds and clothes as they are within a block."
    )
    yield "One person before the camera, the same to the end, who has agreed to be recorded. Nobody else in view."
    yield (
        "Stand as you would: do not look at the screen during a window. It shows no boxes then, and no figures before the "
        "end, so that nobody can help the pattern."
    )


def _cells(plan: Plan) -> Iterator[str]:
    for number, cell in enumerate(plan.cells):
        rows = "".join(
            f"<tr><td>{block + 1}</td>"
            + "".join(
                f'<td><span class="box"></span>{"nothing" if arm == "none" else arm}</td>'
                for arm in plan.order(number, block)
            )
            + "</tr>"
            for block in range(plan.blocks)
        )
        head = "<tr><th>block</th><th>first</th><th>second</th><th>third</th><th>fourth</th></tr>"
        yield (
            f"<section><h3>{number + 1}. {html.escape(cell.stand)}</h3>"
            f"<table><thead>{head}</thead><tbody>{rows}</tbody></table></section>"
        )
