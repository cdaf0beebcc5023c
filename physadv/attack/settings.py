"""What a training run can be told, and the presets."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from physadv.attack.crops import PlacementRange
from physadv.attack.losses import Goal, Mix
from physadv.simulate.framing import PlacementSettings, size_of
from physadv.simulate.placement import Framing
from physadv.simulate.world import World

Preset = Literal["quick", "standard", "strong"]
# Someone before a webcam is 140 pixels large to a detector at 320 and 400 at 640; a pattern hides them at the sizes at
# which it was trained and at no other.
STREET_CROPS, WEBCAM_CROPS = (224, 256, 320), (224, 320, 448)
# Larger views are few in a step: they pay in long runs alone.
LONG_STREET_CROPS = (224, 256, 320, 416)
# Two people's gradients have next to nothing in common (their cosine is .003): short runs need many people a step, small
# as they may be. Before a webcam people are large.
SHORT_STREET: dict[str, Any] = {"crops": (160, 224, 320), "batch": 24}
# Steps of 12 views of 224 pixels, 9 of 256, 6 of 320 or 3 of 448. `quick` takes about 5 minutes on two CPU cores, 2 with
# bfloat16; `standard` about 20 minutes on two idle cores with bfloat16; `strong` hours.
PRESETS: dict[str, dict[str, Any]] = {
    # So few steps do not reach as far as the largest views.
    "quick": {"steps": 450, "crops": STREET_CROPS},
    # Long runs are scored less often: it takes seconds each time.
    "standard": {"steps": 5000, "starts": 2, "score_every": 200},
    "strong": {
        "steps": 20000,
        "score_every": 500,
        "batch": 32,
        "starts": 4,
        "start_steps": 300,
        "worst_of": 2,
    },
}

# Prints are trained from a little smaller to a little larger than they are scored.
STREET_AROUND, WEBCAM_AROUND = (0.30 / 0.35, 0.42 / 0.35), (0.55 / 0.65, 0.72 / 0.65)
# Fewer steps say little of where a start leads.
LEAST_START_STEPS = 25
# In a run that is given minutes: each scoring takes seconds.
MOST_SCORINGS = 20
STREET_TEXELS, FINE_TEXELS = 48, 64
# Of cloth, whatever the period of its texture.
SHIRT_TEXEL_MM = 6.25
# Of every dial of the simulated world. Patterns of few steps do not get far in a stronger one.
STRENGTH = 0.3
MARGIN, WEBCAM_MARGIN = 1.5, 2.5
# Learning rates of the texels, from random colours and from a pattern.
LR, ONWARDS_LR = 0.08, 0.03


def preset(name: Preset, framing: Framing) -> dict[str, Any]:
    """Return a preset's fields of `TrainSettings` for that framing."""
    street = {"quick": SHORT_STREET, "strong": {"crops": LONG_STREET_CROPS}} if framing == "street" else {}
    return {**PRESETS[name], **street.get(name, {})}


class TrainSettings(PlacementSettings):
    """Everything that decides what a run computes, and nothing that does not (folders, threads, devices).

    Held-out people wear the pattern as the inherited fields say. side_street, side_webcam: range of the print's side, by
    the same rule, while training; unless given, around those.
    """

    goal: Goal = "vanish"
    steps: int = Field(default=1000, ge=1, le=1_000_000, description="optimiser steps")
    batch: int = Field(default=12, ge=1, le=1024, description="views a step of the first size, over all processes")
    accumulate: int = Field(default=1, ge=1, le=64, description="parts in which a batch is computed, for less memory")
    crops: tuple[int, ...] = Field(
        default=STREET_CROPS, min_length=1, max_length=8, description="sides of the views in pixels, in turn"
    )
    warm: float = Field(default=0.4, ge=0, le=1, description="share of the steps on views of the first size alone")
    texels: int = Field(default=STREET_TEXELS, ge=8, le=512, description="texels along a side: as many as are seen")
    pyramid: bool = Field(default=False, description="coarse and fine parameters that add up")
    lr: float = Field(default=LR, gt=0, le=1)
    spread: float = Field(
        default=1 / 16, ge=0, le=0.5, description="share of the side over which gradients are spread at first"
    )
    noise: float = Field(
        default=0.15, ge=0, le=1, description="standard deviation of the noise under which colours are trained at first"
    )
    margin: float = Field(default=MARGIN, ge=-5, le=10, description="logits below minus this count little more")
    mix: Mix = Field(default="mean", description="how several detectors' losses are weighed")
    tv: float = Field(default=0.02, ge=0, description="weight of the total variation")
    nps: float = Field(default=0.02, ge=0, description="weight of the non-printability score")
    smooth: float = Field(default=0.0, ge=0, description="weight of the curvature between texels")
    look_weight: float = Field(default=0.0, ge=0, description="weight of the likeness to `look`")
    colours: int = Field(default=0, ge=0, le=64, description="number of colours; 0 is full colour")
    worst_of: int = Field(
        default=1, ge=1, le=8, description="draws of which the one that hurts the pattern most is taken"
    )
    ema: float = Field(default=0.97, ge=0, lt=1, description="decay of the average that is kept")
    starts: int = Field(
        default=1, ge=1, le=16, description="random starts, of which the best on held-out people goes on"
    )
    start_steps: int = Field(default=150, ge=1)
    world: SerializeAsAny[World] = Field(default_factory=lambda: World.of(STRENGTH))
    side_street: tuple[float, float] | None = None
    side_webcam: tuple[float, float] | None = None
    held_out: float = Field(default=0.25, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    score_every: int = Field(default=100, ge=1)
    checkpoint_every: int = Field(default=25, ge=1, description="steps between checkpoints")

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
        if target == "tshirt":
            texels = max(round(float(size[0]) / SHIRT_TEXEL_MM), 8)
        webcam = framing == "webcam"
        chosen: dict[str, Any] = {
            "margin": WEBCAM_MARGIN if webcam else MARGIN,
            "crops": WEBCAM_CROPS if webcam else STREET_CROPS,
        }
        if target != "tshirt" and framing != "street":
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

    def onwards(self) -> Self:
        """Return the settings of a run that goes on from a pattern, with shorter steps unless their length was given: long
        ones would take it apart first."""
        return self if "lr" in self.model_fields_set else self.model_copy(update={"lr": ONWARDS_LR})

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

    def views(self, step: int) -> tuple[int, int]:
        """Return (count, side in pixels) of a step's views: fewer where they are larger, so that steps cost the same."""
        # Many small views first: a pattern finds its way on them in a fraction of the steps that few large ones take.
        begun = step >= self.total_steps - self.steps + self.warm * self.steps
        side = self.crops[step % len(self.crops)] if begun else self.crops[0]
        return max(round(self.batch * (self.crops[0] / side) ** 2), 1), side

    @property
    def tiles(self) -> bool:
        """Return whether the pattern repeats without a seam."""
        return self.target == "tshirt"

    @property
    def placement_range(self) -> PlacementRange:
        """Return the placements that training draws from."""
        width, height = self.print_size()
        street = self.side_street or _around(self.scale, STREET_AROUND)
        webcam = self.side_webcam or _around(self.webcam_scale, WEBCAM_AROUND)
        return PlacementRange(self.target, street, webcam, self.at, (width / 10, height / 10), self.rule)


def _around(scale: float, share: tuple[float, float]) -> tuple[float, float]:
    low, high = share
    return scale * low, scale * high
