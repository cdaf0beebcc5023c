"""Turns of the processes that run the suite together: a test that measures time has the machine to itself."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO


class Turns:
    """Tests run side by side; one that wants to be alone waits for those that run, and holds up those that come.

    folder: the same one in every process.
    """

    def __init__(self, folder: Path) -> None:
        # Who wants to be alone waits with the door shut, or those that come and go would keep it waiting for ever.
        self._door = _opened(folder / "door")
        self._room = _opened(folder / "room")
        self._within = False

    def enter(self, *, alone: bool) -> None:
        """Wait until this test may run, unless this process was left its turn."""
        if self._within:
            return
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        self._within = True

    def leave(self) -> None:
        """Let the others run."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._within = False


def _opened(path: Path) -> IO[bytes]:
    return path.open("ab")
