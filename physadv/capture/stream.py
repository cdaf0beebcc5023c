"""Cameras on the network (RTSP, HTTP) through PyAV: opened with a limit, found again after a loss."""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import av
import av.error

from physadv.address import check_address, doubt, masked, split_user
from physadv.capture.film import aspect_of, film_of, open_container, reason, shown, timed_out
from physadv.capture.reading import Damaged, HeldSource, Notify, silent
from physadv.capture.settings import CaptureSettings
from physadv.capture.web import WebCamera, unreachable_index
from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.types import Frame, UInt8Array

# Muxers invent these formats' timestamps from a fixed rate: the time of arrival is closer to the truth.
_NO_CLOCK = frozenset({"mpjpeg", "mjpeg"})
# How an RTSP camera may send, in the order in which that is tried: by TCP nothing is lost.
_RTSP_WAYS = {"tcp": "TCP", "udp": "UDP", "udp_multicast": "UDP multicast"}
_RTSP_PORT = 554
# What another way of sending does not mend.
_NO_OTHER_WAY = (
    ConnectionRefusedError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
    av.error.HTTPNotFoundError,
)


class NetworkStream(HeldSource):
    """A camera on the network (RTSP, HTTP): opened at the first `read` and again after a loss, with limits on both.

    pts_s runs in the stream's own clock, joined over reconnects by the time of arrival; formats without a clock (MJPEG,
    snapshots) get the time of arrival. Damaged images are left out, which leaves a gap in the index, and counted in
    `damaged`. How an RTSP camera sends, by TCP or UDP, is found out.
    """

    live = True

    def __init__(self, url: str, settings: CaptureSettings | None = None, notify: Notify = silent) -> None:
        super().__init__()
        self.settings = settings or CaptureSettings()
        self.name = masked(url)
        check_address(url)
        self._notify = notify
        self._url = url
        self._index = 0
        self.damaged = Damaged(self.name, notify)
        self._web = WebCamera(url, self.settings) if re.match("https?:", url, re.IGNORECASE) else None
        self._ways = Ways(url)
        self._held: Any = None
        self._images: Iterator[tuple[UInt8Array | None, int, float | None]] | None = None
        self._given = 0
        self._clock = StreamClock()

    def read(self) -> Frame:
        """Return the next image.

        Raises: CameraLost when the stream cannot be opened, ends, or gives nothing within the limit. SourceError if it
        refuses the name and password of its address. EndOfStream after `close`.
        """
        with self._reading:
            while not self._closed.is_set():
                opening = self._images is None
                try:
                    if self._images is None:
                        self._images = self._connect()
                        opening = False
                    pixels, arrived, stream_s = next(self._images)
                except Exception as error:
                    self._release()
                    if self._closed.is_set():
                        break
                    raise self._lost(error, opening=opening) from error
                index, self._index = self._index, self._index + 1
                if pixels is not None:
                    self._given += 1
                    self._ways.proven()
                    return Frame(pixels, index, arrived, self._clock.seconds(arrived, stream_s))
                self.damaged.add()
            self._release()
            raise EndOfStream(f"{self.name} was closed")

    def _lost(self, error: Exception, *, opening: bool) -> SourceError:
        """Return the error for a lost stream: its address, the reason and what was tried."""
        why = "the server ended the stream" if isinstance(error, StopIteration) else self._why(error, opening=opening)
        if not self._given:
            if self._web is not None and isinstance(error, av.error.FFmpegError):
                why = unreachable_index(self._url, self.settings) or why
            if not opening:
                self._ways.failed()
            why += self._ways.tried() + doubt(self._url)
        # A camera that has given images may take the same name and password again later.
        fatal = isinstance(error, SourceError) and not isinstance(error, CameraLost) and not self._given
        return (SourceError if fatal else CameraLost)(f"{self.name}: {why.removeprefix(f'{self.name}: ')}")

    def _why(self, error: Exception, *, opening: bool) -> str:
        """Return why the stream was lost; a limit that was exceeded is named with its field."""
        if not timed_out(error):
            return reason(error)
        if opening:
            return f"no answer for {self.settings.open_timeout:g} s (`open_timeout`)"
        return f"no whole image for {self.settings.read_timeout:g} s (`read_timeout`)"

    def _connect(self) -> Iterator[tuple[UInt8Array | None, int, float | None]]:
        self._clock.reconnected()
        answer = self._web.ask() if self._web is not None else None
        if self._web is not None and answer is not None:
            self._held = answer
            return ((pixels, arrived, None) for pixels, arrived in self._web.images(answer, self._closed))
        options = {
            "fflags": "nobuffer",
            "flags": "low_delay",
            "analyzeduration": "500000",
            # Guessing the rate would read a second of images before giving the first.
            "fpsprobesize": "0",
        }
        self._held = self._ways.open(lambda way: open_container(self._url, self.settings, {**options, **way}))
        return self._decoded()

    def _decoded(self) -> Iterator[tuple[UInt8Array | None, int, float | None]]:
        """Yield pixels, None for a damaged image, monotonic time of arrival and seconds of the stream's own clock."""
        stream = film_of(self._held, self.name)
        # Decoding several frames at once would hold each back by as many.
        stream.thread_type = "SLICE"
        clocked = not _NO_CLOCK & set(self._held.format.name.split(","))
        aspect: Fraction | None = None
        for packet in self._held.demux(stream):
            # An empty packet asks the decoder for what it holds back: images from before the end, of no use any more.
            if not packet.size:
                return
            arrived = time.monotonic_ns()
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                yield None, arrived, None
                continue
            for frame in frames:
                if frame.is_corrupt or packet.is_corrupt:
                    yield None, arrived, None
                else:
                    # Some give it with the first key frame only.
                    aspect = aspect or aspect_of(stream, self.name, self._notify)
                    yield shown(frame, aspect), arrived, frame.time if clocked else None

    def _release(self) -> None:
        self._images = None
        if self._held is not None:
            self._held.close()
            self._held = None


