"""Play a file at its own speed, as a camera would deliver it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from physadv.errors import EndOfStream
from physadv.types import Frame, Source


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
