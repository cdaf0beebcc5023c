"""What was found, beside a recording: one JSON line a frame, and the same as Parquet once the recording is closed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from physadv.dataset import KEYPOINTS
from physadv.errors import RecordingError
from physadv.files import atomic_write, parse_json, text_bytes
from physadv.live.shown import MOST_PANES
from physadv.live.wearers import State, Wearer
from physadv.outputs import lock
from physadv.settings import one_line
from physadv.types import Alert, Detections, Frame

_BOX = pa.list_(pa.float32())
_PERSONS = pa.list_(
    pa.struct(
        [
            ("xyxy", _BOX),
            ("score", pa.float32()),
            ("keypoints", pa.list_(_BOX)),
            ("held", pa.bool_()),
            ("certified", pa.bool_()),
            ("track", pa.int64()),
        ]
    )
)
_WEARERS = pa.list_(
    pa.struct([("xyxy", _BOX), ("state", pa.string()), ("person", pa.int64()), ("score", pa.float32())])
)
_POSE = pa.struct(
    [
        ("name", pa.string()),
        ("tilt", pa.float32()),
        ("fold", pa.float32()),
        ("distance", pa.float32()),
        ("sure", pa.float32()),
        ("corners", pa.list_(_BOX)),
    ]
)
SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("captured_ns", pa.int64()),
        ("pts_s", pa.float64()),
        ("video_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("persons", _PERSONS),
        ("bare", _PERSONS),
        ("cut", pa.bool_()),
        ("wearers", _WEARERS),
        ("bare_wearers", _WEARERS),
        ("beside", pa.list_(pa.struct([("detector", pa.string()), ("persons", _PERSONS), ("wearers", _WEARERS)]))),
        ("detector", pa.string()),
        ("defences", pa.list_(pa.string())),
        ("worn", pa.string()),
        ("worn_cm", pa.float32()),
        ("worn_angle", pa.float32()),
        ("worn_fold", pa.float32()),
        ("worn_lit", pa.bool_()),
        ("turned", pa.float32()),
        ("farther", pa.float32()),
        ("worn_pose", _POSE),
        ("print_found", _POSE),
        ("condition", pa.struct([("side", pa.string()), ("text", pa.string()), ("when", pa.string())])),
        ("alerts", pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string()), ("xyxy", _BOX)]))),
        ("stage_ms", pa.map_(pa.string(), pa.float64())),
        ("more", pa.string()),
    ]
)
_BATCH = 2048


def row(frame: Frame, detections: Detections, info: dict[str, Any]) -> dict[str, Any]:
    """Return a frame's line as plain values.

    info: `detector` (its name), `defences` (names), `worn` (name of the pattern or None), `stage_ms` (name to
    milliseconds), `bare` (`persons_of` the undefended answer, or None), `wearers` and `bare_wearers` (`wearers_of`, or
    None), `beside` (of other detectors: `detector`, `persons`, `wearers`), `cut` (whether another scene begins); other keys
    are kept as they are.
    """
    width, height = frame.size
    head = {
        "index": frame.index,
        "captured_ns": frame.captured_ns,
        "pts_s": round(frame.pts_s, 6),
        "width": width,
        "height": height,
        "persons": persons_of(detections),
        "defences": [],
        "worn": None,
        "alerts": [{"kind": a.kind, "text": a.text, "xyxy": a.xyxy and list(a.xyxy)} for a in detections.alerts],
        "stage_ms": {},
    }
    return head | info


def persons_of(found: Detections) -> list[dict[str, Any]]:
    """Return people as a line holds them."""
    xyxy, score = _plain(found.xyxy, 2), _plain(found.score, 4)
    points = None if found.keypoints is None else _plain(found.keypoints, 2)
    return [
        {
            "xyxy": xyxy[i],
            "score": score[i],
            "keypoints": None if points is None else points[i],
            "held": None if found.held is None else bool(found.held[i]),
            "certified": None if found.certified is None else bool(found.certified[i]),
            "track": None if found.track is None else int(found.track[i]),
        }
        for i in range(len(found))
    ]


def wearers_of(wearers: Sequence[Wearer]) -> list[dict[str, Any]]:
    """Return those who wear a pattern as a line holds them: `person` is the number of their box among the people, or -1."""
    return [
        {"xyxy": [round(v, 2) for v in w.xyxy], "state": w.state, "person": w.person, "score": round(w.score, 4)}
        for w in wearers
    ]


def _plain(values: Any, digits: int) -> Any:
    """Return an array as nested lists, rounded; JSON has no NaN, so what is not finite becomes 0."""
    return np.round(np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0), digits).tolist()


def detections_of(line: dict[str, Any], key: str = "persons") -> Detections:
    """Return what a line, as `read_lines` gives it, says was found.

    key: "bare" for the undefended answer beside it, which raised no alerts. line: or an entry of its `beside`.
    """
    people, raised = line[key], line.get("alerts", []) if key == "persons" else []
    alerts = tuple(Alert(a["kind"], a["text"], tuple(a["xyxy"]) if a.get("xyxy") else None) for a in raised)

    def each(name: str, kind: type[np.generic]) -> Any:
        values = [p.get(name) for p in people]
        return None if not values or None in values else np.array(values, kind)

    return Detections(
        np.array([p["xyxy"] for p in people], np.float32).reshape(-1, 4),
        np.array([p["score"] for p in people], np.float32),
        each("keypoints", np.float32),
        alerts,
        each("held", np.bool_),
        each("certified", np.bool_),
        each("track", np.int64),
    )


# Far outside any frame; what lies beyond would not fit into a pixel's number.
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Pixels = Annotated[list[Coordinate], Field(min_length=4, max_length=4)]
Point = Annotated[list[Coordinate], Field(min_length=3, max_length=3)]
# A JSON number without a point may be larger than any column holds.
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class LinePart(BaseModel):
    """A part of a sidecar's line as it is read back; what later versions add is kept."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class PersonPart(LinePart):
    """A person: box and keypoints in pixels of the frame."""

    xyxy: Pixels
    score: Annotated[float, Field(ge=0, le=1)]
    keypoints: Annotated[list[Point], Field(min_length=KEYPOINTS, max_length=KEYPOINTS)] | None = None
    held: bool | None = None
    certified: bool | None = None
    track: Whole | None = None


