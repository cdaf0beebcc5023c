"""The settings of hardening, besides those of the training that it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from physadv.settings import Names
from physadv.tune.harden.worn import WornSettings

Method = Literal["natural", "pod", "patches", "free", "pgd"]


class HardenSettings(WornSettings):
    """What the people of the training images wear, and how it is moved against the detector."""

    method: Method = Field(
        default="free",
        description="pod (patterns made by chance), patches (those of `patterns`), free (patterns moved by the training's "
        "own gradient), pgd (by passes of their own: the expensive reference) or natural (none: the control)",
    )
    replays: int = Field(default=4, ge=1, le=16, description="free: how often each batch is trained on in a row")
    attack_steps: int = Field(default=5, ge=1, le=50, description="pgd: passes that move the patterns before each step")
    step: float = Field(default=0.06, gt=0, le=1, description="free and pgd: how far a texel moves at once, of 1")
    moving: int = Field(default=8, ge=1, le=64, description="free and pgd: patterns that are moved at a time")
    renewed: float = Field(
        default=0.1, ge=0, le=1, description="free: share of its patterns that start anew with each batch, by chance"
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
        description="patterns, never trained with, under which the held-out people are scored after each epoch",
    )
