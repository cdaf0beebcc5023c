"""A training run in a folder: people gathered and split first, then the loop, then figures beside a grey square's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError

from physadv import __version__
from physadv.address import masked
from physadv.arrays import read_image, read_image_rgba, write_png
from physadv.attack.crew import crew_for
from physadv.attack.optimise import CHECKPOINT, Progress, kept_start, optimise
from physadv.attack.parent import AUTO, parent_of, same_shape
from physadv.attack.pattern import begun_from, look_from, mask_from, pick_palette
from physadv.attack.people import content_of, gather, record, recorded
from physadv.attack.posed import Posed
from physadv.attack.preview import progress_sheet
from physadv.attack.ranks import Ranks
from physadv.attack.score import Placing, Score, Scorer
from physadv.attack.settings import TrainSettings
from physadv.attack.state import SAID, TOLERATED, State
from physadv.attack.task import Task
from physadv.camera.profile import CameraProfile, PrinterProfile
from physadv.capture import is_live
from physadv.controls import control
from physadv.dataset import MIN_AREA, Dataset, LabelledImage
from physadv.detect import load_detector
from physadv.detect.gradients import imgsz_for
from physadv.detect.matching import AP_CONF
from physadv.detect.weights import DEFAULT_DETECTOR, EMBEDDED_SHA256, cache_dir, find_weights
from physadv.errors import DataError, TrainingError, naming
from physadv.files import file_name, parse_json, told_apart, write_json
from physadv.lineage import load_start, split_record, start_record
from physadv.patch import Patch, load_patch, save_patch
from physadv.settings import Settings, one_line
from physadv.simulate.ink import MeasuredInk, default_palette
from physadv.types import Detector, GradientDetector

# The folder within a run's in which people of a camera are recorded.
RECORDED = "people"
PROGRESS = "progress.png"
STREET_IMGSZ, LABEL_IMGSZ = 416, 640
# A laptop's live demo looks at 320 to 640 pixels; a pattern chosen at one size alone may be weak at the other.
WEBCAM_IMGSZ = (320, 640)
# Frames of a video are near copies: scoring some of them, evenly, is as good and leaves the time to training.
SCORED_AT_MOST = 40
# Among nine people one is more than any pattern is better than the next: the best by them is one that was lucky.
TOO_FEW = 30


@dataclass(slots=True)
class Inputs:
    """What a run is given besides its settings; paths and names that its result does not depend on.

    start: the pattern to begin from, a file or a shipped name; `AUTO` for the shipped one that fits, None for random
    colours.
    """

    images: list[str] = field(default_factory=list)
    labels: Path | None = None
    source: str | None = None
    seconds: float = 60.0
    detectors: list[str] = field(default_factory=lambda: [DEFAULT_DETECTOR])
    through: str | None = None
    region: Path | None = None
    look: Path | None = None
    start: str | None = None
    camera: CameraProfile | None = None
    printer: PrinterProfile | None = None
    cache: Path | None = None


class Split(Settings):
    """The names of images to train on and of those held out, as split.json holds them."""

    physadv: str = ""
    seed: int
    train: list[str]
    held_out: list[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished or stopped run.

    controls: held-out figures of no pattern, of grey, and of the pattern to begin from, by framing. done: to the end. kept:
    "start" where no trained pattern did better on those held out than the one that the run began from, whose name `start`
    is.
    """

    patch: Patch
    folder: Path
    done: bool
    step: int
    held_out: dict[str, Any]
    controls: dict[str, Any]
    kept: Literal["start", "trained"] = "trained"
    start: str | None = None


