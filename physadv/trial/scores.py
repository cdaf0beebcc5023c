"""What became of the person in each window of a block: found in the window with nothing on, looked for in the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from physadv.errors import RecordingError
from physadv.evaluate.answers import Answers
from physadv.evaluate.people_in_time import SHORTEST_S, Followed, follow, look_for, scene
from physadv.live.sidecar import detections_of, read_lines
from physadv.recording import Paths
from physadv.simulate.joints import chests_visible
from physadv.trial.plan import Arm

# Share of the frames of the window with nothing on in which the person has to be found, or the block is done again.
PRESENT = 0.8


@dataclass(frozen=True, slots=True)
class WindowScore:
    """One window. hidden: share of its frames in which the person is not found. never: whether in none of them.

    moved: frames in which they are found at another place. lost: frames that are missing, by their times.
    """

    frames: int
    hidden: float
    moved: int
    lost: int

    @property
    def never(self) -> bool:
        """Return whether the person is found in no frame."""
        return self.hidden >= 1


@dataclass(frozen=True, slots=True)
class Person:
    """Who is looked for in a block. path: where they are over time. share: of the frames of the window with nothing on.

    others: people beside them there, who are looked for too so that nobody is taken for another. known: (k, 4) places
    where the scene itself shows something like a person.
    """

    path: Followed
    share: float
    others: tuple[Followed, ...]
    known: np.ndarray


def answers_in(video: Path) -> Answers:
    """Return what was found in each frame of a recorded window, by its sidecar.

    Raises: RecordingError if that is missing, damaged or empty.
    """
    path = Paths.of(video).jsonl
    lines = list(read_lines(path))
    if not lines:
        raise RecordingError(f"{path}: has no frames")
    pts_s = np.array([line["pts_s"] for line in lines], np.float64)
    if not (np.diff(pts_s) > 0).all():
        raise RecordingError(f"{path}: times of its frames do not rise")
    nothing = np.zeros(len(lines))
    found = tuple(detections_of(line) for line in lines)
    sizes = [(line["width"], line["height"]) for line in lines]
    chests = tuple(chests_visible(one.xyxy, one.keypoints, size) for one, size in zip(found, sizes, strict=True))
    return Answers(pts_s - pts_s[0], nothing, nothing.astype(bool), found, chests, (), "")


def person_in(answers: Answers, conf: float) -> Person | None:
    """Return the person of a window with nothing on: who is seen longest, of several the tallest. None for nobody."""
    # In a short window half of it will do.
    people, _ = follow(answers, conf, lasts_s=min(SHORTEST_S, float(answers.pts_s[-1]) / 2))
    if not people:
        return None
    main = max(people, key=lambda p: (len(p.pts_s), float(np.median(p.xyxy[:, 3] - p.xyxy[:, 1]))))
    others = tuple(p for p in people if p is not main)
    return Person(main, len(main.pts_s) / max(len(answers.found), 1), others, scene(answers, people, conf))


def present(answers: Answers, conf: float) -> str:
    """Return why a window with nothing on is of no use, "" where it is."""
    person = person_in(answers, conf)
    if person is None:
        return "nobody is found with nothing on"
    if person.share < PRESENT:
        return f"with nothing on the person is found in {person.share:.0%} of the frames alone"
    return ""


def window_score(person: Person, answers: Answers, conf: float) -> WindowScore:
    """Return what became of a person in a window of their block."""
    hidden = moved = 0
    boxes = np.stack([p.at(answers.pts_s) for p in (person.path, *person.others)], 1)
    for there, found in zip(boxes, answers.found, strict=True):
        seen, elsewhere, _ = look_for(there, found, conf, person.known)
        hidden += not seen[0]
        moved += elsewhere[0]
    frames = len(answers.found)
    return WindowScore(frames, hidden / max(frames, 1), moved, answers.lost)


def block_scores(files: Mapping[Arm, Path], conf: float) -> dict[Arm, WindowScore] | None:
    """Return the score of each window of a whole block, None where nobody is found with nothing on.

    Raises: RecordingError if a sidecar is missing or damaged.
    """
    answers = {arm: answers_in(path) for arm, path in files.items()}
    person = person_in(answers["none"], conf)
    if person is None:
        return None
    return {arm: window_score(person, one, conf) for arm, one in answers.items()}
