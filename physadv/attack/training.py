"""A training run in a folder: people gathered and split first, then the loop, then figures beside a grey square's.

prepared = finished(prepare(settings, inputs, detectors, folder))
for progress in trained(prepared): ...
outcome = conclude(prepared)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from physadv.arrays import write_png
from physadv.attack.checkpoint import TOLERATED, Checkpoint
from physadv.attack.data import (
    Inputs,
    as_kept,
    as_printed,
    attacked_detectors,
    people_of,
    printed_scores,
    scorers_of,
    split,
    train_data,
)
from physadv.attack.optimise import Progress, optimise
from physadv.attack.parallel import Processes
from physadv.attack.preview import progress_sheet
from physadv.attack.recipe import Recipe
from physadv.attack.run import CHECKPOINT, START, TrainData, TrainRun, as_patch, new_pattern
from physadv.attack.score import HeldOutPeople, Score
from physadv.attack.settings import AUTO, TrainSettings
from physadv.attack.start import choose_start, fitted
from physadv.attack.timing import seconds_a_step
from physadv.camera.profile import PrinterProfile
from physadv.controls import control
from physadv.dataset import MIN_AREA, Dataset, LabelledImage
from physadv.detect.gradients import imgsz_for
from physadv.detect.weights import find_weights
from physadv.errors import TrainingError
from physadv.files import file_name, write_json
from physadv.patch import Patch, load_patch, save_patch, save_tensors
from physadv.simulate.garment import wears_trousers
from physadv.types import GradientDetector
from physadv.version import __version__

T = TypeVar("T")
PROGRESS = "progress.png"
# Among nine people one is more than any pattern is better than the next: the best by them is one that was lucky.
TOO_FEW = 30


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is ready to be trained.

    controls: held-out figures of no pattern, of grey, and of the pattern to start from, by framing. start: that pattern's
    name. sheet: draws a pattern and three wearers into the folder, None where nobody is held out.
    """

    run: TrainRun
    folder: Path
    found: Dataset
    controls: dict[str, dict[str, Any]]
    start: str | None
    sheet: ProgressSheet | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished or stopped run.

    controls, start: as in `Prepared`. done: to the end. kept: "start" where no trained pattern did better on held-out
    people than the one from which the run started.
    """

    patch: Patch
    folder: Path
    done: bool
    step: int
    held_out: dict[str, Any]
    controls: dict[str, Any]
    kept: Literal["start", "trained"] = "trained"
    start: str | None = None


class ProgressSheet:
    """Draws progress.png: a pattern as it is printed, beside three of the scorer's images whose people wear it."""

    def __init__(self, scorer: HeldOutPeople, printer: PrinterProfile | None, folder: Path) -> None:
        self._scorer, self._printed, self._path = scorer, as_printed(printer), folder / PROGRESS

    def draw(self, patch: Patch, title: str) -> None:
        """Write the sheet of this pattern."""
        write_png(self._path, progress_sheet(patch, self._scorer, title, printed=self._printed))


