"""An evaluation as one HTML file to hand in: intervals drawn, tables that sort, doubts beside their numbers."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from physadv.arrays import read_image
from physadv.evaluate.breakdown import breakdown_table
from physadv.evaluate.cell import Cell
from physadv.evaluate.charts import BLUE, FAINT, GREEN, GREY, RED, RULE, Drawing, Trace, panel
from physadv.html_page import page, picture
from physadv.table import Table
from physadv.types import UInt8Array

# Figures that are drawn, the first that a cell has, and which way is the attack's.
DRAWN = {
    "ap50": "AP50: left is the attack's",
    "frame_asr": "frames hidden: right is the attack's",
    "share_below": "frames below the threshold: right is the attack's",
}
# Colours that the colour-blind distinguish; on paper the form of the marks does.
COLOURS = {"none": "#1d6fd1", "patch": "#c4342b", "pattern": "#c4342b"}
CONTROL = "#7b8187"
# Arms of the panels: colour, and dashes that tell them apart on paper.
ARMS = {"none": (BLUE, ""), "grey": (GREY, "6 3"), "shuffled": (GREEN, "2 3"), "patch": (RED, "")}
ROW, LEFT, WIDTH, RIGHT = 22, 330, 480, 60
# Rows of a drawing, which fit a page of paper, and letters of a label.
ROWS, LONGEST = 20, 44
# Pixels of an example's width at the most: two dozen patterns on large photographs would make a page of 100 MB.
EXAMPLE = 1400
T = TypeVar("T")
STYLE = """
body { max-width: 1400px; }
th { cursor: pointer; user-select: none; white-space: nowrap; }
th[aria-sort=ascending]::after { content: " \\2191"; }
th[aria-sort=descending]::after { content: " \\2193"; }
.wide { overflow-x: auto; }
.wide td { white-space: nowrap; padding: .2rem .5rem; }
.wide td:last-child { white-space: normal; }
.wide caption { display: none; }
figure img { max-width: 100%; height: auto; }
svg { max-width: 100%; height: auto; }
.doubts li { margin: .2rem 0; }
.panels { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: .8rem 0; }
.panel { width: 300px; }
.panel figcaption { font-size: .8rem; overflow-wrap: anywhere; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  th::after { content: none !important; }
  th { white-space: normal; }
  .wide { overflow: visible; }
  .wide table { font-size: 7pt; }
  .wide th, .wide td { padding: .12rem .3rem; }
  .panel { width: 23%; break-inside: avoid; }
  figure img { max-height: 150mm; }
  h2 + p { break-after: avoid; }
}
"""
# Sorts a table by the column whose title is clicked: by its numbers where it has such, else by its text.
SORT = """
document.querySelectorAll("table").forEach(table => table.querySelectorAll("th").forEach((th, column) => {
  th.tabIndex = 0;
  const sort = () => {
    const down = th.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0], text = row => row.cells[column].textContent;
    const value = row => { const n = parseFloat(text(row)); return isNaN(n) ? text(row) : n; };
    const order = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === "number" ? -1 : 1;
    [...body.rows].sort((a, b) => (down ? -1 : 1) * order(value(a), value(b))).forEach(row => body.append(row));
  };
  th.addEventListener("click", sort);
  th.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}));
"""


def report_page(
    title: str,
    intro: str,
    groups: Sequence[tuple[Table, Sequence[Cell]]],
    *,
    said: Sequence[str],
    doubts: Sequence[str],
    examples: Mapping[str, Path],
    facts: Mapping[str, Any],
) -> str:
    """Return the HTML file of an evaluation.

    groups: each table with the cells that it shows, none where it shows others. said: lines on alarms and what was left
    out. doubts: each with what it is about. examples: PNG files by caption. facts: what a reader needs to repeat it.

    Raises: OSError if an example cannot be read.
    """
    parts = [f"<p>{html.escape(intro)}</p>"]
    parts += [_list(said)] if said else []
    for table, cells in groups:
        parts.append(f"<h2>{html.escape(table.title)}</h2>")
        parts += _drawing(cells)
        parts.append(f'<div class="wide">{table.html()}</div>')
        parts += _doubted(cells)
        parts += _panels(cells)
        behind = breakdown_table(cells)
        if behind is not None:
            parts.append(
                "<details><summary>by height as the network sees people, and by the share of a person that the print covers"
                f'</summary><div class="wide">{behind.html()}</div></details>'
            )
    if doubts:
        parts.append(f'<h2>Doubts</h2><div class="doubts">{_list(doubts)}</div>')
    if examples:
        parts.append(
            "<h2>Examples</h2><p>Columns: nothing, grey, shuffled, pattern. Green box: found; without one: not.</p>"
        )
        for caption, path in examples.items():
            named = html.escape(caption)
            parts.append(f"<figure>{picture(_small(read_image(path)))}<figcaption>{named}</figcaption></figure>")
    rows = [(name, str(value)) for name, value in facts.items()]
    parts.append(f"<h2>To repeat it</h2>{Table.of('', ['what', 'value'], rows).html()}")
    parts.append(f"<script>{SORT}</script>")
    return page(title, parts, style=STYLE)


def _small(pixels: UInt8Array) -> UInt8Array:
    """Return an image no wider than `EXAMPLE` pixels."""
    height, width = pixels.shape[:2]
    if width <= EXAMPLE:
        return pixels
    size = (EXAMPLE, max(round(height * EXAMPLE / width), 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _doubted(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the doubts of each row below its table, rows with equal doubts together; those of all rows stand at the end."""
    by: dict[tuple[str, ...], list[str]] = {}
    common = set.intersection(*(set(map(str, cell.doubts)) for cell in cells)) if cells else set()
    for cell in cells:
        if own := tuple(doubt for doubt in cell.doubts if doubt not in common):
            by.setdefault(own, []).append(cell.about(sizes=False))
    if by:
        lines = [f"{', '.join(dict.fromkeys(rows))}: {'; '.join(doubts)}" for doubts, rows in by.items()]
        yield f'<details class="doubts" open><summary>doubts of these rows</summary>{_list(lines)}</details>'


