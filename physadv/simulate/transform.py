"""The base of every transform of the simulated world: `sample` holds all chance, `apply` is deterministic."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar, cast

import torch
from pydantic import Field

from physadv.settings import Settings

D = TypeVar("D", bound="Draw")


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What chance decided for a batch: tensors whose first axis is the batch."""

    def pick(self: D, index: torch.Tensor) -> D:
        """Return the draw of the rows at `index`, (m,) integers."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self: D, device: torch.device) -> D:
        """Return the draw on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @classmethod
    def mix(cls: type[D], draws: list[D], choice: torch.Tensor) -> D:
        """Return a draw whose row i comes from `draws[choice[i]]`; choice: (n,) integers."""
        rows = torch.arange(len(choice), device=choice.device)
        stacked = {f.name: torch.stack([getattr(d, f.name) for d in draws]) for f in fields(cast(Any, draws[0]))}
        return cls(**{name: value[choice, rows] for name, value in stacked.items()})


class Transform(Settings, Generic[D]):
    """One effect of the physical world. `apply` is deterministic and differentiable in the images.

    strength: one dial; 0 leaves images as they are, 1 is what cameras and cloth do, above 1 is harsher.
    """

    strength: float = Field(default=1.0, ge=0, le=3)

    @abstractmethod
    def sample(self, batch: int, generator: torch.Generator) -> D:
        """Return a draw for `batch` images; tensors live on the CPU, like the generator."""

    @abstractmethod
    def apply(self, images: torch.Tensor, params: D) -> torch.Tensor:
        """Return images (b, c, h, w) after the effect, same shape."""


def apart(generator: torch.Generator) -> torch.Generator:
    """Return a generator of another stream, and leave the given one where it is.

    For what is added to a transform: drawn from the same stream it would change everything that is drawn after it, and with
    it every run and preview of before.
    """
    own = torch.Generator()
    own.set_state(generator.get_state())
    return own.manual_seed(int(torch.randint(2**62, (1,), generator=own)))


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Return float32 uniform draws from low to high."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def normal(shape: tuple[int, ...], spread: float, generator: torch.Generator, *, limit: float = 2.5) -> torch.Tensor:
    """Return float32 normal draws of that standard deviation, cut off at `limit` deviations."""
    return torch.randn(shape, generator=generator).clamp_(-limit, limit) * spread


def chance(batch: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Return a (batch,) mask, each True with that probability."""
    return torch.rand(batch, generator=generator) < probability
