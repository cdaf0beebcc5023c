"""What the commands that train a detector have in common: paths that hold from any folder, progress, a way to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from physadv.cli.begun import absolute
from physadv.cli.console import Terminal
from physadv.cli.detectors import rounded_imgsz
from physadv.cli.edge import Stop, interruptible
from physadv.cli.progress import ProgressBar
from physadv.settings import Settings

if TYPE_CHECKING:
    from physadv.tune.trainer import TuneProgress

S = TypeVar("S", bound=Settings)
# Fields that name a detector, and those that name a folder or file to be read.
DETECTORS = ("detector", "labeller")
PATHS = ("data", "images", "labels")


def anchored(settings: S, label: str) -> S:
    """Return flags with absolute paths, so that a run can be resumed from any folder, and `imgsz` rounded up.

    A line on stderr says so if `imgsz` changes.
    """
    given: dict[str, Any] = {name: getattr(settings, name, None) for name in (*DETECTORS, *PATHS, "imgsz")}
    update: dict[str, Any] = {name: absolute(given[name]) for name in DETECTORS if given[name] is not None}
    update |= {name: Path(given[name]).expanduser().resolve() for name in PATHS if given[name] is not None}
    if given["imgsz"] is not None:
        update["imgsz"] = rounded_imgsz(given["imgsz"], label)
    return settings.model_copy(update=update)


@contextmanager
def stoppable(label: str) -> Iterator[tuple[ProgressBar, Stop]]:
    """Yield what shows progress on stderr, and what a first signal asks to stop."""
    with ExitStack() as stack:
        stop = Stop()
        stack.enter_context(interruptible(stop))
        yield stack.enter_context(ProgressBar(label, console=Terminal(stderr=True))), stop


def as_line(progress: TuneProgress) -> str:
    """Return where a fine-tuning stands, with the terms of its loss."""
    losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
    return f"epoch {progress.epoch}/{progress.epochs}  batch {progress.batch}/{progress.batches}  {losses}"


def fields_of(model: type[S], settings: Settings) -> S:
    """Return what a command was asked for without what only the command has. model: the settings that it extends."""
    return model.model_validate(settings.model_dump(include=set(model.model_fields)))
