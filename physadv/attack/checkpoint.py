"""A run's checkpoint: everything that decides the next step, in one file that is whole or not there. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from physadv.errors import TrainingError
from physadv.files import atomic_write, utf8_path
from physadv.settings import Settings, one_line

# 2: prints are no larger than their wearers. 3: torch's Adam, and one renderer for training and scoring: a run begun before
# would go on with other numbers.
# A run of schema 2, whose tensors are the same, goes on all the same, and says so.
SCHEMA = 3
READ = (2, SCHEMA)
# Settings that runs of earlier versions did not have, and what they did.
ADDED = {
    "settings.large": 0.0,
    "settings.parts": 0.0,
    "settings.stay_seen": 3.0,
    "settings.world.geometry.hinge": 0.5,
}
BETAS, EPSILON = (0.9, 0.99), 1e-8
# Of a run's identity, what changes its last bits alone: a run goes on with others, and says so.
TOLERATED = ("threads", "processes")
# What reading a file that is damaged anywhere may raise: nesting without end recurses.
DAMAGE = (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError, OverflowError)
# Characters of an error text about a damaged file.
LONGEST = 300
LOSSES_KEPT = 200
Figures = dict[str, float | int | None]


class Scored(Settings):
    """One scoring of the history: step, loss, badness, and figures by scorer beside them."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Figures] = Field(init=False)
    step: int = Field(ge=0, strict=True)
    loss: float
    badness: float | None


class Saved(Settings):
    """What a checkpoint holds besides its tensors."""

    schema_: Literal[2, 3] = Field(alias="schema")
    identity: dict[str, JsonValue]
    step: int = Field(ge=0, strict=True)
    age: int = Field(ge=0, strict=True)
    best_badness: float | None
    best_score: dict[str, Figures]
    best_step: int = Field(ge=0, strict=True)
    starts: list[float]
    losses: list[float]
    history: list[Scored]


class Finished(NamedTuple):
    """A random start that has had its steps: how it scored, and its parameters."""

    badness: float
    levels: list[torch.Tensor]
    mean: list[torch.Tensor]


