"""Video files and network streams through PyAV, at their true timestamps."""

from __future__ import annotations

import errno
import http.client
import itertools
import re
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import av.error

from physadv.address import SCHEMES, check_address, doubt, masked, split_user
from physadv.capture.film import film_of, is_jpeg, pixel_aspect, shown
from physadv.capture.reading import Damaged, Notify, silent
from physadv.capture.settings import CaptureSettings
from physadv.capture.web import WebCamera
from physadv.errors import CameraLost, EndOfStream, PhysadvError, SourceError
from physadv.types import Frame, UInt8Array

URL = re.compile(rf"({'|'.join(SCHEMES)})://", re.IGNORECASE)
# A name that ends like this over HTTP is a finished file, not a camera.
_FILE_URL = re.compile(r"^https?://[^?#]+\.(mp4|mov|m4v|mkv|webm|avi)([?#].*)?$", re.IGNORECASE)
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
# Parts at the top of an MP4 file that are looked through for its index; a film in pieces has thousands.
_MOST_BOXES = 64
# Containers whose header says how long they are, rather than FFmpeg guessing it from the size.
_TOLD_LENGTH = frozenset({"matroska", "webm", "mov", "mp4"})


def is_url(spec: str) -> bool:
    """Return whether `spec` names something on the network."""
    return URL.match(spec) is not None


def is_file_url(spec: str) -> bool:
    """Return whether `spec` names a finished video file on a web server, to be read whole and in order."""
    return _FILE_URL.match(spec) is not None


