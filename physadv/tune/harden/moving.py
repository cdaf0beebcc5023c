"""Perturbations that climb the detector's loss by the sign of their gradient: patterns, and noise over whole images."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class MovingPatterns:
    """Patterns that are kept from batch to batch and moved by the gradient of the loss.

    leaves: (3, p, q) in [0, 1] each; a backward pass leaves their gradients there. step: how far a texel moves at once.

    Source: Shafahi et al., "Adversarial training for free!" (2019), with patches for the noise.
    """

    def __init__(self, starts: Sequence[torch.Tensor], step: float) -> None:
        self.leaves = [s.detach().clone().requires_grad_() for s in starts]
        self.step = step

    def patterns(self) -> list[torch.Tensor]:
        """Return the patterns with their opacity, (4, p, q) each, with gradients to the leaves."""
        return [torch.cat([leaf, torch.ones_like(leaf[:1])]) for leaf in self.leaves]

    @torch.no_grad()
    def move(self) -> None:
        """Move each pattern that a backward pass reached one step up the loss, and forget its gradient."""
        for leaf in self.leaves:
            if leaf.grad is not None:
                leaf.add_(_direction(leaf.grad), alpha=self.step).clamp_(0, 1)
                leaf.grad = None

    @torch.no_grad()
    def load(self, number: int, start: torch.Tensor) -> None:
        """Put another start, of the same shape, in a pattern's place."""
        self.leaves[number].copy_(start)

    def state(self) -> list[torch.Tensor]:
        """Return the patterns as they are now."""
        return [leaf.detach().clone() for leaf in self.leaves]


class MovingNoise:
    """Noise of at most `bound` a channel over a batch's images, by their place in it; kept from batch to batch.

    A batch of other images goes on from what was there, as in free adversarial training. bound: in [0, 1]; 0 for none.
    values: (b, 3, h, w), of as many images as the largest batch had.
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.values: torch.Tensor | None = None
        self._leaf: torch.Tensor | None = None

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (b, 3, h, w) in [0, 1] with the noise, through which a backward pass reaches it."""
        if not self.bound:
            return images
        count = len(images)
        if self.values is None or self.values.shape[1:] != images.shape[1:]:
            self.values = torch.zeros_like(images).detach()
        elif len(self.values) < count:
            more = torch.zeros_like(images[len(self.values) :]).detach()
            self.values = torch.cat([self.values, more])
        self._leaf = self.values[:count].clone().requires_grad_()
        return (images + self._leaf).clamp(0, 1)

    @torch.no_grad()
    def move(self) -> None:
        """Move the noise by its bound up the loss and back within it, as free training does, and forget the gradient."""
        if self.values is not None and self._leaf is not None and self._leaf.grad is not None:
            moved = self._leaf + self.bound * _direction(self._leaf.grad)
            self.values[: len(moved)] = moved.clamp(-self.bound, self.bound)
        self._leaf = None


def _direction(gradient: torch.Tensor) -> torch.Tensor:
    """Return the sign of a gradient; 0 where a loss overflowed."""
    return gradient.nan_to_num(0.0).sign()
