"""`physadv study`: several detectors under the same patterns, accuracy beside robustness, and what transfers where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from physadv.cli.detectors import Trust, check_detectors, say_device, trust_detectors
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.errors import SettingsError
from physadv.evaluate.settings import SharedSettings
from physadv.settings import Folder, Groups, Metavar, Names, Positional

if TYPE_CHECKING:
    from physadv.cli.progress import ProgressBar
    from physadv.dataset import Dataset

EXAMPLES = (
    "physadv study yolo11n-pose@416 rtdetr-l.pt --images held-out --train-on photos --patterns street",
    "physadv study yolo11n-pose hardened rtdetr-l.pt --images held-out --patterns street,poster --out s",
)
LABEL = "physadv study"
FEWEST = 2


class StudyVerb(SharedSettings):
    """Which detectors, on which people, under which patterns."""

    groups: ClassVar[Groups] = {
        "data": ("images", "labels", "patterns", "train_on", "min_area"),
        "white-box patterns": ("steps", "views"),
        "how patterns are worn": ("scale", "rule", "at", "wear_lit"),
        "run": ("out", "overwrite", "trust", "resamples", "seed", "device"),
    }

    detectors: Positional[Annotated[Names, Metavar("DETECTOR")]] = Field(
        description="two or more by name or path: see docs/detectors.md; NAME@416 looks at 416 pixels, else 640 or its own"
    )
    images: Folder = Field(description="folder of photographs that nothing was trained on, or a YOLO data set")
    labels: Folder | None = Field(
        default=None, description="folder of YOLO labels of `images`; without any the clean detector labels"
    )
    patterns: Annotated[Names, Metavar("PATTERN,...")] = Field(
        default=[], description="public patterns: shipped names or files; repeatable, or several between commas"
    )
    train_on: Folder | None = Field(
        default=None, description="photographs on which a pattern is trained for each detector; unless given, none is"
    )
    steps: int = Field(default=400, ge=1, description="with `train_on`: optimiser steps of each pattern")
    views: int = Field(default=12, ge=1, le=256, description="with `train_on`: views of 224 pixels a step")
    out: Folder = Field(
        default=Path("study"),
        description="folder for the report, the patterns and a record of each detector, which a later run reuses",
    )
    overwrite: Overwrite = False
    trust: Trust = False


def run(settings: StudyVerb) -> int:
    """Compare detectors: what the strongest pattern made for each, for another and a public one leaves of each.

    A pattern counts by what it does beyond a grey print of its size. What was scored before is not scored again.

    Raises: SettingsError for flags that do not go together.
    """
    from physadv.attack.adaptive import ThroughDefence
    from physadv.cli.console import show_results
    from physadv.cli.progress import ProgressBar
    from physadv.dataset import check_outside
    from physadv.evaluate.run import load_patches
    from physadv.evaluate.settings import EvaluateSettings
    from physadv.evaluate.steps import finish
    from physadv.evaluate.study import SizedDetector
    from physadv.evaluate.study_report import WRITTEN, tables, write_study
    from physadv.evaluate.study_run import FOLDER, Study, names_of

    subjects = [SizedDetector.of(text) for text in settings.detectors]
    if len(subjects) < FEWEST:
        raise SettingsError(
            field="detectors", expected="two detectors or more", got=", ".join(settings.detectors) or "none"
        )
    if not settings.patterns and settings.train_on is None:
        raise SettingsError(field="patterns", expected="one or more, or `train_on` to make some", got="none")
    names_of(subjects)
    trust_detectors([s.name for s in subjects], settings.trust, LABEL)
    check_detectors(detectors=[s.name for s in subjects])
    say_device([s.name for s in subjects], settings.device, LABEL)
    public = load_patches(settings.patterns) if settings.patterns else []
    out = settings.out
    check_folder("out", out)
    check_own_folder("out", out, WRITTEN, overwrite=settings.overwrite)
    check_outside("out", out, [path for path in (settings.images, settings.train_on) if path is not None])
    shared = {name: getattr(settings, name) for name in SharedSettings.model_fields}
    with ProgressBar(LABEL) as shown, only_writer("out", out):
        scored = _people(settings.images, settings.labels, settings, shown)
        trained = [] if settings.train_on is None else _people(settings.train_on, None, settings, shown).images
        attack = ThroughDefence(1, settings.steps, settings.views, folder=out / FOLDER)
        study = Study(subjects, public, scored, trained, EvaluateSettings(**shared), attack, out)
        results = finish(study.running(), lambda step: shown.show(step[0], step[1]))
        report = write_study(out, results)
    again = f"{results.reused} of {results.reused + results.asked} cells were there already"
    show_results(tables(results), (again, *(f"doubt: {d} [{d.code}]" for d in results.doubts), str(report)))
    return 0


def _people(images: Path, labels: Path | None, settings: StudyVerb, shown: ProgressBar) -> Dataset:
    """Return the labelled people of a folder; what is left out is said."""
    from physadv.detect.weights import DEFAULT_DETECTOR
    from physadv.evaluate.images import Labeller, labelling, labels_cache, read_dataset
    from physadv.evaluate.steps import finish

    labeller = Labeller(labelling, labels_cache(DEFAULT_DETECTOR))
    reading = read_dataset(images, labels, labeller, keypoints=True, min_area=settings.min_area)
    data = finish(reading, lambda step: shown.show(*step, part="reading images"))
    for line in data.notes():
        shown.say(line)
    return data
