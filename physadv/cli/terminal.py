"""What is printed: names with control characters are shown and not obeyed, addresses without the secrets in them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from physadv.address import covered, masked
from physadv.errors import FIELD
from physadv.files import escaped, printable

# What this process was given, by what is shown of it instead.
_hidden: dict[str, str] = {}
# Fields of the verb at work that are words by themselves, by what its usage calls them.
_words: dict[str, str] = {}


def hide(words: Iterable[str]) -> None:
    """Take the words of a command line or of a configuration: the secrets of addresses among them are not printed."""
    for word in words:
        value = word.partition("=")[2] if word.startswith("-") else word
        # An address that was taken for a path has lost a slash, and its folder has lost its end.
        for form in (value, *map(str, (Path(value), *Path(value).parents))):
            if masked(form) != form:
                _hidden[form] = masked(form)


def call_fields(words: Mapping[str, str]) -> None:
    """Take what the verb at work calls those of its fields that are words by themselves: `PATTERN` for `patch`."""
    _words.clear()
    _words.update(words)


def in_flags(text: str) -> str:
    """Return a text in which fields between backticks (see `errors`) stand as the command line takes them."""
    return FIELD.sub(_flag, text)


def _flag(field: re.Match[str]) -> str:
    flag = _words.get(field["name"]) or f"--{field['name'].replace('_', '-')}"
    return f"{flag} {field['value']}" if field["value"] else flag


def shown(text: str) -> str:
    """Return a text with flags for fields, and without the secrets of what `hide` was given, whoever made the text."""
    return covered(in_flags(text), _hidden)


def complain(text: str, *, limit: int) -> None:
    """Print what is wrong to stderr: one line of at most `limit` characters."""
    print(printable(shown(text), limit=limit), file=sys.stderr)


def say(text: str, *, error: bool = False) -> None:
    """Print a text at once, to stderr with `error`."""
    print(escaped(shown(text)), file=sys.stderr if error else sys.stdout, flush=True)
