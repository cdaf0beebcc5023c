"""The errors that physadv raises on purpose: each message names the thing, what was expected, what came, what to do.

Everything derives from `PhysadvError`; the command line prints its message on one line and exits with 2. Anything else
that escapes is a bug.
"""


class PhysadvError(Exception):
    """Base of every error that a user can cause and mend."""


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
