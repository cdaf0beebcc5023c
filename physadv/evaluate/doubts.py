"""What should make a reader hesitate, said beside the number it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path

from physadv.controls import CONTROLS
from physadv.dataset import Dataset
from physadv.evaluate.cell import Cell
from physadv.evaluate.own import not_own, other_framing
from physadv.lineage import Seen, seen_by
from physadv.patch import Patch
from physadv.simulate.garment import wears_trousers
from physadv.simulate.placement import Placement

FEW_PEOPLE = 30
# A pattern that is not better than a control by more than this has shown nothing.
MARGIN = 0.02
WEAK_RECALL = 0.5
CLEAN_LOSS = 0.05
UNKNOWN = "its record does not say what it was trained on: some of these people may be among them"
UNKNOWN_START = "a pattern it began from does not say what it was trained on: some of these people may be among them"
UNATTACKED = "this defence was never attacked adaptively: an attacker who knows it may do better"


def of_data(data: Dataset) -> list[str]:
    """Return doubts about the images, which hold for every cell."""
    out = []
    if data.n_people < FEW_PEOPLE:
        out.append(f"only {data.n_people} people: the interval is wide")
    if len(data.images) == 1:
        out.append("only one image: there is nothing to draw an interval from")
    if data.own_labels:
        out.append("people were labelled by the detector itself: a person that it never finds is not counted")
    if data.skipped:
        out.append(f"{len(data.skipped)} images could not be read and are left out")
    return out


def of_patch(patch: Patch, data: Dataset) -> list[str]:
    """Return doubts about a pattern and the images it is scored on."""
    trained = seen_by(patch)
    if trained is None:
        return [UNKNOWN]
    out = [] if trained.complete else [UNKNOWN_START]
    shared = [s.name for s in data.images if trained.saw(s.name, s.sha256)]
    if shared:
        some = ", ".join(shared[:3])
        out.append(
            f"{len(shared)} of {len(data.images)} images were trained on ({some}{', ...' if len(shared) > 3 else ''})"
        )
    return out


def of_placement(patch: Patch, placement: Placement, imgsz: int, share: float) -> list[str]:
    """Return doubts about how a pattern is worn: not as it was made to be, or by people of another framing.

    share: the median share of an image that its largest person has.
    """
    return [d for d in (not_own(patch, placement, imgsz), other_framing(patch, share)) if d]


def of_joints(placement: Placement, data: Dataset) -> list[str]:
    """Return doubts about a pattern that is worn by the joints, or as trousers, by people without these in sight."""
    worn = [(image.targets, image.keypoints[image.counts]) for image in data.images if image.counts.any()]
    people = sum(len(boxes) for boxes, _ in worn)
    out = []
    if placement.target != "poster" and people and not any(placement.by_joints(*one).any() for one in worn):
        out.append("nobody's joints are known: it is worn by the boxes")
    if placement.target == "outfit":
        legs = sum(int(wears_trousers(*one).sum()) for one in worn)
        if legs < people:
            out.append(f"{legs} of {people} people are seen below the hips: the others wear the shirt alone")
    return out


def of_video(patch: Patch, path: Path) -> list[str]:
    """Return doubts about a pattern and the video it is scored on, which a split lists by stretches, as `film.mp4#3`."""
    trained = seen_by(patch)
    if trained is None:
        return [UNKNOWN]
    out = [] if trained.complete else [UNKNOWN_START]
    shared = sorted(name for name in trained.names if name.rpartition("#")[0] == path.name)
    if shared:
        some = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
        out.append(f"it was trained on {len(shared)} stretches of this video ({some})")
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
            cell.doubts.append(f"the clean detector finds only {recall:.0%} of the people")
        return
    base = _find(cells, cell, condition="none", defence="none")
    if base is not None and (base["recall25"] or 0) - (recall or 0) > CLEAN_LOSS:
        cell.doubts.append(f"the defence loses clean people: recall {base['recall25']:.2f} to {recall or 0:.2f}")


def _controls(cell: Cell, cells: Sequence[Cell]) -> None:
    ap = cell["ap50"]
    if ap is None:
        return
    for kind in CONTROLS:
        other = _find(cells, cell, condition=kind, defence=cell.defence)
        if other is not None and other["ap50"] is not None and other["ap50"] <= ap + MARGIN:
            # The grid's figures stand beside each other in a table; sixteen sentences would say no more than one.
            figures = "" if cell.transform else f" (AP {other['ap50']:.2f} against {ap:.2f})"
            cell.doubts.append(f"a {kind} square does as well{figures}")
    clean = _find(cells, cell, condition="none", defence=cell.defence)
    if clean is not None and clean["ap50"] is not None and ap >= clean["ap50"]:
        cell.doubts.append("no effect: AP is not below that of the clean images")


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
