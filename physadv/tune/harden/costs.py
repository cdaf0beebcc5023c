"""What a hardening costs: loss and AP50 over epochs, steps, passes and seconds, beside natural training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from physadv.errors import DataError, text_of
from physadv.files import parse_json, read_text, write_json
from physadv.table import Table, Value
from physadv.tune.plots import Graph, Line, plot

COSTS = "costs.json"
# What `natural` may lose of clean AP50 and still count as reached, and the AP50 under patterns that is asked for.
TOLERANCE, ROBUST = 0.02, 0.5
# What a run may not know: without patterns, or people who count.
UNKNOWN = ("clean_ap50", "attacked_loss", "attacked_ap50", "train_attacked_loss")
# A figure that is followed: its name, title, and whether it is of images that were trained on.
LOSSES = {
    "clean_loss": "clean, held out",
    "attacked_loss": "attacked, held out",
    "train_clean_loss": "clean, trained on",
    "train_attacked_loss": "attacked, trained on",
}
SCORES = {"clean_ap50": "clean, held out", "attacked_ap50": "attacked, held out"}
AXES = {
    "epoch": "epochs",
    "steps": "steps",
    "passes": "passes (batches forward and back)",
    "seconds": "seconds of training",
}


@dataclass(frozen=True, slots=True)
class CostRow:
    """The state after an epoch; that before the first has number 0.

    passes: batches that went forward and back through the network. seconds: of training alone, without scoring. The
    others are of fixed images and patterns, the same for every method.
    """

    epoch: int
    steps: int
    passes: int
    seconds: float
    clean_loss: float
    clean_ap50: float | None
    attacked_loss: float | None
    attacked_ap50: float | None
    train_clean_loss: float
    train_attacked_loss: float | None

    @classmethod
    def read(cls, row: dict[str, Any]) -> CostRow:
        """Return the row that plain values hold.

        Raises: KeyError if one is missing. ValueError if one is no number.
        """
        values = {field.name: row[field.name] for field in fields(cls)}
        for name, value in values.items():
            if not isinstance(value, int | float) and not (value is None and name in UNKNOWN):
                raise ValueError(f"{name}: expected a number, got {value!r}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Costs:
    """The rows of one run. name: of its folder. method: by which it was hardened."""

    name: str
    method: str
    rows: tuple[CostRow, ...]

    def write(self, folder: Path) -> None:
        """Write the rows to `costs.json` in a folder."""
        plain = {"physadv": "costs", "method": self.method, "rows": [asdict(row) for row in self.rows]}
        write_json(folder / COSTS, plain)

    @classmethod
    def read(cls, folder: Path, *, field: str = "beside") -> Costs:
        """Return the rows in the folder of a run of `lab harden`. field: the setting that names it.

        Raises: DataError if there are none, or they are damaged.
        """
        path = folder / COSTS
        try:
            content: dict[str, Any] = parse_json(read_text(path))
            first, *others = map(CostRow.read, content["rows"])
            return cls(folder.name, str(content["method"]), (first, *others))
        except FileNotFoundError as error:
            raise DataError(
                field=field, expected="the folder of a run of `physadv lab harden`", got=f"{folder}, without {COSTS}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not the costs of a hardening: {text_of(error)}") from error

    @property
    def last(self) -> CostRow:
        """Return the row of the last epoch."""
        return self.rows[-1]

    def first(self, reached: Callable[[CostRow], bool]) -> CostRow | None:
        """Return the row of the first epoch of training after which something is reached, None if it never is."""
        return next((row for row in self.rows if row.epoch > 0 and reached(row)), None)


def table(runs: Sequence[Costs]) -> Table:
    """Return what each run came to, and when it reached its aims, as multiples of the seconds of natural training.

    The aims: the clean AP50 of the natural run less .02, AP50 .5 under patterns, and both at once. Without a natural run
    among them the times are in seconds.
    """
    natural = next((run for run in runs if run.method == "natural"), None)
    unit = natural.last.seconds if natural is not None else 1.0
    mark = " / natural" if natural is not None else ", s"
    clean = None if natural is None or natural.last.clean_ap50 is None else natural.last.clean_ap50 - TOLERANCE

    def is_clean(row: CostRow) -> bool:
        return clean is not None and row.clean_ap50 is not None and row.clean_ap50 >= clean

    def is_robust(row: CostRow) -> bool:
        return row.attacked_ap50 is not None and row.attacked_ap50 >= ROBUST

    aims: list[Callable[[CostRow], bool]] = [is_clean, is_robust, lambda row: is_clean(row) and is_robust(row)]
    columns = (
        "run", "method", "steps", "passes", "seconds", "clean AP50", "attacked AP50", f"all of it{mark}",
        f"to clean AP50{mark}", f"to attacked AP50 {ROBUST:g}{mark}", f"to both{mark}",
    )  # fmt: skip
    rows: list[list[Value]] = []
    for run in runs:
        last = run.last
        times = [run.first(aim) for aim in aims]
        reached: list[Value] = [None if row is None else row.seconds / max(unit, 1e-9) for row in times]
        figures: list[Value] = [last.clean_ap50, last.attacked_ap50, last.seconds / max(unit, 1e-9), *reached]
        rows.append([run.name, run.method, last.steps, last.passes, round(last.seconds), *figures])
    return Table.of("costs of hardening", columns, rows, numbers=columns[2:])


def plot_costs(path: Path, runs: Sequence[Costs]) -> None:
    """Write the losses of runs over epochs, steps, passes and seconds, and below their AP50, as a PNG image.

    Of one run a colour stands for clean or attacked, and what was trained on is dashed; of several it stands for the run,
    and what is attacked is dashed.
    """
    graphs = [_graph(runs, axis, "loss", LOSSES) for axis in AXES]
    graphs += [_graph(runs, axis, "AP50, held out", SCORES) for axis in ("passes", "seconds")]
    plot(path, "cost of hardening", graphs)


def _graph(runs: Sequence[Costs], axis: str, what: str, figures: dict[str, str]) -> Graph:
    lines: dict[str, Line] = {}
    families: dict[str, str] = {}
    dashed: set[str] = set()
    for run in runs:
        for field, title in figures.items():
            trained, attacked = field.startswith("train_"), "attacked" in field
            line = _line(run, axis, field)
            # Of several runs four lines each would be a thicket: the held-out ones alone.
            if not line[0] or (trained and len(runs) > 1):
                continue
            kind = "attacked" if attacked else "clean"
            name, family = (title, kind) if len(runs) == 1 else (f"{run.name}: {kind}", run.name)
            lines[name], families[name] = line, family
            if trained if len(runs) == 1 else attacked:
                dashed.add(name)
    return Graph(AXES[axis], what, lines, dashed=frozenset(dashed), families=families)


def _line(run: Costs, x: str, y: str) -> Line:
    points = [(getattr(row, x), getattr(row, y)) for row in run.rows if getattr(row, y) is not None]
    return [float(a) for a, _ in points], [float(b) for _, b in points]
