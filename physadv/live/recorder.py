"""Recording: H.264 at true timestamps that a kill cannot spoil, with what was seen beside it."""

from __future__ import annotations

import errno
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import Colorspace
from pydantic import Field

from physadv.errors import RecordingError
from physadv.files import atomic_write, sha256_of, text_bytes
from physadv.live.shown import Shown
from physadv.live.sidecar import Sidecar, persons_of, row, wearers_of, write_parquet
from physadv.provenance import provenance
from physadv.recording import Paths
from physadv.settings import Settings
from physadv.types import Detections, Frame, UInt8Array

SCHEMA = 1
TICKS = 90_000
# One whole frame this often, so that a player can jump to it.
KEY_S = 1.0
# A quarter of a second at 30 frames a second: enough for a slow disk write, little memory.
QUEUE = 8
# Bytes by which a session's record may grow until it is closed: hashes, notes, what went wrong.
RESERVE = 4096


# Takes a frame on the loop's thread, and returns what draws its image on the writer's.
Drawing = Callable[[Shown], Callable[[], UInt8Array]]


class RecordSettings(Settings):
    """How a recording is made."""

    clean: bool = Field(default=False, description="write the untouched camera video too")
    overwrite: bool = Field(default=False, description="replace a recording of the same name, all files of it")
    crf: int = Field(default=21, ge=0, le=51, description="H.264 quality; lower is better and larger")


class QueuedFrame(NamedTuple):
    """One frame on its way to the writer. annotated: the image that the viewers see, or what draws it."""

    frame: Frame
    annotated: UInt8Array | Callable[[], UInt8Array]
    detections: Detections
    info: dict[str, Any]


