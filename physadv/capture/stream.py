"""Video files and network streams through PyAV, at their true timestamps."""

from __future__ import annotations

import errno
import itertools
import re
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np

from physadv.address import masked
from physadv.capture.settings import CaptureSettings
from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.types import Frame, UInt8Array

URL = re.compile(r"^(rtsps?|https?|rtmps?|udp|tcp|srt|rtp)://", re.IGNORECASE)
# A name that ends like this over HTTP is a finished file, not a camera.
_FILE_URL = re.compile(r"^https?://[^?#]+\.(mp4|mov|m4v|mkv|webm|avi)([?#].*)?$", re.IGNORECASE)
# Muxers invent these formats' timestamps from a fixed rate: the time of arrival tells more.
_NO_CLOCK = frozenset({"mpjpeg", "mjpeg"})
# Containers whose header says how long they are, rather than FFmpeg guessing it from the size.
_TOLD_LENGTH = frozenset({"matroska", "webm", "mov", "mp4"})


def is_url(spec: str) -> bool:
    """Return whether `spec` names something on the network."""
    return URL.match(spec) is not None


def is_file_url(spec: str) -> bool:
    """Return whether `spec` names a finished video file on a web server, to be read whole and in order."""
    return _FILE_URL.match(spec) is not None


class VideoFile:
    """A video file: every picture in order, `loop` times (0 for ever), with index and presentation time going on.

    start_s: the first round begins with the first picture at that time or later, found by the container's index. Pictures
    that the decoder calls damaged are left out, which leaves a gap in the index, and counted in `damaged`.
    """

    live = False

    def __init__(self, where: str, settings: CaptureSettings | None = None, *, start_s: float = 0.0) -> None:
        self.settings = settings or CaptureSettings()
        self.name = masked(where)
        self._where = where
        self._start_s = start_s
        self._rounds = 0
        self._index = 0
        self._offset_s = 0.0
        self._interval_s = 0.04
        self._reading = threading.Lock()
        self._closed = False
        self.damaged = 0
        if not is_url(where):
            _check_file(Path(where))
        self._container: Any = self._open()
        self._pictures = self._round()

    def read(self) -> Frame:
        """Return the next picture.

        Raises: EndOfStream after the last. SourceError if the file ends early, after the pictures that are there.
        """
        with self._reading:
            frame = None if self._closed else next(self._pictures, None)
            while frame is None:
                if self._closed or (self.settings.loop and self._rounds >= self.settings.loop):
                    self._release()
                    raise EndOfStream(f"{self.name}: that was the last of {self._index} pictures")
                self._release()
                self._container = self._open()
                self._pictures = self._round()
                frame = next(self._pictures, None)
            return frame

    def close(self) -> None:
        """Give the file back, at the latest at the next `read`. Safe to call twice and from another thread."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            self._release()
            self._reading.release()

    def _release(self) -> None:
        if self._container is not None:
            self._pictures.close()
            self._container.close()
            self._container = None

    def _open(self) -> Any:
        try:
            return _open(self._where, self.name, self.settings, {})
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{self.name}: cannot be opened as a video: {_reason(error)}") from error

    @property
    def promised_s(self) -> float:
        """Return how long the file says that it lasts, in seconds, or 0 if it says nothing."""
        return _promised_s(self._container, self._container.streams.video[0])

    def _round(self) -> Generator[Frame, None, None]:
        """Yield the pictures of one round."""
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        start_s, first_s, last_s, given = self._offset_s, None, 0.0, 0
        pictures = self._decoded(stream)
        if self._start_s > 0 and not self._rounds:
            first_s, pictures = self._skipped(stream, pictures)
        for pixels, pts_s in pictures:
            index, self._index = self._index, self._index + 1
            if pixels is None:
                continue
            first_s = pts_s if first_s is None else first_s
            at = start_s + pts_s - first_s
            # Broken files step back in time; a presentation time must not.
            if given and at <= last_s:
                at = last_s + 1e-3
            elif given:
                self._interval_s = at - last_s
            last_s, given = at, given + 1
            yield Frame(pixels, index, time.monotonic_ns(), at)
        if not given:
            raise SourceError(f"{self.name}: not one picture could be decoded; the file is damaged or empty")
        self._rounds += 1
        self._offset_s = last_s + self._interval_s
        length_s = self._offset_s - start_s
        promised_s = _promised_s(self._container, stream)
        if promised_s - length_s > max(0.5, 0.05 * promised_s, 3 * self._interval_s):
            raise SourceError(
                f"{self.name}: cut off: {length_s:.1f} of {promised_s:.1f} s are there ({given} pictures, all given)"
            )

    def _skipped(
        self, stream: Any, pictures: Iterator[tuple[UInt8Array | None, float]]
    ) -> tuple[float, Iterator[tuple[UInt8Array | None, float]]]:
        """Return the time of the stream's first picture, and the pictures from `start_s` after it on."""
        first_s = float((stream.start_time or 0) * stream.time_base)
        # Times are rounded to the stream's clock.
        wanted_s = first_s + self._start_s - 0.5e-3
        try:
            # To the last picture before it that can be decoded by itself.
            self._container.seek(int(wanted_s / stream.time_base), stream=stream)
        except av.error.FFmpegError as error:
            raise SourceError(f"{self.name}: cannot be searched: {_reason(error)}") from error
        return first_s, itertools.dropwhile(lambda picture: picture[1] < wanted_s, pictures)

    def _decoded(self, stream: Any) -> Iterator[tuple[UInt8Array | None, float]]:
        """Yield pixels, or None for a damaged picture, and seconds."""
        at = 0.0
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                raise SourceError(f"{self.name}: damaged: {_reason(error)}") from error
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
                yield None, at
                continue
            for frame in frames:
                at = at + self._interval_s if frame.time is None else frame.time
                if frame.is_corrupt or packet.is_corrupt:
                    self.damaged += 1
                    yield None, at
                else:
                    yield upright(frame), at


