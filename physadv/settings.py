"""The base of every settings model: one schema for flags, TOML or YAML files, the web API and the saved record."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from physadv.address import masked
from physadv.errors import SettingsError


class Settings(BaseModel):
    """Immutable settings. Unknown names are refused, so a misspelt key never passes silently; NaN and infinity too."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


# What pydantic says, and what we do: one form for its messages and ours.
PLAIN = (
    (r"^Value error, ", ""),
    (r"^(Input|String|List|Value) should (be|have|match) ", "expected "),
    (r"^Field required$", "is missing"),
    (r"^Extra inputs are not permitted$", "is not known here"),
    (r"less than or equal to", "at most"),
    (r"greater than or equal to", "at least"),
    (r"greater than", "more than"),
    (r", unable to .*$", ""),
)
GOT = 80


def one_line(error: ValidationError, *, what: str = "", kebab: bool = False, positional: Collection[str] = ()) -> str:
    """Return a pydantic error as one line: each field with what was expected and what came.

    what: put in front ("physadv live"). kebab: show field names as flags (`--max-size`), but for those that are
    `positional` as the usage shows them (`PATCH`).
    """
    line = told(error.errors(include_url=False), kebab=kebab, positional=positional)
    return f"{what}: {line}" if what else line


def told(errors: Iterable[Mapping[str, Any]], *, kebab: bool = False, positional: Collection[str] = ()) -> str:
    """Return the single errors of a pydantic error as one line; see `one_line`."""
    parts = []
    for item in errors:
        # Of a flag's list no place is told: `--crops 224,foo` has none that anybody counts.
        place = ".".join(str(p) for p in item["loc"] if not (kebab and isinstance(p, int)))
        message = _plain(item["msg"])
        name = place
        if kebab:
            name = place.upper() if place in positional else _flag(place)
            # What is wrong with a field beside others is told by name, in front.
            message = re.sub(r"^[a-z_]+(?=: )", lambda match: _flag(match[0]), message)
        got = "" if item["type"] in ("missing", "value_error") else f", got {_short(item['input'])}"
        parts.append(f"{name}: {message[:1].lower()}{message[1:]}{got}" if place else f"{message}{got}")
    return "; ".join(parts)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _plain(message: str) -> str:
    for theirs, ours in PLAIN:
        message = re.sub(theirs, ours, message)
    return message


def _short(value: object) -> str:
    # Before it is cut: of a half an address nobody could tell what is secret in it.
    text = repr(masked(value) if isinstance(value, str) else value)
    return text if len(text) <= GOT else f"{text[:GOT]}…"


S = TypeVar("S", bound=Settings)


def parse(model: type[S], values: dict[str, Any], *, what: str = "", kebab: bool = False) -> S:
    """Return `model` built from plain values. what, kebab: as of `one_line`, which tells what is wrong with them.

    Raises: SettingsError with one line that names every field at fault.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(one_line(error, what=what, kebab=kebab)) from error
