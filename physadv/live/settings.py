"""Settings of the live demo: at its start, and those that can be changed while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from physadv.capture.settings import CaptureSettings
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.fabricate.units import Centimetres
from physadv.settings import (
    Defences,
    DetectorName,
    Folder,
    Groups,
    Host,
    Imgsz,
    Metavar,
    Names,
    Seconds,
    Secret,
    Settings,
    SourceName,
)

Ui = Literal["web", "window", "none"]
Backend = Literal["auto", "torch", "openvino", "onnxruntime"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class PageAddress(Settings):
    """Where a page is served."""

    host: Host = Field(
        default="127.0.0.1",
        min_length=1,
        description="address the page is served on; other than this machine's (0.0.0.0 lets a phone in) it needs a token",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="port of the page; 0 takes a free one")


class PageSettings(PageAddress):
    """Where a page is served, and the secret that lets somebody in."""

    token: Secret = Field(
        default="", max_length=200, description="secret that the page's address must carry; made if `host` needs one"
    )


class AdjustableSettings(Settings):
    """What is set when the demo starts and can be changed while it runs."""

    conf: float = Field(
        default=0.25, ge=0.05, le=1, title="Confidence threshold", description="confidence from which a person counts"
    )
    turn: float = Field(
        default=0,
        ge=-180,
        le=180,
        title="Image turned by",
        description="degrees by which the whole image is turned before anybody is looked for, clockwise: a tilted camera",
    )
    farther: float = Field(
        default=1,
        ge=1,
        le=8,
        title="Times as far away",
        description="how many times as far away everybody is to be: the image is made smaller before anybody is looked for",
    )
    find_print: bool = Field(
        default=False,
        title="Look for a printed pattern",
        description="look for a print of the worn pattern, or of any, in the image, up to four times a second: how it lies",
    )
    wear_size: Centimetres | None = Field(
        default=None,
        ge=1,
        le=300,
        title="Printed width",
        description="printed width in cm, or with its unit (480mm); if not given, at which it does most, or its own",
    )
    wear_angle: float = Field(
        default=0,
        ge=-180,
        le=180,
        title="Turned by",
        description="degrees by which the print is turned on its wearer, clockwise as the viewer sees it; 0 is upright",
    )
    wear_fold: float = Field(
        default=0,
        ge=-0.5,
        le=0.5,
        title="Folded away",
        description="share of the print's width that is folded away, at the viewer's right above 0, at the left below",
    )
    wear_lit: bool = Field(
        default=True,
        title="As a photograph would show it",
        description="prints take light, blur and noise of the cloth under them; otherwise they are flat",
    )
    defend: Defences = Field(
        default="",
        max_length=2000,
        title="Defences",
        description="NAME[:parameter=value+parameter=value...],NAME..., or a preset: see physadv defences",
    )
    compare: bool = Field(
        default=True, description="with a defence on, run the bare detector as well, for the side-by-side view"
    )


class LiveSettings(AdjustableSettings, CaptureSettings, PageSettings):
    """The demo at its start; what can be changed while it runs is in `Controls`."""

    groups: ClassVar[Groups] = {
        "source": ("source", "camera", "seconds", "frames", "loop", "realtime", "turn", "farther"),
        "detector": ("detector", "beside", "runs", "conf", "imgsz", "backend"),
        "wear": ("wear", "wear_size", "wear_angle", "wear_fold", "wear_lit", "wear_from", "find_print"),
        "defend": ("defend", "compare", "defence_limit"),
        "record": ("record", "record_clean", "overwrite", "recordings", "stats"),
        "page": ("ui", "host", "port", "token", "viewer_token"),
        "camera details": ("width", "height", "fps", "mjpg", "exposure", "lock_exposure", "white_balance",
                           "lock_white_balance", "open_timeout", "read_timeout", "seed"),
    }  # fmt: skip

    source: SourceName = Field(
        default="auto",
        title="Source",
        min_length=1,
        max_length=2000,
        description="webcam index, /dev/videoN or a link to it, video file, rtsp:// or http:// camera (stream, or one "
        "image a request), folder or glob of images, "
        "browser (the visitor's camera), sample (built in; sample:whole, sample:webcam, sample:street: one of its scenes), "
        "auto (first webcam that answers, else sample), or a plug-in by its name",
    )
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR,
        min_length=1,
        title="Detector",
        description="YOLO or RT-DETR of Ultralytics by name or path, the folder of a run of the lab, "
        "torchvision:NAME, an .onnx file, or a plug-in; see docs/detectors.md",
    )
    beside: Annotated[Names, Metavar("MODEL")] = Field(
        default=[],
        title="Beside it",
        description="detectors that look at the same images, each in a pane of its own, at most two; parents: those that "
        "a run of the lab was made from. Each costs a pass an image",
    )
    runs: Annotated[Names, Metavar("FOLDER")] = Field(
        default=[],
        description="runs of the lab, or folders of them, that the page offers as detectors besides those in the folder "
        "where the demo is started and in its runs/",
    )
    backend: Backend = Field(
        default="auto", title="Backend", description="what runs the detector; auto takes the fastest that is installed"
    )
    imgsz: Imgsz = Field(default=640, title="Input size")
    ui: Ui = Field(default="web", description="page in the browser, OpenCV window, or none (headless)")
    viewer_token: Secret = Field(
        default="",
        max_length=200,
        description="secret of the read-only address, for those who may look on only; made where there is a token",
    )
    camera: str | None = Field(
        default=None,
        description="camera profile of `physadv calibrate camera`, name or path: undistorts, shows sizes in cm",
    )
    record: Path | None = Field(
        default=None,
        description="write the annotated video here (.mp4) with its sidecar beside it, or the sidecar alone (.jsonl)",
    )
    record_clean: bool = Field(default=False, description="write the untouched camera video too")
    overwrite: bool = Field(default=False, description="replace the recording that `record` names, all files of it")
    wear: Annotated[Names, Metavar("PATTERN")] = Field(
        default=[],
        description="pattern put on every person: file or shipped name (physadv patterns); several as words, or between "
        "commas: the first is worn, the page offers all; trigger: the print that a poisoned detector of the lab waits for",
    )
    wear_from: Seconds = Field(default=0, ge=0, description="seconds into the images from which the pattern is worn")
    seconds: Seconds | None = Field(default=None, gt=0, description="end after this many seconds")
    frames: int | None = Field(default=None, gt=0, description="end after this many images")
    stats: Path | None = Field(default=None, description="write the run's figures here as JSON")
    defence_limit: Seconds = Field(
        default=2.0,
        gt=0,
        le=600,
        description="seconds a defence may take for an image; three slower ones in a row switch it off",
    )
    recordings: Folder = Field(
        default=Path("recordings"), description="folder for recordings and snapshots started from the page"
    )

    @field_validator("record")
    @classmethod
    def _named(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() not in (".mp4", ".jsonl"):
            raise ValueError(f"expected a file name ending in .mp4, or .jsonl for the sidecar alone, got {value}")
        return value

    def capture(self) -> CaptureSettings:
        """Return what the source is asked for."""
        return CaptureSettings.of(self)


class Controls(AdjustableSettings):
    """What a viewer can change while the demo runs. wear: the name of a pattern in the library, or "" for none.

    follow: the recommended pattern is worn, another one where the camera sees people otherwise.
    """

    wear: str = Field(default="", max_length=200)
    follow: bool = False
    skeleton: bool = True
