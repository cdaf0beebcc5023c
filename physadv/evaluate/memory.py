"""How much memory this process takes, and took at the most since it was last asked: what a defence needs."""

from __future__ import annotations

from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Written there it sets the process's peak to what it takes now; nothing else changes.
PEAK = "5"


def used_memory() -> int | None:
    """Return the bytes that this process takes now, and begin to look for its peak; None where no one can know."""
    try:
        RESET.write_text(PEAK)
    except OSError:
        return None
    return _field("VmRSS")


def peak_memory() -> int | None:
    """Return the most bytes that this process took since `used_memory`; None where nobody can know."""
    return _field("VmHWM")


def _field(name: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
