"""Where the loop gets its frames: the newest of a live source, every one in order of a file; addresses without secrets."""

from __future__ import annotations

import threading

from physadv.address import covered, masked
from physadv.capture import open_source
from physadv.capture.latest import Latest, SourceState
from physadv.capture.reading import Notify, silent
from physadv.capture.settings import CaptureSettings
from physadv.errors import EndOfStream, PhysadvError, SourceError
from physadv.types import Frame, Source


class Addresses:
    """Whole addresses of sources by what is shown of them, so that a source can be opened again by what a screen says.

    The passwords in them are kept here alone. Of two that look alike the one that was opened last counts. Safe to use from
    several threads.
    """

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._opened: dict[str, str] = {}

    def shown(self, spec: str) -> str:
        """Return what may be shown of a source's address; from now on `without_secrets` knows it."""
        shown = masked(spec)
        if shown != spec:
            self._shown[spec] = shown
        return shown

    def opened(self, spec: str) -> None:
        """Remember a source that could be opened, for `whole`. A mistyped one must not take the place of a good one."""
        self._opened[self.shown(spec)] = spec

    def whole(self, spec: str) -> str:
        """Return the whole address that was opened and is shown as `spec`, else `spec` itself."""
        return self._opened.get(spec, spec)

    def without_secrets(self, text: str) -> str:
        """Return a text in which every address that was ever shown here stands as it may be shown."""
        return covered(text, self._shown)


class InOrder:
    """Every frame of a finite source, in order, read one ahead on a thread so that decoding and detecting overlap."""

    dropped = 0

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self._condition = threading.Condition()
        self._next: Frame | None = None
        self._error: PhysadvError | None = None
        self._closed = False
        self._started = False
        self._thread = threading.Thread(target=self._run, name=f"read {source.name}", daemon=True)
        self._thread.start()

    def take(self, timeout: float | None = None) -> Frame | None:
        """Return the next frame, or None if it is not there within `timeout` seconds.

        Raises: EndOfStream after the last. SourceError if the file cannot be read on.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._next is not None or self._error is not None, timeout)
            if self._next is None:
                if self._error is not None:
                    raise self._error
                return None
            frame, self._next = self._next, None
            self._condition.notify_all()
            return frame

    def status(self) -> tuple[SourceState, str]:
        """Return where the file stands and one sentence about it."""
        with self._condition:
            if self._error is not None and self._next is None:
                return SourceState.ENDED, str(self._error)
            return (SourceState.LIVE if self._started else SourceState.CONNECTING), self.name

    def close(self) -> None:
        """End the thread and close the file. Safe to call twice."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self.source.close()

    def _run(self) -> None:
        while True:
            try:
                frame = self.source.read()
            except PhysadvError as error:
                self._end(error)
                return
            except Exception as error:  # noqa: BLE001 -- a silent death of this thread would hang the loop
                self._end(SourceError(f"{self.name}: {type(error).__name__}: {error}"))
                return
            with self._condition:
                self._condition.wait_for(lambda: self._next is None or self._closed)
                if self._closed:
                    self._error = EndOfStream(f"{self.name} was closed")
                    return
                self._next, self._started = frame, True
                self._condition.notify_all()

    def _end(self, error: PhysadvError) -> None:
        with self._condition:
            self._error = error
            self._condition.notify_all()


Feed = Latest | InOrder


def open_feed(spec: str, settings: CaptureSettings, notify: Notify = silent) -> Feed:
    """Return the opened source `spec`, behind a newest-wins slot if it is live.

    notify: gets a line on each image left out.

    Raises: SourceError if there is no such source or it cannot be read.
    """
    return feed_of(open_source(spec, settings, notify))


def feed_of(source: Source) -> Feed:
    """Return a source as the loop takes it: live behind a newest-wins slot, a finite one in order."""
    return Latest(source) if source.live else InOrder(source)
