r"""Does training through a measured printer and camera pay? Twice the same run, with and without the profile, on one scale.

A simulated printer and camera that nothing here knows from inside (sim_print_camera.py) prints the chart and photographs
it; `physadv calibrate colour` makes the profile. Two patterns are trained alike but for --printer. Both, and a third that
is the unprofiled one sent through the profile's pre-compensation, are then printed by the simulation, worn by people that
no run has seen, and scored: share of those that the clean detector finds and no box finds any more, at confidence .25.

Photographs are split by name, clips held out whole. Prints of people in the street cover a part of the torso, before a
webcam all of it (sides .35 and .65 of the square root of the box):

    python scripts/show_profile_gain.py --images IMAGES --labels LABELS --out runs/gain
    python scripts/show_profile_gain.py --framing webcam --images IMAGES a.mkv --labels LABELS --test b.mkv \
        --out runs/near

Interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import cv2
import numpy as np
import torch
from sim_print_camera import PrintAndCamera

from physadv.attack.data import SCORED_AT_MOST
from physadv.attack.score import HeldOutPeople
from physadv.camera.chart import chart
from physadv.camera.profile import PrinterProfile
from physadv.cli import main as physadv
from physadv.cli.edge import exit_code
from physadv.controls import control
from physadv.dataset import labelled_images, split_by_name
from physadv.detect import load_detector
from physadv.detect.matching import AP_CONF
from physadv.evaluate.images import Labeller, gather
from physadv.evaluate.size_curve import CANVAS
from physadv.evaluate.steps import finish
from physadv.files import write_json
from physadv.patch import Patch, load_patch
from physadv.simulate.framing import STREET_IMGSZ, WEBCAM_IMGSZ
from physadv.simulate.placement import Placement

Rows = dict[str, dict[str, Any]]


def linked(images: list[Path], labels: Path, names: list[str], out: Path) -> tuple[Path, Path]:
    """Return folders of links to some of the images and their labels."""
    folders = (out / "images", out / "labels")
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        if image.name in names:
            for source, folder in ((image, folders[0]), (labels / f"{image.stem}.txt", folders[1])):
                target = folder / source.name
                if source.is_file() and not target.exists():
                    target.symlink_to(source.resolve())
    return folders


def calibrated(world: PrintAndCamera, out: Path) -> PrinterProfile:
    """Return the profile of the simulated printer and camera, made from one photograph of the chart."""
    if (out / "printer.json").exists():
        return PrinterProfile.load(out / "printer.json")
    corners = np.array([[300, 80], [1330, 120], [1400, 1560], [220, 1480]], float)
    photo = world.photograph(chart().image(150), corners, (1600, 1640), np.random.default_rng(5))
    cv2.imwrite(str(out / "chart.jpg"), np.ascontiguousarray(photo[..., ::-1]))
    argv = ["calibrate", "colour", "--photo", str(out / "chart.jpg"), "--printer", "sim", "--camera", "sim"]
    if physadv([*argv, "--out", str(out / "printer.json")]):
        raise SystemExit("the calibration failed")
    return PrinterProfile.load(out / "printer.json")


def train_both(args: argparse.Namespace, images: list[Path], labels: Path | None, printer: Path) -> None:
    """Train `without` and `with` alike, or go on with them.

    Raises: SystemExit if a run fails.
    """
    for name, flags in (("without", []), ("with", ["--printer", str(printer)])):
        folder = args.out / name
        if (folder / "run.json").exists() and json.loads((folder / "run.json").read_text())["done"]:
            continue
        resume = ["--resume"] if (folder / "checkpoint.safetensors").exists() else []
        argv = ["train", *(word for p in images for word in ("--images", str(p))), "--out", str(folder)]
        argv += ["--labels", str(labels)] if labels else []
        argv += ["--framing", args.framing, "--steps", str(args.steps), "--seed", str(args.seed)]
        argv += ["--batch", str(args.batch), *args.flags.split()]
        argv += ["--threads", str(args.threads)] if args.threads else []
        if physadv([*argv, *flags, *resume]):
            raise SystemExit(f"the run {name} failed")


def scored(
    where: str, labels: Path | None, framing: str, sizes: tuple[int, ...], cache: Path
) -> dict[str, Callable[[Patch], Any]]:
    """Return scorers of the people in a folder or clip by name, one for each `imgsz` in `sizes`."""
    placement = Placement("chest", scale=0.65) if framing == "webcam" else Placement("poster", scale=0.35)
    people = finish(
        gather([where], labels, Labeller(lambda: load_detector(backend="torch", imgsz=CANVAS), cache)), print
    )
    shown = [p for p in people.images if len(p.boxes)]
    # Frames of a clip are near copies of each other: some of them say as much as all.
    if not Path(where).is_dir():
        shown = shown[:: max(-(-len(shown) // SCORED_AT_MOST), 1)]
    out: dict[str, Callable[[Patch], Any]] = {}
    for imgsz in sizes:
        detector = load_detector(backend="torch", imgsz=imgsz, min_conf=AP_CONF)
        out[f"{Path(where).name}, {framing}, {imgsz} px"] = partial(_figures, HeldOutPeople(shown, detector, placement))
    return out


def _figures(scorer: HeldOutPeople, patch: Patch) -> dict[str, Any]:
    return dict(scorer.score(patch).plain())


def main() -> None:
    """Run it and write gain.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, help="folders, of which 40 %% are held out, and clips"
    )
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--test", nargs="*", default=[], help="clips and folders of which nothing is trained on")
    parser.add_argument("--flags", default="", help="more flags for both runs, such as '--start webcam --lr .02'")
    parser.add_argument("--framing", choices=("street", "webcam"), default="street")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    world = PrintAndCamera()
    profile = calibrated(world, args.out)

    folders = [p for p in args.images if p.is_dir()]
    images = [p for p in args.images if not p.is_dir()]
    scorers: dict[str, Callable[[Patch], Any]] = {}
    cache = args.out / "cache"
    if folders:
        files = [p.path for where in folders for p in labelled_images(where, args.labels)]
        train_names, test_names = split_by_name([p.name for p in files], held_out=0.4, seed=7)
        images.append(linked(files, args.labels, train_names, args.out / "train")[0])
        held, held_labels = linked(files, args.labels, test_names, args.out / "test")
        scorers |= scored(str(held), held_labels, args.framing, (STREET_IMGSZ,), cache)
    train_both(args, images, args.out / "train" / "labels" if folders else None, args.out / "printer.json")

    sizes = WEBCAM_IMGSZ if args.framing == "webcam" else (STREET_IMGSZ,)
    for where in args.test:
        photographs = Path(where).is_dir()
        labels = args.labels if photographs else None
        scorers |= scored(where, labels, args.framing, (STREET_IMGSZ,) if photographs else sizes, cache)
    # The last pattern of each run, not the one that did best: which that is, is partly luck with few people.
    plain, through = (load_patch(args.out / name / "latest.safetensors") for name in ("without", "with"))
    shown: dict[str, Patch] = {
        "grey": control(plain, "grey", np.random.default_rng(0)),
        "without": plain,
        "without, pre-compensated": replace(plain, pixels=profile.precompensate_image(plain.pixels)),
        "with": through,
    }
    result: dict[str, Any] = {
        "framing": args.framing,
        "steps": args.steps,
        "batch": args.batch,
        "seed": args.seed,
        "flags": args.flags,
        "tests": {},
    }
    for name, score in scorers.items():
        rows: Rows = {}
        for label, patch in shown.items():
            rows[f"{label}, on screen"] = score(patch)
            rows[f"{label}, printed"] = score(replace(patch, pixels=world.image(patch.pixels)))
        gain = (rows["with, printed"]["asr_strict25"] or 0) - (rows["without, printed"]["asr_strict25"] or 0)
        result["tests"][name] = {"gain": round(gain, 4), "rows": rows}
        print(json.dumps(rows, indent=1))
        print(f"{name}: ASR gained by the profile, seen through the printer and camera: {gain:+.3f}", flush=True)
    write_json(args.out / "gain.json", result)


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/show_profile_gain.py", main))
