"""Weights files of a network small enough to load in milliseconds, whole and damaged."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.nn.tasks import DetectionModel

BININT1 = ord("K")
SMALL = {
    "nc": 2,
    "reg_max": 2,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]]] * 3,
    "head": [[[2], 1, "Detect", ["nc"]]],
}


def small_model(names: Any = None, *, channels: int = 3) -> Any:
    """Return a seeded one-level detector of two classes, person and car unless named otherwise."""
    torch.manual_seed(0)
    make: Any = DetectionModel
    model = make(SMALL, ch=channels, verbose=False)
    model.names = {0: "person", 1: "car"} if names is None else names
    return model


def save_small(path: Path, names: Any = None, *, channels: int = 3, **more: Any) -> Path:
    """Write such a detector as Ultralytics does, in half precision; more: what else the checkpoint holds."""
    torch.save({"model": small_model(names, channels=channels).half(), "train_args": {"task": "detect"}, **more}, path)
    return path


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with some changed, left out, put in, the rest cut off, or small numbers changed."""
    out = bytearray(data)
    at = int(rng.integers(len(out)))
    kind = int(rng.integers(5))
    if kind == 0:
        for place in rng.integers(0, len(out), int(rng.integers(1, 8))):
            out[place] = int(rng.integers(256))
    elif kind == 1:
        del out[at : at + int(rng.integers(1, 40))]
    elif kind == 2:
        out[at:at] = rng.bytes(int(rng.integers(1, 20)))
    elif kind == 3:
        del out[at:]
    else:
        # Small numbers of the pickle: sizes, strides, channels. What is damaged is then the network, not the file.
        places = [i + 1 for i in range(len(out) - 1) if out[i] == BININT1]
        for place in rng.choice(places, 2) if places else ():
            out[place] = int(rng.integers(256))
    return bytes(out)


def repacked(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a weights file whose pickle was changed, with checksums that fit it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, change(content) if member.filename.endswith("data.pkl") else content)
    return out.getvalue()
