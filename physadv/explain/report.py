"""What an explanation leaves in its folder: the sheet as PNG and as one HTML file, and the figures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physadv.arrays import write_png
from physadv.explain.run import CHANCE, EIGEN, PLACE, Explanation
from physadv.explain.sheet import (
    OUTLINE,
    channel_map,
    channel_sheet,
    channels_say,
    crop_of,
    figures_of,
    glowing,
    map_rows,
    outline_row,
    sheet,
    with_boxes,
)
from physadv.files import atomic_write, text_bytes, write_json
from physadv.html_page import page, picture
from physadv.provenance import provenance
from physadv.table import Table, Value
from physadv.types import UInt8Array

PICTURE, PAGE, FIGURES, CHANNELS = "sheet.png", "sheet.html", "results.json", "channels.png"
NAMES = (FIGURES, PICTURE, PAGE, CHANNELS)
# What stands beside a map's name wherever it is listed.
SAID = {EIGEN: "not about this person", PLACE: "no map: only where the box is", CHANCE: "no map"}
HOW = (
    "Occlusion is exact: the detector's own answers with a grey window over each place. ODAM: gradient of the box's own "
    "logit x activation at P3, P4 and P5, smoothed over 3 cells, positive part (Zhao and Chan 2023).",
    "Deletion: score, as a part of the whole image's, while cells are greyed from the most important on, mean over the "
    "share; lower is better. Insertion: from a blurred person on; higher is better. Random weights: rank correlation of a "
    "map with that of a network whose weights changed places, without what comes from the box's place; .9 or more is "
    "refused (Adebayo et al. 2018).",
    "Where the pattern acts, as a part of the logits that it takes against grey: what comes back when the body's cells of "
    "P3 to P5 around the print are as under grey is evidence that was removed from the body; what comes back when the "
    "print's cells are blank, at the image's mean, is evidence that stood against a person there. They need not add up "
    "to 1.",
)
STYLE = """
.faint, figcaption, .says { color: #5f666c; }
.grid { display: grid; gap: .8rem; align-items: start; }
.grid img, figure img { width: 100%; height: auto; display: block; border-radius: 3px; }
.head { font-weight: 600; border-bottom: 1px solid #d7dbde; padding-bottom: .3rem; overflow-wrap: anywhere; }
.name { font-weight: 600; }
.browser > input { position: absolute; opacity: 0; }
.labels { display: flex; flex-wrap: wrap; gap: .8rem; }
.labels label { cursor: pointer; width: 10rem; padding: .2rem; border-radius: 3px; }
.labels img, .panel img { width: 100%; height: auto; display: block; }
.panel { display: none; gap: .5rem; margin-top: .8rem; grid-template-columns: repeat(9, minmax(0, 1fr)); }
.browser > input:focus-visible ~ .labels { outline: 2px dotted #1d6fd1; }
"""


def tables(explained: Explanation) -> list[Table]:
    """Return the tables of an explanation: scores by column, where the pattern acts, and the checks of the maps."""
    out = [_scores(explained)]
    if explained.evidence:
        out.append(_acts(explained))
    out += [_checks(explained, number) for number in range(len(explained.checks))]
    if explained.outline:
        out.append(_under_changes(explained))
    return out


def _scores(explained: Explanation) -> Table:
    titles = [column.title for column in explained.columns]
    rows: list[list[Value]] = [
        [f"{number + 1}", *(column.people[number].score for column in explained.columns)]
        for number in range(len(explained.boxes))
    ]
    return Table.of("Score of each person", ["person", *titles], rows, numbers=titles)


def _acts(explained: Explanation) -> Table:
    columns = [
        "logits taken",
        "evidence removed from the body",
        "removed from the print's cells",
        "negative evidence at the print",
        "blank with grey, logits",
    ]
    rows: list[list[Value]] = [
        [f"{number}", one.grey - one.pattern, one.from_body, one.at_print, one.negative, one.grey_blank - one.grey]
        for number, one in enumerate(explained.evidence, 1)
    ]
    return Table.of("Where the pattern acts", ["person", *columns], rows, numbers=columns)


def _under_changes(explained: Explanation) -> Table:
    columns = ["recall .25", "mean score", "people", "images"]
    rows: list[list[Value]] = [
        [one.change, one.recall, float(np.mean(one.scores)) if one.scores else None, len(one.scores), one.images]
        for one in explained.outline
    ]
    return Table.of("Texture or outline, of those found as they are", ["change", *columns], rows, numbers=columns)


def _checks(explained: Explanation, number: int) -> Table:
    columns = ["deletion AUC", "insertion AUC", "kept: head random", "kept: half random", "kept: all random", "verdict"]
    rows: list[list[Value]] = []
    for name, check in explained.checks[number].items():
        kept = check.kept
        left: list[Value] = [None] * 3 if kept is None else [kept.head, kept.half, kept.all]
        verdict = "refused" if kept is not None and kept.refused else SAID.get(name, "")
        rows.append([name, check.deletion, check.insertion, *left, verdict])
    return Table.of(f"Maps of person {number + 1}, checked", ["map", *columns], rows, numbers=columns[:-1])


def write_explanation(folder: Path, explained: Explanation, facts: dict[str, Any]) -> Path:
    """Write sheet.png, sheet.html and results.json into a folder; return the page's path.

    facts: what else results.json says: image, detector, what is worn, the defence.

    Raises: OSError if the folder cannot be written.
    """
    where = provenance()
    heading = _heading(facts)
    below = [*HOW, *explained.notes]
    write_json(folder / FIGURES, {**facts, **explained.plain(), "provenance": where})
    write_png(folder / PICTURE, sheet(explained, heading, below))
    if explained.layer is not None:
        write_png(folder / CHANNELS, channel_sheet(explained.layer))
    with atomic_write(folder / PAGE) as stream:
        stream.write(text_bytes(_page(explained, heading, below)))
    return folder / PAGE


def _heading(facts: dict[str, Any]) -> str:
    detector = facts["detector"]
    worn = f", wearing {facts['worn']['name']}" if facts["worn"] else ""
    return f"What {detector['name']} looks at in {facts['image']}{worn} ({detector['imgsz']} px)"


def _page(explained: Explanation, heading: str, below: Sequence[str]) -> str:
    """Return the sheet as one HTML file that needs nothing else."""
    columns = explained.columns
    across = f"grid-template-columns: 11rem repeat({len(columns)}, minmax(0, 1fr))"
    cells = ["<div></div>", *(f'<div class="head">{html.escape(c.title)}</div>' for c in columns)]
    cells += ['<div><div class="name">The image</div><div class="says">green: found at .25; dashed: not</div></div>']
    cells += [framed(with_boxes(c.image, c.found, explained.boxes, [p.score for p in c.people])) for c in columns]
    parts = [f'<div class="grid" style="{across}">{"".join(cells)}</div>']
    for number in range(len(explained.boxes)):
        parts.append(f"<h2>Person {number + 1}</h2>")
        cells = []
        for title, says, pictures in map_rows(explained, number):
            cells.append(
                f'<div><div class="name">{html.escape(title)}</div><div class="says">{html.escape(says)}</div></div>'
            )
            cells += ['<div class="faint">none</div>' if p is None else framed(p) for p in pictures]
        cells.append('<div class="name">Figures</div>')
        for column in columns:
            lines = "".join(f"<li>{html.escape(line)}</li>" for line in figures_of(explained, number, column))
            cells.append(f"<ul>{lines}</ul>")
        parts.append(f'<div class="grid" style="{across}">{"".join(cells)}</div>')
        parts.append(_eigen(explained, number))
    parts += [_outline(explained), _layer(explained), "<h2>Figures</h2>"]
    parts += [table.html() for table in tables(explained)]
    parts += [f'<p class="faint">{html.escape(line)}</p>' for line in below]
    return page(heading, parts, style=STYLE)


def framed(pixels: UInt8Array) -> str:
    """Return an image (h, w, 3) as an HTML element in a box of its own."""
    return f"<div>{picture(pixels)}</div>"


def _outline(explained: Explanation) -> str:
    """Return the first person with patches shuffled, as a silhouette and as edges, with maps."""
    changed = outline_row(explained)
    if not changed:
        return ""
    cells = [f'<div class="name">{html.escape(caption)}</div>' for caption, _, _ in changed]
    cells += [framed(picture) for _, picture, _ in changed]
    cells += ['<div class="faint">no proposal fits</div>' if heat is None else framed(heat) for _, _, heat in changed]
    across = f"grid-template-columns: repeat({len(changed)}, minmax(0, 1fr))"
    return (
        f'<h2>Texture or outline</h2><p class="says">{OUTLINE}; below: ODAM of each</p>'
        f'<div class="grid" style="{across}">{"".join(cells)}</div>'
    )


def _layer(explained: Explanation) -> str:
    """Return a layer's channels to choose from, each with its map, its strongest places and their projections."""
    layer = explained.layer
    if layer is None:
        return ""
    inputs, labels, panels, rules = "", "", "", ""
    for number, channel in enumerate(layer.channels):
        name = f"channel {channel.number} <small>{channel.adds:+.2f}</small>"
        inputs += f'<input type="radio" name="channel" id="c{number}"{" checked" if number == 0 else ""}>'
        labels += f'<label for="c{number}">{framed(channel_map(channel.heat))}{name}</label>'
        pairs = "".join(f"<div>{framed(p.pixels)}{framed(p.projection)}</div>" for p in channel.patches)
        panels += f'<div class="panel p{number}">{pairs}</div>'
        rules += f"#c{number}:checked ~ .panels .p{number} {{ display: grid; }}"
        rules += f"#c{number}:checked ~ .labels label[for=c{number}] {{ outline: 3px solid #1d6fd1; }}"
    return (
        f"<style>{rules}</style><h2>Layer {layer.layer} ({html.escape(layer.kind)})</h2>"
        f'<p class="says">{html.escape(channels_say(layer))}</p><div class="browser">{inputs}'
        f'<div class="labels">{labels}</div><div class="panels">{panels}</div></div>'
    )


def _eigen(explained: Explanation, number: int) -> str:
    """Return the first principal component of the features around one person, said to be about nobody."""
    if explained.eigen is None:
        return ""
    image = explained.columns[0].image
    left, top, right, bottom = crop_of(explained.boxes[number], image.shape[1::-1])
    shown = glowing(explained.eigen[top:bottom, left:right], image[top:bottom, left:right])
    said = "Eigen-CAM, not about this person: it knows no box and no score (Muhammad and Yeasin 2020)."
    return f'<figure style="max-width: 22rem">{framed(shown)}<figcaption>{said}</figcaption></figure>'
