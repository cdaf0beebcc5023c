"""The parts of an evaluation of many videos, reduced to figures: intervals over clips, and who is left out by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from physadv.arrays import listed
from physadv.detect.matching import LABEL_CONF
from physadv.errors import DataError
from physadv.evaluate.answers import Answers
from physadv.evaluate.cell import NO_DEFENCE, Case, Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.metrics import FEW
from physadv.evaluate.pairs import NONE, Answered, PairScorer
from physadv.evaluate.people_in_time import SHORTEST_S, follow
from physadv.evaluate.results import Results
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.evaluate.video import BLOCK, Film, compare_conditions, films_cell
from physadv.scale.job import EvaluationJob
from physadv.scale.parts import (
    LookKey,
    VideoPart,
    answers_by_look,
    entry_of,
    frames_by_look,
    part_of,
)

# Of lines on single videos so many are said.
SAID = 4


def collect(folder: Path, wrong: dict[str, str] | None = None) -> Results:
    """Return the figures of an evaluation of many videos, over those that are scored.

    wrong: why others are not, by the names of the videos.

    Raises: DataError if the folder holds no evaluation, no part that can be read, or nothing that can be compared.
    """
    job = EvaluationJob.read(folder)
    settings = job.settings.evaluation
    left_out: dict[str, str] = {}
    parts: dict[int, VideoPart] = {}
    names = job.manifest.names
    for number, name in enumerate(names):
        part = part_of(job, number)
        if part is not None:
            parts[number] = part
            continue
        there = job.part(number).exists()
        why = "what was found in it is damaged, or of another video; evaluate again" if there else "not scored yet"
        left_out[name] = (wrong or {}).get(name, why)
    if not parts:
        said = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise DataError(f"{folder}: none of {len(left_out)} videos is scored: {said}"[:400])
    results = Results(settings, tuple(job.patches()))
    results.facts |= {"detectors": next(iter(parts.values())).head["detectors"], "defences": job.settings.defend}
    results.facts["manifest"] = {"name": job.name, "n_videos": len(job.manifest.videos)}
    if job.manifest.arms:
        _compare(job, parts, results, left_out)
    else:
        results.facts["videos"] = [names[number] for number in parts]
        results.cells = list(_pool(job, parts, settings))
        compare_conditions(results.cells)
        results.skipped += _notes((names[n], part.head["notes"]) for n, part in parts.items())
    results.facts["left_out"] = left_out
    results.skipped += [f"left out: {name}: {why}" for name, why in left_out.items()]
    if left_out:
        are = "is" if len(left_out) == 1 else "are"
        text = f"{len(left_out)} of {len(job.manifest.videos)} videos {are} left out: {listed(list(left_out), most=3)}"
        for cell in results.cells:
            cell.doubts.append(Doubt("videos-left-out", text))
    results.done = True
    return results


def _pool(job: EvaluationJob, parts: dict[int, VideoPart], settings: EvaluateSettings) -> Iterator[Cell]:
    """Yield a cell for each look, over all videos."""
    wearing, names = bool(job.settings.patterns), job.manifest.names
    films: dict[LookKey, list[Film]] = {}
    looks: dict[LookKey, dict[str, Any]] = {}
    unworn: Counter[LookKey] = Counter()
    doubts: dict[LookKey, list[tuple[str, list[Doubt]]]] = {}
    for number, part in parts.items():
        # One part at a time: of each frame a number is kept.
        for key, frames in frames_by_look(part).items():
            films.setdefault(key, []).append(Film.of(_film_name(number, part), frames, settings.conf, wearing=wearing))
        for look in part.head["looks"]:
            key = LookKey.of_row(look)
            looks.setdefault(key, look)
            unworn[key] += look["unworn_frames"]
            said = [Doubt(code, text) for code, text in look["doubts"]]
            doubts.setdefault(key, []).append((names[number], said))
    for key, look in looks.items():
        these = films[key]
        entry = entry_of(look)
        cell = films_cell(these, settings, detector=key.detector, imgsz=key.imgsz, entry=entry, defence=key.defence)
        cell.doubts += _doubts(doubts[key])
        cell.extra |= {"unworn_frames": unworn[key]} if unworn[key] else {}
        if wearing and len(these) < FEW:
            videos = "video" if len(these) == 1 else "videos"
            text = f"only {len(these)} {videos}: the interval is over blocks of frames, not over other videos"
            cell.doubts.append(Doubt("few-clips", text))
        cell.cases = [case for film in these for case in _cases(film, by_film=len(these) >= FEW)]
        yield cell


def _film_name(number: int, part: VideoPart) -> str:
    """Return what tells a video from those of other evaluations too."""
    return str(part.head["sha256"])[:12] or f"video {number + 1}"


def _cases(film: Film, *, by_film: bool) -> Iterator[Case]:
    """Yield what became of the person in a video, or in each block of its frames, as the interval draws them again."""
    best, start = film.best, 0
    for number, block in enumerate([film.lost] if by_film else film.blocks()):
        if len(block):
            hidden, mean = float(block.mean()), float(best[start : start + len(block)].mean())
            unit = film.name if by_film else f"{film.name} {int(film.number[start]) // BLOCK}"
            yield Case(unit, str(number), len(block), 1 - hidden, hidden, mean)
        start += len(block)


def _notes(said: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return what was said of some videos, with their names."""
    lines = [f"{name}: {line}" for name, these in said for line in these]
    return lines[:SAID] + ([f"and {len(lines) - SAID} lines more on other videos"] if len(lines) > SAID else [])


