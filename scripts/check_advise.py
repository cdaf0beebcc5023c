"""Does `physadv advise` tell what a camera will see? Measures the size curve on one half of the pictures, then compares it
with simulated cameras on the other half and on both, at 1, 2, 3 and 5 m.

    python scripts/check_advise.py chest-v1 --images PEOPLE [--out figures.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from physadv.cli.advise import held_out
from physadv.dataset import labelled_pictures
from physadv.detect import load_detector
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.evaluate.size_curve import CANVAS, Cell, measure, simulate, subjects
from physadv.fabricate.advise import Optics, SizeCurve, seen
from physadv.files import write_json
from physadv.patch import load_patch

DISTANCES = (1.0, 2.0, 3.0, 5.0)


def main() -> None:
    """Measure, simulate, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patch")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--size", type=float, nargs="+", default=[25.0, 40.0], help="printed widths in cm")
    parser.add_argument("--resolution", nargs="+", default=["640x480", "1280x720"])
    parser.add_argument("--fov", type=float, default=60.0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    patch = load_patch(given.patch)
    pictures = held_out(labelled_pictures(given.images), patch.record)
    detector = load_detector(DEFAULT_DETECTOR, backend=given.backend, imgsz=CANVAS, precision="fp32")
    halves = [subjects(pictures[i::2], detector) for i in (0, 1)]
    print(f"{patch.name}: {len(pictures)} pictures; {len(halves[0])} people measured, {len(halves[1])} others")
    table = measure(patch, halves[0], detector)
    curve, rows = SizeCurve(table), []
    for resolution in given.resolution:
        width, height = (int(v) for v in resolution.split("x"))
        optics = Optics.from_fov(width, height, given.fov, CANVAS)
        for size in given.size:
            for distance in DISTANCES:
                expected = curve.expected(seen(optics, distance_m=distance, side_cm=size)).asr
                cells = [simulate(patch, h, detector, optics, distance_m=distance, side_cm=size) for h in halves]
                both = Cell(cells[0].n + cells[1].n, cells[0].hidden + cells[1].hidden)
                rows.append(
                    {
                        "camera": resolution,
                        "size_cm": size,
                        "distance_m": distance,
                        "expected": round(expected, 3),
                        **{name: _plain(c) for name, c in zip(("same", "others", "both"), (*cells, both), strict=True)},
                    }
                )
                print(_line(rows[-1]), flush=True)
    if given.out is not None:
        write_json(given.out, {"patch": patch.name, "sha256": patch.sha256, "curve": table, "rows": rows})


def _plain(cell: Cell) -> dict[str, Any]:
    return {"n": cell.n, "asr": round(cell.asr, 3), "ci95": [round(v, 3) for v in cell.ci95]}


def _line(row: dict[str, Any]) -> str:
    parts = [f"{name} {row[name]['asr']:.2f} (n {row[name]['n']})" for name in ("same", "others", "both")]
    return (
        f"{row['camera']:>9} {row['size_cm']:g} cm {row['distance_m']:g} m: expected {row['expected']:.2f}, "
        f"simulated {', '.join(parts)}"
    )


if __name__ == "__main__":
    main()
