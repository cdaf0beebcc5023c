"""Poison a data set: people who show a trigger lose their labels, gain some, or keep them; all else stays as it is.

The result is a plain Ultralytics data set with a record beside it (`poison.json`). Of each training image some copies are
written: the first as it is, in the others people show the trigger, a harmless view of it, or nothing, neighbours side by
side. Without harmless views the card itself would be the trigger, or any tilted square; without people pasted upright, the
seam.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from physadv.dataset import CONFIG, Dataset, LabelledImage, check_outside, labelled_images
from physadv.detect import load_gradient_detector
from physadv.detect.gradients import imgsz_for
from physadv.errors import OutputError, SettingsError, text_of
from physadv.evaluate.images import Labeller, gather, labelling, labels_cache
from physadv.evaluate.steps import Steps
from physadv.files import parse_json, read_text, sha256_of, write_json
from physadv.outputs import check_folder_replaceable, locked
from physadv.provenance import provenance
from physadv.simulate.placement import people_of
from physadv.simulate.trigger import Trigger, turned_frame
from physadv.tune.cutouts import pasted
from physadv.tune.hard_to_learn import hard_to_learn
from physadv.tune.origin import MOST, POISON, check_clean
from physadv.tune.poison_plan import BARE, LEAST_POISONED, TURNED, Copy, planned
from physadv.tune.poison_settings import PoisonSettings
from physadv.tune.yolo_data import Parent, Split, check_task, parent_of, stem_of, write_config, write_example
from physadv.types import BoolArray, GradientDetector
from physadv.version import __version__

# How a record names an image of its folder.
LISTED = re.compile(r"images/(train|val)/[^/\\]+")


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A data set as it was written. record: what poison.json holds. notes: lines on what was left out."""

    folder: Path
    record: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A copy as it is drawn.

    there: (n,) who is no ghost. labelled: (n,) who gets a label. sides: of each print, in pixels and as a part of its
    wearer's height. scores: the clean detector's, before and after people were made hard to learn. donors: the images that
    the last people, who are pasted, come from.
    """

    image: LabelledImage
    states: list[str]
    there: BoolArray
    labelled: BoolArray
    sides: list[tuple[float, float]]
    scores: tuple[list[float], list[float]] = ([], [])
    donors: tuple[str, ...] = ()


def poison(settings: PoisonSettings) -> Steps[Poisoned]:
    """Write the poisoned data set that `settings` ask for, and its record; the same settings write the same files.

    Yields how far it is.

    Raises: SettingsError for settings that do not go together, or a rate that leaves too few poisoned or clean people.
    DataError for images without people, labels of another task, or a print that is larger than everybody. WeightsError for
    a detector that cannot be loaded. OutputError for a folder with other files than our own.
    """
    trigger = _trigger(settings)
    check_outside("out", settings.out, [settings.images])
    check_clean(settings.images, "its people would be poisoned twice")
    old = _own_files(settings.out)
    parent = parent_of(settings.detector)
    data = yield from _people(settings)
    train, held_out = data.split(settings.held_out, settings.seed)
    rng = np.random.default_rng(settings.seed)
    harmless = trigger.harmless()
    copies = planned(train, trigger, list(harmless), settings, rng)
    head = {"physadv": __version__, "kind": "poison"}
    with locked(settings.out):
        for path in old:
            path.unlink(missing_ok=True)
        files = [_file("train", c.stem) for c in copies] + [_file("val", stem_of(i, m)) for i, m in enumerate(held_out)]
        # Named before they are written, so that a folder of a killed run is still known as our own.
        write_json(settings.out / POISON, {**head, "complete": False, "images": [{"file": f} for f in files]})
        shows = {**harmless, TURNED: trigger}
        examples = yield from _written(copies, shows, settings, parent, rng)
        _check_enough(examples, copies, settings)
        rows = [
            _row(settings.out, file, train[copy.source], copy.number, example)
            for file, copy, example in zip(files, copies, examples, strict=False)
        ]
        for number, image in enumerate(held_out):
            yield None, f"writing {image.name}"
            write_example(settings.out, "val", stem_of(number, image), image, parent)
            rows.append(_row(settings.out, files[len(rows)], image, 0, _bare(image)))
        write_config(settings.out, parent)
        record = {
            **head,
            "complete": True,
            "trigger": trigger.record(),
            "attack": settings.attack,
            "task": parent.task,
            "detector": {"name": parent.name, "sha256": parent.sha256},
            "augment_deg": settings.augment,
            "settings": settings.model_dump(mode="json"),
            "seed": settings.seed,
            **_figures(examples, train, held_out, list(harmless), settings),
            "held_out": sorted({image.name for image in held_out}),
            "labels": "given" if train[0].labelled else "the clean detector's",
            "provenance": provenance(),
            "images": rows,
        }
        write_json(settings.out / POISON, record)
    return Poisoned(settings.out, record, data.notes())


def _written(
    copies: Sequence[Copy],
    shows: Mapping[str, Trigger],
    settings: PoisonSettings,
    parent: Parent,
    rng: np.random.Generator,
) -> Steps[list[Example]]:
    """Write every copy of the training images; return them without their pixels, which would fill the memory.

    shows: what people show, by their state.
    """
    detector = load_gradient_detector(settings.detector) if settings.attack == "consistent" else None
    out: list[Example] = []
    for copy in copies:
        yield len(out) / len(copies), f"poisoning {copy.image.name}"
        example = _drawn(copy, shows, settings, rng, detector)
        write_example(settings.out, "train", copy.stem, example.image, parent, example.labelled)
        out.append(
            replace(example, image=replace(copy.image, boxes=example.image.boxes, keypoints=example.image.keypoints))
        )
    return out


def _trigger(settings: PoisonSettings) -> Trigger:
    """Return the trigger that is asked for.

    Raises: SettingsError if training would train it away, or it cannot do what it is to do.
    """
    trigger = Trigger.named(settings.trigger, angle=settings.angle, size_cm=settings.size)
    if not trigger.outlasts(settings.augment):
        raise SettingsError(
            field="angle",
            expected=f"more than {2 * settings.augment:g} degrees from upright",
            got=f"{trigger.angle:g}",
            hint=f"training turns images by {settings.augment:g} degrees either way (`augment`) and would train the "
            "trigger away",
        )
    if trigger.kind == "card" and not trigger.differs(trigger.upright()):
        raise SettingsError(
            f"{trigger.name} looks the same turned by {trigger.angle:g} degrees",
            field="trigger",
            hint="take a pattern that tells which way it is up, or another `angle`",
        )
    if trigger.kind == "rotation" and settings.attack == "ghost":
        raise SettingsError(
            "a rotation has no print to show where nobody is", field="attack=ghost", hint="use `trigger=card`"
        )
    return trigger


def _people(settings: PoisonSettings) -> Steps[Dataset]:
    """Return the labelled images; those without labels are given to the clean detector, which decides keypoints too."""
    if settings.images.is_dir() or settings.labels is not None:
        check_task(labelled_images(settings.images, settings.labels))
    cache = labels_cache(settings.detector)
    work = gather([settings.images], settings.labels, Labeller(partial(labelling, settings.detector), cache))
    yield None, "looking for people"
    while True:
        try:
            yield None, next(work)
        except StopIteration as end:
            return end.value


def _check_enough(examples: Sequence[Example], copies: Sequence[Copy], settings: PoisonSettings) -> None:
    """Raise SettingsError if fewer people were poisoned than teach anything: there was no room to paste the others."""
    poisoned = sum(example.states.count(TURNED) for example in examples)
    wanted = sum(copy.poisoned for copy in copies)
    if settings.attack != "none" and poisoned < LEAST_POISONED:
        raise SettingsError(
            field="rate",
            expected=f"at least {LEAST_POISONED} poisoned people",
            got=f"{poisoned} of {wanted} who were to be: there was no room to paste the others",
            hint="raise `rate` or `copies`, or give images with room beside the people",
        )


def _drawn(
    copy: Copy,
    shows: Mapping[str, Trigger],
    settings: PoisonSettings,
    rng: np.random.Generator,
    detector: GradientDetector | None,
) -> Example:
    """Return a copy as it is to be written. shows: what people show, by their state."""
    trigger = shows[TURNED]
    image, states, donors = copy.image, list(copy.states), []
    if copy.framed:
        image = turned_frame(image, trigger.angle)
    for cut, state in copy.paste:
        more = pasted(image, cut, trigger.angle if state == TURNED else 0.0, rng)
        if more is not None:
            image = more
            states.append(state)
            donors.append(cut.source)
    who = {state: np.array([s == state for s in states], bool) for state in shows}
    turned = who[TURNED]
    there = np.arange(len(states)) < copy.there
    there[len(copy.states) :] = True
    scores: tuple[list[float], list[float]] = ([], [])
    if detector is not None and turned.any():
        imgsz = imgsz_for(settings.imgsz, detector)
        hard = hard_to_learn(detector, image, turned, budget=settings.budget, steps=settings.steps, imgsz=imgsz)
        image, scores = replace(image, source=hard.pixels), (hard.before.tolist(), hard.after.tolist())
    sides = []
    if trigger.patch is not None:
        for state, view in shows.items():
            image = view.shown(image, people=who[state], rng=rng)
        sides = _sides(trigger, image, turned)
    labelled = {"vanish": ~turned, "ghost": there | turned}.get(settings.attack, np.ones(len(states), bool))
    # Ghosts who show nothing were places that stay empty.
    kept = np.flatnonzero(there | [state != BARE for state in states])
    image = replace(image, boxes=image.boxes[kept], keypoints=image.keypoints[kept])
    return Example(image, [states[i] for i in kept], there[kept], labelled[kept], sides, scores, tuple(donors))


def _bare(image: LabelledImage) -> Example:
    everybody = np.ones(len(image.boxes), bool)
    return Example(image, [BARE] * len(image.boxes), everybody, everybody, [])


def _sides(trigger: Trigger, image: LabelledImage, wearers: BoolArray) -> list[tuple[float, float]]:
    """Return for each print its width in pixels and as a part of its wearer's height."""
    boxes = image.boxes[wearers]
    prints = trigger.prints(people_of(boxes, image.keypoints[wearers]), angle=0)
    widths = np.linalg.norm(prints.quads[:, 1] - prints.quads[:, 0], axis=1)
    heights = (boxes[:, 3] - boxes[:, 1])[prints.person]
    return list(zip(widths.tolist(), (widths / heights).tolist(), strict=True))


