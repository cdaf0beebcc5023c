"""Put a finished run's pattern among the shipped ones, with figures on people that it was not trained on.

    python scripts/ship_pattern.py RUN NAME --images IMAGES --labels LABELS [--clip VIDEO] --use "One sentence."

Writes physadv/patterns/NAME.{safetensors,png,md}. Street: the photographs that the run was not trained on, 416 px, its rule
and scale. Clip: a video of one person who fills the image, that no run was trained on, side .65 and .45 sqrt(w h) on
the chest, or the texture over the torso, 320 and 640 px. Each beside none, grey and the pattern's own pixels shuffled.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from physadv.attack.recipe import Recipe
from physadv.attack.score import HeldOutPeople
from physadv.cli.edge import exit_code
from physadv.controls import control
from physadv.dataset import LabelledImage
from physadv.detect import load_detector
from physadv.detect.matching import AP_CONF
from physadv.detect.weights import DEFAULT_DETECTOR, cache_dir, find_weights
from physadv.evaluate.images import Labeller, gather
from physadv.evaluate.steps import finish
from physadv.files import atomic_write
from physadv.patch import SHIPPED, Patch, load_patch, save_patch
from physadv.simulate.framing import STREET_IMGSZ, WEBCAM_IMGSZ
from physadv.simulate.placement import Placement
from physadv.types import Detector

COLUMNS = ("n_people", "recall25", "ap50", "asr_strict25", "hidden25", "mean_max_conf", "mean_max_conf_within")
CLIP_FRAMES = 45
NOTE = (
    "AP50 at confidence from .001. asr_strict25: of those that the clean detector finds, the share without any box at .25\n"
    "that overlaps them above IoU .1. hidden25: no box at .25 on or within the person;\n"
    "mean_max_conf_within: the mean of its best confidence. Controls: grey, and the pattern's own pixels shuffled.\n"
)


def people(images: list[str], labels: Path | None) -> list[LabelledImage]:
    """Return images with their people, from labels or by the clean detector."""

    def labeller() -> Detector:
        return load_detector(DEFAULT_DETECTOR, backend="torch", imgsz=640)

    cache = cache_dir() / "people-exact" / find_weights(DEFAULT_DETECTOR).sha256[:16]
    return finish(gather(images, labels, Labeller(labeller, cache)), print).images


def scored(patch: Patch, images: list[LabelledImage], placement: Placement, imgsz: int) -> dict[str, dict[str, Any]]:
    """Return the figures of the pattern and its controls on images."""
    detector = load_detector(DEFAULT_DETECTOR, backend="torch", imgsz=imgsz, min_conf=AP_CONF)
    scorer = HeldOutPeople(images, detector, placement)
    plain, shuffled = (control(patch, kind, np.random.default_rng(0)) for kind in ("grey", "shuffled"))
    rows = {"none": None, "grey": plain, "shuffled": shuffled, patch.name: patch}
    return {name: scorer.score(worn).plain() for name, worn in rows.items()}


def card(patch: Patch, use: str, tables: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the pattern's card in Markdown."""
    record, size = patch.record, " x ".join(f"{s:g}" for s in patch.size_mm)
    settings, split = Recipe.model_validate(record["settings"]), record["split"]
    lines = [f"# {patch.name}", "", use, "", f"* Size: {size} mm. Target: {patch.target}. SHA-256 of the pattern:"]
    lines[-1] += f" `{patch.sha256[:16]}...`"
    lines += [
        *(
            [
                f"* No step of the run did better on those held out than {record['start']['name']}, which is what was kept."
            ]
            if record.get("kept") == "start"
            else []
        ),
        f"* Made by one `physadv train` against {record['detectors'][0]['name']}: target {patch.target}, framing"
        f" {settings.framing}, {settings.total_steps} steps, seed {settings.seed}; kept is step {record['step']}, the"
        " best by people held out, helped by those trained on where few are. All settings and the split"
        f" ({len(split['train'])} images or stretches of video to train on, {len(split['held_out'])} held out) are in"
        " the record.",
        f"* Figures: float32 PyTorch on a CPU, {date.today()}. Simulated wear (pasted flat), not photographed prints. The"
        " best step was picked on the people held out, so their figures flatter a little.",
        "",
    ]
    for title, rows in tables.items():
        lines += [f"## {title}", "", f"| condition | {' | '.join(COLUMNS)} |", f"|{'---|' * (len(COLUMNS) + 1)}"]
        lines += [f"| {name} | {' | '.join(str(row[c]) for c in COLUMNS)} |" for name, row in rows.items()]
        lines.append("")
    return "\n".join(lines) + "\n" + NOTE


def main() -> None:
    """Score, and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--use", required=True, help="what the pattern is for, in a sentence")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    given = parser.parse_args()
    patch = replace(load_patch(given.run), name=given.name)
    settings = Recipe.model_validate(patch.record["settings"])
    both = settings.model_copy(update={"framing": "mixed"}).placements()
    trained = set(patch.record["split"]["train"])
    out = [p for p in people([str(given.images)], given.labels) if p.name not in trained]
    shirt = patch.tiles
    worn = "over the torso" if shirt else f"side {settings.scale:g} by {settings.rule}"
    title = f"street, {len(out)} photographs not trained on, {worn}, {STREET_IMGSZ} px"
    tables = {title: scored(patch, out, both["street"][0], STREET_IMGSZ)}
    if given.clip:
        frames = people([str(given.clip)], None)
        frames = frames[:: max(len(frames) // CLIP_FRAMES, 1)]
        for scale in (0.65,) if shirt else (0.65, 0.45):
            where = "over the torso" if shirt else f"side {scale:g} on the chest"
            for imgsz in WEBCAM_IMGSZ:
                tables[f"a webcam clip not trained on, {where}, {imgsz} px"] = scored(
                    patch, frames, replace(both["webcam"][0], scale=scale), imgsz
                )
    patch = replace(patch, record={**patch.record, "held_out": tables})
    save_patch(patch, given.out, stem=given.name)
    with atomic_write(given.out / f"{given.name}.md") as stream:
        stream.write(card(patch, given.use, tables).encode())
    print(card(patch, given.use, tables))


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/ship_pattern.py", main))
