"""What an evaluation can be told: where patterns go, on whom, and against which detectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from physadv.detect.matching import FOUND_CONF
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.settings import Settings
from physadv.simulate.placement import Rule
from physadv.types import Detector


class EvaluateSettings(Settings):
    """Everything that decides the figures besides the images, patterns and defences."""

    rule: Rule = Field(
        default="area", description="what the side is a share of: sqrt(w h), diagonal or height of the box"
    )
    scale: float = Field(default=0.35, gt=0.01, le=2, description="side of the pattern over that length")
    at: float | Literal["chest", "shirt"] = Field(
        default=0.42,
        description="centre as a fraction of the box's height; or chest, by keypoints; or shirt, cut anywhere",
    )
    detectors: tuple[str, ...] = (DEFAULT_DETECTOR,)
    imgsz: int = Field(
        default=640,
        ge=32,
        le=4096,
        description="long side at which the detector sees an image, rounded up to its stride",
    )
    min_area: float = Field(
        default=0.02, ge=0, lt=1, description="people below this share of the image are left alone and ignored"
    )
    conf: float = Field(default=FOUND_CONF, gt=0, lt=1, description="threshold of alarms and of video figures")
    resamples: int = Field(default=500, ge=20, le=20_000, description="bootstrap resamples of the images")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="of controls, the cut of T-shirts and the bootstrap; the robust grid is fixed",
    )
    device: str = "cpu"

    def side_of(self, detector: Detector) -> int:
        """Return the long side at which the detector sees an image: `imgsz`, rounded up to what it can take."""
        return detector.imgsz