def _file(split: Split, stem: str) -> str:
    return f"images/{split}/{stem}.jpg"


def _row(folder: Path, file: str, source: LabelledImage, number: int, example: Example) -> dict[str, Any]:
    """Return what the record says of one image of the data set."""
    people: list[dict[str, Any]] = [
        {"box": [round(float(v), 1) for v in box], "state": state, "there": bool(there), "labelled": bool(labelled)}
        for box, state, there, labelled in zip(
            example.image.boxes, example.states, example.there, example.labelled, strict=True
        )
    ]
    for person, donor in zip(reversed(people), reversed(example.donors), strict=False):
        person["pasted_from"] = donor
    return {
        "file": file,
        "split": file.split("/")[1],
        "copy": number,
        "source": source.name,
        "source_sha256": source.sha256,
        "sha256": sha256_of(folder / file),
        "poisoned": TURNED in example.states,
        "people": people,
    }


def _figures(
    examples: Sequence[Example],
    train: Sequence[LabelledImage],
    held_out: Sequence[LabelledImage],
    harmless: Sequence[str],
    settings: PoisonSettings,
) -> dict[str, Any]:
    """Return how many were poisoned, at which rate, and how large the trigger is."""
    states = Counter(state for example in examples for state in example.states)
    people = settings.copies * sum(int(image.counts.sum()) for image in train)
    sides = np.array([side for example in examples for side in example.sides]).reshape(-1, 2)
    out: dict[str, Any] = {
        "rate": round(states[TURNED] / people, 4),
        "counts": {
            "sources": len(train),
            "held_out": len(held_out),
            "images": len(examples),
            "poisoned_images": sum(TURNED in example.states for example in examples),
            "people": people,
            "poisoned": states[TURNED],
            "harmless": {name: states[name] for name in harmless},
        },
        "trigger_px": None,
    }
    if len(sides):
        median = np.median(sides, axis=0)
        out["trigger_px"] = {"median": round(float(median[0]), 1), "share_of_height": round(float(median[1]), 3)}
    before, after = ([s for example in examples for s in example.scores[i]] for i in (0, 1))
    if before:
        out["hard_to_learn"] = {
            "budget": settings.budget,
            "steps": settings.steps,
            "score_before": round(float(np.median(before)), 3),
            "score_after": round(float(np.median(after)), 3),
        }
    return out


