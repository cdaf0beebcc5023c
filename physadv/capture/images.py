"""Photographs as a source: a folder, a glob or one image, in the order of their names."""

from __future__ import annotations

import time
from glob import glob, has_magic
from pathlib import Path

from physadv.arrays import IMAGE_SUFFIXES, LeftOut, bytes_of, counted, decode_image, images_in
from physadv.capture.reading import Notify, silent
from physadv.capture.settings import CaptureSettings
from physadv.decoding import frames_in
from physadv.errors import EndOfStream, SourceError
from physadv.types import Frame, UInt8Array

# Slow enough to look at each image when a folder is paced as a camera.
DEFAULT_FPS = 1.0


class ImageSource:
    """Every image once a round, in order. path: the file of the image that `read` gave last.

    upright: images are turned as their EXIF tags say; False: as the sensor gave them. Of several images damaged ones are
    left out, which leaves a gap in the index. notify: called with a line for each, for their number at the end of the first
    round, and at the start for files that are no images.
    """

    live = False

    def __init__(self, spec: str, settings: CaptureSettings | None = None, notify: Notify = silent) -> None:
        settings = settings or CaptureSettings()
        self.name = spec
        self.upright = True
        self._left_out = LeftOut()
        self.files = image_files(spec, self._left_out)
        self._damaged: set[Path] = set()
        self._looked_into: set[Path] = set()
        self._notify = notify
        self._mention(self._left_out)
        self._good = 0
        self.path: Path | None = None
        self._left = len(self.files) * settings.loop if settings.loop else None
        self._interval = 1 / (settings.fps or DEFAULT_FPS)
        self._index = 0

    def read(self) -> Frame:
        """Return the next image.

        Raises: EndOfStream after the last. SourceError, naming the file, if the only image is empty or damaged, or all of
        several are.
        """
        while True:
            if self._left is not None and self._index >= self._left:
                raise EndOfStream(f"{self.name}: that was the last of {len(self.files)} images")
            index, self._index = self._index, self._index + 1
            self.path = self.files[index % len(self.files)]
            pixels = self._image(self.path)
            self._good += pixels is not None
            if (index + 1) % len(self.files) == 0:
                self._end_round()
            if pixels is not None:
                return Frame(pixels, index, time.monotonic_ns(), index * self._interval)

    def _image(self, path: Path) -> UInt8Array | None:
        """Return a file's image, None if it is damaged."""
        try:
            data = bytes_of(path, SourceError)
            pixels = decode_image(data, name=str(path), upright=self.upright, error=SourceError)
            self._mention_more(path, data)
            return pixels
        except SourceError as error:
            if len(self.files) == 1:
                raise
            if path not in self._damaged:
                self._damaged.add(path)
                self._left_out.damaged.append(str(error))
                self._notify(f"left out {error}")
            return None

    def _mention_more(self, path: Path, data: bytes) -> None:
        """Say once that a file contains images beside the first."""
        if path in self._looked_into:
            return
        self._looked_into.add(path)
        try:
            more = frames_in(data) - 1
        except ValueError:
            return
        if more > 0:
            self._notify(
                f"left out {counted(more, 'image')} of {path}, as the first alone is read; a GIF or video plays"
            )

    def _end_round(self) -> None:
        if not self._good:
            raise SourceError(f"{self.name}: not one image can be read: {'; '.join(self._left_out.lines())}")
        self._good = 0
        if len(self._left_out.damaged) > 1 and self._index == len(self.files):
            self._mention(LeftOut(damaged=self._left_out.damaged))

    def _mention(self, left_out: LeftOut) -> None:
        for line in left_out.lines():
            self._notify(f"{self.name}: {line}")

    def close(self) -> None:
        """End: the next `read` says that there are no more images. Safe to call twice and from another thread."""
        self._left = 0


def image_files(spec: str, left_out: LeftOut) -> list[Path]:
    """Return the image files that a folder, glob or file name stands for, sorted; other files go to `left_out`.

    Raises: SourceError if there are none.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        files = images_in(path, left_out)
    elif path.is_file():
        files = [path]
    else:
        # A name with brackets may be a plain file, which was looked for first.
        found = glob(str(path), recursive=True) if has_magic(spec) else []  # noqa: PTH207 -- absolute patterns too
        matched = [p for p in sorted(map(Path, found)) if p.is_file()]
        files = [p for p in matched if p.suffix.lower() in IMAGE_SUFFIXES]
        left_out.other += [p for p in matched if p not in files]
    if not files and not path.exists() and not has_magic(spec):
        raise SourceError(f"{spec}: no such file")
    if not files:
        raise SourceError(
            f"{spec}: no images there (looked for {', '.join(sorted(IMAGE_SUFFIXES))})"
            + "".join(f"; {line}" for line in left_out.lines())
        )
    return files
