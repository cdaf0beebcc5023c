"""What defences cost: measured beside the bare detector in turns, as ratios that other work moves little."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from tiny import BlobDetector

from physadv.defend import parse_pipeline
from physadv.defend.costs import TURN, measure_costs
from physadv.types import Detections, Frame, UInt8Array


class Slow(BlobDetector):
    """A detector that takes 4 ms an image, the first images far longer: as where a network is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def detect(self, frame: Frame) -> Detections:
        self.asked.append(frame.index)
        time.sleep(0.004 if len(self.asked) > TURN else 0.02)
        return super().detect(frame)

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [Detections.empty() for _ in images]


def test_costs_are_medians_over_turns_beside_the_bare_detector() -> None:
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 256, (48, 64, 3), np.uint8), n, 0, n / 30) for n in range(5 * TURN + 2)]
    detector = Slow()
    costs = measure_costs(
        {"one": parse_pipeline("median:plain=false"), "two": parse_pipeline("median")}, detector, frames
    )
    assert list(costs) == ["", "one", "two"]
    assert detector.asked[: 2 * TURN] == 2 * list(range(TURN)), "they take turns"
    assert costs[""].ratio == 1 and 4 <= costs[""].ms < 15
    assert 0.8 < costs["one"].ratio < 1.8 < costs["two"].ratio < 3
    assert costs["two"].fps == 1000 / costs["two"].ms


def test_each_look_goes_through_what_a_demo_runs_it_by() -> None:
    frames = [Frame(np.zeros((48, 64, 3), np.uint8), n, 0, n / 30) for n in range(2 * TURN)]
    looks: list[float] = []

    def slower(look: Callable[[], float]) -> float:
        look()
        looks.append(float(len(looks) % (2 * TURN) >= TURN))
        return 10.0 + 20 * looks[-1]

    costs = measure_costs({"one": parse_pipeline("median")}, BlobDetector(), frames, run=slower)
    assert len(looks) == 4 * TURN and (costs[""].ms, costs["one"].ms, costs["one"].ratio) == (10.0, 30.0, 3.0)
