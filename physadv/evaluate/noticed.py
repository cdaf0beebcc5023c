"""Does a defence notice a pattern with a condition before it acts? Alerts on its wearers, on both of its sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from physadv.boxes import coverage
from physadv.dataset import LabelledImage
from physadv.defend import Pipeline
from physadv.evaluate.cell import NO_DEFENCE, Cell
from physadv.evaluate.metrics import share
from physadv.evaluate.scorer import Entry, Scorer, cell_name
from physadv.evaluate.steps import Steps, part_of
from physadv.simulate.conditions import Condition
from physadv.table import Table, Value, with_interval
from physadv.types import Alert, BoolArray

# Of an alert's own area: so much lies on a person that it is about.
ON_PERSON = 0.5
# The pattern's own pixels shuffled would cost as long again.
WORN = ("none", "grey", "patch")


def score_noticed(
    scorer: Scorer, condition: Condition, side: str, wanted: Sequence[Entry], pipelines: Sequence[Pipeline]
) -> Steps[list[Cell]]:
    """Return a cell of nothing, grey and every pattern behind each defence on one side of a condition.

    `extra` holds `noticed`, the share of people with an alert of any kind but a notice on them, and
    `noticed_ci95`. What is said of the whole image is said of everybody in it.
    """
    jobs = [(entry, pipeline) for pipeline in pipelines for entry in wanted if entry.condition in WORN]
    cells = []
    for number, (entry, pipeline) in enumerate(jobs):
        steps = scorer.scoring(replace(entry, transform=condition), pipeline)
        cell = yield from part_of(steps, number, len(jobs), f"{side}, {cell_name(entry)}, {pipeline}")
        parts = [noticed(i, a) for i, a in zip(scorer.data.images, scorer.alerts[-1], strict=True)]
        found = share(parts, resamples=scorer.settings.resamples, rng=np.random.default_rng(scorer.settings.seed))
        kinds = sorted({alert.kind for alerts in scorer.alerts[-1] for alert in alerts} - {"notice"})
        cell.extra |= {
            "noticed": None if found.value is None else round(found.value, 4),
            "noticed_ci95": None if found.ci95 is None else list(found.ci95),
            "noticed_by": kinds,
        }
        cells.append(cell)
    return cells


def noticed(image: LabelledImage, alerts: Sequence[Alert]) -> BoolArray:
    """Return (n,) of which people that count in an image an alert is about."""
    people = image.targets
    out = np.zeros(len(people), bool)
    for alert in alerts:
        if alert.kind == "notice":
            continue
        if alert.xyxy is None:
            return np.ones(len(people), bool)
        out |= coverage(np.array([alert.xyxy], np.float32), people)[0] >= ON_PERSON
    return out


def noticed_table(cells: Sequence[Cell]) -> Table | None:
    """Return what each defence notices on both sides, and the recall behind it; None where none was scored."""
    mine = [cell for cell in cells if "noticed" in cell.extra]
    if not mine:
        return None
    rows: list[list[Value]] = [
        [
            cell.defence,
            cell.label,
            cell.transform,
            cell.counted["n_people"],
            with_interval(cell.extra["noticed"], cell.extra["noticed_ci95"]),
            ", ".join(cell.extra["noticed_by"]) or None,
            cell["recall25"],
        ]
        for cell in mine
        if cell.defence != NO_DEFENCE
    ]
    titles = ["defence", "worn", "side", "people", "noticed", "alerts", "recall .25"]
    return Table.of(
        f"What defences notice of it, {mine[0].detector} at {mine[0].imgsz} px",
        titles,
        rows,
        numbers=["people", "noticed", "recall .25"],
    )
