"""A recorded video scored frame by frame: as it is, or with patterns and controls worn by the person in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physadv.address import is_url, masked
from physadv.capture import is_live, open_source
from physadv.capture.cuts import Cuts
from physadv.capture.settings import CaptureSettings
from physadv.capture.video_file import VideoFile
from physadv.dataset import LabelledImage
from physadv.defend import Pipeline
from physadv.detect.matching import STRICT_IOU, best_score
from physadv.errors import DataError, EndOfStream
from physadv.evaluate import doubts
from physadv.evaluate.cell import NO_DEFENCE, Case, Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.metrics import FEW, Figures, share
from physadv.evaluate.scorer import Entry
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import Steps
from physadv.files import sha256_of
from physadv.recording import recording_of, trigger_note
from physadv.simulate.conditions import apply_patch
from physadv.simulate.placement import sure_people, wears
from physadv.table import Table, Value
from physadv.types import BoolArray, Detections, Detector, Frame, Source

# What a defence says without meaning that something is wrong: notices, and what it erased.
NO_ALARM = frozenset({"notice", "removed"})
# Neighbouring frames are near copies of each other: so many count as one case.
BLOCK = 15
# Shorter videos are scored all the same, but have no interval, or are doubted.
INTERVAL_FRAMES, ENOUGH_FRAMES = 30, 50
# A control that hides the person in as many frames, but for this share of them, does as well as the pattern.
MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Recording:
    """What is scored in place of images: a video, or any file of a recording.

    every: take every n-th frame. wear_from: seconds into it from which patterns are worn; frames before it are looked at,
    so that a defence with a memory can learn who is there, and not scored with a pattern.
    """

    path: Path
    every: int = 1
    wear_from: float = 0.0

    @property
    def paths(self) -> list[Path]:
        """Return the one video, as `Pairs.paths` does several."""
        return [self.path]


class FrameScore(NamedTuple):
    """One frame's answer.

    people: found at the threshold or held. best: highest confidence of any person; a person that a defence holds, whatever
    the score, counts with the threshold at least. held: whether only such a person reaches it. worn: whether a pattern was
    on somebody. alarms: how many a defence raised. kinds: of everything it said but notices.
    """

    frame: int
    pts_s: float
    people: int
    best: float
    held: bool
    worn: bool
    alarms: int
    kinds: tuple[str, ...] = ()


@dataclass(slots=True)
class Take:
    """One entry over the whole video, behind one defence with a memory of its own. waiting: frames before patterns. doubts:
    about this very video, whatever others say."""

    entry: Entry
    defence: str
    detector: Detector
    frames: list[FrameScore] = field(default_factory=list)
    waiting: int = 0
    doubts: list[Doubt] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """What one video says of one entry behind one defence.

    name: what tells it from others. frames: how many there are. number, best, lost, held: (n,) of each frame that is
    scored: its number, the highest confidence, whether nobody reaches the threshold, and whether a defence alone vouches
    for somebody. people: found in all frames. said: how often which kinds of alerts were raised together. longest: frames,
    seconds and the begin of the longest run in which nobody is found.
    """

    name: str
    frames: int
    number: npt.NDArray[np.int64]
    best: npt.NDArray[np.float64]
    lost: BoolArray
    held: BoolArray
    people: int
    said: Mapping[tuple[str, ...], int]
    longest: tuple[int, float, float | None]

    @classmethod
    def of(cls, name: str, frames: Sequence[FrameScore], conf: float, *, wearing: bool) -> Film:
        """Return what frames come to. wearing: patterns are worn, so that the frames with a wearer alone are scored."""
        scored = [f for f in frames if f.worn] if wearing else frames
        best = np.array([f.best for f in scored], np.float64)
        run = longest_hidden(frames, conf, worn=wearing)
        return cls(
            name,
            len(frames),
            np.array([f.frame for f in scored], np.int64),
            best,
            best < conf,
            np.array([f.held for f in scored], bool),
            sum(f.people for f in frames),
            Counter(f.kinds for f in frames),
            (len(run), _seconds(run, frames), run[0].pts_s if run else None),
        )

    def blocks(self) -> list[BoolArray]:
        """Return whether somebody was lost in each scored frame, by blocks of `BLOCK` neighbouring frames."""
        return np.array_split(self.lost, max(len(self.lost) // BLOCK, 1)) if len(self.lost) else []


def films_cell(
    films: Sequence[Film], settings: EvaluateSettings, *, detector: str, imgsz: int, entry: Entry, defence: str
) -> Cell:
    """Return the cell of one entry behind one defence over one or several videos."""
    frames, best = sum(f.frames for f in films), np.concatenate([f.best for f in films])
    lost, held = (np.concatenate([getattr(f, name) for f in films]) for name in ("lost", "held"))
    said = sum((Counter(f.said) for f in films), Counter[tuple[str, ...]]())
    alarms = _alarms(said)
    # The first of equals, as within one video.
    longest = max((f.longest for f in films), key=lambda run: run[1])
    value = {
        "people_per_frame": _round(sum(f.people for f in films) / max(frames, 1)),
        "share_below": _round(lost.mean() if len(lost) else None),
        "mean_best_conf": _round(best.mean() if len(best) else None),
        "median_best_conf": _round(np.median(best) if len(best) else None),
        "share_held": _round(held.mean() if len(held) else None),
        "longest_invisible_s": _round(longest[1]),
        "alarms_per_1000": alarms.pop("alarms_per_1000"),
    }
    several = {"n_clips": len(films)} if len(films) > 1 else {}
    return Cell(
        detector,
        imgsz,
        entry.condition,
        entry.name,
        defence,
        {**several, "n_frames": frames, "n_scored": len(best)},
        Figures(value, {"share_below": _interval(films, settings)}),
        stands_for=entry.stands_for,
        placement=entry.placement,
        extra={
            "threshold": settings.conf,
            "longest_invisible_frames": longest[0],
            "longest_invisible_from_s": _round(longest[2]),
            **alarms,
        },
        doubts=[Doubt("few-frames", f"only {frames} frames")] if frames < ENOUGH_FRAMES else [],
    )


class VideoScorer:
    """Scores entries on one video, all of them frame by frame, so that it is read and looked at clean only once.

    People are placed by the undefended detector on the clean frame, at confidence .4 or more; a frame in which it finds
    nobody carries no pattern. Without patterns the recording is scored as it is: over all its frames, since in a real
    recording nobody knows who was there. Defences keep their memory from frame to frame, one of their own each. A
    person that one holds counts as seen, at the threshold's confidence; `share_held` says in how many frames that alone
    is why.
    """

    def __init__(
        self,
        recording: Recording,
        entries: Sequence[Entry],
        detector: Detector,
        settings: EvaluateSettings,
        pipelines: Sequence[Pipeline] = (),
    ) -> None:
        self.recording = replace(recording, path=recording_of(recording.path))
        self.detector, self.settings = detector, settings
        self._entries = entries
        self.takes = [
            Take(
                entry,
                str(pipeline) if pipeline.defences else NO_DEFENCE,
                pipeline.guard(detector) if pipeline.defences else detector,
            )
            for pipeline in (Pipeline(), *pipelines)
            for entry in entries
        ]
        self.notes = [note] if (note := trigger_note(self.recording.path)) else []
        # Whether patterns are worn at all: otherwise every frame is scored.
        self.wearing = any(entry.patch is not None for entry in entries)
        self._shares: list[float] = []
        # Of each frame, how many people are surely there but show no chest to wear a pattern on.
        self._unworn: list[int] = []
        # Frames of another video have the same numbers.
        path = self.recording.path
        self._film = sha256_of(path)[:12] if path.is_file() else path.name

    def scoring(self) -> Steps[list[Cell]]:
        """Look at every frame; the cells are returned, one for each condition and defence.

        Raises: SourceError if the video cannot be read. DataError if it has no frames, nobody is ever found to wear a
        pattern, or as `open_video` does.
        """
        cuts, first_s, last_s = Cuts(), None, 0.0
        for frame, done in frames_of(self.recording, self.notes):
            first_s, last_s = frame.pts_s if first_s is None else first_s, frame.pts_s
            if cuts.step(frame.pixels) == "cut":
                for take in self.takes:
                    take.detector.reset()
            self._look(frame, worn=frame.pts_s - first_s >= self.recording.wear_from)
            yield done, f"frame {frame.index}, {frame.size[0]} x {frame.size[1]}"
        self._check(last_s - (first_s or 0.0))
        cells = [self._cell(take) for take in self.takes]
        compare_conditions(cells)
        return cells

    def table(self) -> Table:
        """Return every frame's figures, a row for each frame of each take."""
        rows: list[list[Value]] = [
            [
                *(
                    t.entry.condition,
                    t.entry.name or "",
                    t.defence,
                    f.frame,
                    f"{f.pts_s:.3f}",
                    f.people,
                    f"{f.best:.4f}",
                ),
                *(int(f.held), int(f.worn), f.alarms, " ".join(f.kinds)),
            ]
            for t in self.takes
            for f in t.frames
        ]
        return Table.of("frames", ["condition", "patch", "defence", *FrameScore._fields], rows)

    def _look(self, frame: Frame, *, worn: bool) -> None:
        """Score one frame for every take. worn: whether patterns are worn yet."""
        clean = self.detector.detect(frame)
        people = clean.pick(wears(clean, frame.size))
        self._unworn.append(int(sure_people(clean).sum()) - len(people))
        if len(people):
            self._shares.append(LabelledImage("", frame.pixels, people.xyxy).share)
        # Drawn once, whatever defence looks at it. No chance: cloth that were cut anew for each frame would flicker.
        how: dict[str, Any] = {"rng": None, "imgsz": self.detector.imgsz, "lit": self.settings.wear_lit}
        drawn = {
            entry: apply_patch(frame.pixels, people, entry.patch, entry.placement, **how)
            for entry in (self._entries if worn else ())
        }
        for take in self.takes:
            pixels = drawn.get(take.entry, frame.pixels)
            bare = pixels is frame.pixels and take.detector is self.detector
            answer = clean if bare else take.detector.detect(frame.with_pixels(pixels))
            take.waiting += not worn
            take.frames.append(score_frame(frame, people, answer, self.settings.conf, worn=worn and len(people) > 0))

    def _check(self, lasts_s: float) -> None:
        """Raise DataError unless there are frames, and with a pattern somebody to wear it in those that are scored."""
        path, frames = self.recording.path, self.takes[0].frames
        if not frames:
            raise DataError(f"{path}: expected a video with images, got none")
        if self.wearing and self.takes[0].waiting == len(frames):
            every = self.recording.every
            scored = f"the last frame scored, one in {every}, at" if every > 1 else "got"
            raise DataError(
                f"{path}: expected a video of more than the {self.recording.wear_from:g} s of `wear_from`, {scored} "
                f"{lasts_s:.1f} s"
            )
        if self.wearing and not any(f.worn for f in frames):
            raise DataError(
                f"{path}: {self.detector.name} finds nobody at .4 in {len(frames)} frames to wear the pattern"
                + (f"; in {self._bare_frames} of them people do not show the chest" if self._bare_frames else "")
            )

    @property
    def _bare_frames(self) -> int:
        """Return in how many frames somebody shows no chest, and wears nothing."""
        return sum(count > 0 for count in self._unworn)

    def _cell(self, take: Take) -> Cell:
        entry = take.entry
        film = Film.of(self._film, take.frames, self.settings.conf, wearing=self.wearing)
        take.doubts = self._doubts(take, len(film.best))
        if entry.condition == "patch" and entry.of is not None and entry.placement is not None:
            share = float(np.median(self._shares)) if self._shares else 0.0
            take.doubts += doubts.of_video(entry.of, self.recording.path) + doubts.of_print(entry.of)
            take.doubts += doubts.of_placement(entry.of, entry.placement, self.detector.imgsz, share)
        cell = films_cell(
            [film],
            self.settings,
            detector=take.detector.name,
            imgsz=self.detector.imgsz,
            entry=entry,
            defence=take.defence,
        )
        cell.doubts += take.doubts
        if self.wearing and self._bare_frames:
            cell.extra["unworn_frames"] = self._bare_frames
        cell.cases = [
            Case(f"{self._film} {number // BLOCK}", str(number), 1, float(not gone), float(gone), best)
            for number, gone, best in zip(film.number.tolist(), film.lost.tolist(), film.best.tolist(), strict=True)
        ]
        return cell

    def _doubts(self, take: Take, scored: int) -> list[Doubt]:
        out = []
        worn = len(take.frames) - take.waiting
        if self.wearing and scored < 0.9 * worn:
            text = (
                f"only {scored} of {worn} frames are scored: in the others the clean detector finds nobody to wear it"
            )
            out.append(Doubt("frames-not-scored", text))
        if self.wearing and self._bare_frames:
            text = (
                f"in {self._bare_frames} of {len(take.frames)} frames up to {max(self._unworn)} people show no chest: they "
                "wear nothing and do not count"
            )
            out.append(Doubt("no-chest", text))
        gaps = [b.frame - a.frame for a, b in pairwise(take.frames)]
        if gaps and max(gaps) > min(gaps):
            out.append(Doubt("frames-lost", f"frames are missing from the recording: gaps of up to {max(gaps)}"))
        return out


