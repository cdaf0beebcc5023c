"""Where a number stopped being one: the first transform whose output or gradient is not finite."""

from __future__ import annotations

from collections.abc import Callable

import torch

from physadv.attack.crops import Scene
from physadv.simulate.paste import Prints
from physadv.simulate.world import World, WorldDraw


def culprit(
    world: World,
    pattern: torch.Tensor,
    scene: Scene,
    draw: WorldDraw,
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> str | None:
    """Return the name of the transform (or "the pattern", "the photographs", "the detector") at fault, or None.

    Forward first, in the order of the world; then the gradient, whose first bad stage counted from the loss is at fault.
    """
    if not finite(pattern):
        return "the pattern"
    if not finite(scene.images):
        return "the photographs"
    leaf = pattern.detach().clone().requires_grad_()
    quads = world.geometry.quads(scene.prints.quads, draw.geometry)
    if not finite(quads):
        return "geometry"
    stages: list[tuple[str, torch.Tensor]] = []
    colour = leaf[None, :3].expand(len(scene.prints), -1, -1, -1)
    for name in ("ink", "cloth", "light"):
        colour = getattr(world, name).apply(colour, getattr(draw, name))
        if not finite(colour):
            return name
        stages.append((name, colour))
    p = scene.prints
    posed = Prints(p.owner, p.quads, p.rank, p.arms, p.window)
    images = world.apply(leaf, scene.images, posed, draw)
    if not finite(images):
        return (
            "sensor"
            if finite(
                world.model_copy(update={"sensor": type(world.sensor)(strength=0)}).apply(
                    leaf, scene.images, posed, draw
                )
            )
            else "paste"
        )
    value = loss(images)
    if not finite(value):
        return "the detector"
    (back,) = torch.autograd.grad(value, images, retain_graph=True, allow_unused=True)
    if back is not None and not finite(back):
        return "the detector"
    for name, stage in reversed(stages):
        (gradient,) = torch.autograd.grad(stage.sum(), leaf, retain_graph=True)
        if not finite(gradient):
            return name
    (whole,) = torch.autograd.grad(value, leaf)
    return None if finite(whole) else "sensor"


def finite(value: torch.Tensor) -> bool:
    """Return whether every number of a tensor is one."""
    return bool(torch.isfinite(value).all())
