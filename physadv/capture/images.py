"""Photographs as a source: a folder, a glob or one picture, in the order of their names."""

from __future__ import annotations

import time
from glob import glob, has_magic
from pathlib import Path

from physadv.arrays import PICTURE_SUFFIXES, pictures_in, read_picture
from physadv.capture.reading import Say, silent
from physadv.capture.settings import CaptureSettings
from physadv.errors import EndOfStream, SourceError
from physadv.types import Frame, UInt8Array

# Slow enough to look at each picture when a folder is paced as a camera.
DEFAULT_FPS = 1.0
# As many damaged pictures are named in one message.
NAMED = 8


class ImageSource:
    """Every picture once a round, in order. path: the file of the picture that `read` gave last.

    Of several pictures damaged ones are left out, which leaves a gap in the index; `say` is told of each, and at the end
    of a round of how many.
    """

    live = False

    def __init__(self, spec: str, settings: CaptureSettings | None = None, say: Say = silent) -> None:
        settings = settings or CaptureSettings()
        self.name = spec
        self.files = picture_files(spec)
        self.damaged: dict[Path, str] = {}
        self._say = say
        self._good = 0
        self.path: Path | None = None
        self._left = len(self.files) * settings.loop if settings.loop else None
        self._interval = 1 / (settings.fps or DEFAULT_FPS)
        self._index = 0

    def read(self) -> Frame:
        """Return the next picture.

        Raises: EndOfStream after the last. SourceError, naming the file, if the only picture is empty or damaged, or all
        of several are.
        """
        while True:
            if self._left is not None and self._index >= self._left:
                raise EndOfStream(f"{self.name}: that was the last of {len(self.files)} pictures")
            index, self._index = self._index, self._index + 1
            self.path = self.files[index % len(self.files)]
            pixels = self._picture(self.path)
            self._good += pixels is not None
            if (index + 1) % len(self.files) == 0:
                self._end_round()
            if pixels is not None:
                return Frame(pixels, index, time.monotonic_ns(), index * self._interval)

    def _picture(self, path: Path) -> UInt8Array | None:
        """Return a file's picture, None if it is damaged."""
        try:
            return read_picture(path, error=SourceError)
        except SourceError as error:
            if len(self.files) == 1:
                raise
            if path not in self.damaged:
                self.damaged[path] = str(error)
                self._say(f"left out {error}")
            return None

    def _end_round(self) -> None:
        if not self._good:
            raise SourceError(
                f"{self.name}: not one of {len(self.files)} pictures can be read: {self.damaged[self.files[0]]}"
            )
        self._good = 0
        if len(self.damaged) > 1 and self._index == len(self.files):
            names = [path.name for path in self.damaged]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            self._say(
                f"{self.name}: left out {len(names)} of {len(self.files)} pictures, which are damaged: "
                f"{', '.join(names[:NAMED])}{more}"
            )

    def close(self) -> None:
        """End: the next `read` says that there are no more pictures. Safe to call twice and from another thread."""
        self._left = 0


def picture_files(spec: str) -> list[Path]:
    """Return the picture files that a folder, glob or file name stands for, sorted.

    Raises: SourceError if there are none.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        files = pictures_in(path)
    elif path.is_file():
        files = [path]
    else:
        # A name with brackets may be a plain file, which was looked for first.
        found = glob(str(path), recursive=True) if has_magic(spec) else []  # noqa: PTH207 -- absolute patterns too
        files = [p for p in sorted(map(Path, found)) if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file()]
    if not files:
        raise SourceError(f"{spec}: no pictures there (looked for {', '.join(sorted(PICTURE_SUFFIXES))})")
    return files
