"""Several detectors under the same patterns: accuracy beside robustness, and which pattern transfers where.

Source: Su et al. 2018, Is robustness the cost of accuracy? (classifiers under perturbations); here detectors under prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from physadv.detect.facts import DetectorFacts
from physadv.errors import SettingsError
from physadv.evaluate.compare import Row, paired
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.metrics import interval_of
from physadv.evaluate.settings import EvaluateSettings
from physadv.patch import Patch

# Detectors of a resample have to be different ones, this many at least, to be put in order.
IN_ORDER = 3
NONE, GREY, PUBLIC, MADE = "none", "grey", "public", "made"
Drawn = npt.NDArray[np.float64]


class SizedDetector(NamedTuple):
    """A detector of a study: as `load_detector` takes it, and the long side at which it looks, None for its own."""

    name: str
    imgsz: int | None

    @classmethod
    def of(cls, text: str) -> SizedDetector:
        """Return the detector of a text like `yolo11s.pt` or `yolo11s.pt@416`.

        Raises: SettingsError for a size out of range.
        """
        name, at, size = text.rpartition("@")
        if not at or not (size.isascii() and size.isdigit()):
            return cls(text, None)
        if not 32 <= int(size) <= 4096:
            raise SettingsError(field="detectors", expected="a size of 32 to 4096 pixels behind @", got=repr(text))
        return cls(name, int(size))


@dataclass(frozen=True, slots=True)
class StudyCell:
    """What one print does to one detector. kind: none, grey, public or made. source: of what was made, the detector for it.

    ap50_drawn: of each resample of the images, the same ones for every print and detector. people: of each image and box
    `found` and `hidden` as `cell.Case` has them.
    """

    pattern: str
    kind: str
    ap50: float
    ap50_ci95: tuple[float, float] | None
    recall25: float
    ap50_drawn: tuple[float, ...]
    people: Row
    source: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        people = [
            [*key, row["found"], None if math.isnan(row["hidden"]) else row["hidden"]]
            for key, row in self.people.items()
        ]
        own = {name: getattr(self, name) for name in ("pattern", "kind", "source", "ap50", "ap50_ci95", "recall25")}
        return {**own, "ap50_drawn": self.ap50_drawn, "people": people}

    @classmethod
    def of_plain(cls, kept: Mapping[str, Any]) -> StudyCell:
        """Return what `plain` gave.

        Raises: KeyError, TypeError or ValueError for anything else.
        """
        people = {
            (str(unit), str(case)): {
                "found": float(found),
                "hidden": float("nan") if hidden is None else float(hidden),
                "weight": 1.0,
            }
            for unit, case, found, hidden in kept["people"]
        }
        ends = kept["ap50_ci95"]
        return cls(
            kept["pattern"],
            kept["kind"],
            float(kept["ap50"]),
            None if ends is None else (float(ends[0]), float(ends[1])),
            float(kept["recall25"]),
            tuple(map(float, kept["ap50_drawn"])),
            people,
            str(kept["source"]),
        )


@dataclass(frozen=True, slots=True)
class Above:
    """How many more people a pattern hides than a grey print of its size. n: people; units: images."""

    hidden: float
    value: float
    ci95: tuple[float, float] | None
    n: int
    units: int


@dataclass(frozen=True, slots=True)
class Studied:
    """One detector of a study: what it is, and what was scored on it."""

    name: str
    imgsz: int
    sha256: str
    facts: DetectorFacts
    cells: tuple[StudyCell, ...]
    doubts: tuple[Doubt, ...] = ()

    def cell(self, pattern: str) -> StudyCell:
        """Return the cell of a pattern, or a grey print, by its name."""
        return next(c for c in self.cells if c.pattern == pattern)

    @property
    def clean(self) -> StudyCell:
        """Return the cell of nothing worn."""
        return self.cells[0]

    def strongest(self, which: str) -> StudyCell | None:
        """Return the pattern that leaves the lowest AP50: "white-box", "transferred", "public" or "any"."""
        kinds = {
            "white-box": lambda c: c.kind == MADE and c.source == self.name,
            "transferred": lambda c: c.kind == MADE and c.source != self.name,
            "public": lambda c: c.kind == PUBLIC,
            "any": lambda c: c.kind in (PUBLIC, MADE),
        }
        return min(filter(kinds[which], self.cells), key=lambda c: c.ap50, default=None)

    def above_grey(self, cell: StudyCell, greys: Mapping[str, str], *, seed: int) -> Above:
        """Return how many more people a pattern hides than grey. greys: by pattern the name of its grey print."""
        grey = self.cell(greys[cell.pattern])
        found = paired(cell.people, grey.people, list(cell.people), "hidden", seed=seed, changes=20)
        if found is None:
            return Above(float("nan"), float("nan"), None, 0, 0)
        return Above(found.means[0], found.value, found.ci95, found.n, found.units)


@dataclass(frozen=True, slots=True)
class Tau:
    """Kendall's tau of two figures over detectors, with a 95 % interval from drawing images and detectors again.

    value: None where one of the two is the same for all.
    """

    what: str
    value: float | None
    ci95: tuple[float, float] | None
    n: int


@dataclass(slots=True)
class StudyResults:
    """A study: its detectors, patterns, and what makes it doubtful."""

    settings: EvaluateSettings
    studied: list[Studied] = field(default_factory=list)
    patterns: dict[str, Patch] = field(default_factory=dict)
    greys: dict[str, str] = field(default_factory=dict)
    worn: dict[str, str] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    doubts: list[Doubt] = field(default_factory=list)
    reused: int = 0
    asked: int = 0

    def taus(self) -> list[Tau]:
        """Return Kendall's tau of accuracy, size and age with robustness, as far as they are known of detectors."""
        facts: dict[str, list[tuple[Studied, Drawn | None, float]]] = {
            "clean AP50": [(s, np.array(s.clean.ap50_drawn), s.clean.ap50) for s in self.studied],
            "parameters": [(s, None, float(s.facts.parameters)) for s in self.studied if s.facts.parameters],
            "year": [(s, None, float(s.facts.year)) for s in self.studied if s.facts.year],
        }
        return [
            tau(f"{name} and AP50 under the strongest pattern", rows, seed=self.settings.seed)
            for name, rows in facts.items()
            if len(rows) >= IN_ORDER
        ]


def tau(what: str, rows: Sequence[tuple[Studied, Drawn | None, float]], *, seed: int) -> Tau:
    """Return Kendall's tau-b of a figure with the AP50 that the strongest pattern leaves.

    rows: each detector with the figure of each resample of the images (None where images do not change it) and its value.
    Its interval draws images and detectors again: few detectors give a wide one, which a regression line would hide.
    """
    worst = [s.strongest("any") for s, _, _ in rows]
    assert all(w is not None for w in worst), "every detector has a pattern"
    left = [(w.ap50, np.array(w.ap50_drawn)) for w in worst if w is not None]
    whole = float(kendalltau([v for _, _, v in rows], [v for v, _ in left]).statistic)
    rng = np.random.default_rng(seed)
    drawn = []
    for i in range(len(left[0][1])):
        chosen = rng.integers(0, len(rows), len(rows))
        if len(set(chosen.tolist())) < IN_ORDER:
            continue
        one = [value if again is None else float(again[i]) for _, again, value in (rows[j] for j in chosen)]
        other = [float(left[j][1][i]) for j in chosen]
        drawn.append(float(kendalltau(one, other).statistic))
    return Tau(what, round(whole, 4) if math.isfinite(whole) else None, interval_of(np.array(drawn)), len(rows))
