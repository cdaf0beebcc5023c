"""Tensors that are computed once and kept."""

import importlib
import pkgutil
from inspect import signature
from typing import Any

import pytest
import torch

import physadv.simulate

MODULES = [
    importlib.import_module(f"physadv.simulate.{m.name}") for m in pkgutil.iter_modules(physadv.simulate.__path__)
]
KEPT = {
    f"{f.__module__}.{f.__name__}": f
    for module in MODULES
    for f in vars(module).values()
    if hasattr(f, "cache_clear") and not signature(f).parameters
}


@pytest.mark.parametrize("name", sorted(KEPT))
def test_they_serve_gradients_whoever_asked_first(name: str) -> None:
    kept: Any = KEPT[name]
    kept.cache_clear()
    with torch.inference_mode():
        first = kept()
    assert not isinstance(first, torch.Tensor) or not first.is_inference()
