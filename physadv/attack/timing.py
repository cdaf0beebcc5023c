"""How long a training step takes here, measured on made-up people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from physadv.attack.crew import crew_for
from physadv.attack.crops import Views
from physadv.attack.optimise import Progress, optimise
from physadv.attack.ranks import Ranks
from physadv.attack.settings import TrainSettings
from physadv.attack.state import State
from physadv.attack.step import step
from physadv.attack.task import Task
from physadv.dataset import LabelledImage
from physadv.types import GradientDetector


def seconds_a_step(
    settings: TrainSettings, attacked: Sequence[GradientDetector], *, steps: int = 12, ranks: Ranks | None = None
) -> float:
    """Return the median seconds of a whole optimiser step with these settings on this machine, the first ones left out.

    ranks: the processes that share it; rank 0 alone measures, the others return infinity.

    Raises: TrainingError as the loop does.
    """
    times: list[float] = []

    def tell(progress: Progress) -> None:
        times.append(progress.seconds)

    short = settings.model_copy(update={"steps": steps, "starts": 1})
    optimise(Task(short, made_up(8), attacked, crew=crew_for(attacked)), ranks=ranks, tell=tell)
    if not times:
        return float("inf")
    return float(np.median(np.diff(times)[1:])) if steps > 2 else times[-1]


def in_proportion(settings: TrainSettings) -> TrainSettings:
    """Return settings without a warm-up whose steps, in turn, see views of each size as often as the whole run does."""
    often = Counter(settings.views(step)[1] for step in range(settings.total_steps))
    crops = [side for side in settings.crops for _ in range(round(often[side] / min(often.values())))]
    return settings.model_copy(update={"crops": tuple(crops), "warm": 0.0, "starts": 1})


def stepper(
    settings: TrainSettings, attacked: Sequence[GradientDetector], people: list[LabelledImage]
) -> Callable[[], tuple[int, int]]:
    """Return a function that takes the next training step and returns its views' (count, side in pixels)."""
    task = Task(settings, people, attacked, crew=crew_for(attacked))
    pattern = task.pattern()
    state = State.fresh(pattern.levels, settings.texels, len(attacked))
    views = Views(people, framing=settings.framing, wear=settings.wear)

    def take() -> tuple[int, int]:
        shape = settings.views(state.step)
        step(task, views, pattern, state, Ranks())
        state.step += 1
        return shape

    return take


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
