"""Certified recall on labelled photographs or a video, and a search for a patch that breaks a certificate.

    python scripts/certify_photographs.py FOLDER [--lines 7] [--grid 0] [--still 0.2] [--held-out 0.4] [--search 200]
    python scripts/certify_photographs.py VIDEO.avi --every 40     (people: those the detector finds with score >= 0.5)

Prints a Markdown table and a JSON line. With --search N, N patches are tried on each certified person: noise, stripes,
checks, flat colours, pieces of the picture itself, then steps that keep what lowers the detector's score (greedy), each at
a place drawn from the whole picture. It ends with 1 if any of them hides a certified person.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from physadv.dataset import labelled_pictures, split_by_name
from physadv.defend.objectseeker import ObjectSeeker
from physadv.detect import load_detector
from physadv.evaluate.certified import CertifiedRecall, add_picture, table
from physadv.evaluate.patch_search import Attempt, search
from physadv.types import Detector, Float32Array, UInt8Array

Labelled = tuple[str, UInt8Array, Float32Array]


def photographs(folder: Path, held_out: float) -> Iterator[Labelled]:
    pictures = labelled_pictures(folder)
    _, names = split_by_name([p.path.name for p in pictures], held_out=held_out)
    for picture in pictures:
        if picture.path.name in names:
            pixels, people = picture.read()
            yield picture.path.name, pixels, np.zeros((0, 4), np.float32) if people is None else people


def frames(video: Path, every: int, detector: Detector) -> Iterator[Labelled]:
    capture, index = cv2.VideoCapture(str(video)), 0
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        if index % every == 0:
            pixels = np.ascontiguousarray(frame[..., ::-1]).astype(np.uint8)
            yield f"{video.name}:{index}", pixels, detector.detect_batch([pixels])[0].above(0.5).xyxy
        index += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--lines", type=int, default=7)
    parser.add_argument("--grid", type=int, default=0)
    parser.add_argument("--still", type=float, default=0.2)
    parser.add_argument("--held-out", type=float, default=0.4)
    parser.add_argument("--every", type=int, default=40)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--backend", default="torch", choices=("auto", "torch", "openvino", "onnxruntime"))
    parser.add_argument("--min-area", type=float, default=0.02)
    parser.add_argument("--search", type=int, default=0, help="patches tried on each certified person")
    parser.add_argument("--people", type=int, default=20, help="certified people searched at most")
    args = parser.parse_args()
    detector = load_detector(imgsz=args.imgsz, backend=args.backend)
    defence = ObjectSeeker(lines=args.lines, grid=args.grid, still=args.still, per_frame=0)
    data = frames(args.data, args.every, detector) if args.data.is_file() else photographs(args.data, args.held_out)
    out, start, attempts = CertifiedRecall(defence), time.perf_counter(), list[Attempt]()
    for name, pixels, people in data:
        add_picture(out, detector, pixels, people, min_area=args.min_area)
        if args.search and len(attempts) < args.people:
            rng = np.random.default_rng([0, len(attempts)])
            attempts += search(
                detector, defence, pixels, people, rng, tries=args.search, name=name, min_area=args.min_area
            )
    print(table([out]))
    broken = [a for a in attempts if a.hidden]
    record = out.record() | {
        "data": args.data.name,
        "detector": f"{detector.name} {detector.backend} {detector.precision} {args.imgsz}",
        "seconds_a_picture": round((time.perf_counter() - start) / max(out.pictures, 1), 2),
        "searched": {
            "people": len(attempts),
            "patches": sum(a.tries for a in attempts),
            "hidden_from_the_undefended": sum(a.fooled for a in attempts),
            "certificates_broken": len(broken),
        },
    }
    print(json.dumps(record))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
