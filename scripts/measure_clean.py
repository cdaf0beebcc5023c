"""What each defence loses, and how often it raises an alarm, on a clean video: a table, or JSON lines.

    python scripts/measure_clean.py VIDEO [--every 8] [--frames 100] [--imgsz 416] [--defend NAME ...] [--json]

kept: of the people found without a defence (score from --conf), the share that a box of the defended answer still covers
(IoU from .5), and its 95 % interval over frames (bootstrap). reported: people in the defended answer over those in the bare
one. alarms: frames with an alert of each kind, per 1,000 frames; "removed" says what was erased, and is no alarm.
All defences see the same frames at the times these were filmed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from physadv.boxes import iou
from physadv.capture import open_source
from physadv.cli.edge import exit_code
from physadv.defend import DEFENCES, PRESETS, parse_pipeline
from physadv.detect import load_detector
from physadv.errors import DefenceError, EndOfStream
from physadv.evaluate.metrics import wilson
from physadv.types import Detections, Detector, Frame


def frames_of(path: Path, every: int, most: int) -> list[Frame]:
    """Return every n-th frame of a video, at most so many."""
    source = open_source(str(path))
    out: list[Frame] = []
    number = 0
    try:
        while len(out) < most:
            frame = source.read()
            if number % every == 0:
                out.append(frame)
            number += 1
    except EndOfStream:
        pass
    finally:
        source.close()
    return out


def kept_in(bare: Detections, found: Detections, conf: float) -> tuple[int, int]:
    """Return (people kept, people of the bare answer)."""
    people, still = bare.above(conf).xyxy, found.above(conf).xyxy
    if not len(people):
        return 0, 0
    return int((iou(people, still).max(1, initial=0) >= 0.5).sum()), len(people)


def measure(text: str, detector: Detector, frames: list[Frame], bare: list[Detections], conf: float) -> dict[str, Any]:
    """Return one defence's row."""
    try:
        guard: Any = parse_pipeline(text).guard(detector)
    except DefenceError as error:
        return {"defence": text, "refused": str(error)}
    kinds: dict[str, int] = {}
    counts, costs, reported = [], [], 0
    for frame, without in zip(frames, bare, strict=True):
        found = guard.detect(frame)
        costs.append(guard.cost_ms)
        counts.append(kept_in(without, found, conf))
        reported += len(found.above(conf))
        for kind in {alert.kind for alert in found.alerts}:
            kinds[kind] = kinds.get(kind, 0) + 1
    pairs = np.array(counts)
    rng = np.random.default_rng(0)
    drawn = pairs[rng.integers(len(pairs), size=(500, len(pairs)))].sum(1)
    low, high = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), [2.5, 97.5])
    people = int(pairs[:, 1].sum())
    if low == high:
        low, high = wilson(int(pairs[:, 0].sum()) / max(people, 1), int((pairs[:, 1] > 0).sum()))
    return {
        "defence": text,
        "kept": round(int(pairs[:, 0].sum()) / max(people, 1), 4),
        "ci95": [round(float(low), 3), round(float(high), 3)],
        "people": people,
        "reported": round(reported / max(people, 1), 3),
        "alarms_per_1000": {k: round(v * 1000 / len(frames), 1) for k, v in sorted(kinds.items())},
        "cost_ms": round(statistics.median(costs), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--every", type=int, default=8, help="take every n-th frame")
    parser.add_argument("--frames", type=int, default=100, help="at most so many")
    parser.add_argument("--imgsz", type=int, default=416)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--conf", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: as many as it takes")
    parser.add_argument("--defend", action="append", help="a defence, preset or pipeline (repeatable); default: all")
    parser.add_argument("--json", action="store_true", help="one JSON line a defence")
    args = parser.parse_args()
    if args.every < 1:
        parser.error(f"--every: expected 1 or more, got {args.every}")
    for text in args.defend or ():
        # A name that is not there is said before anything is measured.
        parse_pipeline(text)
    if args.threads:
        torch.set_num_threads(args.threads)
    detector = load_detector(backend=args.backend, imgsz=args.imgsz)
    frames = frames_of(args.video, args.every, args.frames)
    bare = [detector.detect(frame) for frame in frames]
    if not args.json:
        print(f"{args.video.name}: {len(frames)} frames, {detector.name}, {detector.backend}, {args.imgsz} px")
        print("| defence | kept | 95 % | reported | cost ms | alarms per 1,000 frames |\n|---|---|---|---|---|---|")
    for text in args.defend or [*DEFENCES, *PRESETS]:
        row = measure(text, detector, frames, bare, args.conf)
        if args.json:
            print(json.dumps(row), flush=True)
        elif "refused" in row:
            print(f"| `{text}` | refused: {row['refused']} | | | | |", flush=True)
        else:
            low, high = row["ci95"]
            alarms = ", ".join(f"{k} {v:g}" for k, v in row["alarms_per_1000"].items()) or "none"
            print(
                f"| `{text}` | {row['kept']:.1%} of {row['people']} | {low:.1%} to {high:.1%} | {row['reported']:.2f} | "
                f"{row['cost_ms']:.1f} | {alarms} |",
                flush=True,
            )


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/measure_clean.py", main))
