"""What is left of a map when the network's weights are random: a map that stays as it was says nothing of the network.

Source: Adebayo et al., "Sanity checks for saliency maps" (2018), cascading randomisation from the answers downwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from physadv.detect.yolo import PersonNet
from physadv.explain.cells import CellGrid
from physadv.types import Float32Array

# Rank correlation from which a map counts as unchanged. Of a map that is the image's edges 1 is left; of gradient times
# activation .3 to .5, as also a random network reaches no further around a box than its convolutions do.
REFUSED_FROM = 0.9
SEEDS = (0, 1)


@dataclass(frozen=True, slots=True)
class WeightsCheck:
    """How much of a map is left: rank correlations over the region's cells, means over `SEEDS`.

    head, half, all: with random weights in the head, in the later half of the layers too, and everywhere. place: with the
    closeness to the box's centre alone. What every map has from where the box is, is taken out of the first three.
    """

    head: float
    half: float
    all: float
    place: float

    @property
    def refused(self) -> bool:
        """Return whether the map does not change with the weights, and so is no explanation of them."""
        return self.all >= REFUSED_FROM


def kept_by_random_weights(
    net: PersonNet, make: Callable[[PersonNet], Float32Array], region: CellGrid, box: Float32Array
) -> WeightsCheck:
    """Return what is left of a map (h, w) of a person in (4,) `box`.

    make: returns the map by a network; it is called with the trained one and with copies whose weights are random.
    """
    heat = make(net)
    trained, place = region.of(heat).ravel(), region.of(closeness(heat.shape, box)).ravel()
    layers = len(net.layers)

    def left(first: int) -> float:
        others = [region.of(make(randomised(net, first, seed))).ravel() for seed in SEEDS]
        return float(np.mean([_partial(trained, other, place) for other in others]))

    return WeightsCheck(left(layers), left(layers // 2), left(0), rank_correlation(trained, place))


def randomised(net: PersonNet, first: int, seed: int) -> PersonNet:
    """Return a copy whose weights from layer `first` on, the head included, have changed places within their tensors.

    So their mean and spread stay, and signals reach the head. first: the number of layers for the head alone.
    """
    out = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for number, layer in enumerate(out.model.model):  # type: ignore[arg-type]
            if number < first:
                continue
            for parameter in layer.parameters():
                flat = parameter.detach().flatten()
                order = torch.randperm(flat.numel(), generator=generator).to(flat.device)
                parameter.copy_(flat[order].view_as(parameter))
    return out


def rank_correlation(a: Float32Array, b: Float32Array) -> float:
    """Return Spearman's correlation of (n,) values; 0 where one of them is the same everywhere."""
    x, y = _ranks(a), _ranks(b)
    if x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _partial(a: Float32Array, b: Float32Array, given: Float32Array) -> float:
    """Return the rank correlation of a and b with what `given` explains of either taken out."""
    ab, ag, bg = rank_correlation(a, b), rank_correlation(a, given), rank_correlation(b, given)
    rest = (1 - ag**2) * (1 - bg**2)
    # A map that is the place alone has nothing left that could change.
    return float((ab - ag * bg) / np.sqrt(rest)) if rest > 1e-9 else 1.0


def _ranks(values: Float32Array) -> npt.NDArray[np.float64]:
    """Return (n,) ranks from 0, equal values their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def closeness(shape: tuple[int, ...], box: Float32Array) -> Float32Array:
    """Return (h, w): how near each pixel of an image of that shape is to the box's centre, in sides of the box.

    As a map it knows nothing but where the box is: what others add to that is their own.
    """
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    wide, high = np.maximum(box[2:] - box[:2], 1)
    return np.asarray(-np.hypot((x - (box[0] + box[2]) / 2) / wide, (y - (box[1] + box[3]) / 2) / high), np.float32)
