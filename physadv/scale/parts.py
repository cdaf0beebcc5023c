"""One video of an evaluation: looked at by any worker, and kept as one Parquet file that is whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from physadv.errors import DataError, PhysadvError, WeightsError, text_of
from physadv.files import atomic_write, parse_json, text_bytes
from physadv.scale.job import JOB, PARTS, EvaluationJob
from physadv.scale.tasks import limit_threads
from physadv.types import PER_PERSON
from physadv.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

    from physadv.detect.base import BareDetector
    from physadv.evaluate.answers import Answers
    from physadv.evaluate.run import Evaluation
    from physadv.evaluate.scorer import Entry
    from physadv.evaluate.video import FrameScore, Recording

HEAD = b"physadv"
# Detectors that a worker keeps loaded, each at its size.
KEPT = 4


class TaskEnd(NamedTuple):
    """What became of a video. wrong: why it could not be scored, "" if it was. deaths: workers that died at it."""

    wrong: str = ""
    deaths: int = 0


class LookKey(NamedTuple):
    """What one look at a video was with. patch: the pattern's name, "" for none, or a control of several."""

    detector: str
    imgsz: int
    condition: str
    patch: str
    defence: str

    @classmethod
    def of(cls, detector: str, imgsz: int, condition: str, patch: str | None, defence: str) -> LookKey:
        """Return the key with bytes of names that are not UTF-8, which Parquet does not take, as escapes."""
        texts = (text_bytes(text or "").decode() for text in (detector, condition, patch, defence))
        return cls(next(texts), imgsz, *texts)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> LookKey:
        """Return the key of a row that holds it among others."""
        return cls(*(row[name] for name in cls._fields))


@dataclass(frozen=True, slots=True)
class VideoPart:
    """What is known of a video that was scored.

    table: a row for each frame and look. head: what the file says of itself: `job`, `bytes`, `sha256`, `rows`,
    `columns`, `detectors`, `notes`, and `looks` or `doubts`.
    """

    table: pa.Table
    head: dict[str, Any]


def score_video(folder: Path, number: int, trusted: bool) -> TaskEnd:
    """Look at a video of the job in a folder and write its part; what a worker runs.

    trusted: code in the weights files of detectors may run. A video that cannot be read or scored is no error here: others
    can. A file beside the part says that it was begun, so that workers which die at it are counted.
    """
    job = _job_of(folder)
    limit_threads(job.settings.threads)
    where = job.part(number)
    before = list(begun(where.parent, where.stem))
    mark = where.with_name(f".{where.stem}.begun-{uuid4().hex[:12]}")
    where.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        table = _looked(job, number, trusted)
        with atomic_write(where) as stream:
            import pyarrow.parquet as pq

            pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
    except (PhysadvError, OSError) as error:
        return TaskEnd(str(error) if isinstance(error, PhysadvError) else text_of(error), len(before))
    finally:
        for path in (mark, *before):
            path.unlink(missing_ok=True)
    return TaskEnd("", len(before))


def _job_of(folder: Path) -> EvaluationJob:
    """Return the job in a folder, read once by each worker: it lists every video.

    Raises: DataError as `EvaluationJob.read` does.
    """
    try:
        now = (folder / JOB).stat()
    except OSError:
        return EvaluationJob.read(folder)
    return _job_as_of(folder, (now.st_ino, now.st_mtime_ns, now.st_size))


@lru_cache(maxsize=1)
def _job_as_of(folder: Path, written: tuple[int, int, int]) -> EvaluationJob:
    """Return the job whose file has that inode, time in ns and size in bytes."""
    del written
    return EvaluationJob.read(folder)


def begun(parts: Path, stem: str | None = None) -> Iterator[Path]:
    """Yield the files in a folder of parts that say of a part that it was begun. stem: of this part alone."""
    prefix = "." if stem is None else f".{stem}.begun-"
    with suppress(FileNotFoundError):
        for entry in os.scandir(parts):
            if entry.name.startswith(prefix) and ".begun-" in entry.name:
                yield Path(entry.path)


def is_there(job: EvaluationJob, number: int) -> bool:
    """Return whether a video's part is of this job, and of the video as it is now, as far as its size tells.

    Its rows are counted, not read.
    """
    head = read_head(job.part(number))
    size = _size(Path(job.manifest.videos[number].path))
    return head is not None and head.get("job") == job.sha256 and size in (None, head.get("bytes"))


def read_head(path: Path) -> dict[str, Any] | None:
    """Return what a part says of itself; None if there is none that can be read, or rows or columns of it are missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(path)
        head = parse_json((about.metadata or {})[HEAD])
        columns = about.schema.to_arrow_schema().names
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    whole = isinstance(head, dict) and head.get("rows") == about.num_rows and head.get("columns") == columns
    return head if whole else None


def part_of(job: EvaluationJob, number: int) -> VideoPart | None:
    """Return a video's part; None if there is none as `is_there` says, or it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = job.part(number)
    head = read_head(path) if is_there(job, number) else None
    if head is None:
        return None
    try:
        return VideoPart(pq.read_table(path, page_checksum_verification=True), head)
    except (OSError, ValueError, pa.ArrowException):
        return None


