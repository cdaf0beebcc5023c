"""Which videos are evaluated: a table with a row for each, as CSV or Parquet."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from physadv.errors import DataError, did_you_mean
from physadv.evaluate.pairs import ARMS, NONE, PATTERN, Pairs
from physadv.files import read_text, text_bytes

COLUMNS = ("path", "arm", "clip")


@dataclass(frozen=True, slots=True)
class Listed:
    """A video of a manifest, by its absolute path.

    arm: of the recordings compared, one of `pairs.ARMS`; "" where videos stand for themselves. clip: what tells which
    recordings of several arms belong together.
    """

    path: str
    arm: str = ""
    clip: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The videos of an evaluation. notes: what to say of the table that they come from."""

    videos: tuple[Listed, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Return the videos that a table names: a column `path`, relative to the table, and perhaps `arm` and `clip`.

        Raises: DataError if it cannot be read, names no video or one twice, or has arms that do not go together.
        """
        rows, columns = _rows(path)
        twice = next((name for name, count in Counter(columns).items() if count > 1), None)
        if twice is not None:
            raise DataError(f"{path}: the column {twice} is there twice", field="manifest", hint="leave one out")
        if "path" not in columns:
            raise DataError(f"{path}", field="manifest", expected="a column path", got=", ".join(columns) or "none")
        others = [name for name in columns if name not in COLUMNS]
        for name in others:
            if near := did_you_mean(name, COLUMNS):
                raise DataError(f"{path}: unknown column {name}{near}", field="manifest")
        videos = tuple(_listed(path, number, row) for number, row in enumerate(rows, 1))
        out = cls(videos, (f"columns passed over: {', '.join(others)}",) if others else ())
        out._check(path)
        return out

    @property
    def arms(self) -> list[str]:
        """Return the arms that are compared, in the order of `ARMS`; none where videos stand for themselves."""
        there = {video.arm for video in self.videos}
        return [arm for arm in ARMS if arm in there]

    @property
    def names(self) -> list[str]:
        """Return what each video is called in results: its file, by its path where files share a name, and of which arm."""
        several = Counter(Path(video.path).name for video in self.videos)
        return [
            (video.path if several[name := Path(video.path).name] > 1 else name)
            + (f" ({video.arm} of {video.clip})" if video.arm else "")
            for video in self.videos
        ]

    @property
    def sha256(self) -> str:
        """Return a hash of the videos' paths, arms and clips in their order."""
        return hashlib.sha256(text_bytes(json.dumps([asdict(video) for video in self.videos]))).hexdigest()

    def pairs(self, every: int, without: set[str]) -> tuple[Pairs, list[str]]:
        """Return the recordings to compare and the clips they are of, in the manifest's order; some clips left out."""
        clips = [clip for clip in dict.fromkeys(video.clip for video in self.videos) if clip not in without]
        of = {(video.arm, video.clip): Path(video.path) for video in self.videos}
        return Pairs({arm: tuple(of[arm, clip] for clip in clips) for arm in self.arms}, every), clips

    def _check(self, path: Path) -> None:
        """Raise DataError unless there are videos, each once, and every clip has a recording of every arm."""
        if not self.videos:
            raise DataError(f"{path}", field="manifest", expected="one video or more", got="none")
        twice = next((p for p, n in Counter(video.path for video in self.videos).items() if n > 1), None)
        if twice is not None:
            raise DataError(f"{path}: {twice} is there twice", field="manifest", hint="leave one out")
        if not self.arms:
            return
        for needed in (NONE, PATTERN):
            if needed not in self.arms:
                raise DataError(
                    f"{path}", field="manifest", expected=f"recordings of the arm {needed}", got=", ".join(self.arms)
                )
        of: dict[str, list[str]] = {}
        for video in self.videos:
            of.setdefault(video.clip, []).append(video.arm)
        for clip, arms in of.items():
            if sorted(arms) != sorted(self.arms):
                got, expected = ", ".join(filter(None, arms)), f"one recording of each arm ({', '.join(self.arms)})"
                raise DataError(f"{path}: clip {clip!r}", field="manifest", expected=expected, got=got or "none")


def _listed(path: Path, number: int, row: dict[str, Any]) -> Listed:
    """Return the video of a row.

    Raises: DataError for a row without a path, with an unknown arm, or with an arm and no clip.
    """
    where, arm, clip = (str(row.get(name) or "").strip() for name in COLUMNS)
    arm = arm.lower()
    if not where or "\0" in where:
        raise DataError(f"{path}: row {number}", field="manifest", expected="the path of a video", got=repr(where))
    if arm and arm not in ARMS:
        raise DataError(
            f"{path}: row {number}", field="manifest", expected=f"an arm of {', '.join(ARMS)}", got=repr(arm)
        )
    if arm and not clip:
        hint = "recordings of the same scene share one"
        raise DataError(
            f"{path}: row {number}", field="manifest", expected="a clip beside the arm", got="none", hint=hint
        )
    return Listed(str((path.parent / Path(where).expanduser()).resolve()), arm, clip if arm else "")


def _rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows and the columns of a table.

    Raises: DataError if it cannot be read.
    """
    if path.suffix.lower() not in (".csv", ".parquet") or not path.is_file():
        raise DataError(field="manifest", expected="a readable .csv or .parquet file", got=repr(str(path)))
    try:
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(StringIO(read_text(path)), skipinitialspace=True)
            rows: list[dict[str, Any]] = [row for row in reader if any(row.values())]
            if any(None in row or None in row.values() for row in rows):
                raise ValueError("a row has more or fewer values than there are columns")
            return rows, list(reader.fieldnames or ())
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        return table.to_pylist(), table.column_names
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}"[:300], field="manifest") from error
