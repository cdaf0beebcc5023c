"""A run's recipe: everything that decides what it computes, as records and checkpoints hold it."""

from __future__ import annotations

import math
from typing import Any, Self

from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from physadv.attack.crops import PlacementRange
from physadv.attack.pattern import Grid
from physadv.attack.settings import (
    DIALS,
    DISTANCE_CROPS,
    LOOK_WEIGHT,
    LR_FROM_START,
    MARGIN,
    STREET_CROPS,
    STREET_TEXELS,
    STRENGTH,
    TALL,
    TALL_MARGIN,
    WEBCAM_CROPS,
    PatternSettings,
    TrainSettings,
    preset,
)
from physadv.camera.profile import PrinterProfile
from physadv.errors import SettingsError
from physadv.evaluate.own import HOW_WORN
from physadv.fabricate.body import check_length
from physadv.patch import TEXTURES, Patch
from physadv.settings import parse
from physadv.simulate.activation import Activation
from physadv.simulate.framing import PlacementSettings, size_of
from physadv.simulate.ink import MeasuredInk
from physadv.simulate.world import World

# Prints are trained from a little smaller to a little larger than they are scored.
STREET_AROUND, WEBCAM_AROUND = (0.30 / 0.35, 0.42 / 0.35), (0.55 / 0.65, 0.72 / 0.65)
# Fewer steps say little of where a start leads.
LEAST_START_STEPS = 25
# In a run that is given minutes: each scoring takes seconds.
MOST_SCORINGS = 20
# The learning rate falls along a cosine to this share of it.
LR_END = 0.02
# Shares of the main run after which gradients are no longer spread, and colours are no longer trained under noise.
SPREAD_UNTIL, NOISE_UNTIL = 0.77, 0.8
FINE_TEXELS = 64
# Of a print that is no square, rows at least and at most: to_patch draws two pixels or more of each.
ROWS = (8, 1024)
# Of cloth, whatever the period of its texture.
CLOTH_TEXEL_MM = 6.25
WEBCAM_MARGIN = 2.5
# What decides which views and prints a step draws.
DRAWN = (*HOW_WORN, "side_street", "side_webcam", "large")


