"""The demo's figures: what the screen shows of the last seconds, and what `--stats` keeps of the whole run."""

from __future__ import annotations

import threading
import time
from typing import Any

from physadv.live.meter import Rate, Recent, Spread
from physadv.live.vision import Shown


class Tally:
    """Counts of a run. The loop adds; anyone reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate = Rate()
        self._age_now = Recent()
        self._age = Spread()
        self._stages_now: dict[str, Recent] = {}
        self._stages: dict[str, Spread] = {}
        self._first_s: float | None = None
        self._last_s = 0.0
        self._fresh = 0
        self.frames = 0
        self.persons = 0

    def add(self, shown: Shown, shown_ns: int) -> None:
        """Count an image that was shown at `shown_ns`, `time.monotonic_ns()`."""
        age_ms = (shown_ns - shown.frame.captured_ns) / 1e6
        with self._lock:
            now = shown_ns / 1e9
            self._rate.tick(now)
            self._first_s = now if self._first_s is None else self._first_s
            self._last_s = now
            self._age_now.add(age_ms, now)
            self._age.add(max(age_ms, 0.0))
            for name, ms in shown.stage_ms.items():
                self._stages_now.setdefault(name, Recent()).add(ms, now)
                self._stages.setdefault(name, Spread()).add(ms)
            self.frames += 1
            self._fresh += 1
            self.persons += len(shown.people)

    def clear_recent(self) -> None:
        """Start the recent figures anew: those of before a switch are not those of what is shown now."""
        with self._lock:
            self._stages_now = {}
            self._age_now.clear()
            self._rate.clear()
            self._fresh = 0

    def now(self) -> dict[str, Any]:
        """Return fps, age and stages of the last three seconds, or since a switch: milliseconds rounded to tenths.

        None stands for what was not measured yet.
        """
        with self._lock:
            now = time.monotonic()
            stages = {name: _tenths(r.percentile(50, now)) for name, r in self._stages_now.items()}
            return {
                # One image has no rate yet.
                "fps": round(self._rate.value(now), 1) if self._fresh > 1 else None,
                "age_ms": {f"p{q}": _tenths(self._age_now.percentile(q, now)) for q in (50, 95, 99)},
                "stage_ms": {name: ms for name, ms in stages.items() if ms is not None},
                "frames": self.frames,
                "persons_total": self.persons,
            }

    def whole(self) -> dict[str, Any]:
        """Return the figures of the whole run: true rate from first to last image, ages, median ms of each stage."""
        with self._lock:
            span = self._last_s - (self._first_s or 0.0)
            return {
                "frames_processed": self.frames,
                "fps": round((self.frames - 1) / span, 3) if self.frames > 1 and span > 0 else 0.0,
                "age_ms": {f"p{q}": round(self._age.percentile(q), 2) for q in (50, 95, 99)},
                "stage_ms": {name: round(s.percentile(50), 3) for name, s in self._stages.items()},
                "persons_total": self.persons,
            }


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
