"""What a run is given, made ready: people split, held-out scorers, the pattern's region, look and colours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import ValidationError

from physadv.address import masked
from physadv.arrays import read_image, read_image_rgba
from physadv.attack.parallel import Processes
from physadv.attack.pattern import Grid, begun_from, look_from, mask_from, pick_palette
from physadv.attack.people import record
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData
from physadv.attack.score import HeldOutPeople, Score
from physadv.attack.settings import AUTO, TrainSettings
from physadv.attack.start import fitted, same_shape
from physadv.camera.profile import CameraProfile, PrinterProfile, load_profiles
from physadv.capture import is_live
from physadv.dataset import MIN_AREA, Dataset, LabelledImage
from physadv.defend import parse_pipeline
from physadv.detect import check_attackable, load_detector, load_gradient_detector
from physadv.detect.matching import AP_CONF
from physadv.detect.names import path_in
from physadv.detect.pytorch import pick_device
from physadv.detect.weights import find_weights
from physadv.errors import BackendError, DataError, SettingsError, TrainingError, naming
from physadv.evaluate.images import Labeller, content_of, gather, labelling, labels_cache
from physadv.files import parse_json, shortest_ends, write_json
from physadv.lineage import load_start, split_record, start_record
from physadv.patch import Patch
from physadv.settings import Settings, one_line
from physadv.simulate.ink import default_palette
from physadv.types import GradientDetector
from physadv.version import __version__

# The folder within a run's in which people of a camera are recorded.
RECORDED = "people"
# Frames of a video are near copies: scoring some of them, evenly, is as good and leaves the time to training.
SCORED_AT_MOST = 40
# Characters of an error text about a damaged file.
LONGEST = 300


@dataclass(frozen=True, slots=True)
class Inputs:
    """A run as it was asked for, checked: its settings, the recipe that follows from them, and the profiles they name.

    notes: what to show of them, in words. cache: the folder in which the people that the clean detector found are
    remembered; the user's own unless given.
    """

    settings: TrainSettings
    recipe: Recipe
    camera: CameraProfile | None = None
    printer: PrinterProfile | None = None
    notes: tuple[str, ...] = ()
    cache: Path | None = None


class Split(Settings):
    """The names of images to train on and of those held out, as split.json holds them."""

    physadv: str = ""
    seed: int
    train: list[str]
    held_out: list[str]


def read_inputs(settings: TrainSettings) -> Inputs:
    """Return what a run is given besides people, checked before people are looked for and detectors loaded.

    Raises: SettingsError if fields contradict one another. DefenceError for `through`, BackendError for `device`.
    CalibrationError for a profile. DataError for images that are
    not there or come from a camera, a look or a region that cannot be read, or a region without a white area. PatchError
    for a pattern to start from.
    """
    settings.check()
    note = _trained_through(settings.through)
    pick_device(settings.device)
    for name in settings.detector:
        check_attackable(name)
    _check_apart(settings.detector)
    camera, printer = load_profiles(settings.camera, settings.printer)
    recipe = Recipe.of(settings)
    if printer is not None:
        recipe = recipe.printed_by(printer, strength=1.0 if settings.ink is None else settings.ink)
    for where in settings.images:
        if is_live(where) or not Path(where).exists():
            raise DataError(
                field="images",
                expected="a folder, data set, image or video",
                got=f"the camera {where}" if is_live(where) else f"{masked(where)!r}, which is not there",
                hint="give it as `source`" if is_live(where) else None,
            )
    width, height = recipe.print_size()
    if settings.region is not None:
        with naming("region"):
            region_from(settings.region, recipe.grid, width / height)
    if settings.look is not None:
        with naming("look"):
            read_image(settings.look)
    if settings.start_wanted not in (None, AUTO):
        with naming("start"):
            begun_from(fitted(load_start(settings.start_wanted), recipe), recipe.grid)
    # A file of flags may serve runs on one detector and on several.
    alone = f"`mix={recipe.mix}` weighs several detectors and changes nothing with one"
    notes = [note, alone if recipe.mix != "mean" and len(settings.detector) == 1 else ""]
    return Inputs(settings, recipe, camera, printer, tuple(filter(None, notes)))


def _check_apart(names: Sequence[str]) -> None:
    """Check that no two detectors are the same: each would be paid for twice, and weigh twice.

    Raises: SettingsError if two have the same weights. WeightsError if one is not there.
    """
    weights = [find_weights(name) for name in names] if len(names) > 1 else []
    same = [(w.name, w.sha256) for w in weights]
    if twice := next((name for name, one in zip(names, same, strict=False) if same.count(one) > 1), None):
        raise SettingsError(f"{twice} is named twice", field="detector", hint="name each detector once")


def _trained_through(text: str | None) -> str:
    """Return what to show of a pipeline of which a part has no twin to train through; "" where nothing is left out.

    Raises: SettingsError if no defence named has one. DefenceError if one is not known, or its weights are missing.
    """
    if text is None:
        return ""
    pipeline = parse_pipeline(text, field="through")
    with naming("through"):
        pipeline.weights()
    used = ", ".join(d.name for d in pipeline.defences if not d.over_time)
    unused = ", ".join(pipeline.over_time)
    if unused and not used:
        raise SettingsError(
            f"{unused} has no twin for single images and would be ignored", field="through", hint="leave it out"
        )
    return f"`through={text}`: trained through {used}; {unused} has no twin for single images" if unused else ""


def attacked_detectors(settings: TrainSettings, *, device: str) -> list[GradientDetector]:
    """Return the detectors to attack, each behind the twin of the pipeline where one is named.

    Raises: WeightsError, BackendError or DefenceError for what cannot be had.
    """
    precision: Literal["fp32", "bf16"] = "bf16" if settings.precision == "bf16" else "fp32"
    if settings.precision == "auto" and _computes_bf16(device):
        precision = "bf16"
    plain: list[GradientDetector] = [
        load_gradient_detector(n, device=device, precision=precision) for n in settings.detector
    ]
    other = next((d for d in plain if d.precision != precision), None)
    if settings.precision == "bf16" and other is not None:
        raise BackendError(
            f"{other.name} computes in {other.precision} alone", field="precision=bf16", hint="leave it out"
        )
    if settings.through is None:
        return plain
    pipeline = parse_pipeline(settings.through)
    return [pipeline.twin(detector) for detector in plain]


def people_of(inputs: Inputs, processes: Processes) -> Generator[str, None, Dataset]:
    """Return the people in the images given, or recorded from a camera into the run's folder; yield what to show.

    Raises: DataError if images or labels cannot be used. SourceError for a video or camera. CalibrationError if the
    camera's profile is for images of another size.
    """
    settings = inputs.settings
    cache = inputs.cache or labels_cache(settings.detector[0])
    labeller = Labeller(partial(labelling, settings.detector[0]), cache)
    if settings.source is None:
        return (yield from gather(settings.images, settings.labels, labeller))
    place = settings.out / RECORDED
    if not settings.resume and processes.first:
        yield from record(settings.source, settings.seconds, place, camera=inputs.camera)
    processes.wait()
    return (yield from gather([place], None, labeller))


def split(
    found: Dataset, recipe: Recipe, folder: Path, *, resume: bool, write: bool = True
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return (training, held-out) images; the split is written before training and read back on resume.

    Raises: DataError if there are too few images with people. TrainingError if the stored split does not parse, or
    images of it are missing.
    """
    path = folder / "split.json"
    if not resume:
        train_on, held_out = found.split(recipe.held_out, recipe.seed)
        if write:
            names = {"train": sorted({p.name for p in train_on}), "held_out": sorted({p.name for p in held_out})}
            write_json(path, {"physadv": __version__, "seed": recipe.seed, **names})
        return train_on, held_out
    try:
        table = Split.model_validate(parse_json(path.read_bytes()))
    except ValidationError as error:
        raise TrainingError(f"{path}: not a readable split: {one_line(error)}"[:LONGEST], field="resume") from error
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: not a readable split: {error}"[:LONGEST], field="resume") from error
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


