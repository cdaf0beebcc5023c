"""What every verb of the command line shares: flags from a settings model, a configuration file, one-line errors."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import tomllib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as PydanticSettingsError

from physadv.address import masked
from physadv.cli.help import flag_name, is_list, is_positional, leaves, metavar, page
from physadv.cli.terminal import call_fields, complain, hide
from physadv.errors import PhysadvError, SettingsError, naming
from physadv.files import parse_yaml, read_text
from physadv.outputs import check_folder_replaceable, check_local, check_replaceable, locked
from physadv.settings import fault

# A message that fills the terminal hides what is wrong.
MESSAGE = 500
INTERRUPTED = 130
OVERWRITE = "replace files that physadv did not write, too"


class Command(BaseSettings):
    """A verb: its fields are its flags. `--config FILE` (TOML or YAML) gives defaults that flags override.

    groups: headings of its help page and the fields under each, most used first. examples: lines to type that work.
    """

    groups: ClassVar[dict[str, tuple[str, ...]]] = {}
    examples: ClassVar[tuple[str, ...]] = ()

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return no source but flags and `--config`: HOST or PORT in the environment must not leak in."""
        return (init_settings,)

    @abstractmethod
    def run(self) -> int:
        """Do the work and return the exit code."""


def execute(name: str, command: type[Command], argv: list[str]) -> int:
    """Return the exit code of one verb, with every user error printed on one line to stderr."""
    label = f"physadv {name}"

    call_fields(_words(command))

    def work() -> int:
        try:
            if {"-h", "--help"} & set(argv):
                print(page(label, command))
                return 0
            return parsed(name, command, argv).run()
        except ValidationError as error:
            return _refused(f"{label}: {fault(error).marked}")
        except PydanticSettingsError as error:
            return _refused(f"{label}: {_parse_error(str(error), command)}")

    return told(label, work)


def told(label: str, work: Callable[[], int | None]) -> int:
    """Return the exit code of `work`: its own, 0 for None, or 2 once its error was printed on one line to stderr.

    label: what is at work, said before what went wrong.
    """
    try:
        with interruptible():
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


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM raise KeyboardInterrupt: what is open is saved and closed. What was ignored stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refused(message: str) -> int:
    complain(message, limit=MESSAGE)
    return 2


