"""Does training through a measured printer and camera pay? Twice the same run, with and without the profile, on one scale.

A simulated printer and camera that nothing here knows from inside (sim_print_camera.py) prints the chart and photographs
it; `physadv calibrate colour` makes the profile. Two patterns are trained alike but for --printer. Both, and a third that
is the unprofiled one sent through the profile's pre-compensation, are then printed by the simulation, worn by people whom
no run has seen, and scored: share of those whom the clean detector finds and no box finds any more, at confidence .25.

    python scripts/show_profile_gain.py --images PICTURES --labels LABELS --out runs/gain --steps 600
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from sim_print_camera import PrintAndCamera

from physadv.attack.people import gather
from physadv.attack.run import STREET_IMGSZ, grey
from physadv.attack.score import MIN_CONF, Placing, Scorer
from physadv.camera.chart import chart
from physadv.camera.profile import PrinterProfile
from physadv.cli import main as physadv
from physadv.dataset import labelled_pictures, split_by_name
from physadv.detect import load_detector
from physadv.files import write_json
from physadv.patch import Patch, load_patch


def linked(pictures: list[Path], labels: Path, names: list[str], out: Path) -> tuple[Path, Path]:
    """Return folders of links to some of the pictures and their labels."""
    folders = (out / "images", out / "labels")
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        if picture.name in names:
            for source, folder in ((picture, folders[0]), (labels / f"{picture.stem}.txt", folders[1])):
                target = folder / source.name
                if source.is_file() and not target.exists():
                    target.symlink_to(source.resolve())
    return folders


def calibrated(world: PrintAndCamera, out: Path) -> PrinterProfile:
    """Return the profile of the simulated printer and camera, made from one photograph of the chart."""
    if (out / "printer.json").exists():
        return PrinterProfile.load(out / "printer.json")
    corners = np.array([[300, 80], [1330, 120], [1400, 1560], [220, 1480]], float)
    photo = world.photograph(chart().picture(150), corners, (1600, 1640), np.random.default_rng(5))
    cv2.imwrite(str(out / "chart.jpg"), np.ascontiguousarray(photo[..., ::-1]))
    argv = ["calibrate", "colour", "--photo", str(out / "chart.jpg"), "--printer", "sim", "--camera", "sim"]
    if physadv([*argv, "--out", str(out / "printer.json")]):
        raise SystemExit("the calibration failed")
    return PrinterProfile.load(out / "printer.json")


def main() -> None:
    """Run it and write gain.json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    world = PrintAndCamera()
    profile = calibrated(world, args.out)

    pictures = [p.path for p in labelled_pictures(args.images, args.labels)]
    train_names, test_names = split_by_name([p.name for p in pictures], held_out=0.4, seed=7)
    images, labels = linked(pictures, args.labels, train_names, args.out / "train")
    for name, flags in (("without", []), ("with", ["--printer", str(args.out / "printer.json")])):
        folder = args.out / name
        if (folder / "patch.safetensors").exists():
            continue
        resume = ["--resume"] if (folder / "checkpoint.safetensors").exists() else []
        argv = ["train", "--images", str(images), "--labels", str(labels), "--out", str(folder)]
        if physadv([*argv, "--steps", str(args.steps), "--seed", str(args.seed), *flags, *resume]):
            raise SystemExit(f"the run {name} failed")

    detector = load_detector(backend="torch", imgsz=STREET_IMGSZ, min_conf=MIN_CONF)
    test_images, test_labels = linked(pictures, args.labels, test_names, args.out / "test")
    people = gather([str(test_images)], test_labels, lambda: detector, cache=args.out / "cache", say=print)
    scorer = Scorer([p for p in people.pictures if len(p.boxes)], detector, Placing())
    plain = load_patch(args.out / "without")
    shown: dict[str, Patch] = {
        "grey": grey(),
        "without": plain,
        "without, pre-compensated": replace(plain, pixels=profile.precompensate_picture(plain.pixels)),
        "with": load_patch(args.out / "with"),
    }
    rows = {"none": scorer.score(None).plain()}
    for name, patch in shown.items():
        rows[f"{name}, on screen"] = scorer.score(patch).plain()
        rows[f"{name}, printed"] = scorer.score(replace(patch, pixels=world.picture(patch.pixels))).plain()
    gain = (rows["with, printed"]["asr_strict25"] or 0) - (rows["without, printed"]["asr_strict25"] or 0)
    write_json(args.out / "gain.json", {"steps": args.steps, "seed": args.seed, "rows": rows, "gain": gain})
    print(json.dumps(rows, indent=1))
    print(f"ASR gained by the profile, seen through the printer and camera: {gain:+.3f}")


if __name__ == "__main__":
    main()
