"""A printed pattern found in an image by its own texture: its turn, the share that is folded away, its distance.

The markers that `physadv print` sets beside a pattern are 12 mm wide: a webcam reads them within an arm's length, the
pattern itself from metres away. So features of the known pattern (ORB) are matched with the image's, and the part of it
that agrees with the image, column by column, is the part that is not folded away.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from physadv.live.print_pose import PrintPose, metres_of
from physadv.patch import Patch
from physadv.types import Frame, UInt8Array

# Long sides in pixels at which the pattern is described. In street photographs of 640 pixels, with blur, grain and JPEG,
# all prints of 64 pixels are found, of 36 two in three, of 28 none; each look takes 40 ms of a core, 130 for five patterns.
SCALES = (96, 192, 384)
# Around it in its description: a print has an edge.
MARGIN = 24
FEATURES = 1500
# Long sides in pixels at which an image is looked at, by turns until a print is found: enlarged, smaller ones are.
LONG_SIDES = (640, 1280, 1920)
# Of a match: how much nearer than the second, how far from where the others put it (pixels), how many must agree.
NEARER, AGREES_PX, LEAST = 0.8, 4.0, 8
# Columns of the print that are compared, pixels to a side of the comparison, correlation from which a column is there.
COLUMNS, COMPARED, THERE = 16, 96, 0.35
# Correlation of what is there; below it nothing was found, whatever the features say.
LEAST_SURE = 0.4
# A look may take this share of one core, so that the loop keeps its rate, and is no older than so many seconds when shown.
SHARE, FRESH_S = 0.12, 5.0
APART_S = 0.25

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Described:
    """A pattern's features at one size. points: (n, 2) in shares of the print, (0, 0) to (1, 1). side: width in pixels."""

    points: Array
    features: Array
    size: tuple[int, int]


class PrintFinder:
    """Finds a print of one of several patterns in an image. Safe to use from one thread at a time."""

    def __init__(self) -> None:
        self._orb = cv2.ORB.create(FEATURES)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING)

    def find(
        self,
        pixels: UInt8Array,
        patches: Sequence[tuple[Patch, float]],
        focal_px: float | None,
        *,
        longest: int = LONG_SIDES[0],
    ) -> PrintPose | None:
        """Return how the print lies that matches best, or None where none is found.

        pixels: (h, w, 3) uint8 RGB. patches: with the width in centimetres that each is printed. focal_px: of a calibrated
        camera. longest: long side at which the image is looked at.
        """
        height, width = pixels.shape[:2]
        scale = longest / max(height, width)
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if scale != 1:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        points, features = self._orb.detectAndCompute(grey, None)
        if features is None or len(points) < LEAST:
            return None
        seen = np.array([p.pt for p in points], np.float32)
        best: PrintPose | None = None
        for patch, width_cm in patches:
            found = self._matched(grey, seen, features, patch)
            if found is None or (best is not None and found[1] <= best.sure):
                continue
            matrix, sure, fold = found
            corners = (_corners(matrix) / scale).astype(float)
            across, down = corners[1] - corners[0], corners[3] - corners[0]
            # Turned away or folded a print is narrower, not less high.
            aspect = patch.size_mm[0] / patch.size_mm[1]
            wide = max(float(np.hypot(*across)), float(np.hypot(*down)) * aspect)
            metres = metres_of(wide, width_cm, (width, height), focal_px)
            tilt = math.degrees(math.atan2(-down[0], down[1]))
            best = PrintPose(patch.name, tilt, fold, metres, sure, tuple((x, y) for x, y in corners.tolist()))
        return best

    def _matched(self, grey: Array, seen: Array, features: Array, patch: Patch) -> tuple[Array, float, float] | None:
        """Return the (2, 3) map from shares of the print to the image, how sure it is, and the share folded away."""
        best: tuple[Array, float, float] | None = None
        for one in _described(patch):
            pairs = self._matcher.knnMatch(one.features, features, 2)
            good = [a for a, *b in pairs if b and a.distance < NEARER * b[0].distance]
            if len(good) < LEAST:
                continue
            here, there = one.points[[m.queryIdx for m in good]], seen[[m.trainIdx for m in good]]
            # In pixels of the description, whose axes are of one length: in shares a tall print would be sheared.
            matrix, inside = cv2.estimateAffinePartial2D(here * one.size, there, ransacReprojThreshold=AGREES_PX)
            if matrix is None or int(inside.sum()) < LEAST:
                continue
            agree = inside.ravel() > 0
            if agree.sum() >= 2 * LEAST:
                # Turned away it is narrower.
                exact, _ = cv2.estimateAffine2D(here[agree] * one.size, there[agree], ransacReprojThreshold=AGREES_PX)
                matrix = matrix if exact is None else exact
            matrix = matrix @ np.diag([*one.size, 1.0])
            sure, fold = _agreement(grey, matrix, patch)
            if sure >= LEAST_SURE and (best is None or sure > best[1]):
                best = matrix, sure, fold
        return best