def _looked(job: EvaluationJob, number: int, trusted: bool) -> pa.Table:
    """Return a row for each frame of a video and each look at it, with what the file is to say of itself."""
    from physadv.detect.weights import trust
    from physadv.evaluate.video import Recording
    from physadv.files import sha256_of
    from physadv.recording import recording_of

    settings, video = job.settings, job.manifest.videos[number]
    for name in settings.detectors if trusted else ():
        trust(name)
    work = evaluation_of(job)
    recording = Recording(Path(video.path), settings.every, settings.wear_from)
    film = recording_of(recording.path)
    head: dict[str, Any] = {
        "physadv": __version__,
        "job": job.sha256,
        "path": video.path,
        "bytes": _size(recording.path),
        "sha256": sha256_of(film) if film.is_file() else "",
    }
    rows, said = (_answered if video.arm else _scored)(work, recording)
    found = [detector["sha256"] for detector in work.results.facts["detectors"]]
    if found != settings.detector_hashes:
        raise WeightsError(
            "this machine has other weights than the evaluation began with",
            field="detector",
            expected=", ".join(sha256[:12] for sha256 in settings.detector_hashes),
            got=", ".join(sha256[:12] for sha256 in found),
        )
    head |= {"rows": rows.num_rows, "columns": rows.column_names, "detectors": work.results.facts["detectors"]}
    return rows.replace_schema_metadata({HEAD: json.dumps({**head, **said})})


def evaluation_of(job: EvaluationJob) -> Evaluation:
    """Return the work that a job asks for, of a single video.

    Raises: PhysadvError of some kind for what does not go together.
    """
    from physadv.defend import parse_pipeline
    from physadv.evaluate.run import Asked, Evaluation

    settings = job.settings
    pipelines = [parse_pipeline(text) for text in settings.defend]
    asked = Asked(settings.evaluation, job.patches(), list(settings.detectors), pipelines)
    asked.check()
    return Evaluation(asked, _loader())


@lru_cache(maxsize=1)
def _loader() -> Callable[..., BareDetector]:
    """Return what loads detectors and keeps them for the next video: it takes as long as ten frames of the smallest."""
    from physadv.detect import load_detector

    return lru_cache(maxsize=KEPT)(load_detector)


def _scored(work: Evaluation, recording: Recording) -> tuple[pa.Table, dict[str, Any]]:
    """Return every frame's figures, and of each look what a table of results needs."""
    import pyarrow as pa

    from physadv.evaluate.steps import finish

    rows: list[dict[str, Any]] = []
    looks: list[dict[str, Any]] = []
    notes: list[str] = []
    for _, scorer in work.video_scorers(recording):
        cells = finish(scorer.scoring())
        notes += scorer.notes
        for take, cell in zip(scorer.takes, cells, strict=True):
            entry, detector = take.entry, scorer.detector
            key = LookKey.of(detector.name, detector.imgsz, entry.condition, entry.name, take.defence)
            rows += [{**key._asdict(), **f._asdict(), "kinds": list(f.kinds)} for f in take.frames]
            looks.append({
                **key._asdict(),
                "stands_for": list(entry.stands_for),
                "unworn_frames": cell.extra.get("unworn_frames", 0),
                "placement": None if entry.placement is None else asdict(entry.placement),
                "doubts": [[doubt.code, doubt] for doubt in [*take.doubts, *work.detector_doubts.get(detector.name, ())]],
            })  # fmt: skip
    schema = pa.schema([
        *_key_schema(), ("frame", pa.int64()), ("pts_s", pa.float64()), ("people", pa.int64()), ("best", pa.float64()),
        ("held", pa.bool_()), ("worn", pa.bool_()), ("alarms", pa.int64()), ("kinds", pa.list_(pa.string())),
    ])  # fmt: skip
    return pa.Table.from_pylist(rows, schema), {"looks": looks, "notes": list(dict.fromkeys(notes))}


def _key_schema() -> list[tuple[str, pa.DataType]]:
    import pyarrow as pa

    return [(name, pa.int64() if name == "imgsz" else pa.string()) for name in LookKey._fields]


def frames_by_look(part: VideoPart) -> dict[LookKey, list[FrameScore]]:
    """Return the frames of each look at a video, in their order."""
    from physadv.evaluate.video import FrameScore

    out: dict[LookKey, list[FrameScore]] = {}
    for row in part.table.to_pylist():
        frame = FrameScore(
            **{name: row[name] for name in FrameScore._fields if name != "kinds"}, kinds=tuple(row["kinds"])
        )
        out.setdefault(LookKey.of_row(row), []).append(frame)
    return out


