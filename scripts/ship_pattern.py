"""Put a finished run's pattern among the shipped ones, with figures on people that it was not trained on.

    python scripts/ship_pattern.py RUN NAME --images IMAGES [--labels LABELS] [--clip VIDEO ...] [--seated IMAGES]
        [--heads IMAGES] --use "One sentence."

Writes physadv/patterns/NAME.{safetensors,png,md}. Street: the photographs that neither the run nor what it began from was
trained on, 416 px, its own rule and scale. Clips: videos of one person each who fills the image, on whom nothing was
trained, worn as before a webcam, a chest print also at side .45, 320 and 640 px. Seated: photographs of people who fill
the image as before a webcam, worn and scored alike; heads: of people cut off at the chest. Each beside none, grey and
the pattern's own pixels shuffled. The size curve is measured on the photographs of the street, about five minutes on one
core.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from physadv.arrays import LeftOut
from physadv.attack.recipe import Recipe
from physadv.attack.score import HeldOutPeople
from physadv.cli.advise import held_out
from physadv.cli.edge import exit_code
from physadv.controls import control
from physadv.dataset import LabelledImage, labelled_images
from physadv.detect import load_detector
from physadv.detect.matching import AP_CONF
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.evaluate.images import Labeller, gather, labelling, labels_cache, read_dataset
from physadv.evaluate.size_curve import CANVAS, measure, subjects
from physadv.evaluate.steps import finish
from physadv.files import atomic_write
from physadv.lineage import Seen, seen_by
from physadv.patch import SHIPPED, Patch, load_patch, save_patch
from physadv.simulate.activation import Activation
from physadv.simulate.framing import STREET_IMGSZ, WEBCAM_IMGSZ
from physadv.simulate.placement import Placement

Row = dict[str, Any]
CLIP_FRAMES = 45
SMALL_SIDE = 0.45
NOTES = {
    "recall25": "share of people with a box at .25 (IoU .5)",
    "ap50": "AP50 at confidence from .001",
    "asr_strict25": "of those found without a pattern, the share without any box at .25 that overlaps them above IoU .1",
    "hidden25": "share of people, or of frames, without a box at .25 on or within the person",
    "least_hidden25": "that share for the person hidden least",
    "mean_max_conf_within": "mean of the best confidence on or within a person",
    "dormant_recall25": "recall25 where it must not act; all the others are where it acts",
    "dormant_grey25": "that of a grey print in its place",
    "joint25": "of those found without a pattern, the share gone where it acts and seen where it must not, the same person",
}


def people(where: Path, labels: Path | None) -> list[LabelledImage]:
    """Return photographs as they are, or a video's frames, with their people, from labels or by the clean detector."""
    labeller = Labeller(labelling, labels_cache(DEFAULT_DETECTOR))
    if where.is_dir():
        # Those who are trained on are shrunk: two of 60 people are found in the one and not in the other.
        return finish(read_dataset(where, labels, labeller, keypoints=True)).images
    return finish(gather([str(where)], labels, labeller), print).images


def conditions(patch: Patch) -> dict[str, Patch | None]:
    """Return what is worn, by what its row is called: nothing, two controls, the pattern."""
    plain, shuffled = (control(patch, kind, np.random.default_rng(0)) for kind in ("grey", "shuffled"))
    return {"none": None, "grey": plain, "shuffled": shuffled, patch.name: patch}


def scorer(
    images: list[LabelledImage], placement: Placement, imgsz: int, activation: Activation | None = None
) -> HeldOutPeople:
    """Return what scores patterns on images; those with a condition on both its sides."""
    detector = load_detector(DEFAULT_DETECTOR, backend="torch", imgsz=imgsz, min_conf=AP_CONF)
    return HeldOutPeople(images, detector, placement, activation=activation)


def of_photographs(
    patch: Patch, images: list[LabelledImage], placement: Placement, imgsz: int = STREET_IMGSZ
) -> dict[str, Row]:
    """Return the figures of the pattern and its controls on people of photographs."""
    on = scorer(images, placement, imgsz, Activation.of(patch.when, patch.otherwise) if patch.when else None)
    return {name: on.score(worn).plain() for name, worn in conditions(patch).items()}


