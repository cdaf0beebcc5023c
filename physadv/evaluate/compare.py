"""Whether two evaluations differ by more than chance: the same people, paired, whole images or seconds drawn again."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from physadv.errors import DataError
from physadv.evaluate.metrics import FEW, interval_of, newcombe
from physadv.evaluate.results import KEYS, PEOPLE, RUN
from physadv.files import parse_json
from physadv.table import Table, Value

# The figures of a case that are compared.
FIGURES = ("hidden", "found", "confidence")
SHARES = ("hidden", "found")
# What two rows must have in common to be compared, besides what is worn.
ALIKE = tuple(name for name in KEYS if name != "label")
RESAMPLES = 2000
# Sums of equal figures in another order are equal up to rounding.
SAME = 1e-9
LEVEL = 0.05
# Settings by which people are counted: of two evaluations that differ in them no difference is the pattern's alone.
COUNTED_BY = ("conf", "min_area")


class Key(NamedTuple):
    """A row of an evaluation: detector, size, condition, transform, defence and attack; label is what is worn."""

    alike: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A difference over cases that both sides have. value: first minus second, with its 95 % interval.

    ci95: of shares in few units, or where all resamples agree, Newcombe's; None of a confidence where they do. p: of the
    difference being chance, by changing signs of whole units. n: cases that both have; units: images, or seconds, that are
    drawn again; differ: those of them in which the two differ.
    """

    means: tuple[float, float]
    value: float
    ci95: tuple[float, float] | None
    p: float
    n: int
    units: int
    differ: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Paired):
    """One figure of one row of two evaluations. p_holm: p, corrected for all that were compared."""

    row: str
    labels: tuple[str, str]
    figure: str
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


def compare(first: Path | str, second: Path | str, *, seed: int = 0) -> Compared:
    """Return the differences between two evaluations, row by row, over the people that both scored.

    first, second: folders that an evaluation wrote, or FOLDER:NAME for what is worn in one row (a pattern, none, grey).
    Rows with equal detector, condition and defence are compared; where the patterns have other names, and each side has
    one alone, these. p: 2,000 changes of sign of whole units, more where much is compared, Holm's correction over all
    differences.

    Raises: DataError if a folder holds no evaluation, or the two have no people or rows in common.
    """
    twice: list[str] = []
    a, b = (_read(where, twice) for where in (first, second))
    pairs, notes = _paired(a, b, (str(first), str(second)))
    notes = [*twice, *_thresholds(first, second), *notes]
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
                labels = one.label, other.label
                out.append(Difference(row=_called(one), labels=labels, figure=figure, **asdict(found)))
    if not out:
        raise DataError(f"{first} and {second} have no person in common: nothing can be paired")
    return Compared(tuple(_with_holm(out)), tuple(dict.fromkeys(notes)))


def _folder(where: Path | str) -> tuple[Path, str]:
    """Return the folder of FOLDER or FOLDER:NAME, and the name, "" for none."""
    folder = Path(where)
    if not folder.exists() and ":" in str(where):
        text, _, name = str(where).rpartition(":")
        return Path(text), name
    return folder, ""


def _thresholds(first: Path | str, second: Path | str) -> list[str]:
    """Return a line for each setting by which two evaluations count that is not the same in both."""
    both = []
    for where in (first, second):
        try:
            settings = parse_json((_folder(where)[0] / RUN).read_bytes())["settings"]
            both.append({name: settings.get(name) for name in COUNTED_BY})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []
    return [
        f"[threshold-differs] {name}: {both[0][name]} and {both[1][name]}: the two do not count alike"
        for name in COUNTED_BY
        if both[0][name] != both[1][name]
    ]


def _read(where: Path | str, notes: list[str]) -> dict[Key, Row]:
    """Return the cases of an evaluation by row, then by (unit, case). notes: takes a line on people listed twice."""
    folder, name = _folder(where)
    path = folder / PEOPLE
    twice = 0
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
        out: dict[Key, Row] = {}
        for line in lines:
            key = Key(tuple(line[k] for k in ALIKE), line["label"])
            values = {f: float(line[f]) if line[f] else math.nan for f in FIGURES} | {"weight": float(line["weight"])}
            row = out.setdefault(key, {})
            twice += (line["unit"], line["case"]) in row
            row.setdefault((line["unit"], line["case"]), values)
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        hint = "run `physadv evaluate` again; earlier versions kept no people"
        raise DataError(
            f"{folder}: expected a folder that `physadv evaluate` wrote, with {PEOPLE}", hint=hint
        ) from error
    if twice:
        notes.append(f"{folder}: {twice} rows are of people in images that are there twice: counted once")
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
    each = sums[:, 1] - sums[:, 2]
    differ = int((np.abs(each) > SAME).sum())
    return Paired(
        means=means,
        value=value,
        ci95=interval,
        p=_chance(each, rng, changes),
        n=len(both),
        units=len(units),
        differ=differ,
    )


def _chance(apart: npt.NDArray[np.float64], rng: np.random.Generator, changes: int = RESAMPLES) -> float:
    """Return the share of sign changes of whole units by which the two differ as much, itself counted."""
    as_far = 0
    # Some at a time: all at once would fill the memory.
    for start in range(0, changes, RESAMPLES):
        signs = rng.integers(0, 2, (min(RESAMPLES, changes - start), len(apart))) * 2 - 1
        as_far += int((np.abs(signs @ apart) >= abs(apart.sum()) - SAME).sum())
    return (1 + as_far) / (1 + changes)


def _with_holm(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences with Holm's step-down correction of their p.

    What is equal in every unit could not have been found different, whatever is tested beside it: it stays out of the
    count, with p 1. As clean images do, which two evaluations of patterns share.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure; Tarone 1990, on tests without any chance.
    """
    out = [replace(one, p_holm=1.0) for one in found]
    tested = sorted((i for i, one in enumerate(found) if one.differ), key=lambda i: found[i].p)
    highest = 0.0
    for rank, i in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * found[i].p))
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
