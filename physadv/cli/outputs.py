"""What commands check of the files and folders that they will write, before the work begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

from pydantic import Field

from physadv.errors import SettingsError, naming
from physadv.outputs import check_folder_replaceable, check_local, check_replaceable, locked

Overwrite = Annotated[bool, Field(description="replace files that physadv did not write, too")]


def check_png(field: str, path: Path | None) -> None:
    """Raise SettingsError if an image would be written under a name that does not end in .png."""
    if path is not None and path.suffix.lower() != ".png":
        raise SettingsError(field=field, expected="a file name ending in .png", got=repr(str(path)))


def check_writable(field: str, path: Path | None, *, overwrite: bool = False) -> None:
    """Raise SettingsError if a file cannot be written at the end of long work. None is no file.

    overwrite: it may also take the place of another program's file.
    """
    if path is None:
        return
    check_folder(field, path.parent)
    try:
        if path.is_dir():
            raise SettingsError(f"{path} is a folder", field=field, expected="a file name")
        with naming(field):
            check_replaceable(path, overwrite=overwrite)
    except OSError as error:
        raise SettingsError(
            field=field, expected="a file that can be written", got=f"{path}: {error.strerror or error}"
        ) from error


def check_own_folder(field: str, folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Raise OutputError if a folder of results holds another program's file under one of the names to be written.

    With `overwrite` only devices, pipes and addresses are refused.
    """
    with naming(field):
        check_folder_replaceable(folder, names, overwrite=overwrite)


def check_not_input(field: str, result: Path, inputs: Iterable[str | Path]) -> None:
    """Raise SettingsError if a folder of results is one of the runs that it is made from, or holds one of the files.

    inputs: folders, files or names; names that are no path are passed over.
    """
    for named in inputs:
        path = Path(named).expanduser()
        if path.exists() and result.resolve() in (path.resolve(), path.resolve().parent if path.is_file() else None):
            raise SettingsError(
                f"{result} holds {named}, which this run is made from", field=field, hint="name another folder"
            )


@contextmanager
def only_writer(field: str, folder: Path) -> Iterator[None]:
    """Hold a folder of results as its only writer.

    Raises: OutputError if another process writes there.
    """
    with ExitStack() as stack:
        with naming(field):
            stack.enter_context(locked(folder))
        yield


def check_folder(field: str, folder: Path) -> None:
    """Raise SettingsError if nothing can be written in a folder, which need not be there yet and is not made."""
    there = folder
    with naming(field):
        check_local(folder)
    try:
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        what = "it" if there == folder else str(there)
        why = f"{what} is a file" if isinstance(error, NotADirectoryError) else error.strerror or error
        raise SettingsError(
            field=field, expected="a folder that can be written", got=f"{str(folder)!r}: {why}"
        ) from error
