"""Channels of a network that can be silenced one by one, and the search for how many of them clean images can spare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from physadv.tune.cleanse.clean import CleanFigures

# Of all channels so many more are silenced at each step of a search.
STEP = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """The output channels of one layer, and the parameters that make them.

    name: of the layer, as in a state dict. parameters: channel c is silent, zero everywhere, when row c of each is zero.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]

    def __len__(self) -> int:
        return len(self.parameters[0])

    def silent(self) -> list[Channel]:
        """Return the channels that are silent."""
        return [(self, n) for n in range(len(self)) if not any(bool(p[n].any()) for p in self.parameters)]


# A channel by the layer it belongs to and its number there.
Channel = tuple[Channels, int]


def block_channels(network: nn.Module, images: torch.Tensor) -> list[Channels]:
    """Return the output channels of every block whose output is that of one of its own convolutions.

    Blocks that add or join what they return have no parameters of their own for a channel, and are left out; so is the
    head, whose outputs are the answer. images: (b, 3, h, w) in [0, 1], on which the network runs once. Works on fused
    networks too.
    """
    out: list[Channels] = []
    # The tensors themselves: an identity alone is given again to the next tensor when one is freed.
    made: list[tuple[torch.Tensor, Channels]] = []

    def block_done(_: nn.Module, __: object, answer: torch.Tensor) -> None:
        out.extend(channels for tensor, channels in made if tensor is answer)
        made.clear()

    def convolution_done(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def done(module: nn.Module, _: object, answer: torch.Tensor) -> None:
            made.append((answer, Channels(name, _parameters_of(module))))

        return done

    handles = [m.register_forward_hook(convolution_done(n)) for n, m in network.named_modules() if _is_convolution(m)]
    # Registered last, so that a block which is one convolution is asked after it has been noted.
    handles += [block.register_forward_hook(block_done) for block in blocks_of(network)]
    try:
        with torch.no_grad(), evaluating(network):
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return out


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers of an Ultralytics network, without its head."""
    return list(cast("nn.ModuleList", network.model))[:-1]


def silence(channels: Sequence[Channel]) -> None:
    """Set the parameters of these channels to zero."""
    with torch.no_grad():
        for layer, number in channels:
            for parameter in layer.parameters:
                parameter[number] = 0


def hold_silent(channels: Sequence[Channel]) -> None:
    """Keep silenced channels at zero while the network is trained: their gradients are zero from now on."""
    by_parameter: dict[nn.Parameter, list[int]] = {}
    for layer, number in channels:
        for parameter in layer.parameters:
            by_parameter.setdefault(parameter, []).append(number)
    for parameter, numbers in by_parameter.items():
        parameter.register_hook(_without(numbers))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class PruningStep:
    """One step of a search: how many channels are silent, and what is found in held-out clean images with them."""

    silent: int
    clean: CleanFigures


def prune_within(
    ranked: Sequence[Channel],
    score: Callable[[], CleanFigures],
    *,
    tolerance: float,
    step: float = STEP,
    each: Callable[[PruningStep], object] = lambda _: None,
) -> list[PruningStep]:
    """Silence channels in order for as long as clean images allow it; return the steps, the last one kept last.

    ranked: channels, those to be silenced first at the front. score: what the network as it is finds in clean images.
    tolerance: what its figures may lose against none silenced. step: share of all channels silenced at each step. each:
    takes every step, the last one, which lost too much and is undone, too.
    """
    steps = [PruningStep(0, score())]
    each(steps[0])
    width = max(round(step * len(ranked)), 1)
    for start in range(0, len(ranked), width):
        more = ranked[start : start + width]
        before = [[p[number].detach().clone() for p in layer.parameters] for layer, number in more]
        silence(more)
        now = PruningStep(start + len(more), score())
        each(now)
        if not now.clean.keeps(steps[0].clean, tolerance):
            with torch.no_grad():
                for (layer, number), values in zip(more, before, strict=True):
                    for parameter, value in zip(layer.parameters, values, strict=True):
                        parameter[number] = value
            break
        steps.append(now)
    return steps


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Have every part of a network in eval mode within the block, and as it was after it."""
    training = [m for m in network.modules() if m.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _is_convolution(module: nn.Module) -> bool:
    """Return whether a module is Ultralytics' convolution with normalisation and activation, or one after fusing."""
    conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
    return isinstance(conv, nn.Conv2d) and (isinstance(norm, nn.BatchNorm2d) or conv.bias is not None)


def _parameters_of(module: Any) -> tuple[nn.Parameter, ...]:
    # Activations of YOLO networks (SiLU, ReLU, none) are zero at zero, so a channel without scale and shift is silent.
    norm = getattr(module, "bn", None)
    made_by = norm if isinstance(norm, nn.BatchNorm2d) else module.conv
    return made_by.weight, made_by.bias


def _without(numbers: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    def zeroed(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        gradient[numbers] = 0
        return gradient

    return zeroed
