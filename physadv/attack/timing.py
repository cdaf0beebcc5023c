"""How long a training step takes here, measured on made-up people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from physadv.attack.optimise import optimise
from physadv.attack.parallel import Processes
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.dataset import LabelledImage
from physadv.types import GradientDetector


def seconds_a_step(
    recipe: Recipe,
    attacked: Sequence[GradientDetector],
    *,
    steps: int = 12,
    processes: Processes | None = None,
) -> float:
    """Return the median seconds of a whole optimiser step with these settings on this machine, the first ones left out.

    Raises: TrainingError as the loop does.
    """
    short = recipe.model_copy(update={"steps": steps, "starts": 1})
    run = TrainRun(short, TrainData(made_up(8), attacked), processes=processes)
    times = [progress.seconds for progress in optimise(run)]
    return float(np.median(np.diff(times)[1:])) if steps > 2 else times[-1]


def made_up(count: int, *, seed: int = 0) -> list[LabelledImage]:
    """Return images of noise with boxes and keypoints as people would have: for timing, where content does not count."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        pixels = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
        corner = rng.uniform(20, 120, 2)
        size = np.array([rng.uniform(100, 300), rng.uniform(200, 340)])
        box = np.concatenate([corner, corner + size]).astype(np.float32)
        points = np.full((1, 17, 3), 0.9, np.float32)
        points[0, :, :2] = corner + size * rng.uniform(0.1, 0.9, (17, 2))
        points[0, 5, :2], points[0, 6, :2] = corner + size * [0.75, 0.25], corner + size * [0.25, 0.25]
        points[0, 11, :2], points[0, 12, :2] = corner + size * [0.7, 0.6], corner + size * [0.3, 0.6]
        out.append(LabelledImage(str(i), pixels, box[None], points))
    return out
