"""Times of the defences that ask about several views, one JSON line: frames a second live, and double masking's ratio.

    python scripts/bench_certificates.py [--imgsz 416] [--frames 40]

The ratio compares, on the same windows and interleaved: double masking with batches and early exit against every one-mask
and two-mask view asked one at a time; and against early exit one at a time, which shows what batching alone gives.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import ultralytics

from physadv.arrays import read_image
from physadv.cli.edge import exit_code
from physadv.defend import parse_pipeline
from physadv.defend.masks import hide
from physadv.defend.patchcleanser import Pair, PatchCleanser, settle
from physadv.detect import load_detector
from physadv.types import Detector, Frame, UInt8Array


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def settled(defence: PatchCleanser, detector: Detector, window: UInt8Array, *, batch: int = 8) -> int:
    """Return how many masked views the answer takes."""
    masks = defence.masks(window.shape[1], window.shape[0])

    def ask(pairs: Sequence[Pair]) -> list[bool]:
        found = detector.detect_batch([hide(window, masks[sorted(set(p))]) for p in pairs])
        return [bool((d.score >= defence.conf).any()) for d in found]

    return len(settle(len(masks), ask, batch=batch)[1])


def one_at_a_time(defence: PatchCleanser, detector: Detector, window: UInt8Array) -> None:
    masks = defence.masks(window.shape[1], window.shape[0])
    for i, j in combinations_with_replacement(range(len(masks)), 2):
        detector.detect_batch([hide(window, masks[sorted({i, j})])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgsz", type=int, default=416)
    parser.add_argument("--backend", default="auto", choices=("auto", "torch", "openvino", "onnxruntime"))
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    detector = load_detector(imgsz=args.imgsz, backend=args.backend)
    image = np.ascontiguousarray(read_image(Path(ultralytics.__file__).parent / "assets" / "bus.jpg")[::2, ::2])
    out: dict[str, object] = {"detector": f"{detector.name} {detector.backend} {detector.precision} {args.imgsz}"}
    for name in ("none", "objectseeker", "patchcleanser", "consistency", "probes"):
        guard = parse_pipeline(name).guard(detector)
        guard.detect(Frame(image.copy(), 0, 0, 0.0))
        times = [seconds(lambda i=i, g=guard: g.detect(Frame(image.copy(), i, 0, 0.0))) for i in range(args.frames)]  # type: ignore[misc]
        out[name] = {"ms": round(1000 * float(np.median(times)), 1), "fps": round(1 / float(np.median(times)), 1)}
    defence, window = PatchCleanser(), np.ascontiguousarray(image[160:470, 0:200])
    # Once unmeasured: networks are compiled for each size of batch.
    settled(defence, detector, window)
    fast, slow, single = [], [], []
    for _ in range(args.rounds):
        fast.append(seconds(lambda: settled(defence, detector, window)))
        slow.append(seconds(lambda: one_at_a_time(defence, detector, window)))
        single.append(seconds(lambda: settled(defence, detector, window, batch=1)))
    out["double_masking"] = {
        "ms": round(1000 * float(np.median(fast)), 1),
        "looks": settled(defence, detector, window),
        "times_faster_than_all_views_one_at_a_time": round(float(np.median(np.divide(slow, fast))), 2),
        "times_faster_than_early_exit_one_at_a_time": round(float(np.median(np.divide(single, fast))), 2),
    }
    print(json.dumps(out))


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/bench_certificates.py", main))
