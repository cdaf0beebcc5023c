"""How far long work is: a bar on a terminal, elsewhere a line now and then, both with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from physadv.cli.console import Terminal

# Seconds between lines where no bar can be drawn: a log file, a pipe, CI.
EVERY_S = 15.0
# Before this a guess of the time left is worth nothing.
SURE_AFTER_S = 2.0


class ProgressBar:
    """Progress on stderr. To be used as a context; it draws from the first `show` on.

    label: of the command, in front of each line. quiet: prints nothing, as processes beside the first one.
    """

    def __init__(
        self,
        label: str,
        *,
        console: Console | None = None,
        quiet: bool = False,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._every_s, self._clock = label, every_s, clock
        self.console = console or Terminal(stderr=True, quiet=quiet)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[left]}"))
        self._bar = Bar(*columns, console=self.console, transient=True, disable=quiet or not self.console.is_terminal)
        self._row = self._bar.add_task("", total=1.0, left="")
        self._part: str | None = None
        self._began, self._first = 0.0, 0.0
        self._said: float | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def show(self, share: float | None, what: str, *, part: str = "", line: bool = False) -> None:
        """Show how much of a part of the work is done, 0 to 1 or None where that cannot be known, and what is done now.

        part: the time left is that of this part; another one begins to count anew. line: print a line whether or not one
        is due, where no bar is drawn.
        """
        now = self._clock()
        if part != self._part:
            self._part, self._began, self._first = part, now, share or 0.0
        left = self._left(share, now)
        text = f"{part}: {what}" if part and what else part or what
        if not self._bar.disable:
            self._bar.start()
            self._bar.update(self._row, description=text, completed=share or 0.0, total=None if share is None else 1.0)
            self._bar.update(self._row, left=left)
        elif line or self._said is None or now - self._said >= self._every_s:
            self._said = now
            done = "" if share is None else f"{share:.0%}"
            self.say("  ".join(filter(None, [f"{self._label}:", done, text, left])))

    def say(self, text: str) -> None:
        """Print a line as it is, above a bar."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _left(self, share: float | None, now: float) -> str:
        spent = now - self._began
        if share is None or share <= self._first or spent < SURE_AFTER_S:
            return ""
        return f"about {in_words(spent * (1 - share) / (share - self._first))} left"


def in_words(seconds: float) -> str:
    """Return a length of time as one reads it: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
