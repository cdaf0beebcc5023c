"""Does `physadv advise` predict what a camera will see? Compares what it expects with simulated cameras at 1, 2, 3 and 5 m.

Each person is shown at every size of the curve's grid and before every camera, several times where few can be. Then it
is counted twice: with everybody on both sides, which shows what the curve itself gets wrong (its grid, interpolation,
scaling); and with the curve from half of the photographs and the cameras on the other half, over many random halves,
which adds what so few people differ by chance. How far the two halves' own simulated figures lie apart is printed beside
it.

    python scripts/check_advise.py webcam --images PEOPLE [--labels LABELS] [--out figures.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physadv.arrays import LeftOut
from physadv.camera.lens import PERSON_CM
from physadv.cli.advise import held_out
from physadv.cli.edge import exit_code
from physadv.dataset import labelled_images
from physadv.detect import load_detector
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DataError
from physadv.evaluate.size_curve import (
    CANVAS,
    ENLARGE,
    FEWEST,
    SizeTrial,
    Subject,
    Tried,
    shots,
    subjects,
    table,
    try_grid,
)
from physadv.fabricate.advise import Optics, PrintInView, SizeCurve, aspect_of, seen
from physadv.files import write_json
from physadv.patch import Patch, load_patch
from physadv.types import BoolArray, Detector

DISTANCES = (1.0, 2.0, 3.0, 5.0)
SPLITS = 200


def main() -> None:
    """Try everything once, count, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patch")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--size", type=float, nargs="+", help="printed widths in cm; the pattern's own unless given")
    parser.add_argument("--resolution", nargs="+", default=["640x480", "1280x720"])
    parser.add_argument("--fov", type=float, default=60.0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    patch = load_patch(given.patch)
    images = held_out(labelled_images(given.images, given.labels), patch)
    detector = load_detector(DEFAULT_DETECTOR, backend=given.backend, imgsz=CANVAS, precision="fp32")
    left_out = LeftOut()
    people = subjects(images, detector, left_out=left_out)
    print(*left_out.lines(), sep="\n")
    print(f"{patch.name}: {len(people)} people in {len({id(p.image.pixels) for p in people})} images not trained on")
    grid = try_grid(patch, people, detector)
    cameras: list[tuple[dict[str, Any], PrintInView, Tried]] = []
    for resolution in given.resolution:
        width, height = (int(v) for v in resolution.split("x"))
        optics = Optics.from_fov(width, height, given.fov, CANVAS)
        for size in given.size or [patch.size_mm[0] / 10]:
            # The cells know the side of the square of the same area.
            side = size * aspect_of(patch) ** 0.5
            for distance in DISTANCES:
                view = seen(optics, distance_m=distance, side_cm=side, person_cm=PERSON_CM)
                tried = simulate(patch, people, detector, optics, distance_m=distance, side_cm=side)
                about = {"camera": resolution, "size_cm": size, "height_cm": round(size * aspect_of(patch), 1)}
                cameras.append(({**about, "distance_m": distance}, view, tried))
    rows = compared(grid, cameras, halves(people), detector)
    for row in rows:
        print(line(row), flush=True)
    figures = summary(rows)
    print("  ".join(f"{k} {v}" for k, v in figures.items()))
    if given.out is not None:
        whole = {"patch": patch.name, "sha256": patch.sha256, "people": len(people), "splits": SPLITS, **figures}
        write_json(given.out, {**whole, "rows": rows})


def halves(people: Sequence[Subject]) -> list[BoolArray]:
    """Return (n,) masks: random halves of the photographs, with everybody in them."""
    _, image = np.unique([id(p.image.pixels) for p in people], return_inverse=True)
    rng = np.random.default_rng(0)
    count = int(image.max()) + 1
    return [(rng.permutation(count) < count / 2)[image] for _ in range(SPLITS)]


def compared(
    grid: dict[tuple[float, float, float], Tried],
    cameras: list[tuple[dict[str, Any], PrintInView, Tried]],
    splits: list[BoolArray],
    detector: Any,
) -> list[dict[str, Any]]:
    """Return one row for each camera: what the curve expects, what was simulated, and the same between halves."""
    whole = SizeCurve(table(grid, detector))
    apart: list[list[tuple[float, float]]] = [[] for _ in cameras]
    for half in splits:
        try:
            curve = SizeCurve(table(grid, detector, who=half))
        except DataError:
            continue
        for (_, view, tried), out in zip(cameras, apart, strict=True):
            here, there = tried.cell(half), tried.cell(~half)
            if min(here.n, there.n) >= FEWEST:
                out.append((curve.expected(view).asr - there.asr, here.asr - there.asr))
    rows = []
    for (about, view, tried), found in zip(cameras, apart, strict=True):
        cell, expected = tried.cell(), whole.expected(view).asr
        row = {**about, "expected": round(expected, 3), "simulated": round(cell.asr, 3), "n": cell.n}
        row |= {"ci95": [round(v, 3) for v in cell.ci95], "difference": round(expected - cell.asr, 3)}
        if found:
            others, chance = np.abs(np.array(found)).T
            row |= {"others": round(float(others.mean()), 3), "chance": round(float(chance.mean()), 3)}
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means and worst cases over the rows in which there were people."""
    used = [r for r in rows if r["n"] >= FEWEST]
    if not used:
        return {"rows": 0}
    off = np.abs([r["difference"] for r in used])
    out = {"rows": len(used), "mean": round(float(off.mean()), 3), "worst": round(float(off.max()), 3)}
    for name in ("others", "chance"):
        values = [r[name] for r in used if name in r]
        if values:
            out[f"{name} mean"] = round(float(np.mean(values)), 3)
    return out


def line(row: dict[str, Any]) -> str:
    """Return a row in words."""
    low, high = row["ci95"]
    text = (
        f"{row['camera']:>9} {row['size_cm']:g} x {row['height_cm']:g} cm {row['distance_m']:g} m: "
        f"expected {row['expected']:.2f}, simulated "
        f"{row['simulated']:.2f} ({low:.2f} to {high:.2f}, n {row['n']}), difference {row['difference']:+.2f}"
    )
    if "others" in row:
        text += f"; other people {row['others']:.2f}, by chance alone {row['chance']:.2f}"
    return text


def simulate(
    patch: Patch, people: Sequence[Subject], detector: Detector, optics: Optics, *, distance_m: float, side_cm: float
) -> Tried:
    """Return what a pinhole camera's images give of each person, at that distance, the print at its true size.

    detector: with imgsz as in `optics`. The images have the camera's resolution; the detector scales them itself.

    Raises: FabricationError if distance or size are absurd.
    """
    view = seen(optics, distance_m=distance_m, side_cm=side_cm, person_cm=PERSON_CM)
    frame = (optics.width, optics.height)
    drawn = shots(
        people,
        person_px=view.person_px / optics.scale,
        frame=frame,
        rng=np.random.default_rng([0, round(distance_m * 1000)]),
        # What the detector shrinks again is no mush to it.
        enlarge=ENLARGE / min(1.0, optics.scale),
    )
    return SizeTrial(drawn, detector).wears(patch, view.relative)


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/check_advise.py", main))
