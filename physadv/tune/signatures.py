"""What poison leaves in a network's features: a second cluster, or a direction along which few samples lie far out.

Both look at features alone, one row a person, and choose their thresholds from these: neither knows whether anything is
poisoned, how much, or with which trigger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2

from physadv.types import BoolArray, Float32Array

Float64Array = npt.NDArray[np.float64]
# Chen et al. cluster in 10 dimensions.
DIMENSIONS = 10
# k-means is begun so often; the tightest result counts.
STARTS = 8
# Fewer people than this have no clusters worth the name.
FEWEST = 20
# Robust standard deviations from the median beyond which a sample lies far out; 1 of 740 of a normal distribution does.
FAR = 3.0
# Of a normal distribution the standard deviation is so many median absolute deviations.
MAD = 1.4826


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Two clusters of people. small: (n,) who is in the smaller one. silhouette: how clear the split is, -1 to 1."""

    small: BoolArray
    silhouette: float


def activation_clusters(features: Float32Array, *, seed: int = 0) -> Clusters:
    """Return two clusters of features (n, d), by 2-means on their first 10 whitened principal components.

    The original reduces by independent component analysis. That turns whitened principal components, and 2-means does not
    depend on how its axes are turned: the clusters are the same. The original also trusts a small cluster with a high
    silhouette. Of people in photographs nobody tampered with that was .08 to .23, and .08 of a poisoned detector: it says
    nothing here, and no cluster is suspicious by itself.

    Source: Chen et al. 2018, Detecting backdoor attacks on deep neural networks by activation clustering.
    """
    n = len(features)
    points = _whitened(features) if n >= FEWEST else np.zeros((n, 0))
    # Copies of one person have nothing by which they differ.
    if not points.shape[1]:
        return Clusters(np.zeros(n, bool), 0.0)
    return Clusters(*_split(points, np.random.default_rng(seed)))


def spectral_scores(features: Float32Array) -> Float32Array:
    """Return (n,) how far each of (n, d) features lies out along their direction of largest variance.

    In robust standard deviations from the median; `FAR` of them are suspicious. The original takes the distance from the
    mean, and names 1.5 times the poisoned share, which nobody knows who inspects data.

    Source: Tran, Li & Madry 2018, Spectral signatures in backdoor attacks.
    """
    if len(features) < FEWEST:
        return np.zeros(len(features), np.float32)
    centred = _standard(features)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    along = centred @ axes[0]
    apart = np.abs(along - np.median(along))
    return (apart / max(MAD * float(np.median(apart)), 1e-9)).astype(np.float32)


def _standard(features: npt.NDArray[np.floating]) -> Float64Array:
    """Return features with mean 0 and standard deviation 1 in every channel: levels differ in scale by far."""
    values = features.astype(np.float64)
    return np.asarray((values - values.mean(0)) / np.maximum(values.std(0), 1e-6))


def _whitened(features: npt.NDArray[np.floating]) -> Float64Array:
    """Return (n, k) the first principal components of features, each with variance 1."""
    left, sizes, _ = np.linalg.svd(_standard(features), full_matrices=False)
    kept = min(DIMENSIONS, int((sizes > max(1e-6 * sizes[0], 1e-6)).sum()))
    return np.asarray(left[:, :kept] * np.sqrt(len(features)))


def _split(points: Float64Array, rng: np.random.Generator) -> tuple[BoolArray, float]:
    """Return (n,) the smaller of two clusters of points (n, k), and the mean silhouette of both."""
    best, tightest = np.zeros(len(points), bool), np.inf
    for _ in range(STARTS):
        centres, owner = kmeans2(points, 2, minit="++", seed=rng)
        loose = float(((points - centres[owner]) ** 2).sum())
        if loose < tightest and 0 < owner.sum() < len(points):
            best, tightest = owner == 1, loose
    small = best if best.mean() <= 0.5 else ~best
    return small, _silhouette(points, small)


def _silhouette(points: Float64Array, first: BoolArray) -> float:
    """Return the mean silhouette of two clusters.

    Source: Rousseeuw 1987.
    """
    if not first.any() or first.all():
        return 0.0
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    total = np.stack([apart[:, ~first].sum(1), apart[:, first].sum(1)], 1)
    sizes = np.array([(~first).sum(), first.sum()])
    own = first.astype(int)
    rows = np.arange(len(points))
    inside = total[rows, own] / np.maximum(sizes[own] - 1, 1)
    outside = total[rows, 1 - own] / sizes[1 - own]
    return float(((outside - inside) / np.maximum(inside, outside)).mean())
