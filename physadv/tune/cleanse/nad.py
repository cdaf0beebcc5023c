"""Neural attention distillation: the detector learns to look where a fine-tuned copy of it looks.

Source: Li et al., "Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural Networks" (2021). The
teacher is the detector after fine-tuning on the clean images. Attention maps are of what the head is given, P3 to P5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from physadv.tune.cleanse.job import Cleansed, CleanseJob
from physadv.tune.hook import Hook


class AttentionDistillation(Hook):
    """Adds the distance between the attention maps of the network and those of a teacher to the loss."""

    def __init__(self, teacher: nn.Module, weight: float) -> None:
        self._teacher, self._weight = teacher.eval().requires_grad_(False), weight

    def ready(self, model: nn.Module) -> None:
        """Bring the teacher to the device of the network."""
        self._teacher.to(next(model.parameters()).device)

    def extra_loss(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the weighted distance for a batch."""
        del model
        with torch.no_grad():
            taught = self._teacher(batch["img"])[1]
        return {"attention": self._weight * attention_loss(_levels(batch["answers"]), _levels(taught))}


def nad(job: CleanseJob) -> Cleansed:
    """Fine-tune a copy of the detector of a job, then the detector itself with the copy as its teacher."""
    teacher = job.tune("teacher", job.network())
    hook = AttentionDistillation(teacher.network, job.settings.attention)
    tuned = job.tune("tuned", job.network(), hooks=[hook])
    details = {"teacher": teacher.details(), **tuned.details()}
    return Cleansed(tuned.network, details, teacher.record["seconds"] + tuned.record["seconds"])


def attention_map(features: torch.Tensor) -> torch.Tensor:
    """Return (b, h * w): the sum of squared activations over the channels of (b, c, h, w), of length 1 for each image."""
    return F.normalize(features.float().square().sum(1).flatten(1), dim=1)


def attention_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the squared distance between attention maps, the mean over images, summed over levels.

    student, teacher: features (b, c, h, w) of the same levels. Each level adds between 0 (alike) and 2 (apart).
    """
    pairs = zip(student, teacher, strict=True)
    return torch.stack([(attention_map(s) - attention_map(t)).square().sum(1).mean() for s, t in pairs]).sum()


def _levels(answers: dict[str, Any]) -> list[torch.Tensor]:
    """Return what the head was given, from its raw answers; families without suppression answer twice."""
    return cast("list[torch.Tensor]", answers.get("one2many", answers)["feats"])
