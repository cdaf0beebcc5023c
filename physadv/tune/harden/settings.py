"""What a hardening can be asked for: the fine-tuning that it is, its images, and what their people wear."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.settings import DetectorName, Folder, Groups, Names
from physadv.tune.harden.worn import WornSettings
from physadv.tune.settings import FineTuneSettings, TuneSettings

Method = Literal["natural", "pod", "patches", "free", "pgd"]
# Where the data set lies in the folder of a run while it is trained.
DATA = "training-data"


class HardenSettings(TuneSettings, WornSettings):
    """A fine-tuning on images whose people wear patterns, and how these are moved against the detector."""

    groups: ClassVar[Groups] = {
        "method": ("method", "replays", "attack_steps", "patterns", "patch_class"),
        **TuneSettings.groups,
        "data": ("images", "labels", "labeller", "held_out", "score_with", "beside", *TuneSettings.groups["data"]),
        "patterns": ("worn", "print_scale", "elsewhere", "world", "bank", "moving", "step", "renewed", "noise"),
    }

    method: Method = Field(
        default="pod",
        description="pod (patterns made by chance), patches (those of `patterns`), free (patterns moved by the training's "
        "own gradient), pgd (by passes of their own: the expensive reference) or natural (none: the control)",
    )
    images: Folder = Field(description="folder of images with people, or a YOLO data set")
    labels: Folder | None = Field(
        default=None, description="folder of YOLO labels; without any the detector `labeller` finds the people"
    )
    labeller: DetectorName = Field(
        default=DEFAULT_DETECTOR, description="clean detector that finds people without labels, and keypoints"
    )
    held_out: float = Field(
        default=0.2, gt=0, lt=1, description="share of the images that is never trained on, and judged after each epoch"
    )
    class_gain: float = Field(
        default=2.0,
        gt=0,
        le=100,
        description="weight of the class term in the loss, Ultralytics' .5: people are hidden by their scores, and "
        "patterns that are moved up a loss of boxes and keypoints move those",
    )
    lr: float = Field(default=2e-4, gt=0, le=0.1, description="learning rate after the warm-up; falls by a cosine")
    warmup: float = Field(default=3.0, ge=0, le=100, description="epochs in which the learning rate rises from 0")
    distil: float = Field(
        default=2.0,
        ge=0,
        le=100,
        description="weight of the likeness to the parent's answers to the same images without patterns; 0 is none",
    )
    hold_batchnorm: bool = Field(
        default=True,
        description="keep the parent's statistics of batch normalisation: over the replays of one batch they would drift",
    )
    replays: int = Field(
        default=4,
        ge=1,
        le=16,
        description="free: how often each batch is trained on in a row; epochs are as many fewer",
    )
    attack_steps: int = Field(default=5, ge=1, le=50, description="pgd: passes that move the patterns before each step")
    step: float = Field(default=0.04, gt=0, le=1, description="free and pgd: how far a texel moves at once, of 1")
    moving: int = Field(default=4, ge=1, le=64, description="free and pgd: patterns that are moved at a time")
    renewed: float = Field(
        default=0.05, ge=0, le=1, description="free: share of its patterns that start anew with each batch, by chance"
    )
    noise: float = Field(
        default=0.0,
        ge=0,
        le=0.2,
        description="free: bound of noise that is moved with the patterns over all pixels, of 1",
    )
    bank: int = Field(
        default=256, ge=1, le=10_000, description="patterns made by chance, to wear (pod) or to start from"
    )
    patterns: Names = Field(default_factory=list, description="patches: pattern files or names of shipped ones")
    patch_class: bool = Field(
        default=False,
        description="a class of its own, patch, for what is worn: the detector learns to tell it from people",
    )
    score_with: Names = Field(
        default_factory=lambda: ["street"],
        description="patterns, never trained with, under which the held-out people are judged after each epoch",
    )
    beside: list[Path] = Field(
        default_factory=list, description="folders of runs of `lab harden`, natural ones too, for table and curves"
    )

    def fine_tuning(self) -> FineTuneSettings:
        """Return the fine-tuning that this is: of as many updates as `epochs` of natural training."""
        shared = self.model_dump(include=set(TuneSettings.model_fields))
        times = self.replays if self.method == "free" else 1
        epochs = {"epochs": ceil(self.epochs / times), "warmup": self.warmup / times}
        return FineTuneSettings.model_validate({**shared, **epochs, "data": self.out / DATA})