def _panels(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield precision over recall and confidences of each pattern, beside nothing and its controls."""
    out = []
    for cell in cells:
        if cell.condition != "patch" or "precision" not in cell.extra:
            continue
        arms = [c for c in cells if c.defence == cell.defence and (c.condition == "none" or cell.patch in c.stands_for)]
        arms = [c for c in (*arms, cell) if c.condition in ARMS and "precision" in c.extra]
        name = cell.about(sizes=False)
        curves = [Trace(_arm(c), _curve(c.extra["precision"]), *ARMS[c.condition]) for c in arms]
        out.append(panel(f"{name}: precision", curves, x="recall", y="precision"))
        shares = [
            [n / max(sum(c.extra["confidence_histogram"]), 1) for n in c.extra["confidence_histogram"]] for c in arms
        ]
        steps = [Trace(_arm(c), _steps(share), *ARMS[c.condition]) for c, share in zip(arms, shares, strict=True)]
        most = math.ceil(10 * max(max(share) for share in shares)) / 10
        title = f"{name}: highest confidence on a person"
        out.append(panel(title, steps, x="confidence", y="share of people", most=max(most, 0.1)))
    if out:
        yield f'<div class="panels">{"".join(out)}</div>'


def _arm(cell: Cell) -> str:
    return "pattern" if cell.condition == "patch" else cell.condition


def _curve(precision: Sequence[float]) -> list[tuple[float, float]]:
    return [(i / (len(precision) - 1), value) for i, value in enumerate(precision)]


def _steps(shares: Sequence[float]) -> list[tuple[float, float]]:
    """Return the outline of a histogram from 0 to 1."""
    n = len(shares)
    return [point for i, share in enumerate(shares) for point in ((i / n, share), ((i + 1) / n, share))]


def _drawing(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield drawings of each row's first figure with its interval, on a scale from 0 to 1, so many rows as a page holds."""
    name = next((n for n in DRAWN if any(c[n] is not None for c in cells)), None)
    shown = [] if name is None else [(c, value) for c in cells if (value := c[name]) is not None]
    if name is None or len(shown) < 2:
        return
    for some in batched(shown, ROWS):
        bottom = ROW * len(some) + 8
        drawing = Drawing(DRAWN[name], LEFT + WIDTH + RIGHT, bottom + 24)
        for tenth in range(0, 11, 2):
            x = LEFT + WIDTH * tenth / 10
            drawing.line(x, 4, x, bottom, RULE)
            drawing.text(x, bottom + 16, f"{tenth / 10:g}", FAINT, "middle")
        for i, (cell, value) in enumerate(some):
            y, colour = ROW * i + 16, COLOURS.get(cell.condition, CONTROL)
            label = cell.about(sizes=False)
            drawing.text(LEFT - 12, y + 4, label if len(label) <= LONGEST else f"{label[:LONGEST]}…", anchor="end")
            interval = cell.figures.ci95.get(name)
            if interval is not None:
                low, high = (LEFT + WIDTH * min(max(end, 0), 1) for end in interval)
                drawing.path([(low, y), (high, y)], colour)
            x = LEFT + WIDTH * min(max(value, 0), 1)
            mark = drawing.square if cell.condition in ("patch", "pattern") else drawing.circle
            mark(x, y, 5, colour)
            drawing.text(LEFT + WIDTH + 12, y + 4, f"{value:.3f}")
        yield drawing.figure()


def batched(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the values in order, so many at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))
