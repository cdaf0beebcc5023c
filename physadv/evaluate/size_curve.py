"""Attack success against size and distance: measured on labelled images by scaling the people in them.

A camera, a distance and a print come down to three numbers for a detector: pixels of the person inside the image, the
share of the person that is (near the camera the legs are cut off), and the size of the print on the person. The curve is
a small grid over these; `scripts/check_advise.py` renders given cameras instead, which the curve must agree with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np

from physadv.arrays import LeftOut
from physadv.camera.lens import PERSON_CM
from physadv.dataset import ImageFile, LabelledImage, read_images
from physadv.detect.matching import FOUND_CONF, MATCH_IOU, STRICT_IOU, found, match_keypoints, touched
from physadv.errors import DataError
from physadv.evaluate.metrics import wilson
from physadv.fabricate.advise import HEADROOM
from physadv.patch import Patch
from physadv.simulate.joints import LEFT_HIP, LEFT_SHOULDER, MIRRORED, RIGHT_HIP, RIGHT_SHOULDER, VISIBLE
from physadv.simulate.placement import Placement, people_of
from physadv.simulate.render import render
from physadv.types import BoolArray, Detector, Float32Array, Frame, Int64Array, UInt8Array

# A person is 3.4 times as tall as the line from shoulders to hips is long: 170 cm to 50.
TALL_PER_TORSO = 3.4
ANKLES = (15, 16)
HEAD = slice(0, 5)
# Enlarged further than this a photograph is mush that no camera would show.
ENLARGE = 3.2
PAD = 114
FEWEST = 5
# Where in the image somebody stands decides nearly as much as who it is. So people are shown several times, the more
# often the fewer can be shown: about this many shots in all, but no more than `MOST_TIMES` of one person.
ENOUGH_SHOTS, MOST_TIMES = 64, 6
# Visible pixels: a whole person far to near; then cut off by frames of two shapes, 640 x 480 and 640 x 360.
WHOLE_PX = (56.0, 84.0, 126.0, 190.0, 285.0, 440.0)
CUT_PX = (342.0, 456.0)
SHARES = (0.75, 0.55, 0.46, 0.38)
RELATIVE = (0.08, 0.12, 0.17, 0.24, 0.33)
# Near the camera success rises and falls again within these sizes, at another one for each share: a finer grid.
RELATIVE_CUT = (0.08, 0.12, 0.17, 0.2, 0.24, 0.28, 0.33)
CANVAS = 640
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One person in a photograph or in a shot made of it, facing the camera or turned away from it.

    image: with this person alone, the box cut at the image's edges. tall: pixels from head to feet, inferred from the torso
    where the feet are not in the image. whole: whether they are in the photograph.
    """

    image: LabelledImage
    tall: float
    whole: bool


