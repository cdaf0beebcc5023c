"""Trainings tried against one another: trials given to workers, those that died run again, and what came out as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from physadv.files import atomic_write, text_bytes, write_json
from physadv.scale.tasks import RETRIES, Executor
from physadv.scale.trial import DEATHS, GIVEN, MINUTES, TASK, WRONG, SweepTask, folder_of, open_study, run_trial
from physadv.scale.varied import Varied, combinations, count_combinations
from physadv.table import Table, Value
from physadv.version import __version__

RESULTS, TRIALS_CSV = "results.json", "trials.csv"
# Where every trial differs and nothing says how many there are to be.
USUAL_TRIALS = 20
DIED = "its worker died"


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial that is over. state: done, left early or failed. badness: what is minimised, None unless it is done."""

    number: int
    state: str
    badness: float | None
    values: dict[str, Any]
    minutes: float | None
    why: str = ""


class Sweep:
    """A sweep in a folder, which it may be in for the second time: trials of before count.

    base: fields of the training that all trials share. trials: to be finished in all; unless given each combination once
    where choices are varied, else `USUAL_TRIALS`.
    """

    def __init__(
        self, folder: Path, base: dict[str, Any], varied: Sequence[Varied], *, trials: int | None, trusted: bool = False
    ) -> None:
        """Raises: SettingsError if Optuna is not installed."""
        self.folder, self._base, self._varied, self._trusted = folder, base, tuple(varied), trusted
        self._study = open_study(folder)
        self.trials = trials or count_combinations(varied) or USUAL_TRIALS
        if not self._trials:
            for values in islice(combinations(varied), self.trials):
                self._study.enqueue_trial(values, user_attrs={GIVEN: values})
        # Nobody else writes here: what still runs was killed with whoever began it.
        self._number = 0
        for trial in self._trials:
            self._number = max(self._number, trial.user_attrs.get(TASK, -1) + 1)
        for trial in self._running():
            self._fail(trial)

    def run(self, executor: Executor) -> Iterator[str]:
        """Give trials to workers until enough are over, and yield a line for each whose worker died."""
        left = self.missing
        for _ in range(left):
            self._give(executor)
        while left:
            over = executor.wait()
            left -= 1
            # With the last task no trial can be running, whatever it says.
            lost = [t for t in self._running() if not left or (over.died and t.user_attrs.get(TASK) == over.number)]
            if over.died and not lost:
                yield f"{DIED} before a trial began; the sweep has one fewer until it goes on"
            for trial in lost:
                again = self._fail(trial)
                yield f"trial {trial.number}: {DIED}; " + ("its values are tried again" if again else "given up")
                if again:
                    self._give(executor)
                    left += 1

    @property
    def missing(self) -> int:
        """Return how many trials are still to be run."""
        over = [t for t in self._trials if t.state.name in ("COMPLETE", "PRUNED") or WRONG in t.user_attrs]
        return max(self.trials - len(over), 0)

    @property
    def _trials(self) -> list[Any]:
        """Return every trial, to be read alone: copies of all of them would be made at each look."""
        found: list[Any] = self._study.get_trials(deepcopy=False)
        return found

    def _running(self) -> list[Any]:
        return [trial for trial in self._trials if trial.state.name == "RUNNING"]

    def tried(self) -> list[TrialRow]:
        """Return every trial that is over, in the order of their numbers."""
        names = {"COMPLETE": "done", "PRUNED": "left early", "FAIL": "failed"}
        return [
            TrialRow(
                t.number,
                names[t.state.name],
                t.value if t.state.name == "COMPLETE" else None,
                _values(t),
                t.user_attrs.get(MINUTES),
                t.user_attrs.get(WRONG, DIED if t.state.name == "FAIL" else ""),
            )
            for t in self._trials
            if t.state.name in names
        ]

    def best(self) -> TrialRow | None:
        """Return the trial whose pattern is nearest to its goal; None if none is done."""
        done = [(one.badness, one.number, one) for one in self.tried() if one.badness is not None]
        return min(done)[2] if done else None

    def table(self) -> Table:
        """Return a row for each trial that is over, the best first."""
        fields = [one.field for one in self._varied]
        best = float("inf")
        order = sorted(self.tried(), key=lambda t: (best if t.badness is None else t.badness, t.number))
        rows: list[list[Value]] = [
            [t.number, t.state, t.badness, *(t.values.get(f) for f in fields), t.minutes, t.why] for t in order
        ]
        columns = ["trial", "state", "badness", *fields, "minutes", "why"]
        return Table.of("Trials", columns, rows, numbers=["trial", "badness", *fields, "minutes"])

    def write(self) -> None:
        """Write results.json and trials.csv.

        Raises: OSError if the folder cannot be written.
        """
        best = self.best()
        rows = [
            {"trial": t.number, **{n: getattr(t, n) for n in TrialRow.__slots__ if n != "number"}} for t in self.tried()
        ]
        named = None if best is None else {"trial": best.number, "folder": str(folder_of(self.folder, best.number))}
        write_json(self.folder / RESULTS, {"physadv": __version__, "best": named, "trials": rows})
        with atomic_write(self.folder / TRIALS_CSV) as stream:
            stream.write(text_bytes(self.table().csv()))

    def _give(self, executor: Executor) -> None:
        task = SweepTask(self.folder, self._number, self._base, self._varied, self._trusted)
        executor.submit(self._number, run_trial, task)
        self._number += 1

    def _fail(self, trial: Any) -> bool:
        """Mark a trial as failed whose worker died; return whether its values are tried again."""
        again, values = trial.user_attrs.get(DEATHS, 0) + 1, _values(trial)
        self._study.tell(trial.number, state=_failed())
        if again > RETRIES:
            return False
        self._study.enqueue_trial(values, user_attrs={DEATHS: again, **({GIVEN: values} if values else {})})
        return True


def _values(trial: Any) -> dict[str, Any]:
    """Return the values of a trial, also of one that died before it asked for them."""
    return {**trial.user_attrs.get(GIVEN, {}), **trial.params}


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL
