"""Where a command ends: every error that a user can mend becomes one line on stderr and the exit code 2."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TextIO

from physadv.cli.terminal import complain
from physadv.errors import PatternReplaced, PhysadvError

# A message that fills the terminal hides what is wrong.
MESSAGE = 500
INTERRUPTED = 130
# After so long an interrupt that came during an import is raised again.
IMPORTS_S = 0.05
Handler = Callable[[int, FrameType | None], None]


def exit_code(label: str, work: Callable[[], int | None]) -> int:
    """Return the exit code of `work`: its own, 0 for None, or 2 after its error was printed on one line to stderr.

    label: the command, printed before what went wrong.
    """
    try:
        with interruptible(), replacements_said(label):
            return work() or 0
    except BrokenPipeError:
        # The reader went away (`physadv doctor | head`). Point stdout elsewhere, or Python's last flush would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PhysadvError as error:
        return _refused(f"{label}: {error.marked}")
    except OSError as error:
        return _refused(f"{label}: {error.filename or 'file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as stop:
        return int(stop.code or 0)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, or ask again in a moment while a module is being imported.

    Half an import of torch ends in an abort, or in a traceback of its own.

    Raises: KeyboardInterrupt.
    """
    at = frame
    while at is not None:
        if at.f_code.co_filename.startswith("<frozen importlib"):
            # Sent to the main thread, so that it wakes what that waits in by then. On Windows it comes after the wait.
            sent = partial(signal.pthread_kill, threading.get_ident()) if os.name == "posix" else signal.raise_signal
            again = threading.Timer(IMPORTS_S, sent, (number,))
            again.daemon = True
            again.start()
            return
        at = at.f_back
    raise KeyboardInterrupt


@contextmanager
def interruptible(handler: Handler = interrupt) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM call the handler: what is open is saved and closed. What was ignored stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def replacements_said(label: str) -> Iterator[None]:
    """Within, whatever loads a pattern by an old name says once on one line of stderr which one took its place."""
    said: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", PatternReplaced)
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, PatternReplaced):
                usual(message, category, filename, lineno, file, line)
            elif str(message) not in said:
                said.add(str(message))
                complain(f"{label}: {message}", limit=MESSAGE)

        warnings.showwarning = show
        yield


class Stop:
    """A handler for `interruptible`: the first signal is a question that a loop asks, a second one interrupts at once.

    looping: whether the loop has begun. Before, there is nothing to end in order, and the first one interrupts too.
    """

    def __init__(self) -> None:
        self.looping = False
        self._hit = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal.

        Raises: KeyboardInterrupt as `interrupt` does.
        """
        if self._hit or not self.looping:
            interrupt(number, frame)
        else:
            self._hit = True

    def asked(self) -> bool:
        """Return whether the loop is to end. To be asked at each of its steps; it has begun with the first."""
        self.looping = True
        return self._hit


def _refused(message: str) -> int:
    complain(message, limit=MESSAGE)
    return 2
