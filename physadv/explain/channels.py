"""What the channels of one layer answer to: where each is strongest over a set of images, projected back to pixels.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014). Their projection goes back through
max-pooling switches; these networks have none outside one pooling block. Here it is the gradient of one activation with
respect to the pixels, clamped at each activation function, as their rectifiers do: an approximation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import activation

from physadv.detect.yolo import PersonNet
from physadv.errors import SettingsError
from physadv.explain.odam import Attribution, Odam
from physadv.types import Float32Array, UInt8Array

# Channels that are shown, and patches of each.
CHANNELS, PATCHES = 4, 9
# Share of a projection's energy that a patch's window holds, of half of the patches.
HELD = 0.5
# Pixels of a patch's picture.
SIDE = 96
# Half the side of the smallest window, in pixels of the network's input.
SMALLEST = 8


class Place(NamedTuple):
    """Where a channel is strong: its value, the image's number, the cell of the layer's map, its centre from 0 to 1."""

    value: float
    image: int
    row: int
    column: int
    x: float
    y: float


class Projection(NamedTuple):
    """An activation in pixels. pixels: (h, w, 3) RGB as large as the input. reach: half the side of what matters of it."""

    pixels: UInt8Array
    reach: float


@dataclass(frozen=True, slots=True, eq=False)
class TopPatch:
    """One of a channel's strongest places. pixels, projection: (`SIDE`, `SIDE`, 3) RGB; image: the number of its image."""

    value: float
    image: int
    pixels: UInt8Array
    projection: UInt8Array


@dataclass(slots=True, eq=False)
class Channel:
    """One channel. adds: what it adds to the person's logit. heat: (h, w) its map over the image that is explained."""

    number: int
    adds: float
    heat: Float32Array
    patches: list[TopPatch] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class LayerView:
    """The strong channels of one layer. kind: of the layer ("C3k2"). images: over how many images the patches are."""

    layer: int
    kind: str
    images: int
    channels: list[Channel]

    def plain(self) -> dict[str, Any]:
        """Return the numbers of the channels and what each adds, as plain values for results.json."""
        shown = [{"channel": c.number, "adds": round(c.adds, 4), "patches": len(c.patches)} for c in self.channels]
        return {"layer": self.layer, "kind": self.kind, "images": self.images, "channels": shown}


def check_layer(net: PersonNet, layer: int) -> None:
    """Raise SettingsError if a network has no layer of that number before its head."""
    if not 0 <= layer < len(net.layers):
        last = len(net.layers) - 1
        raise SettingsError(
            field="layer",
            expected=f"0 to {last}, the layers of {net.name} before its head",
            got=str(layer),
            hint=f"the head is given {', '.join(map(str, net.levels))}",
        )


