"""A study as files: tables of detectors and of what transfers where, the Pareto plot, one page to hand in."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from physadv.evaluate.charts import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Dot, scatter
from physadv.evaluate.doubt_codes import codes_of
from physadv.evaluate.report_page import SORT, STYLE
from physadv.evaluate.study import GREY as GREY_KIND
from physadv.evaluate.study import NONE, Studied, StudyCell, StudyResults, Tau
from physadv.files import atomic_write, text_bytes, write_json
from physadv.html_page import page
from physadv.provenance import provenance
from physadv.table import Table, Value, as_text, with_interval

ROWS, MATRIX, REPORT, PAGE = "study.json", "transfer.csv", "report.md", "report.html"
TABLE = "detectors.csv"
WRITTEN = (ROWS, MATRIX, TABLE, REPORT, PAGE)
KINDS = ("white-box", "transferred", "public")
# Colours of years, the oldest first.
AGES = (GREY, PURPLE, BLUE, GREEN, ORANGE, RED)
INTRO = (
    "AP50 of people who wear nothing, and under the pattern that leaves least of it: one trained on the detector itself "
    "(white-box), on another one (transferred), or one that others published (public). Hidden: of the people that the "
    "detector finds without a pattern, those without any box at .25 above IoU .1; above grey: how many more than under a "
    "grey print of that size. In brackets 95 % intervals, images drawn again."
)


def tables(out: StudyResults) -> list[Table]:
    """Return the table of detectors, that of what transfers where, and, of enough detectors, that of Kendall's tau."""
    taus = out.taus()
    return [detectors_table(out), matrix_table(out), *([tau_table(taus)] if taus else [])]


def detectors_table(out: StudyResults) -> Table:
    """Return a row for each detector."""
    rows: list[list[Value]] = []
    for s in out.studied:
        row: list[Value] = [s.name, s.imgsz, s.facts.year]
        row += [None if s.facts.parameters is None else round(s.facts.parameters / 1e6, 2), s.facts.gflops]
        row += [_figure(s.clean.ap50, s.clean.ap50_ci95)]
        for kind in KINDS:
            cell = s.strongest(kind)
            row += [None if cell is None else _figure(cell.ap50, cell.ap50_ci95)]
        worst = s.strongest("any")
        above = None if worst is None else s.above_grey(worst, out.greys, seed=out.settings.seed)
        row += [None if worst is None else worst.pattern]
        row += [None if above is None else _figure(above.value, above.ci95), len(s.doubts) or None]
        rows.append(row)
    columns = [
        "detector",
        "px",
        "year",
        "parameters, M",
        "GFLOPs",
        "clean AP50",
        *KINDS,
        "strongest",
        "hidden above grey",
    ]
    counted = f"{out.counted['n_images']} images, {out.counted['n_people']} people"
    return Table.of(
        f"Detectors, AP50 ({counted})", [*columns, "doubts"], rows, numbers=[*columns[1:9], "hidden above grey"]
    )


def matrix_table(out: StudyResults) -> Table:
    """Return how many more people than grey each pattern hides from each detector: rows patterns, columns detectors."""
    names = [s.name for s in out.studied]
    rows: list[list[Value]] = []
    for pattern in out.patterns:
        row: list[Value] = [pattern, out.worn[pattern]]
        for s in out.studied:
            above = s.above_grey(s.cell(pattern), out.greys, seed=out.settings.seed)
            row.append(_figure(above.value, above.ci95) if above.n else None)
        rows.append(row)
    return Table.of(
        "Share hidden above grey, by pattern and detector", ["pattern", "worn", *names], rows, numbers=names
    )


def tau_table(taus: Sequence[Tau]) -> Table:
    """Return Kendall's tau of what may go with robustness."""
    rows: list[list[Value]] = [[t.what, _figure(t.value, t.ci95), t.n] for t in taus]
    columns = ["Kendall's tau of", "tau", "detectors"]
    return Table.of("Order of the detectors", columns, rows, numbers=columns[1:])


