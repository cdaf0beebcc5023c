"""Further passes spread over frames: the last answer of each view, and whether its part of the scene still stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from physadv.types import BoolArray, Detections, Detector, Float32Array, Int64Array, UInt8Array

# Cells across the grid on which movement is judged: the mean of a cell is free of the camera's noise.
GRID = 64
# Mean difference over a person's cells, of 255, up to which the scene stands still.
STILL_LEVEL = 6.0
BATCH = 16


def in_batches(detector: Detector, images: Iterable[UInt8Array]) -> list[Detections]:
    """Return the answer for each image of one size. At most `BATCH` images of a generator are in memory at a time."""
    left, out = iter(images), list[Detections]()
    while batch := list(islice(left, BATCH)):
        out += detector.detect_batch(batch)
    return out


def thumbnail(image: UInt8Array) -> Float32Array:
    """Return a (rows, 64) float32 grey image, the mean of each cell."""
    rows = max(round(GRID * image.shape[0] / image.shape[1]), 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (GRID, rows), interpolation=cv2.INTER_AREA).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ViewAnswer:
    """The answer for one view. people: who was found. scene: the whole frame's thumbnail then. turn: the frame's number."""

    people: Detections
    scene: Float32Array
    turn: int


class RollingViews:
    """The last answer of each of `count` views, and the order in which they are asked again.

    turn: frames so far. A frame of another size forgets all answers.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.turn = 0
        self.next = 0
        self.size = (0, 0)
        self.answers: list[ViewAnswer | None] = [None] * self.count
        self.scene: Float32Array = np.zeros((1, GRID), np.float32)

    def begin(self, image: UInt8Array) -> None:
        """Begin a frame."""
        size = (image.shape[1], image.shape[0])
        if size != self.size:
            self.clear()
            self.size = size
        self.turn += 1
        self.scene = thumbnail(image)

    def choose(self, number: int, first: Sequence[int] = ()) -> list[int]:
        """Return up to `number` views to ask now: those in `first`, but always one or more of the round too.

        With one view a frame, `first` and the round take turns.
        """
        number = min(number, self.count)
        urgent = number - 1 if number > 1 else self.turn % 2
        chosen = list(dict.fromkeys(first))[: min(urgent, number)]
        while len(chosen) < number:
            if self.next not in chosen:
                chosen.append(self.next)
            self.next = (self.next + 1) % self.count
        return chosen

    def keep(self, view: int, people: Detections) -> None:
        """Keep the answer for a view of the frame that was begun last."""
        self.answers[view] = ViewAnswer(people, self.scene, self.turn)

    def standing(self, view: int, boxes: Float32Array, mask: Int64Array | None = None) -> BoolArray:
        """Return (n,) whether the scene within each box is as it was when the view was asked.

        Pixels under the view's own mask do not count: the answer does not depend on them.
        """
        answer = self.answers[view]
        if answer is None or answer.turn == self.turn:
            return np.full(len(boxes), answer is not None)
        change = np.abs(answer.scene - self.scene)
        weight = np.ones_like(change)
        scale = np.array([GRID / self.size[0], change.shape[0] / self.size[1]] * 2)
        if mask is not None:
            x0, y0, x1, y1 = (mask * scale).round().astype(int)
            weight[y0:y1, x0:x1] = 0
        out = np.zeros(len(boxes), bool)
        for i, box in enumerate(boxes * scale):
            x0, y0 = np.floor(box[:2]).astype(int)
            x1, y1 = np.ceil(box[2:]).astype(int)
            w = weight[y0:y1, x0:x1]
            out[i] = w.sum() > 0 and float((change[y0:y1, x0:x1] * w).sum() / w.sum()) <= STILL_LEVEL
        return out