class Checkpoint:
    """Where a run stands after `step` steps, and the optimiser that takes the next one.

    Views, worlds and noise of a step are drawn from (seed, step), so no random generator is kept.

    levels, mean: the parameters and their running average. adam: torch's optimiser of `levels`. mixing: (d,) log weights
    of the detectors. best: the best texels so far, (3, h, w), with `best_badness`, `best_score` and `best_step`. starts:
    finished random starts. history: {step, loss, badness, figures} of each scoring.
    """

    def __init__(self, levels: list[torch.Tensor], detectors: int, lr: float = 0.0) -> None:
        self.levels = levels
        self.mean = [v.detach().clone() for v in levels]
        # One tensor after another: foreach gains nothing on one to three small tensors.
        self.adam = torch.optim.Adam(levels, lr, BETAS, EPSILON, foreach=False)
        # The schedule multiplies this; it is there before a resumed run's schedule asks for it.
        self.adam.param_groups[0]["initial_lr"] = lr
        self.mixing = torch.zeros(detectors)
        self.best = torch.zeros_like(levels[-1].detach(), device="cpu")
        self.step = 0
        self.best_badness = float("inf")
        self.best_score: dict[str, Any] = {}
        self.best_step = 0
        self.starts: list[Finished] = []
        self.losses: list[float] = []
        self.history: list[dict[str, Any]] = []

    @property
    def age(self) -> int:
        """Return the number of steps of the optimiser since it was last new."""
        state = self.adam.state.get(self.levels[0])
        return int(state["step"]) if state else 0

    def restart(self, levels: list[torch.Tensor], mean: list[torch.Tensor]) -> None:
        """Go on from other parameters with a new optimiser; the best and the history stay."""
        with torch.no_grad():
            for own, other in zip((*self.levels, *self.mean), (*levels, *mean), strict=True):
                own.copy_(other)
        self.adam.state.clear()

    def finish_start(self) -> None:
        """Keep the parameters of the random start that has had its steps, with its last badness or loss."""
        badness = self.history[-1]["badness"] if self.history else None
        levels, mean = ([v.detach().clone() for v in tensors] for tensors in (self.levels, self.mean))
        self.starts.append(Finished(self.losses[-1] if badness is None else badness, levels, mean))

    @torch.no_grad()
    def average(self, ema: float) -> None:
        """Move the running average towards the parameters; young averages move faster, so as to forget the start."""
        decay = min(ema, (1 + self.age) / (10 + self.age))
        for mean, level in zip(self.mean, self.levels, strict=True):
            mean.lerp_(level, 1 - decay)

    def remember(self, badness: float | None, figures: dict[str, Figures]) -> None:
        """Add a scoring to the history."""
        recent = self.losses[-50:]
        loss = round(sum(recent) / max(len(recent), 1), 4)
        rounded = None if badness is None else round(badness, 4)
        self.history.append({"step": self.step, "loss": loss, "badness": rounded, **figures})

    def keep(self, texels: torch.Tensor, badness: float, score: dict[str, Any]) -> None:
        """Take these texels (3, h, w) for the best so far."""
        self.best, self.best_badness, self.best_score, self.best_step = texels, badness, score, self.step

    def note(self, loss: float) -> None:
        """Count a step that was taken, and remember its loss."""
        self.step += 1
        self.losses = [*self.losses, loss][-LOSSES_KEPT:]

    def save(self, path: Path, *, identity: Mapping[str, Any]) -> None:
        """Write the checkpoint; `identity` is compared when it is loaded.

        Raises: OSError if the disk is full; the checkpoint before stays.
        """
        plain = {
            "schema": SCHEMA,
            "identity": dict(identity),
            "step": self.step,
            "age": self.age,
            # JSON has no infinity, which is the badness of nothing.
            "best_badness": None if self.best_badness == float("inf") else self.best_badness,
            "best_score": self.best_score,
            "best_step": self.best_step,
            "starts": [start.badness for start in self.starts],
            "losses": self.losses,
            "history": self.history,
        }
        tensors = {k: v.detach().cpu().contiguous() for k, v in self._tensors(len(self.starts)).items()}
        data = save(tensors, {"physadv": json.dumps(plain)})
        # Written beside and renamed: a run killed at any moment leaves the checkpoint before or this one, never a half.
        with atomic_write(path) as stream:
            stream.write(data)

    def load(self, path: Path, *, identity: Mapping[str, Any]) -> None:
        """Take over the checkpoint in a file.

        Raises: TrainingError if it is damaged, or was made with other settings, people or detectors; the message names
        what differs.
        """
        plain = _read(path)
        try:
            with utf8_path(path) as place, safe_open(place, framework="pt") as stream:
                tensors = {k: stream.get_tensor(k) for k in stream.keys()}  # noqa: SIM118
            before, now = ({k: v for k, v in each.items() if k not in TOLERATED} for each in (plain.identity, identity))
            changed = _differences(before, now)
        except DAMAGE as error:
            raise _damaged(path, str(error)) from error
        if changed:
            other = any(difference.startswith("start:") for difference in changed)
            same = "give the pattern that it began from by `start`, as a file," if other else "give the same ones,"
            raise TrainingError(
                f"this run was started with other settings: {'; '.join(changed[:6])}",
                field="resume",
                hint=f"{same} or another `out` for a new run",
            )
        self._check(path, plain, tensors)
        self._take(plain, tensors)

    @staticmethod
    def is_older(path: Path) -> bool:
        """Return whether a file is a checkpoint of an earlier version, whose runs went on with other numbers."""
        try:
            return _read(path).schema_ < SCHEMA
        except TrainingError:
            return False

    @staticmethod
    def identity(path: Path) -> dict[str, Any] | None:
        """Return the identity that a file was saved with, or None if there is no such file or it cannot be read."""
        try:
            return _read(path).identity
        except TrainingError:
            return None

    def _tensors(self, starts: int) -> dict[str, torch.Tensor]:
        """Return every tensor by its name in the file; of random starts not yet finished ones as large as they will be."""
        moments = [
            self.adam.state.get(v) or {"exp_avg": torch.zeros_like(v), "exp_avg_sq": torch.zeros_like(v)}
            for v in self.levels
        ]
        out = {"mixing": self.mixing, "best": self.best}
        out |= {f"levels.{i}": v for i, v in enumerate(self.levels)} | {f"mean.{i}": v for i, v in enumerate(self.mean)}
        out |= {f"first.{i}": m["exp_avg"] for i, m in enumerate(moments)}
        out |= {f"second.{i}": m["exp_avg_sq"] for i, m in enumerate(moments)}
        for number in range(starts):
            start = self.starts[number] if number < len(self.starts) else Finished(0, self.levels, self.mean)
            out |= {f"start.{number}.levels.{i}": v for i, v in enumerate(start.levels)}
            out |= {f"start.{number}.mean.{i}": v for i, v in enumerate(start.mean)}
        return out

    def _check(self, path: Path, plain: Saved, tensors: dict[str, torch.Tensor]) -> None:
        """Raise TrainingError unless the tensors have this run's shapes and are finite."""
        if plain.best_step > plain.step:
            raise _damaged(path, f"the best step is {plain.best_step}, of {plain.step} in all")
        for name, own in self._tensors(len(plain.starts)).items():
            got = tensors.get(name)
            if got is None or got.shape != own.shape or got.dtype != own.dtype:
                had = "nothing" if got is None else f"{tuple(got.shape)} of type {got.dtype}"
                raise _damaged(path, f"{name}: expected {tuple(own.shape)} of type {own.dtype}, got {had}")
            if not bool(torch.isfinite(got).all()):
                raise _damaged(path, f"{name}: has values that are not finite")

    def _take(self, plain: Saved, tensors: dict[str, torch.Tensor]) -> None:
        def several(name: str) -> list[torch.Tensor]:
            return [tensors[f"{name}.{i}"] for i in range(len(self.levels))]

        self.restart(several("levels"), several("mean"))
        if plain.age:
            moments = enumerate(zip(several("first"), several("second"), strict=True))
            adam = {i: {"step": torch.tensor(float(plain.age)), "exp_avg": a, "exp_avg_sq": b} for i, (a, b) in moments}
            self.adam.load_state_dict({"state": adam, "param_groups": self.adam.state_dict()["param_groups"]})
        self.mixing, self.best = tensors["mixing"], tensors["best"]
        self.step, self.best_step = plain.step, plain.best_step
        self.best_badness = float("inf") if plain.best_badness is None else plain.best_badness
        self.best_score, self.losses = dict(plain.best_score), list(plain.losses)
        self.history = [scored.model_dump() for scored in plain.history]
        self.starts = [
            Finished(badness, several(f"start.{s}.levels"), several(f"start.{s}.mean"))
            for s, badness in enumerate(plain.starts)
        ]


