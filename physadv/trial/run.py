"""A trial while it goes on: prompt, countdown, window, again, until the plan is done. One thread runs it, the page asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from physadv.capture.latest import SourceState
from physadv.errors import DataError, RecordingError, SourceError
from physadv.live.camera_demo import CameraDemo
from physadv.live.recorder import Recorder, RecordSettings
from physadv.patch import Patch
from physadv.recording import Paths
from physadv.trial.book import NextWindow, TrialBook
from physadv.trial.doubts import exposure_changed
from physadv.trial.guide import TrialGuide
from physadv.trial.plan import ARMS, WORN, Arm
from physadv.trial.settings import TrialSettings
from physadv.trial.sources import FilmStretch, locks
from physadv.trial.state import RecordedWindow
from physadv.trial.window import WindowTaking

# So long a camera may be silent within a window, and so often may a window or block fail where nobody is asked.
SILENT_S = 10.0
TRIES = 3
PAUSED = "paused within it"


class TrialRun:
    """Runs a trial on the thread that calls `run`; `guide` and `state` may be used from any other.

    patterns: the names by which the demo wears each arm where software puts it on, else none. pictures: what each arm but
    `none` shows.
    """

    def __init__(
        self,
        demo: CameraDemo,
        book: TrialBook,
        settings: TrialSettings,
        *,
        pictures: dict[Arm, Patch],
        patterns: dict[Arm, str] | None = None,
        stretch: Callable[[float, int], FilmStretch] | None = None,
    ) -> None:
        """stretch: opens a file from a second on, with a serial number; None for a camera."""
        self.demo, self.book, self.settings = demo, book, settings
        self.pictures = pictures
        self.guide = TrialGuide()
        self.window: NextWindow | None = None
        self._locks: dict[str, str] = {}
        self._patterns, self._stretch = patterns, stretch
        self._serial = self._failures = 0

    # For the page

    def camera_locked(self, *, exposure: bool, white_balance: bool) -> None:
        """Take note of what the camera of a visitor's device holds; it is written before the next window."""
        self._locks = locks(exposure=exposure, white_balance=white_balance)

    def state(self) -> dict[str, Any]:
        """Return what the page shows, as plain values."""
        now, plan, state, window = self.guide, self.book.plan, self.book.state, self.window
        lengths = {"countdown": self.settings.countdown, "recording": plan.window_s}
        if now.phase == "prompt" and now.hands_free:
            lengths["prompt"] = self.settings.change
        left = lengths.get(now.phase)
        return {
            "phase": now.phase,
            "left_s": None if left is None else round(max(left - now.passed_s, 0.0), 2),
            "length_s": left,
            **shown_of(self.book, window),
            "cells": len(plan.cells),
            "blocks": plan.blocks,
            "arms": len(ARMS),
            "recorded": len(state.counted),
            "most": plan.windows,
            "message": now.message,
            "hands_free": now.hands_free,
            "can_redo": bool(state.counted) and now.phase in ("prompt", "paused"),
            "browser": self.settings.source == "browser" and self.demo.latest is None,
            "live": state.live,
            "digital": self._patterns is not None,
            "proxy": state.proxy,
            "locks": state.locks,
            "pattern": plan.pattern.name,
            "report": now.report,
        }

    # The trial

    def run(self, progress: Callable[[float, str], None] = lambda *_: None) -> None:
        """Record every window that the plan asks for and no cell is decided without; return when that is done.

        progress: called before each window with the share of all that is recorded, and what comes.

        Raises: DataError if nobody is found with nothing on, in a file or again and again. SourceError if the source ends.
        RecordingError if the disk is full. Whatever was recorded whole stays.
        """
        try:
            while (window := self.book.next()) is not None:
                self.window = window
                share = len(self.book.state.counted) / self.book.plan.windows
                progress(share, f"{self.book.cell_of(window).name}, block {window.block + 1}, {window.arm}")
                self._wear(window.arm)
                if not self._ready():
                    continue
                if self.guide.phase == "done":
                    return
                self._judge(window, self._record(window))
        except BaseException:
            self.guide.enter("failed")
            raise
        self.book.end("")
        self._finish()

    def _finish(self) -> None:
        self.window = None
        self.guide.enter("done")

    def _wear(self, arm: Arm) -> None:
        """Let software put on what an arm shows, if it does."""
        if self._patterns is None or self.demo.controls.wear == (name := self._patterns.get(arm, "")):
            return
        tiles = name and self.demo.library.get(name).tiles
        size = self.book.plan.pattern.width_cm if name and not tiles else None
        self.demo.control(wear=name, wear_size=size)

    def _ready(self) -> bool:
        """Return whether the window is to be recorded now; False where another one is to come first."""
        if self.settings.auto:
            return True
        self.guide.enter("prompt")
        while True:
            self._check_running()
            command = self.guide.command(0.1)
            now = self.guide
            if command == "begin":
                if now.counted_down(self.settings.countdown):
                    return True
            elif command == "pause":
                self.guide.enter("paused" if now.phase == "prompt" else "prompt")
            elif command == "redo":
                last = self.book.redo_last()
                now.message = "" if last is None else f"once more: {WORN[last.arm]}"
                return False
            elif command == "stop":
                self.book.end("stopped by hand")
                self._finish()
                return True
            elif (
                now.hands_free
                and now.phase == "prompt"
                and now.passed_s >= self.settings.change
                and now.counted_down(self.settings.countdown)
            ):
                return True

    # One window

    def _record(self, window: NextWindow) -> RecordedWindow | None:
        """Return a window once it is whole on disk; None where it was thrown away."""
        if self._locks:
            self.book.take_locks(self._locks)
        self._serial += 1
        source = None if self._stretch is None else self._stretch(window.start_s, self._serial)
        path = self.book.path(window.file)
        recorder = Recorder(path, RecordSettings(clean=True, overwrite=True), session_of(self.demo, self.book, window))
        worn = "" if self._patterns is None else self._patterns.get(window.arm, "")
        first = None if source is None else source.first
        taking = WindowTaking(recorder, length_s=self.book.plan.window_s, worn=worn, first=first)
        end = self.demo.subscribe(taking)
        self.guide.enter("recording")
        began = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            if source is not None:
                self.demo.take_source(source)
            why = self._waited(taking, source)
        except BaseException:
            end()
            recorder.close()
            Paths.of(path).clear()
            with suppress(OSError):
                self.book.note(f"{window.file} was thrown away: interrupted")
            raise
        end()
        self.guide.enter("checking")
        recorder.close()
        if recorder.error:
            Paths.of(path).clear()
            raise RecordingError(
                recorder.error.partition("; what was written")[0],
                hint=f"the {len(self.book.state.counted)} windows before are whole; make room and run the same again",
            )
        why = why or taking.fault()
        if why:
            Paths.of(path).clear()
            self._thrown_away(window, why)
            return None
        self._failures = 0
        return RecordedWindow(
            cell=window.cell, block=window.block, attempt=window.attempt, position=window.position, arm=window.arm,
            take=window.take, file=window.file, frames=taking.frames, dropped=recorder.dropped, light=taking.light,
            repeated=taking.repeated, began=began,
        )  # fmt: skip

    def _waited(self, taking: WindowTaking, source: FilmStretch | None) -> str:
        """Wait for the end of a window; return why it is thrown away, "" where it is not.

        Raises: SourceError if a file cannot be read on.
        """
        while not taking.done.wait(0.05):
            if self.guide.command(0) == "pause":
                return PAUSED
            self._check_running()
            if source is not None and source.error:
                raise SourceError(source.error, field="source")
            state = self.demo.state()["source"]
            silent = time.monotonic() - taking.heard > SILENT_S or state["state"] == SourceState.ENDED
            # Of a file images may be passed over for long before the first one that counts.
            if source is None and silent:
                return f"no image came: {state['detail']}"
        return ""

    def _thrown_away(self, window: NextWindow, why: str) -> None:
        """Take note of a window that does not count.

        Raises: SourceError where it would happen again: in a file, or for the third time with nobody asked.
        """
        self.book.note(f"{window.file} was thrown away: {why}")
        self.guide.message = f"thrown away: {why}"
        self._failures += 1
        if (self._stretch is not None and why != PAUSED) or (self.settings.auto and self._failures >= TRIES):
            cell = self.book.cell_of(window).name
            raise SourceError(
                f"{self.book.state.source}: {why} (cell {cell}, block {window.block + 1}, {window.arm})", field="source"
            )

    def _judge(self, window: NextWindow, recorded: RecordedWindow | None) -> None:
        """Keep a window, and say what its block needs.

        Raises: DataError as `run` says.
        """
        if recorded is None:
            return
        why = self.book.add(recorded)
        if not why:
            blocks = self.book.whole_blocks(window.cell)
            whole = next((b for b in blocks if b.block == window.block), None)
            self.guide.message = "" if whole is None else "; ".join(exposure_changed(whole))
            return
        self.guide.message = f"block {window.block + 1} is done again: {why}"
        if self._stretch is not None or (self.settings.auto and window.attempt + 1 >= TRIES):
            times = "" if self._stretch is not None else f", {window.attempt + 1} times"
            cell = self.book.cell_of(window)
            raise DataError(
                f"{self.book.state.source}: {why} (cell {cell.name}, block {window.block + 1}){times}",
                field="source",
                expected="one person in view all the time",
            )

    def _check_running(self) -> None:
        """Raise SourceError or what else ended the demo if it has ended."""
        if self.demo.error is not None:
            raise self.demo.error
        if not self.demo.running:
            raise SourceError(f"{self.book.state.source}: the demo has ended", field="source")


def shown_of(book: TrialBook, window: NextWindow | None) -> dict[str, Any]:
    """Return what the page shows of the window that is due: what is worn, where to stand, which one it is, from 1 on."""
    if window is None:
        return dict.fromkeys(("arm", "worn", "stand", "cell", "block", "position"))
    return {
        "arm": window.arm,
        "worn": WORN[window.arm],
        "stand": book.cell_of(window).stand,
        "cell": window.cell + 1,
        "block": window.block + 1,
        "position": window.position + 1,
    }


def session_of(demo: CameraDemo, book: TrialBook, window: NextWindow) -> dict[str, Any]:
    """Return how a window is recorded, for its session.json."""
    what = {
        "plan": book.state.plan.sha256,
        "cell": book.cell_of(window).model_dump(mode="json"),
        "block": window.block + 1,
        "arm": window.arm,
        "attempt": window.attempt,
        "proxy": book.state.proxy,
    }
    return {**demo.session(), "trial": what}
