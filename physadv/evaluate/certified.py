"""Certified recall: how many labelled people no one patch can hide, by patch size and by where the patch may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physadv.boxes import covered_by
from physadv.dataset import Dataset
from physadv.defend.certify import certified, join
from physadv.defend.masks import PLACES, PatchSize, Where, hide
from physadv.defend.objectseeker import ObjectSeeker
from physadv.defend.pipeline import Pipeline
from physadv.defend.rolling import in_batches
from physadv.evaluate.cell import Cell
from physadv.evaluate.metrics import Figures
from physadv.evaluate.steps import Steps
from physadv.files import atomic_write, text_bytes, write_json
from physadv.table import Table
from physadv.types import Detector, Float32Array, UInt8Array

CONDITION = "certificate"
# The two sizes that certificates are reported for: 1 % of the image, and 20 % of the person's own box.
SIZES: dict[str, tuple[str, float]] = {"1 % of the image": ("image", 0.01), "20 % of the box": ("box", 0.20)}
# certified.json calls the first size by this name since version 0.1.
STORED = {"1 % of the image": "1 % of the picture"}


@dataclass(slots=True)
class CertifiedRecall:
    """Counts the people of images that a certificate holds for.

    detector: what the masked views are shown to. images, people: counted. found, found_defended: people that a reported
    box covers (`still`), without and with the masked views. added: people reported only by masked views. asked, sure:
    people for each patch size and location class in which the patch has any position, and those of them who are
    certified; where the patch would be larger than the image, a person counts as not certified.
    """

    detector: Detector
    defence: ObjectSeeker
    images: int = 0
    people: int = 0
    found: int = 0
    found_defended: int = 0
    added: int = 0
    asked: Counter[tuple[str, Where]] = field(default_factory=Counter)
    sure: Counter[tuple[str, Where]] = field(default_factory=Counter)

    def add(self, image: UInt8Array, people: Float32Array) -> None:
        """Count one more image (h, w, 3) uint8 RGB with people (n, 4) xyxy; one patch an image.

        Raises: DefenceError if it is too small for the masks.
        """
        d, (height, width) = self.defence, image.shape[:2]
        masks = d.masks(width, height)
        whole = self.detector.detect_batch([image])[0]
        answers = in_batches(self.detector, (hide(image, m[None]) for m in masks))
        views = [v.xyxy[v.score >= d.conf] for v in answers]
        defended, added = join(whole, answers, conf=d.conf, whole_conf=d.whole_conf, prune=d.prune)
        self.images += 1
        self.people += len(people)
        self.added += int(added.sum())
        self.found += int((covered_by(people, whole.above(d.whole_conf).xyxy) >= d.still).sum())
        self.found_defended += int((covered_by(people, defended.above(d.whole_conf).xyxy) >= d.still).sum())
        for person in people:
            for name, (of, fraction) in SIZES.items():
                area = float((person[2:] - person[:2]).prod()) if of == "box" else float(width * height)
                patch = PatchSize.of_area(fraction * area, margin=d.margin)
                fits = patch.width <= width and patch.height <= height
                for where in PLACES:
                    answer = fits and certified(person, views, masks, patch, (width, height), where, still=d.still)
                    # None: no position of the patch is in that class.
                    self.asked[name, where] += answer is not None
                    self.sure[name, where] += bool(answer)

    def cells(self, defence: str) -> list[Cell]:
        """Return a cell for each patch size. defence: what the report calls it."""
        return [self._cell(defence, size) for size in SIZES]

    def _cell(self, defence: str, size: str) -> Cell:
        d = self.defence
        value = {
            "recall": _ratio(self.found, self.people),
            "recall_defended": _ratio(self.found_defended, self.people),
            "added_per_image": _ratio(self.added, self.images),
        }
        value |= {f"certified_{w}": _ratio(self.sure[size, w], self.asked[size, w]) for w in PLACES}
        return Cell(
            self.detector.name,
            self.detector.imgsz,
            CONDITION,
            None,
            defence,
            {"n_images": self.images, "n_people": self.people},
            Figures(value, {}),
            transform=size,
            extra={
                "n_by_place": {w: self.asked[size, w] for w in PLACES},
                "masks": {
                    "lines": d.lines,
                    "grid": d.grid,
                    "conf": d.conf,
                    "merge_ioa": d.prune,
                    "still_found_ioa": d.still,
                },
            },
        )


def certify(data: Dataset, detector: Detector, pipelines: Sequence[Pipeline]) -> Steps[list[Cell]]:
    """Return the cells of each pipeline's certificates, over the people who count; every masked view is looked at.

    Raises: DefenceError if an image is too small for the masks, or a defence that draws at random stands between.
    """
    out: list[Cell] = []
    for name, within, defence in seekers(detector, pipelines):
        recall = CertifiedRecall(within, defence)
        for i, image in enumerate(data.images):
            yield i / len(data.images), f"image {i + 1} of {len(data.images)}"
            recall.add(image.pixels, image.targets)
        out += recall.cells(name)
    return out


def seekers(detector: Detector, pipelines: Iterable[Pipeline]) -> list[tuple[str, Detector, ObjectSeeker]]:
    """Return each pipeline's name and half-plane masking with the detector behind the defences that change what it sees.

    Without any such pipeline: the defaults, on the bare detector.

    Raises: DefenceError if a defence that draws at random stands between.
    """
    out: list[tuple[str, Detector, ObjectSeeker]] = []
    for pipeline in pipelines:
        within = Pipeline(tuple(d for d in pipeline.defences if d.order < ObjectSeeker.order)).guard(detector)
        for defence in (d for d in pipeline.defences if isinstance(d, ObjectSeeker)):
            defence.guard(within)  # refuses what would make the certificate worthless
            out.append((str(pipeline), within, defence))
    return out or [(ObjectSeeker.name, detector, ObjectSeeker())]


def certificates(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that are of certificates."""
    return [cell for cell in cells if cell.condition == CONDITION]


