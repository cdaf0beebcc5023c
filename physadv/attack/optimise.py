"""The one loop: step after step, now and then a score, a checkpoint, and the best pattern so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from physadv.attack.crops import Views
from physadv.attack.ranks import Ranks
from physadv.attack.score import beats, mean_badness
from physadv.attack.settings import TrainSettings
from physadv.attack.state import State
from physadv.attack.step import step
from physadv.attack.task import Task
from physadv.errors import TrainingError
from physadv.patch import Patch, load_patch, save_patch

CHECKPOINT = "checkpoint.safetensors"
LOSSES_KEPT = 200


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run tells after every step.

    seconds: since it (re)started. score: figures on held-out people by framing, where this step was scored. best: those of
    the best pattern so far.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    score: dict[str, Any] | None
    best: dict[str, Any]


def optimise(
    task: Task,
    *,
    folder: Path | None = None,
    resume: bool = False,
    ranks: Ranks | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Patch, State]:
    """Return the best pattern by held-out people and the run's last state.

    folder: where checkpoint, best patch and history go; nothing is written without it. resume: go on from its checkpoint.
    tell: called after every step of rank 0. stop: asked after every step; True saves a checkpoint and ends the run early.

    Raises: TrainingError if there is no one to train on, the loss is no number (naming the transform at fault), a
    detector's weights change, or the checkpoint does not fit. OSError if the disk is full; the last checkpoint stays.
    """
    ranks, s = ranks or Ranks(), task.settings
    views = Views(task.people, framing=s.framing, wear=s.wear)
    if not views.rows:
        raise TrainingError(field="images", expected="people to train on", got="none")
    before = [d.fingerprint() for d in task.detectors]
    pattern = task.pattern()
    state = State.fresh(pattern.levels, s.texels, len(task.detectors))
    if resume and folder is not None:
        state.load(folder / CHECKPOINT, identity=task.identity)
        if state.step > s.total_steps:
            raise TrainingError(f"{folder / CHECKPOINT}: damaged: it is at step {state.step} of {s.total_steps}")
    if task.start is not None and not state.best_score:
        _keep_start(task, state, folder if ranks.rank == 0 else None)
    ranks.same([*state.levels, *state.mean])
    began = time.monotonic()
    while state.step < s.total_steps:
        _turn(task, state, ranks)
        loss = step(task, views, pattern, state, ranks)
        state.step += 1
        state.losses = [*state.losses, loss][-LOSSES_KEPT:]
        figures = _score(task, state, folder) if _due(s, state.step) and ranks.rank == 0 else None
        # One process that left by itself would let the others wait for it in the next sum.
        halt = ranks.any(stop())
        if folder is not None and ranks.rank == 0 and (halt or _keeps(s, state.step)):
            state.save(folder / CHECKPOINT, identity=task.identity)
        if ranks.rank == 0:
            tell(Progress(state.step, s.total_steps, loss, time.monotonic() - began, figures, state.best_score))
        if halt:
            break
    if [d.fingerprint() for d in task.detectors] != before:
        raise TrainingError("a detector's weights or buffers changed while training; so no score can be trusted")
    if not state.best_score:
        state.best = _mean_colours(task, state).cpu()
    return _kept(task, state), state


def kept_start(task: Task, state: State) -> bool:
    """Return whether the best pattern so far is the one that the run began from."""
    return task.start is not None and state.best_step == 0


def _kept(task: Task, state: State) -> Patch:
    """Return the best pattern so far with its record."""
    record = _record(task, state)
    if kept_start(task, state) and task.start is not None:
        return replace(task.start, record=record)
    return task.patch(state.best, record)


def _keep_start(task: Task, state: State, folder: Path | None) -> None:
    """Take the pattern that the run begins from for the best so far: any that does better on those held out replaces it."""
    state.best_score = {name: score.plain() for name, score in task.start_scores.items()}
    if folder is not None:
        save_patch(_kept(task, state), folder)


def _turn(task: Task, state: State, ranks: Ranks) -> None:
    """Begin the next random start, or the main run from the best of them."""
    s = task.settings
    if s.starts == 1 or state.step % s.start_steps or state.step > s.starts * s.start_steps or state.step == 0:
        return
    if len(state.starts) < state.step // s.start_steps:
        scored = state.history[-1]["badness"] if state.history else None
        badness = state.losses[-1] if scored is None else scored
        state.starts.append(
            (badness, [v.detach().clone() for v in state.levels], [v.detach().clone() for v in state.mean])
        )
    number = state.step // s.start_steps
    if number < s.starts:
        fresh = task.pattern(number)
        state.restart(fresh.levels, fresh.levels)
    else:
        _, levels, mean = min(state.starts, key=lambda start: start[0])
        state.restart(levels, mean)
    # Rank 0 alone has scored the starts on held-out people: which was best is for it to say.
    ranks.same([*state.levels, *state.mean])


def _due(s: TrainSettings, step: int) -> bool:
    ends_start = s.starts > 1 and step <= s.starts * s.start_steps and step % s.start_steps == 0
    return step % s.score_every == 0 or step == s.total_steps or ends_start


def _keeps(s: TrainSettings, step: int) -> bool:
    return step % s.checkpoint_every == 0 or _due(s, step)


@torch.no_grad()
def _mean_colours(task: Task, state: State) -> torch.Tensor:
    average = task.pattern()
    average.load(state.mean)
    average.project()
    return average.colours().detach()


def _score(task: Task, state: State, folder: Path | None) -> dict[str, Any] | None:
    """Return held-out figures of the average pattern as it would be saved; keep it if it is the best so far."""
    texels = _mean_colours(task, state).cpu()
    if not task.scorers:
        return None
    patch = task.patch(texels, {})
    if folder is not None:
        # What is scored is what was saved and read back: eight bits, not the floats.
        save_patch(patch, folder, stem="latest")
        patch = load_patch(folder / "latest.safetensors")
    scores = {name: scorer(patch) for name, scorer in task.scorers.items()}
    known = mean_badness([*scores.values(), *(scorer(patch) for scorer in task.also)], task.settings.goal)
    figures = {name: v.plain() for name, v in scores.items()}
    badness = float("inf") if known is None else known
    loss = sum(state.losses[-50:]) / max(len(state.losses[-50:]), 1)
    state.history.append(
        {"step": state.step, "loss": round(loss, 4), "badness": None if known is None else round(known, 4), **figures}
    )
    # People who are trained on help to tell steps apart; whether training did any good those held out alone can say.
    if badness <= state.best_badness and (
        not task.start_scores or beats(scores, task.start_scores, task.settings.goal)
    ):
        state.best, state.best_badness, state.best_score = texels, badness, figures
        state.best_step = state.step
        if folder is not None:
            save_patch(_kept(task, state), folder)
    return figures


def _record(task: Task, state: State) -> dict[str, Any]:
    """Return the patch's record: nothing in it depends on when or how fast it was made."""
    return {
        "settings": task.settings.model_dump(mode="json"),
        "seed": task.settings.seed,
        **task.record,
        "held_out": state.best_score,
        "kept": "start" if kept_start(task, state) else "trained",
        "step": state.best_step,
        "steps": task.settings.total_steps,
    }
