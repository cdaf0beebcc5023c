"""The page that `physadv COMMAND --help` prints: flags under headings, what each takes, and examples that work."""

from __future__ import annotations

import shutil
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, CliPositionalArg

from physadv.cli.terminal import in_flags

# What a flag takes, where neither its choices nor its type say it well; a field's own `metavar` (json_schema_extra) goes
# first.
METAVARS = {
    **dict.fromkeys(("seconds", "wear_from", "defence_limit", "open_timeout", "read_timeout"), "SECONDS"),
    **dict.fromkeys(("width", "height", "imgsz", "view_size"), "PIXELS"),
    **dict.fromkeys(("width_mm", "height_mm", "square_mm", "marker_mm"), "MM"),
    **dict.fromkeys(("size", "wear_size", "for_person", "person_height"), "CM"),
    **dict.fromkeys(("labels", "recordings", "digital"), "FOLDER"),
    **dict.fromkeys(("defend", "through"), "DEFENCES"),
    **dict.fromkeys(("patch", "patches", "wear", "start"), "PATTERN"),
    "images": "PATH",
    "distance": "METRES",
    "minutes": "MINUTES",
    "source": "SOURCE",
    "detector": "MODEL",
    "host": "ADDRESS",
    "resolution": "WIDTHxHEIGHT",
    "fov": "DEGREES",
    "crops": "N,N,...",
}
BY_TYPE: dict[Any, str] = {int: "N", float: "NUMBER", Path: "FILE", str: "NAME"}
# Where the texts of the flags begin, and how wide a page gets on a wide terminal.
INDENT, WIDEST = 28, 110
POSITIONAL = typing.get_args(CliPositionalArg[str])[1]


def page(label: str, command: type[BaseSettings]) -> str:
    """Return the help of a verb: usage, what it does, its flags under their headings, examples.

    label: `physadv live`. command: may have `groups` (heading -> names of fields) and `examples` (lines to type).
    """
    width = max(min(shutil.get_terminal_size().columns - 1, WIDEST), 60)
    fields = command.model_fields
    positional = [name for name, info in fields.items() if is_positional(info)]
    words = " ".join([label, *(_usage(name, fields[name]) for name in positional), "[flags]"])
    about = "\n\n".join(textwrap.fill(" ".join(p.split()), width) for p in (command.__doc__ or "").split("\n\n"))
    parts = [f"usage: {words}", about]
    if positional:
        parts.append(_rows([(metavar(n, fields[n]), _text(fields[n])) for n in positional], width))
    for heading, names in _grouped(command, positional):
        rows = [(_flag(name, fields[name], several=not positional), _text(fields[name])) for name in names]
        parts.append(f"{heading}:\n{_rows(rows, width)}")
    common = [
        ("--config FILE", "defaults from a .toml or .yaml file of the same names; flags override them"),
        ("-h, --help", "show this page; --no-NAME turns a switch off that a file has set"),
    ]
    parts.append(f"common to all commands:\n{_rows(common, width)}")
    examples: tuple[str, ...] = getattr(command, "examples", ())
    if examples:
        parts.append("\n".join(["example:" if len(examples) == 1 else "examples:", *(f"  {e}" for e in examples)]))
    return "\n\n".join(parts)


def is_positional(info: FieldInfo) -> bool:
    """Return whether a field is a word by itself and no flag."""
    return any(m is POSITIONAL for m in info.metadata)


def flag_name(name: str, info: FieldInfo) -> str:
    """Return a field's flag: `--wear-size`."""
    return f"--{(info.alias or name).replace('_', '-')}"


def metavar(name: str, info: FieldInfo) -> str:
    """Return what stands for a flag's value: `FILE`, `SECONDS`, `{web,window,none}`."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    own = extra.get("metavar") or METAVARS.get(name)
    if own and not _choices(info.annotation):
        return str(own)
    if choices := _choices(info.annotation):
        return f"{{{','.join(map(str, choices))}}}"
    return next((BY_TYPE[t] for t in leaves(info.annotation) if t in BY_TYPE), "VALUE")


def _flag(name: str, info: FieldInfo, *, several: bool) -> str:
    flag = flag_name(name, info)
    if info.annotation is bool:
        return f"{flag}, --no-{flag[2:]}" if info.default else flag
    value = metavar(name, info)
    return f"{flag} {value} ..." if several and is_list(info.annotation) and "," not in value else f"{flag} {value}"


def _usage(name: str, info: FieldInfo) -> str:
    word = f"{metavar(name, info)}{' ...' if is_list(info.annotation) else ''}"
    return word if info.is_required() else f"[{word}]"


def _text(info: FieldInfo) -> str:
    """Return a flag's description with its default, where it has one that says something."""
    default, text = info.default, in_flags(str(info.description))
    if info.annotation is bool:
        return f"{text}{' (default: on)' if default else ''}"
    if info.is_required():
        return f"{text} (required)"
    if default is None or default is PydanticUndefined or default in ("", [], ()):
        return text
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text} (default: {shown})"


def _grouped(command: type[BaseSettings], positional: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield headings with the flags under them; those that are under none come last."""
    left = [n for n in command.model_fields if n not in positional]
    groups: dict[str, tuple[str, ...]] = getattr(command, "groups", {})
    for heading, names in groups.items():
        yield heading, list(names)
        left = [n for n in left if n not in names]
    if left:
        yield ("others" if groups else "flags"), left


def _rows(rows: list[tuple[str, str]], width: int) -> str:
    out = []
    for flag, text in rows:
        lines = textwrap.wrap(" ".join(text.split()), width - INDENT, break_on_hyphens=False)
        head = f"  {flag}"
        if len(head) < INDENT - 1:
            out.append(f"{head:<{INDENT}}{lines.pop(0)}")
        else:
            out.append(head)
        out += [f"{'':<{INDENT}}{line}" for line in lines]
    return "\n".join(out)


def leaves(annotation: Any) -> list[Any]:
    """Return the plain types within an annotation: those of a union's members and a list's items."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, list, tuple, typing.Annotated):
        return [leaf for a in typing.get_args(annotation) for leaf in leaves(a)]
    return [annotation]


def _choices(annotation: Any) -> tuple[Any, ...]:
    return next((typing.get_args(a) for a in leaves(annotation) if typing.get_origin(a) is Literal), ())


def is_list(annotation: Any) -> bool:
    """Return whether a field holds a list, optional or not."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(is_list(a) for a in typing.get_args(annotation))
    return typing.get_origin(annotation) is list
