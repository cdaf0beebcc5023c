"""A run's checkpoint: everything that decides the next step, in one file that is whole or not there. No pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from physadv.errors import TrainingError
from physadv.files import atomic_write, utf8_path
from physadv.settings import Settings, one_line

# 2: prints are no larger than their wearers, so that a run begun before would go on with other views.
SCHEMA = 2
# Of a run's identity, what changes its last bits alone: a run goes on with others, and says so.
TOLERATED = ("threads", "processes")
# What reading a file that is damaged anywhere may raise: nesting without end recurses.
DAMAGE = (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError, OverflowError)
# Characters of what is said of a damaged file.
SAID = 300
Figures = dict[str, float | int | None]


class Scored(Settings):
    """One scoring of the history: step, loss, badness, and figures by scorer beside them."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Figures] = Field(init=False)
    step: int = Field(ge=0, strict=True)
    loss: float
    badness: float | None


class Saved(Settings):
    """What a checkpoint says besides its tensors."""

    schema_: Literal[2] = Field(alias="schema")
    identity: dict[str, JsonValue]
    step: int = Field(ge=0, strict=True)
    age: int = Field(ge=0, strict=True)
    best_badness: float | None
    best_score: dict[str, Figures]
    best_step: int = Field(ge=0, strict=True)
    starts: list[float]
    losses: list[float]
    history: list[Scored]


