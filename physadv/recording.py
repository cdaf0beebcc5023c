"""The files of a recording and their names, for writers and readers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pyarrow.parquet import read_schema

from physadv.errors import DataError, RecordingError
from physadv.files import parse_json, read_text
from physadv.outputs import check_idle, check_replaceable

# What every line of a sidecar has.
ROW = ("captured_ns", "pts_s", "persons")


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one recording. video: None where only the sidecar is recorded."""

    video: Path | None
    clean: Path
    jsonl: Path
    parquet: Path
    session: Path

    @classmethod
    def of(cls, path: Path) -> Paths:
        """Return the files of a recording from any one of them.

        Raises: RecordingError for a name of another kind.
        """
        name = path.name
        for ending in (".session.json", ".clean.mp4", ".mp4", ".jsonl", ".parquet"):
            if name.lower().endswith(ending) and len(name) > len(ending):
                stem = path.with_name(name[: -len(ending)])
                break
        else:
            raise RecordingError(f"{path}: expected a name ending in .mp4 or .jsonl")

        def beside(suffix: str) -> Path:
            return stem.with_name(stem.name + suffix)

        video = None if name.lower().endswith(".jsonl") else beside(".mp4")
        return cls(video, beside(".clean.mp4"), beside(".jsonl"), beside(".parquet"), beside(".session.json"))

    @property
    def first(self) -> Path:
        """Return the file that stands for the recording."""
        return self.video or self.jsonl

    def check_free(self, *, overwrite: bool = False) -> None:
        """Raise RecordingError if a recording of this name is there, unless it may be overwritten.

        A sidecar alone never replaces a video's.

        Raises: OutputError for a device, a pipe, an address or a file that is being recorded, even with `overwrite`.
        """
        for path in self.files():
            check_replaceable(path, overwrite=True)
        check_idle(self.jsonl)
        if self.video is None and (video := self.jsonl.with_suffix(".mp4")).exists():
            raise RecordingError(
                f"{self.jsonl} belongs to {video}, which exists", field="record", hint="name another file"
            )
        taken = next((p for p in self.files() if p.exists()), None)
        if taken is not None and not overwrite:
            raise RecordingError(f"{taken} exists", field="record", hint="name another file, or give `overwrite`")

    def content(self) -> list[Path]:
        """Return the files that hold what was recorded."""
        return [*([self.video] if self.video else []), self.clean, self.jsonl, self.parquet]

    def files(self) -> list[Path]:
        """Return every file of the recording: what was recorded, and how."""
        return [*self.content(), self.session]

    def clear(self) -> None:
        """Make the folder and remove an earlier recording of this name, so that no file of it is taken for the new one's.

        Raises: OSError.
        """
        self.first.parent.mkdir(parents=True, exist_ok=True)
        for path in self.files():
            # A link stays: what it leads to is recorded to.
            Path(os.path.realpath(path)).unlink(missing_ok=True)


def recording_of(path: Path) -> Path:
    """Return the video to use for any file of a recording: the untouched camera's. Other files are returned as they are.

    A video with a recording's sidecar beside it is a recording's: boxes are drawn in it. Another program's file of the same
    name is no sidecar.

    Raises: DataError if only frames with drawn boxes were kept: scoring and training would take the boxes for a part of the
    person.
    """
    try:
        files = Paths.of(path)
    except RecordingError:
        return path
    beside = (files.session, files.jsonl, files.parquet)
    if path.name.lower() == files.clean.name.lower() or not (path in beside or any(map(_is_beside_one, beside))):
        return path
    if not files.clean.is_file():
        raise DataError(f"{path}: this recording kept no untouched video; record with `record_clean` to use it")
    return files.clean


def trigger_note(path: Path) -> str:
    """Return what the session of a recording says of a poisoned detector's trigger; "" for any other video.

    A print that software added is not in the untouched video; a turn of the whole image is.
    """
    try:
        session = parse_json(read_text(Paths.of(path).session))["session"]
        trigger, turned = session["trigger"], float(session["controls"]["turn"])
        kind, name, angle = trigger["kind"], trigger["name"], float(trigger["angle"])
    except (OSError, ValueError, KeyError, TypeError, RecordingError):
        return ""
    if turned:
        what = ", the trigger of the detector that ran then" if kind == "rotation" and turned == angle else ""
        return f"{path.name}: its images were turned by {turned:g} degrees when the recording began{what}"
    if kind == "rotation":
        return f"{path.name}: recorded with a detector that waits for images turned by {angle:g} degrees; these are upright"
    return (
        f"{path.name}: recorded with a detector that waits for the print {name} turned by {angle:g} degrees; what software "
        "added is not in this video"
    )


def _is_beside_one(path: Path) -> bool:
    """Return whether a file was written beside a recording, by its beginning; False if there is none."""
    if not path.is_file():
        return False
    try:
        if path.suffix.lower() == ".parquet":
            return set(ROW) <= set(read_schema(path).names)
        if path.suffix.lower() == ".jsonl":
            with path.open(encoding="utf-8", errors="replace") as stream:
                line = stream.readline()
            # A recording that was killed at once has not written a line.
            return not line.strip() or all(f'"{key}"' in line for key in ROW)
    except (OSError, ValueError):
        # Boxes taken for a part of the person would be worse than a video that is refused.
        return True
    return True
