"""The sheet of an explanation as one image: columns clean, grey print, pattern, defended, with maps and figures below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from physadv.detect.matching import FOUND_CONF
from physadv.explain.channels import PATCHES, SIDE, LayerView
from physadv.explain.run import ODAM, Explanation, PersonMaps, SheetColumn
from physadv.marks import mark_person
from physadv.types import Detections, Float32Array, UInt8Array

# Pixels: a column, a row of maps at most, what stands left of the rows, and between all of them.
COLUMN, ROW, GUTTER, GAP = 420, 330, 170, 14
TITLE, HEADING, LINE = 30, 21, 17
PAPER, INK, FAINT, RULE = (255, 255, 255), (20, 24, 28), (105, 112, 118), (215, 219, 222)
# A row of a layer's channels: two patches above each other.
CHANNEL_ROW = 2 * SIDE + 4
OUTLINE = "everybody changed: tiles of each box shuffled, filled with one colour, edges of the whole image"
# Of what is no map over the image under it.
VEIL = 0.55
# Around a person, as a part of the longer side of the box, in the rows of maps.
AROUND = 0.25


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that Pillow carries, `size` pixels high."""
    return ImageFont.load_default(size)


def signed(heat: Float32Array, image: UInt8Array, most: float) -> UInt8Array:
    """Return a map (h, w) over its image (h, w, 3): red where positive, blue where negative, full at `most`."""
    strength = np.clip(heat / max(most, 1e-6), -1, 1)[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32) * 0.75 + 50
    colour = np.where(strength > 0, np.array([225, 30, 30], np.float32), np.array([30, 90, 235], np.float32))
    cover = np.abs(strength) ** 0.8 * 0.8
    return np.clip(grey * (1 - cover) + colour * cover + 0.5, 0, 255).astype(np.uint8)


def glowing(heat: Float32Array, image: UInt8Array) -> UInt8Array:
    """Return a map (h, w), not negative, over its image (h, w, 3): dark where it is 0, its largest value brightest."""
    share = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
    colour = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    cover = np.clip(share[..., None] * 1.2, 0, 0.8)
    return np.clip(image * VEIL * (1 - cover) + colour * cover + 0.5, 0, 255).astype(np.uint8)


def with_boxes(image: UInt8Array, found: Detections, boxes: Float32Array, scores: Sequence[float]) -> UInt8Array:
    """Return an image (h, w, 3) `COLUMN` wide with everybody found at .25; who is explained and not found is dashed."""
    scale = COLUMN / image.shape[1]
    out = np.ascontiguousarray(
        cv2.resize(image, (COLUMN, max(round(image.shape[0] * scale), 1)), interpolation=cv2.INTER_AREA), np.uint8
    )
    for box, score in zip(boxes, scores, strict=True):
        if score < FOUND_CONF:
            mark_person(out, (box * scale).tolist(), f"{score:.2f}", found=False)
    people = found.above(FOUND_CONF)
    for box, score in zip(people.xyxy * scale, people.score.tolist(), strict=True):
        mark_person(out, box.tolist(), f"{score:.2f}", found=True)
    return out


