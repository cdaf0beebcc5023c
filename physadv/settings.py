"""The base of every settings model: one schema for flags, TOML or YAML files, the web API and the saved record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

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


def one_line(error: ValidationError, *, what: str = "", kebab: bool = False) -> str:
    """Return a pydantic error as one line: each field with what was expected and what came.

    what: put in front ("physadv live"). kebab: show field names as flags (`--max-size`).
    """
    line = told(error.errors(include_url=False), kebab=kebab)
    return f"{what}: {line}" if what else line


def told(errors: Iterable[Mapping[str, Any]], *, kebab: bool = False) -> str:
    """Return the single errors of a pydantic error as one line; see `one_line`."""
    parts = []
    for item in errors:
        place = ".".join(str(p) for p in item["loc"])
        name = f"--{place.replace('_', '-')}" if kebab else place
        message = _plain(item["msg"])
        got = "" if item["type"] in ("missing", "value_error") else f", got {_short(item['input'])}"
        parts.append(f"{name}: {message[:1].lower()}{message[1:]}{got}" if place else f"{message}{got}")
    return "; ".join(parts)


def _plain(message: str) -> str:
    for theirs, ours in PLAIN:
        message = re.sub(theirs, ours, message)
    return message


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= GOT else f"{text[:GOT]}…"


S = TypeVar("S", bound=Settings)


def parse(model: type[S], values: dict[str, Any], *, what: str = "") -> S:
    """Return `model` built from plain values.

    Raises: SettingsError with one line that names every field at fault.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(one_line(error, what=what)) from error
