"""What a detector says of every frame of a video, remembered by content: another threshold asks nothing again."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from physadv.capture.cuts import Cuts
from physadv.defend import Pipeline
from physadv.detect.weights import cache_dir
from physadv.evaluate.steps import Steps
from physadv.evaluate.video import Recording, frames_of
from physadv.files import atomic_write, sha256_of
from physadv.recording import recording_of
from physadv.simulate.joints import chests_visible
from physadv.types import PER_PERSON, Alert, BoolArray, Detections, Detector, Frame

# Frames that the bare detector is asked about at once; a guarded one may have a memory, and is asked one by one.
BATCH = 4
# Every so many pixels of a frame's rows and columns are looked at for its brightness.
STRIDE = 8
# Seconds without any change from which a camera hangs.
FREEZE_S = 0.5
# Remembered answers take so much at the most: an hour of video at 30 frames a second is some 30 MB.
MOST_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Answers:
    """Every frame of a video that was looked at, and what a detector said of it.

    pts_s: (n,) seconds from the first frame. light: (n,) mean of the pixels, 0 to 255. same: (n,) whether a frame has
    the very pixels of the one before. found: what was found in each. chests: of everybody found, whether the chest
    is in sight. notes: what the source said of damage. sha256: of the video, "" for a folder of images.
    """

    pts_s: npt.NDArray[np.float64]
    light: npt.NDArray[np.float64]
    same: BoolArray
    found: tuple[Detections, ...]
    chests: tuple[BoolArray, ...]
    notes: tuple[str, ...]
    sha256: str

    @property
    def step_s(self) -> float:
        """Return the usual time between two frames, in seconds; 0 of a single frame."""
        return float(np.median(np.diff(self.pts_s))) if len(self.pts_s) > 1 else 0.0

    @property
    def lost(self) -> int:
        """Return how many frames are missing between the others, by their times."""
        if len(self.pts_s) < 2 or self.step_s <= 0:
            return 0
        return int((np.maximum(np.round(np.diff(self.pts_s) / self.step_s), 1) - 1).sum())

    @property
    def frozen(self) -> BoolArray:
        """Return (n,) whether a frame repeats the one before, in a run of `FREEZE_S` or longer.

        Of a scene in which nothing moves, a codec may repeat a frame or two; a camera that hangs repeats many.
        """
        out = np.zeros(len(self.same), bool)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.same, [False]])))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            out[start:end] = (end - start) * self.step_s >= FREEZE_S
        return out


def answers_of(
    recording: Recording, detector: Detector, pipeline: Pipeline | None = None, *, cache: bool = True
) -> Steps[Answers]:
    """Return what a detector, bare or behind a defence, says of every frame of a video.

    cache: look for the answers in the user's cache folder first, and keep them there. They are known by the bytes of the
    video, the weights, the size and precision of the detector, the defence and its weights, and the code of detectors and
    defences. A detector that says no hash, or a folder of images, is asked anew each time.

    Raises: SourceError if the video cannot be read. DataError as `open_video` does.
    """
    path = recording_of(recording.path)
    content = sha256_of(path) if path.is_file() else ""
    known = cache and content and detector.sha256 is not None
    where = _place(content, recording, detector, pipeline or Pipeline()) if known else None
    if where is not None and (kept := _read(where)) is not None:
        return kept
    out = yield from _looked_at(replace(recording, path=path), detector, pipeline, content)
    if where is not None:
        try:
            _write(where, out)
        except OSError as error:
            # What was found must not be lost for a full disk.
            out = replace(out, notes=(*out.notes, f"the detector's answers are not remembered: {error}"))
    return out


def _looked_at(recording: Recording, detector: Detector, pipeline: Pipeline | None, content: str) -> Steps[Answers]:
    """Ask a detector about every frame; frames are read on a thread of their own meanwhile."""
    bare = pipeline is None or not pipeline.defences
    guarded = detector if pipeline is None or bare else pipeline.guard(detector)
    guarded.reset()
    cuts = Cuts()
    last: Frame | None = None
    notes: list[str] = []
    times: list[float] = []
    light: list[float] = []
    same: list[bool] = []
    found: list[Detections] = []
    sizes: list[tuple[int, int]] = []
    stream = frames_of(recording, notes)

    def following() -> list[tuple[Frame, float | None]]:
        return list(islice(stream, BATCH))

    with closing(stream), ThreadPoolExecutor(1, "frames") as reader:
        coming = reader.submit(following)
        while some := coming.result():
            coming = reader.submit(following)
            alike = len({frame.size for frame, _ in some}) == 1
            if bare and alike:
                found += guarded.detect_batch([frame.pixels for frame, _ in some])
            for frame, done in some:
                times.append(frame.pts_s)
                sizes.append(frame.size)
                light.append(float(frame.pixels[::STRIDE, ::STRIDE].mean()))
                same.append(last is not None and np.array_equal(last.pixels, frame.pixels))
                last = frame
                if not bare or not alike:
                    if cuts.step(frame.pixels) == "cut":
                        guarded.reset()
                    found.append(guarded.detect(frame))
                yield done, f"frame {frame.index}, {frame.size[0]} x {frame.size[1]}"
    start = times[0] if times else 0.0
    return Answers(
        np.array(times) - start,
        np.array(light),
        np.array(same, bool),
        tuple(replace(one, seen=None, to_seen=None) for one in found),
        tuple(chests_visible(one.xyxy, one.keypoints, size) for one, size in zip(found, sizes, strict=True)),
        tuple(notes),
        content,
    )


def _place(content: str, recording: Recording, detector: Detector, pipeline: Pipeline) -> Path:
    """Return the file that the answers are remembered in.

    Raises: DefenceError if a defence's weights cannot be read.
    """
    key: Sequence[Any] = (
        *(content, recording.every, detector.name, detector.sha256, detector.fingerprint(), detector.backend),
        *(detector.precision, detector.imgsz, detector.min_conf, pipeline.text, pipeline.weights(), pipeline.code()),
        _code(),
    )
    return cache_dir() / "answers" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:40]}.npz"


@lru_cache(maxsize=1)
def _code() -> str:
    """Return a hash of the code that answers depend on: a defence that was changed answers anew."""
    root = Path(__file__).parent.parent
    files = [*root.glob("*.py"), *(p for name in ("detect", "defend", "capture") for p in (root / name).rglob("*.py"))]
    files = [*sorted(files), Path(__file__)]
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


COLUMNS = ("xyxy", "score", "chests", *PER_PERSON)


def _write(where: Path, answers: Answers) -> None:
    """Keep answers in a file without pickles."""
    found = answers.found
    flat: dict[str, Any] = {
        "count": np.array([len(one) for one in found], np.int64),
        "xyxy": np.concatenate([np.zeros((0, 4), np.float32), *(one.xyxy for one in found)]),
        "score": np.concatenate([np.zeros(0, np.float32), *(one.score for one in found)]),
        **{
            name: np.concatenate([_filled(one, name) for one in found])
            for name in PER_PERSON
            if any(getattr(one, name) is not None for one in found)
        },
        "chests": np.concatenate([np.zeros(0, bool), *answers.chests]),
        "pts_s": answers.pts_s,
        "light": answers.light,
        "same": answers.same,
    }
    said = {
        "alerts": [[(a.kind, a.text, a.xyxy) for a in one.alerts] for one in found],
        "notes": answers.notes,
        "sha256": answers.sha256,
    }
    buffer = BytesIO()
    # A defence may give the place of an alert as NumPy's numbers.
    text = json.dumps(said, default=float)
    np.savez_compressed(buffer, said=np.frombuffer(text.encode(), np.uint8), **flat)
    where.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(where) as stream:
        stream.write(buffer.getvalue())
    prune(where.parent, MOST_BYTES)


def prune(folder: Path, most: int) -> None:
    """Remove the remembered answers that were not asked for longest until the others are `most` bytes together."""
    with suppress(OSError):
        # Another evaluation may remove some meanwhile.
        files = [(stat.st_mtime_ns, stat.st_size, path) for path in folder.glob("*.npz") if (stat := _stat(path))]
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files)[:-1]:
            if total <= most:
                return
            path.unlink(missing_ok=True)
            total -= size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _filled(one: Detections, name: str) -> npt.NDArray[Any]:
    """Return an optional column of one frame's answer, as it is where it is None."""
    value = getattr(one, name)
    if value is not None:
        return np.asarray(value)
    return np.full(len(one), -1, np.int64) if name == "track" else np.zeros(len(one), bool)


def _read(where: Path) -> Answers | None:
    """Return remembered answers, or None where there are none that can be read."""
    try:
        with np.load(where, allow_pickle=False) as kept:
            data = {name: kept[name] for name in kept.files}
        with suppress(OSError):
            # By which it is known when it was last asked for.
            where.touch()
        said = json.loads(data["said"].tobytes())
        ends = np.cumsum(data["count"])[:-1]
        columns = {name: np.split(data[name], ends) for name in COLUMNS if name in data}
        found = tuple(
            Detections(
                columns["xyxy"][i],
                columns["score"][i],
                None,
                tuple(Alert(kind, text, None if xyxy is None else tuple(xyxy)) for kind, text, xyxy in alerts),
                **{name: columns[name][i] for name in PER_PERSON if name in columns},
            )
            for i, alerts in enumerate(said["alerts"])
        )
        chests = tuple(columns["chests"][: len(found)])
        return Answers(data["pts_s"], data["light"], data["same"], found, chests, tuple(said["notes"]), said["sha256"])
    except (OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error):
        return None
