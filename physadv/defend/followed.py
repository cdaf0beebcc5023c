"""Masks over a video: a costly search looks at every n-th image, and in between each region follows its own pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from physadv.boxes import iou
from physadv.types import Detections, Float32Array, Frame, UInt8Array

# Whatever `every` says: at few images a second people move far from one to the next.
LONGEST_S = 0.25
# Pixels of the network's image that a region may move between two images: at 30 a second and 640 px somebody who
# runs past at the size of the image moves 15.
REACH = 24
# Regions are matched at a size of about this many pixels, and between pixels by a parabola: 8 of them take 1 ms.
MATCHED_PX = 32
# Correlation below which a region is not the same any more: turned, covered, or gone.
SAME_PLACE = 0.5
# Pixels by which a region that was followed is grown. With 3, more than a match needs, the wearer of a pattern came back in
# 23 of 45 images of a webcam, with 1 in 24, and searched in each image in 26: fill beyond the pattern hides the person.
SLACK = 1
# Score from which a person counts as seen, and the overlap from which two boxes are one person.
SURE, SAME_PERSON = 0.25, 0.3


@dataclass(slots=True, eq=False)
class Region:
    """One connected region of a mask. mask: (h, w) of its box at `left`, `top`. template: its grey pixels, shrunk."""

    left: int
    top: int
    mask: UInt8Array
    template: UInt8Array
    shrink: int


class FollowedMask:
    """The mask of each image of one source. Between two searches regions are found again by their own pixels.

    A mask is followed for at most `every` - 1 images and `LONGEST_S` seconds of the source's clock, and only while each
    region is found again. Images without a clock, a jump of it, and another size are searched. Whoever appears or
    vanishes between two images makes the next one be searched. Everything depends on the images alone, so a video gives
    the same masks again.
    """

    def __init__(self, every: int, search: Callable[[UInt8Array], UInt8Array]) -> None:
        self._every, self._search = every, search
        self.reset()

    def reset(self) -> None:
        """Forget earlier images: the next one is searched."""
        self.age = 0
        self._regions: list[Region] = []
        self._searched: Frame | None = None
        self._last: Frame | None = None
        self._shape: tuple[int, ...] = ()
        self._people: Float32Array | None = None
        self._changed = False

    def of(self, image: UInt8Array, frame: Frame) -> UInt8Array:
        """Return the mask (h, w) of an image (h, w, 3), which is the frame as the network scales it.

        `age` says how many images ago it was searched for: 0 if in this one.
        """
        mask = self._followed(image) if self._may_follow(image, frame) else None
        if mask is None:
            mask = self._search(image)
            self.age, self._searched, self._changed = 0, frame, False
            self._shape = image.shape
            self._regions = _regions(mask, image) if self._every > 1 else []
        else:
            self.age += 1
        self._last = frame
        return mask

    def saw(self, people: Detections) -> None:
        """Take in who was found in the image: somebody new, or gone, calls for a search in the next one."""
        sure = people.xyxy[people.score >= SURE]
        if self._people is not None:
            overlap = iou(sure, self._people)
            new, gone = overlap.max(1, initial=0) < SAME_PERSON, overlap.max(0, initial=0) < SAME_PERSON
            self._changed |= bool(new.any() or gone.any())
        self._people = sure

    def _may_follow(self, image: UInt8Array, frame: Frame) -> bool:
        if self._searched is None or self._last is None or self._changed or self.age + 1 >= self._every:
            return False
        passed, since = frame.pts_s - self._last.pts_s, frame.pts_s - self._searched.pts_s
        return image.shape == self._shape and passed > 0 and since <= LONGEST_S and frame.index > self._last.index

    def _followed(self, image: UInt8Array) -> UInt8Array | None:
        """Return the mask with each region where its pixels are now; None if one is not found again."""
        out: UInt8Array = np.zeros(image.shape[:2], np.uint8)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if self._regions else None
        for region in self._regions:
            move = _move(region, np.asarray(grey, np.uint8))
            if move is None:
                return None
            region.left, region.top = region.left + move[0], region.top + move[1]
            _lay(out, region)
        if self._regions:
            out = np.asarray(cv2.dilate(out, np.ones((2 * SLACK + 1,) * 2, np.uint8)), np.uint8)
        return out


def _regions(mask: UInt8Array, image: UInt8Array) -> list[Region]:
    """Return the connected regions of a mask with what they are found again by."""
    out = []
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    for number in range(1, count):
        x, y, w, h = stats[number, :4].tolist()
        here = np.s_[y : y + h, x : x + w]
        shrink = max(1, round(max(w, h) / MATCHED_PX))
        own = np.where(labels[here] == number, 255, 0).astype(np.uint8)
        out.append(Region(x, y, own, _shrunk(grey[here], shrink), shrink))
    return out


def _shrunk(grey: UInt8Array, factor: int) -> UInt8Array:
    if factor == 1:
        return grey
    size = max(grey.shape[1] // factor, 1), max(grey.shape[0] // factor, 1)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _move(region: Region, grey: UInt8Array) -> tuple[int, int] | None:
    """Return by how many pixels (x, y) a region has moved; None if it is not found within reach.

    A region at the image's rim is looked for with what was inside of it, within the image.
    """
    height, width = region.mask.shape
    reach = -(-REACH // region.shrink) * region.shrink
    x0, y0 = max(region.left - reach, 0), max(region.top - reach, 0)
    x1, y1 = min(region.left + width + reach, grey.shape[1]), min(region.top + height + reach, grey.shape[0])
    around = _shrunk(grey[y0:y1, x0:x1], region.shrink)
    if around.shape[0] < region.template.shape[0] or around.shape[1] < region.template.shape[1]:
        return None
    score = cv2.matchTemplate(around, region.template, cv2.TM_CCOEFF_NORMED)
    _, best, _, (column, row) = cv2.minMaxLoc(score)
    if not best >= SAME_PLACE:
        return None
    x = (column + _between(score[row, max(column - 1, 0) : column + 2])) * region.shrink
    y = (row + _between(score[max(row - 1, 0) : row + 2, column])) * region.shrink
    return x0 + round(x) - region.left, y0 + round(y) - region.top


def _between(three: np.ndarray) -> float:
    """Return where between its neighbours a peak lies, from -.5 to .5: the top of the parabola through the three."""
    if len(three) < 3:
        return 0.0
    before, at, after = three.tolist()
    bend = before - 2 * at + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def _lay(mask: UInt8Array, region: Region) -> None:
    """Add a region to a mask, as far as it is inside."""
    height, width = region.mask.shape
    top, left = max(region.top, 0), max(region.left, 0)
    bottom, right = min(region.top + height, mask.shape[0]), min(region.left + width, mask.shape[1])
    part = region.mask[top - region.top : bottom - region.top, left - region.left : right - region.left]
    mask[top:bottom, left:right] |= part
