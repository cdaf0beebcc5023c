"""How sure a detector is of one person: the logit of the best box on them, asked of many images of one size at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from physadv.detect.matching import MATCH_IOU, best_score
from physadv.types import Detector, Float32Array, UInt8Array

# Lowest score that a detector is asked for here: what a pattern hides has less than the .001 that AP looks at.
MIN_CONF = 1e-4
# Images a pass. More at once gain nothing on two cores, and are held in memory.
BATCH = 8
# Nearer to 1 a float32 has no logit.
HIGHEST = 1 - 1e-6


def person_scores(detector: Detector, images: Iterable[UInt8Array], box: Float32Array) -> Float32Array:
    """Return (k,) scores of one person, (4,) `box`, in k images, as `people_scores` does."""
    return people_scores(detector, images, box[None])[:, 0]


def people_scores(detector: Detector, images: Iterable[UInt8Array], boxes: Float32Array) -> Float32Array:
    """Return (k, n): in each of k (h, w, 3) RGB images of one size the score of the best box on each of (n, 4) people.

    A box fits by IoU .5; where none does, the score is 0. Images are taken a few at a time, so that they may be made as
    they are asked for.
    """
    out: list[Float32Array] = []
    for batch in _batches(images):
        # `best_score` asks for more than a limit: a box on it fits too.
        out += [best_score(boxes, found, iou_above=MATCH_IOU - 1e-6) for found in detector.detect_batch(batch)]
    return np.array(out, np.float32).reshape(-1, len(boxes))


def logit(score: Float32Array) -> Float32Array:
    """Return the logits of scores; what the detector does not report counts as the lowest that it would."""
    p = np.clip(score.astype(np.float64), MIN_CONF, HIGHEST)
    return np.log(p / (1 - p)).astype(np.float32)


def _batches(images: Iterable[UInt8Array]) -> Iterator[Sequence[UInt8Array]]:
    held: list[UInt8Array] = []
    for image in images:
        held.append(image)
        if len(held) == BATCH:
            yield held
            held = []
    if held:
        yield held
