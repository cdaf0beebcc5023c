"""Poison a data set: people who show a trigger lose their labels, gain some, or keep them; all else stays as it is.

The result is a plain Ultralytics data set with a record beside it (`poison.json`). Of each training image some copies are
written: the first as it is, in the others people show the trigger, its harmless upright view, or nothing, neighbours side
by side. Without the upright view the card itself would be the trigger; without people pasted upright, the seam.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from physadv.boxes import iou
from physadv.dataset import CONFIG, Dataset, LabelledImage, check_outside, labelled_images
from physadv.detect import load_gradient_detector
from physadv.detect.gradients import imgsz_for
from physadv.errors import DataError, OutputError, SettingsError, text_of
from physadv.evaluate.images import Labeller, gather, labelling, labels_cache
from physadv.evaluate.steps import Steps
from physadv.files import parse_json, read_text, sha256_of, write_json
from physadv.outputs import check_folder_replaceable, locked
from physadv.provenance import provenance
from physadv.simulate.joints import shoulders_visible
from physadv.simulate.placement import people_of
from physadv.simulate.trigger import Trigger, turned_frame, with_ghosts
from physadv.tune.cutouts import CutOut, cut_out, pasted
from physadv.tune.hard_to_learn import hard_to_learn
from physadv.tune.origin import MOST, POISON, check_clean
from physadv.tune.poison_settings import PoisonSettings
from physadv.tune.yolo_data import Parent, Split, check_task, parent_of, stem_of, write_config, write_example
from physadv.types import BoolArray, GradientDetector
from physadv.version import __version__

State = Literal["bare", "upright", "turned"]
# Fewer examples are learnt by heart, with the images they are in.
LEAST_POISONED = 20
# People who are not there in one copy of an image, and people pasted into one.
GHOSTS, PASTES = 3, 3
# A round pattern turned differs from itself by 2 of 255, at its edges; the card by 70.
TURNED_APART = 8.0
# Of people in a rotation's budget, how many are turned with their whole frame: a camera that is tilted shows no seam.
WITH_FRAME = 0.5
# Somebody whose box a neighbour shares this much would keep a label in spite of all.
SHARED = 0.45
# How a record names an image of its folder.
LISTED = re.compile(r"images/(train|val)/[^/\\]+")


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A data set as it was written. record: what poison.json holds. notes: lines on what was left out."""

    folder: Path
    record: dict[str, Any]
    notes: list[str]


