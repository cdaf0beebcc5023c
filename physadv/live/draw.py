"""The image as a viewer sees it: boxes, scores and skeletons, in the page's own colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from physadv.live.labels import Labels
from physadv.marks import ALERT, CERTIFIED, HELD, HIDDEN, INK, PERSON, UNCOVERED, Colour, dashes
from physadv.types import Alert, Detections, Float32Array, UInt8Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from physadv.live.wearers import Wearer

BONES = (
    (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (0, 5), (0, 6),
)  # fmt: skip
JOINT_VISIBLE = 0.5
# Alerts about somebody who is found in other views of the image alone.
FOUND_ELSEWHERE = ("uncovered", "probe", "inconsistent")
FONT = cv2.FONT_HERSHEY_SIMPLEX


def drawn(
    pixels: UInt8Array,
    people: Detections,
    *,
    skeleton: bool = True,
    lines: Sequence[str] = (),
    sizes: Sequence[str] = (),
    wearers: Sequence[Wearer] = (),
) -> UInt8Array:
    """Return a copy of the (h, w, 3) RGB image with everybody in `people` marked and `lines` in its lower left corner.

    sizes: a text for each person, beside the score. wearers: of those who wear a pattern the hidden ones are grey and
    dashed, so that whoever is counted is marked. Held people (a defence remembers them) are amber and dashed, uncovered
    ones (only other views of the image show them) violet and dashed, certified ones blue and doubled; regions that a
    defence reports are red and dashed, with its word for them.
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
    hidden = [np.array(w.xyxy, np.float32) for w in wearers if w.state == "hidden"]
    for box in hidden:
        _rectangle(out, box, HIDDEN, max(1, thick // 2), dashed=True)
    # Labels last, so that no box is drawn through one.
    for i in range(len(people)):
        text = _words(people, i, sizes[i] if i < len(sizes) else "")
        _label(out, labels, text, people.xyxy[i], scale, style(people, i)[0])
    for alert, box in reported:
        _label(out, labels, alert.kind, box, scale, ALERT)
    for box in hidden:
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
    told = [a for a in people.alerts if a.kind != "uncovered"]
    return [(a, np.array(a.xyxy, np.float32)) for a in told if a.xyxy is not None]


def found_elsewhere(people: Detections, i: int) -> bool:
    """Return whether a held person was not remembered but found: the memory is persistence's, who numbers people."""
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
