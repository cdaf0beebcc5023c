"""The renderer: prints of a saved patch drawn on an image, anti-aliased, as scoring, evaluation and advice need it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from physadv.arrays import to_image, to_tensor
from physadv.patch import Patch
from physadv.simulate.composite import composite, halved
from physadv.simulate.placement import SMALLEST, Prints, texels_for
from physadv.simulate.world import World, WorldDraw
from physadv.types import UInt8Array

# Of nothing but a flat print: neither ink nor cloth, light or sensor change it.
STILL = World.of(0)


@lru_cache(maxsize=64)
def still_draw(count: int) -> WorldDraw:
    """Return what `STILL` does to `count` prints: nothing. Kept, as drawing it anew takes a tenth of a rendering."""
    # Usable with gradients, whoever asks first.
    with torch.inference_mode(False):
        return STILL.sample(count, 1, torch.Generator())


def render(
    image: UInt8Array,
    patch: Patch,
    prints: Prints,
    *,
    world: World = STILL,
    draw: WorldDraw | None = None,
) -> UInt8Array:
    """Return a copy of one image (h, w, 3) uint8 RGB with prints of a patch on it; the same arguments give the same pixels.

    world, draw: what is done to each print, if anything; its sensor is left out. Training draws its batches by
    `World.apply`, through the same code below. Each print is averaged by area to no more than a texel a pixel, then
    sampled bilinearly; edges cover pixels in part, and where prints meet the nearer one is laid over the other.
    """
    if not len(prints):
        return image
    levels = _mip_levels(patch)
    # The world halves a pattern once where that is enough for all of its work; more of it is done here, once for a patch.
    halvings = min(grid.halvings for grid in texels_for(prints.quads, prints.window, patch.pixels.shape[:2]))
    with torch.no_grad():
        if draw is None:
            draw = still_draw(len(prints)) if world is STILL else world.sample(len(prints), 1, torch.Generator())
        layers, tiles = world.layers(levels[max(halvings - 1, 0)], prints, draw, torch.device("cpu"))
        region = _region(layers.outlines().numpy(), prints, image.shape[:2])
        if region is None:
            return image
        left, top, right, bottom = region
        corner = torch.tensor([left, top])
        shifted = replace(
            layers,
            quads=layers.quads - corner,
            bounds=layers.bounds - corner.repeat(2),
            arms=layers.arms - torch.cat([corner.repeat(2), torch.zeros(1)]),
        )
        # Only the part around the prints becomes floating point: a photograph of twelve megapixels would take 0.3 s.
        part = composite(to_tensor(image[top:bottom, left:right])[None], shifted, tiles)
    out = image.copy()
    out[top:bottom, left:right] = to_image(part[0])
    return out


def _region(outlines: np.ndarray, prints: Prints, shape: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of the part of an image (height, width) with prints; None for none."""
    low = np.maximum(outlines.min(1) - 1, prints.bounds[:, :2])
    high = np.minimum(outlines.max(1) + 1, prints.bounds[:, 2:])
    drawn = (high > low).all(1)
    if not drawn.any():
        return None
    left, top = np.maximum(np.floor(low[drawn].min(0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(high[drawn].max(0)), shape[::-1]).astype(int).tolist()
    return (left, top, right, bottom) if right > left and bottom > top else None


# More than a pattern and its four controls, which each frame of a video has drawn on it in turn.
@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _mip_levels(patch: Patch) -> list[torch.Tensor]:
    """Return a patch as patterns (4, h, w), colour and opacity, at full size, half, quarter...: area averages."""
    levels = [torch.cat(patch.tensors())]
    while min(levels[-1].shape[-2:]) >= SMALLEST:
        levels.append(halved(levels[-1][None])[0])
    return levels
