"""Random colourful textures: stand-ins for unknown patterns, on which a defence is trained.

None is an adversarial pattern. The families are noise at many scales, random coordinate networks, shaded shapes, stripes,
band-passed noise, and photographs shuffled, recoloured, cropped or crowded into collages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from physadv.types import Float32Array, UInt8Array

Maker = Callable[[int, np.random.Generator], Float32Array]


def texture(side: int, rng: np.random.Generator, photographs: Sequence[UInt8Array] = ()) -> UInt8Array:
    """Return a random (side, side, 3) uint8 RGB texture of a random family.

    photographs: images to shuffle, recolour and crop; without them those families are left out.
    """
    chance = rng.random()
    if photographs and chance < 0.2:
        image = _photographic(side, rng, photographs)
    elif photographs and chance < 0.5:
        image = _collage(side, rng, photographs)
    else:
        makers: list[Maker] = [octaves, octaves, coordinate_net, coordinate_net, shapes, shapes, stripes, band]
        image = makers[rng.integers(len(makers))](side, rng)
        if rng.random() < 0.25:
            other = makers[rng.integers(len(makers))](side, rng)
            share = _normal(octaves(side, rng)[..., :1]) > 0.5
            image = np.where(share, image, other)
    if rng.random() < 0.4:
        image = _mixed_colours(image, rng)
    if rng.random() < 0.3:
        grey = image.mean(2, keepdims=True)
        image = grey + (image - grey) * rng.uniform(1.2, 3)
    image = np.clip((image - 0.5) * rng.uniform(0.6, 2.2) + 0.5 + rng.normal(0, 0.08), 0, 1)
    if rng.random() < 0.3:
        image = np.clip(image + rng.normal(0, rng.uniform(0.02, 0.25), image.shape), 0, 1)
    # Trained patterns have few texels; printed and photographed ones are smooth.
    if rng.random() < 0.5:
        coarse = int(rng.choice([8, 12, 16, 24, 32, 48]))
        small = cv2.resize(image.astype(np.float32), (coarse, coarse), interpolation=cv2.INTER_AREA)
        how = cv2.INTER_NEAREST if rng.random() < 0.4 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(small, (side, side), interpolation=how), np.float64)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def varied(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return a (s, s, 3) texture turned, mirrored, cropped and recoloured, as another attacker might make it."""
    out = np.rot90(image, int(rng.integers(4)))
    if rng.random() < 0.5:
        out = out[:, ::-1]
    side = len(out)
    if rng.random() < 0.4:
        size = int(side * rng.uniform(0.4, 1))
        y, x = rng.integers(side - size + 1, size=2)
        out = np.asarray(cv2.resize(out[y : y + size, x : x + size], (side, side), interpolation=cv2.INTER_LINEAR))
    share: Float32Array = np.asarray(out, np.float32) / np.float32(255)
    if rng.random() < 0.3:
        share = _mixed_colours(share, rng)
    if rng.random() < 0.5:
        grey = share.mean(2, keepdims=True)
        share = grey + (share - grey) * np.float32(rng.uniform(0.2, 1.1))
    if rng.random() < 0.4:
        share = np.asarray(cv2.GaussianBlur(share, (0, 0), rng.uniform(0.5, 3)), np.float32)
        share = share.mean() + (share - share.mean()) * np.float32(rng.uniform(1, 2))
    shifted = (share - 0.5) * rng.uniform(0.5, 1.3) + 0.5 + rng.normal(0, 0.06, 3)
    return (np.clip(shifted, 0, 1) * 255).round().astype(np.uint8)


def octaves(side: int, rng: np.random.Generator) -> Float32Array:
    """Return noise summed over octaves with a random fall-off, each channel partly its own, in [0, 1]."""
    out = np.zeros((side, side, 3), np.float32)
    fall = rng.uniform(0.3, 1.3)
    grey = rng.uniform(0, 0.8)
    for octave in range(1, 7):
        n = 2**octave
        cells = rng.normal(0, 1, (n, n, 3)).astype(np.float32)
        cells = grey * cells[..., :1] + (1 - grey) * cells
        how = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST][rng.integers(3)]
        out += np.asarray(cv2.resize(cells, (side, side), interpolation=how)) * fall**octave
    return _normal(out)


def coordinate_net(side: int, rng: np.random.Generator) -> Float32Array:
    """Return the image of a random network of waves over its coordinates, in [0, 1]."""
    line = np.linspace(-1, 1, side)
    x, y = np.meshgrid(line, line)
    layer = np.stack([x, y, np.hypot(x, y), np.ones_like(x)], -1) * rng.uniform(1, 8)
    for _ in range(rng.integers(2, 4)):
        layer = layer @ rng.normal(0, 1.2, (layer.shape[-1], 12))
        layer = np.sin(layer) if rng.random() < 0.5 else np.tanh(layer)
    return _normal((layer @ rng.normal(0, 1, (12, 3))).astype(np.float32))


