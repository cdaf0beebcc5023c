"""Colours of marks wherever people are drawn, in the live image, previews and reports, and their meaning; RGB, 8 bit.

`physadv/web/static/overlay.js` has the same colours for the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from physadv.types import Float32Array, UInt8Array

Colour = tuple[int, int, int]
# Found by the detector: whoever is marked so is seen.
PERSON: Colour = (92, 225, 166)
# Not found though they are there: dotted or dashed, and as far from the amber of held people as colours go.
HIDDEN: Colour = (215, 222, 222)
# A defence remembers them; only other views of the image show them; no patch can hide them.
HELD: Colour = (255, 190, 92)
UNCOVERED: Colour = (200, 165, 255)
CERTIFIED: Colour = (110, 190, 255)
ALERT: Colour = (255, 96, 96)
# Words on any of these.
INK: Colour = (12, 18, 22)
LEGEND = "green box: seen; grey dashes: hidden"
DASH = 5


def marked(
    pixels: UInt8Array, boxes: Float32Array, sure: Iterable[float], *, found: Iterable[bool], height: int
) -> UInt8Array:
    """Return an RGB image, `height` pixels high, with a mark on each person; box: xyxy in its pixels."""
    scale = height / pixels.shape[0]
    size = (max(1, round(pixels.shape[1] * scale)), height)
    out = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    for box, conf, seen in zip(boxes * scale, sure, found, strict=True):
        mark_person(out, box.tolist(), f"{conf:.2f}", found=bool(seen))
    return out


def mark_person(out: UInt8Array, box: Sequence[float], text: str, *, found: bool) -> None:
    """Draw a person's box, xyxy in pixels, with a text on (h, w, 3) RGB `out`, in place: as seen, or dashed as hidden."""
    colour = PERSON if found else HIDDEN
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    if found:
        cv2.rectangle(out, (x1, y1), (x2, y2), colour, 2)
    else:
        dashes(out, (x1, y1, x2, y2), colour, 2, DASH)
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    left, top = max(min(x1, out.shape[1] - width - 4), 0), max(y1, 0)
    cv2.rectangle(out, (left, top), (left + width + 4, top + height + base + 2), colour, -1)
    cv2.putText(out, text, (left + 2, top + height + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)


def dashes(out: UInt8Array, box: tuple[int, int, int, int], colour: Colour, thick: int, step: int) -> None:
    """Draw a box, xyxy, on (h, w, 3) RGB `out`, in place, in dashes of `step` pixels as far apart."""
    x1, y1, x2, y2 = box
    for x in range(x1, x2, 2 * step):
        for y in (y1, y2):
            cv2.line(out, (x, y), (min(x + step, x2), y), colour, thick)
    for y in range(y1, y2, 2 * step):
        for x in (x1, x2):
            cv2.line(out, (x, y), (x, min(y + step, y2)), colour, thick)
