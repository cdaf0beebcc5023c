"""A source read to its end, or to where its camera is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from physadv.errors import CameraLost, EndOfStream
from physadv.types import Frame, Source


def until_lost(source: Source, say: Callable[[str], None]) -> Iterator[Frame]:
    """Yield the pictures of a source to its end; one whose camera is lost after a picture ends there, and `say` is told.

    Raises: CameraLost if it is lost before its first picture. SourceError as the source does.
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
            say(f"{error}; going on with what came before ({count} pictures)")
            return
        count += 1
        yield frame
