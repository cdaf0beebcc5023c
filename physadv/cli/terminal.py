"""What is printed: names with control characters are shown and not obeyed, addresses without the secrets in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from physadv.address import covered, masked
from physadv.files import escaped, printable

# What this process was given, by what is shown of it instead.
_hidden: dict[str, str] = {}


def hide(words: Iterable[str]) -> None:
    """Take the words of a command line or of a configuration: the secrets of addresses among them are not printed."""
    for word in words:
        value = word.partition("=")[2] if word.startswith("-") else word
        # An address that was taken for a path has lost a slash.
        for form in (value, str(Path(value))):
            if masked(form) != form:
                _hidden[form] = masked(form)


def shown(text: str) -> str:
    """Return a text in which what `hide` was given stands without its secrets, whoever made the text."""
    return covered(text, _hidden)


def complain(text: str, *, limit: int) -> None:
    """Print what is wrong to stderr: one line of at most `limit` characters."""
    print(printable(shown(text), limit=limit), file=sys.stderr)


def say(text: str, *, error: bool = False) -> None:
    """Print a text at once, to stderr with `error`."""
    print(escaped(shown(text)), file=sys.stderr if error else sys.stdout, flush=True)
