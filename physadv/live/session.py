"""A recording read back: its files, its frames and what was found in each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physadv.capture.settings import CaptureSettings
from physadv.capture.video_file import VideoFile
from physadv.errors import EndOfStream, RecordingError
from physadv.files import parse_json
from physadv.live.shown import Beside
from physadv.live.sidecar import detections_of, line_index, read_lines
from physadv.live.wearers import Wearer
from physadv.recording import Paths
from physadv.types import Detections, Frame


class Recorded(NamedTuple):
    """One frame of a recording: its number from 0, what was found in it, and the sidecar's whole line.

    bare: the undefended answer, or None. wearers, bare_wearers: the states of those who wear a pattern by either answer,
    or None. beside: those of other detectors. All in the frame's own pixels, in an annotated video each in its own pane;
    the bare answer beside one pane alone, in such a video, is None.
    """

    number: int
    frame: Frame
    detections: Detections
    line: dict[str, Any]
    bare: Detections | None = None
    wearers: tuple[Wearer, ...] | None = None
    bare_wearers: tuple[Wearer, ...] | None = None
    beside: tuple[Beside, ...] = ()


class Session:
    """A recording on disk. Iterating yields every frame with what was found, in order.

    info: what `session.json` says; empty where a kill left none. annotated: whether the frames carry the boxes already,
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
        """Yield each frame; after a kill the recording ends with the last one that has both pixels and line.

        Raises: RecordingError or SourceError if a file is damaged.
        """
        return self._from(0, 0, 0.0)

    def index(self) -> Index:
        """Return where each frame is: it takes one pass over the sidecar.

        Raises: RecordingError if the sidecar cannot be read.
        """
        return Index(self, *line_index(self.paths.jsonl))

    def _from(self, start: int, offset: int, second: float) -> Iterator[Recorded]:
        """Yield the frames from number `start` on, whose line begins at byte `offset` and is of `second` in the video."""
        source = VideoFile(str(self.video), CaptureSettings(), start_s=second)
        try:
            lines = enumerate(read_lines(self.paths.jsonl, offset=offset, first=start + 1), start)
            number, line = next(lines, (0, None))
            while line is not None:
                try:
                    frame = source.read()
                except EndOfStream:
                    return
                # A damaged frame leaves a gap in the index; its line is passed over.
                while line is not None and number < start + frame.index:
                    number, line = next(lines, (0, None))
                if line is not None:
                    yield _recorded(number, frame, line, annotated=self.annotated)
                    number, line = next(lines, (0, None))
        finally:
            source.close()


class Index:
    """Where each frame of a session is. seconds: of each in the video, never falling."""

    def __init__(self, session: Session, offsets: list[int], seconds: list[float]) -> None:
        self._session = session
        self._offsets = offsets
        self.seconds = seconds

    def __len__(self) -> int:
        return len(self.seconds)

    def at(self, second: float) -> int:
        """Return the number of the frame that is shown at a second."""
        return max(bisect_right(self.seconds, second + 1e-6) - 1, 0)

    def frames(self, start: int) -> Iterator[Recorded]:
        """Yield the frames from number `start` on.

        Raises: RecordingError or SourceError if a file is damaged.
        """
        if not start:
            return iter(self._session)
        return self._session._from(start, self._offsets[start], self.seconds[start])


def _newest(folder: Path) -> Path:
    found = sorted(folder.glob("*.session.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise RecordingError(f"{folder}: there is no recording in this folder (no *.session.json)")
    return found[-1]


def _recorded(number: int, frame: Frame, line: dict[str, Any], *, annotated: bool) -> Recorded:
    """Return frame and answers in the same pixels: the recorder's padding cut off, its scaling followed.

    annotated: whether the frame may be several panes in a row, of which the right one is that of the detections.
    """
    width, height, panes = line.get("width", 0), line.get("height", 0), (annotated and line.get("panes")) or 1
    # Older recordings have one fit for both videos.
    fit = line.get("video_fit" if annotated or "panes" not in line else "clean_fit")
    scale, left, y = fit if fit is not None else (1.0, 0.0, 0.0)
    padded = (panes * width + panes * width % 2, height + height % 2)
    if fit is None and padded == frame.size != (panes * width, height):
        frame = frame.with_pixels(frame.pixels[:height, : panes * width])

    def pane(place: int) -> float:
        """Return where a pane begins, counted from the right one, which is 0; of an untouched video there is one."""
        return left + scale * width * (panes - 1 - place if annotated else 0)

    x, others = pane(0), line.get("beside") or []
    beside = tuple(
        Beside(
            str(other["detector"]),
            _moved(detections_of(other), scale, pane(place), y),
            0.0,
            _wearers(other.get("wearers"), scale, pane(place), y),
        )
        for place, other in zip(range(len(others), 0, -1), others, strict=True)
        if not annotated or place < panes
    )
    bare = line.get("bare") is not None and (not annotated or panes == 2 + len(others))
    return Recorded(
        number,
        frame,
        _moved(detections_of(line), scale, x, y),
        line,
        _moved(detections_of(line, "bare"), scale, left, y) if bare else None,
        _wearers(line.get("wearers"), scale, x, y),
        _wearers(line.get("bare_wearers"), scale, left, y) if bare else None,
        beside,
    )


def _wearers(recorded: list[dict[str, Any]] | None, scale: float, x: float, y: float) -> tuple[Wearer, ...] | None:
    if recorded is None:
        return None
    return tuple(
        Wearer(
            (scale * x1 + x, scale * y1 + y, scale * x2 + x, scale * y2 + y), w["state"], int(w["person"]), w["score"]
        )
        for w in recorded
        for x1, y1, x2, y2 in [w["xyxy"]]
    )


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
