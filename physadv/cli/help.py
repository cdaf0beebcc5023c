"""How fields are spelled and explained on the command line, and how help pages look: plain lines, flags on the left."""

from __future__ import annotations

import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from physadv.cli.terminal import in_flags
from physadv.settings import POSITIONAL, Metavar, Settings

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

# What stands for a value whose type carries no `Metavar`.
BY_TYPE: dict[Any, str] = {int: "N", float: "NUMBER", Path: "FILE", str: "NAME"}


def is_positional(info: FieldInfo) -> bool:
    """Return whether a field is a word by itself and no flag."""
    return POSITIONAL in info.metadata


def is_list(info: FieldInfo) -> bool:
    """Return whether a field takes several values."""
    return any(typing.get_origin(part) in (list, tuple) for part in _parts(info.annotation))


def is_numbers(info: FieldInfo) -> bool:
    """Return whether a field takes several numbers, which may also stand between commas."""
    return is_list(info) and any(part in (int, float) for part in _parts(info.annotation))


def key_of(name: str, info: FieldInfo) -> str:
    """Return what the field is called in a configuration file and by pydantic: its alias, if it has one."""
    return info.alias or name


def flag_of(name: str, info: FieldInfo) -> str:
    """Return a field's flag: `--wear-size`."""
    return f"--{key_of(name, info).replace('_', '-')}"


def metavar(name: str, info: FieldInfo) -> str:
    """Return what stands for a field's value: `FILE`, `SECONDS`, `{web,window,none}`; of a word by itself its name."""
    parts = list(_parts(info.annotation))
    for part in [*info.metadata, *parts]:
        if isinstance(part, Metavar):
            return part.text
        if typing.get_origin(part) is Literal and not is_positional(info):
            return f"{{{','.join(map(str, typing.get_args(part)))}}}"
    if is_positional(info):
        return name.upper()
    return next((BY_TYPE[part] for part in parts if part in BY_TYPE), "VALUE")


def explained(info: FieldInfo) -> str:
    """Return a field's description with its default, where it has one that says something."""
    text, default = in_flags(str(info.description)), info.get_default(call_default_factory=False)
    if info.is_required():
        return text if is_positional(info) else f"{text} (required)"
    if info.annotation is bool:
        return f"{text} (default: on)" if default else text
    if default in (None, PydanticUndefined, "", [], ()) or "unless given" in text:
        return text
    several = default if isinstance(default, (list, tuple)) else [default]
    return f"{text} (default: {','.join(f'{v:g}' if isinstance(v, float) else str(v) for v in several)})"


def grouped(model: type[Settings], names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield headings with the fields under them, of those named; fields that are under none come last."""
    left = [n for n in names if n not in [m for members in model.groups.values() for m in members]]
    for heading, members in model.groups.items():
        yield heading, [n for n in members if n in names]
    if left:
        yield ("others" if model.groups else "flags"), left


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and all that it is made of: members of unions, items of lists, what `Annotated` adds."""
    yield annotation
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *marks = typing.get_args(annotation)
        yield from marks
        yield from _parts(kind)
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, list, tuple):
        for part in typing.get_args(annotation):
            yield from _parts(part)


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