def write_study(folder: Path, out: StudyResults) -> Path:
    """Write a study into a folder and return the path of its report.

    study.json has every cell but its people, which are in the records of the detectors; transfer.csv and detectors.csv are
    the tables; report.md is to be read, report.html to be handed in.

    Raises: OSError if the folder cannot be written.
    """
    where = provenance()
    write_json(folder / ROWS, _plain(out, where))
    shown = tables(out)
    for name, table in zip((TABLE, MATRIX), shown, strict=False):
        _write(folder / name, table.csv())
    intro = f"{INTRO} {where['machine']['processor']}, {where['made']}, commit {where['commit'] or 'unknown'}."
    lines = ["# Study", "", intro]
    for table in shown:
        lines += ["", f"## {table.title}", "", table.markdown()]
    said = doubts_of(out)
    lines += ["", "## Doubts", "", *(f"* {line}" for line in said)]
    _write(folder / REPORT, "\n".join(lines) + "\n")
    parts = [f"<p>{html.escape(intro)}</p>", pareto(out)]
    parts += [f'<h2>{html.escape(t.title)}</h2><div class="wide">{t.html()}</div>' for t in shown]
    parts.append("<h2>Doubts</h2><ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in said) + "</ul>")
    facts = [
        *((f"detector {s.name}", s.sha256) for s in out.studied),
        *((p.name, p.sha256) for p in out.patterns.values()),
    ]
    parts.append(f"<h2>To repeat it</h2>{Table.of('', ['what', 'SHA-256'], facts).html()}<script>{SORT}</script>")
    _write(folder / PAGE, page("Study of detectors", parts, style=STYLE))
    return folder / REPORT


def pareto(out: StudyResults) -> str:
    """Return accuracy against robustness: circles as large as detectors have parameters, coloured by year."""
    rows = [(s, w) for s in out.studied if (w := s.strongest("any")) is not None]
    years = sorted({s.facts.year for s, _ in rows if s.facts.year})
    marks = []
    for s, worst in rows:
        age = years.index(s.facts.year) if s.facts.year in years else 0
        colour = AGES[min(age * len(AGES) // max(len(years), 1), len(AGES) - 1)] if s.facts.year else GREY
        size = 5.0 if s.facts.parameters is None else min(3 + 2.2 * math.sqrt(s.facts.parameters / 1e6), 22)
        facts = [str(s.facts.year or "?"), "" if s.facts.gflops is None else f"{s.facts.gflops:.3g} GFLOPs"]
        label = f"{s.name} ({', '.join(filter(None, facts))})"
        marks.append(Dot(s.clean.ap50, worst.ap50, label, size, colour, s.clean.ap50_ci95, worst.ap50_ci95))
    points = [(m.x, m.y) for m in marks]
    front = [p for p in points if not any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)]
    title = "Accuracy and robustness: area of a circle by parameters, colour by year; dashed: nobody is better in both"
    return scatter(title, marks, x="clean AP50", y="AP50 under the strongest pattern", front=front)


def doubts_of(out: StudyResults) -> list[str]:
    """Return every doubt with its code, those about one detector after its name."""
    own = [f"{s.name}: {d} [{d.code}]" for s in out.studied for d in s.doubts]
    return [*(f"{d} [{d.code}]" for d in out.doubts), *own]


def _plain(out: StudyResults, where: dict[str, Any]) -> dict[str, Any]:
    return {
        "settings": out.settings.model_dump(mode="json"),
        **out.counted,
        "detectors": [
            {
                "name": s.name,
                "imgsz": s.imgsz,
                "sha256": s.sha256,
                "parameters": s.facts.parameters,
                "gflops": s.facts.gflops,
                "year": s.facts.year,
                "cells": [_cell(s, c, out) for c in s.cells],
                "doubts": list(s.doubts),
                "doubt_codes": codes_of(list(s.doubts)),
            }
            for s in out.studied
        ],
        "patterns": [{"name": p.name, "sha256": p.sha256, "worn": out.worn[p.name]} for p in out.patterns.values()],
        "tau": [{"of": t.what, "value": t.value, "ci95": t.ci95, "n_detectors": t.n} for t in out.taus()],
        "doubts": list(out.doubts),
        "doubt_codes": codes_of(out.doubts),
        **where,
    }


def _cell(s: Studied, cell: StudyCell, out: StudyResults) -> dict[str, Any]:
    plain: dict[str, Any] = {"pattern": cell.pattern, "kind": cell.kind, "ap50": cell.ap50, "recall25": cell.recall25}
    plain["ci95"] = {"ap50": cell.ap50_ci95}
    if cell.kind not in (NONE, GREY_KIND):
        above = s.above_grey(cell, out.greys, seed=out.settings.seed)
        plain |= {"hidden": above.hidden, "hidden_above_grey": above.value, "n_people": above.n, "n_units": above.units}
        plain["ci95"]["hidden_above_grey"] = above.ci95
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain.items()}
    return plain


def _figure(value: float | None, ends: tuple[float, float] | None) -> str | None:
    return None if value is None else as_text(with_interval(value, ends))


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text_bytes(text))
