"""What a method may add to a fine-tuning: changed batches, more terms of the loss, figures after each epoch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Batch = dict[str, Any]


class Hook:
    """What a method adds to fine-tuning. Subclasses overwrite what they need.

    replays: how often each batch comes; `batch["replay"]` counts from 0. model: Ultralytics' network in training mode.
    batch: "img" (b, 3, h, w) float32 RGB in [0, 1], "cls", "bboxes", "batch_idx", "im_file" ..., as Ultralytics has them.
    """

    replays: int = 1

    def ready(self, model: nn.Module) -> None:
        """Take the network before its first batch: on its device, layers frozen, also after a resume."""

    def batch(self, model: nn.Module, batch: Batch) -> None:
        """Change a batch before it is shown to the network, images and labels, in place of what is in it."""

    def extra_loss(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Return more terms of the loss by name: scalars, means over the images of the batch, weighted.

        `batch["answers"]` has the network's raw answers ("boxes", "scores", "kpts", "feats") to the batch.
        """
        return {}

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        """Take the network after the optimiser's step; gradients to a leaf in `batch["img"]` are of this batch."""

    def epoch(self, number: int, model: nn.Module) -> dict[str, Any]:
        """Return plain values for the history after an epoch (from 1). model: as it would be saved, in eval mode."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a resumed run needs back."""
        return {}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `state` returned when the run that goes on was saved."""