def alarms_per_1000(path: Path, guarded: Detector, *, at_most: int = 1000) -> Steps[dict[str, Any]]:
    """Return on how many of 1,000 frames of a clean video a defence raises an alarm, with the frames it is counted on.

    alarms_by_kind: frames of 1,000 with an alert of each kind. Notices are none, and what was removed is listed there but
    is no alarm.

    Raises: SourceError if the video cannot be read. DataError as `open_video` does.
    """
    guarded.reset()
    said: list[tuple[str, ...]] = []
    cuts = Cuts()
    for frame, done in frames_of(Recording(path), []):
        # A longer video is looked at up to that frame only.
        yield max(done or 0.0, len(said) / at_most), f"frame {frame.index}"
        if cuts.step(frame.pixels) == "cut":
            guarded.reset()
        said.append(_kinds(guarded.detect(frame)))
        if len(said) >= at_most:
            break
    return {**_alarms(Counter(said)), "alarm_frames": len(said)}


def open_video(path: Path, notes: list[str] | None = None) -> Source:
    """Return the images to score of a video or of any file of a recording, from the first; the caller closes them.

    notes: takes a line on damaged frames that are left out.

    Raises: DataError for a camera or an address, or as `recording_of` does. SourceError if it cannot be opened.
    """
    # A path has lost one of an address's two slashes.
    spec = str(path).replace(":/", "://", 1)
    if is_live(spec):
        raise DataError(
            f"{masked(spec)}: expected a video file, got a camera, which has no end; record it first with "
            "`physadv live --record session.mp4 --record-clean`"
        )
    if is_url(spec):
        raise DataError(f"{masked(spec)}: expected a video file on this machine, got an address; download it first")
    return open_source(str(recording_of(path)), CaptureSettings(), ([] if notes is None else notes).append)


