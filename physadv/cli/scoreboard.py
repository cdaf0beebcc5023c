"""Evaluations on a terminal: tables of cells, grid means, doubts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from physadv.evaluate.cell import Cell
from physadv.evaluate.report import COLUMNS, VIDEO_COLUMNS, grid_mean, label, shown

# What a table is given where no terminal says how much room there is: a pipe or a file has more than 80 columns.
PIPED = 160


def table_console() -> Console:
    """Return what prints tables: as wide as the terminal, wide into a pipe or a file."""
    return Console(width=None if Console().is_terminal else PIPED)


def show_cells(cells: Sequence[Cell], console: Console) -> None:
    """Print a table for each detector, the grid's means, and the doubts."""
    for detector in dict.fromkeys(c.detector for c in cells):
        mine = [c for c in cells if c.detector == detector]
        console.print(_table(mine))
        for key in dict.fromkeys((c.condition, c.patch) for c in mine if c.transform):
            mean = grid_mean(mine, key)
            if mean is not None:
                console.print(f"robust grid, mean AP50 of {key[1] or key[0]}: {mean:.3f}", markup=False)
    for doubt in dict.fromkeys(d for c in cells for d in c.doubts):
        about = [_where(c) for c in cells if doubt in c.doubts]
        who = "everything" if len(about) == len(cells) else ", ".join(dict.fromkeys(about))
        console.print(f"doubt: {who}: {doubt}", markup=False, highlight=False)


def show_video(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a table of a video's cells and their doubts."""
    head = rows[0]
    table = Table(title=f"{head['detector']} at {head['imgsz']} px, {head['n_frames']} frames")
    table.add_column("condition", overflow="fold")
    defended = any(r["defence"] != "none" for r in rows)
    if defended:
        table.add_column("defence", overflow="fold")
    for _, title in VIDEO_COLUMNS:
        table.add_column(title, justify="right")
    for row in rows:
        name = row["patch"] if row["condition"] == "patch" else row["condition"]
        figures = ["-" if row[key] is None else f"{row[key]:g}" for key, _ in VIDEO_COLUMNS]
        table.add_row(str(name), *([row["defence"]] if defended else []), *figures)
    console.print(table)
    for doubt in dict.fromkeys(d for r in rows for d in r["doubts"]):
        console.print(f"doubt: {doubt}", markup=False, highlight=False)


def _table(cells: Sequence[Cell]) -> Table:
    head = cells[0]
    table = Table(title=f"{head.detector} at {head.imgsz} px, {head.n_images} pictures, {head.n_people} people")
    defended = any(c.defence != "none" for c in cells)
    for title in (["defence", "attack"] if defended else []) + ["condition"]:
        table.add_column(title, overflow="fold")
    # Beside a defence and its cost there is room for the first figures only; the report has all.
    columns = [c for c in COLUMNS if not defended or c[0] in ("ap50", "recall25", "asr_strict25")]
    for _, title in columns:
        table.add_column(title, justify="right", no_wrap=title == "AP50")
    if defended:
        table.add_column("defence ms", justify="right")
    for cell in cells:
        if cell.transform:
            continue
        # Every interval is in the report; on a terminal that of the first figure has to do.
        row = [shown(cell, name) if name == "ap50" else _plainly(cell[name]) for name, _ in columns]
        cost = [_plainly(cell.extra.get("defence_ms_median"))] if defended else []
        table.add_row(*([cell.defence, cell.attack] if defended else []), label(cell), *row, *cost)
    return table


def _where(cell: Cell) -> str:
    return label(cell) if cell.defence == "none" else f"{label(cell)} behind {cell.defence}"


def _plainly(value: float | None) -> str:
    """Return a figure for the terminal, or a dash where nothing could be counted."""
    return "-" if value is None else f"{value:.3f}"
