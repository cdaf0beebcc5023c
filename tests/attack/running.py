"""A run taken to its end, or left after some steps."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tiny import tiny_gradient

from physadv.attack.data import Inputs
from physadv.attack.optimise import optimise
from physadv.attack.parallel import Processes, ThreadPool
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.attack.settings import RANDOM, TrainSettings
from physadv.attack.training import Outcome, conclude, finished, prepare, trained
from physadv.camera.profile import PrinterProfile
from physadv.types import GradientDetector

T = TypeVar("T")


def ran(
    settings: Recipe,
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


def inputs(
    recipe: Recipe, *, cache: Path | None = None, printer: PrinterProfile | None = None, **fields: object
) -> Inputs:
    """Return a run as it would be asked for by these fields, with its recipe as it is; from random colours unless given."""
    settings = TrainSettings.model_validate({"start": RANDOM, **fields})
    return Inputs(settings, recipe, printer=printer, cache=cache)


def folder_run(
    given: Inputs,
    attacked: Sequence[GradientDetector],
    folder: Path,
    *,
    resume: bool = False,
    notes: list[str] | None = None,
) -> Outcome:
    """Return the outcome of a whole run in a folder; its notes are added to `notes`."""
    settings = given.settings.model_copy(update={"out": folder, "resume": resume})
    prepared, lines = listened(prepare(replace(given, settings=settings), attacked))
    if notes is not None:
        notes += lines
    for _ in trained(prepared):
        pass
    return conclude(prepared)


def tiny_run(
    folder: Path,
    images: Path,
    labels: Path,
    *,
    steps: int = 30,
    accumulate: int = 1,
    resume: bool = False,
    processes: Processes | None = None,
) -> Iterator[int]:
    """Yield the steps of a run against the tiny net, so that it takes seconds; all else is the product's own."""
    recipe = Recipe(
        steps=steps, batch=4, crops=(64, 96), texels=16, score_every=10, checkpoint_every=3, accumulate=accumulate
    )
    asked = inputs(
        recipe, cache=folder.parent / "cache", images=[str(images)], labels=labels, out=folder, resume=resume
    )
    prepared = finished(prepare(asked, [tiny_gradient()], processes=processes))
    for progress in trained(prepared):
        yield progress.step
    conclude(prepared)
