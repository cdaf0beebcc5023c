"""Settings of the guided tour."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.live.settings import Backend, PageSettings
from physadv.settings import DetectorName, Groups, Imgsz, Metavar, Names, Seconds, SourceName

# As in `texts.yaml`.
Language = Literal["en", "zh"]


class TourSettings(PageSettings):
    """The demo opened at its tour, or the tour as a video."""

    groups: ClassVar[Groups] = {
        "tour": ("language", "stop", "record", "step_seconds", "overwrite"),
        "demo": ("source", "detector", "runs", "imgsz", "backend"),
        "page": ("host", "port", "token"),
    }

    language: Language | None = Field(
        default=None, description="of the tour; without it the browser's, and English in a video"
    )
    stop: int | None = Field(
        default=None, ge=1, le=8, description="where the page opens; with `record` the only one in the video"
    )
    record: Path | None = Field(
        default=None, description="write the tour as a video (.mp4) here, without a page, and end: all eight stops"
    )
    step_seconds: Seconds = Field(
        default=3.0, gt=0, le=60, description="with `record`: how long each state of a stop is shown"
    )
    overwrite: bool = Field(default=False, description="replace the recording that `record` names, all files of it")
    source: SourceName = Field(
        default="sample",
        min_length=1,
        max_length=2000,
        description="as physadv live takes it; of the sample each stop takes the scene that it is about",
    )
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR,
        min_length=1,
        description="as physadv live takes it; a poisoned run of the lab is shown live at stop 7",
    )
    runs: Annotated[Names, Metavar("FOLDER")] = Field(
        default=[], description="runs of the lab, or folders of them, that the page offers as detectors too"
    )
    imgsz: Imgsz = 640
    backend: Backend = Field(
        default="auto", description="what runs the detector; auto takes the fastest that is installed"
    )

    @field_validator("record")
    @classmethod
    def _is_video(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() != ".mp4":
            raise ValueError(f"expected a file name ending in .mp4, got {value}")
        return value