class VideoFile:
    """A video file: every image in order, `loop` times (0 for ever), with index and presentation time going on.

    start_s: the first round begins with the first image at that time or later, found by the container's index. Images
    that the decoder calls damaged are left out, which leaves a gap in the index, and counted in `damaged`; `say` gets
    their number at the end of a round.
    """

    live = False

    def __init__(
        self, where: str, settings: CaptureSettings | None = None, notify: Notify = silent, *, start_s: float = 0.0
    ) -> None:
        self.settings = settings or CaptureSettings()
        self.name = masked(where) if is_url(where) else where
        self._notify = notify
        self._where = where
        self._start_s = start_s
        self._rounds = 0
        self._index = 0
        self._offset_s = 0.0
        self._interval_s = 0.04
        self._reading = threading.Lock()
        self._closed = False
        self.damaged = 0
        if is_url(where):
            check_address(where)
        else:
            _check_file(Path(where))
        self._container: Any = None
        self._film: Any = None
        self._images = self._begin()

    def read(self) -> Frame:
        """Return the next image.

        Raises: EndOfStream after the last. SourceError if the file ends early, after the images that are there.
        """
        with self._reading:
            frame = None if self._closed else self._next()
            while frame is None:
                if self._closed or (self.settings.loop and self._rounds >= self.settings.loop):
                    self._release()
                    raise EndOfStream(f"{self.name}: that was the last of {self._index} images")
                self._release()
                self._images = self._begin()
                frame = self._next()
            return frame

    def _next(self) -> Frame | None:
        with _named(self.name, "damaged"):
            return next(self._images, None)

    def close(self) -> None:
        """Give the file back, at the latest at the next `read`. Safe to call twice and from another thread."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            self._release()
            self._reading.release()

    def _release(self) -> None:
        if self._container is not None:
            self._images.close()
            self._container.close()
            self._container = None

    def _begin(self) -> Generator[Frame, None, None]:
        """Return the images of a round of the file, which is opened."""
        with _named(self.name, "cannot be opened as a video", self._cause):
            self._container = self._open()
            self._film = film_of(self._container, self.name, None if is_url(self._where) else self._open)
        return self._round()

    def _open(self) -> Any:
        return _open(self._where, self.settings, {})

    def _cause(self) -> str:
        """Return why a file on a web server cannot be played where FFmpeg names a symptom alone, else ""."""
        if is_url(self._where):
            return unreachable_index(self._where, self.settings)
        return _missing_index(Path(self._where))

    @property
    def promised_s(self) -> float:
        """Return how long the file says that it lasts, in seconds, or 0 if it says nothing."""
        return _promised_s(self._container, self._film)

    def _round(self) -> Generator[Frame, None, None]:
        """Yield the images of one round."""
        stream, damaged_before = self._film, self.damaged
        # Decoding threads report a damaged image late: the gap would be at another place. Of JPEG each image can be judged.
        stream.thread_type = "SLICE" if is_jpeg(stream) else "AUTO"
        start_s, first_s, last_s, given = self._offset_s, None, 0.0, 0
        images = self._decoded(stream)
        if self._start_s > 0 and not self._rounds:
            first_s, images = self._skipped(stream, images)
        for pixels, pts_s in images:
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
            raise SourceError(f"{self.name}: not one image could be decoded; the file is damaged or empty")
        self._rounds += 1
        if left_out := self.damaged - damaged_before:
            self._notify(f"{self.name}: left out {left_out} of {given + left_out} images, which are damaged")
        self._offset_s = last_s + self._interval_s
        length_s = self._offset_s - start_s
        promised_s = self.promised_s
        if promised_s - length_s > max(0.5, 0.05 * promised_s, 3 * self._interval_s):
            raise SourceError(
                f"{self.name}: cut off: {length_s:.1f} of {promised_s:.1f} s are there ({given} images, all given)"
            )

    def _skipped(
        self, stream: Any, images: Iterator[tuple[UInt8Array | None, float]]
    ) -> tuple[float, Iterator[tuple[UInt8Array | None, float]]]:
        """Return the time of the stream's first image, and the images from `start_s` after it on."""
        first_s = float((stream.start_time or 0) * stream.time_base)
        # Times are rounded to the stream's clock.
        wanted_s = first_s + self._start_s - 0.5e-3
        try:
            # To the last image before it that can be decoded by itself.
            self._container.seek(int(wanted_s / stream.time_base), stream=stream)
        except av.error.FFmpegError as error:
            raise SourceError(f"{self.name}: cannot be searched: {_reason(error)}") from error
        return first_s, itertools.dropwhile(lambda image: image[1] < wanted_s, images)

    def _decoded(self, stream: Any) -> Iterator[tuple[UInt8Array | None, float]]:
        """Yield pixels, or None for a damaged image, and seconds."""
        at = 0.0
        aspect = _aspect_of(stream, self.name, self._notify)
        packets = self._container.demux(stream)
        while True:
            with _named(self.name, "damaged", self._cause):
                packet = next(packets, None)
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
                yield None, at
                continue
            if packet.size and not frames and is_jpeg(stream):
                self.damaged += 1
                yield None, at
            for frame in frames:
                at = at + self._interval_s if frame.time is None else frame.time
                if frame.is_corrupt or packet.is_corrupt:
                    self.damaged += 1
                    yield None, at
                else:
                    yield shown(frame, aspect), at


class NetworkStream:
    """A camera on the network (RTSP, HTTP): opened at the first `read` and again after a loss, with limits on both.

    pts_s runs in the stream's own clock, joined over reconnects by the time of arrival; formats without a clock (MJPEG,
    snapshots) get the time of arrival. Damaged images are left out, which leaves a gap in the index, and counted in
    `damaged`. How an RTSP camera sends, by TCP or UDP, is found out.
    """

    live = True

    def __init__(self, url: str, settings: CaptureSettings | None = None, notify: Notify = silent) -> None:
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
        self._reading = threading.Lock()
        self._closed = threading.Event()

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

    def close(self) -> None:
        """Give the socket back, at the latest at the next `read`. Safe to call twice and from another thread."""
        self._closed.set()
        if self._reading.acquire(blocking=False):
            self._release()
            self._reading.release()

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
        if not _timed_out(error):
            return _reason(error)
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
        self._held = self._ways.open(lambda way: _open(self._url, self.settings, {**options, **way}))
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
                    aspect = aspect or _aspect_of(stream, self.name, self._notify)
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
                if _timed_out(error):
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
        raise CameraLost(_reason(error)) from error


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


