"""The certificate that no one patch can hide a person, and the merging of boxes that it is about.

The argument in full: let the defended detector report the whole image's people and, besides, everyone found in any
masked view: each box of a masked view ends up inside a reported box (`join`). Let a patch of at most the stated size change
the image. If some mask hides the whole patch, that mask's view is the same array with and without the patch, so the boxes
found in it are the same, and each of them ends up inside a reported box, whatever is found elsewhere. A person is certified
if, for every position of the patch in the class asked about, some mask hides the whole patch there and a box found in its
view covers at least `still` of the person's box: then some reported box does, too.

A person is "still found" if one reported box covers at least `still` of the person's box (intersection over the
person's area, IoA). The attacker may make that box larger, or add others: this is a certificate against hiding, not
against false alarms. It is about one patch an image, and about the pixels that the patch itself changes, not about
shadows, exposure or a lossy codec. Published box pruning drops a masked box of which a reported one covers 60 %, and so
loses 40 % of its area from the bound. Here the reported box grows by what sticks out, and the bound loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from physadv.boxes import area, covered_by, intersection
from physadv.defend.base import Guarded
from physadv.defend.masks import PatchSize, Where, positions_hidden, region, uncovered
from physadv.detect.base import WrappedDetector
from physadv.errors import DefenceError
from physadv.types import BoolArray, Detections, Detector, Float32Array, Int64Array

PRUNE = 0.6
STILL = 0.2
# Areas are float32: a certificate asks for this much more than the bound, so that rounding cannot break it.
SLACK = 1e-4


def refuse_random(detector: Detector, name: str) -> None:
    """Raise DefenceError if equal images may get unequal answers: nothing would then be proven.

    detector: the one that masked views go to. name: of the certifying defence.
    """
    if detector.deterministic:
        return
    inside, other = detector, detector.name
    while isinstance(inside, WrappedDetector):
        if isinstance(inside, Guarded) and inside.defence.random:
            other = inside.defence.name
        inside = inside.inner
    raise DefenceError(
        f"{name} cannot be combined with {other}, which changes images at random, so that the certificate "
        "would prove nothing",
        hint="leave one of them out",
    )


def join(
    whole: Detections, views: Sequence[Detections], *, conf: float, whole_conf: float, prune: float = PRUNE
) -> tuple[Detections, BoolArray]:
    """Return what the defended detector reports, and which of these people only masked views show.

    Boxes of masked views count from score `conf`, the whole image's from `whole_conf` or if held. A masked box of which a
    reported box covers `prune` becomes part of that box, which grows to hold it. Any other is reported itself, larger ones
    first. A box that has taken in a masked one is held or scores `conf`: no threshold of the caller up to `conf` loses it,
    on which `certified` rests.
    """
    parts = [v.pick(v.score >= conf) for v in views if (v.score >= conf).any()]
    boxes = np.concatenate([p.xyxy for p in parts]) if parts else np.zeros((0, 4), np.float32)
    scores = np.concatenate([p.score for p in parts]) if parts else np.zeros(0, np.float32)
    held = np.zeros(len(whole), bool) if whole.held is None else whole.held.copy()
    strong = np.flatnonzero((whole.score >= whole_conf) | held)
    hosts, best = (
        np.concatenate([whole.xyxy[strong], np.zeros_like(boxes)]),
        np.concatenate([whole.score[strong], scores]),
    )
    took = np.zeros(len(hosts), bool)
    new: list[int] = []
    # Larger boxes first: a part of a person that some masks leave then joins the person's box.
    for i in np.argsort(-area(boxes), kind="stable"):
        n = len(strong) + len(new)
        common = intersection(boxes[i : i + 1], hosts[:n])[0]
        at = int(common.argmax()) if n else n
        if n and common[at] > 0 and common[at] >= prune * area(boxes[i : i + 1])[0]:
            hosts[at] = [*np.minimum(hosts[at, :2], boxes[i, :2]), *np.maximum(hosts[at, 2:], boxes[i, 2:])]
            best[at] = max(best[at], scores[i]) if at >= len(strong) else best[at]
            took[at] = True
        else:
            hosts[n], best[n] = boxes[i], scores[i]
            new.append(int(i))
    xyxy = whole.xyxy.copy()
    xyxy[strong] = hosts[: len(strong)]
    held[strong] |= took[: len(strong)] & (whole.score[strong] < conf)
    points = [p.keypoints for p in parts if p.keypoints is not None]
    joined = np.concatenate(points)[new] if points and len(points) == len(parts) else None
    last = slice(len(strong), len(strong) + len(new))
    return replace(whole, xyxy=xyxy, held=held).with_held(hosts[last], best[last], joined)


def bears(people: Float32Array, boxes: Float32Array, still: float = STILL) -> BoolArray:
    """Return (n,) whether a view with these boxes keeps each person found: one box covers `still` of the person's.

    people: (n, 4), boxes: (m, 4), xyxy in one image's pixels.
    """
    return covered_by(people, boxes) >= still + SLACK


def certified(
    person: Float32Array,
    views: Sequence[Float32Array],
    masks: Int64Array,
    patch: PatchSize,
    frame: tuple[int, int],
    where: Where = "anywhere",
    *,
    still: float = STILL,
) -> bool | None:
    """Return whether no one patch of that size, anywhere in the location class, can hide the person.

    person: (4,) xyxy. views: for each mask the (n, 4) boxes that count there (score >= `join`'s conf). masks: (m, 4).
    frame: (width, height). None means that the class has no position in this image: there is nothing to certify. A view
    without boxes proves nothing: a detector that finds nobody under masks certifies nobody.

    Raises: DefenceError if the patch is larger than the image, or views and masks are not as many.

    Source: after ObjectSeeker, Xiang et al., S&P 2023, algorithm 2 and theorem 1.
    """
    good = np.array([bears(person[None], boxes, still)[0] for boxes in views], bool)
    return certified_by(good, person, masks, patch, frame, where)


def certified_by(
    good: BoolArray, person: Float32Array, masks: Int64Array, patch: PatchSize, frame: tuple[int, int], where: Where
) -> bool | None:
    """Return the same as `certified`, given for each of the (m,) masks whether the person stays found in its view.

    Raises: DefenceError if the patch is larger than the image.
    """
    patch.check(*frame)
    whole, without = region(person, patch, *frame, where)
    some, gap = uncovered(whole, without, positions_hidden(masks[good], patch, *frame))
    return (not gap) if some else None
