"""Differentiable twins of defences that look at several views of one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from physadv.defend.base import Twin
from physadv.defend.masks import FILL
from physadv.detect.gradients import joined, parted
from physadv.types import Candidates, GradientDetector, Int64Array

DrawMasks = Callable[[int, int, np.random.Generator], list[Int64Array]]


def hide_tensor(images: torch.Tensor, masks: Sequence[Int64Array] | Int64Array) -> torch.Tensor:
    """Return images (b, 3, h, w) with grey under each mask; gradients pass everywhere else."""
    show = torch.ones((1, 1, *images.shape[2:]), dtype=images.dtype, device=images.device)
    for x0, y0, x1, y1 in masks:
        show[..., int(y0) : int(y1), int(x0) : int(x1)] = 0
    return images * show + (1 - show) * (FILL / 255)


class MaskedTwin(Twin):
    """An attacked detector that lists the candidates of the whole image and of masked views.

    The defence reports whoever any view shows, so an attack has to lower all of them; few views are drawn at each call, and
    over many calls every view comes up, as in EOT.
    """

    def __init__(self, inner: GradientDetector, draw: DrawMasks, *, seed: int = 0) -> None:
        super().__init__(inner, seed=seed)
        self._draw = draw

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of 32."""
        height, width = images.shape[2:]
        views = [images, *(hide_tensor(images, m) for m in self._draw(width, height, self._rng))]
        return stacked(self.inner, views)


def stacked(inner: GradientDetector, views: Sequence[torch.Tensor]) -> Candidates:
    """Return the candidates of views (b, 3, h, w) of the same b images side by side, in one pass."""
    return joined(parted(inner.candidates(torch.cat(list(views))), len(views)))