@dataclass(slots=True)
class State:
    """Where a run stands after `step` steps. All chance of a step is drawn from (seed, step), so no generator is kept.

    levels, mean: the parameters and their running average. first, second: Adam's moments. age: Adam's steps. mixing: (d,)
    log weights of the detectors. best: the best texels so far, (3, t, t), and `best_badness`. starts: finished random
    starts as (badness, levels, mean). history: [step, loss, figures] of each scoring.
    """

    levels: list[torch.Tensor]
    mean: list[torch.Tensor]
    first: list[torch.Tensor]
    second: list[torch.Tensor]
    mixing: torch.Tensor
    best: torch.Tensor
    step: int = 0
    age: int = 0
    best_badness: float = float("inf")
    best_score: dict[str, Any] = field(default_factory=dict)
    best_step: int = 0
    starts: list[tuple[float, list[torch.Tensor], list[torch.Tensor]]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def fresh(cls, levels: list[torch.Tensor], texels: int, detectors: int) -> State:
        """Return the state before the first step."""
        zeros = [torch.zeros_like(v, requires_grad=False) for v in levels]
        return cls(
            levels=levels,
            mean=[v.detach().clone() for v in levels],
            first=[z.clone() for z in zeros],
            second=zeros,
            mixing=torch.zeros(detectors),
            best=torch.zeros(3, texels, texels),
        )

    def restart(self, levels: list[torch.Tensor], mean: list[torch.Tensor]) -> None:
        """Go on from other parameters with a new optimiser; the best and the history stay."""
        with torch.no_grad():
            for own, other in zip(self.levels, levels, strict=True):
                own.copy_(other)
        self.mean = [v.detach().to(own.device, copy=True) for v, own in zip(mean, self.levels, strict=True)]
        for moment in (*self.first, *self.second):
            moment.zero_()
        self.age = 0

    def save(self, path: Path, *, identity: dict[str, Any]) -> None:
        """Write the state; `identity` is compared when it is loaded.

        Raises: OSError if the disk is full; the checkpoint before stays.
        """
        tensors = {"mixing": self.mixing, "best": self.best}
        for name in ("levels", "mean", "first", "second"):
            tensors |= {f"{name}.{i}": v for i, v in enumerate(getattr(self, name))}
        for s, (_, levels, mean) in enumerate(self.starts):
            tensors |= {f"start.{s}.levels.{i}": v for i, v in enumerate(levels)}
            tensors |= {f"start.{s}.mean.{i}": v for i, v in enumerate(mean)}
        plain = {
            "schema": SCHEMA,
            "identity": identity,
            "step": self.step,
            "age": self.age,
            # JSON has no infinity, which is what the best of nothing is.
            "best_badness": None if self.best_badness == float("inf") else self.best_badness,
            "best_score": self.best_score,
            "best_step": self.best_step,
            "starts": [badness for badness, _, _ in self.starts],
            "losses": self.losses,
            "history": self.history,
        }
        data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"physadv": json.dumps(plain)})
        with atomic_write(path) as stream:
            stream.write(data)

    def load(self, path: Path, *, identity: dict[str, Any]) -> None:
        """Take over the state in a file.

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
            raise TrainingError(
                f"this run was started with other settings: {'; '.join(changed[:6])}",
                field="resume",
                hint="give the same ones, or another `out` for a new run",
            )
        self._check(path, plain, tensors)
        self._take(plain, tensors)

    @staticmethod
    def identity(path: Path) -> dict[str, Any] | None:
        """Return the identity that a file was saved with, or None if there is no such file or it cannot be read."""
        try:
            return _read(path).identity
        except TrainingError:
            return None

    def _check(self, path: Path, plain: Saved, tensors: dict[str, torch.Tensor]) -> None:
        """Raise TrainingError if the tensors are not those of this run, or are no numbers."""
        if plain.best_step > plain.step:
            raise _damaged(path, f"the best step is {plain.best_step}, of {plain.step} in all")
        wanted = {"mixing": self.mixing, "best": self.best}
        for name in ("levels", "mean", "first", "second"):
            wanted |= {f"{name}.{i}": v for i, v in enumerate(getattr(self, name))}
        for s in range(len(plain.starts)):
            wanted |= {f"start.{s}.{n}.{i}": v for n in ("levels", "mean") for i, v in enumerate(self.levels)}
        for name, own in wanted.items():
            got = tensors.get(name)
            if got is None or got.shape != own.shape or got.dtype != own.dtype:
                had = "nothing" if got is None else f"{tuple(got.shape)} of type {got.dtype}"
                raise _damaged(path, f"{name}: expected {tuple(own.shape)} of type {own.dtype}, got {had}")
            if not bool(torch.isfinite(got).all()):
                raise _damaged(path, f"{name}: holds what is no number")

    def _take(self, plain: Saved, tensors: dict[str, torch.Tensor]) -> None:
        count = range(len(self.levels))
        with torch.no_grad():
            for name in ("levels", "mean", "first", "second"):
                for i, own in enumerate(getattr(self, name)):
                    own.copy_(tensors[f"{name}.{i}"])
        self.mixing, self.best = tensors["mixing"], tensors["best"]
        self.step, self.age, self.best_step = plain.step, plain.age, plain.best_step
        self.best_badness = float("inf") if plain.best_badness is None else plain.best_badness
        self.best_score, self.losses = dict(plain.best_score), list(plain.losses)
        self.history = [scored.model_dump() for scored in plain.history]
        self.starts = [
            (
                badness,
                [tensors[f"start.{s}.levels.{i}"] for i in count],
                [tensors[f"start.{s}.mean.{i}"] for i in count],
            )
            for s, badness in enumerate(plain.starts)
        ]


def _read(path: Path) -> Saved:
    """Return what a checkpoint says besides its tensors.

    Raises: TrainingError if it is damaged.
    """
    try:
        with utf8_path(path) as place, safe_open(place, framework="pt") as stream:
            plain = json.loads(stream.metadata()["physadv"])
        if isinstance(plain, dict) and plain.get("schema") != SCHEMA:
            raise TrainingError(
                f"{path}: expected checkpoint schema {SCHEMA}, got {_short(plain.get('schema'))}: another version "
                "made it, which places prints otherwise; go on with that version, or begin anew with another `out`"
            )
        return Saved.model_validate(plain)
    except ValidationError as error:
        raise _damaged(path, one_line(error)) from error
    except DAMAGE as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> TrainingError:
    said = " ".join(why.split())
    said = said if len(said) <= SAID else f"{said[:SAID]}..."
    return TrainingError(f"{path}: not a checkpoint that can be resumed, start the run anew in another `out`: {said}")


def _differences(before: Any, now: Any, *, place: str = "") -> list[str]:
    """Return "name: was X, now Y" for every plain value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted({*before, *now})
        return [d for n in names for d in _differences(before.get(n), now.get(n), place=f"{place}.{n}".strip("."))]
    if json.dumps(before) == json.dumps(now):
        return []
    return [f"{place}: was {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
