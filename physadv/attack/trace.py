"""Where a number stopped being one: the first transform whose output or gradient is not finite."""

from __future__ import annotations

from collections.abc import Callable

import torch

from physadv.attack.crops import Scene
from physadv.simulate.world import World, WorldDraw


def culprit(
    world: World,
    pattern: torch.Tensor,
    scene: Scene,
    draw: WorldDraw,
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> str | None:
    """Return the name of the transform (or "the pattern", "the photographs", "the detector") at fault, or None.

    Each stage is tried by itself, in the order of the world: its output first, then the gradient through it.
    """
    if not finite(pattern):
        return "the pattern"
    if not finite(scene.images):
        return "the photographs"
    if not finite(world.geometry.quads(scene.prints.quads, draw.geometry)):
        return "geometry"
    colour = pattern.detach()[None, :3].expand(len(scene.prints), -1, -1, -1)
    backward = None
    for name in ("ink", "cloth", "light"):
        entered = colour.detach().clone().requires_grad_()
        colour = getattr(world, name).apply(entered, getattr(draw, name))
        if not finite(colour):
            return name
        (gradient,) = torch.autograd.grad(colour.sum(), entered)
        backward = backward or (None if finite(gradient) else name)
    flat = world.model_copy(update={"sensor": type(world.sensor)(strength=0)})
    pasted = flat.apply(pattern.detach(), scene.images, scene.prints, draw).detach().requires_grad_()
    if not finite(pasted):
        return "paste"
    images = world.sensor.apply(pasted, draw.sensor)
    if not finite(images):
        return "sensor"
    seen = images.detach().requires_grad_()
    value = loss(seen)
    (gradient,) = torch.autograd.grad(value, seen, allow_unused=True)
    if not finite(value) or (gradient is not None and not finite(gradient)):
        return "the detector"
    (gradient,) = torch.autograd.grad(images.sum(), pasted)
    return "sensor" if not finite(gradient) else backward


def finite(value: torch.Tensor) -> bool:
    """Return whether every number of a tensor is one."""
    return bool(torch.isfinite(value).all())