def parsed(name: str, command: type[Command], argv: list[str]) -> Command:
    """Return a verb with its flags as `argv` and the file of `--config` give them.

    Raises: SettingsError if the file is no readable TOML or YAML table.
    """
    argv, defaults = _take_config(argv)
    named = type(
        command.__name__,
        (command,),
        {
            "__module__": command.__module__,
            "__doc__": command.__doc__,
            "model_config": SettingsConfigDict(cli_prog_name=f"physadv {name}", cli_exit_on_error=False),
        },
    )
    return CliApp.run(named, cli_args=_whole_lists(command, argv), **_as_flags(command, defaults))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean live?` for a word that is nearly one of those known, else ""."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def each_apart(values: Sequence[str]) -> list[str]:
    """Return each name or path by itself where a value holds several between commas; a path with a comma stays whole."""
    # Of a list too long to be a name `Path.exists` raises; this one says that there is no such file.
    names = [n.strip() for v in values for n in ([v] if os.path.exists(v) else v.split(","))]  # noqa: PTH110
    return [n for n in names if n]


def _parse_error(text: str, command: type[Command]) -> str:
    """Return what is wrong with the words of a command line, naming the flag that may have been meant."""
    text = text.removeprefix("error parsing CLI: ")
    _, unrecognised, rest = text.partition("unrecognized arguments: ")
    if not unrecognised:
        missing = text.removeprefix("the following arguments are required: ")
        words = {n.upper(): metavar(n, info) for n, info in command.model_fields.items() if is_positional(info)}
        return f"expected {words[missing]}, got none; --help shows what is taken" if missing in words else text
    if not rest.strip():
        return "got an empty word that belongs to no flag; --help shows what is taken"
    flag = rest.split()[0].partition("=")[0]
    flags = [flag_name(n, info) for n, info in command.model_fields.items() if not is_positional(info)]
    return f"{text}{did_you_mean(flag, flags) or '; --help shows what is taken'}"


def checked_png(field: str, path: Path | None) -> None:
    """Do nothing for a path at which a PNG image can be written, or None.

    Raises: SettingsError for a name of another kind: the file would not be what it says.
    """
    if path is not None and path.suffix.lower() != ".png":
        raise SettingsError(field=field, expected="a file name ending in .png", got=repr(str(path)))


def check_writable(field: str, path: Path | None, *, overwrite: bool = False) -> None:
    """Do nothing for a file that can be written at the end of long work, or None, which is no file; see `check_folder`.

    overwrite: it may also take the place of another program's file.

    Raises: SettingsError if it cannot be done.
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
            f"{path}: {error.strerror or error}", field=field, expected="a file that can be written"
        ) from error


def check_own_folder(field: str, folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Do nothing for a folder of results in which no other program's file bears one of the names to be written.

    Raises: SettingsError otherwise; with `overwrite` for devices, pipes and addresses alone.
    """
    with naming(field):
        check_folder_replaceable(folder, names, overwrite=overwrite)


@contextmanager
def only_writer(field: str, folder: Path) -> Iterator[None]:
    """Hold a folder of results as its only writer.

    Raises: SettingsError if another process writes there.
    """
    with ExitStack() as stack:
        with naming(field):
            stack.enter_context(locked(folder))
        yield


def check_folder(field: str, folder: Path) -> None:
    """Do nothing for a folder in which long work can end, there or yet to be made: work that fails leaves none behind.

    Raises: SettingsError if nothing can be written there.
    """
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


def _take_config(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return argv without `--config FILE`, and the values that file holds.

    Raises: SettingsError if it is not a readable TOML or YAML table.
    """
    rest: list[str] = []
    values: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        if word == "--config" or word.startswith("--config="):
            values = _read_config(Path(word.partition("=")[2] or next(words, "")))
        else:
            rest.append(word)
    return rest, values


def _read_config(path: Path) -> dict[str, Any]:
    """Return the table in a .toml or .yaml file.

    Raises: SettingsError.
    """
    if path.suffix not in (".toml", ".yaml", ".yml") or not path.is_file():
        raise SettingsError(field="config", expected="a readable .toml or .yaml file", got=repr(str(path)))
    try:
        text = read_text(path)
        values = tomllib.loads(text) if path.suffix == ".toml" else parse_yaml(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} does not parse: {masked(str(error))}", field="config") from error
    if not isinstance(values, dict):
        raise SettingsError(field="config", expected=f"names and values in {path}", got=type(values).__name__)
    bad = next((name for name, value in values.items() if any("\0" in text for text in _texts_in([name, value]))), None)
    if bad is not None:
        raise SettingsError(f"{path}: {bad}", field="config", expected="text without a NUL character")
    hide(_texts_in(list(values.values())))
    named = {str(name).replace("-", "_"): value for name, value in values.items()}
    if named.get("trust"):
        raise SettingsError(
            field="trust", expected="on the command line alone", got=f"it in {path}, which others may have written"
        )
    return named


def _texts_in(value: Any) -> list[str]:
    """Return the texts in a value of a configuration file, those in its lists and tables too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return _texts_in([*value, *value.values()])
    return [text for part in value for text in _texts_in(part)] if isinstance(value, list) else []


def _as_flags(command: type[Command], values: dict[str, Any]) -> dict[str, Any]:
    """Return a file's values as their flags would take them: one text for a list, a number where text is (`source: 0`)."""
    out = dict(values)
    for name, info in command.model_fields.items():
        value, kinds = out.get(name), set(leaves(info.annotation))
        if isinstance(value, (int, float)) and not isinstance(value, bool) and kinds <= {str, type(None)}:
            out[name] = value = str(value)
        if isinstance(value, str) and _is_text_list(info.annotation):
            out[name] = [value]
    return out


def _words(command: type[Command]) -> dict[str, str]:
    """Return what the usage of a verb calls those of its fields that are words by themselves, in capitals."""
    words = {name: metavar(name, info) for name, info in command.model_fields.items() if is_positional(info)}
    return {name: word if word.isupper() else name.upper() for name, word in words.items()}


def _whole_lists(command: type[Command], argv: list[str]) -> list[str]:
    """Return argv with each value of a repeatable text flag as a JSON list of one.

    pydantic-settings splits list values at commas; a path or a defence pipeline (`lgs,persistence`) may hold one. Where no
    word stands by itself a flag takes all that follow it (`--images a b`); elsewhere the next one could be such a word.
    """
    fields = command.model_fields
    flags = {flag_name(name, info) for name, info in fields.items() if _is_text_list(info.annotation)}
    several = not any(is_positional(info) for info in fields.values())
    out: list[str] = []
    taking = ""
    for word in argv:
        head, equals, value = word.partition("=")
        if head in flags and equals:
            out.append(f"{head}={json.dumps([value])}")
            taking = head if several else ""
        elif word in flags:
            taking = word
            out.append(word)
        elif taking and not word.startswith("-"):
            out += [json.dumps([word])] if out[-1] == taking else [taking, json.dumps([word])]
            taking = taking if several else ""
        else:
            taking = ""
            out.append(word)
    return out


def _is_text_list(annotation: Any) -> bool:
    """Return whether a field holds a list of str or Path, optional or not."""
    return is_list(annotation) and any(leaf in (str, Path, os.PathLike) for leaf in leaves(annotation))