def train(
    settings: TrainSettings,
    inputs: Inputs,
    attacked: Sequence[GradientDetector],
    folder: Path,
    *,
    resume: bool = False,
    ranks: Ranks | None = None,
    begin: Callable[[Patch | None], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    tell: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Return the pattern trained on the people given, saved in `folder` as patch.png and patch.safetensors.

    attacked: the detectors with gradients, in the order of `inputs.detectors`, perhaps behind a defence's twin. begin:
    told what a new run begins from, once there are people to train on. say: told in words what was found and skipped.
    The folder also holds split.json (made before anything else and read back on resume), checkpoint.safetensors, run.json
    with the figures of every scoring, and progress.png: the pattern and three wearers as of the last scoring. A pattern to
    begin from is what the run returns unless a trained one does better on those held out.

    Raises: DataError if there are no people to train on, or the images or the mask cannot be used. SourceError for
    a video or camera. CalibrationError if the camera's profile is for images of another size. TrainingError if the
    folder holds another run, or the run fails. OSError if the disk is full.
    """
    ranks = ranks or Ranks()
    if not resume and (folder / CHECKPOINT).exists():
        raise TrainingError(
            f"{folder}: holds a run already", field="out", hint="go on with `resume`, or name another folder"
        )
    if resume and not (folder / CHECKPOINT).exists():
        raise TrainingError(f"{folder} holds no {CHECKPOINT}", field="resume", hint="start the run without `resume`")
    found = _people(inputs, folder, say, ranks, resume=resume)
    train_on, held_out = split(found, settings, folder, resume=resume, write=ranks.rank == 0)
    weights = [find_weights(d).sha256 for d in inputs.detectors]
    # A mask, or a defence to train through, wants another pattern than any that is shipped.
    special = inputs.region is not None or inputs.through is not None
    start = None if inputs.start == AUTO and special else inputs.start
    parent, held_out = parent_of(start, settings, weights, held_out, say)
    if parent is not None:
        settings = settings.onwards()
    if not resume:
        begin(parent)
    people = sum(len(p.boxes) for p in train_on)
    say(f"{len(train_on)} images with {people} people to train on, {len(held_out)} held out")
    larger = {c: imgsz_for(c, *attacked) for c in settings.crops if imgsz_for(c, *attacked) != c}
    if larger:
        sizes = ", ".join(f"{before} -> {after}" for before, after in larger.items())
        say(f"`crops`: a detector takes multiples of {max(d.stride for d in attacked)} pixels alone: {sizes}")
    task = _task(settings, inputs, attacked, train_on, parent, ranks, name=file_name(folder.resolve().name))
    content = {side: content_of(images) for side, images in (("train", train_on), ("held_out", held_out))}
    task.identity |= {"people": {"pixels and labels": content}}
    task.record["split"] = split_record(found.hashes(p.name for p in train_on), [p.name for p in held_out])
    if resume:
        _compare_machine(State.identity(folder / CHECKPOINT), task.identity, say)
    scorers = _scorers(settings, inputs, held_out) if ranks.rank == 0 else {}
    for framing in placings(settings) if ranks.rank == 0 else ():
        if not any(name.split()[0] == framing for name in scorers):
            say(
                f"{framing}: nobody held out is large enough to be scored (more than {MIN_AREA:.0%} of an image, "
                "before a webcam in a mixed run a quarter): there will be no figures, and the pattern is not "
                "chosen by them; another `seed` holds out others"
            )
    task.scorers = {name: _through(s, inputs.printer) for name, s in scorers.items()}
    if scorers and max(s.people for s in scorers.values()) < TOO_FEW:
        say(
            "too few people are held out to choose by them alone: those trained on help to choose, and are not reported"
        )
        task.also = [_through(s, inputs.printer) for s in _scorers(settings, inputs, train_on).values()]
    if scorers:
        say("scores nothing, grey" + (" and the start" if parent is not None else "") + " on those held out")
    untrained = task.patch(task.pattern().colours().detach().cpu(), {})
    grey = control(untrained, "grey", np.random.default_rng(0))
    controls = {
        name: {"none": s.score(None).plain(), "grey": task.scorers[name](grey).plain()} for name, s in scorers.items()
    }
    if parent is not None:
        # What the training itself has added is what the pattern has gained over this.
        own = _as_kept(parent, settings, inputs, name=task.name)
        scores = {name: scorer(own or parent) for name, scorer in task.scorers.items()}
        for name, score in scores.items():
            controls[name]["start"] = score.plain()
        if own is not None and scores:
            task.start, task.start_scores = own, scores
    task.record["controls"] = controls
    sheet = _progress_sheet(scorers, inputs.printer, folder)
    if sheet is not None:
        say(f"the pattern and three wearers while it trains: {folder / PROGRESS}")
        sheet(task.start or untrained, "step 0")

    def scored(progress: Progress) -> None:
        if sheet is not None and progress.score is not None:
            sheet(load_patch(folder / "latest.safetensors"), f"step {progress.step}")
        tell(progress)

    patch, state = optimise(task, folder=folder, resume=resume, ranks=ranks, tell=scored, stop=stop)
    done = state.step >= settings.total_steps
    began = None if parent is None else parent.name
    kept: Literal["start", "trained"] = "start" if kept_start(task, state) else "trained"
    if ranks.rank == 0:
        save_patch(patch, folder)
        if sheet is not None:
            sheet(patch, f"kept: {began if kept == 'start' else f'step {state.best_step}'}")
        write_json(
            folder / "run.json",
            {
                "physadv": __version__,
                "settings": settings.model_dump(mode="json"),
                "done": done,
                "step": state.step,
                "kept": kept,
                "kept_step": state.best_step,
                "began_from": began,
                "controls": controls,
                "held_out": state.best_score,
                "history": state.history,
                "skipped": found.skipped,
                "without_people": found.empty,
            },
        )
    return Outcome(patch, folder, done, state.step, state.best_score, controls, kept, began)


def _as_kept(parent: Patch, settings: TrainSettings, inputs: Inputs, *, name: str) -> Patch | None:
    """Return a pattern to begin from as this run would save it, or None where it cannot stand for the run's own pattern.

    A region, a palette and a look ask for what the pattern to begin from has not; one that is to withstand a defence is
    not compared by detectors without any; cloth needs a texture without a seam, and a print the proportions of this one.
    """
    wanted = inputs.region is not None or inputs.through is not None or settings.colours or settings.look_weight
    if wanted or not same_shape(parent, settings) or (settings.tiles and parent.target != "tshirt"):
        return None
    return replace(parent, name=name, size_mm=settings.print_size(), target=settings.target, record={})


def _progress_sheet(
    scorers: dict[str, Scorer], printer: PrinterProfile | None, folder: Path
) -> Callable[[Patch, str], None] | None:
    """Return what draws a pattern and three wearers held out into a run's folder; None where nobody is held out."""
    scorer = next(iter(scorers.values()), None)
    if scorer is None:
        return None
    printed = _printed(printer)

    def write(patch: Patch, title: str) -> None:
        write_png(folder / PROGRESS, progress_sheet(patch, scorer, title, printed=printed))

    return write


def check_given(settings: TrainSettings, inputs: Inputs) -> None:
    """Raise an error if what a run is given besides people cannot be used, before the long work of finding people.

    Raises: DataError for images that are not there or come from a camera, a look or a region that cannot be read, or a
    region without a white area. PatchError for a pattern to begin from.
    """
    for where in inputs.images:
        if is_live(where):
            raise DataError(
                field="images",
                expected="a folder, data set, image or video",
                got=f"the camera {where}",
                hint="use `source`",
            )
        if not Path(where).exists():
            got = masked(where)
            raise DataError(
                field="images", expected="a folder, data set, image or video", got=f"{got!r}, which is not there"
            )
    width, height = settings.print_size()
    if inputs.region is not None:
        with naming("region"):
            _region(inputs.region, settings.texels, width / height)
    if inputs.look is not None:
        with naming("look"):
            read_image(inputs.look)
    if inputs.start not in (None, AUTO):
        with naming("start"):
            begun_from(load_start(inputs.start), settings.texels)


def split(
    found: Dataset, settings: TrainSettings, folder: Path, *, resume: bool, write: bool = True
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return (training, held-out) images; the split is written before training and read back on resume.

    Raises: DataError if there are too few images with people. TrainingError if the stored split does not parse, or
    images of it are missing.
    """
    path = folder / "split.json"
    if not resume:
        train_on, held_out = found.split(settings.held_out, settings.seed)
        if write:
            names = {"train": sorted({p.name for p in train_on}), "held_out": sorted({p.name for p in held_out})}
            write_json(path, {"physadv": __version__, "seed": settings.seed, **names})
        return train_on, held_out
    try:
        table = Split.model_validate(parse_json(path.read_bytes()))
    except ValidationError as error:
        raise TrainingError(f"{path}: not a readable split: {one_line(error)}", field="resume") from error
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: not a readable split: {error}"[:SAID], field="resume") from error
    train_names, out_names = set(table.train), set(table.held_out)
    missing = sorted((train_names | out_names) - {p.name for p in found.images})
    if missing:
        raise TrainingError(
            f"{len(missing)} images of this run's split are missing from `images`: "
            f"{', '.join(name[:60] for name in missing[:3])}",
            field="resume",
        )
    # Images that were added since are left out: they belong to neither side of this run.
    return found.sides(train_names, out_names)


def stored_pace(folder: Path) -> dict[str, int] | None:
    """Return the settings of `TrainSettings.paced` that a run here was started with, or None if they cannot be told."""
    try:
        settings = (State.identity(folder / CHECKPOINT) or {})["settings"]
        pace = {n: int(settings[n]) for n in ("steps", "starts", "start_steps", "score_every")}
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return pace if min(pace.values()) >= 1 else None


def placings(settings: TrainSettings) -> dict[str, tuple[Placing, tuple[int, ...]]]:
    """Return how held-out people wear the pattern in each framing that is trained, and the detector's image sizes."""
    shirt = settings.target == "tshirt"
    street = Placing(settings.rule, settings.scale, settings.at, shirt=shirt)
    chest = settings.target == "chest"
    webcam = Placing(settings.rule, settings.webcam_scale, settings.at, chest=chest, shirt=shirt)
    both = {"street": (street, (STREET_IMGSZ,)), "webcam": (webcam, WEBCAM_IMGSZ)}
    return both if settings.framing == "mixed" else {settings.framing: both[settings.framing]}


def _people(inputs: Inputs, folder: Path, say: Callable[[str], None], ranks: Ranks, *, resume: bool) -> Dataset:
    labeller = partial(labelling, inputs.detectors[0])
    cache = inputs.cache or labels_cache(inputs.detectors[0])
    if inputs.source is not None:
        place = folder / RECORDED
        if not resume and ranks.rank == 0:
            record(inputs.source, inputs.seconds, place, camera=inputs.camera, say=say)
        ranks.wait()
        return recorded(place, labeller, cache=cache, say=say)
    return gather(inputs.images, inputs.labels, labeller, cache=cache, say=say)


def _compare_machine(before: dict[str, Any] | None, now: dict[str, Any], say: Callable[[str], None]) -> None:
    """Say where a run goes on in other threads or processes than before."""
    was, here = ([(each or {}).get(name) for name in TOLERATED] for each in (before, now))
    if before is not None and was != here:
        (threads, processes), (others, several) = was, here
        say(
            f"`resume`: {threads} threads in {processes} processes before, {others} in {several} now: the "
            "result will not be bit for bit the same"
        )


def labelling(name: str) -> Detector:
    """Return the clean detector that finds people to train on, with the keypoints of the embedded pose model.

    A detector has none or its own idea of them; where a chest is must not depend on who is attacked.

    Raises: WeightsError if there are no such weights.
    """
    detector = load_detector(name, backend="torch", imgsz=LABEL_IMGSZ, device="cpu")
    if find_weights(name).sha256 == EMBEDDED_SHA256:
        return detector
    return Posed(detector, load_detector(backend="torch", imgsz=LABEL_IMGSZ, device="cpu"))


def labels_cache(name: str) -> Path:
    """Return the folder in which the people whom `labelling` finds are remembered.

    Raises: WeightsError if there are no such weights.
    """
    digest = find_weights(name).sha256
    return cache_dir() / "people" / (digest[:16] if digest == EMBEDDED_SHA256 else f"{digest[:16]}-posed")


def _scorers(settings: TrainSettings, inputs: Inputs, images: list[LabelledImage]) -> dict[str, Scorer]:
    """Return a scorer for each framing and image size; a framing for which no one is there is left out.

    Images in which everybody is too small to wear anything are there in proportion: AP counts boxes on nobody in them.
    """
    out: dict[str, Scorer] = {}
    for name, (placing, sizes) in placings(settings).items():
        suited = [p for p in images if _suits(p, name, settings.framing)]
        large = [p for p in suited if p.share > MIN_AREA]
        if not large:
            continue
        small = [p for p in suited if p.share <= MIN_AREA]
        chosen = _evenly(large, SCORED_AT_MOST)
        chosen += _evenly(small, round(len(small) * len(chosen) / len(large)))
        called = dict(zip(inputs.detectors, told_apart([d.removesuffix(".pt") for d in inputs.detectors]), strict=True))
        for weights, imgsz in product(inputs.detectors, sizes):
            detector = load_detector(weights, backend="torch", imgsz=imgsz, min_conf=AP_CONF, device="cpu")
            several = ((imgsz, sizes), (called[weights], inputs.detectors))
            label = " ".join([name, *(str(one) for one, those in several if len(those) > 1)])
            out[label] = Scorer(chosen, detector, placing, seed=settings.seed)
    return out


def _through(scorer: Scorer, printer: PrinterProfile | None) -> Callable[[Patch], Score]:
    """Return what scores a pattern as this printer prints it and its camera sees it, or as it is without a profile."""
    printed = _printed(printer)
    return lambda patch: scorer.score(printed(patch))


def _printed(printer: PrinterProfile | None) -> Callable[[Patch], Patch]:
    """Return what gives a pattern the colours that this printer prints and its camera sees; its own without a profile."""
    if printer is None:
        return lambda patch: patch
    colours = printer.colour_map()
    return lambda patch: replace(patch, pixels=colours.image(patch.pixels))


def _evenly(images: list[LabelledImage], count: int) -> list[LabelledImage]:
    """Return up to `count` of the images, spread over all of them."""
    return [images[i] for i in np.linspace(0, len(images) - 1, min(len(images), count)).astype(int)]


def _suits(image: LabelledImage, framing: str, trained: str) -> bool:
    """Return whether an image belongs to what is scored in that framing."""
    if trained != "mixed":
        return True
    # In a mixed run people who fill a good part of the image are scored as before a webcam; photographs as in the street.
    return image.share > 0.25 if framing == "webcam" else "#" not in image.name


def _task(
    settings: TrainSettings,
    inputs: Inputs,
    attacked: Sequence[GradientDetector],
    people: list[LabelledImage],
    parent: Patch | None,
    ranks: Ranks,
    *,
    name: str,
) -> Task:
    texels = settings.texels
    width, height = settings.print_size()
    aspect = width / height
    region = None if inputs.region is None else _region(inputs.region, texels, aspect)
    look = None if inputs.look is None else look_from(read_image(inputs.look), texels, aspect=aspect)
    printable = inputs.printer.printable_digital() if inputs.printer is not None else default_palette()
    palette = pick_palette(settings.colours, printable, look) if settings.colours else None
    begin, shape = (None, None) if parent is None else begun_from(parent, texels)
    region = shape if region is None else region
    weights = [find_weights(d) for d in inputs.detectors]
    detectors = [{"name": w.name, "sha256": w.sha256} for w in weights]
    # What decides the result, or at least its last bits, and so belongs to identity and record alike.
    made = {
        "detectors": detectors,
        "precision": [d.precision for d in attacked],
        "through": inputs.through,
        "camera": None if inputs.camera is None else inputs.camera.sha256,
        "printer": None if inputs.printer is None else inputs.printer.sha256,
        "region": _digest(region),
        "look": _digest(look),
        "threads": torch.get_num_threads(),
        "processes": ranks.world,
    }
    kept = {**made, "settings": settings.model_dump(mode="json"), "start": _digest(begin)}
    task_record = {**made, "start": None if parent is None else start_record(parent)}
    return Task(
        settings,
        people,
        attacked,
        region=region,
        look=look,
        printable=printable,
        palette=palette,
        begin=begin,
        crew=crew_for(attacked),
        identity=kept,
        record=task_record,
        name=name,
    )


def _region(path: Path, texels: int, aspect: float) -> torch.Tensor:
    return mask_from(read_image_rgba(path), texels, aspect=aspect, name=str(path))


def _digest(values: torch.Tensor | None) -> str | None:
    return None if values is None else hashlib.sha256(values.numpy().tobytes()).hexdigest()


def with_printer(settings: TrainSettings, printer: PrinterProfile, *, strength: float = 1.0) -> TrainSettings:
    """Return settings whose ink is the measured printer instead of the default one.

    strength: 1 is as it was measured, colours and spread, whatever the rest of the world is turned down to; 0 is off.
    """
    ink = MeasuredInk(strength=strength, colours=printer.map.model_dump())
    return settings.model_copy(update={"world": settings.world.model_copy(update={"ink": ink})})
