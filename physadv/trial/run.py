"""A trial while it goes on: prompt, countdown, window, again, until the plan is done. One thread runs it, the page asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from physadv.capture.latest import SourceState
from physadv.errors import DataError, RecordingError, SourceError
from physadv.live.camera_demo import CameraDemo
from physadv.live.recorder import Recorder, RecordSettings, info_of
from physadv.live.shown import Shown
from physadv.patch import Patch
from physadv.recording import Paths
from physadv.trial.book import NextWindow, TrialBook
from physadv.trial.doubts import exposure_changed
from physadv.trial.plan import ARMS, WORN, Arm
from physadv.trial.settings import TrialSettings
from physadv.trial.sources import LOCKED, MEASURED, FilmStretch
from physadv.trial.state import RecordedWindow
from physadv.types import UInt8Array

Phase = Literal["prompt", "paused", "countdown", "recording", "checking", "done", "failed"]
Command = Literal["begin", "pause", "redo", "stop", "hands-free", "leave"]
# So long a camera may be silent within a window, and so often may a window or block fail where nobody is asked.
SILENT_S = 10.0
TRIES = 3
# Every so many pixels are looked at for light and for a picture that stands still.
STRIDE = 8
# From this share of images that repeat the one before a camera is taken to stand still.
STILL = 0.5


class WindowTaking:
    """Takes the frames of one window from the demo, on its thread, and records what the detector was given.

    worn: the pattern that software puts on, "" for none. done: set with the first frame after the window, or when it
    failed; `failed` then says why.
    """

    def __init__(self, recorder: Recorder, *, length_s: float, worn: str, first: int | None) -> None:
        """first: the number of a file's first frame; None for a camera, whose frames count from now on."""
        self.done = threading.Event()
        self.failed = ""
        self.frames = self.repeated = 0
        self.heard = time.monotonic()
        self._recorder, self._length_s, self._worn, self._first = recorder, length_s, worn, first
        self._from_ns = time.monotonic_ns()
        self._start_s: float | None = None
        self._light: list[Any] = []
        self._last: UInt8Array | None = None

    def __call__(self, shown: Shown) -> None:
        """Take a frame."""
        if self.done.is_set() or not self._begun(shown):
            return
        self.heard = time.monotonic()
        if self._start_s is None:
            self._start_s = shown.frame.pts_s
        at_s = shown.frame.pts_s - self._start_s
        if at_s >= self._length_s - 1e-6 or at_s < 0:
            self.failed = "the source began anew" if at_s < 0 else ""
            self.done.set()
            return
        if shown.worn != self._worn:
            self.failed = f"{shown.worn or 'nothing'} was put on in place of {self._worn or 'nothing'}"
            self.done.set()
            return
        pixels = shown.frame.pixels[::STRIDE, ::STRIDE]
        self._light.append(np.median(pixels.reshape(-1, 3), axis=0))
        self.repeated += self._last is not None and np.array_equal(self._last, pixels)
        self._last = pixels
        # What was given, a pattern that software put on included: scored again, the untouched video must show it.
        taken = self._recorder.write(
            shown.frame, lambda: shown.annotated, shown.people, info_of(shown), wait=self._first is not None
        )
        self.frames += taken
        if self._recorder.error:
            self.done.set()

    def _begun(self, shown: Shown) -> bool:
        if self._first is not None:
            return shown.frame.index >= self._first
        return shown.frame.captured_ns >= self._from_ns

    @property
    def light(self) -> tuple[float, float, float]:
        """Return the medians of red, green and blue over the window."""
        red, green, blue = (round(float(v), 2) for v in np.median(self._light, axis=0)) if self._light else (0.0,) * 3
        return red, green, blue


@dataclass(slots=True)
class Moment:
    """What the page shows. message: what went wrong last. since: by the monotonic clock, of the phase.

    left: whether the page of a trial that is done is no longer wanted. report: where it is, "" before it is written.
    """

    phase: Phase = "prompt"
    window: NextWindow | None = None
    message: str = ""
    since: float = field(default_factory=time.monotonic)
    hands_free: bool = False
    left: bool = False
    report: str = ""