@lru_cache(maxsize=32)
def _described(patch: Patch) -> list[_Described]:
    """Return a pattern's features at each of `SCALES`."""
    orb, out = cv2.ORB.create(FEATURES), []
    for side in SCALES:
        grey = _grey(patch, side)
        around = cv2.copyMakeBorder(grey, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(128,))
        points, features = orb.detectAndCompute(around, None)
        if len(points) < LEAST:
            continue
        size = (grey.shape[1], grey.shape[0])
        places = (np.array([p.pt for p in points], np.float32) - MARGIN) / size
        out.append(_Described(places, features, size))
    return out


def _grey(patch: Patch, side: int) -> UInt8Array:
    """Return a pattern in grey, its longer side `side` pixels, of the shape that it is printed in."""
    width, height = patch.size_mm
    scale = side / max(width, height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    inter = cv2.INTER_AREA if max(patch.pixels.shape[:2]) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.cvtColor(cv2.resize(patch.pixels, size, interpolation=inter), cv2.COLOR_RGB2GRAY), np.uint8)


def _corners(matrix: Array) -> Array:
    """Return the (4, 2) corners of the whole print in the image, from the upper left clockwise."""
    unit = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], np.float64)
    return np.asarray(unit @ matrix.T)


def _agreement(grey: Array, matrix: Array, patch: Patch) -> tuple[float, float]:
    """Return the correlation of the part of a print that the image shows, and the share of its width that it does not.

    The share is above 0 where columns are missing at the right, below at the left. matrix: (2, 3) from shares of the print.
    """
    whole = cv2.resize(_described_grey(patch), (COMPARED, COMPARED), interpolation=cv2.INTER_AREA)
    wanted: Array = whole.astype(np.float32)
    to_image = matrix @ np.diag([1 / COMPARED, 1 / COMPARED, 1.0])
    inverse = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    shown = cv2.warpAffine(grey, to_image, (COMPARED, COMPARED), flags=inverse, borderValue=(128,)).astype(np.float32)
    # As coarse as the image shows it: what it cannot show does not count against it.
    coarse = COMPARED / max(float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))), 1.0)
    if coarse > 1:
        wanted = cv2.GaussianBlur(wanted, (0, 0), 0.6 * coarse)
    step = COMPARED // COLUMNS
    each = np.array([_correlation(wanted[:, i : i + step], shown[:, i : i + step]) for i in range(0, COMPARED, step)])
    # Folded at one side: what is left of or right of a line is there, and the rest is not.
    gain = np.concatenate([[0.0], np.cumsum(each - THERE)])
    right, left = int(gain.argmax()), int(gain.argmin())
    first, last = (0, right) if gain[right] >= gain[-1] - gain[left] else (left, COLUMNS)
    if first == last:
        return 0.0, 0.0
    part = slice(first * step, last * step)
    return _correlation(wanted[:, part], shown[:, part]), 1 - last / COLUMNS if not first else -first / COLUMNS


@lru_cache(maxsize=32)
def _described_grey(patch: Patch) -> UInt8Array:
    return _grey(patch, SCALES[-1])


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-6))


class PrintWatch:
    """Looks for a print in the newest frame on its own thread, with `SHARE` of a core at most. Any thread reads."""

    def __init__(self) -> None:
        self._finder = PrintFinder()
        self._wanted: tuple[Frame, Sequence[tuple[Patch, float]], float | None] | None = None
        self._found: tuple[float, PrintPose | None] | None = None
        self._scene = 0
        self._turn = 0
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def offer(self, frame: Frame, patches: Sequence[tuple[Patch, float]], focal_px: float | None) -> None:
        """Take a frame in which a print may be; one that is still waiting is left out. See `PrintFinder.find`."""
        with self._wake:
            self._wanted = frame, patches, focal_px
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="print", daemon=True)
                self._thread.start()
            self._wake.notify()

    def latest(self) -> PrintPose | None:
        """Return how the print lay in the last frame looked at, or None where there was none, or it is long ago."""
        found = self._found
        return found[1] if found is not None and time.monotonic() - found[0] <= FRESH_S else None

    def reset(self) -> None:
        """Forget what was found: another scene begins."""
        with self._wake:
            self._wanted = self._found = None
            self._scene += 1

    def close(self) -> None:
        """End the thread. Safe to call twice."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._wanted is not None)
                if self._closed or self._wanted is None:
                    return
                wanted, self._wanted, scene = self._wanted, None, self._scene
            frame, patches, focal_px = wanted
            began, spent = time.monotonic(), time.thread_time()
            pose = self._finder.find(frame.pixels, patches, focal_px, longest=LONG_SIDES[self._turn])
            if pose is None:
                self._turn = (self._turn + 1) % len(LONG_SIDES)
            with self._wake:
                if scene == self._scene:
                    self._found = began, pose
                rest = max((time.thread_time() - spent) / SHARE, APART_S)
                self._wake.wait_for(lambda: self._closed, timeout=rest)
