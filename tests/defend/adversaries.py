"""Detectors made for certificates to break on: pure functions of the pixels, as hostile as a function can be."""

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from physadv.types import Detections, Float32Array, UInt8Array
from tests.detectors import FakeDetector


def key(image: UInt8Array) -> int:
    return zlib.crc32(image.tobytes()) ^ hash(image.shape)


class Pure(FakeDetector):
    """A detector that is whatever pure function it is given: image to boxes and scores."""

    name = "pure"

    def __init__(self, function: Callable[[UInt8Array], tuple[Float32Array, Float32Array]]) -> None:
        self.function = function
        self.calls = 0
        self.images = 0

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        self.calls += 1
        self.images += len(images)
        out = []
        for image in images:
            xyxy, score = self.function(image)
            order = np.argsort(-score, kind="stable")
            out.append(Detections(xyxy[order].astype(np.float32).reshape(-1, 4), score[order].astype(np.float32)))
        return out


def boxes_within(rng: np.random.Generator, n: int, width: int, height: int) -> Float32Array:
    a, b = rng.uniform(0, 1, (n, 2)), rng.uniform(0, 1, (n, 2))
    size = np.array([width, height])
    return np.concatenate([np.minimum(a, b) * size, np.maximum(a, b) * size + 0.5], 1).astype(np.float32)


class Traitor(Pure):
    """Answers honestly, with noise, for the images it was taught, and turns on its owner for every other image.

    For an image it does not know it reports nobody, one box around everything, boxes that cover just enough of those it
    knows to have them dropped, or anything at all: the answer is drawn from the image's own checksum.
    """

    def __init__(self, known: dict[int, tuple[Float32Array, Float32Array]], seed: int, prune: float) -> None:
        super().__init__(self.answer)
        self.known, self.seed, self.prune = known, seed, prune

    def answer(self, image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        code = key(image)
        if code in self.known:
            return self.known[code]
        rng = np.random.default_rng([self.seed, code & 0xFFFFFFFF])
        height, width = image.shape[:2]
        mood = rng.integers(4)
        if mood == 0:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        if mood == 1:
            return np.array([[0, 0, width, height]], np.float32), np.array([0.9], np.float32)
        if mood == 2:
            n = int(rng.integers(1, 6))
            return boxes_within(rng, n, width, height), rng.uniform(0.05, 1, n).astype(np.float32)
        boxes = np.concatenate([b for b, _ in self.known.values()])
        side, out = int(rng.integers(4)), boxes.copy()
        extent = (boxes[:, 2:] - boxes[:, :2])[:, side % 2] * (1 - self.prune) * 0.999
        out[:, side] += extent if side < 2 else -extent
        return out, np.full(len(out), 0.95, np.float32)
