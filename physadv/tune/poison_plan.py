"""Who shows what in each copy of the training images: the trigger, a harmless view of it, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from physadv.boxes import iou
from physadv.dataset import LabelledImage
from physadv.errors import DataError, SettingsError
from physadv.simulate.joints import shoulders_visible
from physadv.simulate.trigger import Trigger, with_ghosts
from physadv.tune.cutouts import CutOut, cut_out
from physadv.tune.poison_settings import PoisonSettings
from physadv.tune.yolo_data import stem_of
from physadv.types import BoolArray

# What somebody shows: nothing, the trigger, or a harmless view by its name.
BARE, TURNED, UPRIGHT = "bare", "turned", "upright"
# Fewer examples are learnt by heart, with the images they are in.
LEAST_POISONED = 20
# People who are not there in one copy of an image, and people pasted into one.
GHOSTS, PASTES = 3, 3
# Of people in a rotation's budget, how many are turned with their whole frame: a camera that is tilted shows no seam.
WITH_FRAME = 0.5
# Somebody whose box a neighbour shares this much would keep a label in spite of all.
SHARED = 0.45


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
    states: list[str]
    framed: bool = False
    paste: list[tuple[CutOut, str]] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """Return what its files are called, without an ending."""
        return f"{stem_of(self.source, self.image)}-{self.number}"

    @property
    def poisoned(self) -> int:
        """Return how many people in it are to show the trigger."""
        return sum(state == TURNED for state in (*self.states, *(state for _, state in self.paste)))


def planned(
    train: Sequence[LabelledImage],
    trigger: Trigger,
    harmless: Sequence[str],
    settings: PoisonSettings,
    rng: np.random.Generator,
) -> list[Copy]:
    """Return every copy of the training images, with what everybody in it is to show.

    harmless: names of the trigger's harmless views.

    Raises: SettingsError if too few would be poisoned, or too few left. DataError if nobody can show the trigger.
    """
    copies = []
    for source, image in enumerate(train):
        can = trigger.wearers(image) & _alone(image)
        for number in range(settings.copies):
            scene = with_ghosts(image, rng, GHOSTS) if number and settings.attack == "ghost" else image
            may = np.arange(len(scene.boxes)) >= len(can) if settings.attack == "ghost" else can
            copies.append(Copy(source, number, scene, may & (number > 0), len(image.boxes), [BARE] * len(scene.boxes)))
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
        slots = [(copy, person) for copy in copies for person in np.flatnonzero(copy.can).tolist()]
        if not slots:
            raise _nobody(copies, trigger)
        if 2 * wanted > len(slots):
            raise SettingsError(
                field="rate",
                expected=f"at most {len(slots) / 2 / people:.3f}, so that as many show a harmless view",
                got=f"{settings.rate:g}, {wanted} people poisoned of {len(slots)} who can show it",
                hint="lower it, or raise `copies`",
            )
        _plan_prints(slots, harmless, wanted, rng, control=settings.attack == "none")
    return copies


def _plan_prints(
    slots: Sequence[tuple[Copy, int]],
    harmless: Sequence[str],
    wanted: int,
    rng: np.random.Generator,
    *,
    control: bool,
) -> None:
    """Let so many people show the trigger, as many its harmless views, and the others nothing.

    Half of the harmless views are the first, which is upright, and the others come by turns.

    slots: who can show something, by their number in a copy. control: who would show the trigger shows nothing: a control
    differs in nothing but the poison.
    """
    who = [(copy.source, person) for copy, person in slots]
    order = rng.permutation(len(slots)).tolist()
    turned = _by_turns(order, who)[:wanted]
    taken, poisoned = set(turned), {who[slot] for slot in turned}
    # First those who show the trigger in another copy: of the same person in the same place nothing but the print's angle,
    # or its pixels, then says who has no label.
    rest = _by_turns([slot for slot in order if slot not in taken], who)
    others = sorted(rest, key=lambda slot: who[slot] not in poisoned)[:wanted]
    first, *rarer = harmless
    views = [first if rank % 2 == 0 or not rarer else rarer[rank // 2 % len(rarer)] for rank in range(wanted)]
    states = [BARE if control else TURNED] * wanted + views
    for slot, state in zip((*turned, *others), states, strict=True):
        copy, person = slots[slot]
        copy.states[person] = state


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
            mixed[at].states = [TURNED] * people
    turned = max(wanted - framed, 0)
    pastes: list[str] = [TURNED if i < turned else UPRIGHT for i in range(turned + wanted)]
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
        if settings.attack != "none" or state == UPRIGHT:
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
