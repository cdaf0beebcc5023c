"""Files that are whole or not there: hashes and atomic writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +-]{0,63}")


def checked_name(value: str) -> str:
    """Return `value` if it can name a file: letters, digits, dot, dash, underscore, plus, blank; 64 characters at most.

    Raises: ValueError otherwise.
    """
    if not NAME.fullmatch(value):
        raise ValueError(f"expected up to 64 letters, digits, dots and dashes, got {value!r}")
    return value


def file_name(text: str) -> str:
    """Return `text` as `checked_name` takes it: what may not be in a name becomes a dash, what is too long is cut."""
    clean = re.sub(r"[^A-Za-z0-9._ +-]+", "-", text).lstrip("._ +-")[:64].rstrip(" -")
    return clean or "unnamed"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits, read in pieces.

    Raises: OSError if it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Return a binary stream whose content replaces `path` in one step when the block ends without an error.

    The data is flushed to disk before the rename, so that a kill leaves the old file or the new one, never a part.

    Raises: OSError, naming `path`, if the folder cannot be made or the disk is full; `path` is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise _named_after(path, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files for their owner alone; a result should have the permissions any new file has.
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, name):
            raise _named_after(path, error) from error
        raise


def _named_after(path: Path, error: OSError) -> OSError:
    """Return the error as one of `path`: a full disk names no file, and nobody knows the one that was to replace it."""
    return OSError(error.errno, error.strerror or str(error), str(path))


def told_apart(paths: Sequence[str]) -> list[str]:
    """Return the shortest ends of paths by which they differ, all of as many parts; equal paths stay equal."""
    parts = [Path(p).parts for p in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        ends = [str(Path(*p[-length:])) for p in parts]
        if len(set(ends)) == len(set(parts)):
            return ends
    return list(paths)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically.

    Raises: OSError if it cannot be written. ValueError for NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_write(path) as stream:
        stream.write(text.encode())
