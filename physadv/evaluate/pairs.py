"""Recordings of the same people under several arms (nothing, a control, the pattern), compared person by person in time.

Who is there is known from the recording without a pattern alone: its people are followed, and in each block of a second
looked for at their places in the other recordings. What is counted is frames of a person; what is drawn again for an
interval is clips, or blocks of time where the clips are few: neighbouring frames are near copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physadv.arrays import listed
from physadv.controls import CONTROLS
from physadv.defend import Pipeline
from physadv.detect.matching import LABEL_CONF
from physadv.errors import DataError, PhysadvError, SettingsError
from physadv.evaluate import doubts
from physadv.evaluate.answers import Answers, answers_of
from physadv.evaluate.cell import NO_DEFENCE, Case, Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.metrics import FEW, Figures, interval_of, newcombe, share_interval
from physadv.evaluate.people_in_time import SHORTEST_S, Followed, follow, look_for, scene
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import Steps, part_of
from physadv.evaluate.video import Recording, alarms_of
from physadv.files import parse_json
from physadv.recording import Paths, trigger_note
from physadv.table import Table, Value
from physadv.types import Detector, Float32Array
from physadv.version import __version__

NONE, PATTERN = "none", "pattern"
ARMS = (NONE, "control", *CONTROLS, PATTERN)
# Seconds of a block: a person is looked for in it where they are seen in the recording without a pattern, in the same one.
BLOCK_S = 1.0
# Share of a block's frames in which a person has to be seen without a pattern to be looked for with one.
PRESENT = 0.5
# Recordings of two arms whose brightness differs by more than this were not made with one exposure.
EXPOSURE = 0.15


@dataclass(frozen=True, slots=True)
class Pairs:
    """The recordings to compare: of each arm as many clips, the first with the first, and so on.

    arms: paths by arm, of `ARMS`. every: take every n-th frame.
    """

    arms: Mapping[str, tuple[Path, ...]]
    every: int = 1

    @classmethod
    def of(cls, given: Iterable[str], *, every: int = 1) -> Pairs:
        """Return the recordings of texts like `pattern=clip.mp4`; an arm that is named again has a further clip.

        Raises: SettingsError for another arm, a missing one, or arms with different numbers of clips.
        """
        arms: dict[str, list[Path]] = {}
        for text in given:
            arm, equals, path = text.partition("=")
            if not equals or not path.strip() or arm.strip().lower() not in ARMS:
                raise SettingsError(
                    field="pair", expected=f"ARM=VIDEO with an arm of {', '.join(ARMS)}", got=repr(text)
                )
            arms.setdefault(arm.strip().lower(), []).append(Path(path.strip()).expanduser())
        for needed in (NONE, PATTERN):
            if needed not in arms:
                raise SettingsError(
                    field="pair",
                    expected=f"a recording of the arm {needed}",
                    got=", ".join(arms) or "none",
                    hint=f"add `pair={needed}=VIDEO`",
                )
        counts = {arm: len(paths) for arm, paths in arms.items()}
        if len(set(counts.values())) > 1:
            raise SettingsError(
                field="pair",
                expected="as many clips of every arm, in the same order",
                got=", ".join(f"{n} of {arm}" for arm, n in counts.items()),
            )
        return cls({arm: tuple(arms[arm]) for arm in ARMS if arm in arms}, every)

    @property
    def n_clips(self) -> int:
        """Return how many clips each arm has."""
        return len(self.arms[NONE])

    @property
    def paths(self) -> list[Path]:
        """Return every recording."""
        return [path for paths in self.arms.values() for path in paths]

    def names(self) -> dict[str, list[str]]:
        """Return the names of the files by arm, for records and tables."""
        return {arm: [path.name for path in paths] for arm, paths in self.arms.items()}


class Look(NamedTuple):
    """One person in one block of one clip, in the recording of one arm.

    frames: in which the person was looked for. hidden: in which nobody was found there. moved: found at another place,
    where nobody else is. score: sum over the frames of the best score on the person.
    """

    clip: int
    block: int
    person: int
    frames: int
    hidden: int
    moved: int
    score: float

    @property
    def place(self) -> tuple[int, int, int]:
        """Return what it is of in any recording: clip, block and person."""
        return self.clip, self.block, self.person


@dataclass(slots=True, eq=False)
class ArmTake:
    """The recordings of one arm behind one defence: answers by clip, what became of each person in each block, by clip
    and person the seconds of the first detection (None for never) and of the longest time unseen."""

    arm: str
    defence: str
    answers: list[Answers] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    first_s: list[float | None] = field(default_factory=list)
    longest_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A detector that was asked before. answers: what it said, by arm, number of the clip and defence; defences: their
    order."""

    name: str
    imgsz: int
    defences: tuple[str, ...]
    answers: Mapping[tuple[str, int, str], Answers]


