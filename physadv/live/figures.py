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
        self.frames = 0
        self.persons = 0

    def add(self, shown: Shown, shown_ns: int) -> None:
        """Count a picture that was shown at `shown_ns`, `time.monotonic_ns()`."""
        age_ms = (shown_ns - shown.frame.captured_ns) / 1e6
        with self._lock:
            now = shown_ns / 1e9
            self._rate.tick(now)
            self._first_s = now if self._first_s is None else self._first_s
            self._last_s = now
            self._age_now.add(age_ms)
            self._age.add(max(age_ms, 0.0))
            for name, ms in shown.stage_ms.items():
                self._stages_now.setdefault(name, Recent(60)).add(ms)
                self._stages.setdefault(name, Spread()).add(ms)
            self.frames += 1
            self.persons += len(shown.people)

    def clear_recent(self) -> None:
        """Start the stages' recent figures anew: what is switched off now should not be shown."""
        with self._lock:
            self._stages_now = {}

    def now(self) -> dict[str, Any]:
        """Return fps, age and stages of the last few seconds, milliseconds rounded to tenths."""
        with self._lock:
            return {
                "fps": round(self._rate.value(time.monotonic()), 1),
                "age_ms": {f"p{q}": round(self._age_now.percentile(q), 1) for q in (50, 95, 99)},
                "stage_ms": {name: round(r.percentile(50), 1) for name, r in self._stages_now.items()},
                "frames": self.frames,
                "persons_total": self.persons,
            }

    def whole(self) -> dict[str, Any]:
        """Return the figures of the whole run: true rate from first to last picture, ages, median ms of each stage."""
        with self._lock:
            span = self._last_s - (self._first_s or 0.0)
            return {
                "frames_processed": self.frames,
                "fps": round((self.frames - 1) / span, 3) if self.frames > 1 and span > 0 else 0.0,
                "age_ms": {f"p{q}": round(self._age.percentile(q), 2) for q in (50, 95, 99)},
                "stage_ms": {name: round(s.percentile(50), 3) for name, s in self._stages.items()},
                "persons_total": self.persons,
            }
