"""`--config FILE`: values for the flags of a command from a TOML or YAML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from physadv.address import masked
from physadv.cli.terminal import hide
from physadv.detect.names import check_declared
from physadv.errors import SettingsError
from physadv.files import parse_yaml, read_text

# Fields that name detectors.
DETECTORS = ("detector", "reference", "labeller", "parent")


def read_config(path: Path) -> dict[str, Any]:
    """Return the table in a .toml or .yaml file by the names of fields; the secrets in it are not printed from now on.

    Raises: SettingsError if it is no readable table, holds a NUL character, or asks for trust.
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
    for name, value in values.items():
        if any("\0" in text for text in _texts_in([name, value])):
            raise SettingsError(f"{path}: {name}", field="config", expected="text without a NUL character")
    hide(_texts_in(list(values.values())))
    named = {str(name).replace("-", "_"): value for name, value in values.items()}
    if named.get("trust"):
        # A configuration file may come from somebody else, together with the weights that it would trust.
        raise SettingsError(
            field="trust", expected="on the command line alone", got=f"it in {path}, which others may have written"
        )
    for name in DETECTORS:
        check_declared(named.get(name), where=str(path))
    return named


def _texts_in(value: Any) -> list[str]:
    """Return the texts in a value of a configuration file, those in its lists and tables too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return _texts_in([*value, *value.values()])
    return [text for part in value for text in _texts_in(part)] if isinstance(value, list) else []