def shapes(side: int, rng: np.random.Generator) -> Float32Array:
    """Return overlapping shaded ellipses and rectangles on a smooth background, in [0, 1]."""
    out = octaves(side, rng) * 0.3 + rng.random(3).astype(np.float32) * 0.5
    line = (np.arange(side) + 0.5) / side
    for _ in range(rng.integers(4, 16)):
        cx, cy, rx, ry = *rng.random(2), *rng.uniform(0.05, 0.35, 2)
        u, v = (line[None] - cx) / rx, (line[:, None] - cy) / ry
        far = np.maximum(np.abs(u), np.abs(v)) if rng.random() < 0.3 else np.hypot(u, v)
        light = 1 - rng.uniform(0, 0.9) * np.clip(np.hypot(u - 0.3, v + 0.3), 0, 1.5)
        colour = rng.random(3) * light[..., None]
        out = np.where(far[..., None] < 1, colour, out)
    return np.clip(out, 0, 1).astype(np.float32)


def stripes(side: int, rng: np.random.Generator) -> Float32Array:
    """Return bent stripes or a warped checker in two or three colours, in [0, 1]."""
    bend = octaves(side, rng)
    line = np.linspace(0, 1, side)
    angle, count = rng.uniform(0, np.pi), rng.uniform(3, 16)
    phase = (np.cos(angle) * line[None] + np.sin(angle) * line[:, None]) * count + bend[..., 0] * rng.uniform(0, 4)
    wave = np.sin(2 * np.pi * phase)
    if rng.random() < 0.4:
        wave = wave * np.sin(2 * np.pi * (np.sin(angle) * line[None] - np.cos(angle) * line[:, None]) * count)
    share = np.clip(wave[..., None] * rng.uniform(0.7, 6) * 0.5 + 0.5, 0, 1)
    return np.clip(share * rng.random(3) + (1 - share) * rng.random(3), 0, 1).astype(np.float32)


def band(side: int, rng: np.random.Generator) -> Float32Array:
    """Return noise of one scale, hard or soft, each channel its own, in [0, 1]."""
    noise = rng.standard_normal((side, side, 3), dtype=np.float32)
    fine = float(np.exp(rng.uniform(np.log(0.5), np.log(side / 10))))
    narrow, wide = (np.asarray(cv2.GaussianBlur(noise, (0, 0), s), np.float32) for s in (fine, fine * 1.8))
    out = narrow - wide
    out = out / max(float(out.std()), 1e-6)
    return (0.5 + 0.5 * np.tanh(out * rng.uniform(0.5, 4))).astype(np.float32)


def _collage(side: int, rng: np.random.Generator, photographs: Sequence[UInt8Array]) -> Float32Array:
    """Return pieces of photographs with soft round edges, crowded and overlapping, in [0, 1]."""
    out = _photographic(side, rng, photographs) if rng.random() < 0.5 else octaves(side, rng)
    line = np.arange(side) + 0.5
    widest = rng.uniform(0.15, 0.6)
    for _ in range(int(rng.integers(3, 14))):
        image = photographs[int(rng.integers(len(photographs)))]
        size = np.maximum(rng.uniform(0.4, 1, 2) * widest * side, 6).astype(int)
        y, x = (int(rng.integers(max(n // 2, 1))) for n in image.shape[:2])
        piece = image[y : y + max(image.shape[0] // 2, 1), x : x + max(image.shape[1] // 2, 1)]
        small = np.asarray(cv2.resize(piece, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)) / 255
        at = rng.random(2) * side
        u, v = np.abs(line[None] - at[0]) / size[0] * 2, np.abs(line[:, None] - at[1]) / size[1] * 2
        power = rng.uniform(2, 6)
        share = np.clip((1 - (u**power + v**power)) * rng.uniform(1.5, 8), 0, 1)[..., None]
        move = np.array([[1, 0, at[0] - size[0] / 2], [0, 1, at[1] - size[1] / 2]], np.float64)
        full = cv2.warpAffine(small.astype(np.float32), move, (side, side), borderMode=cv2.BORDER_REPLICATE)
        out = (out * (1 - share) + full * share).astype(np.float32)
    return out.astype(np.float32)


def _photographic(side: int, rng: np.random.Generator, photographs: Sequence[UInt8Array]) -> Float32Array:
    image = photographs[int(rng.integers(len(photographs)))]
    height, width = image.shape[:2]
    size = max(int(rng.uniform(0.15, 1.0) * min(height, width)), 1)
    y, x = rng.integers(height - size + 1), rng.integers(width - size + 1)
    crop = np.asarray(cv2.resize(image[y : y + size, x : x + size], (side, side), interpolation=cv2.INTER_AREA))
    out = crop.astype(np.float32) / 255
    if rng.random() < 0.6:
        n = int(rng.choice([2, 4, 8, 16]))
        block = side // n
        tiles = [out[i * block : (i + 1) * block, j * block : (j + 1) * block] for i in range(n) for j in range(n)]
        order = rng.permutation(n * n)
        rows = [np.hstack([tiles[k] for k in order[i * n : (i + 1) * n]]) for i in range(n)]
        out = np.asarray(cv2.resize(np.vstack(rows), (side, side)))
    if rng.random() < 0.5:
        soft = np.asarray(cv2.GaussianBlur(out, (0, 0), rng.uniform(0.8, 3)))
        out = np.clip(out + (out - soft) * rng.uniform(0.5, 4), 0, 1)
    return out.astype(np.float32)


def _mixed_colours(image: Float32Array, rng: np.random.Generator) -> Float32Array:
    mix = np.eye(3) * rng.uniform(0, 1) + rng.normal(0, 0.6, (3, 3))
    return _normal(((image - 0.5) @ mix).astype(np.float32))


def _normal(values: Float32Array) -> Float32Array:
    low, high = np.percentile(values, [1, 99])
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
