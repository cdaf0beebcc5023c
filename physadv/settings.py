"""The base of every settings model: one schema for flags, TOML or YAML files, the web API and the saved record."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from physadv.errors import SettingsError


class Settings(BaseModel):
    """Immutable settings. Unknown names are refused, so a misspelt key never passes silently; NaN and infinity too."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def one_line(error: ValidationError, *, what: str = "", kebab: bool = False) -> str:
    """Return a pydantic error as one line: each field with what was expected and what came.

    what: put in front ("physadv live"). kebab: show field names as flags (`--max-size`).
    """
    parts = []
    for item in error.errors(include_url=False):
        place = ".".join(str(p) for p in item["loc"])
        name = f"--{place.replace('_', '-')}" if kebab else place
        message = item["msg"].removeprefix("Value error, ")
        got = "" if item["type"] in ("missing", "value_error") else f", got {item['input']!r}"
        parts.append(f"{name}: {message[:1].lower()}{message[1:]}{got}" if place else f"{message}{got}")
    return f"{what}: {'; '.join(parts)}" if what else "; ".join(parts)


S = TypeVar("S", bound=Settings)


def parse(model: type[S], values: dict[str, Any], *, what: str = "") -> S:
    """Return `model` built from plain values.

    Raises: SettingsError with one line that names every field at fault.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(one_line(error, what=what)) from error