class TrialRun:
    """Runs a trial on the thread that calls `run`; `ask` and `state` may be called from any other.

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
        self.standing = Moment()
        self._locks: dict[str, str] = {}
        self._patterns, self._stretch = patterns, stretch
        self._asked: list[Command] = []
        self._changed = threading.Condition()
        self._serial = self._failures = 0

    # For the page

    def ask(self, command: Command) -> None:
        """Ask for what a key stands for; it is done as soon as it can be."""
        with self._changed:
            if command == "hands-free":
                self.standing.hands_free = not self.standing.hands_free
            elif command == "leave":
                self.standing.left = self.standing.phase == "done"
            else:
                self._asked.append(command)
            self._changed.notify_all()

    def camera_locked(self, *, exposure: bool, white_balance: bool) -> None:
        """Take note of what the camera of a visitor's device holds; it is written before the next window."""
        held = {"exposure": exposure, "white balance": white_balance}
        self._locks = {name: LOCKED if on else MEASURED for name, on in held.items()}

    def state(self) -> dict[str, Any]:
        """Return what the page shows, as plain values."""
        now, plan, state = self.standing, self.book.plan, self.book.state
        passed, window = time.monotonic() - now.since, now.window
        lengths = {"countdown": self.settings.countdown, "recording": plan.window_s}
        if now.phase == "prompt" and now.hands_free:
            lengths["prompt"] = self.settings.change
        left = lengths.get(now.phase)
        return {
            "phase": now.phase,
            "left_s": None if left is None else round(max(left - passed, 0.0), 2),
            "length_s": left,
            "arm": None if window is None else window.arm,
            "worn": None if window is None else WORN[window.arm],
            "stand": None if window is None else self.book.cell_of(window).stand,
            "block": None if window is None else window.block + 1,
            "position": None if window is None else window.position + 1,
            "cell": None if window is None else window.cell + 1,
            "cells": len(plan.cells),
            "blocks": plan.blocks,
            "arms": len(ARMS),
            "recorded": len(state.counted),
            "most": plan.windows,
            "message": now.message,
            "hands_free": now.hands_free,
            "can_redo": bool(state.counted) and now.phase in ("prompt", "paused"),
            "browser": self.settings.source == "browser",
            "digital": self._patterns is not None,
            "proxy": state.proxy,
            "locks": state.locks,
            "pattern": plan.pattern.name,
            "report": now.report,
        }

    # The trial

    def run(self) -> None:
        """Record every window that the plan asks for and no cell is decided without; return when that is done.

        Raises: DataError if nobody is found with nothing on, in a file or again and again. SourceError if the source ends.
        RecordingError if the disk is full. Whatever was recorded whole stays.
        """
        try:
            while (window := self.book.next()) is not None:
                self.standing.window = window
                self._wear(window.arm)
                if not self._ready():
                    continue
                if self._stopped():
                    return
                self._judge(window, self._record(window))
        except BaseException:
            self._enter("failed")
            raise
        self.book.end("")
        self._finish()

    def _stopped(self) -> bool:
        """Return whether the trial was ended before its plan was done."""
        return self.standing.phase == "done"

    def _finish(self) -> None:
        self.standing.window = None
        self._enter("done")

    def _enter(self, phase: Phase) -> None:
        with self._changed:
            self.standing.phase, self.standing.since = phase, time.monotonic()

    def _command(self, wait_s: float) -> Command | None:
        """Return what was asked for, None if nothing was within some seconds."""
        with self._changed:
            if not self._asked:
                self._changed.wait(wait_s)
            return self._asked.pop(0) if self._asked else None

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
        self._enter("prompt")
        while True:
            self._check_running()
            command = self._command(0.1)
            now = self.standing
            passed = time.monotonic() - now.since
            if command == "begin":
                if self._counted_down():
                    return True
            elif command == "pause":
                self._enter("paused" if now.phase == "prompt" else "prompt")
            elif command == "redo":
                last = self.book.redo_last()
                now.message = "" if last is None else f"once more: {WORN[last.arm]}"
                return False
            elif command == "stop":
                self.book.end("stopped by hand")
                self._finish()
                return True
            elif now.hands_free and now.phase == "prompt" and passed >= self.settings.change and self._counted_down():
                return True

    def _counted_down(self) -> bool:
        """Count down; return False if that was stopped."""
        self._enter("countdown")
        self.standing.message = ""
        while (left := self.settings.countdown - (time.monotonic() - self.standing.since)) > 0:
            if self._command(min(left, 0.05)) == "pause":
                self._enter("paused")
                return False
        return True

    # One window

    def _record(self, window: NextWindow) -> RecordedWindow | None:
        """Return a window once it is whole on disk; None where it was thrown away."""
        if self._locks:
            self.book.take_locks(self._locks)
        self._serial += 1
        source = None if self._stretch is None else self._stretch(window.start_s, self._serial)
        path = self.book.path(window.file)
        recorder = Recorder(path, RecordSettings(clean=True, overwrite=True), self._session(window))
        worn = "" if self._patterns is None else self._patterns.get(window.arm, "")
        first = None if source is None else source.first
        taking = WindowTaking(recorder, length_s=self.book.plan.window_s, worn=worn, first=first)
        end = self.demo.subscribe(taking)
        self._enter("recording")
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
        self._enter("checking")
        recorder.close()
        if recorder.error:
            Paths.of(path).clear()
            raise RecordingError(
                recorder.error.partition("; what was written")[0],
                hint=f"the {len(self.book.state.counted)} windows before are whole; make room and run the same again",
            )
        why = why or self._fault(taking)
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

    def _session(self, window: NextWindow) -> dict[str, Any]:
        state, cell = self.book.state, self.book.cell_of(window)
        what = {
            "plan": state.plan.sha256, "cell": cell.model_dump(mode="json"), "block": window.block + 1,
            "arm": window.arm, "attempt": window.attempt, "proxy": state.proxy,
        }  # fmt: skip
        return {**self.demo.session(), "trial": what}

    def _waited(self, taking: WindowTaking, source: FilmStretch | None) -> str:
        """Wait for the end of a window; return why it is thrown away, "" where it is not.

        Raises: SourceError if a file cannot be read on.
        """
        while not taking.done.wait(0.02):
            if self._command(0) == "pause":
                return "paused within it"
            self._check_running()
            if source is not None and source.error:
                raise SourceError(source.error, field="source")
            state = self.demo.state()["source"]
            silent = time.monotonic() - taking.heard > SILENT_S or state["state"] == SourceState.ENDED
            # Of a file images may be passed over for long before the first one that counts.
            if source is None and silent:
                return f"no image came: {state['detail']}"
        return taking.failed

    def _fault(self, taking: WindowTaking) -> str:
        """Return what is wrong with a window that was recorded, "" for nothing."""
        if taking.frames < 2:
            return f"the source gave {taking.frames} images in it"
        if self._stretch is None and taking.repeated > STILL * taking.frames:
            return "the camera stood still"
        return ""

    def _thrown_away(self, window: NextWindow, why: str) -> None:
        """Take note of a window that does not count.

        Raises: SourceError where nobody is asked, and it happens again and again.
        """
        self.book.note(f"{window.file} was thrown away: {why}")
        self.standing.message = f"thrown away: {why}"
        self._failures += 1
        if self.settings.auto and self._failures >= TRIES:
            raise SourceError(f"{self.book.state.source}: {why}, {TRIES} times", field="source")

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
            self.standing.message = "" if whole is None else "; ".join(exposure_changed(whole))
            return
        self.standing.message = f"block {window.block + 1} is done again: {why}"
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