def frames_of(recording: Recording, notes: list[str]) -> Generator[tuple[Frame, float | None], None, None]:
    """Yield every n-th frame, and the share of the video that is over then, None where its length is not known."""
    with closing(open_video(recording.path, notes)) as source:
        length = source.promised_s if isinstance(source, VideoFile) else 0.0
        while True:
            try:
                frame = source.read()
            except EndOfStream:
                return
            if frame.index % recording.every == 0:
                yield frame, min(frame.pts_s / length, 1.0) if length else None


def score_frame(frame: Frame, people: Detections, answer: Detections, conf: float, *, worn: bool) -> FrameScore:
    """Return what one frame's answer comes to. people: who wears the pattern, where `worn`."""
    best = _best(people, answer, worn=worn)
    kept = (
        answer.held is not None and _best(people, replace(answer, score=answer.held.astype(np.float32)), worn=worn) > 0
    )
    held = kept and best < conf
    return FrameScore(
        frame.index,
        frame.pts_s,
        len(answer.above(conf)),
        max(best, conf) if held else best,
        held,
        worn,
        sum(a.kind not in NO_ALARM for a in answer.alerts),
        _kinds(answer),
    )


def _best(people: Detections, answer: Detections, *, worn: bool) -> float:
    """Return the highest confidence of anybody, or of the wearers where a pattern is worn."""
    near = best_score(people.xyxy, answer, iou_above=STRICT_IOU) if worn else answer.score
    return float(near.max(initial=0))


