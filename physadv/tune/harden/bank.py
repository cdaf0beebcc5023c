"""Patterns to harden with that need no attack: noise, blocks of colour, pieces of photographs, random textures.

Some look as published patterns do (crowded collages of people, waves, shuffled photographs); none is published or shipped,
for on those a hardened detector is scored.

Source: PAD/POD-style training with random patches: "Patch of Invisibility" and successors paste unoptimised patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from physadv.dataset import LabelledImage
from physadv.defend.textures import texture, varied
from physadv.types import UInt8Array

SIDE = 64
# Share of patterns that are twice as high as wide, as prints from chest to thighs are.
TALL = 0.4
# Pieces of people are cut from people of so many pixels a side or more.
LEAST_PX = 24
Family = Callable[[np.random.Generator, Sequence[UInt8Array]], UInt8Array]


def noise(rng: np.random.Generator, _: Sequence[UInt8Array]) -> UInt8Array:
    """Return cells of independent colours, 2 to 64 across."""
    cells = int(2 ** rng.integers(1, 7))
    return _enlarged(rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8))


def blocks(rng: np.random.Generator, _: Sequence[UInt8Array]) -> UInt8Array:
    """Return one to eight rectangles of plain colours over each other; one is a plain print."""
    out = np.empty((SIDE, SIDE, 3), np.uint8)
    out[:] = rng.integers(0, 256, 3)
    for _more in range(int(rng.integers(0, 8))):
        (x, y), (w, h) = rng.integers(0, SIDE - 8, 2), rng.integers(8, SIDE, 2)
        out[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return out


def piece(rng: np.random.Generator, photographs: Sequence[UInt8Array]) -> UInt8Array:
    """Return a square piece of a photograph as it is."""
    image = photographs[int(rng.integers(len(photographs)))]
    height, width = image.shape[:2]
    size = max(int(rng.uniform(0.2, 1) * min(height, width)), 1)
    y, x = rng.integers(height - size + 1), rng.integers(width - size + 1)
    return _enlarged(image[y : y + size, x : x + size])


def random_texture(rng: np.random.Generator, photographs: Sequence[UInt8Array]) -> UInt8Array:
    """Return a texture of `defend.textures`, with collages of photographs, varied half of the time."""
    out = texture(SIDE, rng, photographs)
    return varied(out, rng) if rng.random() < 0.5 else out


# By name, with the share of the patterns that is of each.
FAMILIES: dict[str, tuple[float, Family]] = {
    "noise": (0.1, noise),
    "blocks": (0.15, blocks),
    "piece": (0.15, piece),
    "texture": (0.6, random_texture),
}


def patterns(count: int, photographs: Sequence[UInt8Array], rng: np.random.Generator) -> list[UInt8Array]:
    """Return that many patterns, (64, 64, 3) or (64, 32, 3) uint8 RGB each.

    photographs: what pieces and collages are cut from, (h, w, 3) uint8 RGB each; one at least.
    """
    shares, makers = zip(*FAMILIES.values(), strict=True)
    out = []
    for _ in range(count):
        made = makers[int(rng.choice(len(makers), p=np.array(shares)))](rng, photographs)
        out.append(np.ascontiguousarray(made[:, SIDE // 4 : -SIDE // 4]) if rng.random() < TALL else made)
    return out


def photographs_of(images: Sequence[LabelledImage]) -> list[UInt8Array]:
    """Return the photographs and the people cut from them: patterns that were trained often look like people."""
    out = []
    for image in images:
        pixels = image.pixels
        out.append(pixels)
        for box in image.boxes:
            x1, y1, x2, y2 = np.round(np.maximum(box, 0)).astype(int)
            if min(x2 - x1, y2 - y1) >= LEAST_PX:
                out.append(pixels[y1:y2, x1:x2])
    return out


def _enlarged(image: UInt8Array) -> UInt8Array:
    how = cv2.INTER_AREA if len(image) > SIDE else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=how), np.uint8)
