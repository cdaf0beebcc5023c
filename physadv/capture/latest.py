"""Keep the newest image of a live source, and know whether the source is alive."""

from __future__ import annotations

import threading
import time
from enum import StrEnum

import numpy as np

from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.slot import Slot
from physadv.types import Frame, Source, UInt8Array

# A server that is back is live again within three seconds: the longest pause leaves half of them for opening.
BACKOFF_S = (0.5, 1.0, 1.5)
# So often a source is opened for its first image; one that has given images is waited for as long as it takes.
FIRST_TRIES = 5
# A slow camera is stale after this many of its own frame intervals, if that is longer.
_INTERVALS = 4


class SourceState(StrEnum):
    """Where a live source stands. STALE: open, but no new image has come for a while. BACKOFF: lost, pausing."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    BACKOFF = "backoff"
    ENDED = "ended"


class Latest:
    """A thread that reads a live source and keeps only its newest image; a lost source is opened again and again.

    Alive means new images: a source is STALE after `stale_after` seconds without one, or after `frozen_after` seconds
    of one image repeated to the last bit; further repeats are not handed on. After `CameraLost` it pauses (0.5, 1, then
    1.5 s) and reads again, which opens the source anew. Any other `SourceError` and `EndOfStream` end it; `take` raises
    them.
    """

    def __init__(
        self,
        source: Source,
        *,
        stale_after: float = 1.0,
        frozen_after: float = 2.0,
        backoff: tuple[float, ...] = BACKOFF_S,
    ) -> None:
        self.source = source
        self.name = source.name
        self._stale_after = stale_after
        self._frozen_after = frozen_after
        self._backoff = backoff
        self._interval_s = 0.0
        self._last_read = 0.0
        self._slot: Slot[Frame] = Slot()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._state = SourceState.CONNECTING
        self._detail = f"opening {source.name}"
        self._last_new_ns = 0
        self._frames = 0
        self._losses = 0
        self._failures = 0
        self._repeats = 0
        self._thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Return how many images were replaced by a newer one before anyone took them."""
        return self._slot.dropped

    @property
    def frames(self) -> int:
        """Return how many new images have come in."""
        return self._frames

    @property
    def losses(self) -> int:
        """Return how often the source was lost."""
        return self._losses

    @property
    def failures(self) -> int:
        """Return how often in a row the source could not be read or opened, up to now."""
        return self._failures

    @property
    def age_s(self) -> float:
        """Return the seconds since the last new image was captured; infinite before the first."""
        return (time.monotonic_ns() - self._last_new_ns) / 1e9 if self._frames else float("inf")

    @property
    def state(self) -> SourceState:
        """Return where the source stands at this moment."""
        return self.status()[0]

    @property
    def detail(self) -> str:
        """Return one sentence for the screen about the state."""
        return self.status()[1]

    def status(self) -> tuple[SourceState, str]:
        """Return state and detail of the same moment."""
        with self._lock:
            if self._state is not SourceState.LIVE:
                return self._state, self._detail
            silent_s = time.monotonic() - self._last_read
            if silent_s >= max(self._stale_after, _INTERVALS * self._interval_s):
                return SourceState.STALE, f"{self.name} has given no image for {silent_s:.0f} s"
            if self._repeats and self.age_s >= self._frozen_after:
                return SourceState.STALE, f"{self.name} repeats one image for {self.age_s:.0f} s"
            return SourceState.LIVE, self._detail

    def take(self, timeout: float | None = None) -> Frame | None:
        """Return the newest image that was not taken yet, or None if none came within `timeout` seconds.

        Raises: EndOfStream after the last image of a finite source or after `close`; SourceError if the source failed
        in a way that waiting does not mend.
        """
        return self._slot.take(timeout)

    def check_answers(self) -> None:
        """Raise SourceError if a live source was opened `FIRST_TRIES` times and never delivered a frame."""
        if not self.frames and self.failures >= FIRST_TRIES:
            reason = self.detail.rpartition("; ")[0]
            raise SourceError(
                reason,
                field="source",
                hint=f"no image in {self.failures} tries; check the address and the camera",
            )

    def close(self) -> None:
        """End the thread and give the source back. Safe to call twice."""
        self._stop.set()
        self.source.close()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self._end(EndOfStream(f"{self.name} was closed"))

    def _run(self) -> None:
        before: UInt8Array | None = None
        while not self._stop.is_set():
            try:
                frame = self.source.read()
            except CameraLost as error:
                if not self._pause(str(error)):
                    return
                before = None
            except (EndOfStream, SourceError) as error:
                self._end(error)
                return
            except Exception as error:  # noqa: BLE001 -- a silent death of this thread would freeze the screen
                self._end(SourceError(f"{self.name}: {type(error).__name__}: {error}"))
                return
            else:
                self._failures = 0
                before = self._arrived(frame, before)

    def _arrived(self, frame: Frame, before: UInt8Array | None) -> UInt8Array:
        """Hand a new image on and return its pixels; a repeat is handed on only while the source counts as live."""
        same = before is not None and same_image(frame.pixels, before)
        now = time.monotonic()
        with self._lock:
            step = now - self._last_read if before is not None else 0.0
            self._interval_s += 0.2 * (min(step, 5.0) - self._interval_s) if before is not None else 0.0
            self._last_read = now
            self._repeats = self._repeats + 1 if same else 0
            if not same:
                self._frames += 1
                self._last_new_ns = frame.captured_ns
                self._state, self._detail = SourceState.LIVE, f"{self.name} is live"
            fresh = not same or self.age_s < self._frozen_after
        if fresh:
            self._slot.put(frame)
        return frame.pixels

    def _pause(self, reason: str) -> bool:
        """Return False if closed while pausing."""
        delay = self._backoff[min(self._failures, len(self._backoff) - 1)]
        with self._lock:
            self._losses += not self._failures
            self._failures += 1
            self._repeats = 0
            self._state, self._detail = SourceState.BACKOFF, f"{reason}; trying again in {delay:g} s"
        if self._stop.wait(delay):
            return False
        with self._lock:
            self._state, self._detail = SourceState.CONNECTING, f"{reason}; opening it again"
        return True

    def _end(self, error: EndOfStream | SourceError) -> None:
        with self._lock:
            if self._state is SourceState.ENDED:
                return
            self._state, self._detail = SourceState.ENDED, error.text
        self._slot.fail(error)


def same_image(a: UInt8Array, b: UInt8Array) -> bool:
    """Return whether two images are equal to the last bit; a sparse look first spares most of the work."""
    if a.shape != b.shape or not np.array_equal(a[::16, ::16], b[::16, ::16]):
        return False
    return bool(np.array_equal(a, b))
