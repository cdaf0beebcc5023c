"""People followed through a recording, and looked for at the same places in another recording of the same scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from physadv.boxes import iou
from physadv.defend.tracks import Track, assign
from physadv.detect.matching import LABEL_CONF, MATCH_IOU, best_score_within, gives_away
from physadv.evaluate.answers import Answers
from physadv.types import BoolArray, Detections, Float32Array

# People are followed from frame to frame by this overlap at least, through gaps up to so long; who is seen for less than
# `SHORTEST_S` altogether, or mostly below `LABEL_CONF`, does not count.
FOLLOWED_IOU, GAP_S, SHORTEST_S = 0.3, 1.0, 0.5
# A box away from everybody is somebody who moved only if it is about as high as they are, within this factor, and lies
# where the recording without a pattern shows nothing like a person, down to this share of the threshold: else a chair
# that is taken for a person now and then would stand for the one who is hidden.
ALIKE, WEAK = 1.6, 0.4


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A person followed through a recording without a pattern: seconds (n,), boxes (n, 4), chest in sight (n,)."""

    pts_s: npt.NDArray[np.float64]
    xyxy: Float32Array
    chest: BoolArray

    @property
    def shows_chest(self) -> bool:
        """Return whether the chest is in sight in at least half of the frames."""
        return bool(self.chest.mean() >= 0.5)

    def at(self, moments: npt.NDArray[np.float64]) -> Float32Array:
        """Return the (m, 4) boxes at (m,) moments, between the frames by interpolation."""
        return np.stack([np.interp(moments, self.pts_s, self.xyxy[:, i]) for i in range(4)], 1).astype(np.float32)


def follow(answers: Answers, conf: float, *, lasts_s: float = SHORTEST_S) -> tuple[list[Followed], int]:
    """Return the people followed through a recording, and how many more were seen too shortly or too weakly to count.

    Who comes back at the place where they were lost, however late, is the same person: nobody counts as two. lasts_s:
    seconds in which somebody has to be seen altogether.
    """
    alive: list[Track] = []
    lost: list[Track] = []
    paths: dict[int, list[tuple[float, float, Float32Array, bool]]] = {}
    for now, found, chests in zip(answers.pts_s.tolist(), answers.found, answers.chests, strict=True):
        lost += [track for track in alive if now - track.seen_s > GAP_S]
        alive = [track for track in alive if now - track.seen_s <= GAP_S]
        sure = found.above(conf)
        matched = assign(alive, sure, now, overlap=FOLLOWED_IOU)
        taken = {column for _, column in matched}
        for row, column in matched:
            alive[row].match(sure, column, now, conf, 0.0, GAP_S)
        for column in (c for c in range(len(sure)) if c not in taken):
            box, score = sure.xyxy[column], float(sure.score[column])
            back = _where_lost(lost, box)
            identity = len(paths) if back is None else back.identity
            if back is not None:
                lost.remove(back)
            alive.append(Track(identity, box, score, now, now, now))
            paths.setdefault(identity, [])
        for track in alive:
            if track.seen_s == now:
                shown = bool(chests[(found.xyxy == track.xyxy).all(1)].any())
                paths[track.identity].append((now, track.score, track.xyxy, shown))
    lasts = max(lasts_s / answers.step_s, 1) if answers.step_s else 1
    sound = [p for p in paths.values() if len(p) >= lasts and np.median([score for _, score, _, _ in p]) >= LABEL_CONF]
    people = []
    for path in sound:
        times, _, boxes, chest = zip(*path, strict=True)
        people.append(Followed(np.array(times), np.stack(boxes), np.array(chest)))
    return people, len(paths) - len(people)


def _where_lost(lost: Sequence[Track], box: Float32Array) -> Track | None:
    """Return the track that was lost where a (4,) box now is, the best of several."""
    if not lost:
        return None
    overlap = iou(np.stack([track.xyxy for track in lost]), box[None])[:, 0]
    return lost[int(overlap.argmax())] if overlap.max() > MATCH_IOU else None


def scene(answers: Answers, people: Sequence[Followed], conf: float) -> Float32Array:
    """Return (k, 4) places, each once, where a recording shows something like a person, who is nobody that is followed.

    conf: the threshold, of which the share `WEAK` is enough here.
    """
    out = np.zeros((0, 4), np.float32)
    for now, found in zip(answers.pts_s, answers.found, strict=True):
        close = [p.at(np.array([now])) for p in people if p.pts_s[0] - GAP_S <= now <= p.pts_s[-1] + GAP_S]
        there = np.concatenate([np.zeros((0, 4), np.float32), *close])
        for box in found.above(conf * WEAK).xyxy:
            if not gives_away(there, box[None]).any() and not (iou(out, box[None]) > MATCH_IOU).any():
                out = np.concatenate([out, box[None]])
    return out


def look_for(
    people: Float32Array, answer: Detections, conf: float, known: Float32Array
) -> tuple[list[bool], list[bool], Float32Array]:
    """Return whether each of (n, 4) people is found, whether only at another place, and the best score on each.

    A box that lies on somebody, or within, gives them away, whomever else it lies on. A box on nobody may be somebody who
    moved: it counts for one of those who are missing and as high, so that who steps aside is not hidden. known: (k, 4)
    places where the scene itself shows something like a person, which stands for nobody.
    """
    sure = answer.above(conf)
    on = gives_away(people, sure.xyxy)
    seen, moved = on.any(1), np.zeros(len(people), bool)
    high = people[:, 3] - people[:, 1]
    for box in sure.xyxy[~on.any(0)]:
        fits = np.abs(np.log(np.maximum(high, 1) / max(box[3] - box[1], 1))) <= np.log(ALIKE)
        free = np.flatnonzero(fits & ~seen & ~moved)
        if len(free) and not (iou(known, box[None]) > MATCH_IOU).any():
            moved[free[0]] = True
    return (seen | moved).tolist(), moved.tolist(), best_score_within(people, answer)
