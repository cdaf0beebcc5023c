"""The recording that is running, if one is: begun and ended from any thread, fed by the loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from physadv.errors import RecordingError
from physadv.live.record import Recorder, RecordSettings
from physadv.live.sidecar import persons_of, wearers_of
from physadv.live.vision import Shown
from physadv.recording import Paths


class Tape:
    """One recording at a time. folder: where those go that are given no path. failed: whether one could not be finished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._recorder: Recorder | None = None
        self._last: dict[str, Any] = {}
        self.failed = False

    def start(self, path: Path | None, *, clean: bool, overwrite: bool = False, session: dict[str, Any]) -> Path:
        """Begin to record and return the video's path; a name by date and time unless given.

        overwrite: replace a recording of that name. session: how it is made, for `session.json`.

        Raises: RecordingError if a recording is running, one of that name is there, or the file cannot be made.
        """
        with self._lock:
            if self._recorder is not None:
                raise RecordingError(f"already recording to {self._last['path']}; stop that first")
            path = path or self._fresh()
            self._recorder = Recorder(path, RecordSettings(clean=clean, overwrite=overwrite), session)
            self._last = {"path": str(path), "since_s": time.time(), "clean": clean, "error": ""}
            return path

    def stop(self) -> Path | None:
        """End the recording and return its path, or None if none was running.

        Raises: RecordingError if the end of the file could not be written; what is there stays. Also if no image came
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
            raise RecordingError(f"{path}: nothing was recorded, as no image came")
        return path

    def write(self, shown: Shown, *, wait: bool) -> None:
        """Record an image if a recording is running. wait: for the encoder, instead of leaving images out.

        Raises: RecordingError if the recording failed, which has then ended; what was written stays.
        """
        with self._lock:
            recorder = self._recorder
        if recorder is None:
            return
        info = {
            "defences": list(shown.defences),
            "worn": shown.worn or None,
            "worn_cm": shown.worn_cm,
            "conf": shown.controls.conf,
            "stage_ms": {name: round(ms, 3) for name, ms in shown.stage_ms.items()},
            "bare": None if shown.bare is None else persons_of(shown.bare),
            "cut": shown.cut,
            "wearers": None if shown.wearers is None else wearers_of(shown.wearers),
            "bare_wearers": None if shown.bare_wearers is None else wearers_of(shown.bare_wearers),
            "panes": 1 if shown.bare is None else 2,
        }
        recorder.write(shown.clean, shown.annotated, shown.people, info, wait=wait)
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
