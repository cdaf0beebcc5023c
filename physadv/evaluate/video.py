"""A recorded video scored frame by frame: as it is, or with patterns and controls worn by the person in it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physadv.address import is_url, masked
from physadv.capture import is_live, open_source
from physadv.capture.cuts import Cuts
from physadv.capture.reading import Notify, silent
from physadv.capture.settings import CaptureSettings
from physadv.capture.video_file import VideoFile
from physadv.dataset import NO_KEYPOINTS, LabelledImage
from physadv.defend import Pipeline
from physadv.detect.matching import STRICT_IOU, best_score
from physadv.errors import DataError, EndOfStream
from physadv.evaluate import doubts
from physadv.evaluate.metrics import FEW, wilson
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.trial import Entry, Progress
from physadv.recording import recording_of
from physadv.simulate.conditions import apply_patch
from physadv.simulate.placement import Placement, wears
from physadv.types import Detections, Detector, Frame, Source, UInt8Array

# What a defence says without meaning that something is wrong: notices, and what it erased.
NO_ALARM = frozenset({"notice", "removed"})


class Seen(NamedTuple):
    """One frame's answer.

    people: found at the threshold or held. best: highest confidence of any person; somebody whom a defence holds, whatever
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
class Run:
    """One condition over the whole video."""

    entry: Entry
    defence: str
    detector: Detector
    placement: Placement
    frames: list[Seen] = field(default_factory=list)
    waiting: int = 0

    def cut(self) -> None:
        """Forget whoever was in the scene before."""
        self.detector.reset()


def score_video(
    path: Path,
    entries: Sequence[Entry],
    detector: Detector,
    settings: EvaluateSettings,
    *,
    pipelines: Sequence[Pipeline] = (),
    every: int = 1,
    wear_from: float = 0.0,
    say: Notify = silent,
    progress: Progress | None = None,
    shown: Callable[[str, str, int, UInt8Array, Detections], None] | None = None,
) -> tuple[list[dict[str, Any]], str]:
    """Return one cell for each condition and defence, and every frame's figures as CSV.

    People are placed by the undefended detector on the clean frame, at confidence .4 or more; a frame in which it finds
    nobody carries no pattern. Without patterns the recording is scored as it is: over all its frames, since in a real
    recording nobody knows who was there. Defences keep their memory from frame to frame, one of their own each; whom one
    holds counts as seen, at the threshold's confidence, and `share_held` says in how many frames that alone is why. say:
    is told of damaged frames that are left out.

    wear_from: seconds into the video from which patterns are worn; frames before it are looked at, so that a defence with a
    memory can learn who is there, and not scored with a pattern.

    Raises: SourceError if the video cannot be read. DataError if it has no frames, nobody is ever found to wear a
    pattern, or as `open_video` does.
    """
    path = recording_of(path)
    usual = Placement.of(settings.at, settings.rule, settings.scale)
    shares: list[float] = []
    runs = [
        _start(entry, pipeline, detector, entry.placement or usual)
        for pipeline in (Pipeline(), *pipelines)
        for entry in entries
    ]
    cuts, first_s = Cuts(), None
    for number, (frame, done) in enumerate(_frames(path, every, say)):
        first_s = frame.pts_s if first_s is None else first_s
        worn = frame.pts_s - first_s >= wear_from
        if cuts.step(frame.pixels) == "cut":
            for run in runs:
                run.cut()
        clean = detector.detect(frame)
        people = clean.pick(wears(clean))
        h, w = frame.pixels.shape[:2]
        points = NO_KEYPOINTS if people.keypoints is None else people.keypoints
        image = LabelledImage(path.name, frame.pixels, people.xyxy, points, min_area=0)
        if len(people):
            shares.append(image.share)
        for run in runs:
            pixels = frame.pixels
            if worn and run.entry.patch is not None:
                # No chance: cloth that were cut anew for each frame would flicker.
                sees = settings.side_of(detector)
                pixels = apply_patch(pixels, people, run.entry.patch, run.placement, rng=None, imgsz=sees)
            answer = (
                clean
                if pixels is frame.pixels and run.detector is detector
                else run.detector.detect(frame.with_pixels(pixels))
            )
            run.waiting += not worn
            run.frames.append(_seen(frame, people, answer, settings.conf, worn=worn and len(people) > 0))
            if shown is not None and run.detector is detector:
                shown(run.entry.condition, run.entry.name or "", number, pixels, answer)
        if progress is not None:
            progress(done, f"frame {frame.index}, {w} x {h}")
    if not runs[0].frames:
        raise DataError(f"{path}: expected a video with images, got none")
    dressed = any(r.entry.patch is not None for r in runs)
    if dressed and runs[0].waiting == len(runs[0].frames):
        lasts = frame.pts_s - (first_s or 0.0)
        scored = f"the last frame scored, one in {every}, at" if every > 1 else "got"
        raise DataError(
            f"{path}: expected a video of more than the {wear_from:g} s of `wear_from`, {scored} {lasts:.1f} s"
        )
    if dressed and not any(f.worn for f in runs[0].frames):
        raise DataError(
            f"{path}: {detector.name} finds nobody at .4 in {len(runs[0].frames)} frames to wear the pattern"
        )
    cells = [_cell(r, settings, dressed, settings.side_of(detector)) for r in runs]
    for run, cell in zip(runs, cells, strict=True):
        if run.entry.condition == "patch" and run.entry.of is not None:
            cell["doubts"] += doubts.of_video(run.entry.of, path)
            share = float(np.median(shares)) if shares else 0.0
            cell["doubts"] += doubts.of_worn(run.entry.of, run.placement, cell["imgsz"], share)
    return cells, _table(runs)


