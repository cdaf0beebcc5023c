"""Which clothes are cut from a pattern, and the panels of each."""

from __future__ import annotations

from collections.abc import Callable

from physadv.errors import FabricationError
from physadv.fabricate.body import TRAINED
from physadv.fabricate.panels import Panel
from physadv.fabricate.settings import Clothes, ClothesSize, PrintSettings
from physadv.fabricate.shirt import shirt_panels
from physadv.fabricate.trousers import skirt_panels, trouser_panels
from physadv.patch import Patch

PANELS: dict[Clothes, Callable[[ClothesSize], tuple[Panel, ...]]] = {
    "shirt": shirt_panels,
    "trousers": trouser_panels,
    "skirt": skirt_panels,
    "outfit": lambda size: shirt_panels(size) + trouser_panels(size),
}


def require_texture(patch: Patch) -> None:
    """Raise FabricationError if the pattern is no texture that repeats over cloth without a seam."""
    if not patch.tiles:
        raise FabricationError(
            f"{patch.name} is a {patch.target} pattern",
            field="garment=panels",
            expected="a texture that repeats without a seam, as `physadv train --target tshirt` or outfit makes them",
            hint="print it with `garment=dtg` or a transfer instead",
        )


def clothes_of(patch: Patch, settings: PrintSettings) -> Clothes:
    """Return what is cut from a pattern: as asked, or what it was trained for."""
    return settings.clothes or TRAINED.get(patch.target, "shirt")


def panels_of(patch: Patch, settings: PrintSettings) -> tuple[Panel, ...]:
    """Return the panels of the clothes that are cut from a pattern, each as it is printed.

    Raises: FabricationError if the pattern does not repeat without a seam.
    """
    require_texture(patch)
    return PANELS[clothes_of(patch, settings)](settings.shirt)
