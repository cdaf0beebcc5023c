"""Whether two evaluations differ by more than chance: the same people, paired, whole images or seconds drawn again."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from physadv.errors import DataError
from physadv.evaluate.metrics import FEW, interval_of, newcombe
from physadv.evaluate.results import KEYS, PEOPLE
from physadv.table import Table, Value

# The figures of a case that are compared.
FIGURES = ("hidden", "found", "confidence")
SHARES = ("hidden", "found")
# What two rows must have in common to be compared, besides what is worn.
ALIKE = tuple(name for name in KEYS if name != "label")
RESAMPLES = 2000
LEVEL = 0.05


class Key(NamedTuple):
    """A row of an evaluation: detector, size, condition, transform, defence and attack; label is what is worn."""

    alike: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of one row of two evaluations. value: first minus second, with its 95 % interval.

    ci95: of shares in few units, or where all resamples agree, Newcombe's; None of a confidence where they do. p: of the
    difference being chance, by changing signs of whole units. p_holm: the same, corrected for all that were compared. n:
    cases that both have; units: images, or seconds, that are drawn again.
    """

    row: str
    labels: tuple[str, str]
    figure: str
    means: tuple[float, float]
    value: float
    ci95: tuple[float, float] | None
    p: float
    n: int
    units: int
    p_holm: float = math.nan

    @property
    def real(self) -> bool:
        """Return whether the difference is more than chance at a level of 5 % over all that were compared."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, slots=True)
class Compared:
    """The differences of two evaluations; notes: what could not be compared, by name."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    def table(self) -> Table:
        """Return a row for each difference."""
        rows: list[list[Value]] = [
            [
                *(d.row, " against ".join(dict.fromkeys(d.labels)), d.figure, *d.means),
                f"{d.value:+.3f}" + ("" if d.ci95 is None else f" [{d.ci95[0]:+.2f}, {d.ci95[1]:+.2f}]"),
                *(f"{d.p_holm:.4f}", "yes" if d.real else "not shown", d.n, d.units),
            ]
            for d in self.differences
        ]
        columns = ["row", "worn", "figure", "A", "B", "A - B", "p (Holm)", "real", "people", "units"]
        return Table.of("Differences", columns, rows, numbers=columns[3:7] + columns[8:])


# Of one row of an evaluation: figures, and the weight, by unit and case.
Row = dict[tuple[str, str], dict[str, float]]


class Paired(NamedTuple):
    """A difference over cases that both sides have, as of `Difference`."""

    means: tuple[float, float]
    value: float
    ci95: tuple[float, float] | None
    p: float
    n: int
    units: int


def compare(first: Path | str, second: Path | str, *, seed: int = 0) -> Compared:
    """Return the differences between two evaluations, row by row, over the people that both scored.

    first, second: folders that an evaluation wrote, or FOLDER:NAME for what is worn in one row (a pattern, none, grey).
    Rows with equal detector, condition and defence are compared; where the patterns have other names, and each side has
    one alone, these. p: 2,000 changes of sign of whole units, more where much is compared, Holm's correction over all
    differences.

    Raises: DataError if a folder holds no evaluation, or the two have no people or rows in common.
    """
    a, b = (_read(where) for where in (first, second))
    pairs, notes = _paired(a, b, (str(first), str(second)))
    out: list[Difference] = []
    # So many that the smallest p survives the correction: of 300 differences none could be real by 2,000.
    changes = max(RESAMPLES, math.ceil(2 * len(pairs) * len(FIGURES) / LEVEL))
    for one, other in pairs:
        mine, theirs = a[one], b[other]
        common = [case for case in mine if case in theirs]
        if missing := len(mine) + len(theirs) - 2 * len(common):
            notes.append(f"{_called(one)}: {missing} people are in one of the two alone: left out")
        for figure in FIGURES:
            found = paired(mine, theirs, common, figure, seed=seed, changes=changes)
            if found is not None:
                out.append(Difference(_called(one), (one.label, other.label), figure, *found))
    if not out:
        raise DataError(f"{first} and {second} have no person in common: nothing can be paired")
    return Compared(tuple(_with_holm(out)), tuple(dict.fromkeys(notes)))


