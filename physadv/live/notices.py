"""Notices for the viewer: alerts of defences, defences switched off, sources lost; the newest hundred of them."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from physadv.types import Alert

Level = Literal["info", "alert", "error"]
KEEP = 100
# The same words again within this time are one notice that lasts, not many.
SAME_S = 3.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to read. id rises with each notice; `count` and `last_s` (epoch seconds) rise while it repeats."""

    id: int
    level: Level
    kind: str
    text: str
    first_s: float
    last_s: float
    count: int = 1


def _wording(text: str) -> str:
    """Return a text without its numbers: a share or a score that changes with each frame makes no new notice."""
    return re.sub(r"\d+(\.\d+)?", "#", text)


class Notices:
    """The newest notices, oldest first. Safe to use from several threads."""

    def __init__(self, shown: Callable[[str], str] = str) -> None:
        """shown: applied to each text first, to mask the passwords of addresses."""
        self._shown = shown
        self._lock = threading.Lock()
        self._all: deque[Notice] = deque(maxlen=KEEP)
        self._next = 1

    def add(self, level: Level, kind: str, text: str) -> None:
        """Add a notice; the same words again, with any numbers in them, extend the notice that is there."""
        now, text = time.time(), self._shown(text)
        with self._lock:
            for place, old in enumerate(self._all):
                if old.kind == kind and now - old.last_s < SAME_S and _wording(old.text) == _wording(text):
                    self._all[place] = replace(old, text=text, last_s=now, count=old.count + 1)
                    return
            self._all.append(Notice(self._next, level, kind, text, now, now))
            self._next += 1

    def clear(self) -> None:
        """Forget all of them; the numbers go on."""
        with self._lock:
            self._all.clear()

    def alerts(self, alerts: tuple[Alert, ...]) -> None:
        """Add what defences report of one frame; regions that they removed are drawn and need no notice."""
        for alert in alerts:
            if alert.kind != "removed":
                self.add("info" if alert.kind == "notice" else "alert", alert.kind, alert.text)

    def newest(self, count: int = 30) -> list[Notice]:
        """Return the newest notices, oldest first."""
        with self._lock:
            return list(self._all)[-count:]
