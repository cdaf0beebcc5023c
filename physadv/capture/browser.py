"""The visitor's own camera: JPEG images that a web page pushes in."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from physadv.arrays import decode_image, image_size
from physadv.capture.settings import CaptureSettings
from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.types import Frame, UInt8Array

MAX_JPEG_BYTES = 4_000_000
# A 4K image; a browser is asked for far less.
MAX_IMAGE = 3840 * 2160


class BrowserSource:
    """Images pushed by a web page; the newest wins. `read` waits for the first one; silence after it is a loss.

    rejected: how many images could not be decoded. decode: what decodes them, as `decode_image` does. The visitor's
    clock is not this machine's: latency is counted from the quickest delivery of the last minute or so, so it contains only
    the delay beyond that one.
    """

    live = True
    name = "browser camera"

    def __init__(self, settings: CaptureSettings | None = None) -> None:
        self._timeout = (settings or CaptureSettings()).read_timeout
        self._condition = threading.Condition()
        self._waiting: tuple[bytes, int, int] | None = None
        self._offsets: deque[float] = deque(maxlen=1800)
        self._pushed = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._connected = False
        self._closed = False
        self.rejected = 0
        self.decode: Callable[..., UInt8Array] = decode_image

    def push(self, jpeg: bytes, captured_ms: float | None = None) -> None:
        """Take one JPEG image; returns at once; the reader decodes it.

        captured_ms: when the image was taken, on the visitor's own clock (any origin, milliseconds), or None.

        Raises: SourceError if it is no JPEG, or larger than 4 MB or 3840 x 2160.
        """
        arrived = time.monotonic_ns()
        if len(jpeg) > MAX_JPEG_BYTES:
            raise SourceError(
                f"{self.name}: expected a JPEG image of at most {MAX_JPEG_BYTES:,} bytes, got {len(jpeg):,}"
            )
        size = image_size(jpeg) if jpeg[:2] == b"\xff\xd8" else None
        if size is None:
            raise SourceError(f"{self.name}: expected a JPEG image, got {len(jpeg)} bytes of something else")
        if size[0] * size[1] > MAX_IMAGE:
            raise SourceError(
                f"{self.name}: expected an image of at most 3840 x 2160 pixels, got {size[0]} x {size[1]}"
            )
        with self._condition:
            self._waiting = (bytes(jpeg), self._pushed, self._captured_ns(arrived, captured_ms))
            self._pushed += 1
            self._condition.notify_all()

    def read(self) -> Frame:
        """Return the newest pushed image that was not read yet.

        Raises: CameraLost when a page that was sending goes silent. EndOfStream after `close`.
        """
        while True:
            jpeg, index, captured_ns = self._next()
            try:
                pixels = self.decode(jpeg, name=self.name, max_pixels=MAX_IMAGE, error=SourceError)
            except SourceError:
                self.rejected += 1
                continue
            if self._first_ns is None:
                self._first_ns = captured_ns
            return Frame(pixels, index, captured_ns, (captured_ns - self._first_ns) / 1e9)

    def close(self) -> None:
        """Wake the reader and end. Safe to call twice and from another thread."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _next(self) -> tuple[bytes, int, int]:
        with self._condition:
            timeout = self._timeout if self._connected else None
            if not self._condition.wait_for(lambda: self._closed or self._waiting is not None, timeout):
                self._connected = False
                raise CameraLost(f"{self.name}: no image for {self._timeout:g} s")
            if self._closed or self._waiting is None:
                raise EndOfStream(f"{self.name} was closed")
            out, self._waiting = self._waiting, None
            self._connected = True
            return out

    def _captured_ns(self, arrived: int, captured_ms: float | None) -> int:
        """Return the monotonic time of capture: the visitor's timestamp moved by the smallest delay of the last minute."""
        out = arrived
        if captured_ms is not None and abs(captured_ms) < 1e15:
            self._offsets.append(arrived / 1e6 - captured_ms)
            out = min(arrived, int((captured_ms + min(self._offsets)) * 1e6))
        self._last_ns = max(out, self._last_ns + 1)
        return self._last_ns
