"""A device that is nowhere: tensors say that they lie on it, their numbers lie on the CPU, and mixing the two is an error.

As on a GPU, a tensor has to be sent there and fetched back; `numpy()` on it, and sums of tensors from both sides, fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

PLACE = torch.device("meta")
# Indices may lie on the CPU, and these move numbers from one side to the other.
MIXING = {"index", "index_put", "index_put_", "_index_put_impl_", "copy_", "_unsafe_index"}


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on `PLACE`."""

    kept: torch.Tensor

    @staticmethod
    def __new__(cls, kept: torch.Tensor) -> Elsewhere:
        out: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            kept.shape,
            strides=kept.stride(),
            storage_offset=kept.storage_offset(),
            dtype=kept.dtype,
            device=PLACE,
            requires_grad=False,
        )
        out.kept = kept
        return out

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Elsewhere({self.kept!r})"

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("expected a tensor on the CPU; fetch it with cpu()")

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(function, args, kwargs or {})


class _Made(TorchFunctionMode):
    """What never comes to dispatch: numbers that become a tensor on `PLACE`, and tensors that become numbers."""

    def __torch_function__(
        self, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.tensor and kwargs.get("device") is not None:
            return torch.tensor(*args, **{**kwargs, "device": None}).to(kwargs["device"])
        if function is torch.Tensor.new_tensor:
            return torch.tensor(args[1], dtype=args[0].dtype, **kwargs).to(args[0].device)
        if function is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].kept.tolist()
        return function(*args, **kwargs)


class _Computed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What is made on `PLACE` or sent there is an `Elsewhere`."""

    def __torch_dispatch__(
        self, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(function, args, kwargs or {})


@contextmanager
def away() -> Iterator[None]:
    """While it lasts there is a device `PLACE`, for the thread that asks."""
    made: Any = _Made()
    computed: Any = _Computed()  # type: ignore[no-untyped-call]
    with made, computed:
        yield


def _computed(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, torch.Tensor)]
    away = [isinstance(t, Elsewhere) for t in tensors]
    name = function.__name__.partition(".")[0]
    device = kwargs.get("device")
    if any(away) and name not in MIXING:
        wrong = [t for t in tensors if not isinstance(t, Elsewhere) and t.ndim]
        if wrong:
            raise RuntimeError(f"{name}: expected all tensors on one device, got {len(wrong)} on the CPU")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    out = function(*tree_map(_fetched, args), **tree_map(_fetched, kwargs))
    if function._schema.is_mutable and tensors:
        return tensors[0]
    stays = any(away) if device is None else torch.device(device) == PLACE
    if stays and any(t.dtype == torch.float64 for t in _tensors(out)):
        raise TypeError(f"{name}: float64 is not on every GPU")
    return tree_map(_sent, out) if stays else out


def _tensors(value: Any) -> list[torch.Tensor]:
    return [v for v in tree_flatten(value)[0] if isinstance(v, torch.Tensor)]


def _fetched(value: Any) -> Any:
    return value.kept if isinstance(value, Elsewhere) else value


_sent: Callable[[Any], Any] = lambda value: Elsewhere(value) if type(value) is torch.Tensor else value  # noqa: E731
