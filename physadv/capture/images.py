"""Photographs as a source: a folder, a glob or one picture, in the order of their names."""

from __future__ import annotations

import time
from glob import glob, has_magic
from pathlib import Path

from physadv.arrays import PICTURE_SUFFIXES, pictures_in, read_picture
from physadv.capture.settings import CaptureSettings
from physadv.errors import EndOfStream, SourceError
from physadv.types import Frame

# Slow enough to look at each picture when a folder is paced as a camera.
DEFAULT_FPS = 1.0


class ImageSource:
    """Every picture once a round, in order. path: the file of the picture that `read` gave last."""

    live = False

    def __init__(self, spec: str, settings: CaptureSettings | None = None) -> None:
        settings = settings or CaptureSettings()
        self.name = spec
        self.files = picture_files(spec)
        self.path: Path | None = None
        self._left = len(self.files) * settings.loop if settings.loop else None
        self._interval = 1 / (settings.fps or DEFAULT_FPS)
        self._index = 0

    def read(self) -> Frame:
        """Return the next picture.

        Raises: EndOfStream after the last. SourceError, naming the file, for one that is empty or damaged.
        """
        if self._left is not None and self._index >= self._left:
            raise EndOfStream(f"{self.name}: that was the last of {len(self.files)} pictures")
        self.path = self.files[self._index % len(self.files)]
        pixels = read_picture(self.path, error=SourceError)
        index, self._index = self._index, self._index + 1
        return Frame(pixels, index, time.monotonic_ns(), index * self._interval)

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
