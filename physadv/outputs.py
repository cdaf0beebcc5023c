"""Where results may be written: only regular files, only files of physadv's own, one writer at a time."""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from physadv.errors import OutputError

# What the kinds of files that physadv writes hold: JSON and safetensors, profiles, images, patterns as PNG, PDF.
SIGNS = (
    b'"physadv":',
    b'"kind": "camera"',
    b'"kind": "printer"',
    b"tEXtSoftware\0physadv",
    b"tEXtphysadv\0",
    b"(physadv",
)
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.*")
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def check_local(path: Path) -> None:
    """Raise OutputError for an address, or for a name that no file can have."""
    # A Path has lost one of the two slashes.
    if ADDRESS.fullmatch(str(path)):
        raise OutputError(f"{path}: an address cannot be written to; expected a file on this machine")
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r}: a file's name cannot hold a NUL character")


def check_replaceable(path: Path, *, overwrite: bool = False) -> None:
    """Raise OutputError if a file must not be replaced: another program's without `overwrite`, or no regular file.

    A file that is not there, is empty, or was written by physadv may be. A link counts as what it leads to.

    Raises: OSError if it cannot be looked at.
    """
    check_local(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "no regular file")
        raise OutputError(f"{path}: is {kind}; expected a file name")
    if not (overwrite or path.stat().st_size == 0 or written_by_physadv(path)):
        raise OutputError(f"{path}: exists and was not written by physadv; name another file, or give `overwrite`")


def check_folder_replaceable(folder: Path, names: Sequence[str], *, overwrite: bool = False) -> None:
    """Raise OutputError if files of these names in the folder are another program's, or one of them is a device.

    They are ours if physadv wrote one of them. overwrite: another program's may be replaced, too.
    """
    check_local(folder)
    there = [folder / name for name in names if os.path.lexists(folder / name)]
    own = any(path.is_file() and written_by_physadv(path) for path in there)
    for path in there:
        check_replaceable(path, overwrite=overwrite or own)


def written_by_physadv(path: Path) -> bool:
    """Return whether a regular file bears the sign of a file that physadv wrote; an empty one bears none.

    Raises: OSError if it cannot be read.
    """
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(sign) >= 0 for sign in SIGNS)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if need be, as its only writer. A kill frees it; a folder that stays empty is removed again.

    Raises: OutputError if another process holds it. OSError if it cannot be made.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder)
        yield
    finally:
        os.close(handle)
        if made:
            with suppress(OSError):
                folder.rmdir()


def check_idle(path: Path) -> None:
    """Raise OutputError if a process holds the file by `lock`."""
    if path.is_file():
        with path.open("rb") as stream:
            lock(stream.fileno(), path)


def lock(handle: int, path: Path) -> None:
    """Take the lock of an open file or folder, which lasts until it is closed.

    Raises: OutputError if another process has it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"{path}: another physadv is writing there; wait until it ends, or name another one"
        ) from None
    except OSError:
        # Some network file systems have no locks; they are as safe as they were.
        return