def of_clips(patch: Patch, clips: Sequence[list[LabelledImage]], placement: Placement, imgsz: int) -> dict[str, Row]:
    """Return the figures of the pattern and its controls over people who have a clip each: means, and the worst person."""
    on = [scorer(frames, placement, imgsz) for frames in clips]
    out = {}
    for name, worn in conditions(patch).items():
        each = [one.score(worn).plain() for one in on]
        means = {column: _mean(row[column] for row in each) for column in ("hidden25", "mean_max_conf_within")}
        least = min(row["hidden25"] or 0.0 for row in each)
        out[name] = {"n_people": len(each), "n_images": sum(map(len, clips)), **means, "least_hidden25": least}
    return out


def _mean(values: Any) -> float:
    return round(float(np.mean([value or 0.0 for value in values])), 4)


def hides(name: str, tables: Mapping[str, Mapping[str, Mapping[str, Row]]]) -> dict[str, Row]:
    """Return the share of people whom a pattern hides in each framing, and of how many it is: what recommends it.

    Of the tables of most people in a framing it is the one in which most of them are hidden. Of clips the share is of
    frames, and the people are one a clip. tables: by framing and title, as in the card.
    """
    out = {}
    for framing, titled in tables.items():
        rows = [rows[name] for rows in titled.values()]
        shares = [(row.get("asr_strict25", row["hidden25"]) or 0.0, row["n_people"]) for row in rows]
        if shares:
            share, count = max(shares, key=lambda one: (one[1], one[0]))
            out[framing] = {"share": share, "people": count}
    return out


def size_curve(patch: Patch, images: Path, labels: Path) -> dict[str, Any]:
    """Return the pattern's size curve on people of photographs that it was not trained on."""
    found = load_detector(DEFAULT_DETECTOR, imgsz=CANVAS, precision="fp32")
    files = held_out(labelled_images(images, labels, LeftOut()), patch)
    table = measure(patch, subjects(files, found), found, progress=lambda _, what: print(f"size curve: {what}"))
    return table | {"pictures": len(files)}