def scorers_of(recipe: Recipe, detectors: Sequence[str], images: list[LabelledImage]) -> dict[str, HeldOutPeople]:
    """Return a scorer for each framing and image size; a framing for which no one is there is left out.

    Images in which everybody is too small to wear anything are there in proportion: AP counts boxes on nobody in them.
    """
    out: dict[str, HeldOutPeople] = {}
    for name, (placement, sizes) in recipe.placements().items():
        suited = [p for p in images if _suits(p, name, recipe.framing)]
        large = [p for p in suited if p.share > MIN_AREA]
        if not large:
            continue
        small = [p for p in suited if p.share <= MIN_AREA]
        chosen = _evenly(large, SCORED_AT_MOST)
        chosen += _evenly(small, round(len(small) * len(chosen) / len(large)))
        called = dict(zip(detectors, shortest_ends([path_in(d) for d in detectors]), strict=True))
        for weights, imgsz in product(detectors, sizes):
            detector = load_detector(weights, backend="reference", imgsz=imgsz, min_conf=AP_CONF, device="cpu")
            if detector.own_size and imgsz != sizes[0]:
                continue
            several = ((imgsz, sizes), (called[weights], detectors))
            label = " ".join([name, *(str(one) for one, those in several if len(those) > 1)])
            scorer = HeldOutPeople(chosen, detector, placement, seed=recipe.seed, activation=recipe.activation)
            if scorer.people:
                out[label] = scorer
    return out


