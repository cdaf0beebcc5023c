"""Which window comes next: blocks one after another, done again where nobody is found, cells until they are decided."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physadv.errors import RecordingError
from physadv.recording import Paths
from physadv.trial.plan import ARMS, Arm, Plan, TrialCell
from physadv.trial.scores import WindowScore, answers_in, block_scores, present
from physadv.trial.sequential import FIRST_LOOK, ArmDifference, difference, level
from physadv.trial.state import WINDOWS, RecordedWindow, TrialState, write_state

# The files of a window by their names; whatever else somebody puts beside them stays.
OURS = re.compile(rf"(\d{{2,3}}-\d{{2,3}}-\d+-(?:{'|'.join(ARMS)})-\d+)\.")
CONTROL_ARMS: tuple[Arm, ...] = ("grey", "shuffled")


@dataclass(frozen=True, slots=True)
class NextWindow:
    """The window that is to be recorded. Counted from 0, as in `RecordedWindow`. start_s: of a file, where it begins."""

    cell: int
    block: int
    attempt: int
    position: int
    take: int
    arm: Arm
    start_s: float

    @property
    def file(self) -> str:
        """Return the name of its video."""
        return f"{self.cell + 1:02}-{self.block + 1:02}-{self.attempt}{self.position + 1}-{self.arm}-{self.take}.mp4"


@dataclass(frozen=True, slots=True)
class WholeBlock:
    """A block with its four windows, and what became of the person in each."""

    cell: int
    block: int
    windows: dict[Arm, RecordedWindow]
    scores: dict[Arm, WindowScore]


class TrialBook:
    """The windows of a trial on disk, and what follows from them. Every change is written before it counts.

    state: as it stands. folder: of the trial.
    """

    def __init__(self, folder: Path, state: TrialState) -> None:
        self.folder, self.state = folder, state
        self._scores: dict[tuple[str, ...], dict[Arm, WindowScore] | None] = {}

    @property
    def plan(self) -> Plan:
        """Return the plan that is followed."""
        return self.state.plan

    def path(self, file: str) -> Path:
        """Return where a window's video is."""
        return self.folder / WINDOWS / file

    def clear_unfinished(self) -> list[str]:
        """Remove the files of windows that were not finished, as a kill leaves them, and return their names.

        Raises: OSError if one cannot be removed.
        """
        known = {path.name for w in self.state.windows for path in Paths.of(self.path(w.file)).files()}
        names: dict[str, None] = {}
        for path in sorted((self.folder / WINDOWS).glob("*")):
            ours = OURS.match(path.name)
            if ours is not None and path.name not in known:
                path.unlink()
                names[f"{ours[1]}.mp4"] = None
        if names:
            self.note(f"half a window was thrown away: {', '.join(names)}")
        return list(names)

    # What is there

    def whole_blocks(self, cell: int) -> list[WholeBlock]:
        """Return the blocks of a cell that have all four windows and somebody in them.

        Raises: RecordingError if a window's sidecar is missing or damaged.
        """
        out = []
        for block in range(self.plan.blocks):
            windows = self._windows(cell, block)
            if len(windows) == len(ARMS) and (scores := self._scored(windows)) is not None:
                out.append(WholeBlock(cell, block, windows, scores))
        return out

    def differences(self, cell: int) -> dict[Arm, ArmDifference]:
        """Return how much more often the pattern hides than each other arm, at the level of the look that is due.

        Empty where no block is whole.
        """
        blocks = self.whole_blocks(cell)
        alpha = level(len(blocks), self.plan.blocks) if blocks else 0.0
        return {
            arm: difference([pairs(blocks, arm)], alpha=alpha, seed=self.plan.seed)
            for arm in ARMS
            if arm != "pattern" and blocks
        }

    def decided(self, cell: int) -> bool:
        """Return whether a cell needs no more blocks: the pattern differs from both controls by more than chance."""
        blocks = len(self.whole_blocks(cell))
        if blocks < FIRST_LOOK:
            return False
        found = self.differences(cell)
        return all(found[arm].real for arm in CONTROL_ARMS)

    # What comes next

    def next(self) -> NextWindow | None:
        """Return the window to be recorded, None after the last."""
        for cell in range(len(self.plan.cells)):
            if (found := self._next_in(cell)) is not None:
                return found
        return None

    def cell_of(self, window: NextWindow) -> TrialCell:
        """Return the cell of a window."""
        return self.plan.cells[window.cell]

    def _next_in(self, cell: int) -> NextWindow | None:
        blocks = (block for block in range(self.plan.blocks) if len(self._windows(cell, block)) < len(ARMS))
        block = next(blocks, None)
        if block is None or self.decided_before(cell, block):
            return None
        mine = [w for w in self.state.windows if (w.cell, w.block) == (cell, block)]
        # A block whose windows were all done again begins a new attempt.
        attempt = max((w.attempt + self._spoilt(w) for w in mine), default=0)
        order = self.plan.order(cell, block, attempt)
        done = {w.arm for w in mine if w.attempt == attempt and not w.redone}
        arm = next(a for a in order if a not in done)
        take = sum(w.attempt == attempt and w.arm == arm for w in mine)
        # Of a file all four windows of a block show the same stretch, and every block another one.
        start_s = (cell * self.plan.blocks + block) * self.plan.window_s
        return NextWindow(cell, block, attempt, order.index(arm), take, arm, start_s)

    def decided_before(self, cell: int, block: int) -> bool:
        """Return whether a cell is decided by its blocks, so that a block of it which is not whole yet is left out."""
        begun = any(w.cell == cell and w.block == block for w in self.state.counted)
        return not begun and self.decided(cell)

    @staticmethod
    def _spoilt(window: RecordedWindow) -> bool:
        return window.redone.startswith(SPOILT)

    def _windows(self, cell: int, block: int) -> dict[Arm, RecordedWindow]:
        found = [w for w in self.state.counted if (w.cell, w.block) == (cell, block)]
        return {w.arm: w for w in sorted(found, key=lambda w: w.position)}

    def _scored(self, windows: dict[Arm, RecordedWindow]) -> dict[Arm, WindowScore] | None:
        key = tuple(w.file for w in windows.values())
        if key not in self._scores:
            files = {arm: self.path(w.file) for arm, w in windows.items()}
            scores = block_scores(files, self.state.conf)
            for arm, score in (scores or {}).items():
                if score.frames != windows[arm].frames:
                    raise RecordingError(
                        f"{Paths.of(files[arm]).jsonl}: is not as it was recorded",
                        expected=f"{windows[arm].frames} frames", got=str(score.frames),
                    )  # fmt: skip
            self._scores[key] = scores
        return self._scores[key]

    # Changes

    def add(self, window: RecordedWindow) -> str:
        """Add a recorded window; return why its block has to be done again, "" where it goes on.

        Raises: OSError if it cannot be written. RecordingError if its sidecar is damaged.
        """
        self._write(windows=(*self.state.windows, window))
        if window.arm != "none":
            return ""
        why = present(answers_in(self.path(window.file)), self.state.conf)
        if why:
            self._redo(lambda w: (w.cell, w.block) == (window.cell, window.block), f"{SPOILT}: {why}")
        return why

    def redo_last(self) -> RecordedWindow | None:
        """Let the window recorded last be recorded again; return it, None where none counts.

        Raises: OSError if it cannot be written.
        """
        last = self.state.counted[-1:]
        if not last:
            return None
        self._redo(lambda w: w is last[0], BY_HAND)
        return last[0]

    def note(self, text: str) -> None:
        """Keep a line on what went otherwise than planned.

        Raises: OSError if it cannot be written.
        """
        self._write(notes=(*self.state.notes, text))

    def take_locks(self, locks: dict[str, str]) -> None:
        """Keep what was done about exposure and white balance.

        Raises: OSError if it cannot be written.
        """
        if locks != self.state.locks:
            self._write(locks=locks)

    def end(self, why: str) -> None:
        """Keep why no more is recorded.

        Raises: OSError if it cannot be written.
        """
        if self.state.ended != why:
            self._write(ended=why)

    def _redo(self, which: Callable[[RecordedWindow], bool], why: str) -> None:
        windows = tuple(
            w.model_copy(update={"redone": why}) if not w.redone and which(w) else w for w in self.state.windows
        )
        self._write(windows=windows)

    def _write(self, **changes: Any) -> None:
        new = self.state.model_copy(update=changes)
        write_state(self.folder, new)
        self.state = new


# Why a window does not count: its block was of no use, or somebody asked for it.
SPOILT, BY_HAND = "block done again", "window done again by hand"


def pairs(blocks: list[WholeBlock], arm: Arm) -> npt.NDArray[np.float64]:
    """Return (blocks, 2) shares of frames in which the person is hidden: with the pattern, and in another arm."""
    return np.array([[b.scores["pattern"].hidden, b.scores[arm].hidden] for b in blocks], np.float64).reshape(-1, 2)
