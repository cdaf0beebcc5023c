"""What should make a reader hesitate, said beside the number it concerns; `doubt_codes` lists every kind of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path

import numpy as np
import numpy.typing as npt

from physadv.arrays import listed
from physadv.boxes import iou
from physadv.controls import CONTROLS
from physadv.dataset import Dataset
from physadv.detect.matching import AP_CONF, FOUND_CONF
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.evaluate.cell import Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.own import not_own, other_framing
from physadv.lineage import Seen, seen_by
from physadv.patch import Patch
from physadv.simulate.garment import wears_trousers
from physadv.simulate.placement import Placement
from physadv.types import Detections, Detector

FEW_PEOPLE = 30
# A pattern that is not better than a control by more than this has shown nothing.
MARGIN = 0.02
WEAK_RECALL = 0.5
CLEAN_LOSS = 0.05
UNKNOWN = Doubt(
    "training-unknown", "its record does not say what it was trained on: some of these people may be among them"
)
UNKNOWN_START = Doubt(
    "training-unknown",
    "a pattern it began from does not say what it was trained on: some of these people may be among them",
)
UNATTACKED = Doubt(
    "not-attacked-adaptively", "this defence was never attacked adaptively: an attacker who knows it may do better"
)
UNKNOWN_ORDER = Doubt(
    "order-unknown",
    "the order in which the arms were recorded is not known: these are no recordings by `physadv live`",
)
# Of random orders fewer than this are as regular; random orders that are drawn to know it; blocks from which on an arm that
# is always first is doubted.
BY_CHANCE, ORDERS, FEW_BLOCKS = 0.005, 2000, 3
# A defence answers with the bare detector's boxes, and with scores that are higher by this on the median: in truth its
# threshold is lower. Boxes that overlap as much are one; fewer pairs of boxes say nothing.
RAISED, SAME_BOX, SAME_BOXES = 0.1, 0.8, 5
# A threshold of a detector's own above this hides from AP what it counts.
LOWEST = 0.05
# Share of lost or repeated frames that is worth a doubt.
MISSING = 0.02


def of_data(data: Dataset) -> list[Doubt]:
    """Return doubts about the images, which hold for every cell."""
    out = []
    if data.n_people < FEW_PEOPLE:
        out.append(Doubt("few-people", f"only {data.n_people} people: the interval is wide"))
    if len(data.images) == 1:
        out.append(Doubt("one-image", "only one image: there is nothing to draw an interval from"))
    if data.own_labels:
        text = f"the clean {DEFAULT_DETECTOR} labelled the people, nobody by hand: who it never finds is not counted"
        out.append(Doubt("own-labels", text))
    if data.skipped:
        out.append(Doubt("files-left-out", f"{len(data.skipped)} images could not be read and are left out"))
    return out + of_unworn(data)


def of_unworn(data: Dataset) -> list[Doubt]:
    """Return the doubt that people who show no chest are left out of the figures, with the first of their images."""
    if not data.unworn:
        return []
    unworn, some = sum(data.unworn.values()), listed(list(data.unworn), most=3)
    text = f"{unworn} of {data.n_people + unworn} people show no chest: they wear nothing and do not count ({some})"
    return [Doubt("no-chest", text)]


def of_patch(patch: Patch, data: Dataset) -> list[Doubt]:
    """Return doubts about a pattern and the images it is scored on."""
    trained = seen_by(patch)
    if trained is None:
        return [UNKNOWN]
    out = [] if trained.complete else [UNKNOWN_START]
    shared = [s.name for s in data.images if trained.saw(s.name, s.sha256)]
    if shared:
        out.append(Doubt("trained-on", f"{len(shared)} of {len(data.images)} images were trained on ({_some(shared)})"))
    alike = (
        [s.name for s in data.images if s.name not in shared and trained.resembles(s.pixels)] if trained.looks else []
    )
    if alike:
        text = f"{len(alike)} of {len(data.images)} images look like ones that were trained on ({_some(alike)})"
        out.append(Doubt("near-duplicates", text))
    return out


def of_print(patch: Patch) -> list[Doubt]:
    """Return doubts about what is drawn on people: that it is not the saved pattern.

    A print is eight bits a channel. Figures of the floats of a training, or of a file that was changed after it was saved,
    are those of another pattern.
    """
    out = []
    drawn = patch.tensors()[0].numpy().transpose(1, 2, 0) * 255
    apart = float(np.abs(drawn - patch.pixels).max()) if drawn.shape == patch.pixels.shape else float("inf")
    # Eight bits in float32 are exact to a thousandth.
    if apart > 0.01:
        text = f"what is drawn is not the saved pattern: its colours differ by up to {apart:.2f} of 255"
        out.append(Doubt("float-patch", text))
    saved = patch.record.get("saved_sha256")
    if isinstance(saved, str) and saved != patch.sha256:
        out.append(
            Doubt(
                "saved-differs", "its image was changed after it was saved: its pixels are not those it was saved with"
            )
        )
    return out


def of_detector(
    name: str, sha256: str | None, patches: Sequence[Patch], changed: Mapping[str, str], *, known: bool = True
) -> list[Doubt]:
    """Return doubts about a detector: that it is another than its name, or than a pattern's record, says.

    sha256: of its weights. changed: by code, what `detect.changed` found of it. known: whether a change of its weights
    would be seen.
    """
    out = [Doubt(code, text) for code, text in changed.items()]
    if not known:
        text = "the plug-in has no fingerprint(): it is known by its code alone, and other weights would go unseen"
        out.append(Doubt("detector-unknown", text))
    others = [
        patch.name
        for patch in patches
        for made in patch.record.get("detectors") or ()
        if isinstance(made, dict) and made.get("name") == name and sha256 and made.get("sha256") != sha256
    ]
    if others:
        text = f"its weights are not those of the {name} that {listed(others)} was trained on"
        out.append(Doubt("detector-changed", text))
    return out


def of_making(record: Mapping[str, object], data: Dataset) -> list[Doubt]:
    """Return doubts about a detector of the lab that was trained on some of the images. record: of its run, or {}."""
    sources = record.get("sources")
    known = set(map(str, sources)) if isinstance(sources, list) else set()
    shared = [image.name for image in data.images if image.sha256 in known]
    if not shared:
        return []
    text = f"the detector was trained on {len(shared)} of {len(data.images)} images ({_some(shared)})"
    return [Doubt("trained-on", text)]


def of_lowest(detector: Detector) -> list[Doubt]:
    """Return doubts about a detector that keeps back boxes which AP counts."""
    if detector.min_conf <= LOWEST:
        return []
    text = f"the detector answers nothing below {detector.min_conf:g}: AP counts boxes down to {AP_CONF:g}"
    return [Doubt("threshold-differs", text)]


def of_threshold(
    bare: Detector, guarded: Detector, before: Sequence[Detections], after: Sequence[Detections]
) -> list[Doubt]:
    """Return doubts about the threshold behind a defence: in truth it is not that of the bare detector.

    before, after: what each says of the same clean images.
    """
    out = []
    if guarded.min_conf != bare.min_conf:
        text = f"the defence looks at scores from {guarded.min_conf:g}, the bare detector from {bare.min_conf:g}"
        out.append(Doubt("threshold-differs", text))
    held = sum(int((a.held & (a.score < FOUND_CONF)).sum()) for a in after if a.held is not None)
    if held:
        text = f"the defence reports {held} boxes below the threshold of {FOUND_CONF:g} on clean images"
        out.append(Doubt("threshold-differs", text))
    raised = np.concatenate([np.zeros(0), *(_raised(one, other) for one, other in zip(before, after, strict=True))])
    if len(raised) >= SAME_BOXES and (higher := float(np.median(raised))) > RAISED:
        text = f"the defence scores the bare detector's own boxes {higher:.2f} higher: its threshold is lower in truth"
        out.append(Doubt("threshold-differs", text))
    return out


def _raised(before: Detections, after: Detections) -> npt.NDArray[np.float64]:
    """Return how much higher a defence scores each box that the bare detector has too."""
    if not len(before) or not len(after):
        return np.zeros(0)
    overlap = iou(before.xyxy, after.xyxy)
    same = overlap.max(1) >= SAME_BOX
    return np.asarray(after.score[overlap.argmax(1)] - before.score, np.float64)[same]


def of_frames(total: int, lost: int, repeated: int = 0) -> list[Doubt]:
    """Return doubts about frames that a recording lacks, or that stand still."""
    return [
        Doubt(code, f"{count} frames are {what}: left out, whoever was hidden in them")
        for code, count, what in (("frames-lost", lost, "lost"), ("frames-repeated", repeated, "repeated"))
        if count > MISSING * max(total, 1)
    ]


def of_order(blocks: Sequence[Sequence[str]]) -> list[Doubt]:
    """Return doubts about the order of the arms: within each block, in time, it should be drawn at random.

    blocks: of each block the arms in the order in which they came. Doubted is one order for all blocks, one arm that is
    always first (whatever changes meanwhile stands for it), and arms that are spread over places, or behind each other, as
    unevenly (sum of squared counts) as `BY_CHANCE` of random orders are.
    """
    orders = {tuple(block) for block in blocks}
    arms = sorted({arm for block in blocks for arm in block})
    if len(arms) < 2 or not blocks:
        return []
    if len(orders) == 1:
        said = "only once" if len(blocks) == 1 else "in every block"
        text = f"the arms came {said} in the order {', '.join(next(iter(orders)))}: not at random"
        return [Doubt("order-not-random", text)]
    places = Counter((place, arm) for block in blocks for place, arm in enumerate(block))
    behind = Counter(pair for block in blocks for pair in pairwise(block))
    chance = _regular(len(arms), [[arms.index(arm) for arm in block] for block in blocks])
    out = []
    always_first = len(blocks) >= FEW_BLOCKS and len({block[0] for block in blocks}) == 1
    if always_first or chance[0] < BY_CHANCE:
        (place, arm), count = places.most_common(1)[0]
        text = f"{arm} came in place {place + 1} of {count} of {len(blocks)} blocks: not in random order"
        out.append(Doubt("order-not-random", text))
    if chance[1] < BY_CHANCE:
        (one, other), count = behind.most_common(1)[0]
        text = f"{other} came right behind {one} in {count} of {len(blocks)} blocks: not in random order"
        out.append(Doubt("order-not-random", text))
    return out


def _regular(arms: int, blocks: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return the shares of random orders in which arms are as unevenly spread over places, and behind each other."""
    rng = np.random.default_rng(0)
    # The first is how it was.
    each = np.arange(ORDERS + 1)
    place = np.zeros((len(each), max(map(len, blocks)), arms))
    behind = np.zeros((len(each), arms, arms))
    for block in blocks:
        order = rng.permuted(np.tile(block, (len(each), 1)), axis=1)
        order[0] = block
        for i in range(len(block)):
            place[each, i, order[:, i]] += 1
            if i:
                behind[each, order[:, i - 1], order[:, i]] += 1
    uneven = [(counts**2).sum((1, 2)) for counts in (place, behind)]
    return float((uneven[0] >= uneven[0][0]).mean()), float((uneven[1] >= uneven[1][0]).mean())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def of_placement(patch: Patch, placement: Placement, imgsz: int, share: float) -> list[Doubt]:
    """Return doubts about how a pattern is worn: not as it was made to be, or by people of another framing.

    share: the median share of an image that its largest person has.
    """
    found = {"worn-otherwise": not_own(patch, placement, imgsz), "other-framing": other_framing(patch, share)}
    return [Doubt(code, text) for code, text in found.items() if text]


