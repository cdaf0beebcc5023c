"""What is asked of a pattern besides its effect: smoothness, printable colours, a likeness. All in float32."""

from __future__ import annotations

import torch


def total_variation(colours: torch.Tensor, *, tiles: bool) -> torch.Tensor:
    """Return the mean absolute difference of neighbouring texels of (3, h, w); across the edges too if it tiles.

    Differences down and across count by themselves (the anisotropic form). Source: Rudin, Osher & Fatemi 1992; used on
    patches by Sharif et al. 2016, who take the root of both differences' squares.
    """
    if tiles:
        return (colours - colours.roll(1, 1)).abs().mean() + (colours - colours.roll(1, 2)).abs().mean()
    return colours.diff(dim=1).abs().mean() + colours.diff(dim=2).abs().mean()


def curvature(colours: torch.Tensor, *, tiles: bool) -> torch.Tensor:
    """Return the mean squared second difference of (3, h, w), along each axis: detail finer than a few texels."""
    if tiles:
        bends = [colours.roll(1, d) - 2 * colours + colours.roll(-1, d) for d in (1, 2)]
    else:
        bends = [colours.diff(n=2, dim=d) for d in (1, 2)]
    return sum((b.square().mean() for b in bends), torch.zeros((), device=colours.device))


def non_printability(colours: torch.Tensor, palette: torch.Tensor) -> torch.Tensor:
    """Return the mean distance of digital colours (3, h, w) to the nearest of palette (k, 3), those that print as intended.

    Source: Sharif et al. 2016, equation 3, with the nearest colour in place of the product over all.
    """
    flat = colours.flatten(1).T
    with torch.no_grad():
        near = palette[torch.cdist(flat, palette).argmin(1)]
    return ((flat - near).square().sum(1) + 1e-6).sqrt().mean()


def likeness(colours: torch.Tensor, look: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference from `look` (3, h, w) where the mask (1, h, w) has ink."""
    return ((colours - look).square() * mask).sum() / (3 * mask.sum()).clamp_min(1)
