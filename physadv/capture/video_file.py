"""Video files through PyAV, at their true timestamps."""

from __future__ import annotations

import itertools
import re
import stat
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
import av.error

from physadv.address import check_address, is_url, masked
from physadv.capture.film import as_source_error, aspect_of, film_of, is_jpeg, open_container, reason, shown
from physadv.capture.reading import HeldSource, Notify, silent
from physadv.capture.settings import CaptureSettings
from physadv.capture.web import unreachable_index
from physadv.errors import EndOfStream, SourceError
from physadv.types import Frame, UInt8Array

# Parts at the top of an MP4 file that are looked through for its index; a film in pieces has thousands.
_MOST_BOXES = 64
# Containers whose header says how long they are, rather than FFmpeg guessing it from the size.
_STATED_LENGTH = frozenset({"matroska", "webm", "mov", "mp4"})


class VideoFile(HeldSource):
    """A video file: every image in order, `loop` times (0 for ever), with index and presentation time going on.

    start_s: the first round begins with the first image at that time or later, found by the container's index. Images
    that the decoder calls damaged are left out, which leaves a gap in the index, and counted in `damaged`; `notify` is
    called with their number at the end of a round.
    """

    live = False

    def __init__(
        self, where: str, settings: CaptureSettings | None = None, notify: Notify = silent, *, start_s: float = 0.0
    ) -> None:
        super().__init__()
        self.settings = settings or CaptureSettings()
        self.name = masked(where) if is_url(where) else where
        self._notify = notify
        self._where = where
        self._start_s = start_s
        self._rounds = 0
        self._index = 0
        self._offset_s = 0.0
        self._interval_s = 0.04
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
            frame = None if self._closed.is_set() else self._next()
            while frame is None:
                if self._closed.is_set() or (self.settings.loop and self._rounds >= self.settings.loop):
                    self._release()
                    raise EndOfStream(f"{self.name}: that was the last of {self._index} images")
                self._release()
                self._images = self._begin()
                frame = self._next()
            return frame

    def _next(self) -> Frame | None:
        with as_source_error(self.name, "damaged"):
            return next(self._images, None)

    def _release(self) -> None:
        if self._container is not None:
            self._images.close()
            self._container.close()
            self._container = None

    def _begin(self) -> Generator[Frame, None, None]:
        """Return the images of a round of the file, which is opened."""
        with as_source_error(self.name, "cannot be opened as a video", self._cause):
            self._container = self._open()
            self._film = film_of(self._container, self.name, None if is_url(self._where) else self._open)
        return self._round()

    def _open(self) -> Any:
        return open_container(self._where, self.settings, {})

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
            raise SourceError(f"{self.name}: cannot be searched: {reason(error)}") from error
        return first_s, itertools.dropwhile(lambda image: image[1] < wanted_s, images)

    def _decoded(self, stream: Any) -> Iterator[tuple[UInt8Array | None, float]]:
        """Yield pixels, or None for a damaged image, and seconds."""
        at = 0.0
        aspect = aspect_of(stream, self.name, self._notify)
        packets = self._container.demux(stream)
        # Threads give an image several packets later: the damaged packet is not the one that is going in.
        damaged: set[int] = set()
        while True:
            with as_source_error(self.name, "damaged", self._cause):
                packet = next(packets, None)
            if packet is None:
                for _ in damaged:
                    yield self._damaged(at)
                return
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.is_corrupt and stamp is not None:
                damaged.add(stamp)
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged.discard(stamp)
                yield self._damaged(at)
                continue
            if packet.size and not frames and is_jpeg(stream):
                damaged.discard(stamp)
                yield self._damaged(at)
            for frame in frames:
                at = at + self._interval_s if frame.time is None else frame.time
                shown_at = frame.pts if frame.pts is not None else frame.dts
                late = {stamp for stamp in damaged if shown_at is not None and stamp <= shown_at}
                damaged -= late
                for _ in late - {shown_at}:
                    yield self._damaged(at)
                if frame.is_corrupt or shown_at in late or (packet.is_corrupt and stamp is None):
                    yield self._damaged(at)
                else:
                    yield shown(frame, aspect), at

    def _damaged(self, at: float) -> tuple[None, float]:
        """Count an image that is left out, at that second, and return it."""
        self.damaged += 1
        return None, at


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


def _check_file(path: Path) -> None:
    with as_source_error(str(path), "cannot be read"):
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
    if not _STATED_LENGTH & kinds:
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    stated = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if stated:
        return int(stated[1]) * 3600 + int(stated[2]) * 60 + float(stated[3])
    return container.duration / av.time_base if container.duration and len(container.streams) == 1 else 0.0
