"""`physadv compare`: whether a difference between two evaluations is more than chance."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from physadv.cli.terminal import say
from physadv.settings import Metavar, Positional, Settings

EXAMPLES = ("physadv compare report-a report-b", "physadv compare report:street report:poster")


class CompareVerb(Settings):
    """Two evaluations, and how the answer is printed."""

    first: Positional[Annotated[str, Metavar("FOLDER[:NAME]")]] = Field(
        description="folder that an evaluation wrote, or one row of it by what is worn"
    )
    second: Positional[Annotated[str, Metavar("FOLDER[:NAME]")]] = Field(description="the other")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the resamples")
    as_json: bool = Field(default=False, alias="json", description="print one JSON list instead of a table")


def run(settings: CompareVerb) -> int:
    """Say of each figure of two evaluations whether it differs by more than chance, person by person.

    Raises: DataError if a folder holds no evaluation, or the two have nothing in common.
    """
    from physadv.cli.console import show_results
    from physadv.evaluate.compare import compare

    found = compare(settings.first, settings.second, seed=settings.seed)
    for note in found.notes:
        say(f"physadv compare: {note}", error=settings.as_json)
    if settings.as_json:
        rows = [asdict(d) | {"real": d.real} for d in found.differences]
        print(json.dumps([{k: _plain(v) for k, v in row.items()} for row in rows], indent=2, ensure_ascii=False))
        return 0
    show_results([found.table()])
    return 0


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
