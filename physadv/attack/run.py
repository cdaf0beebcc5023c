"""One training run: its configuration, its data, and the checkpoint that says where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from physadv.attack.checkpoint import Checkpoint
from physadv.attack.parallel import Processes, ThreadPool
from physadv.attack.pattern import Pattern, to_patch
from physadv.attack.recipe import Recipe
from physadv.attack.score import Score, beats, mean_badness
from physadv.dataset import LabelledImage
from physadv.errors import TrainingError
from physadv.patch import Patch, load_patch, save_patch
from physadv.types import GradientDetector

CHECKPOINT = "checkpoint.safetensors"
# The pattern that a run started from: by its name another one may be shipped when the run goes on.
START = "start.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class TrainData:
    """What a run learns from: people, detectors, and what the pattern is held to. The configuration is all else.

    scorers: each gives a pattern's figures on held-out people. also: others that help to choose the best pattern and are
    not reported, since they score people trained on. region: (1, h, w) mask. look: (3, h, w). printable: (k, 3) colours
    for the non-printability score. palette: (k, 3) colours to which the pattern is held. begin: (3, h, w) texels of the
    first start, random colours without. start: the pattern from which the run starts as it would be saved, kept unless a
    trained one does better on the people held out; None where nobody is scored. start_scores: its scores, by scorer.
    identity: what must not change between a run and its resumption. record: what a saved pattern says of its making.
    """

    people: Sequence[LabelledImage]
    detectors: Sequence[GradientDetector]
    scorers: Mapping[str, Callable[[Patch], Score]] = field(default_factory=dict)
    also: Sequence[Callable[[Patch], Score]] = ()
    region: torch.Tensor | None = None
    look: torch.Tensor | None = None
    printable: torch.Tensor | None = None
    palette: torch.Tensor | None = None
    begin: torch.Tensor | None = None
    start: Patch | None = None
    start_scores: Mapping[str, Score] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    name: str = "patch"

    @property
    def device(self) -> torch.device:
        """Return where all detectors are, and so the pattern too."""
        return self.detectors[0].device if self.detectors else torch.device("cpu")


def new_pattern(recipe: Recipe, data: TrainData, start: int = 0) -> Pattern:
    """Return an untrained pattern: every random start has its own, the first is `data.begin` where that is given."""
    out = Pattern(
        recipe.grid,
        generator=torch.Generator().manual_seed(recipe.seed * 1009 + start),
        pyramid=recipe.pyramid,
        mask=data.region,
        palette=data.palette,
        tiles=recipe.tiles,
        device=data.device,
    )
    if data.begin is not None and start == 0:
        with torch.no_grad():
            out.levels[-1].copy_(data.begin)
    return out


def as_patch(recipe: Recipe, data: TrainData, texels: torch.Tensor, record: dict[str, Any] | None = None) -> Patch:
    """Return texels (3, h, w) as the 8-bit patch that is saved and scored."""
    return to_patch(
        texels,
        torch.ones(1, *recipe.grid) if data.region is None else data.region,
        name=data.name,
        size_mm=recipe.print_size(),
        target=recipe.target,
        palette=data.palette is not None,
        record=record,
    )


class TrainRun:
    """A run before, during and after `optimise`: two frozen inputs, and a checkpoint that owns all that changes.

    folder: where the checkpoint and the best pattern are written; nothing is written without one. resume: go on from the
    checkpoint there. threads: compute a batch's parts; as many as torch uses where the detectors allow it, unless given.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: TrainData,
        *,
        folder: Path | None = None,
        resume: bool = False,
        processes: Processes | None = None,
        threads: ThreadPool | None = None,
    ) -> None:
        """Raises: TrainingError if the checkpoint is damaged or was made with other recipe, people or detectors."""
        self.recipe, self.data, self.folder = recipe, data, folder
        self.processes = processes or Processes()
        self.threads = threads or ThreadPool.for_detectors(data.detectors)
        self.pattern = new_pattern(recipe, data)
        self.checkpoint = Checkpoint(self.pattern.levels, len(data.detectors), recipe.lr)
        if resume and folder is not None:
            path = folder / CHECKPOINT
            self.checkpoint.load(path, identity=data.identity)
            if self.checkpoint.step > recipe.total_steps:
                raise TrainingError(f"{path}: damaged: it is at step {self.checkpoint.step} of {recipe.total_steps}")
        if data.start is not None and not self.checkpoint.best_score:
            self.checkpoint.best_score = {name: score.plain() for name, score in data.start_scores.items()}

    @property
    def kept_start(self) -> bool:
        """Return whether the best pattern so far is the one from which the run started."""
        return self.data.start is not None and self.checkpoint.best_step == 0

    def patch(self) -> Patch:
        """Return the best pattern so far with its record: by held-out people, or the last average where none are scored."""
        at, data = self.checkpoint, self.data
        # Nothing here depends on when or how fast the pattern was made: a resumed run ends in the same bytes.
        record = {
            "settings": self.recipe.model_dump(mode="json"),
            "seed": self.recipe.seed,
            **data.record,
            "held_out": at.best_score,
            "kept": "start" if self.kept_start else "trained",
            "step": at.best_step,
            "steps": self.recipe.total_steps,
        }
        if data.start is not None and self.kept_start:
            return replace(data.start, record=record)
        texels = at.best if at.best_score else self._average()
        return as_patch(self.recipe, data, texels, record)

    def next_start(self) -> None:
        """Start the next random pattern, or the main run from the best of them, where the last step ended one."""
        recipe, at = self.recipe, self.checkpoint
        if not recipe.ends_start(at.step):
            return
        number = at.step // recipe.start_steps
        if len(at.starts) < number:
            at.finish_start()
        if number < recipe.starts:
            fresh = new_pattern(recipe, self.data, number).levels
            at.restart(fresh, fresh)
        else:
            best = min(at.starts, key=lambda start: start.badness)
            at.restart(best.levels, best.mean)
        # Rank 0 alone has scored the starts on held-out people: which was best is for it to say.
        self.processes.broadcast([*at.levels, *at.mean])

    def due(self) -> bool:
        """Return whether the pattern is scored after this step."""
        recipe, step = self.recipe, self.checkpoint.step
        return step % recipe.score_every == 0 or step == recipe.total_steps or recipe.ends_start(step)

    def score(self) -> dict[str, Any] | None:
        """Return held-out figures of the average pattern as it would be saved, and keep it if it is the best so far."""
        data, at, goal = self.data, self.checkpoint, self.recipe.goal
        if not data.scorers:
            return None
        texels = self._average()
        patch = as_patch(self.recipe, data, texels)
        if self.folder is not None:
            # What is scored is what was saved and read back: eight bits, not the floats.
            save_patch(patch, self.folder, stem="latest")
            patch = load_patch(self.folder / "latest.safetensors")
        scores = {name: scorer(patch) for name, scorer in data.scorers.items()}
        # People who are trained on help to distinguish steps where few are held out ...
        known = mean_badness([*scores.values(), *(scorer(patch) for scorer in data.also)], goal)
        badness = float("inf") if known is None else known
        figures = {name: score.plain() for name, score in scores.items()}
        at.remember(known, figures)
        # ... but whether training did any good, those held out alone can say.
        if badness <= at.best_badness and (not data.start_scores or beats(scores, data.start_scores, goal)):
            at.keep(texels, badness, figures)
            self.save_best()
        return figures

    def save_best(self) -> None:
        """Write the best pattern so far, where this process writes files."""
        if self.folder is not None and self.processes.first:
            save_patch(self.patch(), self.folder)

    def save(self) -> None:
        """Write the checkpoint, where this process writes files.

        Raises: OSError if the disk is full; the checkpoint before stays.
        """
        if self.folder is not None and self.processes.first:
            self.checkpoint.save(self.folder / CHECKPOINT, identity=self.data.identity)

    @torch.no_grad()
    def _average(self) -> torch.Tensor:
        """Return the colours (3, h, w) of the running average, on the CPU."""
        average = new_pattern(self.recipe, self.data)
        average.load(self.checkpoint.mean)
        average.project()
        return average.colours().detach().cpu()
