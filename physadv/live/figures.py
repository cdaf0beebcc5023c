"""The demo's figures: rates and latencies of the last seconds for the screen, of the whole run for `--stats`."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any

import numpy as np

from physadv.live.shown import Shown

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
        """Forget all values."""
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
    """Percentiles of all values ever added, within one per cent, in 15 KB however many there are."""

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
        """Return how many values were added."""
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
        """Add one value at `now_s`, seconds of a monotonic clock."""
        self._values.append((now_s, value))

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()

    def percentile(self, q: float, now_s: float) -> float | None:
        """Return the q-th percentile at `now_s`; None if the window holds no value."""
        values = [value for at, value in list(self._values) if now_s - at <= self._window]
        return float(np.percentile(values, q)) if values else None


class LiveFigures:
    """Counts of a run. The loop adds; any thread reads.

    frames: shown so far. persons: drawn in them, in all. unworn: people who showed no chest to wear the pattern on, in all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate = Rate()
        self._latency_now = Recent()
        self._latency = Spread()
        self._stages_now: dict[str, Recent] = {}
        self._stages: dict[str, Spread] = {}
        self._first_s: float | None = None
        self._last_s = 0.0
        self._fresh = 0
        self.frames = 0
        self.persons = 0
        self.unworn = 0

    def add(self, shown: Shown, shown_ns: int) -> None:
        """Count a frame that was shown at `shown_ns`, `time.monotonic_ns()`."""
        latency_ms = (shown_ns - shown.frame.captured_ns) / 1e6
        with self._lock:
            now = shown_ns / 1e9
            self._rate.tick(now)
            self._first_s = now if self._first_s is None else self._first_s
            self._last_s = now
            self._latency_now.add(latency_ms, now)
            self._latency.add(max(latency_ms, 0.0))
            for name, ms in shown.stage_ms.items():
                self._stages_now.setdefault(name, Recent()).add(ms, now)
                self._stages.setdefault(name, Spread()).add(ms)
            self.frames += 1
            self._fresh += 1
            self.persons += len(shown.people)
            self.unworn += shown.unworn

    def clear_recent(self) -> None:
        """Restart the recent figures: those of before a switch say nothing of what is shown now."""
        with self._lock:
            self._stages_now = {}
            self._latency_now.clear()
            self._rate.clear()
            self._fresh = 0

    def recent(self) -> dict[str, Any]:
        """Return rate, latency and stages of the last three seconds, or since a switch: milliseconds rounded to tenths.

        None stands for what was not measured yet.
        """
        with self._lock:
            now = time.monotonic()
            stages = {name: _tenths(r.percentile(50, now)) for name, r in self._stages_now.items()}
            return {
                # One frame has no rate yet.
                "fps": round(self._rate.value(now), 1) if self._fresh > 1 else None,
                "age_ms": {f"p{q}": _tenths(self._latency_now.percentile(q, now)) for q in (50, 95, 99)},
                "stage_ms": {name: ms for name, ms in stages.items() if ms is not None},
                "frames": self.frames,
                "persons_total": self.persons,
            }

    def whole(self) -> dict[str, Any]:
        """Return the whole run's figures: true rate from first to last frame, latencies, median ms of each stage."""
        with self._lock:
            span = self._last_s - (self._first_s or 0.0)
            return {
                "frames_processed": self.frames,
                "fps": round((self.frames - 1) / span, 3) if self.frames > 1 and span > 0 else 0.0,
                "age_ms": {f"p{q}": round(self._latency.percentile(q), 2) for q in (50, 95, 99)},
                "stage_ms": {name: round(s.percentile(50), 3) for name, s in self._stages.items()},
                "persons_total": self.persons,
                "unworn_total": self.unworn,
            }


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
