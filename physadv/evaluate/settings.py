"""The settings of an evaluation: how patterns are worn, which people count, and what the figures are counted by."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from physadv.settings import Imgsz, Metavar, Settings
from physadv.simulate.placement import BODY, Rule, Where

# Long side at which a detector looks where neither settings nor a pattern say so.
USUAL_IMGSZ = 640


def _where(value: Any) -> Any:
    """Return a place on the body: a fraction of the box, or one of its names."""
    if value in BODY or value is None:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number <= 1:
        raise ValueError(f"expected a fraction from 0 to 1, {', '.join(BODY[:-1])} or {BODY[-1]}, got {value!r}")
    return number


class SharedSettings(Settings):
    """How patterns are worn, on which people, and how intervals are drawn: what an evaluation and a study share."""

    scale: float | None = Field(
        default=None,
        gt=0.01,
        le=2,
        description="side of the pattern as a fraction of `rule`; each pattern's own unless given, in the street .35 for a "
        "print of 36 cm, before a webcam .65 for 48 cm",
    )
    rule: Rule | None = Field(
        default=None,
        description="what `scale` is a fraction of, of the person's box: area (sqrt(width x height), as in training, since "
        "boxes of people who sit or bend differ least in it), diagonal or height; each pattern's own unless given",
    )
    at: Annotated[Where | None, BeforeValidator(_where), Metavar("|".join(["NUMBER", *BODY]))] = Field(
        default=None,
        description="centre down the person's box, 0 top, 1 bottom; or chest or portrait (to the thighs), by keypoints; or "
        "shirt or outfit (with trousers), cut anywhere. Each pattern's own unless given: in the street .42, of a portrait "
        ".5, before a webcam by keypoints, of textures as clothes",
    )
    wear_lit: bool = Field(
        default=False,
        description="prints take light, blur and noise of the cloth under them, as in the live demo; otherwise they are "
        "flat, and so they are in the rows of `grid`",
    )
    min_area: float = Field(
        default=0.02, ge=0, lt=1, description="people below this share of the image are left alone and ignored"
    )
    resamples: int = Field(default=500, ge=20, le=20_000, description="bootstrap resamples of the images")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="of controls, the cut of clothes and the bootstrap; the robust grid is fixed",
    )
    device: str = Field(default="cpu", description="cpu, cuda, mps or auto")


class EvaluateSettings(SharedSettings):
    """Everything that decides the figures besides the images, patterns, detectors and defences."""

    imgsz: Imgsz | None = Field(
        default=None,
        description="long side of the network's input, rounded up to a multiple of 32; unless given each pattern's own: "
        "416 in the street, 320 and 640 before a webcam; 640 without any",
    )
    conf: float = Field(default=0.25, gt=0, lt=1, description="threshold of alarms and of video figures")
    score_share: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="with `adaptive`: share of the images that is scored, unless the patterns' own split says which",
    )
