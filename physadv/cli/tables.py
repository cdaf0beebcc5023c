"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import table as rich
from rich.console import Console
from rich.markup import escape

from physadv.cli.console import Terminal
from physadv.files import escaped
from physadv.table import Table

# What a table is given where no terminal says how much room there is: a pipe or a file has more than 80 columns.
PIPED = 160


def table_console() -> Console:
    """Return what prints tables: as wide as the terminal, wide into a pipe or a file."""
    return Terminal(width=None if Terminal().is_terminal else PIPED)


def on_terminal(table: Table, *, lines: bool = True) -> rich.Table:
    """Return a table for a console; its texts are shown as they are. lines: with a frame, and its title above."""
    if lines:
        out = rich.Table(title=escape(escaped(table.title)) or None)
    else:
        out = rich.Table(box=None, pad_edge=False, header_style="bold")
    for name in table.columns:
        number = name in table.numbers
        # A figure with its interval is not broken.
        out.add_column(name, justify="right" if number else "left", no_wrap=name == "AP50", overflow="fold")
    for row in table.texts():
        out.add_row(*(escape(escaped(text)) for text in row))
    return out


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> rich.Table:
    """Return a table without lines."""
    return on_terminal(Table.of("", columns, rows), lines=False)
