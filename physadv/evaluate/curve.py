"""Patterns over a whole condition: recall and strict success at each angle, fold, distance or light, and on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from physadv.arrays import listed
from physadv.dataset import Dataset
from physadv.defend import Pipeline
from physadv.errors import DataError, SettingsError
from physadv.evaluate.cell import NO_DEFENCE, Cell
from physadv.evaluate.noticed import noticed_table, score_noticed
from physadv.evaluate.scorer import Scorer, cell_name, entries
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.sides import Matched, at_distance, auc, joint, matched
from physadv.evaluate.steps import Steps, part_of
from physadv.patch import Patch
from physadv.simulate.activation import PARAMETERS, WORDS, Activation, Ranges, WorldParameter
from physadv.simulate.conditions import Condition
from physadv.simulate.placement import Placement
from physadv.simulate.states import OF_IMAGE
from physadv.table import Table, Value, with_interval
from physadv.types import Detector

# The condition by which the two sides of a curve are distinguished where no pattern has one about it.
USUAL = {
    "distance": "far:4",
    "light": "light:bright",
    "colour": "colour:warm",
    "yaw": "yaw:0-15",
    **{name: word for word, (name, _, _) in WORDS.items()},
}
ACTIVE, DORMANT = "active", "dormant"
# White and noise say nothing of a switch that grey and the pattern's own colours do not.
SCORED = ("none", "grey", "shuffled", "patch")


@dataclass(frozen=True, slots=True)
class Curve:
    """What a curve is over. on, off: where the pattern of the condition acts, and where it must not. when: whose words."""

    parameter: WorldParameter
    on: Ranges
    off: Ranges
    when: str

    @classmethod
    def of(cls, name: str, patches: Sequence[Patch]) -> Curve:
        """Return the curve over a parameter, its sides by the first pattern whose condition is about it, or as is usual.

        Raises: SettingsError if there is no such parameter, or a pattern is worn as clothes, which have none of their own.
        """
        if name not in PARAMETERS:
            raise SettingsError(field="curve", expected=", ".join(PARAMETERS), got=repr(name))
        cloth = next((p for p in patches if p.tiles), None)
        if cloth is not None and name not in ("distance", *OF_IMAGE):
            raise SettingsError(field="curve", expected="prints", got=f"{cloth.name}, which is worn as clothes")
        conditions = [Activation.of(p.when, p.otherwise) for p in patches if p.when]
        chosen = next((a for a in conditions if name in a.active), None) or Activation.of(USUAL[name])
        off = tuple(sorted(interval for state in chosen.dormant for interval in state.get(name, ())))
        return cls(PARAMETERS[name], chosen.active[name], off, chosen.when)

    @property
    def rows(self) -> dict[str, tuple[Ranges, str]]:
        """Return what is scored by its label: every point, then both sides whole, with the side that each is on."""
        alone = Activation(self.when, "", {self.parameter.name: self.on}, ({self.parameter.name: self.off},))
        points = {self.parameter.label(r): (r, alone.side(self.parameter.name, r)) for r in self.parameter.points}
        return {**points, ACTIVE: (self.on, ACTIVE), DORMANT: (self.off, DORMANT)}


def score_curve(
    curve: Curve,
    data: Dataset,
    detector: Detector,
    settings: EvaluateSettings,
    patches: Sequence[Patch],
    placements: Mapping[str, Placement],
    pipelines: Sequence[Pipeline] = (),
) -> Steps[list[Cell]]:
    """Return a cell of every pattern, its grey and shuffled controls and nothing, at each point and on both sides.

    The active side's cell also holds what needs both: `auc`, and `joint25`, the share of people found without a pattern who
    are strictly gone where it acts and seen where it must not. pipelines: defences of which is also scored what they notice
    on both sides; see `score_noticed`.

    Raises: DataError if nobody can be shown at a distance.
    """
    wanted = [e for e in entries(patches, placements, seed=settings.seed) if e.condition in SCORED]
    cells: list[Cell] = []
    sides: dict[str, dict[tuple[str, str | None], Matched]] = {}
    worn = list(placements.values())
    scorer = Scorer(data, detector, settings, placements=worn)
    for number, (label, (ranges, side)) in enumerate(curve.rows.items()):
        if curve.parameter.name == "distance":
            # Other images, each of somebody so far away.
            people = at_distance(data.images, ranges, detector.imgsz, seed=settings.seed)
            scorer = Scorer(replace(data, images=people), detector, settings, placements=worn)
        if not scorer.data.images:
            continue
        condition = Condition(label, state=_state(curve, ranges))
        for index, entry in enumerate(wanted):
            steps = scorer.scoring(replace(entry, transform=condition))
            done = number * len(wanted) + index
            cell = yield from part_of(steps, done, len(curve.rows) * len(wanted), f"{label}, {cell_name(entry)}")
            cell.extra |= {"curve": curve.parameter.name, "from": ranges[-1][0], "to": ranges[-1][1], "side": side}
            cells.append(cell)
            if label in (ACTIVE, DORMANT):
                found = matched(scorer.data.images, scorer.matches[-1])
                sides.setdefault(label, {})[(entry.condition, entry.name)] = found
        if label in (ACTIVE, DORMANT) and pipelines:
            behind = yield from score_noticed(scorer, condition, side, wanted, pipelines)
            for cell in behind:
                cell.extra |= {"curve": curve.parameter.name, "side": side}
            cells += behind
    if not sides.get(ACTIVE) or not sides.get(DORMANT):
        raise DataError(
            field="images",
            expected=f"people who can be shown when {curve.when} and when not",
            got="none in these images",
        )
    _add_both(cells, sides, settings)
    return cells


def _state(curve: Curve, ranges: Ranges) -> tuple[tuple[str, Ranges], ...]:
    return () if curve.parameter.name == "distance" else ((curve.parameter.name, ranges),)


def _add_both(
    cells: Sequence[Cell], sides: Mapping[str, Mapping[tuple[str, str | None], Matched]], settings: EvaluateSettings
) -> None:
    """Write into the cells of the active side what needs both."""
    clean = sides[ACTIVE][("none", None)]
    for cell in cells:
        key = (cell.condition, cell.patch)
        if cell.transform != ACTIVE or cell.defence != NO_DEFENCE or key not in sides[DORMANT]:
            continue
        on, off = sides[ACTIVE][key], sides[DORMANT][key]
        both = joint(on, [off], clean, resamples=settings.resamples, seed=settings.seed)
        value, interval = auc(on, off, resamples=settings.resamples, seed=settings.seed)
        cell.extra |= {
            "joint25": _rounded(both.value),
            "joint25_ci95": None if both.ci95 is None else list(both.ci95),
            "joint_people": both.n,
            "auc": _rounded(value),
            "auc_ci95": None if interval is None else list(interval),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 4)


def curve_tables(cells: Sequence[Cell]) -> list[Table]:
    """Return recall and strict success over the condition, then what needs both its sides, of one detector's cells."""
    mine = [cell for cell in cells if "curve" in cell.extra and cell.defence == NO_DEFENCE]
    if not mine:
        return []
    columns = list(dict.fromkeys(cell.label for cell in mine))
    at = {(cell.transform, cell.label): cell for cell in mine}
    labels = list(dict.fromkeys(cell.transform for cell in mine))
    first = mine[0]
    out = []
    for name, title in (("recall25", "recall .25"), ("asr_strict25", "ASR strict .25")):
        rows: list[list[Value]] = []
        for label in labels:
            here = [at.get((label, column)) for column in columns]
            known = next(cell for cell in here if cell is not None)
            people = known.counted["n_people"]
            rows.append([label, known.extra["side"], people, *(_figure(cell, name) for cell in here)])
        head = f"{first.extra['curve'].capitalize()}, {title}, {first.detector} at {first.imgsz} px"
        out.append(
            Table.of(head, [first.extra["curve"], "side", "people", *columns], rows, numbers=["people", *columns])
        )
    both = [cell for cell in mine if "auc" in cell.extra]
    titles = ["worn", "gone and seen", "people", "AUC"]
    summary = [
        [
            cell.label,
            with_interval(cell.extra["joint25"], cell.extra["joint25_ci95"]),
            cell.extra["joint_people"],
            with_interval(cell.extra["auc"], cell.extra["auc_ci95"]),
        ]
        for cell in both
    ]
    table = Table.of(
        "Both sides: the same person gone where it acts, seen where not", titles, summary, numbers=titles[1:]
    )
    behind = noticed_table(cells)
    return [*out, table] if behind is None else [*out, table, behind]


def _figure(cell: Cell | None, name: str) -> Value:
    return None if cell is None else with_interval(cell[name], cell.figures.ci95.get(name))


def crossing(cells: Sequence[Cell], label: str) -> list[str]:
    """Return lines on where the recall of a pattern crosses the middle between its two sides, along a curve."""
    mine = [c for c in cells if c.label == label and "curve" in c.extra and c.defence == NO_DEFENCE]
    ends = {c.transform: c["recall25"] for c in mine if c.transform in (ACTIVE, DORMANT)}
    on, off = ends.get(ACTIVE), ends.get(DORMANT)
    if on is None or off is None:
        return []
    middle = (on + off) / 2
    points = [(c.extra["from"], r) for c in mine if c.transform not in ends and (r := c["recall25"]) is not None]
    places = []
    for (x, a), (y, b) in pairwise(points):
        if (a - middle) * (b - middle) < 0:
            places.append(f"{x + (y - x) * (middle - a) / (b - a):.3g}")
    unit = PARAMETERS[mine[0].extra["curve"]].unit
    return [f"{label}: recall crosses {middle:.2f} at {listed(places)} {unit}".rstrip()] if places else []