class AlertPart(LinePart):
    """An alert: xyxy is None for the whole frame."""

    kind: str
    text: str
    xyxy: Pixels | None = None


class WearerPart(LinePart):
    """One who wears the pattern. person: number of their box among the people, or -1."""

    xyxy: Pixels
    state: State
    person: Whole
    score: Annotated[float, Field(ge=0, le=1)]


class BesidePart(LinePart):
    """What another detector found in the same frame."""

    detector: str
    persons: list[PersonPart]
    wearers: list[WearerPart] | None = None


class PosePart(LinePart):
    """How a print lay; see `print_pose.PrintPose`."""

    name: str
    tilt: Number
    fold: Annotated[float, Field(ge=-1, le=1)]
    distance: Number
    sure: Annotated[float, Field(ge=-1, le=1)]
    corners: Annotated[list[Annotated[list[Coordinate], Field(min_length=2, max_length=2)]], Field(max_length=4)] = []


class ConditionPart(LinePart):
    """Where a pattern's condition stood; see `print_pose.ConditionNow`."""

    side: Literal["active", "dormant", ""]
    text: str
    when: str


class Line(LinePart):
    """A line of a sidecar.

    video_fit, clean_fit: scale, x and y by which the frame was fitted into the drawn video and into the untouched one.
    panes: how many answers the drawn frame shows side by side: the bare one, those of other detectors, the one that counts.
    """

    index: Whole = 0
    captured_ns: Whole
    pts_s: Number
    width: Annotated[int, Field(ge=0, lt=2**31)] = 0
    height: Annotated[int, Field(ge=0, lt=2**31)] = 0
    video_s: Number | None = None
    video_fit: Point | None = None
    clean_fit: Point | None = None
    panes: Annotated[int, Field(ge=1, le=MOST_PANES)] | None = None
    persons: list[PersonPart]
    bare: list[PersonPart] | None = None
    cut: bool | None = None
    wearers: list[WearerPart] | None = None
    bare_wearers: list[WearerPart] | None = None
    beside: list[BesidePart] = []
    alerts: list[AlertPart] = []
    detector: str | None = None
    defences: list[str] = []
    worn: str | dict[str, Any] | None = None
    worn_cm: Number | None = None
    worn_angle: Number | None = None
    worn_fold: Number | None = None
    worn_lit: bool | None = None
    turned: Number | None = None
    farther: Number | None = None
    worn_pose: PosePart | None = None
    print_found: PosePart | None = None
    condition: ConditionPart | None = None
    conf: Annotated[float, Field(ge=0, le=1)] | None = None
    stage_ms: dict[str, Number] = {}


