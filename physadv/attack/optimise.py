"""The training loop: step after step, now and then a score, a checkpoint, and the best pattern so far."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from physadv.attack.gradients import Batches, batch_gradient
from physadv.attack.losses import reweighted
from physadv.attack.run import TrainRun
from physadv.errors import TrainingError
from physadv.simulate.blur import blurred

# The spread of gradients in texels that is none.
SPREAD_LEAST = 0.3


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step.

    seconds: since it (re)started. score: figures on held-out people by framing, where this step was scored. best: those of
    the best pattern so far.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    score: dict[str, Any] | None
    best: dict[str, Any]


def optimise(run: TrainRun) -> Generator[Progress, None, None]:
    """Train the run's pattern, and yield where it stands after every step.

    Leave the loop to stop: the checkpoint is saved, and the run goes on from it with `resume`. Of several processes all
    must leave after the same step (`Processes.any`). `run.patch()` is the best pattern so far at any time.

    Raises: TrainingError if there are no people to train on, the loss is not finite (naming the transform at fault), or a
    detector's weights change. OSError if the disk is full; the last checkpoint stays.
    """
    recipe, at, pattern = run.recipe, run.checkpoint, run.pattern
    batches = Batches(recipe, run.data)
    weights = [d.fingerprint() for d in run.data.detectors]
    # Adam's rate depends on the step alone, so a resumed run needs no other state than the step.
    schedule = LambdaLR(at.adam, recipe.lr_factor_at, last_epoch=at.step - 1)
    # Every process starts from rank 0's numbers; equal sums of gradients keep them equal.
    run.processes.broadcast([*at.levels, *at.mean])
    if run.kept_start and at.step == 0:
        run.save_best()
    began, saved = time.monotonic(), at.step
    try:
        while at.step < recipe.total_steps:
            # Random patterns first, each for a few steps; the one that hides most held-out people goes on.
            run.next_start()
            # People wear the pattern in a simulated world, the detectors look: which people and which world comes from
            # (seed, step) alone, so that a resumed run draws what the whole one did.
            loss, each, gradients = batch_gradient(run, batches)
            # Large forms first: Adam alone settles the fine noise before they have moved.
            gradients[-1] = spread(gradients[-1], recipe.spread_at(at.step), tiles=recipe.tiles)
            for level, gradient in zip(at.levels, gradients, strict=True):
                level.grad = gradient
            at.adam.step()
            schedule.step()
            # Colours stay printable numbers, [0, 1].
            pattern.project()
            # The average of the last steps hides more people than any one of them, and is what is scored and saved.
            at.average(recipe.ema)
            if recipe.mix == "minmax":
                at.mixing = reweighted(at.mixing, each)
            at.note(loss)
            score = None
            if due := run.due():
                # Nothing that a detector scored can be trusted if attacking it has changed it.
                if [d.fingerprint() for d in run.data.detectors] != weights:
                    raise TrainingError(
                        "a detector's weights or buffers changed while training, so no score can be trusted"
                    )
                score = run.score() if run.processes.first else None
            if due or at.step % recipe.checkpoint_every == 0:
                run.save()
                saved = at.step
            yield Progress(at.step, recipe.total_steps, loss, time.monotonic() - began, score, at.best_score)
    except GeneratorExit:
        # The caller left the loop between two steps: the state is whole.
        if saved != at.step:
            run.save()
        raise


def spread(gradient: torch.Tensor, sigma: float, *, tiles: bool) -> torch.Tensor:
    """Return a gradient (3, h, w) blurred by `sigma` texels, across the edges if the pattern tiles.

    Adam makes every texel's step equally long, so that a pattern's fine noise is settled before its large forms have moved,
    and nothing moves it later: measured on eleven people, 150 plain steps lowered the loss from 2.4 to 2.1, and 150 whose
    gradients were spread over two texels at first to .8. Source: Neuberger, Sobolev Gradients and Differential
    Equations: steps along a gradient in which smooth changes are short.
    """
    if sigma < SPREAD_LEAST:
        return gradient
    return blurred(gradient, sigma, tiles=tiles)
