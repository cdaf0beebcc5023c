"""Control patterns: what any pattern of this size does, so that a score can say what the pattern itself adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from physadv.errors import PatchError
from physadv.patch import Patch
from physadv.types import UInt8Array

Control = Literal["grey", "white", "noise", "shuffled"]
CONTROLS: tuple[Control, ...] = get_args(Control)
# Cells along the shorter side of noise and of shuffling: texture as coarse as trained patterns have, which a camera
# resolves; single pixels would blur into grey, and grey is a control of its own. Of a tall print they are as large as of
# a square one of its width, whose texels it has too; larger tiles would keep more of its structure.
CELLS = 16


def control(patch: Patch, kind: Control, rng: np.random.Generator) -> Patch:
    """Return a pattern with the size, shape and mask of `patch` whose pixels are grey, white, noise, or its own shuffled.

    grey: 128 in each channel. white: 255. noise: square cells of random colours, 16 along the shorter side. shuffled: the
    pattern's own colours with all structure gone: its square tiles, 16 along the shorter side, in random order, each turned
    and mirrored at random.

    Raises: PatchError for a kind that is not known.
    """
    makers = {"grey": _grey, "white": _white, "noise": _noise, "shuffled": _shuffled}
    if kind not in makers:
        raise PatchError(field="control", expected=f"one of {', '.join(CONTROLS)}", got=repr(kind))
    record = {"control": kind, "of": patch.name, "of_sha256": patch.sha256}
    pixels = makers[kind](patch.pixels, rng)
    return replace(patch, name=f"{patch.name}-{kind}", pixels=pixels, record=record)


def _grey(pixels: UInt8Array, _: np.random.Generator) -> UInt8Array:
    return np.full_like(pixels, 128)


def _white(pixels: UInt8Array, _: np.random.Generator) -> UInt8Array:
    return np.full_like(pixels, 255)


def _noise(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    rows, columns = _grid(pixels)
    cells = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    h, w = pixels.shape[:2]
    y, x = np.arange(h) * rows // h, np.arange(w) * columns // w
    return np.ascontiguousarray(cells[y][:, x])


def _shuffled(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    h, w = pixels.shape[:2]
    rows, columns = _grid(pixels)
    # Tiles of one size can change places; a rim that is no whole tile keeps its place but is shuffled pixel by pixel.
    size = min(h // rows, w // columns)
    rows, columns = h // size, w // size
    body = pixels[: rows * size, : columns * size]
    tiles = body.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    tiles = tiles[rng.permutation(len(tiles))]
    turned = np.stack(
        [np.rot90(t[:, ::-1] if flip else t, k) for t, k, flip in zip(tiles, *_turns(rng, len(tiles)), strict=True)]
    )
    out = pixels.copy()
    out[: rows * size, : columns * size] = (
        turned.reshape(rows, columns, size, size, 3).swapaxes(1, 2).reshape(rows * size, columns * size, 3)
    )
    for rim in (out[rows * size :], out[: rows * size, columns * size :]):
        flat = rim.reshape(-1, 3)
        rim[:] = flat[rng.permutation(len(flat))].reshape(rim.shape)
    return out


def _turns(rng: np.random.Generator, n: int) -> tuple[list[int], list[bool]]:
    return rng.integers(0, 4, n).tolist(), (rng.integers(0, 2, n) == 1).tolist()


def _grid(pixels: UInt8Array) -> tuple[int, int]:
    """Return rows and columns of about square cells, at most `CELLS` along the shorter side, one at least."""
    h, w = pixels.shape[:2]
    cell = min(h, w) / min(CELLS, min(h, w))
    return max(round(h / cell), 1), max(round(w / cell), 1)
