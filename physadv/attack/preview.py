"""A contact sheet: what the simulated world shows the detector, and how sure the detector is of each person in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from physadv.arrays import to_image
from physadv.attack.crops import Batch, CropSampler, PlacementRange
from physadv.attack.losses import concerned
from physadv.attack.score import HeldOutPeople
from physadv.attack.settings import DIALS
from physadv.dataset import LabelledImage
from physadv.detect.gradients import imgsz_for
from physadv.detect.matching import FOUND_CONF
from physadv.errors import DataError
from physadv.marks import LEGEND, mark_person
from physadv.patch import Patch
from physadv.simulate.placement import Framing
from physadv.simulate.world import World
from physadv.types import GradientDetector, UInt8Array

GAP, STRIP = 4, 18
WORDS = (40, 40, 40)
# Of the sheet that a run keeps of its progress: the height of the pattern and of each of so many wearers, in pixels.
PANEL, WEARERS = 320, 3


def contact_sheet(
    patch: Patch,
    people: Sequence[LabelledImage],
    *,
    world: World,
    framing: Framing,
    placements: PlacementRange,
    large: float = 0.0,
    columns: int = 6,
    rows: int = 4,
    size: int = 224,
    seed: int = 0,
    detector: GradientDetector | None = None,
) -> UInt8Array:
    """Return an RGB image of rows x columns views as training draws them, then a row per transform by itself.

    In the upper part each person's box has the highest confidence about that person, and is marked as seen where that is
    .25 or more, as hidden below (see `marks`); without a `detector` there are no boxes. The lower rows show one view under
    one transform at a time, from strength 0 at the left to 2 at the right. size: of a view in pixels, rounded up to what
    the detector takes.

    Raises: DataError if there are no people.
    """
    views = CropSampler(list(people), framing=framing, placements=placements, large=large)
    if not views.rows:
        raise DataError(field="images", expected="images with people", got="none")
    size = size if detector is None else imgsz_for(size, detector)
    pixels, mask = patch.tensors()
    pattern = torch.cat([pixels, mask])
    batch = views.batch(columns * rows, size, np.random.default_rng(seed))
    shown = _apply(world, pattern, batch, seed)
    cells = [to_image(image) for image in shown]
    if detector is not None:
        _mark(cells, shown, batch, detector)
    lines = [_line(cells[r * columns : (r + 1) * columns], "") for r in range(rows)]
    near = CropSampler(list(people), framing="webcam", placements=placements)
    one = near.batch(1, size, np.random.default_rng([seed, 1]))
    for dial, name in DIALS.items():
        transform = world.transforms()[name]
        steps = np.linspace(0, 2, columns)
        alone = [
            World.of(0).model_copy(update={name: transform.model_copy(update={"strength": float(s)})}) for s in steps
        ]
        row = [to_image(_apply(w, pattern, one, seed)[0]) for w in alone]
        lines.append(_line(row, f"{dial}: strength {', '.join(f'{s:.1f}' for s in steps)}"))
    return np.concatenate(lines)


def progress_sheet(
    patch: Patch, scorer: HeldOutPeople, title: str, *, printed: Callable[[Patch], Patch] = lambda patch: patch
) -> UInt8Array:
    """Return an RGB image of a pattern beside three of the scorer's images whose people wear it, with their boxes.

    Everybody large enough to be scored is marked as seen or hidden, with the highest confidence of a box on them. printed:
    gives the pattern as it is worn.
    """
    width, height = (max(round(PANEL * side / max(patch.size_mm)), 1) for side in patch.size_mm)
    whole = cv2.resize(np.ascontiguousarray(patch.pixels), (width, height), interpolation=cv2.INTER_AREA)
    cells = [
        np.pad(np.asarray(whole, np.uint8), ((0, PANEL - height), (0, 0), (0, 0)), constant_values=255),
        *(scorer.shown(printed(patch), i, height=PANEL) for i in scorer.some(WEARERS)),
    ]
    return _line(cells, f"{title}   {LEGEND}")


def _apply(world: World, pattern: torch.Tensor, batch: Batch, seed: int) -> torch.Tensor:
    draw = world.sample(len(batch.prints), len(batch.images), torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return world.apply(pattern, batch.images, batch.prints, draw)


def _mark(cells: list[UInt8Array], shown: torch.Tensor, batch: Batch, detector: GradientDetector) -> None:
    with torch.inference_mode():
        found = detector.candidates(shown)
        near = concerned(batch.boxes, found.xyxy[batch.owner])
        sure = found.logit[batch.owner].masked_fill(~near, -30).amax(1).sigmoid().tolist()
    for i, box, conf in zip(batch.owner.tolist(), batch.boxes.round().int().tolist(), sure, strict=True):
        mark_person(cells[i], box, f"{conf:.2f}", found=conf >= FOUND_CONF)


def _line(cells: list[UInt8Array], title: str) -> UInt8Array:
    """Return cells side by side on white, with a title above."""
    framed = [np.pad(c, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for c in cells]
    row = np.concatenate(framed, 1)
    if not title:
        return row
    strip = np.full((STRIP, row.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, WORDS, 1, cv2.LINE_AA)
    return np.concatenate([strip, row])