def printed_scores(
    scorers: dict[str, HeldOutPeople], printer: PrinterProfile | None
) -> dict[str, Callable[[Patch], Score]]:
    """Return what scores a pattern as this printer prints it and its camera sees it, or as it is without a profile."""
    printed = as_printed(printer)

    def score(scorer: HeldOutPeople, patch: Patch) -> Score:
        return scorer.score(printed(patch))

    return {name: partial(score, scorer) for name, scorer in scorers.items()}


def as_printed(printer: PrinterProfile | None) -> Callable[[Patch], Patch]:
    """Return what gives a pattern the colours that this printer prints and its camera sees; its own without a profile."""
    if printer is None:
        return lambda patch: patch
    colours = printer.colour_map()
    return lambda patch: replace(patch, pixels=colours.image(patch.pixels))


def train_data(
    recipe: Recipe,
    inputs: Inputs,
    attacked: Sequence[GradientDetector],
    sides: tuple[list[LabelledImage], list[LabelledImage]],
    found: Dataset,
    start: Patch | None,
    *,
    processes: int,
    name: str,
) -> TrainData:
    """Return what a run learns from, but for what scores it. sides: images to train on, and held-out ones.

    Raises: DataError or PatchError for a region, a look or a start that cannot be used. TrainingError if there are fewer
    printable colours than asked for.
    """
    settings = inputs.settings
    train_on, held_out = sides
    grid = recipe.grid
    width, height = recipe.print_size()
    aspect = width / height
    region = None if settings.region is None else region_from(settings.region, grid, aspect)
    look = None if settings.look is None else look_from(read_image(settings.look), grid, aspect=aspect)
    printable = inputs.printer.printable_digital() if inputs.printer is not None else default_palette()
    palette = pick_palette(recipe.colours, printable, look) if recipe.colours else None
    begin, shape = (None, None) if start is None else begun_from(fitted(start, recipe), grid)
    region = shape if region is None else region
    weights = [find_weights(d) for d in settings.detector]
    # What decides the result, or at least its last bits, and so belongs to identity and record alike.
    made = {
        "detectors": [{"name": w.name, "sha256": w.sha256} for w in weights],
        "precision": [d.precision for d in attacked],
        "through": settings.through,
        "camera": None if inputs.camera is None else inputs.camera.sha256,
        "printer": None if inputs.printer is None else inputs.printer.sha256,
        "region": _digest(region),
        "look": _digest(look),
        "threads": torch.get_num_threads(),
        "processes": processes,
    }
    content = {"train": content_of(train_on), "held_out": content_of(held_out)}
    return TrainData(
        train_on,
        attacked,
        region=region,
        look=look,
        printable=printable,
        palette=palette,
        begin=begin,
        identity={
            **made,
            "settings": recipe.model_dump(mode="json"),
            "start": _digest(begin),
            "people": {"pixels and labels": content},
        },
        record={
            **made,
            "start": None if start is None else start_record(start),
            "split": split_record(
                found.hashes(p.name for p in train_on),
                [p.name for p in held_out],
                found.looks(p.name for p in train_on),
            ),
        },
        name=name,
    )


def as_kept(start: Patch, recipe: Recipe, settings: TrainSettings, *, name: str) -> Patch | None:
    """Return a pattern to start from as this run would save it, or None where it cannot stand for the run's own pattern.

    A portrait print gets it as `start.fitted` says. A region, a palette and a look ask for what it has not; one that is to
    withstand a defence is not compared by detectors without any; cloth needs a texture without a seam, and a print the
    proportions of this one.
    """
    if settings.wants_own or recipe.colours or recipe.look_weight:
        return None
    start = fitted(start, recipe)
    if not same_shape(start, recipe) or (recipe.tiles and not start.tiles):
        return None
    return replace(start, name=name, size_mm=recipe.print_size(), target=recipe.target, record={})


def region_from(path: Path, grid: Grid, aspect: float) -> torch.Tensor:
    """Return the mask (1, *grid) of an image file.

    Raises: DataError if it cannot be read, or has no area where ink goes.
    """
    return mask_from(read_image_rgba(path), grid, aspect=aspect, name=str(path))


def _evenly(images: list[LabelledImage], count: int) -> list[LabelledImage]:
    """Return up to `count` of the images, spread over all of them."""
    return [images[i] for i in np.linspace(0, len(images) - 1, min(len(images), count)).astype(int)]


def _suits(image: LabelledImage, framing: str, trained: str) -> bool:
    """Return whether an image belongs to what is scored in that framing."""
    if trained != "mixed":
        return True
    # In a mixed run people who fill a good part of the image are scored as before a webcam; photographs as in the street.
    return image.share > 0.25 if framing == "webcam" else "#" not in image.name


def _digest(values: torch.Tensor | None) -> str | None:
    return None if values is None else hashlib.sha256(values.numpy().tobytes()).hexdigest()


def _computes_bf16(device: str) -> bool:
    """Return whether bfloat16 is fast there. CPUs without the instructions emulate it, 13 times slower than fp32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
