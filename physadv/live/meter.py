"""Meters that tell the truth: a rate from the times of events, percentiles in constant memory."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

# Bins of one per cent from a hundredth of a millisecond to a thousand seconds.
_LOW, _STEP, _BINS = 0.01, math.log(1.01), 1860


class Rate:
    """Events a second over a sliding window: intervals between events, divided by the time they span.

    Counting events per elapsed second would read 31 at a true 30; n events span n - 1 intervals.
    """

    def __init__(self, window_s: float = 3.0) -> None:
        self._window = window_s
        self._times: deque[float] = deque(maxlen=10_000)

    def tick(self, now_s: float) -> None:
        """Count an event at `now_s`, seconds of a monotonic clock."""
        self._times.append(now_s)
        while now_s - self._times[0] > self._window:
            self._times.popleft()

    def clear(self) -> None:
        """Start anew."""
        self._times.clear()

    def value(self, now_s: float) -> float:
        """Return events a second at `now_s`; after events stop it falls, and is 0 once none is in the window."""
        times = [t for t in self._times if now_s - t <= self._window]
        if len(times) < 2:
            return 0.0
        span, gaps = times[-1] - times[0], len(times) - 1
        if span <= 0:
            return 0.0
        # An interval still open that is already far longer than the others counts with what it has lasted.
        silent = now_s - times[-1]
        return gaps / (span + silent) if silent > 3 * span / gaps else gaps / span


class Spread:
    """Percentiles of all values ever given, within one per cent, in 15 KB however many there are."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value, in milliseconds."""
        place = int(math.log(value / _LOW) / _STEP) if value > _LOW else 0
        self._counts[min(place, _BINS - 1)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        """Return how many values were given."""
        return int(self._counts.sum())

    @property
    def mean(self) -> float:
        """Return the mean of all values; 0 without any."""
        return self._sum / self.count if self.count else 0.0

    def percentile(self, q: float) -> float:
        """Return the value below which `q` per cent of the values lie; 0 without any."""
        total = self.count
        if not total:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self._counts), max(q / 100 * total, 1)))
        return float(_LOW * math.exp((place + 0.5) * _STEP))


class Recent:
    """Percentiles of the values of the last `window_s` seconds: however slow the loop is, old ones do not linger."""

    def __init__(self, window_s: float = 3.0) -> None:
        self._window = window_s
        self._values: deque[tuple[float, float]] = deque(maxlen=2000)

    def add(self, value: float, now_s: float) -> None:
        """Take one value at `now_s`, seconds of a monotonic clock."""
        self._values.append((now_s, value))

    def clear(self) -> None:
        """Start anew."""
        self._values.clear()

    def percentile(self, q: float, now_s: float) -> float | None:
        """Return the q-th percentile at `now_s`; None if there was no value lately."""
        values = [value for at, value in list(self._values) if now_s - at <= self._window]
        return float(np.percentile(values, q)) if values else None
