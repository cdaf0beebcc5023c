"""What is printed: names with control characters, or halves of them, are shown and not obeyed."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

from physadv.files import escaped


class Terminal(Console):
    """A console that escapes control characters in the texts it is given."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console.print` does."""
        super().print(*(escaped(o) if isinstance(o, str) else o for o in objects), **options)


def say(text: str, *, error: bool = False) -> None:
    """Print a text at once, to stderr with `error`."""
    print(escaped(text), file=sys.stderr if error else sys.stdout, flush=True)