def card(patch: Patch, use: str, tables: Mapping[str, Mapping[str, Row]], made_on: str = "") -> str:
    """Return the pattern's card in Markdown: what it is for, its size, how it was made, figures with the n of each.

    use: one sentence. tables: by what was scored, each row's figures. made_on: the machine, if it is to be said.
    """
    record, (width, height) = patch.record, patch.size_mm
    made, split = record["settings"], record["split"]
    start = record.get("start")
    began = f"the pattern {start['name']}" if start else "random colours"
    kept = (
        f"No step did better on those held out than {began}, from which it began, and which was kept."
        if record.get("kept") == "start"
        else f"Kept is step {record['step']}, the best by people held out."
    )
    if record.get("mean_of"):
        # Means of two late steps hide more than either: what one of them overfits is not in the other.
        kept = "Its texels are the mean of the last step of this run and of the one that it went on from."
    lines = [
        f"# {patch.name}",
        "",
        use,
        "",
        f"* Size: {width:g} x {height:g} mm, {patch.pixels.shape[1]} x {patch.pixels.shape[0]} texels"
        + (", repeated without a seam." if patch.tiles else "."),
        f"* Target: {patch.target}. Framing: {made['framing']}. SHA-256 of the pattern: `{patch.sha256[:16]}...`",
        f"* Made by `physadv train` against {', '.join(d['name'] for d in record['detectors'])}, from {began}:"
        f" {record['steps']} steps, seed {record['seed']}{f', on {made_on}' if made_on else ''}. {kept}",
        f"* Trained on {len(split['train'])} images or stretches of video, {len(split['held_out'])} held out; all names and"
        " settings are in the record.",
    ]
    if patch.when:
        lines.append(f"* Condition: {Activation.of(patch.when, patch.otherwise).text}.")
    curve = record.get("size_curve")
    if curve:
        lines.append(
            f"* Size curve: {curve['people']} people in {curve['pictures']} photographs, for `physadv advise`."
        )
    lines += [
        f"* Figures: yolo11n-pose, float32 PyTorch, {date.today()}. Simulated wear, drawn flat; no photographed prints.",
        "",
    ]
    columns = [c for c in NOTES if any(c in row for rows in tables.values() for row in rows.values())]
    for title, rows in tables.items():
        own = [c for c in columns if any(c in row for row in rows.values())]
        first = next(iter(rows.values()))
        who = "1 person" if first["n_people"] == 1 else f"{first['n_people']} people"
        if bare := first.get("n_unworn"):
            who += f" ({bare} more show no chest and wear nothing)"
        lines += [f"## {title}: {who} not trained on, {first['n_images']} images", ""]
        lines += [f"| worn | {' | '.join(own)} |", f"|{'---|' * (len(own) + 1)}"]
        for name, row in rows.items():
            lines.append(f"| {name} | {' | '.join('-' if row[c] is None else str(row[c]) for c in own)} |")
        lines.append("")
    lines += [f"{column}: {NOTES[column]}." for column in columns]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Score, and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder, or a pattern's .safetensors file")
    parser.add_argument("name")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, help="their YOLO labels; without them the clean detector labels")
    parser.add_argument("--clip", type=Path, action="append", default=[], help="a video of one person; may be repeated")
    parser.add_argument("--seated", type=Path, help="photographs of people who fill the image as before a webcam")
    parser.add_argument("--heads", type=Path, help="photographs of heads and chests, most of them cut off there")
    parser.add_argument("--use", required=True, help="what the pattern is for, in a sentence")
    parser.add_argument("--made-on", default="", help="the machine that it was made on, for the card")
    parser.add_argument("--no-curve", action="store_true", help="keep the size curve of the record, or none")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    given = parser.parse_args()
    patch = replace(load_patch(given.run), name=given.name)
    # Records of earlier versions have settings that are no more; none of them says how a pattern is worn.
    recipe = Recipe.model_validate({n: v for n, v in patch.record["settings"].items() if n in Recipe.model_fields})
    both = recipe.model_copy(update={"framing": "mixed"}).placements()
    street, webcam = both["street"][0], both["webcam"][0]
    seen = seen_by(patch) or Seen()

    def unseen(where: Path, labels: Path | None = None) -> list[LabelledImage]:
        return [p for p in people(where, labels) if not seen.saw(p.name, p.sha256)]

    out = unseen(given.images, given.labels)
    on_street = {f"Street, {said(street)}, {STREET_IMGSZ} px": of_photographs(patch, out, street)}
    on_clips = {}
    clips = [every(people(clip, None), CLIP_FRAMES) for clip in given.clip]
    folders = {"people to the waist": given.seated, "heads and chests": given.heads}
    before = {what: unseen(folder) for what, folder in folders.items() if folder is not None}
    sides = [webcam, replace(webcam, scale=SMALL_SIDE)] if patch.target in ("chest", "poster") else [webcam]
    for placement, imgsz in product(sides, WEBCAM_IMGSZ):
        worn = f"{said(placement)}, {imgsz} px"
        for what, images in before.items():
            on_clips[f"Before a webcam, {what}, {worn}"] = of_photographs(patch, images, placement, imgsz)
        if clips:
            on_clips[f"Before a webcam, a clip each, {worn}"] = of_clips(patch, clips, placement, imgsz)
    tables = {**on_street, **on_clips}
    curve = patch.record.get("size_curve") if given.no_curve else size_curve(patch, given.images, given.labels)
    known = {"held_out": tables, "hides": hides(patch.name, {"street": on_street, "webcam": on_clips})}
    record = {**patch.record, **known, **({"size_curve": curve} if curve else {})}
    patch = replace(patch, record=record)
    save_patch(patch, given.out, stem=given.name)
    text = card(patch, given.use, tables, given.made_on)
    with atomic_write(given.out / f"{given.name}.md") as stream:
        stream.write(text.encode())
    print(text)


def said(placement: Placement) -> str:
    """Return how a pattern is worn, in words."""
    if placement.scale is None:
        return "over the body"
    where = f"at {placement.at:g}" if placement.target == "poster" else "by the joints"
    return f"side {placement.scale:g} of the box by {placement.rule}, {where}"


def every(frames: list[LabelledImage], count: int) -> list[LabelledImage]:
    """Return up to `count` frames, spread over all."""
    return frames[:: max(-(-len(frames) // count), 1)]


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/ship_pattern.py", main))