def write_certified(folder: Path, cells: Sequence[Cell]) -> None:
    """Write certified.json (a record for each detector behind each defence) and certified.md (the table).

    Raises: OSError if the folder cannot be written.
    """
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.detector, cell.imgsz, cell.defence), []).append(cell)
    write_json(folder / "certified.json", [record(group) for group in groups.values()])
    detectors = ", ".join(dict.fromkeys(cell.detector for cell in cells))
    text = f"# Certified recall\n\nDetector: {detectors}. One square patch an image.\n\n{table(cells).markdown()}\n"
    with atomic_write(folder / "certified.md") as stream:
        stream.write(text_bytes(text))


def record(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what certified.json says of one detector behind one defence, by the names of version 0.1."""
    first = cells[0]
    return {
        "detector": first.detector,
        "masks": first.extra["masks"],
        "pictures": first.counted["n_images"],
        "people": first.counted["n_people"],
        "recall": first["recall"],
        "recall_defended": first["recall_defended"],
        "added_per_picture": first["added_per_image"],
        "certified": {
            STORED.get(cell.transform, cell.transform): {
                w: {"n": cell.extra["n_by_place"][w], "recall": cell[f"certified_{w}"]} for w in PLACES
            }
            for cell in cells
        },
    }


def table(cells: Sequence[Cell]) -> Table:
    """Return a table with one row for each certificate and patch size."""
    several = len({cell.detector for cell in cells}) > 1
    rows = []
    for cell in cells:
        masks, people = cell.extra["masks"], cell.counted["n_people"]
        what = (f"{cell.detector}: " if several else "") + f"{masks['lines']} lines each way"
        what += f" + {masks['grid']} x {masks['grid']} squares" if masks["grid"] else ""
        shares = []
        for where in PLACES:
            asked, share = cell.extra["n_by_place"][where], cell[f"certified_{where}"]
            # Fewer are asked about where the patch has no place far from somebody who fills the image.
            shares.append(("-" if share is None else f"{share:.3f}") + (f" (n {asked})" if asked != people else ""))
        rows.append([what, cell.transform, people, cell["recall_defended"], *shares])
    columns = ["masks", "patch", "n", "found, no patch", "anywhere", "far", "close", "over the person"]
    return Table.of("Certified recall", columns, rows, numbers=columns[2:])


def _ratio(part: int, whole: int) -> float | None:
    """Return the share, or None of nobody."""
    return round(part / whole, 4) if whole else None
