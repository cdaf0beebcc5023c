"""Slow work done aside while the loop runs: opening a source, loading a detector."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from physadv.errors import PhysadvError
from physadv.live.notices import Notices

Progress = Callable[[str], None]


class Errands:
    """Work on threads of its own, whose results wait until the loop takes them; the newest request of a kind wins.

    busy: what is being done at this moment, by kind, in words for the screen. A failure is a notice.
    """

    def __init__(self, notices: Notices, discard: Callable[[str, Any], None]) -> None:
        """discard: called with the kind and value of a result that nobody will take."""
        self.busy: dict[str, str] = {}
        self._notices, self._discard = notices, discard
        self._lock = threading.Lock()
        self._done: dict[str, Any] = {}
        self._newest: dict[str, object] = {}

    def run(self, kind: str, what: str, work: Callable[[Progress], Any]) -> None:
        """Begin some work; its result takes the place of one of its kind that nobody has taken yet."""
        token = object()
        with self._lock:
            self.busy[kind] = what
            self._newest[kind] = token
        threading.Thread(target=self._run, args=(kind, token, work), name=f"switch {kind}", daemon=True).start()

    def post(self, kind: str, value: Any) -> None:
        """Put down a result that is there already."""
        with self._lock:
            unread = self._done.pop(kind, None)
            self._done[kind] = value
        if unread is not None:
            self._discard(kind, unread)

    def take(self) -> dict[str, Any]:
        """Return what has been done since the last time, by kind."""
        with self._lock:
            done, self._done = self._done, {}
        return done

    def waiting(self, kind: str) -> Any:
        """Return a result that nobody has taken yet, or None."""
        with self._lock:
            return self._done.get(kind)

    def _run(self, kind: str, token: object, work: Callable[[Progress], Any]) -> None:
        try:
            value = work(lambda text: self.busy.__setitem__(kind, text))
            with self._lock:
                current = self._newest.get(kind) is token
            (self.post if current else self._discard)(kind, value)
        except PhysadvError as error:
            self._notices.add("error", kind, error.marked)
        except Exception as error:  # noqa: BLE001 -- a thread's error would be lost otherwise
            self._notices.add("error", kind, f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                if self._newest.get(kind) is token:
                    self.busy.pop(kind, None)
