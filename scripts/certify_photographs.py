"""Certified recall on labelled photographs or a video, and a search for a patch that breaks a certificate.

    python scripts/certify_photographs.py FOLDER [--lines 7] [--grid 0] [--still 0.2] [--held-out 0.4] [--limit 20]
    python scripts/certify_photographs.py FOLDER --search 200 --people 12 --patterns webcam pattern.png [--where close]
    python scripts/certify_photographs.py VIDEO.avi --every 40     (people: those the detector finds with score >= 0.5)

Prints a Markdown table and a JSON line. With --search N, N patches are tried on each certified person: noise, stripes,
checks, flat colours, pieces of the image itself and the named patterns, every other one a change of the patch that so far
lowers the detector's score most (so N / 2 restarts), each at a place drawn from the location class that is certified. It
ends with 1 if any of them hides a certified person.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from patch_search import Attempt, search

from physadv.boxes import area
from physadv.cli.edge import exit_code
from physadv.dataset import labelled_images, split_by_name
from physadv.defend.masks import PLACES
from physadv.defend.objectseeker import ObjectSeeker
from physadv.detect import load_detector
from physadv.evaluate.certified import CertifiedRecall, record, table
from physadv.patch import load_patch
from physadv.types import Detector, Float32Array, UInt8Array

Labelled = tuple[str, UInt8Array, Float32Array]


def photographs(folder: Path, held_out: float) -> Iterator[Labelled]:
    images = labelled_images(folder)
    _, names = split_by_name([p.path.name for p in images], held_out=held_out)
    for image in images:
        if image.path.name in names:
            pixels, people = image.read()
            yield image.path.name, pixels, np.zeros((0, 4), np.float32) if people is None else people


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
    parser.add_argument(
        "--patterns", nargs="*", default=[], help="patterns, by name or file, that the search starts from"
    )
    parser.add_argument(
        "--where", default="anywhere", choices=PLACES, help="location class of the search's certificate"
    )
    parser.add_argument("--patch", type=float, default=0.01, help="patch of the search, fraction of the image")
    parser.add_argument("--of-box", action="store_true", help="the fraction is of the person's box")
    parser.add_argument("--limit", type=int, default=0, help="images looked at most; 0: all")
    parser.add_argument("--people", type=int, default=20, help="with --search: stop after so many people certified")
    args = parser.parse_args()
    detector = load_detector(imgsz=args.imgsz, backend=args.backend)
    defence = ObjectSeeker(
        lines=args.lines,
        grid=args.grid,
        still=args.still,
        patch=args.patch,
        of_box=args.of_box,
        where=args.where,
        per_frame=0,
    )
    starts = [load_patch(p).pixels for p in args.patterns]
    data = frames(args.data, args.every, detector) if args.data.is_file() else photographs(args.data, args.held_out)
    out, start, attempts = CertifiedRecall(detector, defence), time.perf_counter(), list[Attempt]()
    for name, pixels, people in islice(data, args.limit or None):
        if args.search and len(attempts) >= args.people:
            break
        large = area(people) > args.min_area * pixels.shape[0] * pixels.shape[1]
        out.add(pixels, people[large])
        if args.search:
            rng = np.random.default_rng([0, len(attempts)])
            tried = search(
                detector,
                defence,
                pixels,
                people,
                rng,
                tries=args.search,
                starts=starts,
                name=name,
                min_area=args.min_area,
            )
            attempts += tried
            for t in tried:
                print(f"{name}: {t.tries} patches, fooled {t.fooled}, broken {t.hidden}", file=sys.stderr, flush=True)
    cells = out.cells(defence.name)
    print(table(cells).markdown())
    broken = [a for a in attempts if a.hidden]
    figures = record(cells) | {
        "data": args.data.name,
        "detector": f"{detector.name} {detector.backend} {detector.precision} {args.imgsz}",
        "seconds_an_image": round((time.perf_counter() - start) / max(out.images, 1), 2),
        "searched": {
            "where": args.where,
            "patch": args.patch,
            "of_box": args.of_box,
            "patterns": [Path(p).stem for p in args.patterns],
            "people": len(attempts),
            "patches": sum(a.tries for a in attempts),
            "hidden_from_the_undefended": sum(a.fooled for a in attempts),
            "certificates_broken": len(broken),
        },
    }
    print(json.dumps(figures))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/certify_photographs.py", main))
