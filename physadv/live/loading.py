"""Detectors as the demo loads them: each once, as long as it runs or stands beside the one that runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from physadv.live.detectors import DetectorLibrary
from physadv.live.settings import Backend
from physadv.types import Detector


class DetectorChoice(NamedTuple):
    """A detector as it is asked for: the name that it is offered by, backend, and long side of its input."""

    name: str
    backend: Backend
    imgsz: int


class Loader(Protocol):
    """What turns a model's name into a detector."""

    def __call__(self, name: str, *, backend: Backend, imgsz: int, progress: Callable[[str], None] | None) -> Detector:
        """Return the detector; takes seconds."""
        ...


def load(name: str, *, backend: Backend, imgsz: int, progress: Callable[[str], None] | None) -> Detector:
    """Return the named detector on the named backend; every candidate down to confidence .05.

    Raises: WeightsError, BackendError.
    """
    from physadv.detect import load_detector

    return load_detector(name, backend=backend, imgsz=imgsz, progress=progress)


class LoadedDetectors:
    """Loads detectors, and gives the same again as long as it is kept. Safe to use from several threads.

    library: those that are offered.
    """

    def __init__(self, library: DetectorLibrary, loader: Loader) -> None:
        self.library, self._loader = library, loader
        self._lock = threading.Lock()
        self._loaded: dict[DetectorChoice, Detector] = {}

    def load(self, choice: DetectorChoice, progress: Callable[[str], None] | None) -> Detector:
        """Return a detector, which takes seconds where it is not there yet.

        Raises: WeightsError or BackendError if it cannot be loaded.
        """
        with self._lock:
            found = self._loaded.get(choice)
        if found is None:
            where = self.library.find(choice.name).where
            found = self._loader(where, backend=choice.backend, imgsz=choice.imgsz, progress=progress)
            self.add(choice, found)
        return found

    def add(self, choice: DetectorChoice, detector: Detector) -> None:
        """Give that detector for a choice from now on."""
        with self._lock:
            self._loaded[choice] = detector

    def has(self, choice: DetectorChoice) -> bool:
        """Return whether a detector is there already."""
        return choice in self._loaded

    def keep(self, choices: Iterable[DetectorChoice]) -> None:
        """Let go of every other one."""
        with self._lock:
            self._loaded = {choice: self._loaded[choice] for choice in choices if choice in self._loaded}
