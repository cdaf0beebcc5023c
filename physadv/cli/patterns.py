"""`physadv patterns`: the patterns that come with physadv, and what each is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from physadv.cli.console import plain_table, table_console
from physadv.patch import SHIPPED, load_patch, shipped_names
from physadv.settings import Settings

EXAMPLES = ("physadv patterns",)


class PatternsVerb(Settings):
    """How the patterns are printed."""

    as_json: bool = Field(default=False, alias="json", description="print one JSON list instead of a table")


def run(settings: PatternsVerb) -> int:
    """List the shipped patterns: what each is for, its size, and the card that says how it was made and measured."""
    found = [_described(name) for name in shipped_names()]
    if settings.as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    rows = [
        (
            *(p["name"], p["target"], p["framing"], f"{p['width_mm'] / 10:g} x {p['height_mm'] / 10:g} cm"),
            *("yes" if p["size_curve"] else "no", p["when"] or "always", p["recommended_for"]),
        )
        for p in found
    ]
    console = table_console()
    console.print(
        plain_table(("name", "target", "framing", "size", "size curve", "acts when", "recommended for"), rows)
    )
    text = (
        f"\ncards: {SHIPPED / 'NAME.md'}\nsize curve: physadv advise can say what to expect at a distance\n"
        "try one: physadv live --wear NAME"
    )
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0


def _described(name: str) -> dict[str, Any]:
    patch = load_patch(SHIPPED / f"{name}.safetensors")
    card = SHIPPED / f"{name}.md"
    width, height = patch.size_mm
    return {
        "name": name,
        "target": patch.target,
        "framing": patch.framing,
        "file": str(SHIPPED / f"{name}.png"),
        "width_mm": width,
        "height_mm": height,
        "recommended_for": first_sentence(card),
        "size_curve": "size_curve" in patch.record,
        "when": patch.when,
        "card": str(card),
    }


def first_sentence(card: Path) -> str:
    """Return the first sentence of a card's text, without its heading; "" if there is no such card."""
    if not card.is_file():
        return ""
    paragraphs = card.read_text(encoding="utf-8").split("\n\n")
    text = next((" ".join(p.split()) for p in paragraphs if p.strip() and not p.startswith("#")), "")
    return text.partition(". ")[0].removesuffix(".")
