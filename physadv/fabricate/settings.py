"""Settings of prints, boards and advice, for the command line and the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from physadv.controls import Control
from physadv.fabricate.units import LARGEST_MM, SMALLEST_MM, Centimetres, Metres, Millimetres
from physadv.settings import Groups, Imgsz, Metavar, Settings
from physadv.simulate.placement import Rule

Garment = Literal["light-transfer", "dark-transfer", "dtg", "panels"]
Clothes = Literal["shirt", "trousers", "skirt", "outfit"]
ClothesSize = Literal["S", "M", "L", "XL", "XXL"]
Texels = Literal["texel", "smooth"]


def _resolution(text: str) -> str:
    if re.fullmatch(r"\s*\d{1,5}\s*x\s*\d{1,5}\s*", text, re.IGNORECASE) is None:
        raise ValueError(f"expected WIDTHxHEIGHT such as 1280x720, got {text!r}")
    return text


Resolution = Annotated[str, AfterValidator(_resolution), Metavar("WIDTHxHEIGHT")]


class PrintSettings(Settings):
    """How a pattern is printed: on paper or cloth, how large, and in which colours."""

    groups: ClassVar[Groups] = {
        "size": ("size", "paper", "control"),
        "size by a person": ("for_person", "rule", "scale"),
        "garment": ("garment", "clothes", "shirt"),
        "colours": ("printer", "cmyk", "texels"),
    }

    paper: str | None = Field(
        default=None,
        title="Paper",
        description="a5, a4, a3, a2, a1, a0, letter, legal, tabloid, WxHmm, or fit: one sheet as large as it takes. "
        "Without it a4, and fit for PNG",
    )
    size: Centimetres | None = Field(
        default=None,
        title="Width",
        description="printed width in cm, or with its unit (360mm, 14in); without it the pattern's own",
        json_schema_extra={"minimum": SMALLEST_MM / 10, "maximum": LARGEST_MM / 10},
    )
    for_person: Centimetres | None = Field(
        default=None,
        title="For a person",
        description="height of the wearer in cm, or with its unit (1.7m): the pattern's own size in proportion to an adult "
        "of 170 cm, or by `rule` and `scale`",
        json_schema_extra={"minimum": 50, "maximum": 250},
    )
    rule: Rule = Field(
        default="diagonal",
        title="of the standing person’s",
        json_schema_extra={"choices": {"diagonal": "diagonal", "area": "√(width × height)", "height": "height"}},
        description="what `scale` is a fraction of, of somebody who stands: sqrt(width x height), diagonal or height; "
        "the diagonal with .2 gives 36 cm at 170 cm, what the area with .35 comes to in train and evaluate",
    )
    scale: float | None = Field(
        default=None,
        title="Side, as a share",
        json_schema_extra={"minimum": 0.01, "maximum": 0.99},
        description="side of the pattern, the root of its area, as a fraction of the person, above 0 and under 1; with "
        "`for_person`",
    )
    control: Control | None = Field(
        default=None,
        title="Control in place of the pattern",
        json_schema_extra={"unset": "none"},
        description="print a control of the same size in its place; without it the pattern",
    )
    garment: Garment | None = Field(
        default=None,
        title="On",
        json_schema_extra={
            "unset": "paper",
            "choices": {
                "light-transfer": "transfer for light cloth (mirrored)",
                "dark-transfer": "transfer for dark cloth",
                "dtg": "garment printer (PNG)",
                "panels": "panels to cut and sew",
            },
        },
        description="light-transfer (mirrored, for light cloth), dark-transfer (not mirrored), dtg (PNG for direct-to-"
        "garment), panels (to cut and sew, from a seamless texture: T-shirt, trousers, skirt)",
    )
    clothes: Clothes | None = Field(
        default=None,
        title="Clothes",
        json_schema_extra={
            "unset": "what the pattern was trained for",
            "choices": {"shirt": "T-shirt", "trousers": "trousers", "skirt": "skirt", "outfit": "T-shirt and trousers"},
        },
        description="what `garment=panels` cuts: shirt, trousers, skirt or outfit (shirt and trousers); without it what "
        "the pattern was trained for",
    )
    shirt: ClothesSize = Field(
        default="M",
        title="Size of the clothes",
        description="size of the clothes for `garment=panels`: S, M, L, XL or XXL",
    )
    cmyk: Path | None = Field(
        default=None, title="CMYK profile", description="convert to CMYK by this ICC profile; writes a soft proof too"
    )
    printer: str | None = Field(
        default=None,
        title="Colours for a measured printer",
        description="printer profile of `physadv calibrate colour`: change the colours so that this printer's come nearest "
        "to the pattern's. Truer is not stronger: `physadv train --start PATTERN --printer P` gives more",
    )
    texels: Texels = Field(
        default="texel",
        title="Cells of the pattern",
        json_schema_extra={"choices": {"texel": "crisp areas", "smooth": "blended"}},
        description="texel prints each cell of the pattern crisp, as an area; smooth blends from cell to cell",
    )


class BoardSettings(Settings):
    """A ChArUco board: how many squares, and how large they are on the print."""

    board: str | None = Field(
        default=None,
        max_length=12,
        title="Board",
        description="a4 (7x10 squares), a3 (9x13), or squares across and down such as 7x10; a4 unless given",
    )
    square_mm: Millimetres | None = Field(
        default=None,
        gt=0,
        le=1000,
        title="Square, mm",
        description="width of a square as measured on the print, in mm or with its unit; the board's own unless given",
    )
    marker_mm: Millimetres | None = Field(
        default=None,
        gt=0,
        le=1000,
        title="Marker, mm",
        description="width of a marker as measured on the print, in mm or with its unit; in proportion unless given",
    )
    dictionary: Literal["4x4", "5x5", "6x6", "7x7"] | None = Field(
        default=None, title="Markers", description="family of markers on the board; 5x5 unless given"
    )


class AdviceSettings(Settings):
    """A camera, a person before it, and a print, of which it is asked whether it is large enough."""

    groups: ClassVar[Groups] = {
        "print and place": ("distance", "size", "person_height", "wanted"),
        "camera": ("fov", "resolution", "camera", "imgsz"),
    }

    distance: Metres = Field(
        default=3.0, title="Distance", description="from camera to person in metres, or with its unit"
    )
    size: Centimetres | None = Field(
        default=None,
        title="Width",
        description="printed width in cm, or with its unit (400mm); without it the pattern's own. A T-shirt is as large as "
        "its wearer",
    )
    person_height: Centimetres = Field(
        default=170.0, title="For a person", description="height of the wearer in cm, or with its unit"
    )
    wanted: float = Field(default=0.5, gt=0, lt=1, description="share of people who should be hidden for a size to do")
    fov: Annotated[float, Metavar("DEGREES")] | None = Field(
        default=None,
        title="Field of view",
        description="degrees that the camera sees from left to right; 60 unless given",
        json_schema_extra={"minimum": 5, "maximum": 160},
    )
    resolution: Resolution | None = Field(
        default=None,
        title="Image",
        description="the camera's image, such as 1280x720; 640x480 unless given",
        examples=["640x480", "1280x720", "1920x1080"],
    )
    camera: str | None = Field(
        default=None, title="Camera", description="calibrated camera (calib/cameras) instead of `fov`"
    )
    imgsz: Imgsz = Field(default=640, title="Detector", examples=[320, 416, 640, 1280])