def alarms_per_1000(
    path: Path, guarded: Detector, *, at_most: int = 1000, progress: Progress | None = None
) -> dict[str, Any]:
    """Return on how many of 1,000 frames of a clean video a defence raises an alarm, with the frames it is counted on.

    alarms_by_kind: frames of 1,000 with an alert of each kind. Notices are none, and what was removed is listed there but
    is no alarm.

    Raises: SourceError if the video cannot be read. DataError as `open_video` does.
    """
    guarded.reset()
    said: list[tuple[str, ...]] = []
    cuts = Cuts()
    for frame, done in _frames(path, 1, silent):
        if progress is not None:
            # A longer video is looked at up to that frame only.
            progress(max(done or 0.0, len(said) / at_most), f"frame {frame.index}")
        if cuts.step(frame.pixels) == "cut":
            guarded.reset()
        said.append(_kinds(guarded.detect(frame)))
        if len(said) >= at_most:
            break
    return {**_alarms(said), "alarm_frames": len(said)}


def _kinds(answer: Detections) -> tuple[str, ...]:
    """Return the kinds of alerts of one frame, each once, notices left out."""
    return tuple(sorted({a.kind for a in answer.alerts} - {"notice"}))


def _alarms(said: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """Return frames with an alarm, and with an alert of each kind, per 1,000."""
    each = 1000 / max(len(said), 1)
    kinds = sorted({k for one in said for k in one})
    return {
        "alarms_per_1000": round(each * sum(bool(set(one) - NO_ALARM) for one in said), 2),
        "alarms_by_kind": {k: round(each * sum(k in one for one in said), 2) for k in kinds},
    }


def open_video(path: Path, say: Notify = silent) -> Source:
    """Return the images to score of a video or of any file of a recording, from the first; the caller closes them.

    say: is told of damaged frames that are left out.

    Raises: DataError for a camera or an address, or as `recording_of` does. SourceError if it cannot be opened.
    """
    # A path has lost one of an address's two slashes.
    spec = str(path).replace(":/", "://", 1)
    if is_live(spec):
        raise DataError(
            f"{masked(spec)}: expected a video file, got a camera, which has no end; record it first with "
            "physadv live --record session.mp4 --record-clean"
        )
    if is_url(spec):
        raise DataError(f"{masked(spec)}: expected a video file on this machine, got an address; download it first")
    return open_source(str(recording_of(path)), CaptureSettings(), say)


def _frames(path: Path, every: int, say: Notify) -> Iterator[tuple[Frame, float | None]]:
    """Yield every n-th frame, and the share of the video that is over then, None where its length is not known."""
    with closing(open_video(path, say)) as source:
        length = source.promised_s if isinstance(source, VideoFile) else 0.0
        while True:
            try:
                frame = source.read()
            except EndOfStream:
                return
            if frame.index % every == 0:
                yield frame, min(frame.pts_s / length, 1.0) if length else None


def _start(entry: Entry, pipeline: Pipeline, detector: Detector, placement: Placement) -> Run:
    name = str(pipeline) if pipeline.defences else "none"
    guarded = pipeline.guard(detector) if pipeline.defences else detector
    return Run(entry, name, guarded, placement)


def _seen(frame: Frame, people: Detections, answer: Detections, conf: float, *, worn: bool) -> Seen:
    best = _best(people, answer, worn=worn)
    kept = (
        answer.held is not None and _best(people, replace(answer, score=answer.held.astype(np.float32)), worn=worn) > 0
    )
    held = kept and best < conf
    alarms = sum(a.kind not in NO_ALARM for a in answer.alerts)
    return Seen(
        frame.index,
        frame.pts_s,
        len(answer.above(conf)),
        max(best, conf) if held else best,
        held,
        worn,
        alarms,
        _kinds(answer),
    )


def _best(people: Detections, answer: Detections, *, worn: bool) -> float:
    """Return the highest confidence of anybody, or of the wearers where a pattern is worn."""
    near = best_score(people.xyxy, answer, iou_above=STRICT_IOU) if worn else answer.score
    return float(near.max(initial=0))


def _cell(run: Run, settings: EvaluateSettings, dressed: bool, imgsz: int) -> dict[str, Any]:
    frames = [f for f in run.frames if f.worn] if dressed else run.frames
    best = np.array([f.best for f in frames])
    lost = best < settings.conf
    longest = _longest(run.frames, settings.conf, worn=dressed)
    share = float(lost.mean()) if len(lost) else None
    return {
        "detector": run.detector.name,
        "imgsz": imgsz,
        "condition": run.entry.condition,
        "patch": run.entry.name,
        "defence": run.defence,
        **({"control_of": list(run.entry.stands_for)} if run.entry.stands_for else {}),
        **(
            {}
            if run.entry.patch is None
            else {"rule": run.placement.rule, "scale": run.placement.scale, "at": run.placement.where}
        ),
        "n_frames": len(run.frames),
        "n_scored": len(frames),
        "people_per_frame": _round(np.mean([f.people for f in run.frames])),
        "share_below": _round(share),
        "threshold": settings.conf,
        "ci95": {"share_below": _blocks(lost, settings)},
        "mean_best_conf": _round(best.mean() if len(best) else None),
        "median_best_conf": _round(np.median(best) if len(best) else None),
        "share_held": _round(np.mean([f.held for f in frames]) if frames else None),
        "longest_invisible_frames": len(longest),
        "longest_invisible_s": _round(_seconds(longest, run.frames)),
        "longest_invisible_from_s": _round(longest[0].pts_s) if longest else None,
        **_alarms([f.kinds for f in run.frames]),
        "doubts": _doubts(run, frames, dressed),
    }


def _doubts(run: Run, frames: Sequence[Seen], dressed: bool) -> list[str]:
    out = []
    worn = len(run.frames) - run.waiting
    if dressed and len(frames) < 0.9 * worn:
        out.append(f"only {len(frames)} of {worn} frames are scored: in the others the clean detector finds nobody")
    gaps = [b.frame - a.frame for a, b in pairwise(run.frames)]
    if gaps and max(gaps) > min(gaps):
        out.append(f"frames are missing from the recording: gaps of up to {max(gaps)}")
    if len(run.frames) < 50:
        out.append(f"only {len(run.frames)} frames")
    return out


def compare(cells: Sequence[dict[str, Any]]) -> None:
    """Add a doubt to each pattern that hides nobody, or whose control hides the person in as many frames.

    And to every defence: a video is scored with patterns that were made without knowing it.
    """
    for cell in cells:
        if cell["defence"] != "none" and cell["condition"] in ("none", "patch"):
            cell["doubts"].append(doubts.UNATTACKED)
        share = cell["share_below"] or 0.0
        if cell["condition"] != "patch":
            continue
        if share == 0:
            cell["doubts"].append(f"no effect: {cell['patch']} hides the person in no frame")
            continue
        for other in cells:
            same = all(other[key] == cell[key] for key in ("detector", "imgsz", "defence"))
            if same and cell["patch"] in other.get("control_of", ()) and (other["share_below"] or 0) >= share - 0.02:
                cell["doubts"].append(
                    f"a {other['condition']} square does as well ({other['share_below']:.0%} of frames)"
                )


def _blocks(lost: np.ndarray, settings: EvaluateSettings) -> list[float] | None:
    """Return a 95 % interval of the share lost, by resampling blocks of 15 frames: neighbours are near copies.

    Wilson's, with a block as one case, where the blocks are few or all alike.
    """
    if len(lost) < 30:
        return None
    blocks = np.array_split(lost, len(lost) // 15)
    total, count = np.array([b.sum() for b in blocks]), np.array([len(b) for b in blocks])
    rng = np.random.default_rng(settings.seed)
    drawn = rng.integers(0, len(blocks), (settings.resamples, len(blocks)))
    low, high = np.percentile(total[drawn].sum(1) / count[drawn].sum(1), [2.5, 97.5])
    if len(blocks) < FEW or low == high:
        low, high = wilson(float(lost.mean()), len(blocks))
    return [round(float(low), 4), round(float(high), 4)]


def _longest(frames: Sequence[Seen], conf: float, *, worn: bool) -> list[Seen]:
    """Return the longest run of frames, each the next of the one before, in which nobody's confidence reaches `conf`.

    worn: count those alone in which a pattern is on somebody: who walks out of the image is not hidden.
    """
    step = min((b.frame - a.frame for a, b in pairwise(frames)), default=1)
    best: list[Seen] = []
    run: list[Seen] = []
    for seen in frames:
        hidden = seen.best < conf and (seen.worn or not worn)
        if run and (seen.frame - run[-1].frame > step or not hidden):
            run = []
        if hidden:
            run.append(seen)
            best = max(best, run, key=len)
    return best


def _seconds(run: Sequence[Seen], frames: Sequence[Seen]) -> float:
    """Return how long a run of frames lasts by its own clock, the last frame as long as the others.

    One alone lasts as long as any in the video.
    """
    timed = run if len(run) > 1 else frames
    each = (timed[-1].pts_s - timed[0].pts_s) / max(len(timed) - 1, 1)
    return len(run) * each


def _table(runs: Sequence[Run]) -> str:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["condition", "patch", "defence", *Seen._fields])
    for run in runs:
        for f in run.frames:
            head = [run.entry.condition, run.entry.name or "", run.defence, f.frame, f"{f.pts_s:.3f}"]
            writer.writerow([*head, f.people, f"{f.best:.4f}", int(f.held), int(f.worn), f.alarms, " ".join(f.kinds)])
    return out.getvalue()


def _round(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)