def layer_view(
    net: PersonNet, layer: int, image: UInt8Array, box: Float32Array, others: Sequence[UInt8Array], *, imgsz: int
) -> Generator[tuple[float, str], None, LayerView]:
    """Yield how far the work is; the channels of a layer that add most to a person's score are returned.

    image: (h, w, 3) RGB with the person in (4,) `box`. others: further images that patches are sought in.

    Raises: SettingsError if there is no such layer.
    """
    check_layer(net, layer)
    odam = Odam(net, imgsz=imgsz, layers=(layer,))
    found = odam.attribute(image, box[None])[0]
    images = [image, *others]
    chosen = _strong(found, odam.output(image, layer))
    channels = [
        Channel(number, 0.0 if found is None else float(found.channels[layer][number]), heat)
        for number, heat in ((n, odam.output(image, layer)[n]) for n in chosen)
    ]
    places: dict[int, list[Place]] = {number: [] for number in chosen}
    most = -(-PATCHES // len(images))
    for number, each in enumerate(images):
        yield number / (2 * len(images)), f"layer {layer}, image {number + 1} of {len(images)}"
        output = odam.output(each, layer)
        for channel in chosen:
            places[channel] += _peaks(output[channel], number, most)
    wanted: dict[int, list[tuple[int, Place]]] = defaultdict(list)
    for channel, there in places.items():
        for place in sorted(there, reverse=True)[:PATCHES]:
            wanted[place.image].append((channel, place))
    projected: dict[tuple[int, Place], Projection] = {}
    for count, (number, items) in enumerate(wanted.items()):
        yield 0.5 + count / (2 * len(wanted)), f"layer {layer}, projections"
        projected.update(zip(items, _projections(odam, images[number], layer, items), strict=True))
    half = max(round(float(np.median([one.reach for one in projected.values()]))) if projected else 0, SMALLEST)
    for one in channels:
        for number, place in sorted(projected, key=lambda key: -key[1].value):
            if number == one.number:
                seen = odam.letterbox(images[place.image]).apply(images[place.image])
                both = (_window(whole, place, half) for whole in (seen, projected[number, place].pixels))
                one.patches.append(TopPatch(place.value, place.image, *both))
    return LayerView(layer, net.layers[layer], len(images), channels)


def _strong(found: Attribution | None, output: Float32Array) -> list[int]:
    """Return the numbers of the channels that add most to a score; without one, those with the highest peaks."""
    adds = output.max((1, 2)) if found is None else next(iter(found.channels.values()))
    return np.argsort(-adds, kind="stable")[:CHANNELS].tolist()


def _peaks(heat: Float32Array, image: int, most: int) -> list[Place]:
    """Return the highest places of a map (h, w), none beside a higher one."""
    ridge = F.max_pool2d(torch.from_numpy(heat)[None, None], 3, stride=1, padding=1)[0, 0].numpy()
    at = np.flatnonzero((heat >= ridge) & (heat > 0))
    best = at[np.argsort(-heat.ravel()[at], kind="stable")[:most]]
    rows, columns = heat.shape
    cells_at = [(float(heat.flat[i]), *divmod(int(i), columns)) for i in best.tolist()]
    return [Place(value, image, y, x, (x + 0.5) / columns, (y + 0.5) / rows) for value, y, x in cells_at]


@contextmanager
def _clamped(net: PersonNet) -> Iterator[None]:
    """Let no negative gradient pass an activation function of the network."""
    kinds = tuple(kind for kind in vars(activation).values() if isinstance(kind, type) and issubclass(kind, nn.Module))

    def hook(_: nn.Module, __: object, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda grad: grad.clamp(min=0))  # type: ignore[no-untyped-call]

    # One activation module may serve many layers: it is hooked once and fires for each.
    handles = [m.register_forward_hook(hook) for m in net.modules() if type(m) in kinds and m is not net]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _projections(odam: Odam, image: UInt8Array, layer: int, items: Sequence[tuple[int, Place]]) -> Iterator[Projection]:
    """Yield for each activation of one image its gradient to the network's input, clamped on the way."""
    kept: list[torch.Tensor] = []

    def visit(number: int, x: torch.Tensor) -> torch.Tensor:
        if number == layer:
            kept.append(x)
        return x

    with _clamped(odam.net), torch.enable_grad():
        pixels = odam.input(image).requires_grad_()
        odam.net.features(pixels, visit=visit)
        for channel, place in items:
            one = kept[0][0, channel, place.row, place.column]
            grad = torch.autograd.grad(one, pixels, retain_graph=True)[0]
            array = grad[0].permute(1, 2, 0).cpu().numpy()
            yield Projection(_coloured(array), _reach(array, place))


def _reach(grad: Float32Array, place: Place) -> float:
    """Return half the side of the square around a place that holds `HELD` of a projection's energy (h, w, 3)."""
    energy = np.abs(grad).sum(2)
    y, x = np.mgrid[: energy.shape[0], : energy.shape[1]]
    away = np.maximum(np.abs(y - place.y * energy.shape[0]), np.abs(x - place.x * energy.shape[1])).ravel()
    order = np.argsort(away, kind="stable")
    held = np.cumsum(energy.ravel()[order])
    return float(away[order[np.searchsorted(held, HELD * held[-1])]]) if held[-1] > 0 else 0.0


def _coloured(grad: Float32Array) -> UInt8Array:
    """Return a projection (h, w, 3) as an image: grey where nothing matters."""
    most = max(float(np.quantile(np.abs(grad), 0.998)), 1e-12)
    return np.clip(127.5 + 127.5 * grad / most, 0, 255).astype(np.uint8)


def _window(image: UInt8Array, place: Place, half: int) -> UInt8Array:
    """Return the square around a place, `SIDE` pixels wide; grey beyond the image's rim."""
    x, y = round(place.x * image.shape[1]), round(place.y * image.shape[0])
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), constant_values=127)
    how = cv2.INTER_AREA if 2 * half > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(padded[y : y + 2 * half, x : x + 2 * half], (SIDE, SIDE), interpolation=how), np.uint8)
