"""What each defence costs, as one JSON line: milliseconds at 416 and 640 and ratios.

    python scripts/bench_defend.py [--quick] [--only fast,blocks] [--frames 40] [--image FILE]

cost_ms: median and p95 beyond one plain pass of the detector, on images of the size the network works at. ratio: the
cost over the plain pass beside it, which other work on the machine moves much less than milliseconds. Detector and defences
take turns, image by image. Figures with `ok` say whether they reach what is aimed at on a quiet two-core machine.
patchcleanser: time of an image with its masks in batches and early exit, over masks one at a time without.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import ultralytics

from physadv.arrays import read_image
from physadv.cli.edge import exit_code
from physadv.defend import DEFENCES, PRESETS, parse_pipeline
from physadv.detect import load_detector
from physadv.errors import DefenceError
from physadv.provenance import provenance
from physadv.types import Detector, Frame, UInt8Array

AIMS = {
    ("fast", 640): 10.0,
    ("blocks", 416): 15.0,
    ("persistence", 416): 3.0,
    ("persistence", 640): 3.0,
}


def moving(image: UInt8Array, size: int, count: int) -> list[Frame]:
    """Return frames of long side `size` that pan over an image by a few pixels, as a hand-held camera does."""
    ratio = (size + 40) / max(image.shape[:2])
    large = np.asarray(cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = (min(size, s - 20) for s in large.shape[:2])
    out = []
    for i in range(count):
        x = round((large.shape[1] - width) * (0.5 + 0.5 * np.sin(i / 7)))
        y = round((large.shape[0] - height) * (0.5 + 0.5 * np.cos(i / 9)))
        out.append(Frame(np.ascontiguousarray(large[y : y + height, x : x + width]), i, 0, i / 30))
    return out


def timed(call: Any, frame: Frame) -> float:
    """Return the milliseconds one detection took."""
    start = time.perf_counter()
    call(frame)
    return (time.perf_counter() - start) * 1000


def measure(names: list[str], detector: Detector, frames: list[Frame], size: int) -> dict[str, Any]:
    """Return the cost of each defence at one size, detector and defences taking turns."""
    guards: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            guards[name] = parse_pipeline(name).guard(detector)
        except DefenceError as error:
            refused[name] = str(error)
    for call in (detector, *guards.values()):
        call.detect(frames[0])
    plain: list[float] = []
    costs: dict[str, list[float]] = {name: [] for name in guards}
    for frame in frames:
        plain.append(timed(detector.detect, frame))
        for name, guard in guards.items():
            guard.detect(frame)
            costs[name].append(guard.cost_ms)
    base = statistics.median(plain)
    out: dict[str, Any] = {"detector_ms": round(base, 2), "size": list(frames[0].size)}
    for name, cost in costs.items():
        middle = statistics.median(cost)
        row: dict[str, Any] = {
            "cost_ms": round(middle, 2),
            "p95_ms": round(float(np.percentile(cost, 95)), 2),
            "ratio": round(middle / base, 3),
        }
        if (name, size) in AIMS:
            row["ok"] = middle <= AIMS[name, size]
        out[name] = row
    for name, reason in refused.items():
        out[name] = {"refused": reason}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames: figures are rough")
    parser.add_argument("--only", default=",".join([*DEFENCES, "fast"]), help="defences and presets, comma-separated")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--image", type=Path, default=Path(ultralytics.__file__).parent / "assets" / "bus.jpg")
    parser.add_argument("--backend", default="auto")
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := set(names) - {*DEFENCES, *PRESETS}:
        parser.error(f"--only: expected some of {', '.join([*DEFENCES, *PRESETS])}, got {', '.join(sorted(unknown))}")
    image = read_image(args.image)
    count = 5 if args.quick else args.frames
    out: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    for size in (416, 640):
        detector = load_detector(backend=args.backend, imgsz=size)
        out["backend"], out["precision"] = detector.backend, detector.precision
        out[str(size)] = measure(names, detector, moving(image, size, count), size)
    out.update({"frames": count, **provenance()})
    print(json.dumps(out))


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/bench_defend.py", main))
