"""A run taken to its end, or left after some steps."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeVar

from physadv.attack.data import Inputs
from physadv.attack.optimise import optimise
from physadv.attack.parallel import ThreadPool
from physadv.attack.run import TrainData, TrainRun
from physadv.attack.settings import TrainSettings
from physadv.attack.training import Outcome, conclude, prepare, trained
from physadv.types import GradientDetector

T = TypeVar("T")


def ran(
    settings: TrainSettings,
    data: TrainData,
    *,
    folder: Path | None = None,
    resume: bool = False,
    steps: int | None = None,
    threads: ThreadPool | None = None,
) -> TrainRun:
    """Return a run after so many steps more, or at its end."""
    run = TrainRun(settings, data, folder=folder, resume=resume, threads=threads)
    for taken, _ in enumerate(optimise(run), 1):
        if taken == steps:
            break
    return run


def listened(work: Generator[str, None, T]) -> tuple[T, list[str]]:
    """Return the result of work that yields notes, and the notes."""
    notes = []
    while True:
        try:
            notes.append(next(work))
        except StopIteration as end:
            return end.value, notes


def folder_run(
    settings: TrainSettings,
    inputs: Inputs,
    attacked: Sequence[GradientDetector],
    folder: Path,
    *,
    resume: bool = False,
    notes: list[str] | None = None,
) -> Outcome:
    """Return the outcome of a whole run in a folder; its notes are added to `notes`."""
    prepared, lines = listened(prepare(settings, inputs, attacked, folder, resume=resume))
    if notes is not None:
        notes += lines
    for _ in trained(prepared):
        pass
    return conclude(prepared)
