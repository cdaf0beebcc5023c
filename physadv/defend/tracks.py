"""People over time: tracks with motion, the history of scores, and the time since the last sure detection."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from physadv.boxes import iou
from physadv.types import Alert, Detections, Float32Array

# Time constant with which a coasting box slows down: people stop and turn.
SLOWING_S = 0.5
# Share of the newest step in the running velocity.
NEWEST = 0.35


@dataclass(slots=True, eq=False)
class Track:
    """One tracked person. xyxy and velocity (px/s of each coordinate) are of `seen_s`, the time of the last match.

    history: recent scores near the usual one. sure_s: last time the score reached the threshold. alert: the alert
    raised when the person vanished, until they come back. hidden: an absence needs no alert. well_s: last time the
    score was near its usual one; lower scores do not enter `history`, so that a sudden fall does not become usual at
    once. faded: a fall was reported and still lasts. hits: frames in which the score reached the threshold, of `frames`
    in all and of `frames_sure` up to the last hit.
    """

    identity: int
    xyxy: Float32Array
    score: float
    born_s: float
    seen_s: float
    sure_s: float
    keypoints: Float32Array | None = None
    velocity: Float32Array = field(default_factory=lambda: np.zeros(4, np.float32))
    hits: int = 1
    frames: int = 1
    frames_sure: int = 1
    history: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    alert: Alert | None = None
    hidden: bool = False
    well_s: float = 0.0
    faded: bool = False

    def __post_init__(self) -> None:
        self.well_s = self.sure_s

    def at(self, now_s: float) -> Float32Array:
        """Return the (4,) box expected at a time; the velocity decays."""
        passed = max(now_s - self.seen_s, 0.0)
        return np.asarray(self.xyxy + self.velocity * SLOWING_S * (1 - np.exp(-passed / SLOWING_S)), np.float32)

    def points_at(self, now_s: float) -> Float32Array:
        """Return the last keypoints (17, 3) moved along with the box, of confidence 0 if there were none."""
        if self.keypoints is None:
            return np.zeros((17, 3), np.float32)
        move = self.at(now_s) - self.xyxy
        out = self.keypoints.copy()
        out[:, :2] += (move[:2] + move[2:]) / 2
        return out

    def match(self, found: Detections, index: int, now_s: float, sure: float, near: float, forget_s: float) -> None:
        """Update the track with a detection.

        sure: score that counts as seen. near: share of the usual score from which a score is near it. forget_s: seconds
        after which a lower score becomes the usual one.
        """
        box, score = found.xyxy[index], float(found.score[index])
        passed = now_s - self.seen_s
        if passed > 0:
            self.velocity += NEWEST * ((box - self.xyxy) / passed - self.velocity)
        self.xyxy, self.score, self.seen_s = box, score, now_s
        self.keypoints = None if found.keypoints is None else found.keypoints[index]
        if score >= sure:
            self.hits += 1
            self.frames_sure = self.frames
            self.sure_s = now_s
            self.alert = None
            self.hidden = False
        lasting = now_s - self.well_s > forget_s
        if score >= max(near * self.usual, sure) or (lasting and score >= sure):
            if lasting:
                self.history.clear()
            self.history.append(score)
            self.well_s, self.faded = now_s, False

    @property
    def steady(self) -> float:
        """Return the share of frames, up to the last sure one, in which the detector was sure of this person."""
        return self.hits / self.frames_sure

    @property
    def usual(self) -> float:
        """Return the median score while the detector was sure of this person."""
        # Not by numpy: for sixty numbers it takes ten times as long, several times an image.
        return statistics.median(self.history) if self.history else 0.0


def assign(tracks: list[Track], found: Detections, now_s: float, *, overlap: float) -> list[tuple[int, int]]:
    """Return pairs (track, detection) of the assignment of largest total overlap and score, each overlap >= `overlap`."""
    if not tracks or not len(found):
        return []
    expected = np.stack([t.at(now_s) for t in tracks])
    # People stop: the last box is as good a guess as the expected one.
    overlaps = np.maximum(iou(expected, found.xyxy), iou(np.stack([t.xyxy for t in tracks]), found.xyxy))
    value = np.where(overlaps >= overlap, overlaps + 0.3 * found.score[None], 0.0)
    rows, columns = linear_sum_assignment(-value)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if value[r, c] > 0]
