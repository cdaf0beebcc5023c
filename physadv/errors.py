"""The errors that physadv raises on purpose: each names the field or the thing, what was expected, what came, what to do.

Everything derives from `PhysadvError`; the command line prints it on one line and exits with 2. Anything else that
escapes is a bug.

The library calls a field by its name in the settings (`wear_size`). Only the edges know what a user calls it: the command
line prints `--wear-size`, the page its own label, a notebook the name itself. Within a text a field stands between
backticks, with its value where one is to be given: "use `backend=torch`".
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Self

# A field within a text: its name, and its value or None. A command to type (`physadv doctor`) has a space and is none.
FIELD = re.compile(r"`(?P<name>[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)(?:=(?P<value>[^\s`]+))?`")


class PhysadvError(Exception):
    """Base of every error that a user can cause and mend. `str` is one line: `field: what: expected E, got G; hint`.

    what: what is wrong, or what it is wrong with. field: the setting to change, as the library spells it (`wear_size`,
    `geometry.tilt`), or None where no single one is to blame. expected, got: as they are to be read. hint: what to do.
    """

    def __init__(
        self,
        what: str = "",
        *,
        field: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> None:
        # `args` holds `what` alone; what else there is lies in `__dict__`: so errors pickle and copy as they are.
        super().__init__(what)
        self.field, self.expected, self.got, self.hint = field, expected, got, hint

    @property
    def text(self) -> str:
        """What is wrong, on one line, without the field."""
        wanted = ", ".join(
            f"{word} {value}" for word, value in (("expected", self.expected), ("got", self.got)) if value
        )
        said = ": ".join(part for part in (*map(str, self.args), wanted) if part)
        return re.sub(r"\s*\n\s*", " ", "; ".join(part for part in (said, self.hint) if part))

    @property
    def marked(self) -> str:
        """The whole line with the field between backticks, for an edge to spell or to stand within another text."""
        return f"`{self.field}`: {self.text}" if self.field else self.text

    def __str__(self) -> str:
        return f"{self.field}: {self.text}" if self.field else self.text

    def at(self, field: str) -> Self:
        """Return the same error about another field: a caller's name for what was wrong."""
        out = copy.copy(self)
        out.field = field
        return out


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Name the field of errors that are raised within and name none.

    Raises: what is raised within.
    """
    try:
        yield
    except PhysadvError as error:
        if error.field is not None:
            raise
        raise error.at(field) from error


class SettingsError(PhysadvError):
    """A flag, a configuration file or a field of the web API holds a value that cannot work."""


class SourceError(PhysadvError):
    """A source of images cannot be opened or read: unknown, missing, truncated, empty."""


class CameraLost(SourceError):
    """A live source stopped giving new images; it may come back."""


class EndOfStream(PhysadvError):
    """A finite source has given its last image. Not a failure: the signal that ends a loop."""


class WeightsError(PhysadvError):
    """Detector weights are missing, have the wrong hash, or are not of a kind that physadv knows."""


class BackendError(PhysadvError):
    """An inference backend is not installed or cannot run this model."""


class PluginError(PhysadvError):
    """Code of others that plugs in cannot be loaded, failed, or returned what it may not."""


class PatchError(PhysadvError):
    """A patch file is unreadable, too large, malformed, or lacks what its use needs."""


class DataError(PhysadvError):
    """Images, labels or splits that cannot be used as given."""


class TrainingError(PhysadvError):
    """A training run cannot start, go on or be resumed."""


class DefenceError(PhysadvError):
    """A defence has impossible parameters, cannot be combined, or failed while running."""


class RecordingError(PhysadvError):
    """A recording cannot be started, written or read back."""


class OutputError(PhysadvError):
    """A result cannot be written where it should go: no regular file, another program's file, or another writer's."""


class DisplayError(PhysadvError):
    """There is no display on which a window could be shown."""


class CalibrationError(PhysadvError):
    """A calibration target was not found, or the fit is too bad to be saved."""


class FabricationError(PhysadvError):
    """A pattern cannot be printed as asked: paper, size, profile or garment do not fit."""


class PatternReplaced(UserWarning):
    """A pattern was asked for by a name under which none is shipped any more; the one that took its place is loaded."""


def text_of(error: Exception) -> str:
    """Return what an error says; one of the operating system without its number and file name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean live?` for a word that is nearly one of those known, else ""."""
    near = get_close_matches(word, known, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""
