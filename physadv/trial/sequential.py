"""The difference of two arms over blocks, and when it may be looked at without spending more than 5 % on chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from physadv.evaluate.metrics import FEW, newcombe

ALPHA = 0.05
# Fewer blocks of a cell than this are not looked at: nothing could be known from chance.
FIRST_LOOK = 3
# So many that the ends of an interval of 99.9 % still have resamples beyond them.
RESAMPLES = 10_000


def spent(share: float, alpha: float = ALPHA) -> float:
    """Return how much of `alpha` is spent when a share of the planned blocks is there, O'Brien and Fleming's way.

    Almost nothing at the beginning, so that the last look has nearly the whole of it.

    Source: Lan & DeMets 1983, Discrete sequential boundaries for clinical trials, alpha_1*.
    """
    if share <= 0:
        return 0.0
    normal = NormalDist()
    return 2 * (1 - normal.cdf(normal.inv_cdf(1 - alpha / 2) / min(share, 1.0) ** 0.5))


def level(blocks: int, planned: int) -> float:
    """Return the error that a look after so many of the planned blocks may make.

    It is what is spent since the look before. The sum over all looks is `ALPHA`, so by Bonferroni's inequality all
    intervals of a cell hold together with 95 %, however the looks depend on each other; exact boundaries would be a little
    narrower. The first look is after `FIRST_LOOK` blocks, or the last one where fewer are planned.
    """
    first = min(FIRST_LOOK, planned)
    before = blocks - 1 if blocks > first else 0
    return spent(blocks / planned) - spent(before / planned)


@dataclass(frozen=True, slots=True)
class ArmDifference:
    """How much more often the person is hidden in one arm than in another. interval: at the level 1 - alpha.

    blocks: how many pairs of windows it is of. method: "bootstrap", or "newcombe" where blocks are few or all alike.
    """

    value: float
    interval: tuple[float, float]
    alpha: float
    blocks: int
    method: str

    @property
    def real(self) -> bool:
        """Return whether the interval excludes 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


def difference(cells: Sequence[npt.NDArray[np.float64]], *, alpha: float, seed: int) -> ArmDifference:
    """Return the mean difference of pairs of windows with its interval.

    cells: of each cell (blocks, 2) shares hidden, in the first and the second arm of each block. Every cell counts alike.

    The interval is the hull of two. One is the percentile bootstrap, whole blocks drawn again within their cells; of fewer
    than `FEW` blocks, or blocks that are all alike, Newcombe's with a block as one case. The other is Student's of the
    pairs. Each alone fails: of four blocks that coins decide Newcombe's excludes 0 in 7 % at a level of 2.6 %, percentiles
    of ten are too narrow, and of equal pairs Student's has no width.

    Raises: ValueError if there is no block.
    """
    cells = [pairs for pairs in cells if len(pairs)]
    if not cells:
        raise ValueError("no block")
    blocks = sum(map(len, cells))
    first, second = (float(np.mean([pairs[:, i].mean() for pairs in cells])) for i in (0, 1))
    drawn = resampled([pairs[:, 0] - pairs[:, 1] for pairs in cells], seed)[1:]
    low, high = (float(v) for v in np.percentile(drawn, [100 * alpha / 2, 100 * (1 - alpha / 2)]))
    by_blocks = blocks >= FEW and low < high
    if not by_blocks:
        low, high = newcombe(first, second, blocks, z=NormalDist().inv_cdf(1 - alpha / 2))
    least, most = _student(cells, first - second, alpha)
    interval = (round(max(min(low, least), -1.0), 4), round(min(max(high, most), 1.0), 4))
    return ArmDifference(first - second, interval, alpha, blocks, "bootstrap" if by_blocks else "newcombe")


def resampled(cells: Sequence[npt.NDArray[np.float64]], seed: int) -> npt.NDArray[np.float64]:
    """Return the mean of a figure over cells, every cell alike, then that of each resample of whole blocks.

    cells: of each cell its blocks' figures. Blocks are drawn again within their cells.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros(RESAMPLES + 1)
    for values in cells:
        n = len(values)
        weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)]) / n
        out += weights @ values / len(cells)
    return out


def _student(cells: Sequence[npt.NDArray[np.float64]], value: float, alpha: float) -> tuple[float, float]:
    """Return Student's interval of the mean of differences within pairs, with one variance for all cells."""
    within = [pairs[:, 0] - pairs[:, 1] for pairs in cells]
    free = sum(map(len, within)) - len(within)
    if free <= 0:
        return -1.0, 1.0
    variance = sum(float(((d - d.mean()) ** 2).sum()) for d in within) / free
    error = (variance * sum(1 / len(d) for d in within)) ** 0.5 / len(within)
    reach = float(stdtrit(free, 1 - alpha / 2)) * error
    return value - reach, value + reach
