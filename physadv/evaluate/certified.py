"""Certified recall: how many labelled people no one patch can hide, by patch size and by where the patch may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physadv.boxes import covered_by
from physadv.defend.certify import certified, join
from physadv.defend.masks import PLACES, PatchSize, Where, hide
from physadv.defend.objectseeker import ObjectSeeker
from physadv.defend.pipeline import Pipeline
from physadv.defend.rolling import in_batches
from physadv.files import atomic_write, text_bytes, write_json
from physadv.types import Detector, Float32Array, UInt8Array

# The two sizes that certificates are reported for: 1 % of the image, and 20 % of the person's own box.
SIZES: dict[str, tuple[str, float]] = {"1 % of the image": ("image", 0.01), "20 % of the box": ("box", 0.20)}


@dataclass(slots=True)
class Tally:
    """People counted. certified, people: for each location class with any position of the patch."""

    certified: dict[Where, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    people: dict[Where, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))

    def add(self, where: Where, answer: bool | None) -> None:
        """Count one person; None (no position of the patch is in the class) is not counted."""
        if answer is not None:
            self.people[where] += 1
            self.certified[where] += answer


@dataclass(slots=True)
class CertifiedRecall:
    """Certified recall over images.

    detector: what the masked views were shown to, as a report calls it. images, people: counted. found, found_defended:
    people of whom a reported box covers `still`, without and with the masked views. added: people reported only by masked
    views. sizes: a tally for each patch size; people for whom that patch would be larger than the image count as not
    certified.
    """

    defence: ObjectSeeker
    detector: str = ""
    images: int = 0
    people: int = 0
    found: int = 0
    found_defended: int = 0
    added: int = 0
    sizes: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in SIZES})

    def record(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        d = self.defence
        return {
            "detector": self.detector,
            "masks": {
                "lines": d.lines,
                "grid": d.grid,
                "conf": d.conf,
                "merge_ioa": d.prune,
                "still_found_ioa": d.still,
            },
            "pictures": self.images,
            "people": self.people,
            "recall": _ratio(self.found, self.people),
            "recall_defended": _ratio(self.found_defended, self.people),
            "added_per_picture": _ratio(self.added, self.images),
            "certified": {
                size: {w: {"n": t.people[w], "recall": _ratio(t.certified[w], t.people[w])} for w in PLACES}
                for size, t in self.sizes.items()
            },
        }


def certified_recall(
    detector: Detector,
    images: Iterable[tuple[UInt8Array, Float32Array]],
    defence: ObjectSeeker,
    *,
    min_area: float = 0.02,
) -> CertifiedRecall:
    """Return the certified recall over images (h, w, 3) uint8 RGB with people (n, 4) xyxy.

    min_area: people of no more than this share of the image are passed over. One patch an image; every masked view is
    looked at.

    Raises: DefenceError if an image is too small for the masks.
    """
    out = CertifiedRecall(defence, detector=detector.name)
    for image, people in images:
        add_image(out, detector, image, people, min_area=min_area)
    return out


def add_image(
    out: CertifiedRecall, detector: Detector, image: UInt8Array, people: Float32Array, *, min_area: float
) -> None:
    """Count one more image.

    Raises: DefenceError if it is too small for the masks.
    """
    d, (height, width) = out.defence, image.shape[:2]
    share = (people[:, 2:] - people[:, :2]).clip(0).prod(1) / (width * height)
    people = people[share > min_area]
    masks = d.masks(width, height)
    whole = detector.detect_batch([image])[0]
    answers = in_batches(detector, (hide(image, m[None]) for m in masks))
    views = [v.xyxy[v.score >= d.conf] for v in answers]
    defended, added = join(whole, answers, conf=d.conf, whole_conf=d.whole_conf, prune=d.prune)
    out.images += 1
    out.people += len(people)
    out.added += int(added.sum())
    out.found += int((covered_by(people, whole.above(d.whole_conf).xyxy) >= d.still).sum())
    out.found_defended += int((covered_by(people, defended.above(d.whole_conf).xyxy) >= d.still).sum())
    for person in people:
        for name, (of, fraction) in SIZES.items():
            area = float((person[2:] - person[:2]).prod()) if of == "box" else float(width * height)
            patch = PatchSize.of_area(fraction * area, margin=d.margin)
            for where in PLACES:
                if patch.width > width or patch.height > height:
                    out.sizes[name].add(where, False)
                else:
                    sure = certified(person, views, masks, patch, (width, height), where, still=d.still)
                    out.sizes[name].add(where, sure)


def seekers(detector: Detector, pipelines: Iterable[Pipeline]) -> list[tuple[Detector, ObjectSeeker]]:
    """Return each pipeline's half-plane masking with the detector behind the defences that change what it sees.

    Without any such pipeline: the defaults, on the bare detector.

    Raises: DefenceError if a defence that draws at random stands between.
    """
    out: list[tuple[Detector, ObjectSeeker]] = []
    for pipeline in pipelines:
        within = Pipeline(tuple(d for d in pipeline.defences if d.order < ObjectSeeker.order)).guard(detector)
        for defence in (d for d in pipeline.defences if isinstance(d, ObjectSeeker)):
            defence.guard(within)  # refuses what would make the certificate worthless
            out.append((within, defence))
    return out or [(detector, ObjectSeeker())]


def write_certified(folder: Path, results: Sequence[CertifiedRecall]) -> None:
    """Write certified.json (one record for each) and certified.md (the table and what it means).

    Raises: OSError if the folder cannot be written.
    """
    write_json(folder / "certified.json", [r.record() for r in results])
    detectors = ", ".join(dict.fromkeys(r.detector for r in results))
    text = f"# Certified recall\n\nDetector: {detectors}. One square patch an image.\n\n{table(results)}\n"
    with atomic_write(folder / "certified.md") as stream:
        stream.write(text_bytes(text))


def table(results: Iterable[CertifiedRecall]) -> str:
    """Return a Markdown table, one row for each result and patch size."""
    head = "| masks | patch | n | found, no patch | anywhere | far | close | over the person |"
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    results = list(results)
    several = len({r.detector for r in results}) > 1
    for result in results:
        d = result.defence
        masks = (
            (f"{result.detector}: " if several else "")
            + f"{d.lines} lines each way"
            + (f" + {d.grid} x {d.grid} squares" if d.grid else "")
        )
        for size, tally in result.sizes.items():
            cells = [_shown(_ratio(tally.certified[w], tally.people[w])) for w in PLACES]
            for i, w in enumerate(PLACES):
                cells[i] += f" (n {tally.people[w]})" if tally.people[w] != result.people else ""
            found = _shown(_ratio(result.found_defended, result.people))
            rows.append(f"| {masks} | {size} | {result.people} | {found} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _ratio(part: int, whole: int) -> float | None:
    """Return the share, or None of nobody: a patch may have no place far from somebody who fills the image."""
    return round(part / whole, 4) if whole else None


def _shown(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"
