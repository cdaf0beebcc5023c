"""What a trial has recorded, as trial.json holds it: written anew, whole, after each window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from physadv.errors import DataError, text_of
from physadv.files import parse_json, read_text, write_json
from physadv.recording import Paths
from physadv.settings import Settings, one_line
from physadv.trial.plan import Arm, Plan

STATE, WINDOWS = "trial.json", "windows"
FORMAT = 1
Proxy = Literal["", "digital", "screen"]


class UsedDetector(Settings):
    """The detector that looked on. sha256: of its weights file, None without one."""

    name: str
    sha256: str | None
    backend: str
    precision: str
    imgsz: int


Light = Annotated[float, Field(ge=0, le=255)]


class RecordedWindow(Settings):
    """One window. cell, block: counted from 0. attempt: at its block. position: in the order of the block. take: of it.

    file: the annotated video, in the trial's folder; the untouched one and the rest lie beside it. frames: recorded.
    dropped: by an encoder that was behind. light: medians of red, green and blue of the rim, 0 to 255. repeated: frames
    with the very pixels of the one before. redone: why it does not count, "" for one that does.
    """

    cell: int = Field(ge=0)
    block: int = Field(ge=0)
    attempt: int = Field(ge=0)
    position: int = Field(ge=0, le=3)
    arm: Arm
    take: int = Field(ge=0)
    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.mp4$")
    frames: int = Field(ge=0)
    dropped: int = Field(ge=0)
    light: tuple[Light, Light, Light]
    repeated: int = Field(default=0, ge=0)
    began: str = ""
    redone: str = ""


class TrialState(Settings):
    """A trial. source: as it may be shown. locks: what was done about exposure and white balance, by name.

    notes: what went otherwise than planned, in order: windows that were thrown away, a crash, a pause within a window.
    ended: "" while it goes on, else why no more is recorded.
    """

    physadv: str
    format: Literal[1] = 1
    plan: Plan
    detector: UsedDetector
    conf: float = Field(gt=0, lt=1)
    source: str
    live: bool
    proxy: Proxy = ""
    locks: dict[str, str] = Field(default_factory=dict)
    windows: tuple[RecordedWindow, ...] = ()
    notes: tuple[str, ...] = ()
    ended: str = ""

    @property
    def counted(self) -> list[RecordedWindow]:
        """Return the windows that count."""
        return [window for window in self.windows if not window.redone]


def read_state(folder: Path) -> TrialState | None:
    """Return what a trial's folder holds, None where no trial was begun in it.

    Raises: DataError for a damaged one, one of another version, or one that lacks a window's files.
    """
    path = folder / STATE
    try:
        value = parse_json(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no trial: {text_of(error)}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        version = value.get("physadv", "unknown") if isinstance(value, dict) else "unknown"
        raise DataError(
            f"{path}: of physadv {str(version)[:20]}, which this version does not read",
            expected=f"format {FORMAT}",
            got=repr(value.get("format") if isinstance(value, dict) else value)[:40],
        )
    try:
        state = TrialState.model_validate(value)
    except ValidationError as error:
        raise DataError(f"{path}: {one_line(error)}") from error
    state.plan.check()
    _check_windows(path, state)
    missing = [w.file for w in state.counted if not Paths.of(folder / WINDOWS / w.file).jsonl.is_file()]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} recorded windows are missing, the first {WINDOWS}/{missing[0]}",
            hint="put them back: what is left of a trial must not be chosen",
        )
    return state


def _check_windows(path: Path, state: TrialState) -> None:
    """Raise DataError if a window is not the plan's, or stands there twice."""
    there: set[object] = set()
    for window in state.windows:
        if window.cell >= len(state.plan.cells) or window.block >= state.plan.blocks:
            raise DataError(
                f"{path}: {window.file}: cell {window.cell + 1}, block {window.block + 1}",
                expected=f"one of {len(state.plan.cells)} cells of {state.plan.blocks} blocks",
            )
        known = {window.file} if window.redone else {window.file, (window.cell, window.block, window.arm)}
        if known & there:
            raise DataError(
                f"{path}: {window.file}", expected="each window and each arm of a block once", got="it twice"
            )
        there |= known


def write_state(folder: Path, state: TrialState) -> None:
    """Write trial.json, whole or not at all.

    Raises: OSError if it cannot be written.
    """
    write_json(folder / STATE, state.model_dump(mode="json"))
