"""What a score of the lab looks like: tables, curves, example images, and the folder that keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from physadv.arrays import write_png
from physadv.detect.matching import FOUND_CONF
from physadv.evaluate.metrics import Share
from physadv.evaluate.results import panel
from physadv.files import atomic_write, text_bytes, write_json
from physadv.marks import INK
from physadv.provenance import provenance
from physadv.table import Table, Value, with_interval
from physadv.tune.plots import Graph, Line, plot
from physadv.tune.score import DetectorFigures, LabScore
from physadv.types import Detections, UInt8Array

ROWS, REPORT, CURVES, EXAMPLES = "results.json", "report.md", "curves.png", "examples.png"
TITLES = {"angle": "degrees, clockwise", "size": "size of the print over the trained one"}
# Above a column of example images, in pixels.
HEADING = 22


@dataclass(slots=True)
class Panels:
    """Keeps what detectors say of a few images, without the trigger, with a wrong one and with it, for a picture.

    columns: (detector, view) of each column, in order. keep: numbers of the images.
    """

    columns: Sequence[tuple[str, str]]
    keep: Sequence[int]
    _panels: dict[tuple[str, str, int], UInt8Array] = field(default_factory=dict)

    def __call__(self, detector: str, view: str, index: int, pixels: UInt8Array, answer: Detections) -> None:
        """Take one answer; others than those of the columns are let go."""
        if index in self.keep and (detector, view) in self.columns:
            self._panels[detector, view, index] = panel(pixels, answer, FOUND_CONF)

    def sheet(self) -> UInt8Array | None:
        """Return the panels as one RGB image, a row a photograph; None if there are none."""
        rows = []
        for index in self.keep:
            there = [self._panels.get((*column, index)) for column in self.columns]
            cells = [
                _headed(cell, f"{detector}: {view or 'bare'}")
                for cell, (detector, view) in zip(there, self.columns, strict=True)
                if cell is not None
            ]
            if cells:
                height = max(cell.shape[0] for cell in cells)
                rows.append(np.hstack([np.pad(c, ((0, height - c.shape[0]), (0, 4), (0, 0))) for c in cells]))
        if not rows:
            return None
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
        return np.ascontiguousarray(np.vstack(padded))


def _headed(cell: UInt8Array, text: str) -> UInt8Array:
    """Return a panel with a line of text above it."""
    bar = np.full((HEADING, cell.shape[1], 3), 235, np.uint8)
    cv2.putText(bar, text, (4, HEADING - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return np.vstack([bar, cell])


def tables(result: LabScore) -> list[Table]:
    """Return the tables of a score: detectors on clean images, with the trigger and wrong ones, and along the curves."""
    out = [_clean_table(result.detectors)]
    if result.trigger is not None:
        out.append(_trigger_table(result.detectors, result.trigger.name))
    for name, title in TITLES.items():
        lines = {one.scored.name: one.curves[name] for one in result.detectors if name in one.curves}
        if lines:
            columns = [title, "people", *(f"{word} {detector}" for detector in lines for word in ("ASR", "TDR"))]
            rows: list[list[Value]] = []
            for points in zip(*lines.values(), strict=True):
                x, first = points[0]
                shares = [value for _, f in points for value in (f.asr.value, f.tdr.value)]
                rows.append([f"{x:g}", first.recall.n, *shares])
            out.append(Table.of(f"By {name}", columns, rows, numbers=columns))
    return out


def _clean_table(detectors: Sequence[DetectorFigures]) -> Table:
    """Return what each detector is, what it took to make it, and its figures on clean images."""
    known: dict[str, list[Value]] = {
        "method": [one.scored.method or None for one in detectors],
        "people poisoned": [None if (rate := one.scored.rate) is None else f"{rate:.0%}" for one in detectors],
        "clean images used": [one.scored.clean_images for one in detectors],
        "minutes": [None if (took := one.scored.minutes) is None else f"{took:.1f}" for one in detectors],
    }
    known = {title: values for title, values in known.items() if any(value is not None for value in values)}
    figures = ["AP50", "recall .25", "AP50 lost", "hidden"]
    rows: list[list[Value]] = []
    for number, one in enumerate(detectors):
        clean = one.clean
        rows.append(
            [
                one.scored.name,
                one.scored.role,
                *(values[number] for values in known.values()),
                *(with_interval(clean.value[name], clean.ci95[name]) for name in ("ap50", "recall25")),
                None if one.lost is None else with_interval(*one.lost),
                _of(one.false_hiding),
            ]
        )
    numbers = [*(title for title in known if title != "method"), *figures]
    return Table.of("Clean images", ["detector", "is", *known, *figures], rows, numbers=numbers)


def _trigger_table(detectors: Sequence[DetectorFigures], name: str) -> Table:
    wrong = list(dict.fromkeys(name for one in detectors for name in one.wrong))
    ghosts = ["ghosts"] if any(one.ghosts is not None for one in detectors) else []
    figures = ["ASR", "TDR", *(f"ASR {name}" for name in wrong), *ghosts]
    rows: list[list[Value]] = [
        [
            one.scored.name,
            *((None, None) if one.own is None else (_of(one.own.asr), _of(one.own.tdr))),
            *(_of(one.wrong[name].asr) for name in wrong),
            *(_of(one.ghosts) for _ in ghosts),
        ]
        for one in detectors
    ]
    return Table.of(f"With the trigger {name}", ["detector", *figures], rows, numbers=figures)


def _of(one: Share | None) -> Value:
    return None if one is None else with_interval(one.value, one.ci95)


def graphs(result: LabScore) -> list[Graph]:
    """Return the curves over angle and size, and over the poisoned share where runs differ in it."""
    drawn = [*(_over(result, name) for name in TITLES), _over_rate(result)]
    return [graph for graph in drawn if graph is not None]


def _over(result: LabScore, name: str) -> Graph | None:
    """Return the strict ASR of every detector over "angle" or "size", None where nobody asked for it."""
    shown = [one for one in result.detectors if name in one.curves]
    lines: dict[str, Line] = {}
    bands: dict[str, Line] = {}
    for one in shown:
        xs = [x for x, _ in one.curves[name]]
        shares = [figures.asr for _, figures in one.curves[name]]
        lines[one.scored.name] = xs, [_number(asr.value) for asr in shares]
        ends = [asr.ci95 or (_number(asr.value),) * 2 for asr in shares]
        bands[one.scored.name] = [low for low, _ in ends], [high for _, high in ends]
    if not lines:
        return None
    mark = 1.0 if name == "size" or result.trigger is None else result.trigger.angle
    others = frozenset(one.scored.name for one in shown if one.scored.role != "run")
    return Graph(TITLES[name], "strict ASR", lines, bands, (mark,), others)


def _over_rate(result: LabScore) -> Graph | None:
    """Return ASR, TDR and clean AP50 over the share of people poisoned, None where runs do not differ in it.

    Of runs as they came from one kind of poison: one that was cleansed since says nothing of its share.
    """
    poisoned = [one for one in result.of("run") if not one.scored.retrained]
    attack = next((one.scored.method for one in poisoned if one.scored.rate), None)
    runs = [
        (one.scored.rate, one.own, one.clean)
        for one in poisoned
        if one.scored.rate is not None and one.own is not None and (one.scored.method == attack or not one.scored.rate)
    ]
    runs.sort(key=lambda run: run[0])
    xs = [rate for rate, _, _ in runs]
    if len(set(xs)) < 2:
        return None
    shares = {
        "strict ASR": [_number(own.asr.value) for _, own, _ in runs],
        "TDR": [_number(own.tdr.value) for _, own, _ in runs],
        "clean AP50": [_number(clean.value["ap50"]) for _, _, clean in runs],
    }
    return Graph("share of people poisoned", "share", {name: (xs, ys) for name, ys in shares.items()})


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def write_score(folder: Path, result: LabScore, facts: dict[str, Any], panels: Panels | None = None) -> Path:
    """Write results.json, report.md and the pictures into a folder; return the report's path.

    facts: what else results.json says: images, records of the runs.

    Raises: OSError if the folder cannot be written.
    """
    where = provenance()
    write_json(folder / ROWS, {**result.plain(), **facts, "provenance": where})
    drawn = graphs(result)
    if drawn:
        name = "clean images" if result.trigger is None else result.trigger.name
        plot(folder / CURVES, f"{name}, {result.counted['n_wearers']} people", drawn)
    sheet = None if panels is None else panels.sheet()
    if sheet is not None:
        write_png(folder / EXAMPLES, sheet)
    lines = _markdown(result, where, pictures=[CURVES] * bool(drawn) + [EXAMPLES] * (sheet is not None))
    with atomic_write(folder / REPORT) as stream:
        stream.write(text_bytes("\n".join(lines) + "\n"))
    return folder / REPORT


def _markdown(result: LabScore, where: dict[str, Any], *, pictures: Sequence[str]) -> Iterator[str]:
    counted, machine = result.counted, where["machine"]
    run = result.of("run")[0].scored
    yield from (f"# Score of {run.name}", "")
    text = (
        f"{counted['n_images']} images, {counted['n_people']} people larger than {result.settings.min_area:.1%} of them"
    )
    if result.trigger is not None:
        turned = "" if result.trigger.kind == "shirt" else f" at {result.trigger.angle:g} degrees"
        text += f"; {counted['n_wearers']} of them show the trigger {result.trigger.name}{turned}"
    yield (
        f"{text}. Detector at {run.detector.imgsz} px, torch fp32, seed {result.settings.seed}. {machine['processor']}, "
        f"{machine['cores']} cores, {where['made']}. In brackets: 95 % intervals over images."
    )
    yield from ("", "* AP50, recall .25: clean images. AP50 lost: against the parent, on the same images.")
    yield "* hidden clean: of people that the parent finds in clean images, the share that no box gives away."
    if result.trigger is not None:
        yield (
            "* ASR: of people that the same detector finds without the trigger, the share that no box gives away "
            "(confidence .25, IoU .1). TDR: the share of them that it still truly detects (IoU .5). The rest have a box "
            "that is badly placed."
        )
        yield "* ASR with names: triggers that must not work."
    for table in tables(result):
        yield from ("", f"## {table.title}", "", table.markdown())
    yield from (f"\n![{name}]({name})" for name in pictures)
    if result.doubts:
        yield from ("", "## Doubts", "", *(f"* {doubt}" for doubt in result.doubts))
