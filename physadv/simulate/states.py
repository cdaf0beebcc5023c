"""People shown in a state of a pattern's condition: prints turned, folded or turned away, in another light.

Training, held-out scores and evaluation show a state by `put` alone; `--wear-angle` of the live demo turns a print by the
same function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from physadv.camera.lens import PERSON_CM
from physadv.simulate.activation import State, drawn
from physadv.simulate.joints import box_px_per_cm
from physadv.simulate.placement import Prints
from physadv.simulate.trigger import folded_prints, turned_prints
from physadv.simulate.world import WorldDraw
from physadv.types import Float32Array, UInt8Array

# Detector pixels of a grown-up a metre away: `physadv advise`'s usual camera, 60 degrees across, a detector at 416 pixels.
PX_AT_1_M = 416 / 2 / np.tan(np.radians(30)) * PERSON_CM / 100
# Gains of red, green and blue from daylight to a filament lamp (2,700 K) and to skylight (12,000 K) without white balance,
# of Planck's radiators in sRGB, its curve taken into account, the brightest channel held.
WARM, COOL = np.array([1.0, 0.85, 0.60]), np.array([0.87, 0.92, 1.0])
# What is a state of the whole image, and there without a print too.
OF_IMAGE = frozenset({"light", "colour"})


@dataclass(frozen=True, slots=True, eq=False)
class InState:
    """What a state makes of prints and of the chance of the simulated world. gain: (b, 3) of each image's channels."""

    prints: Prints
    draw: WorldDraw
    gain: Float32Array


def put(values: Mapping[str, Float32Array], prints: Prints, draw: WorldDraw, *, aspect: float) -> InState:
    """Return prints and draw in a state.

    values: (b,) for each image, of some parameters; a distance is for the photograph to show and changes nothing here.
    aspect: width over height of the print.
    """
    owner = prints.owner
    if "tilt" in values:
        prints = turned_prints(prints, values["tilt"][owner], aspect=aspect)
    if "fold" in values:
        prints = folded_prints(prints, values["fold"][owner])
    if "yaw" in values:
        yaw = torch.from_numpy(np.radians(values["yaw"][owner]).astype(np.float32))
        draw = replace(draw, geometry=replace(draw.geometry, yaw=yaw))
    return InState(prints, draw, gain_of(values))


def gain_of(values: Mapping[str, Float32Array]) -> Float32Array:
    """Return (b, 3) factors of an image's red, green and blue in a state of the light."""
    n = len(next(iter(values.values())))
    out = np.ones((n, 3))
    if "colour" in values:
        warmth = values["colour"][:, None]
        out = np.where(warmth > 0, 1 + warmth * (WARM - 1), 1 - warmth * (COOL - 1))
    if "light" in values:
        out = out * values["light"][:, None]
    return out.astype(np.float32)


def drawn_state(state: State, rng: np.random.Generator | None) -> dict[str, Float32Array]:
    """Return (1,) values of each parameter for one image. rng: None takes the middle of each first interval."""
    if rng is None:
        return {name: np.array([sum(ranges[0]) / 2], np.float32) for name, ranges in state.items()}
    return {name: drawn(ranges, (), 1, rng) for name, ranges in state.items()}


def relit(pixels: UInt8Array, gain: Float32Array) -> UInt8Array:
    """Return an image (h, w, 3) uint8 RGB in another light. gain: (3,)."""
    if bool((gain == 1).all()):
        return pixels
    return np.clip(pixels * gain, 0, 255).round().astype(np.uint8)


def distance_m(boxes: Float32Array) -> Float32Array:
    """Return (n,) how far away people (n, 4) are, whose boxes are in detector pixels and not cut off by a view."""
    return (PX_AT_1_M / np.maximum(box_px_per_cm(boxes) * PERSON_CM, 1e-3)).astype(np.float32)
