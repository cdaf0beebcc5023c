"""What a cleansing run is asked for: one model for the command line, a notebook and the record."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from physadv.settings import DetectorName, Folder, Groups, Imgsz, Positional, Settings

MethodName = Literal["finetune", "fine-pruning", "anp", "nad", "confoc"]


class CleanseSettings(Settings):
    """The detector to cleanse, the method, and the clean images that it may use."""

    groups: ClassVar[Groups] = {
        "clean images": ("images", "labels", "labeller", "held_out"),
        "method": ("method", "tolerance", "epochs", "lr", "turned", "worn", "imgsz", "batch", "seed"),
        "pruning (anp)": ("push",),
        "attention (nad)": ("attention",),
        "run": ("out", "resume", "device"),
    }

    detector: Positional[DetectorName] = Field(description="the detector to cleanse: a run's folder or a .pt file")
    method: MethodName = Field(
        description="finetune: plain fine-tuning, the baseline; fine-pruning: silence channels that clean images do not "
        "use, then fine-tune; anp: silence channels that a small push turns; nad: look where a fine-tuned copy looks; "
        "confoc: fine-tune with styles removed and swapped"
    )
    images: Folder = Field(description="clean images of people, 40 to 60 of them: folder or YOLO data set")
    labels: Folder | None = Field(
        default=None, description="their YOLO label files, where they are not beside the images"
    )
    labeller: DetectorName | None = Field(
        default=None, description="clean detector that labels images without labels; a run's own parent unless given"
    )
    held_out: float = Field(
        default=0.3, gt=0, lt=1, description="share of the images that only choices are made on, never trained on"
    )
    epochs: int = Field(default=35, ge=1, le=1000, description="passes over the images")
    # Poisoning moved the weights by some distance; at 2e-4 cleansing moves them by .4 of it, and the backdoor stays.
    lr: float = Field(
        default=3e-4, gt=0, le=0.1, description="learning rate of fine-tuning, after three epochs of rising"
    )
    turned: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the images that are shown turned by any angle, with labels: a turn may be the trigger",
    )
    worn: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="share of the images whose people wear patterns made by chance: a print may be the trigger",
    )
    imgsz: Imgsz | None = Field(
        default=None,
        description="long side of the network's input, rounded up to a multiple of 32; as the run was trained, else 320",
    )
    batch: int = Field(default=8, ge=1, le=256, description="images in a step")
    tolerance: float = Field(
        default=0.03,
        ge=0,
        lt=1,
        description="what cleansing may cost of clean AP50, and of recall, on the held-out images: how much is pruned is "
        "chosen by it, and, with the standard error of so few people added, how much of what was learnt is kept",
    )
    push: float = Field(
        default=0.1, gt=0, le=1, description="how far ANP pushes a channel's weight and bias, as a share of each"
    )
    attention: float = Field(default=3.0, gt=0, le=1000, description="weight of NAD's loss beside the detection loss")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of everything random, also of which images are held out")
    out: Folder = Field(description="folder of the cleansed detector, which every `detector` takes")
    resume: bool = Field(default=False, description="go on with a run that was stopped or killed")
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")