def _kinds(answer: Detections) -> tuple[str, ...]:
    """Return the kinds of alerts of one frame, each once, notices left out."""
    return tuple(sorted({a.kind for a in answer.alerts} - {"notice"}))


def alarms_of(found: Sequence[Detections]) -> dict[str, Any]:
    """Return on how many of 1,000 frames there is an alarm, and an alert of each kind."""
    return _alarms(Counter(_kinds(answer) for answer in found))


def _alarms(said: Mapping[tuple[str, ...], int]) -> dict[str, Any]:
    """Return frames with an alarm, and with an alert of each kind, per 1,000. said: how many frames have which kinds."""
    each = 1000 / max(sum(said.values()), 1)
    kinds = sorted({k for one in said for k in one})
    return {
        "alarms_per_1000": round(each * sum(n for one, n in said.items() if set(one) - NO_ALARM), 2),
        "alarms_by_kind": {k: round(each * sum(n for one, n in said.items() if k in one), 2) for k in kinds},
    }


def compare_conditions(cells: Sequence[Cell]) -> None:
    """Add a doubt to each pattern that hides nobody, or whose control hides the person in as many frames.

    And to every defence: a video is scored with patterns that were made without knowing it.
    """
    for cell in cells:
        if cell.defence != NO_DEFENCE and cell.condition in ("none", "patch"):
            cell.doubts.append(doubts.UNATTACKED)
        share = cell["share_below"] or 0.0
        if cell.condition != "patch":
            continue
        if share == 0:
            cell.doubts.append(Doubt("no-effect", f"no effect: {cell.patch} hides the person in no frame"))
            continue
        for other in cells:
            control = cell.patch in other.stands_for and other.defence == cell.defence
            if control and (other["share_below"] or 0) >= share - MARGIN:
                text = f"a {other.condition} square does as well ({other['share_below']:.0%} of frames)"
                cell.doubts.append(Doubt("control-as-good", text))


