"""Adversarial neuron pruning: the channels that a small push turns against clean images are silenced.

Source: Wu & Wang, "Adversarial Neuron Pruning Purifies Backdoored Deep Models" (2021).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.func import functional_call

from physadv.detect.pytorch import pick_device
from physadv.tune.cleanse.job import Cleansed, CleanseJob
from physadv.tune.cleanse.pruning import Channel, Channels
from physadv.tune.trainer import hold_batchnorm

# Of the masks' own optimiser, Adam. The paper's SGD takes 2000 steps; in the 100 that fit into minutes it leaves every
# mask at 1, or with a larger step silences first the channels that clean images need most.
LR = 0.02
# What the loss without a push counts. With the paper's .2 the masks of channels that clean images need fall too.
CLEAN_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class NeuronMasks:
    """A mask for each batch normalisation's channels, 1 as long as a channel is to stay.

    norms: by name. masks: (c,) for each, in [0, 1].
    """

    norms: dict[str, nn.BatchNorm2d]
    masks: list[torch.Tensor]

    @classmethod
    def whole(cls, network: nn.Module) -> NeuronMasks:
        """Return masks of 1 for every channel of a network that is normalised, but those of its head.

        A classifier's head has none. With a detector's among them half of the 400 lowest masks were the head's, and
        pruning those lowered every score: the order stayed, but .28 of the people were found instead of .77.
        """
        head = list(cast("nn.ModuleList", network.model))[-1]
        own = {id(module) for module in head.modules()}
        norms = {
            name: module
            for name, module in network.named_modules()
            if isinstance(module, nn.BatchNorm2d) and id(module) not in own
        }
        return cls(norms, [torch.ones_like(norm.weight, requires_grad=True) for norm in norms.values()])

    def parameters(self, scale: Iterable[torch.Tensor], shift: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the normalisations' weights and biases times `scale` and `shift`, by the names of a state dict."""
        out = {}
        for (name, norm), s, t in zip(self.norms.items(), scale, shift, strict=True):
            out[f"{name}.weight"] = norm.weight.detach() * s
            out[f"{name}.bias"] = norm.bias.detach() * t
        return out

    def lowest_first(self) -> list[Channel]:
        """Return all channels, those of the smallest mask first.

        A channel is pruned as masks are learnt: its weight becomes zero, its bias stays.
        """
        layers = [Channels(name, (norm.weight,)) for name, norm in self.norms.items()]
        ranked = [(float(v), i, c) for i, mask in enumerate(self.masks) for c, v in enumerate(mask.detach().tolist())]
        return [(layers[i], number) for _, i, number in sorted(ranked)]


def anp(job: CleanseJob) -> Cleansed:
    """Learn which channels of the detector of a job a push turns, and prune those for as long as clean images allow."""
    pruned = job.finished("pruned")
    if pruned is None:
        began = time.monotonic()
        asked = job.settings
        network = job.network().to(pick_device(asked.device))
        masks = NeuronMasks.whole(network)
        learning = learn_masks(masks, network, job.batches(network, asked.epochs), push=asked.push, seed=asked.seed)
        total = asked.epochs * math.ceil(len(job.clean.training) / asked.batch)
        curve = []
        for number, (clean, pushed) in enumerate(learning, 1):
            curve.append([round(clean, 3), round(pushed, 3)])
            job.say(number / total, f"masks: loss {clean:.3f}, pushed {pushed:.3f}")
        pruned = job.prune("pruned", network, masks.lowest_first(), began=began, losses=curve)
    return Cleansed(pruned.network, {"pruned": pruned.record}, pruned.record["seconds"])


def learn_masks(
    neurons: NeuronMasks,
    network: nn.Module,
    batches: Iterable[dict[str, Any]],
    *,
    push: float,
    seed: int,
) -> Iterator[tuple[float, float]]:
    """Learn the masks of a network in place; yield the clean and the pushed loss after each batch.

    Each batch takes three passes. The first finds, by the sign of its gradient, the push of at most `push` times each
    weight and bias that raises the loss; the other two give the masks' gradient of the loss without the push (which
    counts `CLEAN_SHARE`) and with it. Channels that a push turns into a backdoor lose by their mask.

    batches: as Ultralytics' trainer gives them to `network.loss`. The weights and the statistics of the normalisations
    stay as they are.

    Ultralytics' trainer cannot be the loop: it steps weights down one loss, this climbs and descends in turn, in
    variables that are no part of the network. Its loader and its loss are used.
    """
    optimiser = torch.optim.Adam(neurons.masks, lr=LR)
    generator = torch.Generator().manual_seed(seed)

    def loss(batch: dict[str, Any], scales: Iterable[torch.Tensor], shifts: Iterable[torch.Tensor]) -> torch.Tensor:
        # Ultralytics' loss is the sum over the images of a batch.
        total = functional_call(network, neurons.parameters(scales, shifts), (batch,))[0].sum()
        return total / len(batch["img"])

    for batch in batches:
        # The statistics of 8 photographs differ from one batch to the next by more than a push does.
        network.train()
        hold_batchnorm(network)
        pushes = [_random(m, push, generator) for m in [*neurons.masks, *neurons.masks]]
        pushed = loss(batch, *_pushed([m.detach() for m in neurons.masks], pushes))
        pushes = [push * g.sign() for g in torch.autograd.grad(pushed, pushes)]
        clean = loss(batch, neurons.masks, [torch.ones_like(m) for m in neurons.masks])
        pushed = loss(batch, *_pushed(neurons.masks, pushes))
        optimiser.zero_grad()
        (CLEAN_SHARE * clean + (1 - CLEAN_SHARE) * pushed).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            for mask in neurons.masks:
                mask.clamp_(0, 1)
        yield clean.item(), pushed.item()


def _pushed(
    masks: Sequence[torch.Tensor], pushes: Sequence[torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return scales and shifts of all channels. pushes: those of the weights, then those of the biases."""
    of_weights, of_biases = pushes[: len(masks)], pushes[len(masks) :]
    return [m + p for m, p in zip(masks, of_weights, strict=True)], [1 + p for p in of_biases]


def _random(mask: torch.Tensor, push: float, generator: torch.Generator) -> torch.Tensor:
    start = (torch.rand(mask.shape, generator=generator) * 2 - 1) * push
    return start.to(mask).requires_grad_()
