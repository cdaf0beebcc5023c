"""Read a source: to its end, until its camera is lost, or at its own speed."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace

from physadv.errors import CameraLost, EndOfStream
from physadv.types import Frame, Source

Notify = Callable[[str], None]


def silent(_: str) -> None:
    """Drop the line."""


class Damaged:
    """Counts the damaged images that a live source leaves out, and says so at the first, the tenth, the hundredth..."""

    def __init__(self, name: str, notify: Notify) -> None:
        self._name, self._notify = name, notify
        self.count = 0

    def add(self, more: int = 1) -> None:
        """Count `more` images. Not each is reported: a bad radio link damages some every second."""
        before, self.count = self.count, self.count + more
        if more and (not before or len(str(self.count)) > len(str(before))):
            self._notify(f"{self._name}: left out {self.count} damaged image{'s' * (self.count > 1)} so far")


class HeldSource(ABC):
    """The base of sources that hold a device, file or socket, which must not be given back while one of its images is read.

    `read` takes `_reading` while it uses what is held, and calls `_release` once `_closed` is set.
    """

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._closed = threading.Event()

    def close(self) -> None:
        """Give back what is held, at the latest at the next `read`. Safe to call twice and from another thread."""
        self._closed.set()
        if self._reading.acquire(blocking=False):
            self._release()
            self._reading.release()

    @abstractmethod
    def _release(self) -> None:
        """Give back what is held, if anything is."""


def until_lost(source: Source, notify: Notify) -> Iterator[Frame]:
    """Yield the images of a source to its end. If the camera is lost after an image, say so and end there.

    Raises: CameraLost if it is lost before its first image. SourceError as the source does.
    """
    count = 0
    while True:
        try:
            frame = source.read()
        except EndOfStream:
            return
        except CameraLost as error:
            if not count:
                raise
            notify(f"{error}; going on with what came before ({count} images)")
            return
        count += 1
        yield frame


class Paced:
    """A finite source as a live one: each image is given when its presentation time has come, not before.

    Its time of capture is that moment. If decoding cannot keep up, images come late and none is left out here; `Latest`
    drops what nobody takes in time.
    """

    live = True

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self._start_s: float | None = None
        self._closed = threading.Event()

    def read(self) -> Frame:
        """Return the next image when it is due.

        Raises: EndOfStream after the last image or `close`; SourceError as the source within does.
        """
        frame = self.source.read()
        now = time.monotonic()
        if self._start_s is None:
            self._start_s = now - frame.pts_s
        if self._closed.wait(max(self._start_s + frame.pts_s - now, 0)):
            raise EndOfStream(f"{self.name} was closed")
        return replace(frame, captured_ns=time.monotonic_ns())

    def close(self) -> None:
        """Give the file back. Safe to call twice and from another thread."""
        self._closed.set()
        self.source.close()