def unreachable_index(url: str, settings: CaptureSettings) -> str:
    """Return why a film on a web server cannot be played if that is its index, which the server does not let be read."""
    try:
        behind = WebCamera(url, settings).index_out_of_reach()
    except (OSError, SourceError, http.client.HTTPException, ValueError):
        return ""
    if not behind:
        return ""
    return (
        "its index lies at its end, and this server cannot seek (it gives no ranges): download the file and play it "
        "from disk, or write it anew with the index first (ffmpeg -i IN.mp4 -c copy -movflags +faststart OUT.mp4)"
    )


def _missing_index(path: Path) -> str:
    """Return why an MP4 file cannot be played if its index is not there or not whole, else ""."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as stream:
        for _ in range(_MOST_BOXES):
            stream.seek(at)
            head = stream.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if (at == 0 and kind != b"ftyp") or (kind == b"moov" and at + length <= size):
                return ""
            at += int.from_bytes(head[8:], "big") if length == 1 else length or size
            if kind == b"moov" or at >= size:
                return (
                    "cut off: the index that MP4 files end with is missing, as after a download, copy or recording that "
                    "was broken off; fetch or record it again"
                )
            if length not in (0, 1) and length < 8:
                return ""
    return ""


@contextmanager
def _named(name: str, what: str, cause: Callable[[], str] = str) -> Iterator[None]:
    """Turn every error of PyAV, of which there are many kinds, into one of ours; ours pass unchanged.

    Raises: SourceError with the name and what `cause` returns, or what cannot be done and the error's own reason.
    """
    try:
        yield
    except PhysadvError:
        raise
    except Exception as error:
        raise SourceError(f"{name}: {cause() or f'{what}: {_reason(error)}'}") from error


def _aspect_of(stream: Any, name: str, notify: Notify) -> Fraction:
    try:
        return pixel_aspect(stream)
    except ValueError as error:
        notify(f"{name}: {error} are taken as square ones: the file's header is damaged")
        return Fraction(1)


def _open(where: str, settings: CaptureSettings, options: dict[str, str]) -> Any:
    """Return an open container.

    Raises: PyAV's errors if it cannot be opened in time.
    """
    timeout = (settings.open_timeout, settings.read_timeout) if is_url(where) else None
    # Tags in other alphabets' encodings are no reason to refuse a film.
    return av.open(where, timeout=timeout, options=options, metadata_errors="replace")


def _check_file(path: Path) -> None:
    with _named(str(path), "cannot be read"):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"{path}: expected a video file or a camera, got {kind_of(found.st_mode)}")
    if found.st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes); expected a video")


def kind_of(mode: int) -> str:
    """Return what a file is that is no plain one, as a text for a message."""
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISBLK: "a disk", stat.S_ISDIR: "a folder"}
    return next((text for check, text in kinds.items() if check(mode)), "a device that is no camera")


def _promised_s(container: Any, stream: Any) -> float:
    """Return how long the header says that the images go on, in seconds, or 0 if it says nothing."""
    kinds = set(container.format.name.split(","))
    if "avi" in kinds:
        # FFmpeg shortens an AVI file's duration to what the file's size allows; the count is left as it was written.
        return float(stream.frames * stream.time_base)
    if not _TOLD_LENGTH & kinds:
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    stated = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if stated:
        return int(stated[1]) * 3600 + int(stated[2]) * 60 + float(stated[3])
    return container.duration / av.time_base if container.duration and len(container.streams) == 1 else 0.0


def _timed_out(error: Exception) -> bool:
    return isinstance(error, av.error.ExitError | TimeoutError)


def _reason(error: Exception) -> str:
    """Return an error of PyAV or the system without its number and file name."""
    if _timed_out(error):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return "the connection broke off"
    if isinstance(error, av.error.EOFError):
        return "it ends before its first image"
    if isinstance(error, OSError | ValueError | PhysadvError | av.error.FFmpegError):
        return str(getattr(error, "strerror", None) or error)
    return f"{type(error).__name__}: {error}"
