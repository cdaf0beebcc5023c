"""The folder of a fine-tuned detector: its weights, and the record by which any `detector` takes it."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from physadv.detect.runs import LabRun
from physadv.detect.weights import RUN_RECORD, RUN_WEIGHTS, find_weights, read_run_record
from physadv.detect.yolo import load_net
from physadv.errors import OutputError, TrainingError
from physadv.files import atomic_write, sha256_of, write_json
from physadv.version import __version__

# In `kind` of a run's record: patterns' runs have none.
KIND = "detector"


def load_network(detector: str) -> nn.Module:
    """Return a detector's Ultralytics network to train: float32, on the CPU, batch normalisation not folded.

    detector: as `find_weights` takes it. No code of the file runs unless `trust` was called for it.

    Raises: WeightsError if there is no such detector, or it is no detection or pose network with a class "person".
    """
    network = load_net(find_weights(detector), fuse=False, both_heads=True).model
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return network


def check_batchnorm(network: nn.Module, need: str) -> None:
    """Raise TrainingError if a network's batch normalisation was folded into its convolutions, as exports have it.

    need: what needs it, as the message begins.
    """
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        raise TrainingError(
            f"{need} needs batch normalisation, which is folded into the convolutions of this network",
            field="detector",
            hint="name the file that it was fused from",
        )


def save_run(folder: Path, network: nn.Module, record: dict[str, Any]) -> LabRun:
    """Write a network and its record as a run, each file whole or not there.

    The weights are in half precision, as Ultralytics saves them, and hold no paths. record: gets `detector`, with the
    file's name and SHA-256.

    Raises: TrainingError if the network has weights that are not finite. OutputError if the record is no JSON. OSError if
    it cannot be written.
    """
    try:
        with atomic_write(folder / RUN_WEIGHTS) as stream:
            stream.write(_as_bytes(network))
        made = {"file": RUN_WEIGHTS, "sha256": sha256_of(folder / RUN_WEIGHTS)}
        full = {"physadv": __version__, "kind": KIND, "detector": made, **record}
        write_json(folder / RUN_RECORD, full)
    except ValueError as error:
        raise OutputError(f"{folder / RUN_RECORD}: {error}") from error
    return LabRun(folder, full)


def read_run(folder: Path) -> LabRun:
    """Return the run in a folder. The hash of its weights is checked when they are loaded.

    Raises: WeightsError if it is no run of a detector.
    """
    return LabRun(folder, read_run_record(folder))


def _as_bytes(network: nn.Module) -> bytes:
    """Return a network as the bytes of a file in Ultralytics' format.

    Raises: TrainingError if it has weights that are not finite, or too large for half precision.
    """
    # What training has put on the network (losses, settings with paths of this machine) stays here.
    kept: dict[str, Any] = {n: network.__dict__.pop(n) for n in ("criterion", "args") if n in network.__dict__}
    try:
        plain: Any = deepcopy(network).cpu().half().eval().to(memory_format=torch.contiguous_format)
    finally:
        network.__dict__.update(kept)
    for module in plain.modules():
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            getattr(module, name).clear()
    for name, values in plain.state_dict().items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise TrainingError(f"training diverged: {name} is not finite", hint="begin anew with a lower `lr`")
    for parameter in plain.parameters():
        parameter.requires_grad_(False)
    buffer = io.BytesIO()
    task = "pose" if hasattr(plain.model[-1], "kpt_shape") else "detect"
    # `outputs` knows files that physadv wrote by this sign.
    sign = json.dumps({"physadv": __version__})
    torch.save({"epoch": -1, "model": plain, "ema": None, "train_args": {"task": task}, "made": sign}, buffer)
    return buffer.getvalue()
