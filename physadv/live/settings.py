"""Everything the live demo can be told at its start; the command line's flags are made from this."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from physadv.capture.settings import CaptureSettings
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.settings import Settings

Ui = Literal["web", "window", "none"]
Backend = Literal["auto", "torch", "openvino", "onnxruntime"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LiveSettings(CaptureSettings):
    """The demo at its start; what can be changed while it runs is in `Controls`."""

    source: str = Field(
        default="auto",
        min_length=1,
        max_length=2000,
        description="webcam index, /dev/videoN or a link to it, video file, rtsp:// or http:// camera (stream, or one "
        "image a request), folder or glob of images, "
        "browser (the visitor's camera), sample (built in), auto (first webcam that answers, else sample)",
    )
    detector: str = Field(
        default=DEFAULT_DETECTOR, min_length=1, description="Ultralytics detection or pose model, name or path"
    )
    backend: Backend = Field(
        default="auto", description="what runs the detector; auto takes the fastest that is installed"
    )
    imgsz: int = Field(
        default=640, ge=32, le=4096, multiple_of=32, description="long side of the network's input in pixels"
    )
    conf: float = Field(default=0.25, ge=0.05, le=1, description="confidence from which a person counts")
    ui: Ui = Field(default="web", description="page in the browser, OpenCV window, or none (headless)")
    host: str = Field(
        default="127.0.0.1", min_length=1, description="address the page is served on; other than this machine: token"
    )
    port: int = Field(default=8000, ge=0, le=65535, description="port of the page; 0 takes a free one")
    token: str = Field(
        default="", max_length=200, description="secret that the page's address must carry; made if host needs one"
    )
    viewer_token: str = Field(
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
    wear: list[str] = Field(
        default=[],
        description="pattern put on every person: file or shipped name (physadv patterns); several as words, or between "
        "commas: the first is worn, the page offers all",
    )
    wear_size: float | None = Field(
        default=None,
        ge=1,
        le=300,
        description="printed width in cm, or with its unit (480mm); if not given, at which it does most, or its own",
    )
    wear_from: float = Field(default=0, ge=0, description="seconds into the images after which the pattern is worn")
    defend: str = Field(
        default="",
        description="NAME[:parameter=value+parameter=value...],NAME..., or a preset: see physadv defences",
    )
    compare: bool = Field(
        default=True, description="with a defence on, run the bare detector as well, for the side-by-side view"
    )
    seconds: float | None = Field(default=None, gt=0, description="end after this many seconds")
    frames: int | None = Field(default=None, gt=0, description="end after this many images")
    stats: Path | None = Field(default=None, description="write the run's figures here as JSON")
    defence_limit: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="seconds a defence may take for an image; three slower ones in a row switch it off",
    )
    recordings: Path = Field(
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
        return CaptureSettings(**{name: getattr(self, name) for name in CaptureSettings.model_fields})


class Controls(Settings):
    """What a viewer can change while the demo runs. defend: a pipeline as text. wear: a name in the wardrobe, or "".

    follow: the recommended pattern is worn, another where the camera sees people otherwise.
    """

    conf: float = Field(default=0.25, ge=0.05, le=1)
    defend: str = Field(default="", max_length=2000)
    wear: str = Field(default="", max_length=200)
    wear_size: float | None = Field(default=None, ge=1, le=300)
    follow: bool = False
    compare: bool = True
    skeleton: bool = True