class Sidecar:
    """A JSONL file that holds whole lines only, whenever it is looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("wb", buffering=0)
        lock(self._stream.fileno(), path)
        self._size = 0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line and hand it to the system at once.

        Raises: OSError if the disk is full; a part of a line is cut off again.
        """
        data = text_bytes(json.dumps(line, separators=(",", ":"), allow_nan=False, ensure_ascii=False)) + b"\n"
        try:
            if self._stream.write(data) != len(data):
                raise OSError(28, "No space left on device", str(self.path))
        except OSError:
            self._stream.truncate(self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._stream.close()


def line_index(path: Path) -> tuple[list[int], list[float]]:
    """Return where each whole line of a sidecar begins, in bytes, and its second in the video, which never steps back.

    A line that does not parse, or does not say, has the second of the one before: `read_lines` names what is wrong with it.

    Raises: RecordingError if the file is missing.
    """
    offsets: list[int] = []
    seconds: list[float] = []
    end, last = 0, 0.0
    try:
        with path.open("rb") as stream:
            for text in stream:
                if not text.endswith(b"\n"):
                    break
                offsets.append(end)
                end, last = end + len(text), max(last, _second(text))
                seconds.append(last)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error
    return offsets, seconds


def _second(text: bytes) -> float:
    try:
        line = parse_json(text)
    except ValueError:
        return 0.0
    second = line.get("video_s") if isinstance(line, dict) else None
    return float(second) if isinstance(second, int | float) else 0.0


def read_lines(path: Path, *, offset: int = 0, first: int = 1) -> Iterator[dict[str, Any]]:
    """Yield the lines of a sidecar; a last line without its end (a kill) is left out.

    offset: where to begin, in bytes, with the line that errors call number `first`.

    Raises: RecordingError if the file is missing or another line does not parse.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            for number, text in enumerate(stream, first):
                if not text.endswith(b"\n"):
                    return
                try:
                    line = parse_json(text)
                except ValueError as error:
                    raise RecordingError(f"{path}:{number}: not JSON: {error}") from error
                if not isinstance(line, dict):
                    raise RecordingError(f"{path}:{number}: expected a table, got {type(line).__name__}")
                try:
                    Line.model_validate(line)
                except ValidationError as error:
                    raise RecordingError(f"{path}:{number}: {one_line(error)}") from error
                yield line
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error


def write_parquet(jsonl: Path, parquet: Path) -> int:
    """Write the lines of a sidecar as Parquet, atomically and in pieces; return how many there were.

    Raises: RecordingError if the sidecar cannot be read. OSError if the disk is full.
    """
    count = 0
    with atomic_write(parquet) as stream, pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for line in read_lines(jsonl):
            batch.append(_as_columns(line))
            count += 1
            if len(batch) == _BATCH:
                writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
                batch.clear()
        writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
    return count


def _as_columns(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line in the shape of the schema, everything without a column as JSON in `more`."""
    out = {name: line[name] for name in SCHEMA.names if name in line}
    out["stage_ms"] = list(line.get("stage_ms", {}).items())
    more = {name: value for name, value in line.items() if name not in SCHEMA.names}
    worn = line.get("worn")
    if worn is not None and not isinstance(worn, str):
        out["worn"], more["worn"] = str(worn.get("name", "")) if isinstance(worn, dict) else str(worn), worn
    out["more"] = json.dumps(more) if more else None
    return out