def _doubts(said: Sequence[tuple[str, Sequence[Doubt]]]) -> list[Doubt]:
    """Return the doubts about videos: once where all of them share one, else one of each kind, with how many have it."""
    counts = Counter(doubt for _, these in said for doubt in dict.fromkeys(these))
    out = [doubt for doubt, count in counts.items() if count == len(said)]
    found: dict[str, dict[str, Doubt]] = {}
    for name, these in said:
        for doubt in these:
            if doubt not in out:
                found.setdefault(doubt.code, {}).setdefault(name, doubt)
    for code, by_name in found.items():
        name, first = next(iter(by_name.items()))
        out.append(Doubt(code, f"{len(by_name)} of {len(said)} videos, as {name}: {first}"))
    return out


def _compare(job: EvaluationJob, parts: dict[int, VideoPart], results: Results, left_out: dict[str, str]) -> None:
    """Add the cells of recordings of several arms; clips of which an arm is missing, or that show nobody, are left out."""
    videos, names, settings = job.manifest.videos, job.manifest.names, job.settings.evaluation
    without = {video.clip for number, video in enumerate(videos) if number not in parts}
    asked = {number: answers_by_look(part) for number, part in parts.items() if videos[number].clip not in without}
    keys = list(next(iter(asked.values()), {}))
    for detector, imgsz in dict.fromkeys((key.detector, key.imgsz) for key in keys):
        mine = [key for key in keys if (key.detector, key.imgsz) == (detector, imgsz)]
        bare = next(key for key in mine if key.defence == NO_DEFENCE)
        empty = set(without)
        for number, answers in asked.items():
            video = videos[number]
            if video.arm == NONE and not follow(answers[bare], settings.conf)[0]:
                empty.add(video.clip)
                left_out[names[number]] = (
                    f"{detector} finds nobody at {LABEL_CONF:g} for {SHORTEST_S:g} s in it, so its clip is left out"
                )
        for name, video in zip(names, videos, strict=True):
            if video.clip in empty:
                left_out.setdefault(name, "a recording that it is compared with is left out")
        pairs, clips = job.manifest.pairs(job.settings.every, empty)
        if not clips:
            raise DataError(
                f"{job.folder}: no clip can be compared: " + "; ".join(f"{n}: {w}" for n, w in left_out.items())
            )
        at = {clip: i for i, clip in enumerate(clips)}
        known: dict[tuple[str, int, str], Answers] = {
            (videos[number].arm, at[videos[number].clip], key.defence): answers[key]
            for number, answers in asked.items()
            if videos[number].clip in at
            for key in mine
        }
        # Defences by what they were called: that of others would be code to run.
        behind = tuple(dict.fromkeys(key.defence for key in mine))
        scorer = PairScorer(pairs, Answered(detector, imgsz, behind, known), settings)
        cells = finish(scorer.scoring())
        about = next(iter(parts.values())).head["doubts"].get(detector, [])
        for cell in cells:
            cell.doubts += [Doubt(code, text) for code, text in about]
        results.cells += cells
        results.skipped += scorer.notes
        results.facts["pairs"], results.facts["recordings"] = pairs.names(), scorer.hashes()