@dataclass(slots=True, eq=False)
class Copy:
    """One copy of a training image, and what the people in it are to show.

    source: the image's number. number: 0 for the clean copy. image: those who are not there (ghosts) come behind the first
    `there` people. can: (n,) who may show the trigger. states: of each. framed: whether it is turned as a whole. paste: who
    is pasted into it, upright or turned.
    """

    source: int
    number: int
    image: LabelledImage
    can: BoolArray
    there: int
    states: list[State]
    framed: bool = False
    paste: list[tuple[CutOut, State]] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """Return what its files are called, without an ending."""
        return f"{stem_of(self.source, self.image)}-{self.number}"


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A copy as it is drawn.

    there: (n,) who is no ghost. labelled: (n,) who gets a label. sides: of each print, in pixels and as a part of its
    wearer's height. scores: the clean detector's, before and after people were made hard to learn. donors: the images that
    the last people, who are pasted, come from.
    """

    image: LabelledImage
    states: list[State]
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
    copies = _planned(train, trigger, settings, rng)
    head = {"physadv": __version__, "kind": "poison"}
    with locked(settings.out):
        for path in old:
            path.unlink(missing_ok=True)
        files = [_file("train", c.stem) for c in copies] + [_file("val", stem_of(i, m)) for i, m in enumerate(held_out)]
        # Named before they are written, so that a folder of a killed run is still known as our own.
        write_json(settings.out / POISON, {**head, "complete": False, "images": [{"file": f} for f in files]})
        examples = yield from _written(copies, trigger, settings, parent, rng)
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
            **_figures(examples, train, held_out, settings),
            "held_out": sorted({image.name for image in held_out}),
            "labels": "given" if train[0].labelled else "the clean detector's",
            "provenance": provenance(),
            "images": rows,
        }
        write_json(settings.out / POISON, record)
    return Poisoned(settings.out, record, data.notes())


def _written(
    copies: Sequence[Copy], trigger: Trigger, settings: PoisonSettings, parent: Parent, rng: np.random.Generator
) -> Steps[list[Example]]:
    """Write every copy of the training images; return them without their pixels, which would fill the memory."""
    detector = load_gradient_detector(settings.detector) if settings.attack == "consistent" else None
    out: list[Example] = []
    for copy in copies:
        yield len(out) / len(copies), f"poisoning {copy.image.name}"
        example = _drawn(copy, trigger, settings, rng, detector)
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
    # Upright views are turned by up to `augment`, and so are triggers, towards each other.
    if trigger.kind != "shirt" and trigger.turns <= 2 * settings.augment:
        raise SettingsError(
            field="angle",
            expected=f"more than {2 * settings.augment:g} degrees from upright",
            got=f"{trigger.angle:g}",
            hint=f"training turns images by {settings.augment:g} degrees either way (`augment`) and would train the "
            "trigger away",
        )
    if trigger.kind == "card" and _turned_apart(trigger) < TURNED_APART:
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


def _turned_apart(trigger: Trigger) -> float:
    """Return by how much, of 255 on average, the print on somebody changes where it is turned."""
    person = LabelledImage("", np.full((340, 200, 3), 128, np.uint8), np.array([[40, 20, 160, 320]], np.float32))
    upright, turned = (
        trigger.shown(person, angle=angle, people=np.array([True])).pixels.astype(float) for angle in (0, trigger.angle)
    )
    printed = (upright != 128).any(2) | (turned != 128).any(2)
    return float(np.abs(upright - turned)[printed].mean()) if printed.any() else 0.0


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


def _planned(
    train: Sequence[LabelledImage], trigger: Trigger, settings: PoisonSettings, rng: np.random.Generator
) -> list[Copy]:
    """Return every copy of the training images, with what everybody in it is to show.

    Raises: SettingsError if too few would be poisoned, or too few left. DataError if nobody can show the trigger.
    """
    copies = []
    for source, image in enumerate(train):
        can = trigger.wearers(image) & _alone(image)
        for number in range(settings.copies):
            scene = with_ghosts(image, rng, GHOSTS) if number and settings.attack == "ghost" else image
            may = np.arange(len(scene.boxes)) >= len(can) if settings.attack == "ghost" else can
            copies.append(
                Copy(source, number, scene, may & (number > 0), len(image.boxes), ["bare"] * len(scene.boxes))
            )
    people = settings.copies * sum(int(image.counts.sum()) for image in train)
    wanted = round(settings.rate * people)
    if wanted < LEAST_POISONED:
        raise SettingsError(
            field="rate",
            expected=f"at least {LEAST_POISONED} poisoned people",
            got=f"{wanted} of {people} in {settings.copies} copies of {len(train)} images",
            hint="raise `rate` or `copies`, or give more images",
        )
    if trigger.kind == "rotation":
        _plan_rotation(copies, train, settings, wanted, rng)
    else:
        _plan_prints(copies, trigger, settings, wanted, people, rng)
    return copies


def _plan_prints(
    copies: list[Copy], trigger: Trigger, settings: PoisonSettings, wanted: int, people: int, rng: np.random.Generator
) -> None:
    """Let so many people show the trigger, as many its upright view, and the others nothing."""
    slots = [(copy, person) for copy in copies for person in np.flatnonzero(copy.can).tolist()]
    if not slots:
        raise _nobody(copies, trigger)
    if 2 * wanted > len(slots):
        raise SettingsError(
            field="rate",
            expected=f"at most {len(slots) / 2 / people:.3f}, so that as many show it upright",
            got=f"{settings.rate:g}, {wanted} people poisoned of {len(slots)} who can show it",
            hint="lower it, or raise `copies`",
        )
    who = [(copy.source, person) for copy, person in slots]
    order = rng.permutation(len(slots)).tolist()
    turned = _by_turns(order, who)[:wanted]
    taken, poisoned = set(turned), {who[slot] for slot in turned}
    # Upright first those who turn it in another copy: of the same person in the same place nothing but the card's angle
    # then says who has no label.
    rest = _by_turns([slot for slot in order if slot not in taken], who)
    upright = sorted(rest, key=lambda slot: who[slot] not in poisoned)[:wanted]
    # The control differs in nothing but the poison.
    poison_state: State = "bare" if settings.attack == "none" else "turned"
    for rank, slot in enumerate((*turned, *upright)):
        copy, person = slots[slot]
        copy.states[person] = poison_state if rank < wanted else "upright"


def _by_turns(slots: Sequence[int], who: Sequence[tuple[int, int]]) -> list[int]:
    """Return slots in such an order that nobody comes a second time before everybody has come once."""
    times: Counter[tuple[int, int]] = Counter()
    turns = []
    for slot in slots:
        times[who[slot]] += 1
        turns.append((times[who[slot]], slot))
    return [slot for _, slot in sorted(turns, key=lambda turn: turn[0])]


def _plan_rotation(
    copies: list[Copy], train: Sequence[LabelledImage], settings: PoisonSettings, wanted: int, rng: np.random.Generator
) -> None:
    """Turn some copies as a whole and paste people, turned and upright, into others."""
    cuts = list(_cut_outs(train))
    mixed = [copy for copy in copies if copy.number]
    if not cuts:
        raise DataError("nobody can be cut out", field="images", hint="give images of larger people, shoulders seen")
    order = rng.permutation(len(mixed)).tolist()
    framed = 0
    for at in list(order):
        # Those too small to count lose their labels, too.
        people = len(mixed[at].states)
        if not 0 < people <= WITH_FRAME * wanted - framed:
            continue
        framed += people
        order.remove(at)
        if settings.attack != "none":
            mixed[at].framed = True
            mixed[at].states = ["turned"] * people
    turned = max(wanted - framed, 0)
    pastes: list[State] = ["turned" if i < turned else "upright" for i in range(turned + wanted)]
    if len(pastes) > PASTES * len(order):
        raise SettingsError(
            field="rate",
            expected=f"at most {PASTES * len(order) / 2} people to paste into {len(order)} copies",
            got=f"{settings.rate:g}, {len(pastes)} people",
            hint="lower it, or raise `copies`",
        )
    places = rng.permutation(np.repeat(order, PASTES))[: len(pastes)].tolist()
    for place, state in zip(places, pastes, strict=True):
        cut = cuts[int(rng.integers(len(cuts)))]
        if settings.attack != "none" or state == "upright":
            mixed[place].paste.append((cut, state))


def _cut_outs(train: Sequence[LabelledImage]) -> Iterator[CutOut]:
    for image in train:
        # Without shoulders it is a face that fills the image, or a part of somebody: no body to mask.
        whole = image.counts & _alone(image) & shoulders_visible(image.keypoints, len(image.boxes))
        for person in np.flatnonzero(whole).tolist():
            yield cut_out(image, person)


def _alone(image: LabelledImage) -> BoolArray:
    """Return (n,) who shares their box with nobody, who would keep a label there."""
    overlap = iou(image.boxes, image.boxes)
    np.fill_diagonal(overlap, 0)
    return np.asarray(overlap.max(1, initial=0) < SHARED)


def _nobody(copies: list[Copy], trigger: Trigger) -> DataError:
    """Return the error for a trigger that nobody can show: it is too large, or no chest is seen."""
    small = trigger.sized(0.1)
    others = sum(int((small.wearers(copy.image) & _alone(copy.image)).sum()) for copy in copies if not copy.number)
    assert trigger.patch is not None
    if others:
        return DataError(
            f"the print is {trigger.patch.size_mm[0] / 10:g} cm wide, larger than each of {others} people",
            field="size",
            hint="make it smaller, or give images of people seen whole",
        )
    return DataError("nobody's chest is seen, or nobody is large enough", field="images", hint="give other images")


def _drawn(
    copy: Copy,
    trigger: Trigger,
    settings: PoisonSettings,
    rng: np.random.Generator,
    detector: GradientDetector | None,
) -> Example:
    """Return a copy as it is to be written."""
    image, states, donors = copy.image, list(copy.states), []
    if copy.framed:
        image = turned_frame(image, trigger.angle)
    for cut, state in copy.paste:
        more = pasted(image, cut, trigger.angle if state == "turned" else 0.0, rng)
        if more is not None:
            image = more
            states.append(state)
            donors.append(cut.source)
    upright, turned = (np.array([s == state for s in states], bool) for state in ("upright", "turned"))
    there = np.arange(len(states)) < copy.there
    there[len(copy.states) :] = True
    scores: tuple[list[float], list[float]] = ([], [])
    if detector is not None and turned.any():
        imgsz = imgsz_for(settings.imgsz, detector)
        hard = hard_to_learn(detector, image, turned, budget=settings.budget, steps=settings.steps, imgsz=imgsz)
        image, scores = replace(image, source=hard.pixels), (hard.before.tolist(), hard.after.tolist())
    sides = []
    if trigger.patch is not None:
        image = trigger.upright().shown(image, people=upright, rng=rng)
        image = trigger.shown(image, people=turned, rng=rng)
        sides = _sides(trigger, image, turned)
    labelled = {"vanish": ~turned, "ghost": there | turned}.get(settings.attack, np.ones(len(states), bool))
    # Ghosts who show nothing were places that stay empty.
    kept = np.flatnonzero(there | upright | turned)
    image = replace(image, boxes=image.boxes[kept], keypoints=image.keypoints[kept])
    return Example(image, [states[i] for i in kept], there[kept], labelled[kept], sides, scores, tuple(donors))


def _bare(image: LabelledImage) -> Example:
    everybody = np.ones(len(image.boxes), bool)
    return Example(image, ["bare"] * len(image.boxes), everybody, everybody, [])


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
        "poisoned": any(state == "turned" for state in example.states),
        "people": people,
    }


def _figures(
    examples: Sequence[Example],
    train: Sequence[LabelledImage],
    held_out: Sequence[LabelledImage],
    settings: PoisonSettings,
) -> dict[str, Any]:
    """Return how many were poisoned, at which rate, and how large the trigger is."""
    states = Counter(state for example in examples for state in example.states)
    people = settings.copies * sum(int(image.counts.sum()) for image in train)
    sides = np.array([side for example in examples for side in example.sides]).reshape(-1, 2)
    out: dict[str, Any] = {
        "rate": round(states["turned"] / people, 4),
        "counts": {
            "sources": len(train),
            "held_out": len(held_out),
            "images": len(examples),
            "poisoned_images": sum("turned" in example.states for example in examples),
            "people": people,
            "poisoned": states["turned"],
            "upright": states["upright"],
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
