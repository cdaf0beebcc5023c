"""The flags of `physadv evaluate`, and what its ways of scoring share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from physadv.cli.detectors import Layout, Trust
from physadv.cli.executors import Address, RunsOn, Workers
from physadv.cli.outputs import Overwrite
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.evaluate.settings import EvaluateSettings
from physadv.settings import Folder, Groups, Metavar, Names, Positional, Seconds

LABEL = "physadv evaluate"
RUN, ROWS = "run.json", "results.json"
# What is written, by which a folder is known as one of these.
WRITTEN = (RUN, ROWS, "people.csv", "report.md", "report.html", "results.csv", "breakdown.csv", "table.tex")
# Some of many videos are not scored, and the others are.
INCOMPLETE = 1
# Flags of how patterns are worn.
WORN_ONLY = ("wear_from", "scale", "rule", "at", "wear_lit")


class EvaluateVerb(EvaluateSettings):
    """What is scored, on which people, against what, and where the results go."""

    groups: ClassVar[Groups] = {
        "data": ("images", "video", "pair", "manifest", "labels", "every", "wear_from", "held_out", "min_area"),
        "run": ("out", "overwrite", "latex", "detector", "layout", "trust", "imgsz", "conf", "grid", "curve", "resamples",
                "seed", "device"),
        "how patterns are worn": ("scale", "rule", "at", "wear_lit"),
        "defences": ("defend", "clean_video", "certify"),
        "adaptive attacks": ("adaptive", "restarts", "attack_steps", "attack_views", "score_share"),
        "many videos": ("executor", "address", "workers", "threads"),
    }  # fmt: skip

    patches: Positional[Annotated[Names, Metavar("PATTERN")]] = Field(
        default=[],
        description="shipped names, patch files, images or run folders: several as words, or between commas",
    )
    images: Folder | None = Field(default=None, description="folder of photographs, or a YOLO data set")
    labels: Folder | None = Field(
        default=None, description="folder of YOLO labels; without any the clean detector labels"
    )
    video: Path | None = Field(default=None, description="score a video frame by frame instead of photographs")
    pair: list[Annotated[str, Metavar("ARM=VIDEO")]] = Field(
        default=[],
        description="compare recordings of the same people: none (without a pattern), pattern, and control, grey, white, "
        "noise or shuffled; repeatable, an arm that is given again has a further clip",
    )
    manifest: Path | None = Field(
        default=None,
        description="score many videos, each a task: a .csv or .parquet table with a column path, and arm and clip for "
        "recordings that are compared; done again, only what is missing is done",
    )
    executor: RunsOn = "local"
    address: Address = None
    workers: Workers = None
    threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads of each worker; the same number for the same figures"
    )
    every: int = Field(default=1, ge=1, description="with `video`, `pair` or `manifest`: take every n-th frame")
    wear_from: Seconds = Field(
        default=0,
        ge=0,
        description="with `video` or `manifest`: seconds into it from which patterns are worn, as in live",
    )
    held_out: bool = Field(default=False, description="leave out images that any of the patterns was trained on")
    detector: Annotated[str, Metavar("MODEL,...")] = Field(
        default=DEFAULT_DETECTOR, description="detectors by name or path, several between commas: see docs/detectors.md"
    )
    layout: Layout = None
    trust: Trust = False
    grid: Literal["none", "robust", "folds"] = Field(
        default="none",
        description="robust: 16 conditions more, fixed and seeded; folds: prints down to the thighs (portrait) folded "
        "below the hips",
    )
    curve: str | None = Field(
        default=None,
        description="score over a whole condition instead: tilt, yaw, fold, distance, light or colour; beside the curve "
        "how many people are gone where it acts and seen where not, by the first pattern's own condition; with "
        "`defend` also what each defence notices on both sides",
    )
    defend: list[Annotated[str, Metavar("DEFENCES")]] = Field(
        default=[],
        description="a defence, preset or pipeline, as in live; repeatable, each is scored: see `physadv defences`",
    )
    adaptive: bool = Field(
        default=False, description="train patterns through each defence, on images that are then not scored"
    )
    restarts: int = Field(default=3, ge=1, le=50, description="adaptive attacks on each defence; the worst is reported")
    attack_steps: int = Field(default=400, ge=1, description="optimiser steps of each adaptive attack")
    attack_views: int = Field(
        default=12, ge=1, le=256, description="views of 224 pixels a step, fewer where they are larger"
    )
    certify: bool = Field(
        default=False,
        description="certified recall of each `defend` with objectseeker, or of its defaults; many views an image",
    )
    clean_video: Path | None = Field(default=None, description="video without patterns: each defence's false alarms")
    out: Folder = Field(
        default=Path("evaluation"),
        description="folder for results.json, run.json, report.md and images; unless given evaluation, or where that holds "
        "another evaluation the first free one of evaluation-2, evaluation-3 and so on",
    )
    latex: bool = Field(default=False, description="write table.tex too: the first figures for a paper, with booktabs")
    overwrite: Overwrite = False


def changed(settings: EvaluateVerb, names: Sequence[str]) -> str:
    """Return those of the fields that are not as they are by default, in one text."""
    fields = type(settings).model_fields
    return ", ".join(f"`{name}`" for name in names if getattr(settings, name) != fields[name].default)
