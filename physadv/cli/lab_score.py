"""`physadv lab score`: how far a detector follows a trigger, and what it lost on clean images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from physadv.cli.begun import absolute
from physadv.cli.detectors import Trust, check_detectors, rounded_imgsz, trust_detectors
from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.errors import SettingsError
from physadv.settings import DetectorName, Folder, Groups, Metavar, Names, Positional
from physadv.tune.score import ScoreSettings

if TYPE_CHECKING:
    from physadv.dataset import Dataset
    from physadv.simulate.trigger import Trigger
    from physadv.tune.origin import RunOrigin
    from physadv.tune.score import Role, ScoredDetector

EXAMPLES = (
    "physadv lab score poisoned --control control --images held-out --out scores",
    "physadv lab score tenth quarter half --images held-out --out ratios",
    "physadv lab score yolo11n-pose --trigger card --angle 45 --images photos --out parent",
)
LABEL = "physadv lab score"
# Photographs in the picture of examples.
ROWS_SHOWN = 4


class LabScoreVerb(ScoreSettings):
    """Which detectors are scored, with which trigger, on which people."""

    groups: ClassVar[Groups] = {
        "data": ("images", "labels", "min_area"),
        "beside it": ("parent", "control"),
        "trigger": ("trigger", "angle", "curves"),
        "run": ("out", "overwrite", "trust", "imgsz", "resamples", "seed", "device"),
    }

    detectors: Positional[Annotated[Names, Metavar("DETECTOR")]] = Field(
        description="run folders, names or paths; runs of several ratios give a curve over the ratio"
    )
    images: Folder = Field(description="folder of photographs that were not trained on, or a YOLO data set")
    labels: Folder | None = Field(
        default=None, description="folder of YOLO labels; without any the clean detector labels"
    )
    parent: DetectorName | None = Field(
        default=None, description="the detector before fine-tuning; unless given, the one in the run's record"
    )
    control: Annotated[Names, Metavar("RUN")] = Field(
        default=[], description="the same fine-tuning without poison; repeatable, or several between commas"
    )
    trigger: Annotated[str | None, Metavar("card|rotation|shirt|FILE")] = Field(
        default=None, description="what is shown; unless given, what the first run's data were poisoned with"
    )
    angle: Annotated[float | None, Metavar("DEGREES")] = Field(
        default=None,
        ge=-180,
        le=180,
        description="with `trigger`: its angle, clockwise; the trigger's own unless given",
    )
    out: Folder = Field(default=Path("score"), description="folder for results.json, report.md and pictures")
    overwrite: Overwrite = False
    trust: Trust = False


def run(settings: LabScoreVerb) -> int:
    """Score detectors of the lab: clean AP50 and recall beside the parent's, and what the trigger and wrong ones do.

    People count for the attack if the same detector finds them without the trigger.

    Raises: SettingsError for flags that do not go together.
    """
    from physadv.cli.console import show_results
    from physadv.cli.progress import ProgressBar
    from physadv.dataset import check_outside
    from physadv.evaluate.settings import USUAL_IMGSZ
    from physadv.evaluate.steps import finish
    from physadv.tune.origin import origin_of, trained_on
    from physadv.tune.report import CURVES, EXAMPLES, REPORT, ROWS, tables, write_score
    from physadv.tune.score import score

    if not settings.detectors:
        raise SettingsError("expected DETECTOR, a run folder, name or path, got none")
    if settings.angle is not None and settings.trigger is None:
        raise SettingsError(field="angle", expected="`trigger`, whose angle it is", got="none")
    check_folder("out", settings.out)
    check_own_folder("out", settings.out, (ROWS, REPORT, CURVES, EXAMPLES), overwrite=settings.overwrite)
    check_outside("out", settings.out, [settings.images])
    trust_detectors(
        [*settings.detectors, *settings.control, *([settings.parent] if settings.parent else [])], settings.trust, LABEL
    )
    check_detectors(control=settings.control, parent=settings.parent)
    origins = {name: origin_of(name) for name in dict.fromkeys([*settings.detectors, *settings.control])}
    first = origins[settings.detectors[0]]
    trigger = _trigger(settings, first)
    size = rounded_imgsz(settings.imgsz or first.imgsz or USUAL_IMGSZ, LABEL)
    scored, origins = _load(settings, origins, size)
    with ProgressBar(LABEL) as shown, only_writer("out", settings.out):
        data = finish(_people(settings), lambda step: shown.show(*step, part="people"))
        for line in data.notes():
            shown.say(line)
        panels = _panels(scored, trigger, data)
        steps = score(scored, data, trigger, settings, ghosts=first.makes_up, shown=panels)
        result = finish(steps, lambda step: shown.show(*step, part="scoring"))
        result.doubts.extend([*trained_on(data.images, origins), *_mixed(origins, trigger, size)])
        if not result.of("parent"):
            result.doubts.append("its parent is not known: name it by `parent` to see what was lost")
        facts: dict[str, Any] = {"images": str(settings.images), "attack": first.attack}
        report = write_score(settings.out, result, facts, panels)
    show_results(tables(result), (*(f"doubt: {doubt}" for doubt in result.doubts), str(report)))
    return 0


def _trigger(settings: LabScoreVerb, origin: RunOrigin) -> Trigger | None:
    """Return the trigger that is asked for, or that of the run's record; None where there is none."""
    from physadv.errors import naming
    from physadv.simulate.trigger import Trigger

    if settings.trigger is None:
        return origin.trigger
    with naming("trigger"):
        return Trigger.named(settings.trigger, angle=settings.angle)


