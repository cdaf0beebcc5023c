"""Small networks that a defence carries: half-precision safetensors with the record of how they were made."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from physadv.errors import DefenceError
from physadv.files import atomic_write, utf8_path

SHIPPED = Path(__file__).parent / "weights"


def weights_file(kind: str, given: str = "") -> Path:
    """Return the weights file of a defence of this kind: the given one, or the shipped one for an empty text."""
    return Path(given) if given else SHIPPED / f"{kind}.safetensors"


def missing_weights(path: Path, kind: str) -> str:
    """Return the error text for a missing weights file of that kind."""
    return f"{path}: no such weights file; train one with `physadv learn {kind}`"


def draw_weights(net: nn.Module, generator: torch.Generator) -> None:
    """Fill a network's linear and convolutional layers as PyTorch does by default, from the caller's generator.

    Source: He et al., "Delving deep into rectifiers" (2015), with PyTorch's slope of sqrt(5).
    """
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            if layer.bias is not None:
                reach = 1 / math.sqrt(layer.weight[0].numel())
                nn.init.uniform_(layer.bias, -reach, reach, generator=generator)


def save_weights(path: Path, net: nn.Module, *, kind: str, record: dict[str, Any]) -> None:
    """Write the network's state in half precision with `record`, atomically; the same state gives the same bytes.

    Raises: OSError if it cannot be written.
    """
    tensors = {k: v.detach().half().contiguous() for k, v in net.state_dict().items() if v.is_floating_point()}
    metadata = {"physadv": json.dumps({"kind": kind, "record": record}, sort_keys=True, allow_nan=False)}
    with atomic_write(path) as stream:
        stream.write(save(tensors, metadata=metadata))


def load_weights(path: Path, net: nn.Module, *, kind: str) -> dict[str, Any]:
    """Fill `net` from a file, freeze it in eval mode, and return the record.

    Raises: DefenceError if the file is missing, damaged, of another kind, or does not fit the network.
    """
    if not path.is_file():
        raise DefenceError(missing_weights(path, kind))
    try:
        with utf8_path(path) as place, safe_open(place, framework="pt") as stream:
            metadata = json.loads((stream.metadata() or {}).get("physadv", "null"))
            if not isinstance(metadata, dict) or metadata.get("kind") != kind:
                found = metadata.get("kind") if isinstance(metadata, dict) else None
                raise DefenceError(f"{path}: expected weights of kind {kind!r}, got {found!r}")
            state = {key: stream.get_tensor(key).float() for key in stream.keys()}  # noqa: SIM118
        net.load_state_dict(state, strict=False)
        missing = {k for k, v in net.state_dict().items() if v.is_floating_point()} - set(state)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DefenceError(f"{path}: not readable as weights of kind {kind!r}: {str(error)[:200]}") from error
    if missing:
        raise DefenceError(f"{path}: lacks {len(missing)} tensors that a {kind!r} network needs")
    net.eval().requires_grad_(False)
    return dict(metadata.get("record", {}))
