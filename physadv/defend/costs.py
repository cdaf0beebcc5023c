"""What defences cost on this machine: measured beside the bare detector, turn by turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from physadv.defend.pipeline import Pipeline
from physadv.types import Detector, Frame

# Images of a turn: `erase` searches every third one of a video.
TURN = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What a pipeline costs. ms: of an image, detector and defences. ratio: that over the bare detector alone."""

    ms: float
    ratio: float

    @property
    def fps(self) -> float:
        """Return the images a second of detector and defences alone, without what a demo does beside them."""
        return 1000 / self.ms


def measure_costs(
    pipelines: Mapping[str, Pipeline],
    detector: Detector,
    frames: Sequence[Frame],
    *,
    run: Callable[[Callable[[], float]], float] = lambda look: look(),
) -> dict[str, Cost]:
    """Return what each pipeline costs on the frames of a video, by name; "" is the bare detector.

    The bare detector and every pipeline take turns of `TURN` frames, so that what else the machine does falls on all of
    them; figures are medians over the turns. The first turn, in which networks are compiled, is not counted. frames: of
    two turns at least. run: calls what looks at one frame, such as on the thread that a demo's detector works on, and
    returns its result.

    Raises: DefenceError if a pipeline cannot work with this detector. What `run` raises.
    """
    guards = {"": detector, **{name: pipeline.guard(detector) for name, pipeline in pipelines.items()}}
    taken: dict[str, list[float]] = {name: [] for name in guards}
    for first in range(0, len(frames) - TURN + 1, TURN):
        for name, guard in guards.items():
            each = [run(partial(_took_ms, guard, frame)) for frame in frames[first : first + TURN]]
            taken[name].append(sum(each) / TURN)
    bare = taken[""][1:]
    return {
        name: Cost(statistics.median(ms[1:]), statistics.median(a / b for a, b in zip(ms[1:], bare, strict=True)))
        for name, ms in taken.items()
    }


def _took_ms(guard: Detector, frame: Frame) -> float:
    start = perf_counter()
    guard.detect(frame)
    return (perf_counter() - start) * 1000
