"""What defences cost on this machine: measured beside the bare detector, turn by turn."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from physadv.defend.pipeline import Pipeline
from physadv.types import Detector, Frame

# Images of a turn: a multiple of every third, at which `erase` searches in a video.
TURN = 6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a pipeline costs. ms: of an image, detector and defences. ratio: that over the bare detector alone."""

    ms: float
    ratio: float

    @property
    def fps(self) -> float:
        """Return the images a second of detector and defences alone, without what a demo does beside them."""
        return 1000 / self.ms


def measure_costs(pipelines: Mapping[str, Pipeline], detector: Detector, frames: Sequence[Frame]) -> dict[str, Cost]:
    """Return what each pipeline costs on the frames of a video, by name; "" is the bare detector.

    The bare detector and every pipeline take turns of `TURN` frames, so that what else the machine does falls on all of
    them; figures are medians over the turns. The first turn, in which networks are compiled, is not counted. frames: of
    two turns at least.

    Raises: DefenceError if a pipeline cannot work with this detector.
    """
    guards = {"": detector, **{name: pipeline.guard(detector) for name, pipeline in pipelines.items()}}
    taken: dict[str, list[float]] = {name: [] for name in guards}
    for first in range(0, len(frames) - TURN + 1, TURN):
        for name, guard in guards.items():
            start = perf_counter()
            for frame in frames[first : first + TURN]:
                guard.detect(frame)
            taken[name].append((perf_counter() - start) / TURN * 1000)
    bare = taken[""][1:]
    return {
        name: Cost(statistics.median(ms[1:]), statistics.median(a / b for a, b in zip(ms[1:], bare, strict=True)))
        for name, ms in taken.items()
    }
