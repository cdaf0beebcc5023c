"""The ways to harden: what each does to a batch before the detector is trained on it, and after the step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from physadv.arrays import to_tensor
from physadv.simulate.placement import Placement
from physadv.tune.harden.bank import patterns as made_patterns
from physadv.tune.harden.moving import MovingNoise, MovingPatterns
from physadv.tune.harden.settings import HardenSettings
from physadv.tune.harden.worn import BatchPeople, WornBatch, dress
from physadv.types import UInt8Array

# An Ultralytics batch: `img` (b, 3, h, w) float32 RGB in [0, 1], `cls`, `bboxes`, `batch_idx` and perhaps `keypoints`.
Batch = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Numbers of the classes in a training's labels. patch: None if patterns have no class of their own."""

    person: int
    patch: int | None = None


class Attack(ABC):
    """What is done to the batches of one training. All chance comes from the seed and the number of the step.

    replays: how often each batch is trained on in a row. step: updates so far. passes: batches that went forward and back
    through the network so far. network: what is trained; a batch gives its loss.
    """

    network: nn.Module

    def __init__(self, settings: HardenSettings, classes: Classes, seed: int) -> None:
        self.settings, self.classes, self.seed = settings, classes, seed
        self.replays = 1
        self.step = 0
        self.passes = 0

    @abstractmethod
    def attacked(self, batch: Batch) -> Batch:
        """Return the batch to train on: other images, and perhaps labels of what is worn."""

    def stepped(self) -> None:
        """Take note that the network was trained on what `attacked` returned last."""
        self.step += 1
        self.passes += 1

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a training goes on from after a break."""
        return {"step": torch.tensor(self.step), "passes": torch.tensor(self.passes)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state` returned."""
        self.step, self.passes = int(state["step"]), int(state["passes"])

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.step])

    def _dressed(self, batch: Batch, placements: Sequence[Placement], rng: np.random.Generator) -> WornBatch:
        count, _, height, width = batch["img"].shape
        people = BatchPeople.of(batch, self.classes.person)
        return dress(people, (count, height, width), placements, self.settings, rng)

    def _labelled(self, batch: Batch, worn: WornBatch) -> Batch:
        """Return the batch with the prints as objects of their own class, where they have one."""
        if self.classes.patch is None:
            return batch
        height, width = batch["img"].shape[-2:]
        owner, boxes = worn.boxes((height, width))
        if not len(boxes):
            return batch
        size = np.array([width, height], np.float32)
        fractions = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2 / size, (boxes[:, 2:] - boxes[:, :2]) / size], 1)
        more = {
            "cls": torch.full((len(boxes), 1), float(self.classes.patch)),
            "bboxes": torch.from_numpy(fractions),
            "batch_idx": torch.from_numpy(owner),
        }
        if "keypoints" in batch:
            more["keypoints"] = torch.zeros(len(boxes), *batch["keypoints"].shape[1:])
        both = {name: torch.cat([batch[name], rows.to(batch[name])]) for name, rows in more.items()}
        # Ultralytics counts on the rows of one image being together.
        order = both["batch_idx"].argsort(stable=True)
        return {**batch, **{name: rows[order] for name, rows in both.items()}}


class Natural(Attack):
    """No attack: the control that the others' costs are multiples of."""

    def attacked(self, batch: Batch) -> Batch:
        """Return the batch as it is."""
        return batch


class Pasted(Attack):
    """Patterns that do not depend on the network: those of the bank (`pod`), or a fixed set (`patches`)."""

    def __init__(
        self,
        settings: HardenSettings,
        classes: Classes,
        seed: int,
        texels: Sequence[torch.Tensor],
        placements: Sequence[Placement],
    ) -> None:
        """texels: (4, p, q) in [0, 1], colour and opacity. placements: of each."""
        super().__init__(settings, classes, seed)
        self._texels, self._placements = texels, placements

    def attacked(self, batch: Batch) -> Batch:
        """Return the batch in which people wear patterns drawn for this step."""
        rng = self._rng()
        few = min(len(self._texels), len(batch["img"]))
        chosen = rng.choice(len(self._texels), few, replace=False).tolist()
        worn = self._dressed(batch, [self._placements[i] for i in chosen], rng)
        with torch.no_grad():
            images = worn.apply(batch["img"], [self._texels[i].to(batch["img"]) for i in chosen])
        return self._labelled({**batch, "img": images}, worn)


