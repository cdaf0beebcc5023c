"""How images are captured: what is asked of a camera, how a file is paced, how long a silence may last."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from physadv.settings import Pixels, Seconds, Settings


class CameraSettings(Settings):
    """What is asked of a webcam. None means: as the camera has it."""

    width: Pixels | None = Field(
        default=None, ge=16, le=16384, description="image width asked of a webcam or the sample; its own unless given"
    )
    height: Pixels | None = Field(
        default=None, ge=16, le=16384, description="image height asked of a webcam or the sample; its own unless given"
    )
    exposure: float | None = Field(
        default=None, description="lock a webcam's exposure at this value, in the driver's unit"
    )
    lock_exposure: bool = Field(default=False, description="lock a webcam's exposure where its automatic has settled")
    white_balance: int | None = Field(
        default=None, ge=1000, le=20000, description="lock a webcam's white balance, in kelvin"
    )
    lock_white_balance: bool = Field(default=False, description="lock a webcam's white balance where it has settled")

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height: expected both or neither")
        return self


class CaptureSettings(CameraSettings):
    """What is asked of a source. None means: as the camera or the file has it."""

    fps: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="images a second: of a webcam, the sample, a folder, or asked of a camera of single images (5)",
    )
    mjpg: bool = Field(
        default=True, description="ask a webcam for MJPG, which most need for more than 640x480 at 30 fps"
    )
    realtime: bool = Field(default=False, description="pace a file as a camera; images that come too soon are dropped")
    loop: int = Field(default=1, ge=0, description="play a file or folder this many times; 0 for ever")
    seed: int = Field(default=0, ge=0, description="seed of the sample's camera path")
    open_timeout: Seconds = Field(default=3.0, gt=0, le=120, description="wait so long for a camera or stream to open")
    read_timeout: Seconds = Field(
        default=2.0, gt=0, le=120, description="wait so long for a camera's or stream's next image"
    )

    @classmethod
    def of(cls, settings: CameraSettings) -> CaptureSettings:
        """Return what larger settings, those of a command, ask of a source."""
        return cls(**{name: value for name, value in settings if name in cls.model_fields})
