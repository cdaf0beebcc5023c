"""How help pages look: cyclopts' panels as plain lines, flags on the left, their texts in one column on the right."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

# Where the texts of the flags begin, and the least and greatest width of a page.
INDENT, NARROWEST, WIDEST = 28, 60, 110
# The group of what is given without a flag.
WORDS = "words"


class PlainHelp:
    """A cyclopts help formatter without boxes and colours: pages can be searched, piped and read aloud."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group of flags, or the words that are given without a flag."""
        heading = "\n" if panel.title == WORDS else f"\n{panel.title}:\n"
        _print(console, heading + "\n".join(_row(entry, _width(options)) for entry in panel.entries))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:  # noqa: ARG002
        """Print the usage line."""
        _print(console, str(usage).rstrip())

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print what the command does, a paragraph at a time."""
        paragraphs = _plain(description).split("\n\n")
        _print(console, "\n" + "\n\n".join(textwrap.fill(" ".join(p.split()), _width(options)) for p in paragraphs))


def _row(entry: HelpEntry, width: int) -> str:
    """Return the lines of one flag; a long flag stands on a line by itself."""
    # A switch that is off is turned off by leaving it out.
    shown = entry if entry.default else entry.copy(negative_names=())
    head = f"  {', '.join(shown.display_labels_with_metavar)}"
    lines = textwrap.wrap(_plain(entry.description), width - INDENT, break_on_hyphens=False)
    first = [f"{head:<{INDENT}}{lines.pop(0)}"] if len(head) < INDENT - 1 and lines else [head]
    return "\n".join([*first, *(" " * INDENT + line for line in lines)])


def _plain(text: Any) -> str:
    """Return the text that cyclopts has wrapped into something that rich can print."""
    return str(text.primary_renderable.plain)


def _width(options: ConsoleOptions) -> int:
    return max(min(options.max_width - 1, WIDEST), NARROWEST)


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