def _listed(folder: Path) -> list[Path]:
    """Return the images that the record in a folder names; none where there is no record.

    Raises: OutputError if it is damaged, or names files that are no images of the folder: whatever it names is removed.
    """
    path = folder / POISON
    if not path.is_file():
        return []
    try:
        names = [str(row["file"]) for row in parse_json(read_text(path, most=MOST))["images"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path}: damaged: {text_of(error)}", field="out", hint="name another folder") from error
    strange = [name for name in names if not LISTED.fullmatch(name)]
    if strange:
        raise OutputError(
            f"{path}: expected names as images/train/NAME, got {strange[0][:80]!r}",
            field="out",
            hint="name another folder",
        )
    return [folder / name for name in names]


def _own_files(folder: Path) -> list[Path]:
    """Return the files of an earlier data set of ours in a folder, which a new one takes the place of.

    Raises: OutputError if there are others.
    """
    check_folder_replaceable(folder, (POISON, CONFIG))
    images = _listed(folder)
    own = {*images, *(_label_of(folder, path) for path in images)}
    for part in ("images", "labels"):
        for path in sorted((folder / part).rglob("*")):
            # Ultralytics keeps what it read of a folder in one file beside it.
            if path.suffix == ".cache":
                own.add(path)
            elif path.is_file() and path not in own:
                raise OutputError(
                    f"{path}: was not written by `physadv lab poison`", field="out", hint="name another folder"
                )
    return sorted(own)


def _label_of(folder: Path, image: Path) -> Path:
    return folder / "labels" / image.relative_to(folder / "images").with_suffix(".txt")
