"""95 % intervals of shares, where drawing again from what was seen would claim more than it can."""

from __future__ import annotations

import math

Z95 = 1.96


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share seen among `n` independent cases; (0, 1) where there are none.

    Also where all cases agree it has a width. Cases that stand or fall together, as people in one image or neighbouring
    frames of a video, count as one.

    Source: Wilson 1927; Brown, Cai & DasGupta 2001, Interval estimation for a binomial proportion.
    """
    if n <= 0:
        return 0.0, 1.0
    z2 = Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)
