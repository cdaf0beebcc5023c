"""The words of the tour, from `texts.yaml`, in one language."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from physadv.errors import SettingsError
from physadv.files import parse_yaml, read_text

FILE = Path(__file__).with_name("texts.yaml")


@cache
def every_text() -> dict[str, Any]:
    """Return the whole file: texts of several languages are tables from `en`, `zh` to a text."""
    out: dict[str, Any] = parse_yaml(read_text(FILE))
    return out


def languages() -> dict[str, str]:
    """Return the languages by their codes, each by its own name."""
    return dict(every_text()["languages"])


def texts_in(language: str) -> dict[str, Any]:
    """Return all texts in one language.

    Raises: SettingsError for a language that is not there.
    """
    known = languages()
    if language not in known:
        raise SettingsError(field="language", expected=" or ".join(known), got=repr(language))
    out: dict[str, Any] = _chosen({key: value for key, value in every_text().items() if key != "languages"}, language)
    return out


def _chosen(value: Any, language: str) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == languages().keys():
        return value[language]
    return {key: _chosen(inner, language) for key, inner in value.items()}
