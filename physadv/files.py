"""Files that are whole or not there: hashes and atomic writes."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import re
import tempfile
import unicodedata
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
        raise ValueError(f"expected up to 64 letters, digits, dots and dashes, got {value[:80]!r}")
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

    The data is flushed to disk before the rename, so that a kill leaves the old file or the new one, never a part. A link
    stays, and the file that it leads to is replaced.

    Raises: OSError, naming `path`, if the folder cannot be made, the disk is full, or `path` is a device, a pipe or a
    folder; `path` is then untouched.
    """
    named, path = path, Path(os.path.realpath(path))
    # A rename would put a file in the place of a device.
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file; expected a file name", str(named))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Of a name as long as names may be, there is no longer one.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
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


def read_text(path: Path, *, most: int = 2**24) -> str:
    """Return the text in a file that users' editors write: UTF-8, or what its byte order mark says, UTF-16 or UTF-32.

    most: bytes at most; whatever is larger is no such text.

    Raises: OSError if it cannot be read. ValueError if it is too large, in another encoding, or holds a NUL character,
    which no name of a file may have.
    """
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most:,} bytes")
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"}
    marks |= {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    mark, encoding = next(((m, e) for m, e in marks.items() if data.startswith(m)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"not {encoding.upper()} text (byte {error.start + len(mark)}); save it as UTF-8") from error
    if "\0" in text:
        raise ValueError(f"a NUL character in it (character {text.index(chr(0))}); save it as UTF-8 text")
    return text


def normal(name: str) -> str:
    """Return a name in the one form in which names are compared: Macs write an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


class Names:
    """Finds files whatever form of Unicode their names are in; folders are listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, path: Path) -> Path | None:
        """Return the file or folder at a path, as it is called on the disk; None if there is none."""
        try:
            if path.exists():
                return path
            if str(path).isascii() or path == path.parent:
                return None
            folder = self.find(path.parent)
            if folder is None:
                return None
            if folder not in self._listed:
                self._listed[folder] = {normal(p.name): p for p in sorted(folder.iterdir(), reverse=True)}
            return self._listed[folder].get(normal(path.name))
        except OSError:
            # A path of another machine may be one that nobody may look into here, or too long for any file.
            return None


def shortest_ends(paths: Sequence[str]) -> list[str]:
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
        stream.write(text_bytes(text))


def text_bytes(text: str) -> bytes:
    """Return a text as UTF-8; bytes of file names that are not, which Python keeps as halves of characters, as escapes.

    In JSON these escapes are read back as the same name.
    """
    return text.encode("utf-8", "backslashreplace")


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """Yield a path to a file whose own text is UTF-8, for libraries that take no other.

    Raises: OSError if the file cannot be opened.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as stream:
            yield Path(f"/dev/fd/{stream.fileno()}")
    else:
        yield path


def parse_json(text: str | bytes) -> Any:
    """Return the value in a JSON text.

    Raises: ValueError if it does not parse, is not UTF-8, or is nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_yaml(text: str) -> Any:
    """Return the value in a YAML text.

    Raises: ValueError if it does not parse, is nested deeper than Python can follow, names a key twice, or has aliases: a
    few lines of them can stand for more than any memory holds.
    """
    import yaml

    class Plain(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise ValueError(f"aliases (*{self.peek_event().anchor}) are not taken; write the value out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = (
                next((key for at, key in enumerate(keys) if key in keys[:at]), None)
                if len(set(keys)) < len(keys)
                else None
            )
            if twice is not None:
                raise ValueError(f"{twice[:60]!r} is there twice; leave one out")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Plain)
    except yaml.MarkedYAMLError as error:
        # The lines that PyYAML quotes may hold a password.
        at = error.problem_mark
        where = f" in line {at.line + 1}, column {at.column + 1}" if at is not None else ""
        raise ValueError(" ".join(f"{error.context or ''} {error.problem or ''}{where}".split())) from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (TypeError, AttributeError, OverflowError) as error:
        # Keys that cannot be keys, dates that are none: the constructors of PyYAML raise whatever they meet.
        raise ValueError(str(error)) from error


# What a terminal takes for a command, and halves of characters from names that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    """Return `text` with its control characters as escapes, but for line ends and tabs."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable(text: str, *, limit: int | None = None) -> str:
    """Return `text` as one line that can be shown anywhere: blanks for line ends, other control characters escaped.

    limit: characters at most; of a longer text the middle is left out.
    """
    text = escaped(" ".join(text.split()))
    if limit is None or len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]} … {text[-half:]}"