class NetworkStream:
    """A camera on the network (RTSP, HTTP): opened at the first `read` and again after a loss, with limits on both.

    pts_s runs in the stream's own clock, joined over reconnects by the time of arrival; formats without a clock (MJPEG)
    get the time of arrival.
    """

    live = True

    def __init__(self, url: str, settings: CaptureSettings | None = None) -> None:
        self.settings = settings or CaptureSettings()
        self.name = masked(url)
        self._url = url
        self._index = 0
        self._container: Any = None
        self._pictures: Iterator[tuple[UInt8Array, int, float | None]] = iter(())
        self._clock = StreamClock()
        self._reading = threading.Lock()
        self._closed = False

    def read(self) -> Frame:
        """Return the next picture.

        Raises: CameraLost when the stream cannot be opened, ends, or gives nothing within the limit. EndOfStream after
        `close`.
        """
        with self._reading:
            if self._closed:
                self._release()
                raise EndOfStream(f"{self.name} was closed")
            opening = self._container is None
            try:
                if opening:
                    self._connect()
                    opening = False
                pixels, arrived, stream_s = next(self._pictures)
            except StopIteration:
                self._release()
                raise CameraLost(f"{self.name}: the server ended the stream") from None
            except (av.error.FFmpegError, OSError) as error:
                self._release()
                raise CameraLost(f"{self.name}: {self._why(error, opening=opening)}") from error
            index, self._index = self._index, self._index + 1
            return Frame(pixels, index, arrived, self._clock.seconds(arrived, stream_s))

    def close(self) -> None:
        """Give the socket back, at the latest at the next `read`. Safe to call twice and from another thread."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            self._release()
            self._reading.release()

    def _why(self, error: Exception, *, opening: bool) -> str:
        """Return why the stream was lost; a limit that was passed is told with the flag that sets it."""
        if not _timed_out(error):
            return _reason(error)
        if opening:
            return f"no answer for {self.settings.open_timeout:g} s (--open-timeout)"
        return f"no picture for {self.settings.read_timeout:g} s (--read-timeout)"

    def _connect(self) -> None:
        options = {
            "fflags": "nobuffer",
            "flags": "low_delay",
            "rtsp_transport": "tcp",
            "analyzeduration": "500000",
            # Guessing the rate would read a second of pictures before giving the first.
            "fpsprobesize": "0",
        }
        self._container = _open(self._url, self.name, self.settings, options)
        self._clock.reconnected()
        self._pictures = self._decoded()

    def _decoded(self) -> Iterator[tuple[UInt8Array, int, float | None]]:
        """Yield pixels, monotonic time of arrival and seconds of the stream's own clock."""
        stream = self._container.streams.video[0]
        # Decoding several frames at once would hold each back by as many.
        stream.thread_type = "SLICE"
        clocked = not _NO_CLOCK & set(self._container.format.name.split(","))
        for packet in self._container.demux(stream):
            # An empty packet asks the decoder for what it holds back: light from before the end, of no use any more.
            if not packet.size:
                return
            arrived = time.monotonic_ns()
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self._index += 1
                continue
            for frame in frames:
                if frame.is_corrupt or packet.is_corrupt:
                    self._index += 1
                else:
                    yield upright(frame), arrived, frame.time if clocked else None

    def _release(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
            self._pictures = iter(())


class StreamClock:
    """Seconds since a stream's first picture, by its own clock where that goes on, else by arrival."""

    def __init__(self) -> None:
        self._first_ns: int | None = None
        self._anchor: tuple[float, float] | None = None
        self._last_s = -1.0

    def reconnected(self) -> None:
        """Join the next timestamp to the time of its arrival."""
        self._anchor = None

    def seconds(self, arrived_ns: int, stream_s: float | None) -> float:
        """Return the presentation time of a picture; always later than the one before."""
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


def upright(frame: av.VideoFrame) -> UInt8Array:
    """Return a decoded picture as (h, w, 3) uint8 RGB, turned as its rotation tag says (phones write one)."""
    pixels = cast(UInt8Array, frame.to_ndarray(format="rgb24"))
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _open(where: str, name: str, settings: CaptureSettings, options: dict[str, str]) -> Any:
    """Return an open container with a video stream.

    Raises: SourceError if it has no pictures; PyAV's errors if it cannot be opened in time.
    """
    timeout = (settings.open_timeout, settings.read_timeout) if is_url(where) else None
    container = av.open(where, timeout=timeout, options=options)
    if not container.streams.video:
        container.close()
        raise SourceError(f"{name}: has no pictures in it (sound only)")
    return container


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes); expected a video")


def _promised_s(container: Any, stream: Any) -> float:
    """Return how long the header says that the pictures go on, in seconds, or 0 if it says nothing."""
    kinds = set(container.format.name.split(","))
    if "avi" in kinds:
        # FFmpeg shortens an AVI file's duration to what the file's size allows; the count is left as it was written.
        return float(stream.frames * stream.time_base)
    if not _TOLD_LENGTH & kinds:
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    told = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if told:
        return int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])
    return container.duration / av.time_base if container.duration and len(container.streams) == 1 else 0.0


def _timed_out(error: Exception) -> bool:
    return isinstance(error, av.error.ExitError | av.error.TimeoutError)


def _reason(error: Exception) -> str:
    """Return PyAV's error without its number and file name."""
    if _timed_out(error):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return "the connection broke off"
    return str(getattr(error, "strerror", None) or error)