class Recorder:
    """Writes `v.mp4`, `v.clean.mp4` if asked, `v.jsonl`, `v.session.json`, and on a clean close `v.parquet`.

    Encoding runs in a thread of its own; `write` only hands over. Whatever goes wrong there ends the recording, not the
    demo: `error` then says what, and what was written is kept and plays. A path ending in .jsonl records the sidecar alone.
    A frame's line is written once the frame itself is safe on disk, so after a kill the two agree.

    dropped: frames left out because the encoder was behind. notes: what was done to the frames (padding, scaling).
    """

    def __init__(
        self, path: Path, settings: RecordSettings | None = None, session: dict[str, Any] | None = None
    ) -> None:
        self.settings = settings or RecordSettings()
        self.paths = Paths.of(path)
        self.error: str | None = None
        self.dropped = 0
        self.written = 0
        self.notes: list[str] = []
        self._session = session or {}
        self._started = datetime.now(UTC)
        self._provenance = provenance()
        self._videos: list[tuple[VideoWriter, bool]] = []
        self._clock = VideoClock()
        self._pending: dict[str, Any] | None = None
        _spare_source(self.paths, str(self._session.get("source", "")))
        self.paths.check_free(overwrite=self.settings.overwrite)
        try:
            self.paths.clear()
            self._save_session(ended=False)
            self._sidecar = Sidecar(self.paths.jsonl)
        except OSError as error:
            reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
            raise RecordingError(f"{path}: cannot be recorded to: {reason}") from error
        self._queue: queue.Queue[QueuedFrame] = queue.Queue(QUEUE)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"record {path.name}", daemon=True)
        self._thread.start()

    def write(
        self,
        frame: Frame,
        annotated: UInt8Array | Callable[[], UInt8Array],
        detections: Detections,
        info: dict[str, Any],
        *,
        wait: bool = False,
    ) -> bool:
        """Hand over one frame; return whether it was taken. Nothing given may be changed afterwards.

        frame: as the camera gave it. annotated: (h, w, 3) uint8 RGB, what the viewers see, or what draws it when a video
        is written. info: as `sidecar.row` takes it. wait: while the encoder is behind, wait for it instead of leaving the
        frame out; for files, which have time.
        """
        queued = QueuedFrame(frame, annotated, detections, info)
        while self.error is None and self._thread.is_alive():
            try:
                self._queue.put(queued, block=wait, timeout=0.5)
            except queue.Full:
                if wait:
                    continue
                self.dropped += 1
                return False
            return True
        return False

    def close(self, *, wait: bool = True) -> None:
        """Finish the files; with `wait`, return when they are whole. Safe to call twice."""
        self._closing.set()
        if wait and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while self.error is None:
            try:
                queued = self._queue.get(timeout=0.05)
            except queue.Empty:
                if self._closing.is_set():
                    break
                continue
            try:
                self._take(queued)
            except Exception as error:  # noqa: BLE001 -- an encoder fails in many ways; none may end the demo
                self._fail(error)
        self._finish()
        # Frames that came too late must not be kept in memory for as long as this object lives.
        while not self._queue.empty():
            self._queue.get()

    def _take(self, queued: QueuedFrame) -> None:
        drawn = queued.frame.pixels
        if self.paths.video is not None:
            # Here, not on the loop's thread: that is when the next frame is looked at.
            drawn = queued.annotated() if callable(queued.annotated) else queued.annotated
        if not self._videos and self.paths.video is not None:
            self._videos.append((self._open(self.paths.video, drawn), True))
            if self.settings.clean:
                self._videos.append((self._open(self.paths.clean, queued.frame.pixels), False))
        video_s = self._clock.seconds(queued.frame)
        line = row(queued.frame, queued.detections, queued.info) | {"video_s": round(video_s, 6)}
        for video, annotated in self._videos:
            fit = video.write(drawn if annotated else queued.frame.pixels, video_s)
            if fit is not None:
                line["video_fit" if annotated else "clean_fit"] = fit
        self._write_pending()
        self._pending = line

    def _write_pending(self) -> None:
        line, self._pending = self._pending, None
        if line is not None:
            self._sidecar.write(line)
            self.written += 1

    def _open(self, path: Path, pixels: UInt8Array) -> VideoWriter:
        video = VideoWriter(path, (pixels.shape[1], pixels.shape[0]), crf=self.settings.crf)
        if video.padded:
            self.notes.append(f"{path.name}: {video.padded}")
        return video

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            what = "the disk is full" if full else f"{type(error).__name__}: {error}"
            self.error = f"recording ended: {what}; what was written until then is kept in {self.paths.first}"

    def _finish(self) -> None:
        """Close what is open and write what belongs to a whole recording; each step is tried even if another failed."""
        for step in (self._close_videos, self._close_sidecar, self._write_parquet, self._end_session):
            try:
                step()
            except Exception as error:  # noqa: BLE001 -- as in _run
                self._fail(error)

    def _close_videos(self) -> None:
        for video, _ in self._videos:
            try:
                video.close()
            except Exception as error:  # noqa: BLE001 -- the other video is closed all the same
                self._pending = None
                self._fail(error)

    def _close_sidecar(self) -> None:
        try:
            self._write_pending()
        finally:
            self._sidecar.close()

    def _write_parquet(self) -> None:
        if self.error is None:
            write_parquet(self.paths.jsonl, self.paths.parquet)

    def _end_session(self) -> None:
        self._save_session(ended=True)

    def _save_session(self, *, ended: bool) -> None:
        files = {p.name: sha256_of(p) for p in self.paths.content() if p.is_file()} if ended else {}
        record = {
            "schema": SCHEMA,
            "started": self._started.isoformat(timespec="milliseconds"),
            "ended": datetime.now(UTC).isoformat(timespec="milliseconds") if ended else None,
            "pictures": self.written,
            "dropped": self.dropped,
            "error": self.error,
            "notes": self.notes,
            "recording": self.settings.model_dump(mode="json"),
            "sha256": files,
            "session": self._session,
        }
        text = json.dumps(record | self._provenance, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        data = text_bytes(text)
        try:
            with atomic_write(self.paths.session) as stream:
                stream.write(data if ended else data.ljust(len(data) + RESERVE))
        except OSError:
            if not ended:
                raise
            # A full disk takes no new file, but the present one has spare bytes for how it ended.
            with self.paths.session.open("r+b") as stream:
                stream.write(data)
                stream.truncate()


class Recordings:
    """The recordings of a demo, one at a time: started and stopped from any thread, fed by the loop.

    folder: where those go that are given no path. failed: whether one could not be finished.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._recorder: Recorder | None = None
        self._draw: Drawing = as_shown
        self._last: dict[str, Any] = {}
        self.failed = False

    def start(
        self,
        path: Path | None,
        *,
        clean: bool,
        overwrite: bool = False,
        session: dict[str, Any],
        draw: Drawing | None = None,
    ) -> Path:
        """Begin to record and return the video's path; a name by date and time unless given.

        overwrite: replace a recording of that name. session: how it is made, for `session.json`. draw: makes the images,
        which all have one size; without it they are those that the viewers see.

        Raises: RecordingError if a recording is running, one of that name is there, or the file cannot be made.
        """
        with self._lock:
            if self._recorder is not None:
                raise RecordingError(f"already recording to {self._last['path']}; stop that first")
            path = path or self._fresh()
            self._recorder = Recorder(path, RecordSettings(clean=clean, overwrite=overwrite), session)
            self._draw = draw or as_shown
            self._last = {"path": str(path), "since_s": time.time(), "clean": clean, "error": ""}
            return path

    def stop(self) -> Path | None:
        """End the recording and return its path, or None if none was running.

        Raises: RecordingError if the end of the file could not be written; what is there stays. Also if no frame came
        meanwhile.
        """
        with self._lock:
            recorder, self._recorder = self._recorder, None
        if recorder is None:
            return None
        recorder.close()
        if recorder.error:
            self._fail(recorder.error)
            raise RecordingError(recorder.error)
        path = Path(self._last["path"])
        if not recorder.written:
            recorder.paths.clear()
            raise RecordingError(f"{path}: nothing was recorded, as no frame came")
        return path

    @property
    def running(self) -> bool:
        """Return whether one is being made."""
        return self._recorder is not None

    def write(self, shown: Shown, *, wait: bool) -> None:
        """Record a frame if a recording is running. wait: for the encoder, instead of leaving frames out.

        Raises: RecordingError if the recording failed, which has then ended; what was written stays.
        """
        with self._lock:
            recorder, draw = self._recorder, self._draw
        if recorder is None:
            return
        recorder.write(shown.clean, draw(shown), shown.people, info_of(shown), wait=wait)
        if recorder.error:
            with self._lock:
                self._recorder = None
            self._fail(recorder.error)
            recorder.close()
            raise RecordingError(recorder.error)

    def _fail(self, why: str) -> None:
        """Keep why a recording ended by itself, for screens until the next begins."""
        self.failed, self._last = True, {**self._last, "error": why}

    def state(self) -> dict[str, Any]:
        """Return what a screen shows of it: the path and since when, whether it runs, frames written and left out.

        error: why the last one ended by itself, or "".
        """
        recorder = self._recorder
        return {
            **self._last,
            "on": recorder is not None,
            "written": recorder.written if recorder is not None else 0,
            "dropped": recorder.dropped if recorder is not None else 0,
        }

    def _fresh(self) -> Path:
        """Return a path by date and time that is not taken.

        Raises: RecordingError if there is no such folder and it cannot be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise RecordingError(f"{self._folder}: {why}; choose another with `recordings`") from error
        base = f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
        path, count = self._folder / f"{base}.mp4", 2
        while any(p.exists() for p in Paths.of(path).files()):
            path, count = self._folder / f"{base}-{count}.mp4", count + 1
        return path


def as_shown(shown: Shown) -> Callable[[], UInt8Array]:
    """Return what draws a frame as the viewers see it."""
    return lambda: shown.annotated


def info_of(shown: Shown) -> dict[str, Any]:
    """Return how a frame was made and what was found beside its answer, as `sidecar.row` takes it."""
    return {
        "detector": shown.detector,
        "defences": list(shown.defences),
        "worn": shown.worn or None,
        "worn_cm": shown.worn_cm,
        "worn_angle": shown.worn_angle,
        "worn_fold": shown.worn_fold,
        "worn_lit": shown.worn_lit,
        "turned": shown.turned,
        "farther": shown.farther,
        "worn_pose": shown.worn_pose and shown.worn_pose.plain(),
        "print_found": shown.print_found and shown.print_found.plain(),
        "condition": shown.condition and asdict(shown.condition),
        "conf": shown.controls.conf,
        "stage_ms": {name: round(ms, 3) for name, ms in shown.stage_ms.items()},
        "bare": None if shown.bare is None else persons_of(shown.bare),
        "cut": shown.cut,
        "wearers": None if shown.wearers is None else wearers_of(shown.wearers),
        "bare_wearers": None if shown.bare_wearers is None else wearers_of(shown.bare_wearers),
        "beside": [
            {
                "detector": other.name,
                "persons": persons_of(other.people),
                "wearers": None if other.wearers is None else wearers_of(other.wearers),
            }
            for other in shown.beside
        ],
        "panes": shown.pane_count,
    }


def h264_works() -> bool:
    """Return whether the installed PyAV can write what recordings are made of."""
    return "libx264" in av.codecs_available


def _spare_source(paths: Paths, source: str) -> None:
    """Check that the recording would not replace the very file that is being played.

    Raises: RecordingError otherwise.
    """
    for path in paths.files():
        if source and path.exists() and Path(source).exists() and path.samefile(source):
            raise RecordingError(f"{path}: is the recording being played; record to another name")


class VideoClock:
    """The time of each frame in the video, in seconds from its first: by presentation time, which must move on."""

    def __init__(self) -> None:
        self._last: Frame | None = None
        self._at = 0.0

    def seconds(self, frame: Frame) -> float:
        """Return the time of the next frame. Where the source was changed and its clock restarts, real time counts."""
        if self._last is not None:
            step = frame.pts_s - self._last.pts_s
            if step <= 0:
                step = max((frame.captured_ns - self._last.captured_ns) / 1e9, 2 / TICKS)
            self._at += step
        self._last = frame
        return self._at


class VideoWriter:
    """An H.264 file of one size, in fragments of one frame: a kill costs the last one. A clean close makes it plain MP4.

    padded: what was done to make an odd size even, or "". Frames of another size are scaled into the first one's.
    """

    def __init__(self, path: Path, size: tuple[int, int], *, crf: int) -> None:
        self.path = path
        self._size = size
        width, height = size[0] + size[0] % 2, size[1] + size[1] % 2
        self.padded = "" if (width, height) == size else (
            f"{size[0]} x {size[1]} is odd; its last column or row is repeated once to {width} x {height}"
        )  # fmt: skip
        flags = {"movflags": "hybrid_fragmented+frag_every_frame", "flush_packets": "1"}
        self._container: Any = av.open(str(path), "w", format="mp4", options=flags)
        options = {"preset": "superfast", "tune": "zerolatency", "crf": str(crf)}
        stream: Any = self._container.add_stream("libx264", options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = width, height, "yuv420p", 1
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        # BT.709, limited range: what players take untagged HD video for, said for every size.
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        self._stream = stream
        self._ticks = -1
        self._key_at = -KEY_S
        self._whole = 0

    def write(self, pixels: UInt8Array, at_s: float) -> list[float] | None:
        """Append an (h, w, 3) uint8 RGB image at `at_s` seconds; return [scale, x, y] if it had to be fitted in.

        Raises: OSError if the disk is full; other errors of the encoder.
        """
        pixels, fit = _fitted(pixels, self._size)
        image = av.VideoFrame.from_ndarray(_even(pixels), format="rgb24")
        image = image.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
        self._ticks = max(round(at_s * TICKS), self._ticks + 1)
        image.pts, image.time_base = self._ticks, Fraction(1, TICKS)
        image.pict_type = PictureType.I if at_s - self._key_at >= KEY_S else PictureType.NONE
        if image.pict_type == PictureType.I:
            self._key_at = at_s
        self._mux(self._stream.encode(image))
        return fit

    def close(self) -> None:
        """Finish the file. Safe to call twice.

        Raises: OSError if the disk is full; the file is then cut back to its last whole frame, and plays.
        """
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            for packet in self._stream.encode(None):
                container.mux(packet)
            container.close()
        except Exception:
            with suppress(Exception):
                container.close()
            os.truncate(self.path, self._whole)
            raise

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._container.mux(packet)
        self._whole = self.path.stat().st_size


def _even(pixels: UInt8Array) -> UInt8Array:
    """Return an image with even sides, the last row or column repeated where needed; yuv420p knows no odd ones."""
    h, w = pixels.shape[:2]
    if h % 2 or w % 2:
        return cv2.copyMakeBorder(pixels, 0, h % 2, 0, w % 2, cv2.BORDER_REPLICATE)  # type: ignore[return-value]
    return np.ascontiguousarray(pixels)


def _fitted(pixels: UInt8Array, size: tuple[int, int]) -> tuple[UInt8Array, list[float] | None]:
    """Return an image centred in `size` (width, height) with its proportions kept, and [scale, x, y] if changed."""
    h, w = pixels.shape[:2]
    if (w, h) == size:
        return pixels, None
    scale = min(size[0] / w, size[1] / h)
    new_w, new_h = max(round(w * scale), 1), max(round(h * scale), 1)
    x, y = (size[0] - new_w) // 2, (size[1] - new_h) // 2
    out = np.zeros((size[1], size[0], 3), np.uint8)
    out[y : y + new_h, x : x + new_w] = cv2.resize(pixels, (new_w, new_h), interpolation=cv2.INTER_AREA)
    return out, [round(scale, 6), x, y]