class Recipe(PatternSettings, PlacementSettings):
    """Everything that decides what a run computes, and nothing that does not (folders, threads, devices).

    Held-out people wear the pattern as the inherited fields say. side_street, side_webcam: range of the print's size, by
    the same rule, while training; unless given, around those.
    """

    ema: float = Field(default=0.97, ge=0, lt=1, description="decay of the average that is kept")
    start_steps: int = Field(default=150, ge=1, description="steps of each random start")
    world: SerializeAsAny[World] = Field(default_factory=lambda: World.of(STRENGTH))
    side_street: tuple[float, float] | None = None
    side_webcam: tuple[float, float] | None = None
    score_every: int = Field(default=100, ge=1)
    checkpoint_every: int = Field(default=25, ge=1, description="steps between checkpoints")

    @classmethod
    def of(cls, settings: TrainSettings) -> Self:
        """Return the recipe of a run as it is asked for: the preset, with what was given in place of its own.

        Raises: SettingsError if the fields do not go together. FabricationError if the print is too long to be worn.
        """
        given = settings.model_fields_set
        values: dict[str, Any] = {n: getattr(settings, n) for n in PatternSettings.model_fields if n in given}
        if settings.framing == "webcam" and "scale" in values:
            values["webcam_scale"] = values.pop("scale")
        if settings.look is not None:
            values.setdefault("look_weight", LOOK_WEIGHT)
        if settings.width_mm or settings.height_mm:
            wide, high = size_of(settings.target, settings.framing)
            width = settings.width_mm or (settings.height_mm or high) * wide / high
            values["size_mm"] = (width, settings.height_mm or width * high / wide)
        dials = {n: getattr(settings, dial) for dial, n in DIALS.items() if getattr(settings, dial) is not None}
        if dials or settings.strength is not None:
            world = World.of(STRENGTH if settings.strength is None else settings.strength)
            changed = {n: getattr(world, n).model_copy(update={"strength": v}) for n, v in dials.items()}
            values["world"] = world.model_copy(update=changed)
        usual = preset(settings.preset, settings.framing, settings.target)
        if settings.when is not None:
            _check_condition(settings)
            if "distance" in Activation.of(settings.when, settings.otherwise).parameters:
                usual |= {"crops": DISTANCE_CROPS, "warm": 0.0, "batch": 12}
        out = parse(cls, {**usual, **values})
        _check_shape(out, settings)
        return out

    @classmethod
    def of_patch(cls, patch: Patch) -> Self:
        """Return the recipe that draws views and prints as a pattern's training did, by its record; all else is usual.

        Without a record that is understood it is of both framings, for a print of that target and size.
        """
        settings = patch.record.get("settings")
        # No more than that: other versions have other settings of what else there is.
        known = {n: settings[n] for n in DRAWN if settings.get(n) is not None} if isinstance(settings, dict) else {}
        usual = {"target": patch.target, "size_mm": patch.size_mm, "framing": "mixed"}
        try:
            return cls.model_validate({**usual, **known})
        except ValidationError:
            return cls.model_validate(usual)

    @model_validator(mode="before")
    @classmethod
    def _by_framing(cls, values: Any) -> Any:
        """Return the fields with what suits the framing where nothing is said.

        People in the street wear few pixels: finer texels are not seen there and slow the search down. Before a webcam
        every frame counts by itself, and people who are barely hidden flicker: further down with them; and they fill the
        image, whatever its size.
        """
        if not isinstance(values, dict):
            return values
        framing, target = values.get("framing", "street"), values.get("target", "chest")
        size = values.get("size_mm") or size_of(target, framing)
        texels = STREET_TEXELS if framing == "street" else FINE_TEXELS
        if target in TEXTURES:
            texels = max(round(float(size[0]) / CLOTH_TEXEL_MM), 8)
        webcam = framing == "webcam"
        chosen: dict[str, Any] = {
            "margin": WEBCAM_MARGIN if webcam else TALL_MARGIN if target in TALL else MARGIN,
            "parts": 1.0 if target in TALL else 0.0,
            "crops": WEBCAM_CROPS if webcam else STREET_CROPS,
        }
        if target not in TEXTURES and framing != "street":
            # 700 steps on the fine texels of a large print end half way when they begin under noise.
            chosen["noise"] = 0.0
        return {"texels": texels, **chosen, **values}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate: expected a divisor of batch {self.batch}, got {self.accumulate}")
        if any(not 64 <= c <= 1280 or c % 32 for c in self.crops):
            raise ValueError(f"crops: expected multiples of 32 from 64 to 1280, got {', '.join(map(str, self.crops))}")
        if self.colours == 1:
            raise ValueError("colours: expected 2 or more, or 0 for full colour, got 1, which leaves no pattern")
        for name in ("side_street", "side_webcam"):
            low, high = getattr(self, name) or (1, 1)
            if not 0 < low <= high <= 2:
                raise ValueError(f"{name}: expected low and high with 0 < low <= high <= 2, got {low}, {high}")
        if self.pyramid and self.texels % 4:
            raise ValueError(f"pyramid: expected texels that divide by 4, got {self.texels}")
        return self

    def from_start(self) -> Self:
        """Return the settings of a run that goes on from a pattern, with shorter steps unless their length was given: long
        ones would take it apart first."""
        return self if "lr" in self.model_fields_set else self.model_copy(update={"lr": LR_FROM_START})

    def printed_by(self, printer: PrinterProfile, *, strength: float = 1.0) -> Self:
        """Return the recipe with the ink of a measured printer instead of the default one.

        strength: 1 is as it was measured, colours and spread, whatever the rest of the world is turned down to; 0 is off.
        """
        ink = MeasuredInk(strength=strength, colours=printer.map.model_dump())
        return self.model_copy(update={"world": self.world.model_copy(update={"ink": ink})})

    def paced(self, total: int) -> Self:
        """Return the same run in `total` steps; random starts keep their share, or are left out if it is too little."""
        apart = self.total_steps - self.steps
        each = min(total * apart // (self.total_steps * self.starts), self.start_steps)
        starts = self.starts if each >= LEAST_START_STEPS else 1
        steps = total - starts * each if starts > 1 else total
        seldom = max(self.score_every, total // MOST_SCORINGS)
        return self.model_copy(
            update={"steps": steps, "starts": starts, "start_steps": max(each, 1), "score_every": seldom}
        )

    @property
    def total_steps(self) -> int:
        """Return the steps of all starts and of the main run."""
        return self.steps + (self.starts * self.start_steps if self.starts > 1 else 0)

    def share(self, step: int) -> float:
        """Return how much of the main run is over, 0 to 1; random starts belong to its beginning."""
        begin = self.total_steps - self.steps
        return min(max(step - begin, 0) / self.steps, 1)

    def lr_factor_at(self, step: int) -> float:
        """Return the factor of the learning rate at a step: a cosine from 1 to `LR_END` over the main run."""
        return LR_END + (1 - LR_END) * 0.5 * (1 + math.cos(math.pi * self.share(step)))

    def spread_at(self, step: int) -> float:
        """Return over how many texels gradients are spread at a step; no more than 0 where they are not."""
        return self.spread * self.texels * (1 - self.share(step) / SPREAD_UNTIL)

    def noise_at(self, step: int) -> float:
        """Return the standard deviation of the noise on colours at a step; no more than 0 where there is none."""
        return self.noise * (1 - self.share(step) / NOISE_UNTIL)

    def ends_start(self, step: int) -> bool:
        """Return whether a random start has had its steps after so many in all."""
        return self.starts > 1 and 0 < step <= self.starts * self.start_steps and step % self.start_steps == 0

    def views(self, step: int) -> tuple[int, int]:
        """Return (count, size in pixels) of a step's views: fewer where they are larger, so that steps cost the same."""
        # Many small views first: a pattern finds its way on them in a fraction of the steps that few large ones take.
        begun = step >= self.total_steps - self.steps + self.warm * self.steps
        size = self.crops[step % len(self.crops)] if begun else self.crops[0]
        return max(round(self.batch * (self.crops[0] / size) ** 2), 1), size

    @property
    def activation(self) -> Activation | None:
        """Return when the pattern is to act, None for always."""
        return None if self.when is None else Activation.of(self.when, self.otherwise)

    @property
    def grid(self) -> Grid:
        """Return the rows and columns of texels: as many rows as make texels square on the print."""
        width, height = self.print_size()
        # A pyramid halves them twice.
        part = 4 if self.pyramid else 1
        low, high = ROWS
        return min(max(round(self.texels * height / width / part) * part, low), high), self.texels

    @property
    def tiles(self) -> bool:
        """Return whether the pattern repeats without a seam."""
        return self.target in TEXTURES

    @property
    def placement_range(self) -> PlacementRange:
        """Return the placements that training draws from."""
        width, height = self.print_size()
        street = self.side_street or _around(self.scale, STREET_AROUND)
        webcam = self.side_webcam or _around(self.webcam_scale, WEBCAM_AROUND)
        return PlacementRange(self.target, street, webcam, self.at, (width / 10, height / 10), self.rule)


def _check_condition(asked: TrainSettings) -> None:
    """Raise SettingsError if the condition cannot be read, or no view of this target and framing can meet it."""
    assert asked.when is not None
    about = Activation.of(asked.when, asked.otherwise).parameters
    flat = [name for name in about if name in ("tilt", "yaw", "fold")]
    if flat and asked.target in TEXTURES:
        raise SettingsError(
            f"no view can meet it: clothes of a texture have no {flat[0]} of their own",
            field="when",
            hint="train a print (`target=chest`), or a condition of distance, light or colour",
        )
    if "distance" in about and asked.framing != "street":
        raise SettingsError(
            "no view can meet it: before a webcam people are at one distance",
            field="when",
            hint="train with `framing=street`",
        )


def _check_shape(recipe: Recipe, asked: TrainSettings) -> None:
    """Raise SettingsError or FabricationError if a print of this shape cannot be worn as its target says."""
    width, height = recipe.print_size()
    size = f"{width:g} x {height:g} mm"
    if recipe.target == "portrait" and height <= width:
        raise SettingsError(
            field="height_mm",
            expected="a portrait print higher than wide",
            got=size,
            hint="`target=chest` is of any shape",
        )
    given = (n for n in ("height_mm", "width_mm", "scale", "webcam_scale") if n in asked.model_fields_set)
    check_length(recipe.target, height, field=next(given, "height_mm"))


def _around(scale: float, share: tuple[float, float]) -> tuple[float, float]:
    low, high = share
    return scale * low, scale * high