def _read(where: Path | str) -> dict[Key, Row]:
    """Return the cases of an evaluation by row, then by (unit, case)."""
    folder, name = Path(where), ""
    if not folder.exists() and ":" in str(where):
        text, _, name = str(where).rpartition(":")
        folder = Path(text)
    path = folder / PEOPLE
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
        out: dict[Key, Row] = {}
        for line in lines:
            key = Key(tuple(line[k] for k in ALIKE), line["label"])
            values = {f: float(line[f]) if line[f] else math.nan for f in FIGURES} | {"weight": float(line["weight"])}
            out.setdefault(key, {})[line["unit"], line["case"]] = values
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        hint = "run `physadv evaluate` again; earlier versions kept no people"
        raise DataError(
            f"{folder}: expected a folder that `physadv evaluate` wrote, with {PEOPLE}", hint=hint
        ) from error
    found = {key: row for key, row in out.items() if not name or key.label == name}
    if not found:
        worn = ", ".join(dict.fromkeys(key.label for key in out)) or "nobody"
        raise DataError(
            f"{folder}: expected a row called {name!r}" if name else f"{folder}: nobody was scored", got=worn
        )
    return found


def _paired(a: dict[Key, Row], b: dict[Key, Row], names: tuple[str, str]) -> tuple[list[tuple[Key, Key]], list[str]]:
    """Return the rows that are compared, and a line on those that have no counterpart."""
    out = []
    for alike in dict.fromkeys(key.alike for key in a):
        mine, theirs = ([key for key in rows if key.alike == alike] for rows in (a, b))
        same = [(key, key) for key in mine if key in theirs]
        if not same and len(mine) == len(theirs) == 1:
            same = [(mine[0], theirs[0])]
        out += same
    if not out and len(a) == len(b) == 1:
        # Named on both sides: a pattern against a control, one defence against another.
        out = [(next(iter(a)), next(iter(b)))]
    used = [{key for key, _ in out}, {key for _, key in out}]
    notes = [
        f"{name}: {len(rows) - len(mine)} rows have no counterpart: left out"
        for name, rows, mine in zip(names, (a, b), used, strict=True)
        if len(rows) > len(mine)
    ]
    if not out:
        raise DataError(
            f"{names[0]} and {names[1]} have no row in common",
            expected="equal detectors, sizes, conditions and defences",
            hint="name one row of each: FOLDER:PATTERN",
        )
    return out, notes


def paired(
    mine: Row, theirs: Row, common: Sequence[tuple[str, str]], figure: str, *, seed: int, changes: int
) -> Paired | None:
    """Return the difference of one figure over cases that both have; None where no case of both has the figure.

    changes: of signs of whole units, from which p is known.
    """
    both = [c for c in common if math.isfinite(mine[c][figure]) and math.isfinite(theirs[c][figure])]
    if not both:
        return None
    units = list(dict.fromkeys(unit for unit, _ in both))
    where = {unit: i for i, unit in enumerate(units)}
    # Of each unit: its weight, and both sides' sums.
    sums = np.zeros((len(units), 3))
    for case in both:
        weight = min(mine[case]["weight"], theirs[case]["weight"])
        sums[where[case[0]]] += (weight, weight * mine[case][figure], weight * theirs[case][figure])
    total = sums.sum(0)
    means = (float(total[1] / total[0]), float(total[2] / total[0]))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), RESAMPLES) @ sums
    apart = (drawn[:, 1] - drawn[:, 2]) / np.maximum(drawn[:, 0], 1e-12)
    value = means[0] - means[1]
    interval = interval_of(apart)
    if figure in SHARES and (interval is None or len(units) < FEW):
        interval = newcombe(*means, len(units))
    return Paired(means, value, interval, _chance(sums[:, 1] - sums[:, 2], rng, changes), len(both), len(units))


def _chance(apart: npt.NDArray[np.float64], rng: np.random.Generator, changes: int = RESAMPLES) -> float:
    """Return the share of sign changes of whole units by which the two differ as much, itself counted."""
    as_far = 0
    # Some at a time: all at once would fill the memory.
    for start in range(0, changes, RESAMPLES):
        signs = rng.integers(0, 2, (min(RESAMPLES, changes - start), len(apart))) * 2 - 1
        # Sums of equal differences in another order are equal up to rounding.
        as_far += int((np.abs(signs @ apart) >= abs(apart.sum()) - 1e-9).sum())
    return (1 + as_far) / (1 + changes)


def _with_holm(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences with Holm's step-down correction of their p.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = sorted(range(len(found)), key=lambda i: found[i].p)
    out = list(found)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(found) - rank) * found[i].p))
        out[i] = replace(found[i], p_holm=highest)
    return out


def _called(key: Key) -> str:
    """Return what a row is called: what is not usual about it."""
    parts = dict(zip(ALIKE, key.alike, strict=True))
    behind = "" if parts["defence"] == "none" else f"behind {parts['defence']}"
    words = (
        parts["detector"],
        f"at {parts['imgsz']} px",
        parts["condition"],
        parts["transform"],
        behind,
        parts["attack"],
    )
    return " ".join(filter(None, words))
