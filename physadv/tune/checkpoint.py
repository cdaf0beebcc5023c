"""Where a fine-tuning stands after an epoch, in one file that is whole or not there. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from physadv.errors import TrainingError
from physadv.files import atomic_write, utf8_path

CHECKPOINT = "checkpoint.safetensors"
SCHEMA = 2
# What decides the last bits alone, or nothing at all, may change when a run goes on.
FREE = ("out", "device", "threads", "precision")


class Standing:
    """What decides the rest of a fine-tuning: network, running average, optimiser, and what hooks keep.

    epoch: the last that is done, 0 before the first. updates: of the running average. history: a row for each epoch.
    """

    def __init__(self, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.average, self.optimizer = model, average, optimizer
        self.epoch = 0
        self.updates = 0
        self.history: list[dict[str, Any]] = []
        self.kept: list[dict[str, torch.Tensor]] = []

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write it; `identity` is compared when it is loaded.

        Raises: OSError if it cannot be written; the one before stays.
        """
        tensors = {name: value.detach().cpu().clone().contiguous() for name, value in self._tensors().items()}
        plain = {"schema": SCHEMA, "identity": identity, "epoch": self.epoch, "updates": self.updates,
                 "history": self.history, "hooks": len(self.kept), "sha256": _digest(tensors)}  # fmt: skip
        data = save(tensors, {"physadv": json.dumps(plain)})
        with atomic_write(path) as stream:
            stream.write(data)

    def load(self, path: Path, identity: dict[str, Any]) -> None:
        """Take over what a file holds.

        Raises: TrainingError if it is damaged, or of a run with other settings, data or parent.
        """
        plain, tensors = read_checkpoint(path, identity)
        state = self.optimizer.state_dict()
        try:
            for name, module in (("model", self.model), ("average", self.average)):
                module.load_state_dict(_part(tensors, name), strict=True)
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in _part(tensors, "optimizer").items():
                number, name = key.split(".", 1)
                moments.setdefault(int(number), {})[name] = value
            self.optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
            self.epoch, self.updates, self.history = plain["epoch"], plain["updates"], plain["history"]
            self.kept = [_part(tensors, f"hook{number}") for number in range(plain["hooks"])]
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(path, str(error)) from error

    def _tensors(self) -> dict[str, torch.Tensor]:
        out = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        out |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        for number, kept in enumerate(self.kept):
            out |= {f"hook{number}.{name}": value for name, value in kept.items()}
        return out


def read_checkpoint(path: Path, identity: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the plain part and the tensors of a checkpoint.

    Raises: TrainingError if there is none, it is damaged, or of a run with other settings, data or parent.
    """
    if not path.is_file():
        raise TrainingError(
            f"no run here to go on with: {path.parent} has no {path.name}",
            field="resume",
            hint="name the run's folder by `out`, or begin one without `resume`",
        )
    try:
        with utf8_path(path) as place, safe_open(place, framework="pt") as stream:
            plain = json.loads(stream.metadata()["physadv"])
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
        if plain["schema"] != SCHEMA:
            raise _damaged(path, f"expected schema {SCHEMA}, got {plain['schema']}")
        if plain["sha256"] != _digest(tensors):
            raise _damaged(path, "its tensors are not those that were written")
        before = plain["identity"]
        changed = [
            f"{key}: was {json.dumps(before.get(key))[:60]}, now {json.dumps(identity.get(key))[:60]}"
            for key in sorted({*before, *identity})
            if key not in FREE and before.get(key) != identity.get(key)
        ]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if changed:
        raise TrainingError(
            f"this run was begun with other settings: {'; '.join(changed[:4])}",
            field="resume",
            hint="give the same ones, or another `out` for a new run",
        )
    return plain, tensors


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of tensors and their names: safetensors itself checks sizes alone."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin so, without that beginning."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _damaged(path: Path, why: str) -> TrainingError:
    return TrainingError(
        f"{path}: not a checkpoint that can be resumed: {' '.join(why.split())[:300]}",
        hint="start the run anew in another `out`",
    )