class PairScorer:
    """Compares recordings: every arm bare and behind every defence, over the same people and blocks of time.

    cache: remember what the detector said, in the user's cache folder.
    """

    def __init__(
        self,
        pairs: Pairs,
        detector: Detector | Answered,
        settings: EvaluateSettings,
        pipelines: Sequence[Pipeline] = (),
        *,
        cache: bool = True,
    ) -> None:
        self.pairs, self.detector, self.settings = pairs, detector, settings
        asked = [(NO_DEFENCE, Pipeline()), *((str(p), p) for p in pipelines if p.defences)]
        self._behind = [(d, Pipeline()) for d in detector.defences] if isinstance(detector, Answered) else asked
        self.notes: list[str] = []
        self._cache = cache
        self._people: list[list[Followed]] = []
        self._blocks: list[int] = []
        self._present: list[set[tuple[int, int]]] = []
        self._scene: list[Float32Array] = []
        self.takes: list[ArmTake] = []

    def scoring(self) -> Steps[list[Cell]]:
        """Look at every recording; the cells are returned, one for each arm and defence.

        Raises: SourceError if one cannot be read. DataError if one has no frames, nobody is found without a pattern, or no
        block of time has a person in every arm.
        """
        count = len(self._behind) * len(self.pairs.arms)
        for number, ((behind, pipeline), arm) in enumerate((b, a) for b in self._behind for a in self.pairs.arms):
            take = ArmTake(arm, behind)
            for clip in range(self.pairs.n_clips):
                whole = number * self.pairs.n_clips + clip
                steps = self._answers(arm, clip, behind, pipeline)
                what = f"{arm} {clip + 1}" + ("" if behind == NO_DEFENCE else f" behind {behind}")
                take.answers.append((yield from part_of(steps, whole, count * self.pairs.n_clips, what)))
            self.takes.append(take)
        self._find_people()
        for take in self.takes:
            self._count(take)
        self._keep_common()
        return Comparison(self.pairs, self.takes, self.detector, self.settings, self._people).cells()

    def hashes(self) -> dict[str, list[str]]:
        """Return the SHA-256 of the video of each clip by arm, "" for a folder of images."""
        return {take.arm: [a.sha256 for a in take.answers] for take in self.takes if take.defence == NO_DEFENCE}

    def _answers(self, arm: str, clip: int, behind: str, pipeline: Pipeline) -> Steps[Answers]:
        path = self.pairs.arms[arm][clip]
        try:
            if isinstance(self.detector, Answered):
                out = self.detector.answers[arm, clip, behind]
            else:
                recording = Recording(path, self.pairs.every)
                out = yield from answers_of(recording, self.detector, pipeline, cache=self._cache)
        except PhysadvError as error:
            raise error.at(f"pair={arm}") from error
        if not out.found:
            raise DataError(f"{path}: expected a video with images, got none", field=f"pair={arm}")
        if behind == NO_DEFENCE:
            self.notes += [f"{arm}: {path.name}: {note}" for note in (*out.notes, *_of_session(path))]
        return out

    def _find_people(self) -> None:
        """Follow the people of each clip without a pattern, and note which is present in which block of all arms."""
        bare = [take for take in self.takes if take.defence == NO_DEFENCE]
        plain = next(take for take in bare if take.arm == NONE)
        for clip, (path, answers) in enumerate(zip(self.pairs.arms[NONE], plain.answers, strict=True)):
            people, short = follow(answers, self.settings.conf)
            if not people:
                raise DataError(
                    f"{path}: {self.detector.name} finds nobody at {LABEL_CONF:g} for {SHORTEST_S:g} s in "
                    f"{len(answers.found)} frames",
                    field=f"pair={NONE}",
                    expected="a recording of people without a pattern",
                )
            if short:
                self.notes.append(
                    f"{NONE}: {path.name}: {short} more are seen for less than {SHORTEST_S:g} s, or mostly below "
                    f"{LABEL_CONF:g}: left out"
                )
            lengths = {take.arm: _blocks(take.answers[clip]) for take in bare}
            shortest = min(lengths.values())
            if cut := [f"{arm} {n - shortest}" for arm, n in lengths.items() if n > shortest]:
                self.notes.append(
                    f"clip {clip + 1}: the recordings last differently; seconds without a counterpart are left out: "
                    + ", ".join(cut)
                )
            self._people.append(people)
            self._scene.append(scene(answers, people, self.settings.conf))
            self._blocks.append(shortest)
            self._present.append({
                (block, number)
                for number, person in enumerate(people)
                for block in range(shortest)
                if _share_present(person, answers, block) >= PRESENT
            })  # fmt: skip

    def _count(self, take: ArmTake) -> None:
        """Look for everybody in every block of an arm's recordings."""
        for clip, answers in enumerate(take.answers):
            blocks = (answers.pts_s // BLOCK_S).astype(int)
            counts: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
            runs: dict[int, list[tuple[float, bool]]] = {}
            for block in range(self._blocks[clip]):
                there = sorted(number for b, number in self._present[clip] if b == block)
                if not there:
                    continue
                index = np.flatnonzero((blocks == block) & ~answers.frozen)
                boxes = [self._people[clip][number].at(answers.pts_s[index]) for number in there]
                for i, frame in enumerate(index):
                    people = np.stack([one[i] for one in boxes])
                    seen, moved, score = look_for(people, answers.found[frame], self.settings.conf, self._scene[clip])
                    for j, number in enumerate(there):
                        row = np.array([1, not seen[j], moved[j], score[j]], np.float64)
                        counts[block, number] = counts.get((block, number), np.zeros(4)) + row
                        runs.setdefault(number, []).append((float(answers.pts_s[frame]), bool(seen[j])))
            take.looks += [
                Look(clip, block, number, int(n), int(hidden), int(moved), float(score))
                for (block, number), (n, hidden, moved, score) in sorted(counts.items())
            ]
            for run in runs.values():
                take.first_s.append(next((at - run[0][0] for at, seen in run if seen), None))
                take.longest_s.append(_longest(run, answers.step_s))

    def _keep_common(self) -> None:
        """Leave out a person's seconds of which the recording of some arm has no frame: the others' would stand alone.

        Raises: DataError if none is left.
        """
        by_arm = [{look.place for look in take.looks} for take in self.takes]
        common = set.intersection(*by_arm)
        if not common:
            raise DataError(
                f"no second of {self.pairs.arms[NONE][0]} with a person in it has a counterpart in every other recording",
                field="pair",
                expected="recordings of the same scene, of a second or more, which begin together and do not stand still",
            )
        if left := len(set.union(*by_arm)) - len(common):
            self.notes.append(f"{left} seconds of a person have no frame in some recording: left out")
        for take in self.takes:
            take.looks = [look for look in take.looks if look.place in common]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What was counted in every arm, as cells with intervals, differences and doubts.

    people: who is followed in each clip.
    """

    pairs: Pairs
    takes: Sequence[ArmTake]
    detector: Detector | Answered
    settings: EvaluateSettings
    people: Sequence[Sequence[Followed]]

    def cells(self) -> list[Cell]:
        """Return a cell for each arm and defence, the pattern's with its differences to the others."""
        cells = [self._cell(take) for take in self.takes]
        self._compare(cells)
        return cells

    def _units(self, take: ArmTake) -> npt.NDArray[np.float64]:
        """Return (units, 2): frames hidden and frames of each unit that is drawn again, in an order common to all takes."""
        out: dict[tuple[int, ...], npt.NDArray[np.float64]] = {key: np.zeros(2) for key in self._unit_keys()}
        for look in take.looks:
            out[self._unit_key(look)] += (look.hidden, look.frames)
        return np.array(list(out.values()))

    @property
    def _by_clip(self) -> bool:
        return self.pairs.n_clips >= FEW

    def _unit_keys(self) -> list[tuple[int, ...]]:
        return sorted({self._unit_key(look) for look in self.takes[0].looks})

    def _unit_key(self, look: Look) -> tuple[int, ...]:
        return (look.clip,) if self._by_clip else (look.clip, look.block)

    def _drawn(self, take: ArmTake) -> npt.NDArray[np.float64]:
        """Return the share of frames hidden, then that of each resample; equal seeds draw equal units for every take."""
        units = self._units(take)
        rng = np.random.default_rng(self.settings.seed)
        weights = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), self.settings.resamples)
        total = np.vstack([np.ones(len(units)), weights]) @ units
        return np.asarray(total[:, 0] / total[:, 1])

    def _cell(self, take: ArmTake) -> Cell:
        drawn, units = self._drawn(take), len(self._unit_keys())
        frames = sum(c.frames for c in take.looks)
        lost, frozen = sum(a.lost for a in take.answers), sum(int(a.frozen.sum()) for a in take.answers)
        seen = [s for s in take.first_s if s is not None]
        alarms = alarms_of([one for a in take.answers for one in a.found])
        value: dict[str, float | None] = {
            "frame_asr": float(drawn[0]),
            "mean_best_conf": sum(c.score for c in take.looks) / max(frames, 1),
            "longest_invisible_s": max(take.longest_s, default=0.0),
            "first_seen_s": float(np.median(seen)) if seen else None,
            "alarms_per_1000": alarms.pop("alarms_per_1000"),
        }
        return Cell(
            self.detector.name,
            self.detector.imgsz,
            take.arm,
            None,
            take.defence,
            {
                "n_clips": self.pairs.n_clips,
                "n_people": sum(map(len, self.people)),
                **({"n_unworn": len(self._unworn)} if self._unworn else {}),
                "n_frames": sum(len(a.found) for a in take.answers),
                "n_scored": frames,
            },
            Figures(value, {"frame_asr": share_interval(drawn, units)}),
            extra={
                "threshold": self.settings.conf,
                "n_units": units,
                "unit": "clip" if self._by_clip else f"block of {BLOCK_S:g} s",
                "never_seen": sum(s is None for s in take.first_s),
                "moved_frames": sum(c.moved for c in take.looks),
                "lost_frames": lost,
                "frozen_frames": frozen,
                "light": float(np.median(np.concatenate([a.light for a in take.answers]))),
                **alarms,
            },
            doubts=self._of_data(sum(len(a.found) for a in take.answers), lost, frozen),
            cases=[
                Case(
                    f"{self._clip_name(c.clip)} second {c.block}",
                    self._person_name(c),
                    c.frames,
                    1 - c.hidden / c.frames,
                    c.hidden / c.frames,
                    c.score / c.frames,
                )
                for c in take.looks
            ],
        )

    @property
    def _unworn(self) -> list[str]:
        """Return those who do not show the chest, as cases name them: of a print there nothing is in the image."""
        return [
            f"person {number} of clip {clip}"
            for clip, people in enumerate(self.people, 1)
            for number, person in enumerate(people, 1)
            if not person.shows_chest
        ]

    def _clip_name(self, clip: int) -> str:
        """Return what tells a clip from those of other evaluations too: the bytes that its people were followed in."""
        return " ".join(filter(None, [f"clip {clip + 1}", self.takes[0].answers[clip].sha256[:12]]))

    def _person_name(self, look: Look) -> str:
        """Return where and when a person is first seen: other detectors and thresholds count people otherwise."""
        person = self.people[look.clip][look.person]
        x0, y0, x1, y1 = person.xyxy[0].tolist()
        return f"person at {(x0 + x1) / 2:.0f}, {(y0 + y1) / 2:.0f} from {person.pts_s[0]:.2f} s"

    def _of_data(self, frames: int, lost: int, frozen: int) -> list[Doubt]:
        """Return the doubts about an arm's recordings themselves."""
        out = []
        people, n = sum(map(len, self.people)), self.pairs.n_clips
        if people < doubts.FEW_PEOPLE:
            who = "person" if people == 1 else "people"
            out.append(Doubt("few-people", f"only {people} {who}: nobody else is spoken of"))
        if self._unworn:
            text = (
                f"{len(self._unworn)} of {people} people show no chest in most frames: of a print there nothing is in the "
                f"image, and they count all the same ({listed(self._unworn, most=3)})"
            )
            out.append(Doubt("no-chest", text))
        if not self._by_clip:
            clips = "clip" if n == 1 else "clips"
            text = f"only {n} {clips}: the interval is over seconds, not over other clips or places"
            out.append(Doubt("few-clips", text))
        return out + doubts.of_frames(frames, lost, frozen)

    def _compare(self, cells: Sequence[Cell]) -> None:
        """Write each arm's difference to every other into the pattern's cell, and what makes it doubtful."""
        by = {(cell.defence, cell.condition): cell for cell in cells}
        drawn = {(take.defence, take.arm): self._drawn(take) for take in self.takes}
        units = len(self._unit_keys())
        order = self._order()
        for defence in dict.fromkeys(take.defence for take in self.takes):
            mine, plain = by[defence, PATTERN], by[defence, NONE]
            for arm in self.pairs.arms:
                if arm == PATTERN:
                    continue
                apart = drawn[defence, PATTERN] - drawn[defence, arm]
                interval = interval_of(apart[1:])
                if interval is None or units < FEW:
                    interval = newcombe(float(drawn[defence, PATTERN][0]), float(drawn[defence, arm][0]), units)
                mine.extra[f"asr_above_{arm}"] = round(float(apart[0]), 4)
                mine.extra[f"asr_above_{arm}_ci95"] = list(interval)
                if interval[0] <= 0:
                    text = (
                        f"it is not shown to hide more people than {_arm(arm)}: the difference is {apart[0]:.2f} "
                        f"[{interval[0]:.2f}, {interval[1]:.2f}]"
                    )
                    mine.doubts.append(Doubt("not-shown" if arm == NONE else "control-as-good", text))
            mine.extra["conf_drop"] = round((plain["mean_best_conf"] or 0) - (mine["mean_best_conf"] or 0), 4)
            if not set(self.pairs.arms) - {NONE, PATTERN}:
                text = "no control was recorded: any print may hide as many people"
                mine.doubts.append(Doubt("control-missing", text))
            if (plain["frame_asr"] or 0) > 1 - doubts.WEAK_RECALL:
                text = f"without a pattern {plain['frame_asr']:.0%} of the people are not found either"
                plain.doubts.append(Doubt("weak-detector", text))
            for arm in self.pairs.arms:
                cell = by[defence, arm]
                cell.doubts += self._of_arm(arm, cell, plain) + order
                if defence != NO_DEFENCE and arm in (NONE, PATTERN):
                    cell.doubts.append(doubts.UNATTACKED)

    def _of_arm(self, arm: str, cell: Cell, plain: Cell) -> list[Doubt]:
        """Return the doubts that come from an arm beside the one without a pattern."""
        if arm == NONE:
            return []
        out = []
        ratio = cell.extra["light"] / max(plain.extra["light"], 1e-6)
        if abs(math.log(max(ratio, 1e-6))) > math.log1p(EXPOSURE):
            text = f"the light or the exposure changed: {ratio:.2f} times as bright as without a pattern"
            out.append(Doubt("exposure-changed", text))
        bare = {take.arm: take.answers for take in self.takes if take.defence == NO_DEFENCE}
        if any(a.sha256 and a.sha256 == b.sha256 for a, b in zip(bare[arm], bare[NONE], strict=True)):
            out.append(Doubt("same-file", "it is the same file as without a pattern"))
        return out

    def _order(self) -> list[Doubt]:
        """Return doubts about the order in which the arms were recorded, as far as sessions say when they began."""
        began = {arm: [_started(path) for path in paths] for arm, paths in self.pairs.arms.items()}
        if any(moment is None for moments in began.values() for moment in moments):
            return [doubts.UNKNOWN_ORDER]
        return doubts.of_order([
            sorted(began, key=lambda arm: began[arm][clip] or datetime.min.replace(tzinfo=UTC))
            for clip in range(self.pairs.n_clips)
        ])  # fmt: skip


