"""Speed of `evaluate` on videos, as one JSON line.

    python scripts/bench_evaluate.py [--frames 96] [--rounds 3] [--imgsz 320] [--detector MODEL] [--only ratios,cache]

ratios: frames a second over those of the bare detector, which is given one frame after the other by the thread that
decodes them. `pair`: recordings that are compared (batches, frames decoded meanwhile, no defence). `manifest`: as many
videos as cores, a task each on a worker of one thread, which have started already. All turns are interleaved in rounds,
so that what else the machine does falls on all of them; figures are medians of the rounds. cache: seconds for the same
video again, at another threshold, over those of the first time. A figure's `ok` says whether it reaches what is aimed at
on an idle machine of two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench_live import sample_video

from physadv.cli.edge import exit_code
from physadv.detect import load_detector
from physadv.detect.matching import AP_CONF
from physadv.evaluate.answers import answers_of
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.evaluate.video import Recording, frames_of
from physadv.provenance import provenance
from physadv.scale.job import EvaluationJob, JobSettings
from physadv.scale.local_pool import LocalPool
from physadv.scale.manifest import Listed, Manifest
from physadv.scale.parts import score_video
from physadv.scale.tasks import workers_of
from physadv.types import Detector
from physadv.version import __version__

AIMED_AT = {"pair": 1.2, "manifest": 1.2}
# Of the time that the first look takes.
CACHE_AT_MOST = 0.05


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def synchronous(video: Path, detector: Detector) -> None:
    for frame, _ in frames_of(Recording(video), []):
        detector.detect(frame)


class Tasks:
    """As many copies of a video as there are workers, each a task; every turn is an evaluation of its own."""

    def __init__(self, folder: Path, video: Path, settings: JobSettings, pool: LocalPool, count: int) -> None:
        self._folder, self._video, self._settings, self._pool, self._count = folder, video, settings, pool, count
        self._turn = 0

    def __call__(self) -> None:
        self._turn += 1
        rows = tuple(Listed(str(self._video)) for _ in range(self._count))
        folder = self._folder / f"turn-{self._turn}"
        EvaluationJob.begin(folder, Manifest(rows), self._settings, [], version=__version__, name="videos.csv")
        for number in range(self._count):
            self._pool.submit(number, score_video, folder, number, False)
        for _ in range(self._count):
            wrong = self._pool.wait().value.wrong
            assert not wrong, wrong


def measured(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    video = sample_video(folder / "sample.mp4", size=(640, 480), count=args.frames)
    out: dict[str, Any] = {}
    detector = load_detector(
        args.detector, backend="reference", precision="fp32", imgsz=args.imgsz, min_conf=AP_CONF, device="cpu"
    )
    if "ratios" in args.only:
        out["ratios"] = ratios(folder, video, detector, args)
    if "cache" in args.only:
        looked = [seconds_of(lambda: finish(answers_of(Recording(video), detector))) for _ in range(2)]
        share = looked[1] / looked[0]
        out["cache"] = {"share": round(share, 4), "ok": share <= CACHE_AT_MOST}
    return out


def ratios(folder: Path, video: Path, detector: Detector, args: argparse.Namespace) -> dict[str, Any]:
    count = workers_of(1)
    settings = JobSettings(
        evaluation=EvaluateSettings(imgsz=args.imgsz),
        detectors=[args.detector],
        detector_hashes=[detector.sha256 or ""],
    )
    with LocalPool(count) as pool:
        tasks = Tasks(folder, video, settings, pool, count)
        turns: dict[str, Callable[[], object]] = {
            "bare": lambda: synchronous(video, detector),
            "pair": lambda: finish(answers_of(Recording(video), detector, cache=False)),
            "manifest": tasks,
        }
        frames = {"bare": args.frames, "pair": args.frames, "manifest": args.frames * count}
        for turn in turns.values():
            # Processes start, networks are loaded, memory is taken.
            turn()
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(args.rounds):
            for name, turn in turns.items():
                rates[name].append(frames[name] / seconds_of(turn))
    out: dict[str, Any] = {"bare_fps": round(statistics.median(rates["bare"]), 1)}
    for name, aim in AIMED_AT.items():
        each = [mine / bare for mine, bare in zip(rates[name], rates["bare"], strict=True)]
        out[name] = {"ratio": round(statistics.median(each), 3), "aim": aim, "ok": statistics.median(each) >= aim}
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--detector", default="yolo11n-pose")
    parser.add_argument("--only", type=lambda text: text.split(","), default=["ratios", "cache"])
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Nothing is taken from the user's cache, in workers neither.
        os.environ["PHYSADV_CACHE"] = str(folder / "cache")
        found = measured(folder, args)
    print(json.dumps({**found, "frames": args.frames, "rounds": args.rounds, "where": provenance()["machine"]}))
    return (
        0
        if all(f.get("ok", True) for part in found.values() for f in [part, *part.values()] if isinstance(f, dict))
        else 1
    )


if __name__ == "__main__":
    sys.exit(exit_code("bench_evaluate", main))
