"""How far a detector goes from what it was towards what training made of it: as far as clean images allow.

A learning rate that drives a backdoor out takes some of what the detector could with it, and how much differs from one
detector to the next. Between two networks of which one was trained from the other, clean accuracy falls smoothly.

Source: Zhao et al., "Bridging Mode Connectivity in Loss Landscapes and Adversarial Robustness" (2020), whose path between
two networks is a curve that is learnt; here it is the straight line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from physadv.tune.cleanse.clean import CleanFigures

# Of the way: all of it, and less by tenths. None of it is the detector as it was.
SHARES = tuple(tenths / 10 for tenths in range(10, 0, -1))


@dataclass(frozen=True, slots=True)
class WayStep:
    """What is found in held-out clean images after a share of the way from the old network to the trained one."""

    share: float
    clean: CleanFigures

    def record(self) -> dict[str, Any]:
        """Return it as a run remembers it."""
        return {"share": self.share, **self.clean.record()}


def go_within(
    network: nn.Module,
    before: Mapping[str, torch.Tensor],
    score: Callable[[], CleanFigures],
    allowed: Callable[[CleanFigures], bool],
) -> list[WayStep]:
    """Move a trained network back towards what it was, in place, until clean images allow it; return the steps.

    before: its state before the training, on the same device. score: what the network as it is finds. allowed: whether
    that will do. The last step is the one that is kept; if none is allowed it is that of the smallest share.
    """
    after = {name: values.detach().clone() for name, values in network.state_dict().items()}
    steps = []
    for share in SHARES:
        network.load_state_dict({name: _between(before[name], values, share) for name, values in after.items()})
        steps.append(WayStep(share, score()))
        if allowed(steps[-1].clean):
            break
    return steps


def _between(before: torch.Tensor, after: torch.Tensor, share: float) -> torch.Tensor:
    # Counters of batches are whole numbers.
    return torch.lerp(before.to(after), after, share) if after.is_floating_point() else after
