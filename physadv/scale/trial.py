"""One trial of a sweep: a training with values that Optuna gives it, left early where it does worse, person by person."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physadv.errors import DataError, PhysadvError, SettingsError, TrainingError, text_of
from physadv.scale.tasks import limit_threads
from physadv.scale.varied import Varied, settings_of

if TYPE_CHECKING:
    import optuna

    from physadv.attack.score import Score
    from physadv.attack.settings import Goal

STUDY, JOURNAL, TRIALS = "sweep", "study.journal", "trials"
# What a trial says of itself in the journal: its task, why it failed (nothing where its worker died), its minutes, how
# often workers died at its values, and which of these were chosen before it began.
TASK, WRONG, MINUTES, DEATHS, GIVEN = "task", "wrong", "minutes", "deaths", "given"


@dataclass(frozen=True, slots=True)
class SweepTask:
    """What a worker needs to run a trial. folder: of the sweep. base: fields of the training that all trials share."""

    folder: Path
    number: int
    base: dict[str, Any]
    varied: tuple[Varied, ...]
    trusted: bool


def open_study(folder: Path, *, seed: int = 0) -> Any:
    """Return the study that is kept in a sweep's folder, made if there is none.

    Raises: SettingsError if Optuna is not installed. DataError if the study's file is damaged.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise SettingsError("Optuna is not installed", hint='pip install "physadv[scale]"') from error
    optuna.logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        # Its pruner and parts of its sampler are called experimental.
        warnings.simplefilter("ignore")
        try:
            return optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
                study_name=STUDY,
                # Trials that run beside each other are taken for bad ones, so that the same is not tried twice.
                sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
                pruner=optuna.pruners.WilcoxonPruner(),
                load_if_exists=True,
            )
        except (ValueError, KeyError, TypeError) as error:
            hint = "begin the sweep in another folder; the runs of its trials are kept"
            raise DataError(f"{folder / JOURNAL} is damaged: {error}"[:300], hint=hint) from error


def run_trial(task: SweepTask) -> None:
    """Train with the values of the study's next trial, and tell the study how it went; what a worker runs.

    A training that cannot be is no error here: other values may do.
    """
    limit_threads(int(task.base.get("threads", 1)))
    study = open_study(task.folder, seed=int(task.base.get("seed", 0)) + task.number)
    trial = study.ask()
    trial.set_user_attr(TASK, task.number)
    began = time.monotonic()
    try:
        value = _trained(task, trial)
    except (PhysadvError, OSError) as error:
        trial.set_user_attr(WRONG, str(error) if isinstance(error, PhysadvError) else text_of(error))
        study.tell(trial, state=_states().FAIL)
        return
    trial.set_user_attr(MINUTES, round((time.monotonic() - began) / 60, 3))
    study.tell(trial, value, state=None if value is not None else _states().PRUNED)


def folder_of(folder: Path, number: int) -> Path:
    """Return the folder of a trial's run."""
    return folder / TRIALS / f"{number:04d}"


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def _trained(task: SweepTask, trial: optuna.Trial) -> float | None:
    """Return how far the trained pattern is from its goal on held-out people, None where the run was left early.

    Raises: TrainingError if nobody held out is scored: nothing would tell trials apart.
    """
    from physadv.attack.data import read_inputs
    from physadv.attack.training import conclude, finished, prepare, trained
    from physadv.detect.weights import trust

    values = {one.field: one.value_of(trial) for one in task.varied}
    settings = settings_of({**task.base, "out": str(folder_of(task.folder, trial.number))}, values)
    for name in settings.detector if task.trusted else ():
        trust(name)
    prepared = finished(prepare(read_inputs(settings)))
    noted = Noted(prepared.run.data.scorers)
    prepared.run.data = replace(prepared.run.data, scorers=noted.scorers())
    if not noted.found:
        raise TrainingError("nobody held out is large enough to be scored", hint="give more photographs of people")
    left = False
    with closing(trained(prepared)) as steps:
        for progress in steps:
            # With a condition the mean over people is not what a pattern is judged by.
            if progress.score is not None and settings.when is None:
                scored = noted.report(trial, settings.goal)
                if scored > 1 and progress.step < progress.steps and trial.should_prune():
                    left = True
                    break
    outcome = conclude(prepared)
    return None if left else badness_of(outcome.held_out, settings.goal)


def badness_of(held_out: dict[str, Any], goal: Goal) -> float:
    """Return the badness of a run's pattern from its figures on held-out people.

    Raises: TrainingError if they count nobody.
    """
    from physadv.attack.score import Score, mean_badness

    known: list[dict[str, Any]] = [
        {name: float("nan") if v is None else v for name, v in row.items()} for row in held_out.values()
    ]
    value = mean_badness([Score(**row) for row in known], goal)
    if value is None:
        raise TrainingError("nobody held out was scored: nothing tells this run from others")
    return value


class Noted:
    """Scorers of held-out people that keep each person's share of the last score."""

    def __init__(self, scorers: Any) -> None:
        self.found = dict(scorers)
        self._last: dict[str, Score] = {}
        self._count = 0

    def scorers(self) -> dict[str, Any]:
        """Return the scorers, which note what they find."""

        def noting(name: str, scorer: Any) -> Any:
            def score(patch: Any) -> Score:
                found: Score = scorer(patch)
                self._last[name] = found
                return found

            return score

        return {name: noting(name, scorer) for name, scorer in self.found.items()}

    def report(self, trial: Any, goal: Goal) -> int:
        """Report each person's badness of the last score as a step of the trial; return how many scores there were.

        The same person at the same score is the same step in every trial, so that trials are compared in pairs.
        """
        each = [value for name in self.found for value in self._last[name].badness_each[goal]]
        for person, value in enumerate(each):
            trial.report(value, self._count * len(each) + person)
        self._count += 1
        return self._count
