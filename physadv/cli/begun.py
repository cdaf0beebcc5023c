"""The flags with which a run was begun, kept in its folder so that `--resume` needs nothing but the folder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from physadv.cli.config import DETECTORS
from physadv.detect.names import check_declared
from physadv.errors import SettingsError, text_of
from physadv.files import parse_json, read_text
from physadv.settings import Settings, one_line

S = TypeVar("S", bound=Settings)
BEGUN = "flags.json"
# Characters of an error text about a damaged file.
LONGEST = 400


def read_begun(
    model: type[S], folder: Path, over: Callable[[dict[str, Any]], dict[str, Any]], *, given: Collection[str]
) -> S:
    """Return the settings with which the run in a folder was begun.

    over: gets the flags in the file, and returns what is asked for now with those given now over them. given: their names.

    Raises: SettingsError if there is no such run, its flags cannot be read, or one of them names code that would run.
    """
    path = folder / BEGUN
    try:
        begun = parse_json(read_text(path))
        if not isinstance(begun, dict):
            text = f"{path} is damaged: expected a table of flags, got {type(begun).__name__}"
            raise SettingsError(text, field="resume")
        begun.pop("physadv", None)
        for name in set(DETECTORS) - set(given):
            check_declared(begun.get(name), where=str(path))
        return model.model_validate(over(begun))
    except FileNotFoundError as error:
        raise SettingsError(
            f"no run here to go on with: {folder} has no {BEGUN}",
            field="resume",
            hint="name the run's folder by `out`, or begin one without `resume`",
        ) from error
    except ValidationError as error:
        raise SettingsError(f"{path} is damaged: {one_line(error)}"[:LONGEST], field="resume") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        text = f"{path} cannot be read, so there is no run to go on with: {text_of(error)}"
        raise SettingsError(text[:LONGEST], field="resume") from error


def absolute(where: str) -> str:
    """Return the absolute path of a file or folder that is there; names of what is shipped or downloaded stay."""
    path = Path(where).expanduser()
    return str(path.resolve()) if path.exists() else where
