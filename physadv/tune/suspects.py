"""What an inspection of a data set looks like: a table, the list of suspicious images, a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from physadv.arrays import read_image, write_png
from physadv.files import atomic_write, text_bytes, write_json
from physadv.marks import ALERT, INK, PERSON, dashes
from physadv.provenance import provenance
from physadv.table import Table, Value
from physadv.tune.inspect import METHODS, Inspection, Method
from physadv.types import Int64Array, UInt8Array
from physadv.version import __version__

ROWS, LIST, REPORT, SHEET = "results.json", "suspicious.txt", "report.md", "suspicious.png"
NAMES = (ROWS, LIST, REPORT, SHEET)
WORDS: dict[Method, str] = {
    "missing": "a clean detector finds people who have no label",
    "unseen": "a clean detector sees nothing where a label is",
    "clusters": "activation clustering: the smaller cluster",
    "spectral": "spectral signatures",
}
# Of the contact sheet: images at most, side by side, and pixels of each with its line of text.
MOST, ACROSS, WIDE, HIGH, TEXT = 40, 5, 240, 200, 18
BACKGROUND = 24


def tables(found: Inspection, clean: Inspection | None = None) -> list[Table]:
    """Return how many images each method names, and how well where that is known. clean: of data without poison."""
    figures = ["images named", *(["precision", "recall", "false alarms"] if found.poisoned is not None else [])]
    figures += ["named in clean data"] if clean is not None else []
    rows: list[list[Value]] = []
    for method in (*METHODS, None):
        one = found.judged(method)
        row: list[Value] = ["suspicious: by either of the first two" if method is None else WORDS[method], one.flagged]
        row += [one.precision, one.recall, one.false_alarms] if found.poisoned is not None else []
        row += [float(clean.images(method).mean())] if clean is not None else []
        rows.append(row)
    return [Table.of("Suspicious images", ["by", *figures], rows, numbers=figures)]


def suspicious(found: Inspection) -> Int64Array:
    """Return numbers of the suspicious images: those that most methods name first, else in the order of the data set."""
    votes = np.stack([found.images(method) for method in METHODS]).sum(0)
    order = np.argsort(-votes, kind="stable")
    return order[found.images()[order]]


def write_inspection(folder: Path, found: Inspection, clean: Inspection | None, facts: dict[str, Any]) -> Path:
    """Write the list, the figures, the contact sheet and the report into a folder; return the report's path.

    facts: what else results.json says. clean: of data without poison.

    Raises: OSError if the folder cannot be written.
    """
    numbers = suspicious(found).tolist()
    where = provenance()
    write_json(folder / ROWS, {
        "physadv": __version__,
        **facts,
        "n_images": len(found.files),
        "n_people": len(found.regions),
        "n_poisoned": None if found.poisoned is None else int(found.poisoned.sum()),
        "silhouette": round(found.clusters.silhouette, 4),
        "methods": {method: _judged(found, clean, method) for method in METHODS},
        "verdict": _judged(found, clean, None),
        "suspicious": [_image(found, number) for number in numbers],
        "provenance": where,
    })  # fmt: skip
    with atomic_write(folder / LIST) as stream:
        stream.write(text_bytes("".join(f"{found.files[number].path}\n" for number in numbers)))
    shown = numbers[:MOST]
    if shown:
        write_png(folder / SHEET, contact_sheet(found, shown))
    else:
        (folder / SHEET).unlink(missing_ok=True)
    with atomic_write(folder / REPORT) as stream:
        stream.write(text_bytes("\n".join(_markdown(found, clean, facts, len(shown))) + "\n"))
    return folder / REPORT


def contact_sheet(found: Inspection, numbers: list[int]) -> UInt8Array:
    """Return images, (h, w, 3) RGB, in rows: red dashes around suspicious people, with what names them; green: others."""
    cells = [_cell(found, number) for number in numbers]
    cells += [np.full_like(cells[0], BACKGROUND)] * (-len(cells) % ACROSS if len(cells) > ACROSS else 0)
    rows = [np.hstack(cells[i : i + ACROSS]) for i in range(0, len(cells), ACROSS)]
    return np.ascontiguousarray(np.vstack(rows))


def _cell(found: Inspection, number: int) -> UInt8Array:
    pixels = read_image(found.files[number].path)
    scale = min((WIDE - 4) / pixels.shape[1], (HIGH - 4) / pixels.shape[0])
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    small = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    mine = np.flatnonzero(found.regions.image == number)
    named = found.contradicted[mine]
    for box, bad in zip(found.regions.boxes[mine] * scale, named, strict=True):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        if bad:
            dashes(small, (x1, y1, x2, y2), ALERT, 2, 5)
        else:
            cv2.rectangle(small, (x1, y1), (x2, y2), PERSON, 1)
    out = np.full((HIGH + TEXT, WIDE, 3), BACKGROUND, np.uint8)
    left = (WIDE - size[0]) // 2
    out[2 : 2 + size[1], left : left + size[0]] = small
    words = ", ".join(method for method in METHODS if found.images(method)[number])
    out[HIGH:] = 235
    text = f"{found.files[number].path.stem[:18]}: {words}"
    cv2.putText(out, text, (3, HIGH + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.34, INK, 1, cv2.LINE_AA)
    return out


def _judged(found: Inspection, clean: Inspection | None, method: Method | None) -> dict[str, Any]:
    one = found.judged(method)
    out = {"named": one.flagged, "precision": one.precision, "recall": one.recall, "false_alarms": one.false_alarms}
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in out.items()}
    if clean is None:
        return rounded
    return {**rounded, "false_alarms_clean": round(float(clean.images(method).mean()), 4)}


def _image(found: Inspection, number: int) -> dict[str, Any]:
    """Return plain values for a suspicious image: its file, what names it, and the people that are named."""
    mine = np.flatnonzero(found.regions.image == number)
    people = []
    for at in mine.tolist():
        by = [method for method in METHODS if found.suspects[method][at]]
        if by:
            box = [round(float(v), 1) for v in found.regions.boxes[at]]
            people.append({"box": box, "labelled": bool(found.regions.labelled[at]), "by": by})
    return {"file": str(found.files[number].path), "people": people}


def _markdown(found: Inspection, clean: Inspection | None, facts: dict[str, Any], shown: int) -> Iterator[str]:
    regions = found.regions
    yield from (f"# Inspection of {facts['data']}", "")
    yield (
        f"{len(found.files)} images, {len(regions)} people: {int(regions.labelled.sum())} labelled, "
        f"{int((~regions.labelled).sum())} that {facts['reference']} finds and the labels lack. Features of "
        f"{facts['detector']} at {facts['imgsz']} px, silhouette of the two clusters {found.clusters.silhouette:.3f}."
    )
    bad = found.contradicted
    if bad.any() and not bad.all():
        inside, outside = found.clusters.small[bad].mean(), found.clusters.small[~bad].mean()
        yield (
            f"In the smaller cluster are {inside:.0%} of the people whose labels are contradicted, and {outside:.0%} of "
            "the others: the further apart, the more the detector has learnt from these labels."
        )
    for table in tables(found, clean):
        yield from ("", table.markdown())
    yield from ("", "Recall: of the poisoned images. False alarms: of the others. No threshold was chosen by them.")
    if shown:
        yield from (
            "",
            f"{shown} of {int(found.images().sum())} suspicious images; all are in {LIST}.",
            "",
            f"![]({SHEET})",
        )
