"""One frame of a recording or a video, to be looked at by itself."""

from __future__ import annotations

from pathlib import Path

from physadv.capture.settings import CaptureSettings
from physadv.capture.video_file import VideoFile
from physadv.detect.matching import FOUND_CONF
from physadv.errors import EndOfStream, RecordingError, SettingsError
from physadv.live.session import Session
from physadv.live.sidecar import detections_of, read_lines
from physadv.recording import Paths
from physadv.types import Frame


def frame_of(path: Path, at: float | None) -> Frame:
    """Return the frame that is shown at a second; without one that in which most people were found when it was recorded.

    path: a recording (any file of it, or its folder), or another video, of which the first frame is taken unless a second
    is given. The frame is as the camera gave it: of a recording that kept only drawn boxes there is none.

    Raises: RecordingError if there is no recording, or no untouched video of it. SettingsError if it ends before `at`.
    SourceError if a file is damaged.
    """
    if path.is_file() and not _is_recorded(path):
        return _of_video(path, at or 0.0)
    session = Session(path)
    if session.annotated:
        raise RecordingError(f"{path}: this recording kept no untouched video", hint="record with `record_clean`")
    index = session.index()
    if not len(index):
        raise RecordingError(f"{path}: there is no frame in this recording")
    if at is None:
        number = _busiest(session)
    elif at > index.seconds[-1] + 1:
        raise SettingsError(
            field="at", expected=f"a second up to {index.seconds[-1]:.1f}, where it ends", got=f"{at:g}"
        )
    else:
        number = index.at(at)
    found = next(index.frames(number), None)
    if found is None:
        raise RecordingError(f"{path}: frame {number} cannot be read")
    return found.frame


def _is_recorded(path: Path) -> bool:
    """Return whether a file is part of a recording, and no other video."""
    try:
        return Paths.of(path).jsonl.is_file()
    except RecordingError:
        return False


def _busiest(session: Session) -> int:
    """Return the number of the first frame with the most people."""
    counts = [len(detections_of(line).above(FOUND_CONF)) for line in read_lines(session.paths.jsonl)]
    return counts.index(max(counts))


def _of_video(path: Path, at: float) -> Frame:
    source = VideoFile(str(path), CaptureSettings(), start_s=at)
    try:
        return source.read()
    except EndOfStream as error:
        raise SettingsError(field="at", expected="a second before the end of the video", got=f"{at:g}") from error
    finally:
        source.close()
