"""What is more than lines: tables and a console for them; apart from `terminal`, as rich takes a moment to import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import table as rich
from rich.console import Console
from rich.markup import escape

from physadv.cli.terminal import shown
from physadv.files import escaped
from physadv.table import Table


class Terminal(Console):
    """A console that prints strings as `terminal.say` does."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console.print` does."""
        super().print(*(escaped(shown(o)) if isinstance(o, str) else o for o in objects), **options)

    def say(self, text: str) -> None:
        """Print a line as it is, however wide, so that commands and paths in it can be copied."""
        self.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Leave it to the command's edge: rich itself would end the program with another code than `print` does.

        Raises: BrokenPipeError.
        """
        raise BrokenPipeError


# What a table is given where no terminal says how much room there is: a pipe or a file has more than 80 columns.
PIPED = 160


def table_console() -> Terminal:
    """Return what prints tables: as wide as the terminal, wide into a pipe or a file."""
    return Terminal(width=None if Terminal().is_terminal else PIPED)


def show_results(tables: Iterable[Table], lines: Iterable[str] = ()) -> None:
    """Print tables, then lines as they are, however wide: what a command found, its doubts, where its report is."""
    console = table_console()
    for table in tables:
        console.print(on_terminal(table))
    for line in lines:
        console.say(line)


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