def of_joints(placement: Placement, data: Dataset) -> list[Doubt]:
    """Return doubts about a pattern that is worn by the joints, or as trousers, by people without these in sight."""
    worn = [(image.targets, image.keypoints[image.counts]) for image in data.images if image.counts.any()]
    people = sum(len(boxes) for boxes, _ in worn)
    out = []
    if placement.target != "poster" and people and not any(placement.by_joints(*one).any() for one in worn):
        out.append(Doubt("no-joints", "nobody's joints are known: it is worn by the boxes"))
    if placement.target == "outfit":
        legs = sum(int(wears_trousers(*one).sum()) for one in worn)
        if legs < people:
            text = f"{legs} of {people} people are seen below the hips: the others wear the shirt alone"
            out.append(Doubt("part-worn", text))
    return out


def of_video(patch: Patch, path: Path) -> list[Doubt]:
    """Return doubts about a pattern and the video it is scored on, which a split lists by stretches, as `film.mp4#3`."""
    trained = seen_by(patch)
    if trained is None:
        return [UNKNOWN]
    out = [] if trained.complete else [UNKNOWN_START]
    shared = sorted(name for name in trained.names if name.rpartition("#")[0] == path.name)
    if shared:
        text = f"it was trained on {len(shared)} stretches of this video ({_some(shared)})"
        out.append(Doubt("trained-on", text))
    return out


