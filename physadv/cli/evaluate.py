"""`physadv evaluate`: patterns, controls and defences scored on labelled pictures or a recorded video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from physadv.cli.base import Command as BaseCommand
from physadv.defend import parse_pipeline
from physadv.detect import load_detector
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DataError, SettingsError
from physadv.evaluate import doubts
from physadv.evaluate.cell import Cell
from physadv.evaluate.report import COLUMNS, Examples, grid_mean, label, shown, write_report
from physadv.evaluate.scene import Scenes, read_scenes
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.trial import Trial, run
from physadv.patch import Patch, load_patch
from physadv.settings import parse
from physadv.types import Detector

EXAMPLES = 3
FIELDS = EvaluateSettings.model_fields


class Command(BaseCommand):
    """Score patterns beside the same-size controls none, grey, white, noise and shuffled; always in float32."""

    patches: CliPositionalArg[list[str]] = Field(
        default=[], description="shipped names, patch files, pictures or run folders"
    )
    images: Path | None = Field(default=None, description="folder of photographs, or a YOLO data set")
    labels: Path | None = Field(
        default=None, description="folder of YOLO labels; without any the clean detector labels"
    )
    held_out: bool = Field(default=False, description="leave out pictures that any of the patterns was trained on")
    rule: Literal["area", "diagonal", "height"] = Field(default="area", description=FIELDS["rule"].description)
    scale: float = Field(default=0.35, description=FIELDS["scale"].description)
    at: str = Field(default="0.42", description=FIELDS["at"].description)
    detector: str = Field(default=DEFAULT_DETECTOR, description="detectors by name or path, separated by commas")
    imgsz: int = Field(default=640, description=FIELDS["imgsz"].description)
    min_area: float = Field(default=0.02, description=FIELDS["min_area"].description)
    grid: Literal["none", "robust"] = Field(default="none", description="robust: 16 conditions more, fixed and seeded")
    defend: list[str] = Field(default=[], description="a defence, preset or pipeline (repeatable)")
    conf: float = Field(default=0.25, description=FIELDS["conf"].description)
    resamples: int = Field(default=500, description=FIELDS["resamples"].description)
    seed: int = Field(default=0, description=FIELDS["seed"].description)
    device: str = Field(default="cpu", description="cpu, cuda, mps or auto")
    out: Path = Field(
        default=Path("evaluation"), description="folder for results.json, run.json, report.md and pictures"
    )

    def run(self) -> int:
        """Score, write the folder, print the table."""
        settings = self._settings()
        patches = [load_patch(p) for p in self.patches]
        _check_names(patches)
        if self.images is None:
            raise SettingsError("--images: expected a folder of photographs; see physadv evaluate --help")
        pipelines = [parse_pipeline(text) for text in self.defend]
        console = Console(stderr=True)
        scenes = self._scenes(self.images, settings, patches)
        cells: list[Cell] = []
        examples = Examples(_most_people(scenes))
        facts: dict[str, Any] = {"detectors": [], "skipped": list(scenes.skipped), "defences": self.defend}
        with _bar(console) as bar:
            task = bar.add_task("", total=len(settings.detectors))
            for number, name in enumerate(settings.detectors):

                def tell(share: float, what: str, number: int = number, name: str = name) -> None:
                    bar.update(task, completed=number + share, description=f"{name} {what}")

                detector = _detector(name, settings)
                facts["detectors"].append({"name": detector.name, "sha256": getattr(detector, "sha256", "")})
                trial = Trial(scenes, detector, settings, shown=None if number else examples, progress=tell)
                cells += run(trial, patches, pipelines=pipelines, robust=self.grid == "robust")
            bar.update(task, completed=len(settings.detectors), description="done")
        drawn = examples.write(self.out, patches)
        write_report(self.out, cells, settings, patches, facts=facts, examples=drawn)
        show(cells, Console())
        Console().print(f"{self.out / 'report.md'}", markup=False, highlight=False)
        return 0

    def _settings(self) -> EvaluateSettings:
        names = tuple(n.strip() for n in self.detector.split(",") if n.strip())
        if not names:
            raise SettingsError("--detector: expected one name or path or more, separated by commas, got none")
        fields = ("rule", "scale", "imgsz", "min_area", "conf", "resamples", "seed", "device")
        values = {name: getattr(self, name) for name in fields}
        return parse(EvaluateSettings, {**values, "at": _at(self.at), "detectors": names}, what="physadv evaluate")

    def _scenes(self, images: Path, settings: EvaluateSettings, patches: Sequence[Patch]) -> Scenes:
        def labeller() -> Detector:
            return load_detector(backend="torch", precision="fp32", device=settings.device)

        keypoints = isinstance(settings.at, str)
        scenes = read_scenes(images, self.labels, min_area=settings.min_area, labeller=labeller, keypoints=keypoints)
        if not self.held_out:
            return scenes
        trained = set[str]().union(*(doubts.trained_on(p) or set() for p in patches))
        left = [s for s in scenes.scenes if not doubts.was_seen(s, trained)]
        if not any(s.counts.any() for s in left):
            raise DataError(f"--held-out: the patterns were trained on every picture of {images} that shows people")
        return Scenes(left, scenes.skipped, scenes.own_labels)


def show(cells: Sequence[Cell], console: Console) -> None:
    """Print a table for each detector, the grid's means, and the doubts."""
    for detector in dict.fromkeys(c.detector for c in cells):
        mine = [c for c in cells if c.detector == detector]
        head = mine[0]
        table = Table(title=f"{detector} at {head.imgsz} px, {head.n_images} pictures, {head.n_people} people")
        defended = any(c.defence != "none" for c in mine)
        for title in (["defence", "attack"] if defended else []) + ["condition"]:
            table.add_column(title, overflow="fold")
        for _, title in COLUMNS:
            table.add_column(title, justify="right", no_wrap=title == "AP50")
        for cell in mine:
            if not cell.transform:
                # Every interval is in the report; on a terminal that of the first figure has to do.
                figures = [shown(cell, name) if name == "ap50" else plainly(cell[name]) for name, _ in COLUMNS]
                table.add_row(*([cell.defence, cell.attack] if defended else []), label(cell), *figures)
        console.print(table)
        for key in dict.fromkeys((c.condition, c.patch) for c in mine if c.transform):
            mean = grid_mean(mine, key)
            if mean is not None:
                console.print(f"robust grid, mean AP50 of {key[1] or key[0]}: {mean:.3f}", markup=False)
    for doubt in dict.fromkeys(d for c in cells for d in c.doubts):
        about = [label(c) for c in cells if doubt in c.doubts]
        who = "everything" if len(about) == len(cells) else ", ".join(dict.fromkeys(about))
        console.print(f"doubt: {who}: {doubt}", markup=False, highlight=False)


def plainly(value: float | None) -> str:
    """Return a figure for the terminal, or a dash where nothing could be counted."""
    return "-" if value is None else f"{value:.3f}"


def _detector(name: str, settings: EvaluateSettings) -> Detector:
    """Return the reference detector: PyTorch, float32, down to the lowest score that AP counts."""
    return load_detector(
        name, backend="torch", precision="fp32", imgsz=settings.imgsz, min_conf=0.001, device=settings.device
    )


def _at(text: str) -> float | str:
    if text in ("chest", "shirt"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise SettingsError(f"--at: expected a fraction from 0 to 1, chest or shirt, got {text!r}")
    return value


def _check_names(patches: Sequence[Patch]) -> None:
    names = [p.name for p in patches]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise SettingsError(f"two patterns are called {twice!r}: their rows could not be told apart; rename one file")


def _most_people(scenes: Scenes) -> tuple[int, ...]:
    order = sorted(range(len(scenes.scenes)), key=lambda i: -int(scenes.scenes[i].counts.sum()))
    return tuple(order[:EXAMPLES])


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