def _read(path: Path) -> Saved:
    """Return what a checkpoint holds besides its tensors.

    Raises: TrainingError if it is damaged.
    """
    try:
        with utf8_path(path) as place, safe_open(place, framework="pt") as stream:
            plain = json.loads(stream.metadata()["physadv"])
        if isinstance(plain, dict) and plain.get("schema") not in READ:
            raise TrainingError(
                f"{path}: expected checkpoint schema {SCHEMA}, got {_short(plain.get('schema'))}: another version made it, "
                "whose numbers differ",
                hint="go on with that version, or begin anew with another `out`",
            )
        return Saved.model_validate(plain)
    except ValidationError as error:
        raise _damaged(path, one_line(error)) from error
    except DAMAGE as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> TrainingError:
    reason = " ".join(why.split())
    reason = reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}..."
    return TrainingError(
        f"{path}: not a checkpoint that can be resumed: {reason}", hint="start the run anew in another `out`"
    )


def _differences(before: Any, now: Any, *, place: str = "") -> list[str]:
    """Return "name: was X, now Y" for every plain value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        places = {n: f"{place}.{n}".strip(".") for n in sorted({*before, *now})}
        return [d for n, at in places.items() for d in _differences(before.get(n, ADDED.get(at)), now.get(n), place=at)]
    if json.dumps(before) == json.dumps(now):
        return []
    return [f"{place}: was {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
