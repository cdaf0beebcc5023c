"""Evaluations on a terminal: tables of cells, grid means, doubts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from physadv.evaluate.cell import Cell
from physadv.evaluate.report import (
    COLUMNS,
    VIDEO_COLUMNS,
    defended_row,
    doubted,
    grid_mean,
    label,
    lost,
    named_row,
    shown,
    ways,
    worn,
    worn_row,
)


def show_cells(cells: Sequence[Cell], console: Console) -> None:
    """Print a table for each detector and size, the grid's means, and the doubts."""
    sizes = {c.imgsz for c in cells}
    for detector, imgsz in dict.fromkeys((c.detector, c.imgsz) for c in cells):
        mine = [c for c in cells if (c.detector, c.imgsz) == (detector, imgsz)]
        console.print(_table(mine))
        for key in dict.fromkeys((c.condition, c.patch) for c in mine if c.transform):
            mean = grid_mean(mine, key)
            if mean is not None:
                console.print(f"robust grid, mean AP50 of {key[1] or key[0]}: {mean:.3f}", markup=False)
    for doubt in dict.fromkeys(d for c in cells for d in c.doubts):
        about = [_where(c) + (f" at {c.imgsz} px" if len(sizes) > 1 else "") for c in cells if doubt in c.doubts]
        who = "everything" if len(about) == len(cells) else ", ".join(dict.fromkeys(about))
        console.print(f"doubt: {who}: {doubt}", markup=False, highlight=False)


def show_video(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a table of a video's cells and their doubts."""
    head = rows[0]
    several = len({r["detector"] for r in rows}) > 1
    sides = list(dict.fromkeys(str(r["imgsz"]) for r in rows))
    who = "" if several else f"{head['detector']} at "
    table = Table(title=escape(f"{who}{' and '.join(sides)} px, {head['n_frames']} frames"))
    defended = any(r["defence"] != "none" for r in rows)
    words = (["detector"] if several else []) + (["px"] if len(sides) > 1 else []) + ["condition"]
    found = ways(map(worn_row, rows))
    words += (["worn"] if len(found) > 1 else []) + (["defence"] if defended else [])
    for title in words:
        table.add_column(title, overflow="fold")
    for _, title in VIDEO_COLUMNS:
        table.add_column(title, justify="right")
    for row in rows:
        named = row | {"condition": named_row(row), "px": row["imgsz"], "worn": worn_row(row)}
        figures = ["-" if row[key] is None else f"{row[key]:g}" for key, _ in VIDEO_COLUMNS]
        table.add_row(*(escape(str(named[w])) for w in words), *figures)
    console.print(table)
    if len(found) == 1:
        console.print(f"worn: {found[0]}", markup=False, highlight=False)
    for doubt in doubted(
        [(f"{r['detector']}, {defended_row(r)}" if several else defended_row(r), r["doubts"]) for r in rows]
    ):
        console.print(f"doubt: {doubt}", markup=False, highlight=False)


def _table(cells: Sequence[Cell]) -> Table:
    head = cells[0]
    title = f"{head.detector} at {head.imgsz} px, {head.n_images} images, {head.n_people} people"
    found = ways(map(worn, cells))
    title += f", worn {found[0]}" if len(found) == 1 else ""
    table = Table(title=escape(title))
    defended = any(c.defence != "none" for c in cells)
    for title in (["defence", "attack"] if defended else []) + ["condition"]:
        table.add_column(title, overflow="fold")
    # Beside a defence and its cost there is room for the first figures only; the report has all.
    columns = [c for c in COLUMNS if not defended or c[0] in ("ap50", "recall25", "asr_strict25")]
    for _, title in columns:
        table.add_column(title, justify="right", no_wrap=title == "AP50")
    for title in ("clean AP lost", "defence ms") if defended else ():
        table.add_column(title, justify="right")
    if len(found) > 1:
        table.add_column("worn", overflow="fold")
    for cell in cells:
        if cell.transform:
            continue
        # Every interval is in the report; on a terminal that of the first figure has to do.
        row = [shown(cell, name) if name == "ap50" else _plainly(cell[name]) for name, _ in columns]
        cost = [lost(cell), _plainly(cell.extra.get("defence_ms_median"))] if defended else []
        names = [*([cell.defence, cell.attack] if defended else []), label(cell)]
        table.add_row(*map(escape, [*names, *row, *cost, *([worn(cell)] if len(found) > 1 else [])]))
    return table


def _where(cell: Cell) -> str:
    return label(cell) if cell.defence == "none" else f"{label(cell)} behind {cell.defence}"


def _plainly(value: float | None) -> str:
    """Return a figure for the terminal, or a dash where nothing could be counted."""
    return "-" if value is None else f"{value:.3f}"
