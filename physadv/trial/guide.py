"""What somebody is asked for in a trial, and what they answer: the side of it that the page shows."""

from __future__ import annotations

import threading
import time
from typing import Literal

Phase = Literal["prompt", "paused", "countdown", "recording", "checking", "done", "failed"]
Command = Literal["begin", "pause", "redo", "stop", "hands-free", "leave"]


class TrialGuide:
    """Where a trial stands, and the keys that were pressed. Safe to use from several threads.

    message: what went wrong last. hands_free: whether windows begin by themselves. report: where it is, "" before it is
    written. left: whether the page of a trial that is done is no longer wanted.
    """

    def __init__(self) -> None:
        self.phase: Phase = "prompt"
        self.message = self.report = ""
        self.hands_free = self.left = False
        self._since = time.monotonic()
        self._asked: list[Command] = []
        self._changed = threading.Condition()

    @property
    def passed_s(self) -> float:
        """Return the seconds since the phase began."""
        return time.monotonic() - self._since

    def enter(self, phase: Phase) -> None:
        """Begin a phase."""
        with self._changed:
            self.phase, self._since = phase, time.monotonic()

    def ask(self, command: Command) -> None:
        """Ask for what a key stands for; it is done as soon as it can be."""
        with self._changed:
            if command == "hands-free":
                self.hands_free = not self.hands_free
                self._since = time.monotonic() if self.phase == "prompt" else self._since
            elif command == "leave":
                self.left = self.phase == "done"
            else:
                self._asked.append(command)
            self._changed.notify_all()

    def command(self, wait_s: float) -> Command | None:
        """Return what was asked for, None if nothing was within some seconds."""
        with self._changed:
            if not self._asked:
                self._changed.wait(wait_s)
            return self._asked.pop(0) if self._asked else None

    def counted_down(self, seconds: float) -> bool:
        """Count down; return False if somebody paused meanwhile."""
        self.enter("countdown")
        self.message = ""
        while (left := seconds - self.passed_s) > 0:
            if self.command(min(left, 0.05)) == "pause":
                self.enter("paused")
                return False
        return True