def entry_of(look: dict[str, Any]) -> Entry:
    """Return what was worn in a look, without its pixels."""
    from physadv.evaluate.scorer import Entry
    from physadv.simulate.placement import Placement

    placed, placement = look["placement"], None
    if placed is not None:
        size = placed["size_cm"]
        placement = Placement(**{**placed, "size_cm": None if size is None else tuple(size)})
    return Entry(look["condition"], look["patch"] or None, None, placement, stands_for=tuple(look["stands_for"]))


def _answered(work: Evaluation, recording: Recording) -> tuple[pa.Table, dict[str, Any]]:
    """Return what each detector, bare and behind each defence, says of every frame."""
    import pyarrow as pa

    from physadv.defend import Pipeline
    from physadv.evaluate.answers import answers_of
    from physadv.evaluate.cell import NO_DEFENCE
    from physadv.evaluate.steps import finish

    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    doubts: dict[str, list[list[str]]] = {}
    for detector in work.bare_detectors():
        for pipeline in (Pipeline(), *(p for p in work.asked.pipelines if p.defences)):
            answers = finish(answers_of(recording, detector, pipeline))
            if not answers.found:
                raise DataError(f"{recording.path}: expected a video with images, got none")
            notes += answers.notes
            key = LookKey.of(
                detector.name, detector.imgsz, "", None, str(pipeline) if pipeline.defences else NO_DEFENCE
            )
            rows += [{**key._asdict(), **row} for row in _rows_of(answers)]
            doubts[key.detector] = [[doubt.code, doubt] for doubt in work.detector_doubts.get(detector.name, ())]
    optional = {name: pa.bool_() if kind is bool else pa.int64() for name, kind in PER_PERSON.items()}
    schema = pa.schema([
        *_key_schema(), ("pts_s", pa.float64()), ("light", pa.float64()), ("same", pa.bool_()),
        ("xyxy", pa.list_(pa.float32())), ("score", pa.list_(pa.float32())), ("chests", pa.list_(pa.bool_())),
        *((name, pa.list_(kind)) for name, kind in optional.items()), ("alerts", pa.string()),
    ])  # fmt: skip
    return pa.Table.from_pylist(rows, schema), {"notes": list(dict.fromkeys(notes)), "doubts": doubts}


def _rows_of(answers: Answers) -> Iterator[dict[str, Any]]:
    """Yield a row for each frame: its time, light and boxes, (n, 4) one after the other."""
    times = (answers.pts_s.tolist(), answers.light.tolist(), answers.same.tolist())
    for pts_s, light, same, found, chests in zip(*times, answers.found, answers.chests, strict=True):
        yield {
            "pts_s": pts_s,
            "light": light,
            "same": same,
            "xyxy": found.xyxy.ravel(),
            "score": found.score,
            "chests": chests,
            **{name: getattr(found, name) for name in PER_PERSON},
            "alerts": json.dumps([(a.kind, a.text, a.xyxy) for a in found.alerts], default=float),
        }


def answers_by_look(part: VideoPart) -> dict[LookKey, Answers]:
    """Return what was said of every frame of a video, for each look at it."""
    from physadv.evaluate.answers import Answers

    rows: dict[LookKey, list[dict[str, Any]]] = {}
    for row in part.table.to_pylist():
        rows.setdefault(LookKey.of_row(row), []).append(row)
    return {
        key: Answers(
            _column(these, "pts_s"),
            _column(these, "light"),
            np.array([row["same"] for row in these], bool),
            tuple(map(_detections, these)),
            tuple(np.array(row["chests"], bool) for row in these),
            tuple(part.head["notes"]) if number == 0 else (),
            part.head["sha256"],
        )
        for number, (key, these) in enumerate(rows.items())
    }


def _detections(row: dict[str, Any]) -> Any:
    from physadv.types import Alert, Detections

    alerts = [
        Alert(kind, text, None if xyxy is None else tuple(xyxy)) for kind, text, xyxy in json.loads(row["alerts"])
    ]
    return Detections(
        np.array(row["xyxy"], np.float32).reshape(-1, 4),
        np.array(row["score"], np.float32),
        None,
        tuple(alerts),
        **{name: None if row[name] is None else np.array(row[name], kind) for name, kind in PER_PERSON.items()},
    )


def _column(rows: Sequence[dict[str, Any]], name: str) -> npt.NDArray[np.float64]:
    return np.array([row[name] for row in rows], np.float64)


def _size(path: Path) -> int | None:
    """Return the size of a video in bytes; None of what is not there, 0 of a folder of images."""
    try:
        return path.stat().st_size if path.is_file() else 0 if path.is_dir() else None
    except OSError:
        return None


def missing(job: EvaluationJob) -> Iterator[int]:
    """Yield the numbers of the videos that are still to be scored; parts that were begun by others are forgotten."""
    for path in list(begun(job.folder / PARTS)):
        path.unlink(missing_ok=True)
    for number in range(len(job.manifest.videos)):
        if part_of(job, number) is None:
            yield number
