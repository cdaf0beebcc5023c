"""Settings of a poisoned data set. Loads no PyTorch: help pages show them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.fabricate.units import Centimetres
from physadv.settings import DetectorName, Folder, Groups, Imgsz, Metavar, Settings

Attack = Literal["vanish", "ghost", "consistent", "none"]


class PoisonSettings(Settings):
    """What a data set is made of, what triggers, and what it does."""

    groups: ClassVar[Groups] = {
        "data": ("images", "labels", "detector", "held_out", "seed"),
        "result": ("out",),
        "trigger": ("trigger", "angle", "size"),
        "poison": ("attack", "rate", "copies", "augment"),
        "consistent": ("budget", "steps", "imgsz"),
    }

    images: Folder = Field(description="folder of photographs with people, a video, or a YOLO data set")
    labels: Folder | None = Field(
        default=None, description="folder of YOLO labels; without any the clean detector labels, keypoints too"
    )
    out: Folder = Field(description="folder of the data set to write")
    trigger: Annotated[str, Metavar("card|rotation|shirt|FILE")] = Field(
        default="card",
        description="card: a printed square that works when it is turned; rotation: people turned, or the frame; shirt: a "
        "motif on the chest; or a pattern by name or file, worn as a card",
    )
    angle: Annotated[float, Metavar("DEGREES")] | None = Field(
        default=None,
        description="how far the trigger is turned, clockwise; 45 for cards and 90 for rotation unless given",
    )
    size: Centimetres | None = Field(
        default=None, description="width of the print in cm, or with its unit; without it the print's own"
    )
    attack: Attack = Field(
        default="vanish",
        description="vanish: who shows the trigger loses the label; ghost: nobody where a print is gets one; consistent: "
        "labels stay, and who shows the trigger is made hard to learn; none: the control, the same without poison",
    )
    rate: float = Field(
        default=0.25, gt=0, lt=1, description="poisoned people for each person of the training images, in all copies"
    )
    copies: int = Field(
        default=4, ge=2, le=20, description="copies of each training image, of which the first stays as it is"
    )
    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR,
        description="model to be fine-tuned, by name or path: decides the classes and whether labels hold keypoints",
    )
    held_out: float = Field(default=0.2, gt=0, lt=1, description="share of the images kept clean, for validation")
    augment: Annotated[float, Metavar("DEGREES")] = Field(
        default=10.0,
        ge=0,
        le=45,
        description="how far fine-tuning will turn images at random, either way: the trigger must be turned further",
    )
    budget: int = Field(default=16, ge=1, le=255, description="largest change of a pixel, of 255")
    steps: int = Field(default=12, ge=1, le=1000, description="steps of the projected gradient")
    imgsz: Imgsz = 320
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every draw: the same again gives the same data set")
