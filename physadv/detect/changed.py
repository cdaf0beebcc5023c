"""Whether a detector is still the one that its name or its record says: weights, and the statistics of BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from physadv.detect import load_detector
from physadv.detect.names import names_code
from physadv.detect.weights import DEFAULT_DETECTOR, find_weights, known_detectors, record_of
from physadv.errors import PhysadvError
from physadv.types import Detector

if TYPE_CHECKING:
    import torch

    from physadv.detect.weights import Weights

# Buffers of BatchNorm: forward passes in training mode change them and nothing else.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
WEIGHTS, BATCHNORM = "detector-changed", "batchnorm-changed"


def changed(given: str | Detector) -> dict[str, str]:
    """Return what is wrong with a detector's identity, by code: {} where nothing is, or nobody can know.

    Of a network in memory its weights are compared with those of its file. Of a file called like an official model that is
    on this machine, and of a run of the lab, with those of that model, and of the parent that its record names: a
    fine-tuned network differs in weights, but none differs in the statistics of BatchNorm alone.
    """
    try:
        return _in_memory(given) if not isinstance(given, str) else _on_disk(given)
    except PhysadvError:
        # Another part of the program says so where it matters.
        return {}


def difference(now: Mapping[str, torch.Tensor], before: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """Return how many weights, and how many statistics of BatchNorm, of two networks of one shape differ.

    Raises: KeyError where they are not of one shape.
    """
    if {k: v.shape for k, v in now.items()} != {k: v.shape for k, v in before.items()}:
        raise KeyError("other layers")
    apart = [name for name, value in now.items() if not value.float().cpu().equal(before[name].float().cpu())]
    statistics = sum(name.endswith(STATISTICS) for name in apart)
    return len(apart) - statistics, statistics


def _in_memory(detector: Detector) -> dict[str, str]:
    """Compare a network with its own file.

    Raises: PhysadvError if that cannot be found or read.
    """
    if names_code(detector.name) or detector.name not in (DEFAULT_DETECTOR, *_stems()):
        # What is not here already is neither fetched nor run for a doubt.
        return {}
    weights = find_weights(_here(detector.name))
    if detector.sha256 is None or weights.sha256 != detector.sha256 or weights.kind in ("onnx", "plug-in"):
        return {}
    fresh = load_detector(_here(detector.name), backend="reference", imgsz=detector.imgsz, device="cpu")
    if fresh.backend != detector.backend or fresh.fingerprint() == detector.fingerprint():
        return {}
    return _said(_states(detector, fresh), f"the file {weights.name}")


def _on_disk(name: str) -> dict[str, str]:
    """Compare a file with the model whose name it has, or the parent that its record names.

    Raises: PhysadvError if one of them cannot be read.
    """
    weights = find_weights(name)
    if weights.kind != "ultralytics":
        return {}
    parent = record_of(name).get("parent")
    other = str(parent.get("name")) if isinstance(parent, dict) else weights.name
    if other not in (DEFAULT_DETECTOR, *_stems()):
        return {}
    before = find_weights(_here(other))
    if before.sha256 == weights.sha256 or (isinstance(parent, dict) and parent.get("sha256") != before.sha256):
        return {}
    said = _said((_state(weights), _state(before)), before.name)
    # Of a run of the lab other weights are what it was made for.
    return {code: text for code, text in said.items() if code == BATCHNORM or not isinstance(parent, dict)}


def _stems() -> list[str]:
    """Return the names of the official models that are on this machine, as reports call them."""
    return [name.removesuffix(".pt") for name in known_detectors()]


def _here(name: str) -> str:
    """Return a name of `_stems` as `find_weights` takes it."""
    return name if name == DEFAULT_DETECTOR else f"{name}.pt"


def _said(states: tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]] | None, of: str) -> dict[str, str]:
    try:
        weights, statistics = (1, 0) if states is None else difference(*states)
    except KeyError:
        weights, statistics = 1, 0
    if weights:
        return {WEIGHTS: f"its weights are not those of {of}"}
    if statistics:
        return {BATCHNORM: f"{statistics} statistics of BatchNorm, and nothing else, are not those of {of}"}
    return {}


def _states(now: Detector, fresh: Detector) -> tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]] | None:
    """Return the states of two networks in memory; None where one does not show its own."""
    nets = [getattr(detector, "net", None) for detector in (now, fresh)]
    return None if None in nets else (nets[0].state_dict(), nets[1].state_dict())  # type: ignore[union-attr]


def _state(weights: Weights) -> Mapping[str, torch.Tensor]:
    from physadv.detect.yolo import read_model

    state: Mapping[str, torch.Tensor] = read_model(weights).state_dict()
    return state
