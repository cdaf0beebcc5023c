"""How a trial is run: what looks, where its page is served, what stands for the printed sheets."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from physadv.capture.settings import CaptureSettings
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.live.settings import Backend, LiveSettings, PageSettings
from physadv.settings import DetectorName, Groups, Imgsz, Metavar, Seconds, SourceName


class TrialSettings(CaptureSettings, PageSettings):
    """A trial besides its plan."""

    groups: ClassVar[Groups] = {
        "source": ("source", "realtime"),
        "detector": ("detector", "conf", "imgsz", "backend"),
        "how it goes on": ("proxy", "auto", "countdown", "change"),
        "page": ("host", "port", "token"),
        "camera details": LiveSettings.groups["camera details"] + ("loop",),
    }

    source: SourceName = Field(
        default="auto",
        min_length=1,
        max_length=2000,
        description="camera, as physadv live takes it; browser is that of the device that opens the page. A file "
        "and a scene of the sample (sample:whole) begin anew with each block, at another place, and need `proxy` digital",
    )
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR, min_length=1, description="detector, as physadv live takes it"
    )
    conf: float = Field(default=0.25, ge=0.05, lt=1, description="confidence from which the person counts as seen")
    imgsz: Imgsz = 640
    backend: Backend = Field(
        default="auto", description="what runs the detector; auto takes the fastest that is installed"
    )
    proxy: Annotated[Literal["digital", "screen"] | None, Metavar("digital|screen")] = Field(
        default=None,
        description="what stands for printed sheets, said in the report: digital, put on by the demo, or screen, a "
        "recording or the sheets shown on one",
    )
    auto: bool = Field(
        default=False, description="go on by itself to the end, without prompts; with `proxy` digital, which it sets"
    )
    countdown: Seconds = Field(default=3.0, ge=0, le=60, description="counted down before a window")
    change: Seconds = Field(
        default=8.0, ge=1, le=600, description="to change sheets in, where windows begin by themselves (hands-free)"
    )

    def capture(self) -> CaptureSettings:
        """Return what the source is asked for."""
        return CaptureSettings.of(self)