class Moved(Attack):
    """The base of attacks that move patterns against the network.

    bank: what patterns start from, (3, p, q) each.
    """

    def __init__(self, settings: HardenSettings, classes: Classes, seed: int, bank: Sequence[torch.Tensor]) -> None:
        super().__init__(settings, classes, seed)
        self._bank = bank
        rng = np.random.default_rng([seed, len(bank)])
        starts = [bank[int(i)] for i in rng.integers(len(bank), size=settings.moving)]
        self._moving = MovingPatterns(starts, settings.step)
        self._placements = [placement_of(start) for start in starts]

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a training goes on from after a break."""
        return {**super().state(), **{f"pattern{i}": pattern for i, pattern in enumerate(self._moving.state())}}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        for number in range(len(self._moving.leaves)):
            self._moving.load(number, state[f"pattern{number}"])

    def _renew(self, share: float, rng: np.random.Generator) -> None:
        """Let a share of the patterns, by chance, start anew from others of the bank that are of their shape."""
        for number in np.flatnonzero(rng.random(len(self._moving.leaves)) < share).tolist():
            shape = self._moving.leaves[number].shape
            alike = [start for start in self._bank if start.shape == shape]
            self._moving.load(number, alike[int(rng.integers(len(alike)))])

    def _worn(self, batch: Batch, worn: WornBatch) -> torch.Tensor:
        texels = [pattern.to(batch["img"]) for pattern in self._moving.patterns()]
        return worn.apply(batch["img"], texels)


class Free(Moved):
    """Each batch is trained on several times in a row, and the gradient of each of these passes moves the patterns too.

    Source: Shafahi et al., "Adversarial training for free!" (2019). Where they lie and how the world shows them is drawn
    anew for each pass, so that a pattern is moved over several draws.
    """

    def __init__(self, settings: HardenSettings, classes: Classes, seed: int, bank: Sequence[torch.Tensor]) -> None:
        super().__init__(settings, classes, seed, bank)
        self.replays = settings.replays
        self._noise = MovingNoise(settings.noise)

    def attacked(self, batch: Batch) -> Batch:
        """Return the batch in which people wear the patterns as they are now; the training's backward pass reaches them."""
        rng = self._rng()
        if self.step % self.replays == 0:
            self._renew(self.settings.renewed, rng)
        worn = self._dressed(batch, self._placements, rng)
        return self._labelled({**batch, "img": self._noise.apply(self._worn(batch, worn))}, worn)

    def stepped(self) -> None:
        """Move patterns and noise by the gradients that the training's backward pass left."""
        super().stepped()
        self._moving.move()
        self._noise.move()

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a training goes on from after a break."""
        noise = {} if self._noise.values is None else {"noise": self._noise.values}
        return {**super().state(), **noise}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        self._noise.values = state.get("noise")


class Pgd(Moved):
    """Patterns from fresh starts, moved by passes of their own before each step of the training."""

    def attacked(self, batch: Batch) -> Batch:
        """Return the batch in which people wear patterns moved `attack_steps` times."""
        rng = self._rng()
        self._renew(1.0, rng)
        for _ in range(self.settings.attack_steps):
            shown = {**batch, "img": self._worn(batch, self._dressed(batch, self._placements, rng))}
            if shown["img"].requires_grad:
                loss = self.network(shown)[0].sum()
                # Of the patterns alone: the network's own gradients stay those of its training.
                for leaf, slope in zip(
                    self._moving.leaves, torch.autograd.grad(loss, self._moving.leaves, allow_unused=True), strict=True
                ):
                    leaf.grad = slope
                self._moving.move()
                self.passes += 1
        worn = self._dressed(batch, self._placements, rng)
        with torch.no_grad():
            images = self._worn(batch, worn)
        return self._labelled({**batch, "img": images}, worn)


def placement_of(pattern: torch.Tensor) -> Placement:
    """Return how a pattern (c, p, q) is worn: on the chest, or from chest to thighs if it is much higher than wide."""
    height, width = pattern.shape[-2:]
    aspect = width / height
    return Placement("portrait" if aspect < 0.75 else "chest", "area", 1.0, aspect=aspect)


def attack_of(
    settings: HardenSettings,
    classes: Classes,
    seed: int,
    *,
    photographs: Sequence[UInt8Array],
    patches: Sequence[tuple[torch.Tensor, Placement]] = (),
) -> Attack:
    """Return the attack of a method.

    photographs: what patterns made by chance are cut from, (h, w, 3) uint8 RGB each. patches: texels (4, p, q) and
    placement of each pattern of `patches`.
    """
    if settings.method == "natural":
        return Natural(settings, classes, seed)
    if settings.method == "patches":
        return Pasted(settings, classes, seed, [texels for texels, _ in patches], [worn for _, worn in patches])
    made = made_patterns(settings.bank, photographs, np.random.default_rng([seed, settings.bank]))
    bank = [to_tensor(pattern) for pattern in made]
    if settings.method == "pod":
        texels = [torch.cat([pattern, torch.ones_like(pattern[:1])]) for pattern in bank]
        return Pasted(settings, classes, seed, texels, [placement_of(pattern) for pattern in bank])
    return (Free if settings.method == "free" else Pgd)(settings, classes, seed, bank)
