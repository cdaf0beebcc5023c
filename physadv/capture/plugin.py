"""Sources of others: images from their code, made into frames and checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from physadv import plugins
from physadv.address import masked
from physadv.errors import EndOfStream, PhysadvError, PluginError
from physadv.types import Frame

# Images a second of a source that is no camera and does not say its own rate.
USUAL_FPS = 30.0


def plugin_factory(spec: str) -> Callable[[str], Any] | None:
    """Return what makes the source of others that `NAME` or `NAME:ARGUMENT` names; None if no package declares it.

    Raises: PluginError if it cannot be loaded.
    """
    name = spec.partition(":")[0]
    if not name.replace("-", "_").isidentifier():
        return None
    reference = plugins.reference_of(plugins.SOURCES, name, field="source")
    if reference is None:
        return None
    factory = plugins.load(reference, field="source")
    if not callable(factory):
        raise PluginError(f"{name}: expected a factory to call, got {type(factory).__name__}", field="source")
    found: Callable[[str], Any] = factory
    return found


class PluginSource:
    """A source of others as a `Source`: its images are numbered and timed here.

    The factory is called with the text after the colon. What it makes has `read()`, which returns (h, w, 3) uint8 RGB, or
    None after the last, and perhaps `close()`. `live` (True unless it says otherwise) and `fps` are read of the factory.
    """

    def __init__(self, spec: str, factory: Callable[[str], Any]) -> None:
        """Raises: PluginError if the factory fails, or makes what cannot be read."""
        self.name = masked(spec)
        self.live = bool(getattr(factory, "live", True))
        self._fps = float(getattr(factory, "fps", USUAL_FPS))
        self._index, self._start_s, self._closed = 0, 0.0, False
        try:
            self._reader = factory(spec.partition(":")[2])
        except PhysadvError:
            raise
        except (Exception, SystemExit) as error:  # the code of others fails in many ways
            raise PluginError(f"{self.name}: its factory failed ({plugins.short(error)})", field="source") from error
        if not callable(getattr(self._reader, "read", None)):
            got = f"{type(self._reader).__name__} without it"
            raise PluginError(self.name, field="source", expected="a source with a method read", got=got)

    def read(self) -> Frame:
        """Return the next frame.

        Raises: EndOfStream after the last or `close`. PluginError if the plug-in fails, or returns what is no image.
        """
        if self._closed:
            raise EndOfStream(f"{self.name} was closed")
        try:
            image = self._reader.read()
        except PhysadvError:
            raise
        except Exception as error:  # the code of others fails in many ways
            raise PluginError(f"{self.name}: its read failed ({plugins.short(error)})") from error
        if image is None:
            raise EndOfStream(f"{self.name}: no more images")
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            is_array = isinstance(image, np.ndarray)
            raise PluginError(
                f"{self.name}: its read returned no image",
                expected="an array (h, w, 3) of uint8, RGB, or None at the end",
                got=f"{image.dtype} {image.shape}" if is_array else type(image).__name__,
            )
        now_s = time.monotonic()
        self._start_s = self._start_s or now_s
        pts_s = now_s - self._start_s if self.live else self._index / self._fps
        # Copied, since a frame is read-only and the plug-in may fill the same array again.
        frame = Frame(image.copy(), self._index, time.monotonic_ns(), pts_s)
        self._index += 1
        return frame

    def close(self) -> None:
        """Let the plug-in give back what it holds. May be called twice and from another thread."""
        if not self._closed:
            self._closed = True
            close = getattr(self._reader, "close", None)
            if callable(close):
                close()