@dataclass(frozen=True, slots=True)
class SizeCell:
    """Of `n` people found without the pattern, `hidden` were not found with it (no box above .25 with IoU above .1).

    Somebody shown several times counts as the share of shots that hid them, so `hidden` need not be whole.
    """

    n: int
    hidden: float

    @property
    def asr(self) -> float:
        """Return the attack success rate; 0 where nobody was found."""
        return self.hidden / self.n if self.n else 0.0

    @property
    def ci95(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval by people, for shots of one person are not independent of each other."""
        return wilson(self.asr, self.n)


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """What became of each person in one cell. found, hidden: (n,) numbers of shots; found bare, then not with the pattern.

    Whoever could not be shown at that size was found in no shot.
    """

    found: Int64Array
    hidden: Int64Array

    @property
    def people(self) -> BoolArray:
        """Return an (n,) mask of those found bare in one shot or more."""
        return np.asarray(self.found > 0)

    def cell(self, who: BoolArray | None = None) -> SizeCell:
        """Return the counts, over those in the (n,) mask `who` or over all; everybody weighs the same."""
        chosen = self.people if who is None else self.people & who
        return SizeCell(int(chosen.sum()), float((self.hidden[chosen] / self.found[chosen]).sum()))


def subjects(
    images: Sequence[ImageFile],
    detector: Detector,
    *,
    smallest_px: float = 120.0,
    left_out: LeftOut | None = None,
) -> list[Subject]:
    """Return the people in labelled images who can stand for somebody before a camera.

    detector: a pose model. Wanted: head, both shoulders and both hips visible, the chest or the back to the camera,
    `smallest_px` tall or more. Images without labels count as the detector sees them. left_out: counts each
    image that is damaged.

    Raises: DataError if a label cannot be read, the detector gives no keypoints, or fewer than 5 people are of use.
    """
    out = []
    for _, pixels, people in read_images(images, LeftOut() if left_out is None else left_out):
        answer = detector.detect(Frame(pixels, 0, 0, 0.0)).above(FOUND_CONF)
        if answer.keypoints is None:
            raise DataError(f"{detector.name}: gives no keypoints; measure the size curve with a pose model")
        boxes = answer.xyxy if people is None else people
        for box, points in zip(boxes, match_keypoints(boxes, answer), strict=True):
            one = _subject(pixels, box, points)
            if one is not None and one.tall >= smallest_px:
                out.append(one)
    if len(out) < FEWEST:
        raise DataError(
            field="images",
            expected=f"{FEWEST} or more people who face the camera with head, shoulders and hips in the image",
            got=f"{len(out)} in {len(images)} images",
            hint="give more images",
        )
    return out


def _subject(pixels: UInt8Array, xyxy: Float32Array, points: Float32Array) -> Subject | None:
    sure = points[:, 2] >= VISIBLE
    if not (sure[HEAD].any() and sure[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]].all()):
        return None
    shoulders = points[[LEFT_SHOULDER, RIGHT_SHOULDER], :2]
    torso = float(np.linalg.norm(shoulders.mean(0) - points[[LEFT_HIP, RIGHT_HIP], :2].mean(0)))
    width = float(np.linalg.norm(shoulders[0] - shoulders[1]))
    upright = points[[LEFT_HIP, RIGHT_HIP], 1].mean() - shoulders[:, 1].mean()
    if torso < 8 or width < 0.4 * torso or upright < 0.85 * torso:
        return None
    high = float(xyxy[3] - xyxy[1])
    whole = bool(sure[list(ANKLES)].all()) and 2.6 <= high / torso <= 4.8
    tall = high if whole else TALL_PER_TORSO * torso
    # A box that is taller than its person should be is of somebody seated or crouched.
    if not whole and high > 1.05 * tall:
        return None
    return Subject(LabelledImage("", pixels, xyxy[None], points[None]), tall, whole)


def mirrored(subject: Subject) -> Subject:
    """Return the person as in a mirror, left and right exchanged in the keypoints too."""
    image = subject.image
    width, _ = image.size
    x1, y1, x2, y2 = image.boxes[0]
    points = image.keypoints[:, list(MIRRORED)]
    points[..., 0] = width - points[..., 0]
    box = np.array([[width - x2, y1, width - x1, y2]], np.float32)
    pixels = np.ascontiguousarray(image.pixels[:, ::-1])
    return replace(subject, image=replace(image, source=pixels, boxes=box, keypoints=points))


def shots(
    people: Sequence[Subject],
    *,
    person_px: float,
    frame: tuple[int, int],
    rng: np.random.Generator,
    enlarge: float = ENLARGE,
) -> list[list[Subject]]:
    """Return the shots of each person, none of those who cannot be shown so (see `shot`).

    The fewer people there are, the more shots of each: at other places in the image, every second one mirrored.
    """

    def one(person: Subject) -> Subject | None:
        return shot(person, person_px=person_px, frame=frame, rng=rng, enlarge=enlarge)

    first = [one(s) for s in people]
    times = min(MOST_TIMES, max(1, round(ENOUGH_SHOTS / max(1, sum(s is not None for s in first)))))
    out = []
    for person, front in zip(people, first, strict=True):
        sides = () if front is None else islice(cycle((mirrored(person), person)), times - 1)
        out.append([s for s in (front, *map(one, sides)) if s is not None])
    return out


def shot(
    subject: Subject, *, person_px: float, frame: tuple[int, int], rng: np.random.Generator, enlarge: float = ENLARGE
) -> Subject | None:
    """Return the photograph scaled so that the person would be `person_px` tall, cut to `frame` (width, height).

    What the photograph does not cover is grey 114, as a detector's own padding. None if the person's feet or waist are
    needed and not in the photograph, or it would be enlarged more than `enlarge` times.
    """
    width, height = frame
    scale = person_px / subject.tall
    photograph = subject.image
    x1, y1, x2, y2 = photograph.boxes[0] * scale
    room = height * (1 - HEADROOM)
    fits = person_px <= room + 0.5
    if scale > enlarge or (fits and not subject.whole) or (not fits and y2 - y1 < 0.95 * room):
        return None
    small, ratio = _scaled(photograph.pixels, scale)
    slack_x, slack_y = max(width - (x2 - x1), 0), max(height * (1 - HEADROOM) - (y2 - y1), 0)
    left = (x1 + x2) / 2 - width / 2 + rng.uniform(-0.3, 0.3) * slack_x
    top = y1 - HEADROOM * height - (rng.uniform(0.2, 0.8) * slack_y if fits else 0.0)
    left, top = _over(left, width, small.shape[1]), _over(top, height, small.shape[0]) if fits else top
    corner = np.array([round(left), round(top)], np.float32)
    pixels = np.full((height, width, 3), PAD, np.uint8)
    sx, sy = int(max(corner[0], 0)), int(max(corner[1], 0))
    part = small[sy : int(corner[1]) + height, sx : int(corner[0]) + width]
    ox, oy = sx - int(corner[0]), sy - int(corner[1])
    pixels[oy : oy + part.shape[0], ox : ox + part.shape[1]] = part
    box = np.clip(photograph.boxes.reshape(2, 2) * ratio - corner, 0, [width, height]).reshape(1, 4).astype(np.float32)
    points = photograph.keypoints.copy()
    points[..., :2] = points[..., :2] * ratio - corner
    return Subject(replace(photograph, source=pixels, boxes=box, keypoints=points), person_px, subject.whole)


def _scaled(pixels: UInt8Array, scale: float) -> tuple[UInt8Array, Float32Array]:
    """Return the photograph scaled, and the true factors along x and y."""
    h, w = pixels.shape[:2]
    size = max(1, round(w * scale)), max(1, round(h * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    ratio = np.array([size[0] / w, size[1] / h], np.float32)
    return cv2.resize(pixels, size, interpolation=how), ratio  # type: ignore[return-value]


def _over(start: float, length: int, photograph: int) -> float:
    """Return where a window starts, moved so that it lies on the photograph where that is large enough."""
    return min(max(start, 0), photograph - length) if photograph >= length else start


def worn(patch: Patch, one: Subject, *, relative: float) -> UInt8Array:
    """Return the shot's pixels with a patch on its person.

    relative: side of the print (root of its area) over the person's height; clothes are as large as their wearer.
    """
    width, height = patch.size_mm
    side = None if patch.tiles else np.array([relative * one.tall], np.float32)
    # The texture of cloth keeps its own period, which `relative` stands for.
    size_cm = (relative * PERSON_CM * math.sqrt(width / height), relative * PERSON_CM * math.sqrt(height / width))
    placement = Placement.worn(patch, size_cm)
    people = people_of(one.image.boxes, one.image.keypoints)
    return render(one.image.pixels, patch, placement.prints(people, side=side))


class SizeTrial:
    """The same shots for every size: the detector looks at each bare image once."""

    def __init__(self, drawn: Sequence[Sequence[Subject]], detector: Detector) -> None:
        """drawn: the shots of each person, none of those who cannot be shown at this size."""
        self._detector = detector
        self._found = [[s for s in one if self._finds(s)] for one in drawn]

    @property
    def people(self) -> int:
        """Return how many people were found bare in one shot or more."""
        return sum(bool(one) for one in self._found)

    def wears(self, patch: Patch, relative: float) -> Tried:
        """Return in how many of the shots found bare the pattern at this size hides each person."""
        hidden = [sum(self._hides(worn(patch, s, relative=relative), s) for s in one) for one in self._found]
        return Tried(np.array([len(one) for one in self._found], np.int64), np.array(hidden, np.int64))

    def _finds(self, one: Subject) -> bool:
        answer = self._detector.detect(Frame(one.image.pixels, 0, 0, 0.0))
        return bool(found(one.image.boxes, answer, conf=FOUND_CONF, iou_at_least=MATCH_IOU)[0])

    def _hides(self, pixels: UInt8Array, one: Subject) -> bool:
        answer = self._detector.detect(Frame(pixels, 0, 0, 0.0))
        return not touched(one.image.boxes, answer, conf=FOUND_CONF, iou_above=STRICT_IOU)[0]


def measure(
    patch: Patch,
    people: Sequence[Subject],
    detector: Detector,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the size curve of a pattern as plain values for its record.

    detector: looks at images with a long side of 640 as they are (imgsz 640).

    The print keeps its proportions at every size: `aspect` in the record is its height over its width.

    Raises: DataError if nowhere on the grid 5 people could be placed.
    """
    curve = table(try_grid(patch, people, detector, seed=seed, progress=progress), detector, seed=seed)
    return {**curve, "aspect": round(patch.size_mm[1] / patch.size_mm[0], 4)}


def try_grid(
    patch: Patch,
    people: Sequence[Subject],
    detector: Detector,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[tuple[float, float, float], Tried]:
    """Return what became of each person in each cell, by (visible pixels, share shown, relative size)."""
    rows = [(px, 1.0) for px in WHOLE_PX] + [(px, share) for share in SHARES for px in CUT_PX]
    out: dict[tuple[float, float, float], Tried] = {}
    for step, (visible, share) in enumerate(rows):
        if progress is not None:
            progress(step / len(rows), f"{visible:.0f} px, {share:.0%} of the person")
        frame = (CANVAS, 480) if share == 1.0 else (CANVAS, round(visible / (1 - HEADROOM)))
        rng = np.random.default_rng([seed, step])
        trial = SizeTrial(shots(people, person_px=visible / share, frame=frame, rng=rng), detector)
        if trial.people >= FEWEST:
            sizes = _sizes(patch, share)
            out |= {(visible, share, relative): trial.wears(patch, relative) for relative in sizes}
    return out


def _sizes(patch: Patch, share: float) -> tuple[float, ...]:
    """Return the sides to try, over the person's height: of clothes, which are as large as their wearer, its own."""
    if patch.tiles:
        return (math.sqrt(patch.size_mm[0] * patch.size_mm[1]) / 10 / PERSON_CM,)
    return RELATIVE if share == 1.0 else RELATIVE_CUT


def table(
    tried: dict[tuple[float, float, float], Tried],
    detector: Detector,
    *,
    seed: int = 0,
    who: BoolArray | None = None,
) -> dict[str, Any]:
    """Return the size curve that `try_grid` found, over those in the (n,) mask `who` or over all, as plain values.

    Raises: DataError if no cell holds 5 people.
    """
    cells: list[dict[str, Any]] = []
    for (visible, share, relative), one in tried.items():
        cell = one.cell(who)
        if cell.n < FEWEST:
            continue
        low, high = cell.ci95
        cells.append({
            "visible_px": visible, "shown": share, "relative": relative, "n": cell.n, "hidden": round(cell.hidden, 4),
            "asr": round(cell.asr, 4), "ci95": [round(low, 4), round(high, 4)],
        })  # fmt: skip
    if not cells:
        raise DataError(
            f"fewer than {FEWEST} people could be shown at any size", field="images", hint="give more or larger images"
        )
    return {
        "detector": detector.name,
        "backend": detector.backend,
        "precision": detector.precision,
        "conf": FOUND_CONF,
        "strict_iou": STRICT_IOU,
        "people": len(next(iter(tried.values())).found) if who is None else int(who.sum()),
        "seed": seed,
        "cells": cells,
    }
