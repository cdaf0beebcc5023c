"""A recording read back: its files, its pictures and what was seen in each."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physadv.capture import open_source
from physadv.capture.settings import CaptureSettings
from physadv.errors import EndOfStream, RecordingError
from physadv.files import parse_json
from physadv.live.sidecar import detections_of, read_lines
from physadv.recording import Paths
from physadv.types import Detections, Frame, UInt8Array

# Between a picture's reading and its showing lie one slot and one loop: few pictures.
REMEMBERED = 64


class Recorded(NamedTuple):
    """One picture of a recording, what was seen in it, and the sidecar's whole line."""

    frame: Frame
    detections: Detections
    line: dict[str, Any]


class Session:
    """A recording on disk. Iterating yields every picture with what was seen, in order.

    info: what `session.json` says; empty where a kill left none. annotated: whether the pictures carry the boxes already,
    because no clean video was recorded.
    """

    def __init__(self, path: Path) -> None:
        """path: any file of the recording, or a folder, of which the newest recording is taken.

        Raises: RecordingError if there is none, or it lacks its video or sidecar.
        """
        if not path.suffix and not path.exists():
            raise RecordingError(
                f"{path}: no such file or folder; expected a recording's .mp4 or .jsonl, or the folder it is in"
            )
        self.paths = Paths.of(_newest(path) if path.is_dir() else path)
        stem = self.paths.jsonl.with_suffix("")
        found = [p for p in (self.paths.clean, stem.with_name(f"{stem.name}.mp4")) if p.is_file()]
        if not found:
            raise RecordingError(f"{path}: there is no video of a recording here ({stem.name}.mp4)")
        if not self.paths.jsonl.is_file():
            raise RecordingError(f"{path}: the recording lacks its sidecar {self.paths.jsonl.name}")
        self.video = found[0]
        self.annotated = self.video != self.paths.clean
        self.info = _read_info(self.paths.session)

    def __iter__(self) -> Iterator[Recorded]:
        """Yield each picture; after a kill the recording ends with the last one that has both picture and line.

        Raises: RecordingError or SourceError if a file is damaged.
        """
        source = open_source(str(self.video), CaptureSettings())
        try:
            lines = enumerate(read_lines(self.paths.jsonl))
            number, line = next(lines, (0, None))
            while line is not None:
                try:
                    frame = source.read()
                except EndOfStream:
                    return
                # A damaged picture leaves a gap in the index; its line is passed over.
                while line is not None and number < frame.index:
                    number, line = next(lines, (0, None))
                if line is not None:
                    yield _recorded(frame, line, annotated=self.annotated)
                    number, line = next(lines, (0, None))
        finally:
            source.close()

    def source(self, *, loop: int = 1) -> ReplaySource:
        """Return the recording as a live source, paced as it was recorded, that remembers what was seen.

        loop: how often it plays; 0 for ever.
        """
        return ReplaySource(self, loop=loop)


class ReplaySource:
    """A recording played at its own speed: a `Source`, and for the pictures it has just given, their `Detector`.

    backend, precision, min_conf: a detector's description, here that nothing is detected anew.
    """

    live = True
    backend = "recorded"
    precision = ""
    min_conf = 0.0

    def __init__(self, session: Session, *, loop: int = 1) -> None:
        self.session = session
        self.name = f"recording {session.video.name}"
        self._loop = loop
        self._rounds = 0
        self._items = iter(session)
        self._index = 0
        self._offset_s = 0.0
        self._last_s = 0.0
        self._start_s: float | None = None
        self._recent: deque[tuple[Frame, Recorded]] = deque(maxlen=REMEMBERED)
        self._closed = threading.Event()

    def read(self) -> Frame:
        """Return the next picture when it is due.

        Raises: EndOfStream after the last round or `close`. RecordingError or SourceError if a file is damaged.
        """
        item = self._next()
        at = self._offset_s + item.frame.pts_s
        now = time.monotonic()
        if self._start_s is None:
            self._start_s = now - at
        if self._closed.wait(max(self._start_s + at - now, 0)):
            raise EndOfStream(f"{self.name} was closed")
        index, self._index, self._last_s = self._index, self._index + 1, at
        frame = replace(item.frame, index=index, captured_ns=time.monotonic_ns(), pts_s=at)
        self._recent.append((frame, item))
        return frame

    def close(self) -> None:
        """End at once. Safe to call twice and from another thread."""
        self._closed.set()

    def recorded(self, frame: Frame) -> Recorded:
        """Return what the recording holds for a picture that `read` gave lately.

        Raises: RecordingError for any other picture.
        """
        for given, item in reversed(self._recent):
            if (given.index, given.captured_ns) == (frame.index, frame.captured_ns):
                return item
        raise RecordingError(f"{self.name}: picture {frame.index} is not one that was just played")

    def detect(self, frame: Frame) -> Detections:
        """Return what was seen in a picture that `read` gave lately, boxes in its pixels."""
        return self.recorded(frame).detections

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Raise: a recording knows what was seen in its own pictures only.

        Raises: RecordingError.
        """
        raise RecordingError(f"{self.name}: a recording cannot look at {len(images)} other pictures")

    def _next(self) -> Recorded:
        item = next(self._items, None)
        if item is None:
            self._rounds += 1
            if not self._index or (self._loop and self._rounds >= self._loop):
                raise EndOfStream(f"{self.name}: that was the end of the recording")
            self._offset_s = self._last_s + 1 / 30
            self._items = iter(self.session)
            item = next(self._items, None)
            if item is None:
                raise EndOfStream(f"{self.name}: that was the end of the recording")
        return item


def _newest(folder: Path) -> Path:
    found = sorted(folder.glob("*.session.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise RecordingError(f"{folder}: there is no recording in this folder (no *.session.json)")
    return found[-1]


def _recorded(frame: Frame, line: dict[str, Any], *, annotated: bool) -> Recorded:
    """Return picture and detections in the same pixels: the recorder's padding cut off, its scaling followed.

    annotated: whether the picture may be two panes side by side, of which the right one is that of the detections.
    """
    found = detections_of(line)
    width, height, panes = line.get("width", 0), line.get("height", 0), (annotated and line.get("panes")) or 1
    found = _moved(found, 1.0, (panes - 1) * width, 0.0)
    # Recordings of before knew one fit for both videos.
    fit = line.get("video_fit" if annotated or "panes" not in line else "clean_fit")
    if fit is not None:
        return Recorded(frame, _moved(found, *fit), line)
    width *= panes
    if (width + width % 2, height + height % 2) == frame.size != (width, height):
        frame = frame.with_pixels(frame.pixels[:height, :width])
    return Recorded(frame, found, line)


def _moved(found: Detections, scale: float, x: float, y: float) -> Detections:
    xyxy = found.xyxy * scale + np.array([x, y, x, y], np.float32)
    points = found.keypoints
    if points is not None:
        points = points * np.array([scale, scale, 1], np.float32) + np.array([x, y, 0], np.float32)
    return replace(found, xyxy=xyxy, keypoints=points)


def _read_info(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        info = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: cannot be read: {error}") from error
    if not isinstance(info, dict):
        raise RecordingError(f"{path}: expected a table, got {type(info).__name__}")
    return info
