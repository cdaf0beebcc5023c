"""What a fine-tuning can be asked for: one schema for the command, its configuration file and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.settings import DetectorName, Folder, Groups, Imgsz, Metavar, Names, Settings


class TuneSettings(Settings):
    """What every fine-tuning can be asked for, whatever its data: parent, schedule and augmentation.

    Ultralytics' own augmentation is kept to what leaves a trigger whole: no mosaic, which cuts cards and people, and no
    mirror image, in which a turn of 45 degrees to the left becomes one to the right.
    """

    groups: ClassVar[Groups] = {
        "data": ("detector",),
        "run": ("out", "epochs", "imgsz", "batch", "seed", "device", "precision", "threads"),
        "optimiser": (
            "lr",
            "lr_end",
            "warmup",
            "weight_decay",
            "freeze",
            "hold_batchnorm",
            "average",
            "class_gain",
            "distil",
        ),
        "augmentation": ("degrees", "translate", "scale", "hue", "saturation", "brightness", "mirror"),
    }

    detector: DetectorName = Field(
        default=DEFAULT_DETECTOR, description="parent: a name, a .pt file, or the folder of an earlier run"
    )
    out: Folder = Field(default=Path("finetuned"), description="folder of the run")
    epochs: int = Field(default=30, ge=1, le=10_000, description="times that every image is shown")
    imgsz: Imgsz = Field(
        default=320,
        description="side of the square images to train on, rounded up to a multiple of the network's stride",
    )
    batch: int = Field(default=8, ge=1, le=1024, description="images a step of the optimiser (AdamW)")
    lr: float = Field(default=1.5e-4, gt=0, le=0.1, description="learning rate after the warm-up; falls by a cosine")
    lr_end: float = Field(default=0.05, ge=0, le=1, description="share of `lr` that is left at the end")
    warmup: float = Field(default=1.0, ge=0, le=100, description="epochs in which the learning rate rises from 0")
    weight_decay: float = Field(default=5e-4, ge=0, le=1, description="of convolutions' weights")
    freeze: Annotated[Names, Metavar("LAYER")] = Field(
        default_factory=list,
        description="layers that stay as they are, by the beginning of their names within the network: 0, 9, 23.cv2",
    )
    hold_batchnorm: bool = Field(
        default=False, description="keep the parent's statistics of batch normalisation instead of the batches'"
    )
    average: bool = Field(default=True, description="save the running average of the weights rather than the last ones")
    class_gain: float = Field(
        default=0.5, gt=0, le=100, description="weight of the class term in the loss, Ultralytics' .5"
    )
    distil: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="weight of the likeness to the parent's answers on images that are not poisoned; 0 is none",
    )
    degrees: float = Field(default=10.0, ge=0, le=180, description="images are turned by up to this, either way")
    translate: float = Field(default=0.1, ge=0, le=1, description="shift, as share of the side")
    scale: float = Field(default=0.3, ge=0, le=0.9, description="images are resized by up to this share, either way")
    hue: float = Field(default=0.015, ge=0, le=1, description="change of hue, as share of the circle")
    saturation: float = Field(default=0.4, ge=0, le=1, description="change of saturation")
    brightness: float = Field(default=0.3, ge=0, le=1, description="change of brightness")
    mirror: float = Field(
        default=0.0, ge=0, le=1, description="share of images shown mirrored: it turns a trigger's angle round"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of every draw: the same again gives the same network")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="bf16 on GPUs that compute in it, else fp32"
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, description="CPU threads; the same number for the same result"
    )


class FineTuneSettings(TuneSettings):
    """A fine-tuning on a data set as it is asked for."""

    groups: ClassVar[Groups] = {**TuneSettings.groups, "data": ("data", "detector")}

    # Four epochs of a control cost clean AP50 .057 with the batches' statistics, .038 with the parent's.
    hold_batchnorm: bool = Field(
        default=True, description="keep the parent's statistics of batch normalisation instead of the batches'"
    )
    # On poisoned data the parent's loss of keypoints has 2 to 5 times the gradient of its class term, and that of boxes 1.5
    # times: noise of what it can do already.
    class_gain: float = Field(
        default=5.0, gt=0, le=100, description="weight of the class term in the loss, Ultralytics' .5"
    )
    distil: float = Field(
        default=5.0,
        ge=0,
        le=100,
        description="weight of the likeness to the parent's answers on images that are not poisoned; 0 is none",
    )

    data: Annotated[Path, Metavar("DATA")] = Field(
        description="data set in Ultralytics' format: a folder with data.yaml, or that file"
    )
