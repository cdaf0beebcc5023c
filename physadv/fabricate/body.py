"""What a pattern covers of a body: a texture whole clothes, any other print a part of it, which is reckoned here.

Heights are centimetres below the point where shoulder and neck meet, on a person of `PERSON_CM`; on others in proportion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from physadv.camera.lens import PERSON_CM
from physadv.errors import FabricationError
from physadv.fabricate.settings import Clothes
from physadv.fabricate.units import cm
from physadv.patch import Patch, Target
from physadv.simulate.framing import SEATED_MM
from physadv.simulate.placement import BOX_AT, CHEST_DROP_CM

# What people wear in the training of each texture, and what clothes are called.
TRAINED: dict[Target, Clothes] = {"tshirt": "shirt", "outfit": "outfit"}
# Clothes of which the simulated world draws every piece on people. Nobody is drawn in a skirt.
DRAWN: dict[Target, tuple[Clothes, ...]] = {"tshirt": ("shirt",), "outfit": ("shirt", "trousers", "outfit")}
CALLED: dict[Clothes, str] = {
    "shirt": "T-shirt",
    "trousers": "trousers",
    "skirt": "skirt",
    "outfit": "T-shirt and trousers",
}
# From the point of the shoulder at the neck down to the line of the shoulder joints.
NECK_CM = 5.0
# The upper edge of a large print lies so far below that line, as `chest_quads` puts it.
UNDER_CM = 3.0
# A poster's middle: .42 of a standing person below the crown, which is so far below the neck's point.
HELD_CM = 41.0
CROWN_CM = BOX_AT * PERSON_CM - HELD_CM
# Whoever sits shows head and trunk down to the lap.
LAP_CM = SEATED_MM["height"] / 10 - CROWN_CM
# Where each part of the body ends.
PARTS = (
    ("neck", 6.0),
    ("chest", 28.0),
    ("belly", 46.0),
    ("hips", 60.0),
    ("thighs", 90.0),
    ("knees", 102.0),
    ("shins", 132.0),
)


# Targets whose prints hang on the body: posters hang on walls too, clothes are as large as their wearer.
HUNG: tuple[Target, ...] = ("chest", "portrait")


@dataclass(frozen=True, slots=True)
class Cover:
    """What a print covers. top, bottom: its edges, in centimetres below the neck. person_cm: height of the wearer."""

    top: float
    bottom: float
    person_cm: float = PERSON_CM

    @property
    def parts(self) -> str:
        """Return the parts of the body from the upper to the lower edge: `chest to thighs`."""
        scale = self.person_cm / PERSON_CM
        first, last = (
            next((name for name, end in PARTS if edge < end * scale), "feet") for edge in (self.top, self.bottom - 1.0)
        )
        return first if first == last else f"{first} to {last}"

    @property
    def on_lap(self) -> float:
        """Return how many centimetres of it lie on the lap of whoever sits, or hang below it."""
        return min(max(self.bottom - LAP_CM * self.person_cm / PERSON_CM, 0.0), self.bottom - self.top)

    def shown(self, share: float) -> float:
        """Return the share of the print in an image that shows this share of a standing person, from the crown down."""
        lowest = share * self.person_cm - CROWN_CM * self.person_cm / PERSON_CM
        return min(max((lowest - self.top) / (self.bottom - self.top), 0.0), 1.0)


def cover_of(patch: Patch, size_mm: tuple[float, float], person_cm: float = PERSON_CM) -> Cover:
    """Return what a print of this size, (width, height), covers of its wearer, placed as in training."""
    top = top_cm(patch, size_mm)
    return Cover(top, top + size_mm[1] / 10, person_cm)


def top_cm(patch: Patch, size_mm: tuple[float, float]) -> float:
    """Return how far below the neck a print's upper edge lies, as training has it."""
    half = size_mm[1] / 20
    if patch.target == "poster":
        return max(HELD_CM - half, 0.0)
    return NECK_CM + max(CHEST_DROP_CM, half + UNDER_CM) - half


def longest_cm(target: Target, person_cm: float = PERSON_CM) -> float:
    """Return how high a print may be to be worn: what hangs on a body ends at the floor; other prints are not bounded."""
    return person_cm * (1 - CROWN_CM / PERSON_CM) if target in HUNG else math.inf


def check_length(target: Target, height_mm: float, *, field: str, person_cm: float = PERSON_CM) -> None:
    """Raise FabricationError, naming `field`, if a print hangs on a body and is longer than that from neck to floor."""
    longest = longest_cm(target, person_cm)
    if height_mm > longest * 10:
        raise FabricationError(
            f"a print {cm(height_mm)} cm high is longer than a person of {person_cm:g} cm from neck to floor",
            field=field,
            expected=f"{cm(longest * 10)} cm or less",
        )
