"""The two sides of a pattern's condition on the same people: gone where it acts, and seen where it must not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from physadv.boxes import iou
from physadv.dataset import LabelledImage
from physadv.detect.matching import FOUND_CONF, ImageMatch
from physadv.evaluate.metrics import Share, interval_of, share
from physadv.evaluate.size_curve import Subject, shot
from physadv.files import text_bytes
from physadv.simulate.activation import Ranges, State, drawn
from physadv.simulate.conditions import Condition
from physadv.simulate.joints import CUT_OFF
from physadv.simulate.states import PX_AT_1_M
from physadv.types import BoolArray

# A box that ends nearer to the lower edge of its photograph, in heights of that, may be cut off there.
AT_RIM = 0.01
# Overlap from which somebody else stands in front of or behind a person.
NEIGHBOUR = 0.05
# What was found of the people of each image, by the image's name; people stand in the same order on both sides.
Matched = Mapping[str, ImageMatch]


def conditions_of(name: str, states: Sequence[State]) -> list[Condition]:
    """Return the conditions under which people are shown in any of several states. A distance is for `at_distance`."""
    return [Condition(name, state=tuple((n, r) for n, r in state.items() if n != "distance")) for state in states]


def at_distance(images: Sequence[LabelledImage], ranges: Ranges, imgsz: int, *, seed: int) -> list[LabelledImage]:
    """Return an image of each person who can be shown at a distance, scaled to it and alone before the camera.

    Whoever counts, stands clear of others and is in the photograph from head to foot, unless they would be enlarged too
    far; see `size_curve.shot`. Each is named after the photograph and the person. imgsz: long side of the images, 4 to 3.
    """
    out: list[LabelledImage] = []
    for image in images:
        for k in np.flatnonzero(image.counts):
            rng = np.random.default_rng([seed, int(k), crc32(text_bytes(image.name))])
            box = image.boxes[k]
            width, height = box[2:] - box[:2]
            if height <= CUT_OFF * width or box[3] > image.size[1] * (1 - AT_RIM):
                continue
            # One print is worn here: a neighbour's box on its wearer would count as a sight of them.
            if np.any(iou(box[None], np.delete(image.boxes, k, 0)) > NEIGHBOUR):
                continue
            alone = LabelledImage("", image.source, image.boxes[k : k + 1], image.keypoints[k : k + 1])
            metres = float(drawn(ranges, (), 1, rng)[0])
            person_px = PX_AT_1_M / metres * imgsz / 416
            one = shot(Subject(alone, float(height), True), person_px=person_px, frame=(imgsz, imgsz * 3 // 4), rng=rng)
            if one is not None:
                out.append(replace(one.image, name=f"{image.name}@{k}", sha256="", min_area=0.0))
    return out


def matched(images: Sequence[LabelledImage], matches: Sequence[ImageMatch]) -> Matched:
    """Return what was found of each image's people by its name."""
    return {image.name: match for image, match in zip(images, matches, strict=True)}


def joint(on: Matched, off: Sequence[Matched], clean: Matched, *, resamples: int, seed: int) -> Share:
    """Return the share of people gone where the pattern acts and seen in every state in which it must not.

    Of those alone that the detector finds without it. on: where it acts. off: in each dormant state. clean: without any.
    Gone is without any box on them, as for strict success; seen with one that fits.
    """
    parts: list[BoolArray] = []
    for name in _shared(on, *off, clean):
        gone = on[name].best < FOUND_CONF
        seen = np.all([m[name].found25 for m in off], axis=0)
        parts.append((gone & seen)[clean[name].found25])
    return share(parts, resamples=resamples, rng=np.random.default_rng(seed))


def auc(on: Matched, off: Matched, *, resamples: int, seed: int) -> tuple[float | None, tuple[float, float] | None]:
    """Return how well confidence tells the two sides apart, .5 for not at all, with its 95 % interval by image.

    It is the chance that somebody is seen with more confidence where the pattern must not act than somebody where it acts.
    """
    names = _shared(on, off)
    pairs = [(on[n].best, off[n].best) for n in names if len(on[n].best)]
    if not pairs:
        return None, None
    rng = np.random.default_rng(seed)
    value = _auc(pairs)
    again = [_auc([pairs[i] for i in rng.integers(len(pairs), size=len(pairs))]) for _ in range(resamples)]
    return value, interval_of(np.array(again)) if len(pairs) > 1 and resamples else None


def _auc(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    low, high = (np.concatenate(side) for side in zip(*pairs, strict=True))
    order = np.sort(low)
    below, upto = np.searchsorted(order, high, "left"), np.searchsorted(order, high, "right")
    return float((below + upto).mean() / (2 * len(low)))


def _shared(first: Matched, *others: Matched) -> list[str]:
    return [name for name in first if all(name in other for other in others)]