def trained_on(patches: Sequence[Patch]) -> Seen:
    """Return the images that any of some patterns was trained on, as far as their records say."""
    return reduce(or_, (seen for p in patches if (seen := seen_by(p)) is not None), Seen())


def compare(among: Sequence[Cell], cells: Sequence[Cell]) -> None:
    """Add to each of some patterns' cells the doubts that come from its controls and from the clean image.

    cells: all of the evaluation, in which controls and clean images are looked up.
    """
    for cell in among:
        if cell.condition == "none":
            _clean(cell, cells)
        elif cell.condition == "patch":
            _controls(cell, cells)


def _clean(cell: Cell, cells: Sequence[Cell]) -> None:
    recall = cell["recall25"]
    if cell.defence == "none":
        if recall is not None and recall < WEAK_RECALL:
            cell.doubts.append(Doubt("weak-detector", f"the clean detector finds only {recall:.0%} of the people"))
        return
    base = _find(cells, cell, condition="none", defence="none")
    if base is not None and (base["recall25"] or 0) - (recall or 0) > CLEAN_LOSS:
        text = f"the defence loses clean people: recall {base['recall25']:.2f} to {recall or 0:.2f}"
        cell.doubts.append(Doubt("clean-recall-lost", text))


def _controls(cell: Cell, cells: Sequence[Cell]) -> None:
    ap = cell["ap50"]
    if ap is None:
        return
    for kind in CONTROLS:
        other = _find(cells, cell, condition=kind, defence=cell.defence)
        if other is not None and other["ap50"] is not None and other["ap50"] <= ap + MARGIN:
            # The grid's figures stand beside each other in a table; sixteen sentences would say no more than one.
            figures = "" if cell.transform else f" (AP {other['ap50']:.2f} against {ap:.2f})"
            cell.doubts.append(Doubt("control-as-good", f"a {kind} square does as well{figures}"))
    clean = _find(cells, cell, condition="none", defence=cell.defence)
    if clean is not None and clean["ap50"] is not None and ap >= clean["ap50"]:
        cell.doubts.append(Doubt("no-effect", "no effect: AP is not below that of the clean images"))


def _find(cells: Sequence[Cell], like: Cell, *, condition: str, defence: str) -> Cell | None:
    """Return the cell that differs from `like` in condition and defence alone; a control may stand for several patterns."""
    for cell in cells:
        same = (cell.detector, cell.imgsz, cell.transform) == (like.detector, like.imgsz, like.transform)
        whose = condition == "none" or like.patch in cell.stands_for
        if same and whose and cell.condition == condition and cell.defence == defence:
            return cell
    return None


def unattacked(cells: Sequence[Cell]) -> None:
    """Add the doubt that a defence which nobody who knows it has attacked may be worth less than it seems."""
    attacked = {(c.detector, c.defence) for c in cells if c.attack == "adaptive"}
    for cell in cells:
        reported = cell.defence != "none" and cell.condition in ("none", "patch")
        if reported and (cell.detector, cell.defence) not in attacked:
            cell.doubts.append(UNATTACKED)