def crop_of(box: Float32Array, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return what the rows of maps show of an image of (width, height): a person's box, xyxy, and what surrounds it."""
    width, height = size
    x0, y0, x1, y1 = box.tolist()
    room = AROUND * max(x1 - x0, y1 - y0)
    # At least as wide as high, so that somebody who stands has a neighbourhood.
    wide = max(x1 - x0 + 2 * room, (y1 - y0 + room) * COLUMN / ROW)
    middle = (x0 + x1) / 2
    left, right = max(round(middle - wide / 2), 0), min(round(middle + wide / 2), width)
    top, bottom = max(round(y0 - room / 2), 0), min(round(y1 + room / 2), height)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def map_rows(explained: Explanation, number: int) -> list[tuple[str, str, list[UInt8Array | None]]]:
    """Return the rows of maps of one person: a title, what it shows, and a picture for each column; None without a map."""
    box = explained.boxes[number]
    rows: list[tuple[str, str, list[UInt8Array | None]]] = []
    left, top, right, bottom = crop_of(box, explained.columns[0].image.shape[1::-1])
    pictures: list[list[UInt8Array | None]] = [[], []]
    for column in explained.columns:
        part = column.image[top:bottom, left:right]
        maps = column.people[number]
        pictures[0].append(
            None if maps.occlusion is None else signed(maps.occlusion[top:bottom, left:right], part, strongest(maps))
        )
        pictures[1].append(None if maps.odam is None else glowing(maps.odam[top:bottom, left:right], part))
    rows.append(
        (
            "Occlusion",
            "red: hiding this costs the person's score; blue: hiding it helps; each map at its own largest, given below",
            pictures[0],
        )
    )
    refused = bool(explained.checks) and any(
        check.kept is not None and check.kept.refused
        for name, check in explained.checks[number].items()
        if name == ODAM
    )
    if refused:
        rows.append(
            ("ODAM", "refused: it does not change when the weights are random", [None] * len(explained.columns))
        )
    else:
        rows.append(("ODAM", "gradient x activation of this box at P3 to P5; each map at its own largest", pictures[1]))
    return rows


def strongest(one: PersonMaps) -> float:
    """Return the largest value of an occlusion map, of either sign, in logits; 0 without a map."""
    return 0.0 if one.occlusion is None else float(np.abs(one.occlusion).max())


def figures_of(explained: Explanation, number: int, column: SheetColumn) -> list[str]:
    """Return the lines below one person's maps in one column."""
    one = column.people[number]
    lines = [
        f"score {one.score:.3f}"
        + (f"; hiding costs up to {strongest(one):.1f} logits" if one.occlusion is not None else "")
    ]
    if column.kind == "clean" and explained.checks:
        lines += [
            f"{name}: deletion {check.deletion:.2f}, insertion {check.insertion:.2f}"
            for name, check in explained.checks[number].items()
        ]
    if column.kind == "pattern" and explained.evidence:
        found = explained.evidence[number]
        if found.at_print is None or found.from_body is None or found.negative is None:
            lines.append("it takes less than half a logit from this person")
        else:
            lines += [
                f"it takes {found.grey - found.pattern:.1f} logits; of them come back",
                f"{found.from_body:.0%} when the body around the print is restored: evidence removed",
                f"{found.at_print:.0%} when the print's own cells are restored",
                f"{found.negative:.0%} when the print's cells are blank: evidence against a person",
            ]
    return lines + one.notes


def outline_row(explained: Explanation) -> list[tuple[str, UInt8Array, UInt8Array | None]]:
    """Return what is left of the first person under each change: a caption, the picture, and its map or None."""
    if not explained.changed:
        return []
    left, top, right, bottom = crop_of(explained.boxes[0], explained.changed[0].image.shape[1::-1])
    out = []
    for view in explained.changed:
        part = view.image[top:bottom, left:right]
        heat = None if view.odam is None else glowing(view.odam[top:bottom, left:right], part)
        name = "as it is" if view.change == "none" else view.change
        recall = next((one for one in explained.outline if one.change == view.change and one.scores), None)
        said = "" if recall is None else f"; found: {recall.found} of {len(recall.scores)}"
        out.append((f"{name}: score {view.score:.2f}{said}", np.ascontiguousarray(part), heat))
    return out


def sheet(explained: Explanation, heading: str, below: Sequence[str]) -> UInt8Array:
    """Return the sheet, (h, w, 3) uint8 RGB. heading: its title. below: lines at its foot."""
    columns = explained.columns
    width = GUTTER + max(len(columns), len(explained.changed)) * (COLUMN + GAP) + GAP
    drawn = [
        with_boxes(c.image, c.found, explained.boxes, [p.score for p in c.people]) for c in columns
    ]  # fmt: skip
    parts: list[Image.Image] = [_line(width, heading, TITLE), _titles(width, [c.title for c in columns])]
    parts.append(_row(width, "The image", "green: found at .25; dashed: not", list(drawn)))
    for number in range(len(explained.boxes)):
        parts.append(_line(width, f"Person {number + 1}", HEADING))
        for title, says, pictures in map_rows(explained, number):
            parts.append(_row(width, title, says, [None if p is None else _fitted(p) for p in pictures]))
        parts.append(_texts(width, [figures_of(explained, number, c) for c in columns]))
    if changed := outline_row(explained):
        parts.append(_line(width, "Texture or outline", HEADING))
        parts.append(_texts(width, [[caption] for caption, _, _ in changed]))
        parts.append(_row(width, "Person 1", OUTLINE, [_fitted(picture) for _, picture, _ in changed]))
        parts.append(_row(width, "ODAM", "of each", [None if h is None else _fitted(h) for _, _, h in changed]))
    parts.append(_foot(width, below))
    return _stacked(parts)


def _fitted(picture: UInt8Array) -> UInt8Array:
    """Return a picture as large as a column and a row allow."""
    scale = min(COLUMN / picture.shape[1], ROW / picture.shape[0])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _line(width: int, text: str, size: int) -> Image.Image:
    out = Image.new("RGB", (width, size + 22), PAPER)
    draw = ImageDraw.Draw(out)
    draw.text((GAP, 12), text, INK, font(size))
    return out


def _titles(width: int, titles: Sequence[str]) -> Image.Image:
    out = Image.new("RGB", (width, HEADING + 14), PAPER)
    draw = ImageDraw.Draw(out)
    for number, title in enumerate(titles):
        draw.text((GUTTER + number * (COLUMN + GAP), 4), _cut(title, COLUMN, HEADING), INK, font(HEADING))
    draw.line((GAP, HEADING + 10, width - GAP, HEADING + 10), RULE)
    return out


def _row(width: int, title: str, says: str, pictures: Sequence[UInt8Array | None]) -> Image.Image:
    height = max((p.shape[0] for p in pictures if p is not None), default=3 * LINE)
    lines = _wrapped(says, GUTTER - 2 * GAP)
    out = Image.new("RGB", (width, max(height, HEADING + len(lines) * LINE + 8) + GAP), PAPER)
    draw = ImageDraw.Draw(out)
    draw.text((GAP, 2), title, INK, font(HEADING - 2))
    for number, line in enumerate(lines):
        draw.text((GAP, HEADING + 6 + number * LINE), line, FAINT, font(LINE - 4))
    for number, picture in enumerate(pictures):
        left = GUTTER + number * (COLUMN + GAP)
        if picture is None:
            draw.text((left, 4), "none", FAINT, font(LINE - 2))
        else:
            out.paste(Image.fromarray(picture), (left + (COLUMN - picture.shape[1]) // 2, 0))
    return out


def _texts(width: int, texts: Sequence[Sequence[str]]) -> Image.Image:
    wrapped = [[line for text in lines for line in _wrapped(text, COLUMN)] for lines in texts]
    out = Image.new("RGB", (width, max(map(len, wrapped)) * LINE + GAP), PAPER)
    draw = ImageDraw.Draw(out)
    for number, lines in enumerate(wrapped):
        for row, line in enumerate(lines):
            colour = INK if row == 0 else FAINT
            draw.text((GUTTER + number * (COLUMN + GAP), row * LINE), line, colour, font(LINE - 3))
    return out


def _foot(width: int, lines: Sequence[str]) -> Image.Image:
    wrapped = [part for line in lines for part in _wrapped(line, width - 2 * GAP)]
    out = Image.new("RGB", (width, len(wrapped) * LINE + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(out)
    draw.line((GAP, 2, width - GAP, 2), RULE)
    for row, line in enumerate(wrapped):
        draw.text((GAP, GAP + row * LINE), line, FAINT, font(LINE - 4))
    return out


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of at most `width` pixels in the small size."""
    out, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font(LINE - 4).getlength(longer) > width:
            out.append(line)
            line = word
        else:
            line = longer
    return [*out, line] if line else out


def _cut(text: str, width: int, size: int) -> str:
    """Return a text that is no wider than `width` pixels."""
    while len(text) > 1 and font(size).getlength(text) > width:
        text = text[:-2] + "…"
    return text


def channels_say(layer: LayerView) -> str:
    """Return what is to be known of a layer's channels, in one sentence or two."""
    return (
        f"The channels that add most to the first person's logit. Of each: its map, its {PATCHES} strongest places in "
        f"{layer.images} image{'s' * (layer.images > 1)}, and the gradient of that activation to the pixels, clamped at "
        "each activation function: an approximation of Zeiler and Fergus 2014, as these networks have no max-pool switches."
    )


def channel_map(heat: Float32Array) -> UInt8Array:
    """Return a channel's map (h, w) as an image, dark where it is 0 or less."""
    share = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
    colour = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    scale = CHANNEL_ROW / heat.shape[0]
    size = (max(round(heat.shape[1] * scale), 1), CHANNEL_ROW)
    return np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def channel_sheet(layer: LayerView) -> UInt8Array:
    """Return a layer's channels as one image (h, w, 3): a row each, patches above their projections."""
    maps = [channel_map(channel.heat) for channel in layer.channels]
    wide = max((m.shape[1] for m in maps), default=0)
    width = 3 * GAP + wide + PATCHES * (SIDE + 4)
    parts = [_line(width, f"Layer {layer.layer} ({layer.kind})", TITLE), _foot(width, [channels_say(layer)])]
    for channel, heat in zip(layer.channels, maps, strict=True):
        row = Image.new("RGB", (width, CHANNEL_ROW + LINE + GAP + 6), PAPER)
        said = f"channel {channel.number} adds {channel.adds:+.2f} logits"
        ImageDraw.Draw(row).text((GAP, 0), said, INK, font(LINE - 3))
        row.paste(Image.fromarray(heat), (GAP, LINE + 6))
        for number, patch in enumerate(channel.patches):
            left = 2 * GAP + wide + number * (SIDE + 4)
            row.paste(Image.fromarray(patch.pixels), (left, LINE + 6))
            row.paste(Image.fromarray(patch.projection), (left, LINE + 6 + SIDE + 4))
        parts.append(row)
    return _stacked(parts)


def _stacked(parts: Sequence[Image.Image]) -> UInt8Array:
    """Return images of one width above each other, (h, w, 3)."""
    out = Image.new("RGB", (parts[0].width, sum(p.height for p in parts)), PAPER)
    top = 0
    for part in parts:
        out.paste(part, (0, top))
        top += part.height
    return np.asarray(out, np.uint8)
