"""Read a source to its end, or until its camera is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from physadv.errors import CameraLost, EndOfStream
from physadv.types import Frame, Source

Notify = Callable[[str], None]


def silent(_: str) -> None:
    """Drop the line."""


class Damaged:
    """Counts the damaged images that a live source leaves out, and says so at the first, the tenth, the hundredth..."""

    def __init__(self, name: str, notify: Notify) -> None:
        self._name, self._notify = name, notify
        self.count = 0

    def add(self, more: int = 1) -> None:
        """Count `more` images. Not each is reported: a bad radio link damages some every second."""
        before, self.count = self.count, self.count + more
        if more and (not before or len(str(self.count)) > len(str(before))):
            self._notify(f"{self._name}: left out {self.count} damaged image{'s' * (self.count > 1)} so far")


def until_lost(source: Source, notify: Notify) -> Iterator[Frame]:
    """Yield the images of a source to its end. If the camera is lost after an image, say so and end there.

    Raises: CameraLost if it is lost before its first image. SourceError as the source does.
    """
    count = 0
    while True:
        try:
            frame = source.read()
        except EndOfStream:
            return
        except CameraLost as error:
            if not count:
                raise
            notify(f"{error}; going on with what came before ({count} images)")
            return
        count += 1
        yield frame