class Ways:
    """How a stream is sent: RTSP cameras know TCP, UDP or both, and some say nothing when asked for the other.

    The way that has given images is kept. Of those that have not, the next one is tried at once where the last was
    refused, and at the next opening where its time ran out.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        rtsp = re.match("rtsp:", url, re.IGNORECASE) is not None
        self._names = deque(_RTSP_WAYS if rtsp else {"": ""})
        self._tried: list[str] = []
        self._proven = False

    def open(self, attempt: Callable[[dict[str, str]], Any]) -> Any:
        """Return what `attempt` opens with the options of a way.

        Raises: what it raises for the last way that it makes sense to try. CameraLost if the camera is not there.
        """
        for _ in self._names.copy():
            try:
                return attempt({"rtsp_transport": self._names[0]} if self._names[0] else {})
            except (av.error.FFmpegError, OSError) as error:
                lost = error
                if self._proven or len(self._names) == 1 or isinstance(error, _NO_OTHER_WAY):
                    break
                _check_reachable(self._url)
                self.failed()
                if timed_out(error):
                    break
        raise lost

    def failed(self) -> None:
        """Try the next way the next time, unless this one has given images."""
        if not self._proven:
            self._tried = list(dict.fromkeys([*self._tried, self._names[0]]))
            self._names.rotate(-1)

    def proven(self) -> None:
        """Stay with the way that is in use."""
        self._proven = True

    def tried(self) -> str:
        """Return which ways were tried in vain, as a text to follow a reason; "" where there was no choice."""
        names = [_RTSP_WAYS[way] for way in self._tried if way]
        return f" (tried {', '.join(names)})" if names else ""


def _check_reachable(url: str) -> None:
    """Raise CameraLost if the machine of an RTSP address does not answer; if it does, another transport may work.

    It gives the system's reason, of which FFmpeg says less.
    """
    parts = urlsplit(split_user(url)[0])
    try:
        socket.create_connection((parts.hostname or "", parts.port or _RTSP_PORT), timeout=1).close()
    except (OSError, ValueError) as error:
        raise CameraLost(reason(error)) from error


class StreamClock:
    """Seconds since a stream's first image, by its own clock where that goes on, else by arrival."""

    def __init__(self) -> None:
        self._first_ns: int | None = None
        self._anchor: tuple[float, float] | None = None
        self._last_s = -1.0

    def reconnected(self) -> None:
        """Join the next timestamp to the time of its arrival."""
        self._anchor = None

    def seconds(self, arrived_ns: int, stream_s: float | None) -> float:
        """Return the presentation time of an image; always later than the one before."""
        if self._first_ns is None:
            self._first_ns = arrived_ns
        out = arrival = (arrived_ns - self._first_ns) / 1e9
        if stream_s is not None:
            if self._anchor is None:
                self._anchor = (stream_s, arrival)
            out = self._anchor[1] + stream_s - self._anchor[0]
            # A clock that jumps is joined anew.
            if abs(out - arrival) > 5:
                self._anchor, out = (stream_s, arrival), arrival
        self._last_s = max(out, self._last_s + 1e-4, 0.0)
        return self._last_s
