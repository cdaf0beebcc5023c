"""The plan of a trial: cells of distance, yaw and light, each with blocks of four arms in random order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, field_validator

from physadv.errors import DataError, SettingsError, text_of
from physadv.fabricate.units import Centimetres
from physadv.files import parse_json, read_text
from physadv.settings import Groups, Metavar, Names, PatternName, Seconds, Settings, one_line
from physadv.version import __version__

Arm = Literal["none", "grey", "shuffled", "pattern"]
ARMS: tuple[Arm, ...] = get_args(Arm)
# What is worn in an arm, as people read it.
WORN: dict[Arm, str] = {
    "none": "nothing",
    "grey": "the grey sheet",
    "shuffled": "the shuffled sheet",
    "pattern": "the pattern",
}
FORMAT = 1
PLAN, PATTERNS, SHEETS, CHECKLIST = "plan.json", "patterns", "sheets", "checklist.html"
# More cells and blocks than anybody stands through.
MOST_CELLS, MOST_BLOCKS = 60, 100
# A person is followed in windows of half a second or more (`evaluate.people_in_time`).
SHORTEST_S = 0.5

Distance = Annotated[float, Field(gt=0, le=200)]
Yaw = Annotated[float, Field(ge=-180, le=180)]


def _light(name: str) -> str:
    if not 0 < len(name) <= 40 or not name.isprintable():
        raise ValueError(f"expected a printable name of at most 40 characters, got {name[:60]!r}")
    return name


class PlanSettings(Settings):
    """What a trial is to be of."""

    groups: ClassVar[Groups] = {
        "cells": ("distances", "yaws", "lights"),
        "windows": ("blocks", "window_s", "seed"),
        "print": ("pattern", "size", "paper"),
    }

    pattern: PatternName = Field(
        min_length=1, description="a shipped name (webcam), a patch file, an image or a run folder"
    )
    distances: Annotated[tuple[Distance, ...], Metavar("METRES,...")] = Field(
        default=(2.0, 4.0), min_length=1, max_length=12, description="from the camera to the person, in metres"
    )
    yaws: Annotated[tuple[Yaw, ...], Metavar("DEGREES,...")] = Field(
        default=(0.0,),
        min_length=1,
        max_length=12,
        description="by which the person is turned from the camera, in degrees",
    )
    lights: Annotated[Names, Metavar("LIGHT")] = Field(
        default=["day"], min_length=1, max_length=6, description="lights by name, as you call them"
    )
    blocks: int = Field(
        default=4,
        ge=1,
        le=MOST_BLOCKS,
        description="blocks of each cell: every block has each arm once, in random order",
    )
    window_s: Seconds = Field(default=5.0, ge=SHORTEST_S, le=120, description="length of a window")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the order of the arms")
    size: Centimetres | None = Field(
        default=None, description="printed width in cm, or with its unit (360mm); without it the pattern's own"
    )
    paper: str = Field(
        default="a4", description="paper of the sheets: a4, a3, letter and others, as physadv print takes it"
    )

    @field_validator("lights")
    @classmethod
    def _named(cls, value: list[str]) -> list[str]:
        # "," names none: min_length was checked before values were split at their commas.
        return [_light(name) for name in value or [""]]


class TrialCell(Settings):
    """Where and how the person stands. distance_m: from the camera. yaw_deg: turned by. light: its name."""

    distance_m: Distance
    yaw_deg: Yaw
    light: Annotated[str, AfterValidator(_light)]

    @property
    def name(self) -> str:
        """Return what tables call the cell."""
        return f"{self.distance_m:g} m, {self.yaw_deg:g} deg, {self.light}"

    @property
    def stand(self) -> str:
        """Return where to stand, as a prompt says it."""
        side = "facing the camera" if self.yaw_deg == 0 else f"turned by {abs(self.yaw_deg):g} degrees"
        side += "" if self.yaw_deg == 0 else " to your left" if self.yaw_deg < 0 else " to your right"
        return f"{self.distance_m:g} m from the camera, {side}, light: {self.light}"


class PlannedPattern(Settings):
    """The pattern that a plan is of. sha256: of its pixels (`Patch.sha256`). width_cm, height_cm: as it is printed."""

    name: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    width_cm: float = Field(gt=0, le=500)
    height_cm: float = Field(gt=0, le=500)


Order = tuple[Arm, ...]


class Plan(Settings):
    """A plan as plan.json holds it. orders: of each cell and block the arms in the order in which they are recorded."""

    physadv: str
    format: Literal[1] = 1
    pattern: PlannedPattern
    window_s: float = Field(ge=SHORTEST_S, le=120)
    blocks: int = Field(ge=1, le=MOST_BLOCKS)
    seed: int = Field(ge=0, lt=2**31)
    cells: tuple[TrialCell, ...] = Field(min_length=1, max_length=MOST_CELLS)
    orders: tuple[tuple[Order, ...], ...]

    @property
    def sha256(self) -> str:
        """Return the hash by which a recorded trial knows its plan."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def windows(self) -> int:
        """Return how many windows there are if no cell is decided early."""
        return len(self.cells) * self.blocks * len(ARMS)

    def order(self, cell: int, block: int, attempt: int = 0) -> Order:
        """Return the arms of a block in their order. attempt: at the block; each has an order of its own."""
        return drawn_order(self.seed, cell, block, attempt) if attempt else self.orders[cell][block]

    def drawn(self) -> bool:
        """Return whether the orders are those that the seed draws, and not somebody's choice."""
        return self.orders == _drawn_orders(len(self.cells), self.blocks, self.seed)

    def check(self) -> None:
        """Raise DataError unless each cell is there once, and each of its blocks has each arm once."""
        if (twice := _twice(self.cells)) is not None:
            raise DataError(field="plan", expected="each cell once", got=f"{twice.name} twice")
        if len(self.orders) != len(self.cells) or any(len(blocks) != self.blocks for blocks in self.orders):
            raise DataError(
                field="plan", expected=f"{self.blocks} orders of arms for each of {len(self.cells)} cells", got="others"
            )
        bad = next((o for blocks in self.orders for o in blocks if sorted(o) != sorted(ARMS)), None)
        if bad is not None:
            raise DataError(
                field="plan", expected=f"each of {', '.join(ARMS)} once in every block", got=", ".join(bad) or "none"
            )


