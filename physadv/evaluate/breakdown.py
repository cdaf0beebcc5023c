"""What is behind the figures of a cell: precision over recall, confidences, and who is found by height and by cover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physadv.detect.matching import RECALLS, ImageMatch, precision_at
from physadv.evaluate.cell import Case, Cell
from physadv.evaluate.metrics import wilson
from physadv.table import Table, Value, with_interval
from physadv.types import BoolArray, Float32Array, UInt8Array

# Ends of the bands: pixels of a person's height as the network sees them, and share of the person that the print covers.
HEIGHTS = (0.0, 64.0, 96.0, 128.0, 192.0, 256.0, float("inf"))
COVERS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
# Of the histogram of confidences.
BINS = 20
BY = {"height_px": ("height, px", HEIGHTS), "covered": ("covered", COVERS)}


class Band(NamedTuple):
    """The people of one band. low, high: its ends. n, images: people, and images with any. recall25: share found, with its
    95 % interval (Wilson's, an image as one case). hidden, n_hidden: share strictly hidden of those that the clean detector
    finds, and how many these are."""

    low: float
    high: float
    n: int
    images: int
    recall25: float
    ci95: tuple[float, float]
    hidden: float | None
    n_hidden: int


def bands(cases: Sequence[Case], by: str) -> list[Band]:
    """Return the bands with people in them. by: `height_px` or `covered`; people without a known one are left out."""
    ends = BY[by][1]
    out = []
    for low, high in pairwise(ends):
        top = high if high < ends[-1] else float("inf")
        mine = [case for case in cases if (value := getattr(case, by)) is not None and low <= value < top]
        if not mine:
            continue
        images = len({case.unit for case in mine})
        found = float(np.mean([case.found for case in mine]))
        known = [case.hidden for case in mine if case.hidden is not None]
        hidden = float(np.mean(known)) if known else None
        ci = wilson(found, images)
        out.append(Band(low, high, len(mine), images, found, (round(ci[0], 4), round(ci[1], 4)), hidden, len(known)))
    return out


def details(matches: Sequence[ImageMatch], cases: Sequence[Case]) -> dict[str, Any]:
    """Return what results.json says of a cell of images beside its figures.

    precision: at the 101 recalls from 0 to 1. confidence_histogram: people by the highest confidence of a box on each, in
    20 bins from 0 to 1. by_height_px, by_covered: the bands. print_share: median share of a person that the print covers.
    """
    counts, _ = np.histogram([case.confidence for case in cases], BINS, (0, 1))
    covered = [case.covered for case in cases if case.covered is not None]
    out: dict[str, Any] = {
        "precision": [round(float(v), 4) for v in precision_of(matches)],
        "confidence_histogram": counts.tolist(),
        "by_height_px": [_plain(band) for band in bands(cases, "height_px")],
    }
    if covered:
        out["print_share"] = round(float(np.median(covered)), 4)
        out["by_covered"] = [_plain(band) for band in bands(cases, "covered")]
    return out


def precision_of(matches: Sequence[ImageMatch]) -> npt.NDArray[np.float64]:
    """Return (101,) the precision at each recall from 0 to 1 as COCO reads it; their mean is AP50."""
    scores = np.concatenate([np.zeros(0), *(m.scores for m in matches)])
    right = np.concatenate([np.zeros(0, bool), *(m.right for m in matches)])
    order = np.argsort(-scores, kind="stable")
    people = sum(m.n_people for m in matches)
    return precision_at(right[order], people) if people else np.zeros(len(RECALLS))


def covered_by(before: UInt8Array, after: UInt8Array, people: Float32Array) -> list[float]:
    """Return the share of each person's box whose pixels a print has changed. people: (n, 4) xyxy in pixels."""
    changed: BoolArray = (before != after).any(2)
    out = []
    for x0, y0, x1, y1 in people.round().astype(int).tolist():
        part = changed[max(y0, 0) : max(y1, 1), max(x0, 0) : max(x1, 1)]
        out.append(float(part.mean()) if part.size else 0.0)
    return out


def breakdown_table(cells: Sequence[Cell]) -> Table | None:
    """Return who is found and hidden by height and by cover, a row a band of each row; None where nothing is known."""
    rows: list[list[Value]] = [
        [cell.defence, cell.label, BY[by][0], _ends(band, by), band.n, band.images, *_shown(band)]
        for cell in cells
        if not cell.transform
        for by in BY
        for band in bands(cell.cases, by)
    ]
    columns = ["defence", "condition", "by", "band", "people", "images", "recall .25", "ASR strict .25", "of"]
    return Table.of("By height and by cover", columns, rows, numbers=columns[4:]) if rows else None


def _shown(band: Band) -> Iterator[Value]:
    yield with_interval(band.recall25, band.ci95)
    yield band.hidden
    yield band.n_hidden


def _ends(band: Band, by: str) -> str:
    if band.high == float("inf"):
        return f"{band.low:g} or more"
    return f"{band.low:g} to {band.high:g}" if by == "height_px" else f"{band.low:.0%} to {band.high:.0%}"


def _plain(band: Band) -> dict[str, Any]:
    plain = band._asdict()
    plain["high"] = None if band.high == float("inf") else band.high
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in plain.items()} | {"ci95": list(band.ci95)}
