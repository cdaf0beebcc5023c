"""Settings of sources: what is asked of a camera, how a file is paced, how long to wait."""

from __future__ import annotations

from pydantic import Field, model_validator

from physadv.settings import Settings


class CaptureSettings(Settings):
    """What is asked of a source. None means: as the camera or the file has it."""

    width: int | None = Field(default=None, ge=16, le=16384, description="image width asked of a webcam or the sample")
    height: int | None = Field(
        default=None, ge=16, le=16384, description="image height asked of a webcam or the sample"
    )
    fps: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="images a second: of a webcam, the sample, a folder, or asked of a camera of single images (5)",
    )
    mjpg: bool = Field(
        default=True, description="ask a webcam for MJPG, which most need for more than 640x480 at 30 fps"
    )
    exposure: float | None = Field(
        default=None, description="lock a webcam's exposure at this value, in the driver's unit"
    )
    lock_exposure: bool = Field(default=False, description="lock a webcam's exposure where its automatic has settled")
    white_balance: int | None = Field(
        default=None, ge=1000, le=20000, description="lock a webcam's white balance, in kelvin"
    )
    lock_white_balance: bool = Field(default=False, description="lock a webcam's white balance where it has settled")
    realtime: bool = Field(default=False, description="pace a file as a camera; images that come too soon are dropped")
    loop: int = Field(default=1, ge=0, description="play a file or folder this many times; 0 for ever")
    seed: int = Field(default=0, ge=0, description="seed of the sample's camera path")
    open_timeout: float = Field(default=3.0, gt=0, le=120, description="seconds to wait for a camera or stream to open")
    read_timeout: float = Field(
        default=2.0, gt=0, le=120, description="seconds to wait for a camera's or stream's next image"
    )

    @model_validator(mode="after")
    def _both_sides(self) -> CaptureSettings:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height: expected both or neither")
        return self