def finished(work: Generator[Any, None, T]) -> T:
    """Run a generator to its end and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def prepare(
    inputs: Inputs, attacked: Sequence[GradientDetector] | None = None, *, processes: Processes | None = None
) -> Generator[str, None, Prepared]:
    """Return a run that is ready to be trained in the folder `out`; yield what was found and skipped, in words.

    attacked: the detectors with gradients, in the order of `detector`; those of the settings unless given. The folder gets
    split.json (made before anything else and read back on resume), start.safetensors and progress.png.

    Raises: DataError if there are no people to train on, or the images or the mask cannot be used. SourceError for
    a video or camera. CalibrationError if the camera's profile is for images of another size. TrainingError if the
    folder holds another run.
    """
    processes = processes or Processes()
    settings, recipe, folder = inputs.settings, inputs.recipe, inputs.settings.out
    _check_folder(folder, resume=settings.resume)
    yield from inputs.notes
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if attacked is None:
        attacked = attacked_detectors(settings, device=processes.device(settings.device))
    recipe = paced(recipe, settings, attacked, processes=processes)
    found = yield from people_of(inputs, processes)
    # Split before anything else: nobody held out may decide anything but which step is kept.
    sides = split(found, recipe, folder, resume=settings.resume, write=processes.first)
    start, held_out = yield from _started(settings, recipe, sides[1], write=processes.first)
    sides = (sides[0], held_out)
    if start is not None:
        recipe = recipe.from_start()
    people = sum(len(p.boxes) for p in sides[0])
    yield f"{len(sides[0])} images with {people} people to train on, {len(held_out)} held out"
    yield from _cut_off(recipe, sides[0])
    yield from _unworn(recipe, sides[0])
    yield from _enlarged(recipe, attacked)
    name = file_name(folder.resolve().name)
    data = train_data(recipe, inputs, attacked, sides, found, start, processes=processes.world, name=name)
    if settings.resume:
        yield from _other_machine(Checkpoint.identity(folder / CHECKPOINT), data.identity)
        if Checkpoint.is_older(folder / CHECKPOINT):
            yield "`resume`: an earlier version began this run and drew prints otherwise: the result will not be the same"
    scorers: dict[str, HeldOutPeople] = {}
    if processes.first:
        scorers = scorers_of(recipe, settings.detector, held_out)
        yield from _unscored(recipe, scorers)
        data = yield from _with_scorers(recipe, inputs, data, scorers, sides[0])
        if scorers:
            yield "scores nothing, grey" + (" and the start" if start is not None else "") + " on held-out people"
    kept = None if start is None else as_kept(start, recipe, settings, name=name)
    data, controls = _controls(recipe, data, scorers, start, kept)
    sheet = None
    if scorers:
        sheet = ProgressSheet(next(iter(scorers.values())), inputs.printer, folder)
        yield f"the pattern and three wearers while it trains: {folder / PROGRESS}"
        sheet.draw(data.start or _untrained(recipe, data), "step 0")
    run = TrainRun(recipe, data, folder=folder, resume=settings.resume, processes=processes)
    return Prepared(run, folder, found, controls, None if start is None else start.name, sheet)


def _started(
    settings: TrainSettings, recipe: Recipe, held_out: list[LabelledImage], *, write: bool
) -> Generator[str, None, tuple[Patch | None, list[LabelledImage]]]:
    """Return the pattern to start with, which is kept in the run's folder, and the people held out that it never saw.

    A run that goes on starts from the one that it kept, whatever is shipped by that name by now. write: keep it.
    """
    kept = settings.out / START
    wanted = None if settings.start_wanted == AUTO and settings.wants_own else settings.start_wanted
    if wanted == AUTO and settings.resume and kept.is_file():
        wanted = str(kept)
    weights = [find_weights(d).sha256 for d in settings.detector]
    start, left = yield from choose_start(wanted, recipe, weights, held_out)
    if start is not None and write and not settings.resume:
        save_tensors(start, kept)
    return start, left


def trained(prepared: Prepared) -> Generator[Progress, None, None]:
    """Train a prepared run as `optimise` does, and draw progress.png wherever it is scored."""
    with closing(optimise(prepared.run)) as steps:
        for progress in steps:
            if prepared.sheet is not None and progress.score is not None:
                prepared.sheet.draw(load_patch(prepared.folder / "latest.safetensors"), f"step {progress.step}")
            yield progress


def conclude(prepared: Prepared) -> Outcome:
    """Return how a run ended or where it was stopped, and write it: patch.png, patch.safetensors, run.json, progress.png.

    Raises: OSError if the disk is full.
    """
    run, at, folder = prepared.run, prepared.run.checkpoint, prepared.folder
    patch, done = run.patch(), at.step >= run.recipe.total_steps
    kept: Literal["start", "trained"] = "start" if run.kept_start else "trained"
    if run.processes.first:
        save_patch(patch, folder)
        if prepared.sheet is not None:
            prepared.sheet.draw(patch, f"kept: {prepared.start if kept == 'start' else f'step {at.best_step}'}")
        write_json(
            folder / "run.json",
            {
                "physadv": __version__,
                "settings": run.recipe.model_dump(mode="json"),
                "done": done,
                "step": at.step,
                "kept": kept,
                "kept_step": at.best_step,
                "began_from": prepared.start,
                "controls": prepared.controls,
                "held_out": at.best_score,
                "history": at.history,
                "skipped": prepared.found.skipped,
                "without_people": prepared.found.empty,
            },
        )
    return Outcome(patch, folder, done, at.step, at.best_score, prepared.controls, kept, prepared.start)


def paced(
    recipe: Recipe, settings: TrainSettings, attacked: Sequence[GradientDetector], *, processes: Processes
) -> Recipe:
    """Return the recipe of a run that fits into its minutes by rank 0's clock, or on resume as was fixed at the start."""
    if settings.minutes is None:
        return recipe
    stored = stored_pace(settings.out) if settings.resume else None
    if stored is not None:
        return recipe.model_copy(update=stored)
    began = time.monotonic()
    each = seconds_a_step(recipe, attacked, processes=processes)
    left = max(settings.minutes * 60 - (time.monotonic() - began), 1.0)
    # Scoring and labelling take about a tenth.
    return recipe.paced(processes.agree(max(int(0.9 * left / each), 1)))


def stored_pace(folder: Path) -> dict[str, int] | None:
    """Return the settings of `Recipe.paced` that a run here was started with, or None if they are not known."""
    try:
        settings = (Checkpoint.identity(folder / CHECKPOINT) or {})["settings"]
        pace = {n: int(settings[n]) for n in ("steps", "starts", "start_steps", "score_every")}
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return pace if min(pace.values()) >= 1 else None


