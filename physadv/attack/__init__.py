"""Patch in, patch out: EOT training of printable patterns against person detectors.

train(settings, inputs, attacked, folder, ...) -> Outcome      a whole run in a folder, from images on disk
attack(detector, images, boxes, ...) -> Patch                in memory, e.g. against a defence's twin
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from physadv.attack.settings import PRESETS, TrainSettings

if TYPE_CHECKING:
    from physadv.attack.optimise import Progress
    from physadv.patch import Patch
    from physadv.types import Float32Array, GradientDetector, UInt8Array

__all__ = ["PRESETS", "TrainSettings", "attack"]


def attack(
    detector: GradientDetector | Sequence[GradientDetector],
    images: Sequence[UInt8Array],
    boxes: Sequence[Float32Array],
    *,
    keypoints: Sequence[Float32Array] | None = None,
    settings: TrainSettings | None = None,
    steps: int = 300,
    seed: int = 0,
    start: Patch | None = None,
    name: str = "adaptive",
    tell: Callable[[Progress], None] = lambda _: None,
) -> Patch:
    """Return a pattern trained against `detector` (a defence's twin, for an adaptive attack) on the people given.

    images: (h, w, 3) uint8 RGB each. boxes: (n, 4) float32 xyxy pixels of each image's people. keypoints: (n, 17, 3)
    each, where they are known. settings: all else; `steps` and `seed` override its own. start: a pattern from which to go
    on, its shape kept. Nothing is held out here and nothing is written: the last average is returned, and it is the caller
    who scores it.

    Raises: TrainingError if there is no one to train on, the loss is no number, or weights change.
    """
    import numpy as np

    from physadv.attack.crew import crew_for
    from physadv.attack.optimise import optimise
    from physadv.attack.pattern import begun_from
    from physadv.attack.task import Task
    from physadv.dataset import LabelledImage

    base = settings or TrainSettings()
    chosen = base.model_copy(update={"steps": steps, "seed": seed, "starts": 1})
    points = keypoints or [np.zeros((len(b), 17, 3), np.float32) for b in boxes]
    people = [
        LabelledImage(str(i), p, b.astype(np.float32), k)
        for i, (p, b, k) in enumerate(zip(images, boxes, points, strict=True))
    ]
    detectors = [detector] if not isinstance(detector, Sequence) else list(detector)
    begin, region = (None, None) if start is None else begun_from(start, chosen.texels)
    task = Task(chosen, people, detectors, begin=begin, region=region, name=name, crew=crew_for(detectors))
    patch, _ = optimise(task, tell=tell)
    return patch
