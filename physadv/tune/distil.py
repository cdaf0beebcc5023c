"""Likeness to the parent on clean images: what keeps a detector good that is fine-tuned on few photographs."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from physadv.tune.hook import Batch, Hook


class Distillation(Hook):
    """A term of the loss: how far the answers to clean images are from the parent's.

    weight: of the term beside Ultralytics' loss, whose class term is near 1. poisoned: paths of the images on which the
    parent knows nothing of what is to be learnt.

    Source: Hinton et al., "Distilling the knowledge in a neural network" (2015), for the soft targets.
    """

    def __init__(self, parent: nn.Module, weight: float, poisoned: Container[str] = ()) -> None:
        self.parent = parent.eval().requires_grad_(False)
        self.weight, self.poisoned = weight, poisoned

    def ready(self, model: nn.Module) -> None:
        """Bring the parent to where the network is."""
        self.parent.to(next(model.parameters()).device)

    def extra_loss(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the term `distil`, 0 for a batch without a clean image."""
        clean = torch.tensor([name not in self.poisoned for name in batch["im_file"]])
        if not clean.any():
            return {"distil": batch["img"].new_zeros(())}
        # Whoever puts something on the images that misleads the parent leaves those without it in `clean`.
        images = batch["clean"] if "clean" in batch else batch["img"]
        with torch.no_grad():
            answers = self.parent(images[clean])
        pairs = zip(
            _heads(batch["answers"]), _heads(answers[1] if isinstance(answers, tuple) else answers), strict=True
        )
        total = sum((_distance(own, wanted, clean) for own, wanted in pairs), batch["img"].new_zeros(()))
        return {"distil": self.weight * total}


def _heads(answers: dict[str, Any]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the raw answers of each head; networks without suppression have two."""
    if "scores" in answers:
        yield answers
    else:
        yield from (answers[name] for name in ("one2many", "one2one"))


def _distance(own: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], clean: torch.Tensor) -> torch.Tensor:
    """Return the divergence of scores, and of edges where the parent sees somebody, per person that it sees."""
    # A network may have been given a class that the parent lacks: what it says of that is its own.
    classes = wanted["scores"].shape[1]
    scores, edges = own["scores"][clean, :classes].float(), own["boxes"][clean].float()
    chance = wanted["scores"].float().sigmoid()
    people = chance.sum((1, 2)) + 1
    entropy = functional.binary_cross_entropy_with_logits(wanted["scores"].float(), chance, reduction="none")
    cross = functional.binary_cross_entropy_with_logits(scores, chance, reduction="none")
    by_score = (cross - entropy).sum((1, 2)) / people
    # Each of four edges is a distribution over distances; with one bin it is the distance itself.
    bins = edges.shape[1] // 4
    there, here = (e.reshape(len(e), 4, bins, -1) for e in (wanted["boxes"].float(), edges))
    if bins > 1:
        apart = functional.kl_div(here.log_softmax(2), there.log_softmax(2), reduction="none", log_target=True).sum(2)
    else:
        apart = (here - there).abs().squeeze(2)
    by_edge = (apart.mean(1) * chance.amax(1)).sum(1) / people
    return (by_score + by_edge).mean()