def differences(cells: Sequence[Cell]) -> Table | None:
    """Return the table of how much more often a pattern hides people than every other arm; None of other cells."""
    rows: list[list[Value]] = []
    for cell in cells:
        for name, value in cell.extra.items():
            arm = name.removeprefix("asr_above_")
            if arm != name and f"{name}_ci95" in cell.extra:
                low, high = cell.extra[f"{name}_ci95"]
                rows.append([cell.defence, _arm(arm), f"{value:.3f} [{low:.2f}, {high:.2f}]"])
    columns = ["defence", "the pattern against", "hides more by"]
    return Table.of("Differences", columns, rows, numbers=columns[2:]) if rows else None


def _arm(arm: str) -> str:
    return {NONE: "no pattern", "control": "the control"}.get(arm, f"a {arm} print")


def _blocks(answers: Answers) -> int:
    """Return how many whole blocks a recording has; a last one that is all but whole counts."""
    return int((answers.pts_s[-1] + answers.step_s) / BLOCK_S + 0.1) if len(answers.pts_s) else 0


def _share_present(person: Followed, answers: Answers, block: int) -> float:
    """Return the share of a block's frames in which a person is seen."""
    there = int((person.pts_s // BLOCK_S == block).sum())
    return there / max(int((answers.pts_s // BLOCK_S == block).sum()), 1)


def _longest(run: Sequence[tuple[float, bool]], step_s: float) -> float:
    """Return the seconds of the longest run of neighbouring frames in which a person is not seen."""
    start: float | None = None
    last, longest = -math.inf, 0.0
    for at, seen in run:
        if seen or at - last > BLOCK_S:
            start = None
        if not seen:
            start = at if start is None else start
            longest = max(longest, at - start + step_s)
        last = at
    return longest


def _session(path: Path) -> dict[str, Any]:
    """Return what a recording's session.json says, {} where there is none."""
    try:
        found = parse_json(Paths.of(path).session.read_bytes())
    except (OSError, ValueError, PhysadvError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_session(path: Path) -> Iterator[str]:
    """Yield what a recording's own record says against it."""
    if note := trigger_note(path):
        yield note.removeprefix(f"{path.name}: ")
    record = _session(path)
    version = record.get("physadv")
    if version is not None and version != __version__:
        yield f"recorded by physadv {version}, this is {__version__}"
    if record and record.get("ended") is None:
        yield "the recording was cut short"
    if record.get("error"):
        yield f"the recording ended with an error: {record['error']}"


def _started(path: Path) -> datetime | None:
    """Return when a recording began, None where nothing says so."""
    try:
        # With a zone, also where a file says none: only so can any two be compared.
        return datetime.fromisoformat(str(_session(path).get("started"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
