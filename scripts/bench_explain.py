"""What explaining costs, as one JSON line: occlusion sensitivity of one person, and the live page's map beside a pass.

    python scripts/bench_explain.py [--image PHOTOGRAPH] [--rounds 30]

occlusion: seconds of the exact map of the largest person, its passes, and what one takes. live: milliseconds of a pass of
the demo's detector over the whole image and of a map of the nearest person, by turns, medians, and the median ratio,
which other work on the machine moves much less; the maps a second that there is room for beside a pass each.
Without a photograph both are of the built-in sample, 640 x 480. Figures with `ok` say if they reach what is aimed at on
a quiet machine of two cores: 10 seconds, and a map that costs less than a pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from physadv.arrays import read_image
from physadv.boxes import area
from physadv.capture.sample import SampleSource
from physadv.cli.edge import exit_code
from physadv.detect import load_detector
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DataError
from physadv.explain.occlusion import occlusion_map, passes
from physadv.explain.run import shrunk
from physadv.live.looking import Looking
from physadv.live.settings import Controls
from physadv.live.shown import Shown
from physadv.provenance import provenance
from physadv.types import Detector, Frame, UInt8Array

MOST_S, IMGSZ = 10.0, 640


def bench_occlusion(detector: Detector, image: UInt8Array) -> dict[str, Any]:
    """Return what the exact map of the largest person takes."""
    people = detector.detect(Frame(image, 0, 0, 0.0)).above(0.25)
    if not len(people):
        raise DataError("image: nobody is found whose score could be explained")
    box = people.xyxy[int(area(people.xyxy).argmax())]
    count = passes(image, box)
    began = perf_counter()
    occlusion_map(detector, image, box)
    took = perf_counter() - began
    return {
        "seconds": round(took, 2), "passes": count, "ms_a_pass": round(took / count * 1000, 1), "ok": took <= MOST_S,
        "backend": detector.backend,
    }  # fmt: skip


def bench_map(detector: Detector, image: UInt8Array, rounds: int) -> dict[str, Any]:
    """Return what a map of the nearest person takes beside a pass of the detector, by turns."""
    looking, frame = Looking(lambda name: name), Frame(image, 0, 0, 0.0)
    shown = Shown(
        number=0, frame=frame, clean=frame, people=detector.detect(frame), bare=None, top=0.0, bare_top=None,
        controls=Controls(), defences=(), detector=DEFAULT_DETECTOR,
    )  # fmt: skip
    looking.look(shown, None)
    plain, maps = [], []
    for _ in range(rounds):
        began = perf_counter()
        detector.detect(frame)
        between = perf_counter()
        looking.look(shown, None)
        plain.append(between - began)
        maps.append(perf_counter() - between)
    ratio = statistics.median(m / p for m, p in zip(maps, plain, strict=True))
    both = statistics.median(np.add(maps, plain).tolist())
    return {
        "pass_ms": round(statistics.median(plain) * 1000, 1), "map_ms": round(statistics.median(maps) * 1000, 1),
        "ratio": round(ratio, 2), "maps_a_second": round(1 / both, 1), "rounds": rounds, "ok": ratio < 1,
    }  # fmt: skip


def main() -> int:
    """Print one JSON line; return 0 if both figures reach their aims, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--image", type=Path, help="a photograph with people; without it the built-in sample")
    parser.add_argument("--rounds", type=int, default=30, help="of a pass and a map, by turns")
    args = parser.parse_args()
    image = shrunk(read_image(args.image)) if args.image else SampleSource().image(0)
    detector = load_detector(DEFAULT_DETECTOR, imgsz=IMGSZ)
    out = {"occlusion": bench_occlusion(detector, image), "live": bench_map(detector, image, max(args.rounds, 1))}
    print(json.dumps({**out, "image": list(image.shape[1::-1]), **provenance()}))
    return 0 if all(part["ok"] for part in out.values()) else 1


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/bench_explain.py", main))
