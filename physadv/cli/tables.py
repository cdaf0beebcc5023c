"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from physadv.cli.console import Terminal
from physadv.files import escaped

# What a table is given where no terminal says how much room there is: a pipe or a file has more than 80 columns.
PIPED = 160


def table_console() -> Console:
    """Return what prints tables: as wide as the terminal, wide into a pipe or a file."""
    return Terminal(width=None if Terminal().is_terminal else PIPED)


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table without lines; its texts are shown as they are."""
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(escaped(text)) for text in row))
    return table
