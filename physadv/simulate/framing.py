"""How a pattern is made to be worn: framing, size and place, as training settings and patterns' records have them."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field, model_validator

from physadv.patch import TEXTURES, Target
from physadv.settings import Settings
from physadv.simulate.placement import Framing, Placement, Rule, centre_of

SIZE_MM: dict[Target, tuple[float, float]] = {
    "poster": (594.0, 594.0),
    "chest": (360.0, 360.0),
    # From the chest to the thighs.
    "portrait": (360.0, 720.0),
    # A motif that repeats often: whatever is cut from the cloth shows all of it, and few texels are found sooner. Of
    # periods of 100 to 800 mm those of 160 and 250 left fewest people found after as many steps.
    "tshirt": (200.0, 200.0),
    "outfit": (200.0, 200.0),
}
# Prints over the whole torso: before a webcam smaller ones hide nobody.
WEBCAM_MM: dict[Target, tuple[float, float]] = {"chest": (480.0, 480.0), "portrait": (400.0, 600.0)}
# Millimetres of what each rule takes of the box around a grown-up who stands, and around one seen from head to hips.
STANDING_MM: dict[Rule, float] = {"area": 360 / 0.35, "height": 1700.0, "diagonal": 1810.0}
SEATED_MM: dict[Rule, float] = {"area": 480 / 0.65, "height": 800.0, "diagonal": 1050.0}
LEAST_SCALE, MOST_SCALE = 0.02, 2.0
# Long sides at which a detector looks at people in the street, and before a webcam: a laptop's live demo looks at 320 to
# 640 pixels, and a pattern chosen at one size alone may be weak at the other.
STREET_IMGSZ, WEBCAM_IMGSZ = 416, (320, 640)


class PlacementFields(Settings):
    """Where and how large a pattern is worn, as it is asked for."""

    target: Target = Field(
        default="chest",
        description="poster, chest (a print), portrait (from chest to thighs), tshirt (a texture that tiles) or outfit "
        "(T-shirt and trousers of it)",
    )
    framing: Framing = Field(default="street", description="street, webcam (the person fills the image) or mixed")
    rule: Rule = Field(
        default="area",
        description="what `scale` is a fraction of, of the person's box as the camera sees it: sqrt(width x height), "
        "as in evaluate, since boxes of people who sit or bend differ least in it (print, with a "
        "standing person, has diagonal)",
    )
    scale: float = Field(
        default=0.35,
        ge=LEAST_SCALE,
        le=MOST_SCALE,
        description="the print's size, the root of its area, as a fraction of `rule`; unless given, by `width_mm` on "
        "an adult",
    )
    webcam_scale: float = Field(
        default=0.65,
        ge=LEAST_SCALE,
        le=MOST_SCALE,
        description="with `framing=mixed`: the same for people before a webcam; unless given, by `width_mm`",
    )
    at: float = Field(
        default=0.42,
        ge=0,
        le=1,
        description="centre of the pattern down the person's box, 0 top, 1 bottom: the chest of somebody who stands, "
        "at which evaluate scores images too; unless given .42, of a portrait .5",
    )


class PlacementSettings(PlacementFields):
    """Where and how large a pattern is worn.

    rule, scale, at: the placement by which people are scored, scale being that of the street and webcam_scale that before a
    webcam; unless given, what `size_mm` measures on a body, and the other way round.
    """

    size_mm: tuple[float, float] | None = None

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: Any) -> Any:
        """Return the fields with the scale that a size has on a body, or the size that a scale has."""
        if not isinstance(values, dict):
            return values
        framing, target = values.get("framing", "street"), values.get("target", "chest")
        if target in TEXTURES:
            return values
        size = values.get("size_mm") or size_of(target, framing)
        rule, own = values.get("rule", "area"), "webcam_scale" if framing == "webcam" else "scale"
        bodies = {"scale": STANDING_MM.get(rule, 1.0), "webcam_scale": SEATED_MM.get(rule, 1.0)}
        side = math.sqrt(float(size[0]) * float(size[1]))
        chosen: dict[str, Any] = {"at": centre_of(target)}
        if own in values and not values.get("size_mm"):
            shape = math.sqrt(float(size[0]) / float(size[1]))
            side = round(float(values[own]) * bodies[own], 1)
            chosen["size_mm"] = (round(side * shape, 1), round(side / shape, 1))
        chosen |= {n: min(max(round(side / mm, 4), LEAST_SCALE), MOST_SCALE) for n, mm in bodies.items()}
        return {**chosen, **values}

    def print_size(self) -> tuple[float, float]:
        """Return (width, height) of the print in millimetres."""
        return self.size_mm or size_of(self.target, self.framing)

    def placements(self) -> dict[Framing, tuple[Placement, tuple[int, ...]]]:
        """Return how the pattern is worn in each framing it is made for, and the long sides at which a detector looks.

        Their proportions are for each patch to say: `Placement.shaped`.
        """

        def worn(target: Target, scale: float) -> Placement:
            if self.target in TEXTURES:
                return Placement(self.target)
            return Placement(target, self.rule, scale, at=self.at)

        # Joints of people in the street are too unsure to hang a print from them: it is placed by the box, as a poster is.
        both: dict[Framing, tuple[Placement, tuple[int, ...]]] = {
            "street": (worn("poster", self.scale), (STREET_IMGSZ,)),
            "webcam": (worn(self.target, self.webcam_scale), WEBCAM_IMGSZ),
        }
        return both if self.framing == "mixed" else {self.framing: both[self.framing]}


def size_of(target: Target, framing: Framing) -> tuple[float, float]:
    """Return the (width, height) in millimetres of a print of which nothing else is said."""
    return SIZE_MM[target] if framing == "street" else WEBCAM_MM.get(target, SIZE_MM[target])