def _interval(films: Sequence[Film], settings: EvaluateSettings) -> tuple[float, float] | None:
    """Return a 95 % interval of the share lost, by resampling videos, or blocks of 15 frames where the videos are few.

    Neighbouring frames are near copies.
    """
    films = [film for film in films if len(film.lost)]
    if sum(len(film.lost) for film in films) < INTERVAL_FRAMES:
        return None
    units = [film.lost for film in films] if len(films) >= FEW else [block for f in films for block in f.blocks()]
    return share(units, resamples=settings.resamples, rng=np.random.default_rng(settings.seed)).ci95


def longest_hidden(frames: Sequence[FrameScore], conf: float, *, worn: bool) -> list[FrameScore]:
    """Return the longest run of frames, each the next of the one before, in which nobody's confidence reaches `conf`.

    worn: count those alone in which a pattern is on somebody: who walks out of the image is not hidden.
    """
    step = min((b.frame - a.frame for a, b in pairwise(frames)), default=1)
    best: list[FrameScore] = []
    run: list[FrameScore] = []
    for score in frames:
        hidden = score.best < conf and (score.worn or not worn)
        if run and (score.frame - run[-1].frame > step or not hidden):
            run = []
        if hidden:
            run.append(score)
            best = max(best, run, key=len)
    return best


def _seconds(run: Sequence[FrameScore], frames: Sequence[FrameScore]) -> float:
    """Return how long a run of frames lasts by its own clock, the last frame as long as the others.

    One alone lasts as long as any in the video.
    """
    timed = run if len(run) > 1 else frames
    each = (timed[-1].pts_s - timed[0].pts_s) / max(len(timed) - 1, 1)
    return len(run) * each


def _round(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)
