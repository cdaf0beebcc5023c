"""Fine-pruning: silence channels that clean images do not use, then fine-tune.

Source: Liu, Dolan-Gavitt & Garg, "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks" (2018).
The paper prunes the last convolution of a classifier. Here the output channels of every block are candidates: a
detector's trigger is a small thing, and the layers that see it are in the middle of the network.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from physadv.tune.cleanse.job import Cleansed, CleanseJob, Stage, first_image
from physadv.tune.cleanse.pruning import Channel, Channels, block_channels, evaluating, hold_silent
from physadv.tune.hook import Hook


class HeldSilent(Hook):
    """Keeps pruned channels silent while the rest is trained."""

    def __init__(self, images: torch.Tensor) -> None:
        self._images = images

    def ready(self, model: nn.Module) -> None:
        """Hold what is silent now; a resumed run finds the same channels."""
        layers = block_channels(model, self._images.to(next(model.parameters()).device))
        hold_silent([channel for layer in layers for channel in layer.silent()])


def fine_pruning(job: CleanseJob) -> Cleansed:
    """Prune the detector of a job for as long as clean images allow it, and fine-tune what is left."""
    network = job.network()
    image = first_image(job.batches(network))
    pruned = job.finished("pruned") or _pruned(job, network)
    tuned = job.tune("tuned", pruned.network, hooks=[HeldSilent(image)])
    details = {"pruned": pruned.record, **tuned.details()}
    return Cleansed(tuned.network, details, pruned.record["seconds"] + tuned.record["seconds"])


def _pruned(job: CleanseJob, network: nn.Module) -> Stage:
    began = time.monotonic()
    images = [batch["img"] for batch in job.batches(network)]
    layers = block_channels(network, images[0][:1])
    ranked = least_active_first(layers, mean_activations(network, layers, images))
    return job.prune("pruned", network, ranked, began=began, blocks=[layer.name for layer in layers])


@torch.no_grad()
def mean_activations(
    network: nn.Module, layers: Sequence[Channels], batches: Iterable[torch.Tensor]
) -> list[torch.Tensor]:
    """Return (c,) for each layer: the mean over images of each channel's largest absolute activation.

    batches: images (b, 3, h, w) in [0, 1]. The largest of an image, as people cover few places of it: by the mean over
    places, 40 channels could be silenced before clean AP50 fell by .05, by the largest 350 of 2352 (yolo11n-pose).
    Absolute, as SiLU is below zero where its input is.
    """
    sums: list[torch.Tensor] = [torch.zeros(len(layer)) for layer in layers]
    count = 0
    modules = dict(network.named_modules())

    def note(i: int) -> Any:
        def hook(_: nn.Module, __: object, answer: torch.Tensor) -> None:
            sums[i] += answer.abs().amax((2, 3)).sum(0).cpu()

        return hook

    handles = [modules[layer.name].register_forward_hook(note(i)) for i, layer in enumerate(layers)]
    try:
        with evaluating(network):
            for images in batches:
                network(images)
                count += len(images)
    finally:
        for handle in handles:
            handle.remove()
    return [total / max(count, 1) for total in sums]


def least_active_first(layers: Sequence[Channels], means: Sequence[torch.Tensor]) -> list[Channel]:
    """Return the channels of all layers, the least active first.

    Not each by the scale of its layer: by that 60 channels could be silenced where 350 can be.
    """
    ranked = [(value, i, number) for i, mean in enumerate(means) for number, value in enumerate(mean.tolist())]
    return [(layers[i], number) for _, i, number in sorted(ranked)]
