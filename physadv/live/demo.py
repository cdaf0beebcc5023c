"""The demo as the page, the window and the command line have it: start and stop, controls, recording, its state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from physadv.errors import RecordingError
from physadv.live.loop import Loop, Processor
from physadv.live.recorder import Drawing
from physadv.live.settings import Controls
from physadv.live.shared import SharedState
from physadv.live.shown import Shown
from physadv.patch import replacement
from physadv.types import Source
from physadv.version import __version__


class Demo:
    """A loop over a camera (`CameraDemo`) or a recording (`Replay`), with what both offer. Every method from any thread.

    It is complete when constructed; `start` sets it going and `stop` closes it. Changes take effect with the next frame.
    source_spec: the source as it may be shown. recorded: whether a recording is shown, of which nothing is detected again.
    undistorts: whether the lens is taken out of the frames already.
    """

    recorded = False

    def __init__(self, loop: Loop, processor: Processor, shared: SharedState, *, source_spec: str) -> None:
        self.settings, self.library = shared.settings, shared.library
        self.figures, self.notices = shared.figures, shared.notices
        self.source_spec = source_spec
        self._loop, self._processor, self._shared = loop, processor, shared

    # Start and stop

    def start(self) -> None:
        """Start the loop's thread."""
        self._loop.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether the loop has ended within `timeout` seconds."""
        return self._loop.wait(timeout)

    @property
    def running(self) -> bool:
        """Return whether the loop's thread is at work."""
        return self._loop.running

    @property
    def error(self) -> BaseException | None:
        """Return what ended the loop, or None."""
        return self._loop.error

    def stop(self) -> None:
        """End the loop after its present frame, and close what is open. Safe to call twice."""
        self._loop.stop()

    # What is shown

    @property
    def latest(self) -> Shown | None:
        """Return the result shown last."""
        return self._loop.latest

    def subscribe(self, listener: Callable[[Shown], None]) -> Callable[[], None]:
        """Call `listener` on the loop's thread with each result; return what ends that. It must be quick."""
        return self._shared.listeners.subscribe(listener)

    @property
    def source(self) -> Source:
        """Return the source that is read, or will be with the next frame."""
        feed = self._loop.tasks.pending("source") or self._loop.feed
        found: Source = feed.source
        return found

    @property
    def undistorts(self) -> bool:
        """Return whether the lens is taken out of the frames already."""
        return self._processor.record()["camera"] is not None

    def state(self) -> dict[str, Any]:
        """Return everything a screen shows beside the image, as plain values."""
        source_state, detail = self._loop.source_state()
        processed = self._processor.state(self.latest)
        without_secrets = self._shared.addresses.without_secrets
        return {
            "source": {
                "spec": self.source_spec,
                # What "auto" found.
                "name": without_secrets(self._loop.feed.source.name),
                "state": str(source_state),
                "detail": without_secrets(detail),
            },
            "controls": self.controls.model_dump(),
            "figures": {
                **self.figures.recent(),
                "dropped": self._loop.dropped,
                "defence_ms": processed.pop("defence_ms"),
            },
            "recording": self._shared.recordings.state(),
            **processed,
            "claims": list(self.latest.claims) if self.latest is not None else [],
            "busy": dict(self._loop.tasks.busy),
        }

    def stats(self) -> dict[str, Any]:
        """Return the figures of the whole run, as `--stats` writes them."""
        detector = self._processor.state(None)["detector"]
        return {
            "physadv": __version__,
            **self.figures.whole(),
            "dropped": self._loop.dropped,
            "backend": detector["backend"],
            "precision": detector["precision"],
            "detector": detector["name"],
            "imgsz": detector["imgsz"],
            # "auto" would not say whether a camera answered.
            "source": self.source.name if self.source_spec == "auto" else self.source_spec,
            "controls": self.controls.model_dump(),
            "notices": [f"{n.kind}: {n.text}" for n in self.notices.newest(100)],
        }

    # What a viewer may change

    @property
    def controls(self) -> Controls:
        """Return the controls as they stand."""
        return self._shared.panel.now

    def control(self, /, **changes: Any) -> Controls:
        """Change some controls and return all of them.

        Raises: SettingsError, DefenceError, PatchError, naming what cannot be; nothing is changed then.
        """
        new = self._shared.panel.change(**changes)
        asked = str(changes.get("wear") or new.wear)
        if asked != new.wear:
            self.notices.add("info", "pattern", replacement(asked))
        return new

    def session(self) -> dict[str, Any]:
        """Return how the frames are made, for a recording's session.json: settings, controls, source, detector, camera."""
        return {
            "settings": {
                **self.settings.model_dump(mode="json", exclude={"token", "viewer_token"}),
                "source": self._shared.addresses.shown(self.settings.source),
            },
            "controls": self.controls.model_dump(),
            "source": self.source_spec,
            **self._processor.record(),
        }

    def start_recording(
        self,
        path: Path | None = None,
        *,
        clean: bool = False,
        overwrite: bool = False,
        draw: Drawing | None = None,
    ) -> Path:
        """Begin to record and return the video's path; a name by date and time in the recordings' folder unless given.

        clean: keep the camera's own video too. overwrite: replace a recording of that name. draw: see `Recordings.start`.

        Raises: RecordingError if a recording is running, one of that name is there, the source has ended, or the file
        cannot be made.
        """
        if self._loop.ended:
            raise RecordingError(f"nothing to record: {self._loop.ended}; open a source first")
        return self._shared.recordings.start(path, clean=clean, overwrite=overwrite, session=self.session(), draw=draw)

    def stop_recording(self) -> Path | None:
        """End the recording and return its path, or None if none was running.

        Raises: RecordingError if the end of the file could not be written; what is there stays. Also if no frame came
        meanwhile.
        """
        return self._shared.recordings.stop()

    @property
    def recording_failed(self) -> bool:
        """Return whether a recording of this run ended before it was stopped: a full disk, an encoder's error."""
        return self._shared.recordings.failed
