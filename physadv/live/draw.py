"""The image as a viewer sees it: boxes, scores and skeletons, in the page's own colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from physadv.marks import ALERT, CERTIFIED, HELD, HIDDEN, INK, PERSON, UNCOVERED, Colour, dashes
from physadv.types import Alert, Detections, Float32Array, UInt8Array

BONES = (
    (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (0, 5), (0, 6),
)  # fmt: skip
JOINT_VISIBLE = 0.5
# Alerts about somebody who is found in other views of the image alone.
FOUND_ELSEWHERE = ("uncovered", "probe", "inconsistent")
FONT = cv2.FONT_HERSHEY_SIMPLEX


class Labels:
    """Places for the labels of one image, so that those of people who stand close do not cover each other.

    `static/overlay.js` places them by the same rules.
    """

    def __init__(self, width: float, height: float) -> None:
        self._width, self._height = width, height
        self._taken: list[tuple[float, float, float, float]] = []

    def place(self, box: Sequence[float], width: float, height: float) -> tuple[float, float]:
        """Return the left upper corner of a label of that size: free, at the box's corners or else down its side.

        In a crowd that leaves no free place the label lies above the box all the same.
        """
        x1, y1, x2, y2 = box
        rows = [y1 - height, y1, y2 - height, y2]
        rows += [y1 + n * height for n in range(1, int((y2 - y1) // height))]
        spots = [(self._inside(x, width), y) for y in rows for x in (x1, x2 - width)]
        free = (spot for spot in spots if self._free(*spot, width, height))
        x, y = next(free, (self._inside(x1, width), min(max(y1 - height, 0), self._height - height)))
        self._taken.append((x, y, x + width, y + height))
        return x, y

    def _inside(self, x: float, width: float) -> float:
        return min(max(x, 0), max(self._width - width, 0))

    def _free(self, x: float, y: float, width: float, height: float) -> bool:
        if y < 0 or y + height > self._height:
            return False
        return not any(x < d and c < x + width and y < f and e < y + height for c, e, d, f in self._taken)


def drawn(
    pixels: UInt8Array,
    people: Detections,
    *,
    skeleton: bool = True,
    lines: Sequence[str] = (),
    sizes: Sequence[str] = (),
    hidden: Sequence[tuple[float, float, float, float]] = (),
) -> UInt8Array:
    """Return a copy of the (h, w, 3) RGB image with everybody in `people` marked and `lines` in its lower left corner.

    sizes: a text for each person, beside the score. hidden: boxes of wearers without a detection, grey and dashed, so
    that everybody who is counted is marked. Held people (a defence remembers them) are amber and dashed, uncovered ones
    (only other views of the image show them) violet and dashed, certified ones blue and doubled; regions that a defence
    reports are red and dashed, with its word for them.
    """
    out = pixels.copy()
    scale = max(out.shape[0], out.shape[1] * 0.6) / 720
    thick = max(1, round(2 * scale))
    labels = Labels(out.shape[1], out.shape[0])
    reported = regions(people)
    for _, box in reported:
        _rectangle(out, box, ALERT, thick, dashed=True)
    if skeleton and people.keypoints is not None:
        for points in people.keypoints:
            _bones(out, points, thick)
    for i in range(len(people)):
        _outline(out, people, i, thick)
    unseen = [np.array(box, np.float32) for box in hidden]
    for box in unseen:
        _rectangle(out, box, HIDDEN, max(1, thick // 2), dashed=True)
    # Labels last, so that no box is drawn through one.
    for i in range(len(people)):
        text = _words(people, i, sizes[i] if i < len(sizes) else "")
        _label(out, labels, text, people.xyxy[i], scale, style(people, i)[0])
    for alert, box in reported:
        _label(out, labels, alert.kind, box, scale, ALERT)
    for box in unseen:
        _label(out, labels, "hidden", box, scale, HIDDEN)
    for row, line in enumerate(reversed(lines)):
        _text(out, line, (round(8 * scale), out.shape[0] - round((10 + 26 * row) * scale)), scale, (235, 240, 242))
    return out


def style(people: Detections, i: int) -> tuple[Colour, str]:
    """Return the colour of person `i` and the word that says why it is not the plain one."""
    if people.certified is not None and people.certified[i]:
        return CERTIFIED, "certified"
    if people.held is not None and people.held[i]:
        return (UNCOVERED, "uncovered") if found_elsewhere(people, i) else (HELD, "held")
    return PERSON, ""


def regions(people: Detections) -> list[tuple[Alert, Float32Array]]:
    """Return the alerts that are marked in the image, each with its (4,) box; uncovered people are marked themselves."""
    marked = [a for a in people.alerts if a.kind != "uncovered"]
    return [(a, np.array(a.xyxy, np.float32)) for a in marked if a.xyxy is not None]


def found_elsewhere(people: Detections, i: int) -> bool:
    """Return whether a held person was found in another view of the image, not remembered: persistence numbers people."""
    if people.track is None or people.track[i] < 0:
        return True
    box = people.xyxy[i]
    return any(
        a.kind in FOUND_ELSEWHERE and a.xyxy is not None and np.abs(box - a.xyxy).max() < 1 for a in people.alerts
    )


def _outline(out: UInt8Array, people: Detections, i: int, thick: int) -> None:
    colour, word = style(people, i)
    box = people.xyxy[i]
    _rectangle(out, box, colour, thick, dashed=word in ("held", "uncovered"))
    if word == "certified":
        _rectangle(out, box + np.array([-1, -1, 1, 1], np.float32) * 2 * thick, colour, thick, dashed=False)


def _words(people: Detections, i: int, size: str) -> str:
    name = f"#{int(people.track[i])} " if people.track is not None and people.track[i] >= 0 else ""
    return f"{name}{people.score[i]:.2f} {style(people, i)[1]} {size}".strip().replace("  ", " ")


def _rectangle(out: UInt8Array, box: Float32Array, colour: Colour, thick: int, *, dashed: bool) -> None:
    x1, y1, x2, y2 = (int(v) for v in np.clip(box, -10, 20_000))
    if dashed:
        dashes(out, (x1, y1, x2, y2), colour, thick, 6 * thick)
    else:
        cv2.rectangle(out, (x1, y1), (x2, y2), colour, thick, cv2.LINE_AA)


def _bones(out: UInt8Array, points: Float32Array, thick: int) -> None:
    sure = points[:, 2] >= JOINT_VISIBLE
    place = points[:, :2].round().astype(int)
    for a, b in BONES:
        if sure[a] and sure[b]:
            cv2.line(out, tuple(place[a]), tuple(place[b]), PERSON, max(1, thick - 1), cv2.LINE_AA)
    for joint in place[sure]:
        cv2.circle(out, tuple(joint), thick + 1, (245, 250, 250), -1, cv2.LINE_AA)


def _label(out: UInt8Array, labels: Labels, text: str, box: Float32Array, scale: float, colour: Colour) -> None:
    (w, h), base = cv2.getTextSize(text, FONT, 0.55 * scale, max(1, round(1.4 * scale)))
    pad = max(2, round(3 * scale))
    x, y = (round(v) for v in labels.place(box.tolist(), w + 2 * pad, h + base + pad))
    bottom = y + h + base + pad
    cv2.rectangle(out, (x, y), (x + w + 2 * pad, bottom), colour, -1)
    cv2.putText(out, text, (x + pad, bottom - base), FONT, 0.55 * scale, INK, max(1, round(1.4 * scale)), cv2.LINE_AA)


def _text(out: UInt8Array, text: str, at: tuple[int, int], scale: float, colour: Colour) -> None:
    size, thick, edge = 0.6 * scale, max(1, round(1.4 * scale)), max(1, round(scale))
    # The outline is the same stroke moved around: OpenCV 5 spaces letters by thickness, so a thicker one would not fit.
    around = [(x, y) for x in (-edge, 0, edge) for y in (-edge, 0, edge) if x or y]
    for dx, dy in around:
        cv2.putText(out, text, (at[0] + dx, at[1] + dy), FONT, size, INK, thick, cv2.LINE_AA)
    cv2.putText(out, text, at, FONT, size, colour, thick, cv2.LINE_AA)
