"""Split a stream of bytes into JPEG images, whatever lies between them."""

from __future__ import annotations

import re

_BEGINS = b"\xff\xd8\xff"
# In the coded lines of an image: a marker that is neither a stuffed byte nor a restart.
_IN_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
# The line between two parts of a multipart stream.
_BETWEEN = re.compile(rb"\r?\n--[^\r\n]*(\r?\n|$)")
_END, _SCAN, _ANOTHER, _ALONE = 0xD9, 0xDA, 0xD8, 0x01
# A larger image is none: the stream is out of step.
MAX_BYTES = 64_000_000


class JpegSplitter:
    """Takes bytes as they come and gives each JPEG image by its own structure.

    What frames the images (boundaries, the parts' types and lengths, line ends, preambles) is not looked at, as every
    camera writes it in its own way and many wrongly. An image that another one interrupts, or that has lost its
    structure, is given as it is: whether it lacks the end mark alone is for the decoder to find out.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._scanning = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the images that end in `data`, in order."""
        self._data += data
        out = []
        while (image := self._next()) is not None:
            out.append(image)
        return out

    def rest(self) -> bytes:
        """Return what was begun when the stream ended, "" if nothing was."""
        image = bytes(self._data) if self._at else b""
        self._begin_at(len(self._data))
        return image

    def _next(self) -> bytes | None:
        """Return the first whole image and forget it, or None until there are more bytes."""
        if not self._at:
            begins = self._data.find(_BEGINS)
            # The last two bytes may begin an image.
            self._begin_at(begins if begins >= 0 else max(len(self._data) - 2, 0))
            if begins < 0:
                return None
            self._at = 2
        end = self._end()
        if end is None and len(self._data) > MAX_BYTES:
            end = len(self._data)
        if end is None:
            return None
        image = bytes(self._data[:end])
        self._begin_at(end)
        return image if image.endswith(b"\xff\xd9") else _without_next_head(image)

    def _begin_at(self, place: int) -> None:
        del self._data[:place]
        self._at, self._scanning = 0, False

    def _end(self) -> int | None:
        """Return where the image that is begun ends, or None if that has not come yet."""
        while True:
            if self._scanning:
                found = _IN_SCAN.search(self._data, self._at)
                if found is None:
                    self._at = max(len(self._data) - 1, self._at)
                    return None
                self._at, self._scanning = found.end() - 2, False
            if len(self._data) < self._at + 4:
                return self._at + 2 if self._data[self._at :].startswith(b"\xff\xd9") else None
            if self._data[self._at] != 0xFF:
                return self._lost()
            marker = self._data[self._at + 1]
            if marker == 0xFF:
                self._at += 1
            elif marker == _END:
                return self._at + 2
            elif marker == _ANOTHER:
                return self._at
            elif marker < 0xC0 and marker != _ALONE:
                return self._lost()
            else:
                self._pass(marker)

    def _pass(self, marker: int) -> None:
        """Go on behind a marker and what belongs to it."""
        if marker == _ALONE or 0xD0 <= marker <= 0xD7:
            self._at += 2
            return
        self._at += 2 + max(int.from_bytes(self._data[self._at + 2 : self._at + 4], "big"), 2)
        self._scanning = marker == _SCAN

    def _lost(self) -> int | None:
        """Return where the next image begins, as this one makes no sense, or None until it has come."""
        begins = self._data.find(_BEGINS, self._at)
        return begins if begins >= 0 else None


def _without_next_head(image: bytes) -> bytes:
    """Return an image that lacks its end mark without the head of the part that follows it."""
    between = list(_BETWEEN.finditer(image))
    return image[: between[-1].start()] if between else image
