"""Settings of a print: one schema for the command line and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from physadv.controls import Control
from physadv.settings import Settings
from physadv.simulate.placement import Rule

Garment = Literal["light-transfer", "dark-transfer", "dtg", "panels"]
ShirtSize = Literal["S", "M", "L", "XL", "XXL"]
Texels = Literal["texel", "smooth"]


class PrintSettings(Settings):
    """How a pattern goes to paper or cloth."""

    paper: str | None = Field(
        default=None,
        description="a5, a4, a3, a2, a1, a0, letter, legal, tabloid, WxHmm, or fit: one sheet as large as it takes. "
        "Without it a4, and fit for PNG",
    )
    size: str | None = Field(
        default=None, description="printed width in cm, or with its unit (360mm, 14in); without it the pattern's own"
    )
    for_person: str | None = Field(
        default=None, description="height of the wearer in cm, or with its unit (1.7m): size by `rule` and `scale`"
    )
    rule: Rule = Field(
        default="diagonal",
        description="what `scale` is a fraction of, of somebody who stands: sqrt(width x height), diagonal or height; "
        "the diagonal with .2 gives 36 cm at 170 cm, what the area with .35 comes to in train and evaluate",
    )
    scale: float = Field(
        default=0.2,
        description="side of the pattern as a fraction of the person, above 0 and under 1; with `for_person`",
    )
    control: Control | None = Field(
        default=None, description="print a control of the same size in its place; without it the pattern"
    )
    garment: Garment | None = Field(
        default=None,
        description="light-transfer (mirrored, for light cloth), dark-transfer (not mirrored), dtg (PNG for direct-to-"
        "garment), panels (front, back and sleeves cut from a seamless texture)",
    )
    shirt: ShirtSize = Field(default="M", description="size of the shirt for `garment=panels`: S, M, L, XL or XXL")
    cmyk: Path | None = Field(default=None, description="convert to CMYK by this ICC profile; writes a soft proof too")
    printer: str | None = Field(
        default=None,
        description="printer profile of `physadv calibrate colour`: change the colours so that this printer's come nearest "
        "to the pattern's. Truer is not stronger: `physadv train --start PATTERN --printer P` gives more",
    )
    texels: Texels = Field(
        default="texel",
        description="texel prints each cell of the pattern crisp, as an area; smooth blends from cell to cell",
    )