def _check_folder(folder: Path, *, resume: bool) -> None:
    """Raise TrainingError if the folder holds a run that would be overwritten, or none that can be resumed."""
    there = (folder / CHECKPOINT).exists()
    if there and not resume:
        raise TrainingError(
            f"{folder} holds a run already", field="out", hint="go on with `resume`, or name another folder"
        )
    if resume and not there:
        raise TrainingError(f"{folder} holds no {CHECKPOINT}", field="resume", hint="start the run without `resume`")


def _enlarged(recipe: Recipe, attacked: Sequence[GradientDetector]) -> Iterator[str]:
    """Yield a note where a detector takes larger views than were asked for."""
    larger = {c: imgsz_for(c, *attacked) for c in recipe.crops if imgsz_for(c, *attacked) != c}
    if larger:
        sizes = ", ".join(f"{before} -> {after}" for before, after in larger.items())
        yield f"`crops`: a detector takes multiples of {max(d.stride for d in attacked)} pixels alone: {sizes}"


def _cut_off(recipe: Recipe, images: list[LabelledImage]) -> Iterator[str]:
    """Yield a note where an outfit is trained: how many people show their legs."""
    if recipe.target == "outfit":
        legs = sum(int(wears_trousers(image.boxes, image.keypoints).sum()) for image in images)
        people = sum(len(image.boxes) for image in images)
        alone = "; the others wear the shirt alone" if legs else ": the trousers are not trained, as by `target=tshirt`"
        yield f"`target=outfit`: {legs} of {people} people are seen below the hips{alone}"


def _unworn(recipe: Recipe, images: list[LabelledImage]) -> Iterator[str]:
    """Yield a note where people do not show the chest on which the pattern is worn."""
    shown = [recipe.placement_range.wearers(image, recipe.framing) for image in images]
    people, left = sum(map(len, shown)), sum(int((~one).sum()) for one in shown)
    if left:
        names = list(dict.fromkeys(image.name for image, one in zip(images, shown, strict=True) if not one.all()))
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        yield f"{left} of {people} people do not show the chest: they wear nothing and are not trained on ({some})"


def _other_machine(before: dict[str, Any] | None, now: Any) -> Iterator[str]:
    """Yield a note where a run goes on in other threads or processes than before."""
    was, here = ([(each or {}).get(name) for name in TOLERATED] for each in (before, now))
    if before is not None and was != here:
        (threads, processes), (others, several) = was, here
        yield (
            f"`resume`: {threads} threads in {processes} processes before, {others} in {several} now: the result will not "
            "be bit for bit the same"
        )


def _with_scorers(
    recipe: Recipe, inputs: Inputs, data: TrainData, scorers: dict[str, HeldOutPeople], train_on: list[LabelledImage]
) -> Generator[str, None, TrainData]:
    """Return the data with what scores a pattern; those trained on help to choose where few people are held out."""
    also: list[Callable[[Patch], Score]] = []
    if scorers and max(s.people for s in scorers.values()) < TOO_FEW:
        yield "too few people are held out to choose by them alone: those trained on help to choose, and are not reported"
        helping = scorers_of(recipe, inputs.settings.detector, train_on)
        also = list(printed_scores(helping, inputs.printer).values())
    return replace(data, scorers=printed_scores(scorers, inputs.printer), also=also)


def _unscored(recipe: Recipe, scorers: dict[str, HeldOutPeople]) -> Iterator[str]:
    """Yield a note for each framing in which nobody is scored."""
    for framing in recipe.placements():
        if not any(name.split()[0] == framing for name in scorers):
            yield (
                f"{framing}: nobody held out is large enough to be scored (more than {MIN_AREA:.0%} of an image, before a "
                "webcam in a mixed run a quarter, and with the chest in sight): there will be no figures, and the "
                "pattern is not chosen by them; "
                "another `seed` holds out others"
            )


def _controls(
    recipe: Recipe, data: TrainData, scorers: dict[str, HeldOutPeople], start: Patch | None, kept: Patch | None
) -> tuple[TrainData, dict[str, dict[str, Any]]]:
    """Return the data with what the run has to do better than, and held-out figures of nothing, of grey and of the start.

    kept: the start as this run would save it.
    """
    grey = control(_untrained(recipe, data), "grey", np.random.default_rng(0))
    controls: dict[str, dict[str, Any]] = {
        name: {"none": s.score(None).plain(), "grey": data.scorers[name](grey).plain()} for name, s in scorers.items()
    }
    if start is not None:
        # What the training itself has added is what the pattern has gained over this.
        scores = {name: scorer(kept or fitted(start, recipe)) for name, scorer in data.scorers.items()}
        for name, score in scores.items():
            controls[name]["start"] = score.plain()
        if kept is not None and scores:
            data = replace(data, start=kept, start_scores=scores)
    return replace(data, record={**data.record, "controls": controls}), controls


@torch.no_grad()
def _untrained(recipe: Recipe, data: TrainData) -> Patch:
    return as_patch(recipe, data, new_pattern(recipe, data).colours().cpu())