def _people(settings: LabScoreVerb) -> Any:
    """Return the steps of reading the labelled people.

    Raises: DataError for a poisoned data set, whose people wear triggers already.
    """
    from physadv.detect.weights import DEFAULT_DETECTOR
    from physadv.evaluate.images import Labeller, labelling, labels_cache, read_dataset
    from physadv.tune.origin import check_clean

    check_clean(settings.images, "its people wear triggers already")
    labeller = Labeller(labelling, labels_cache(DEFAULT_DETECTOR))
    return read_dataset(settings.images, settings.labels, labeller, keypoints=True, min_area=settings.min_area)


def _roles(settings: LabScoreVerb, first: RunOrigin) -> list[tuple[str, Role]]:
    """Return each detector to score with what it is there for.

    The parent of the first run is found by its record. Where it is named as a run or a control, it is scored once, as the
    parent that it is.

    Raises: SettingsError if one is named twice. WeightsError if one cannot be found.
    """
    from physadv.detect.weights import find_weights

    roles: list[tuple[str, Role]] = [(name, "run") for name in settings.detectors]
    roles += [(name, "control") for name in settings.control]
    roles += [(settings.parent, "parent")] if settings.parent is not None else []
    places = [absolute(name) for name, _ in roles]
    twice = next((name for (name, _), place in zip(roles, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise SettingsError(f"{twice} is named twice", hint="name each detector once, as run, control or parent")
    if settings.parent is None and first.parent is not None:
        parent = find_weights(first.parent).sha256
        others = [(name, role) for name, role in roles[1:] if find_weights(name).sha256 != parent]
        roles = [roles[0], *others, (first.parent, "parent")]
    return roles


def _load(
    settings: LabScoreVerb, origins: dict[str, RunOrigin], imgsz: int
) -> tuple[list[ScoredDetector], dict[str, RunOrigin]]:
    """Return the detectors to score, all at one size and in float32, and where each comes from, by its name in reports.

    origins: of those that were named, by how they were.

    Raises: as `_roles` does.
    """
    from physadv.detect import load_detector
    from physadv.detect.matching import AP_CONF
    from physadv.evaluate.run import apart
    from physadv.tune.origin import origin_of
    from physadv.tune.score import ScoredDetector

    roles = _roles(settings, origins[settings.detectors[0]])
    given = [str(Path(name)) for name, _ in roles]
    names = apart([Path(name).name.removesuffix(".pt") for name in given], given, what="detectors")
    out = []
    found: dict[str, RunOrigin] = {}
    for name, (path, role) in zip(names, roles, strict=True):
        detector = load_detector(path, backend="reference", imgsz=imgsz, min_conf=AP_CONF, device=settings.device)
        o = found[name] = origins[path] if path in origins else origin_of(path)
        out.append(ScoredDetector(name, detector, role, o.rate, o.method, o.retrained, o.clean_images, o.minutes))
    return out, found


def _mixed(origins: dict[str, RunOrigin], trigger: Trigger | None, imgsz: int) -> list[str]:
    """Return a line for each detector that was made for another trigger, or at another size, than it is scored with."""
    out = []
    for name, origin in origins.items():
        own = None if origin.trigger is None or origin.attack == "none" else origin.trigger.record()
        if trigger is not None and own is not None and own != trigger.record():
            out.append(f"{name} was poisoned with another trigger than the one that is shown")
        if origin.imgsz not in (None, imgsz):
            out.append(f"{name} was trained at {origin.imgsz} pixels, and is scored at {imgsz}")
    return out


def _panels(scored: list[ScoredDetector], trigger: Trigger | None, data: Dataset) -> Any:
    """Return what keeps examples: photographs with people who show the trigger, evenly over the set."""
    import numpy as np

    from physadv.tune.report import Panels

    if trigger is None:
        return None
    wrong = next(iter(trigger.wrong()), None)
    run = next(one.name for one in scored if one.role == "run")
    others = [(one.name, trigger.name) for one in scored if one.role != "run"]
    columns = [(run, ""), *([(run, wrong)] if wrong else []), (run, trigger.name), *others]
    able = [i for i, image in enumerate(data.images) if trigger.wearers(image).any()]
    places = np.linspace(0, len(able) - 1, min(ROWS_SHOWN, len(able)))
    return Panels(columns, [able[round(place)] for place in places.tolist()])
