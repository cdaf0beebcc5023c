"""Lengths, papers and people in millimetres: reads `36cm`, `a4` and `170cm`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator

from physadv.errors import FabricationError
from physadv.settings import Metavar
from physadv.simulate.placement import Rule

MM_PER_INCH = 25.4
# (short side, long side) in millimetres.
PAPERS: dict[str, tuple[float, float]] = {
    "a5": (148.0, 210.0),
    "a4": (210.0, 297.0),
    "a3": (297.0, 420.0),
    "a2": (420.0, 594.0),
    "a1": (594.0, 841.0),
    "a0": (841.0, 1189.0),
    "letter": (215.9, 279.4),
    "legal": (215.9, 355.6),
    "tabloid": (279.4, 431.8),
}
# The box of a standing adult is about .35 as wide as it is tall: 60 cm at 170 cm.
STANDING_ASPECT = 0.35
# Below 2 cm no camera resolves a pattern; a pattern three metres wide is a mistyped one.
SMALLEST_MM, LARGEST_MM = 20.0, 3000.0
_UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "in": MM_PER_INCH, '"': MM_PER_INCH}
_LENGTH = re.compile(r'\s*(-?\d+(?:\.\d*)?|-?\.\d+)\s*(mm|cm|m|in|")?\s*', re.IGNORECASE)
_SIZE = re.compile(r'\s*([\d.]+)\s*x\s*([\d.]+)\s*(mm|cm|m|in|")\s*', re.IGNORECASE)


def length_in(unit: str) -> Callable[[Any], Any]:
    """Return a validator that reads text (`36cm`, `36`) as a number of `unit`s and passes anything else on."""

    def read(value: Any) -> Any:
        return round(_millimetres(value, unit) / _UNITS[unit], 6) if isinstance(value, str) else value

    return read


# A length as a number of these, or as text with its unit: `36`, `36cm`, `360mm`, `0.36m`.
Centimetres = Annotated[float, BeforeValidator(length_in("cm")), Metavar("CM")]
Metres = Annotated[float, BeforeValidator(length_in("m")), Metavar("METRES")]
Millimetres = Annotated[float, BeforeValidator(length_in("mm")), Metavar("MM")]


def _millimetres(text: str, unit: str) -> float:
    match = _LENGTH.fullmatch(text)
    value = float(match[1]) * _UNITS[(match[2] or unit).lower()] if match else math.nan
    if match and value <= 0:
        raise ValueError(f"expected a length above zero, got {text}")
    if not 0 < value < math.inf:
        raise ValueError(
            f"expected a length above zero such as 36cm, 360mm or 14in (a plain number is in {unit}), got {text!r}"
        )
    return value


def paper_mm(text: str) -> tuple[float, float]:
    """Return (short side, long side) in millimetres of a paper by name, or of one given as `WxHmm`.

    Raises: FabricationError if it is neither, or a side is not within 50 mm and 3.5 m.
    """
    known = PAPERS.get(text.strip().lower())
    if known:
        return known
    match = _SIZE.fullmatch(text)
    try:
        sides = sorted(float(v) * _UNITS[match[3].lower()] for v in match.groups()[:2]) if match else []
    except ValueError:
        sides = []
    if not sides:
        names = ", ".join(PAPERS)
        raise FabricationError(field="paper", expected=f"{names}, fit, or a size such as 300x400mm", got=repr(text))
    if sides[0] < 50 or sides[1] > 3500:
        raise FabricationError(field="paper", expected="sides of 50 to 3500 mm", got=f"{sides[0]:g} x {sides[1]:g} mm")
    return sides[0], sides[1]


def size_for_person(height_mm: float, rule: Rule, scale: float) -> float:
    """Return the side in millimetres of a square pattern that is `scale` of a standing person by `rule`.

    rule: of sqrt(w h) of the person's box, of its diagonal, or of its height; a standing person's box is .35 as wide as
    tall.

    Raises: FabricationError if the person is not 50 cm to 250 cm tall, or `scale` not within 0 and 1.
    """
    check_person(height_mm)
    if not 0 < scale < 1:
        raise FabricationError(field="scale", expected="a fraction of the person above 0 and under 1", got=f"{scale:g}")
    width = STANDING_ASPECT * height_mm
    base = {"area": math.sqrt(width * height_mm), "diagonal": math.hypot(width, height_mm), "height": height_mm}[rule]
    return scale * base


def checked_size(width_mm: float, height_mm: float) -> tuple[float, float]:
    """Return the two sides of a print.

    Raises: FabricationError if one of them is under 2 cm or over 3 m.
    """
    if min(width_mm, height_mm) < SMALLEST_MM:
        raise FabricationError(
            f"{width_mm / 10:g} x {height_mm / 10:g} cm is too small to print",
            field="size",
            expected=f"{SMALLEST_MM / 10:g} cm or more (36cm suits a standing adult)",
        )
    if max(width_mm, height_mm) > LARGEST_MM:
        raise FabricationError(
            f"{width_mm / 10:g} x {height_mm / 10:g} cm is too large",
            field="size",
            expected=f"{LARGEST_MM / 10:g} cm at most (36cm suits a standing adult)",
        )
    return width_mm, height_mm


def size_in_words(width_cm: float, aspect: float) -> str:
    """Return a width in centimetres as text, with the height where that is another: `36 cm`, `36 x 72 cm`.

    aspect: height over width.
    """
    return f"{width_cm:g} cm" if abs(aspect - 1) < 0.005 else f"{width_cm:g} x {width_cm * aspect:.4g} cm"


def check_person(height_mm: float) -> None:
    """Raise FabricationError if the wearer of a print is not 50 cm to 250 cm tall."""
    if not 500 <= height_mm <= 2500:
        raise FabricationError(field="for_person", expected="a person of 50 to 250 cm", got=f"{height_mm / 10:g} cm")


def cm(mm: float) -> str:
    """Return millimetres as text in centimetres: `36`, `18.5`."""
    return f"{mm / 10:.1f}".removesuffix(".0")