def plan_of(settings: PlanSettings, pattern: PlannedPattern) -> Plan:
    """Return the plan of a trial: equal settings give an equal plan.

    Raises: SettingsError for more cells than `MOST_CELLS`, or a cell that is there twice.
    """
    cells = tuple(
        TrialCell(distance_m=distance, yaw_deg=yaw, light=light)
        for light, distance, yaw in product(settings.lights, settings.distances, settings.yaws)
    )
    if len(cells) > MOST_CELLS:
        raise SettingsError(
            field="distances", expected=f"at most {MOST_CELLS} cells of distance, yaw and light", got=str(len(cells))
        )
    if (twice := _twice(cells)) is not None:
        raise SettingsError(field="distances", expected="each cell once", got=f"{twice.name} twice")
    return Plan(
        physadv=__version__,
        pattern=pattern,
        window_s=settings.window_s,
        blocks=settings.blocks,
        seed=settings.seed,
        cells=cells,
        orders=_drawn_orders(len(cells), settings.blocks, settings.seed),
    )


def _twice(cells: Sequence[TrialCell]) -> TrialCell | None:
    """Return a cell whose name another one has too, None where there is none: tables tell them apart by it."""
    names = [cell.name for cell in cells]
    return next((cell for cell in cells if names.count(cell.name) > 1), None)


def drawn_order(seed: int, cell: int, block: int, attempt: int) -> Order:
    """Return the arms in the order that a seed draws for an attempt at a block."""
    order = np.random.default_rng((seed, cell, block, attempt)).permutation(len(ARMS))
    return tuple(ARMS[i] for i in order)


def _drawn_orders(cells: int, blocks: int, seed: int) -> tuple[tuple[Order, ...], ...]:
    return tuple(tuple(drawn_order(seed, cell, block, 0) for block in range(blocks)) for cell in range(cells))


def load_plan(path: Path) -> tuple[Plan, Path]:
    """Return a plan and the folder that it is in. path: the folder, or its plan.json.

    Raises: DataError if there is none, or it is damaged, of another version, or without cells.
    """
    file = path / PLAN if path.is_dir() else path
    hint = "make one with `physadv trial plan`"
    try:
        value = parse_json(read_text(file))
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such plan", field="plan", hint=hint) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is no plan: {text_of(error)}", field="plan", hint=hint) from error
    if not isinstance(value, dict) or "format" not in value or "orders" not in value:
        raise DataError(f"{file}: is no plan of a trial", field="plan", hint=hint)
    if value["format"] != FORMAT:
        raise DataError(
            f"{file}: of physadv {str(value.get('physadv', 'of another version'))[:20]}",
            field="plan",
            expected=f"format {FORMAT}",
            got=repr(value["format"])[:40],
            hint="make the plan again with this version",
        )
    if not value.get("cells"):
        raise DataError(f"{file}: has no cells", field="plan", expected="one or more", got="none", hint=hint)
    try:
        plan = Plan.model_validate(value)
    except ValidationError as error:
        raise DataError(f"{file}: {one_line(error)}", field="plan", hint=hint) from error
    plan.check()
    return plan, file.parent
