"""A console for what is more than lines; apart from `terminal`, as rich takes a moment to import and few verbs need it."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from physadv.cli.terminal import shown
from physadv.files import escaped


class Terminal(Console):
    """A console that prints strings as `terminal.say` does."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console.print` does."""
        super().print(*(escaped(shown(o)) if isinstance(o, str) else o for o in objects), **options)
