"""The demo as the page, the window and the command line have it: start and stop, controls, recording, its state."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physadv.errors import RecordingError
from physadv.live.feed import Addresses
from physadv.live.library import PatchLibrary, usual_cm
from physadv.live.settings import Backend, Controls, LiveSettings
from physadv.settings import parse
from physadv.types import Detections, Source, UInt8Array
from physadv.version import __version__

if TYPE_CHECKING:
    from physadv.live.figures import LiveFigures
    from physadv.live.loop import Loop
    from physadv.live.notices import Notices
    from physadv.live.recorder import Recordings
    from physadv.live.shown import Shown


class ControlPanel:
    """The controls as they stand. A change is taken whole or not at all. Safe to use from several threads."""

    def __init__(self, controls: Controls, library: PatchLibrary) -> None:
        self._now, self._library = controls, library
        self._lock = threading.Lock()

    @property
    def now(self) -> Controls:
        """Return the controls: the same object as long as nothing is changed."""
        return self._now

    def change(self, /, **changes: Any) -> Controls:
        """Change some controls and return all of them.

        Raises: SettingsError, DefenceError, PatchError, naming what cannot be; nothing is changed then.
        """
        with self._lock:
            # A viewer who chooses a pattern or a width stops following the recommendation.
            chosen = {} if changes.keys().isdisjoint(("wear", "wear_size")) else {"follow": False}
            name = changes.get("wear")
            if name and name != self._now.wear and changes.get("wear_size") is None:
                changes["wear_size"] = usual_cm(self._library.get(str(name)))
            new = parse(Controls, {**self._now.model_dump(), **chosen, **changes})
            if new.defend and new.defend != self._now.defend:
                # Only here: a recording is replayed without loading any defence.
                from physadv.defend import parse_pipeline

                new = new.model_copy(update={"defend": parse_pipeline(new.defend).text})
            self._library.keep(new.wear)
            self._now = new
            return new

    def replace_defences(self, old: str, new: str) -> None:
        """Change the defences from the text `old` to `new`, unless a viewer has chosen others meanwhile."""
        with self._lock:
            if self._now.defend == old:
                self._now = self._now.model_copy(update={"defend": new})

    def follow(self, name: str, width_cm: float | None) -> None:
        """Change to the recommended pattern where one is worn and the recommendation is followed."""
        with self._lock:
            now = self._now
            if now.follow and now.wear and (now.wear, now.wear_size) != (name, width_cm):
                self._now = now.model_copy(update={"wear": name, "wear_size": width_cm})
                self._library.keep(name)


class Demo(ABC):
    """A loop over a camera or a recording, with what a viewer may ask of it and change. Every method from any thread.

    It is complete when constructed; `start` sets it going and `stop` closes it. Changes take effect with the next frame.
    source_spec: the source as it may be shown.
    """

    def __init__(
        self,
        settings: LiveSettings,
        loop: Loop,
        panel: ControlPanel,
        *,
        library: PatchLibrary,
        addresses: Addresses,
        source_spec: str,
        figures: LiveFigures,
        notices: Notices,
        recordings: Recordings,
    ) -> None:
        self.settings, self.library = settings, library
        self.figures, self.notices = figures, notices
        self.source_spec = source_spec
        self._loop, self._panel, self._addresses, self._recordings = loop, panel, addresses, recordings

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
        return self._loop.subscribe(listener)

    @property
    def source(self) -> Source:
        """Return the source that is read, or will be with the next frame."""
        feed = self._loop.tasks.pending("source") or self._loop.feed
        found: Source = feed.source
        return found

    @property
    def can_defend(self) -> bool:
        """Return whether defences can be switched on: not where a recording is shown."""
        return True

    @property
    def undistorts(self) -> bool:
        """Return whether the lens is taken out of the frames already."""
        return False

    def state(self) -> dict[str, Any]:
        """Return everything a screen shows beside the image, as plain values."""
        source_state, detail = self._loop.source_state()
        processed = self._processor_state()
        defence_ms = processed.pop("defence_ms")
        return {
            "source": {
                "spec": self.source_spec,
                # What "auto" found.
                "name": self._addresses.without_secrets(self._loop.feed.source.name),
                "state": str(source_state),
                "detail": self._addresses.without_secrets(detail),
            },
            "controls": self.controls.model_dump(),
            "figures": {**self.figures.recent(), "dropped": self._loop.dropped, "defence_ms": defence_ms},
            "recording": self._recordings.state(),
            **processed,
            "claims": list(self.latest.claims) if self.latest is not None else [],
            "busy": dict(self._loop.tasks.busy),
        }

    def stats(self) -> dict[str, Any]:
        """Return the figures of the whole run, as `--stats` writes them."""
        detector = self._processor_state()["detector"]
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

    @abstractmethod
    def _processor_state(self) -> dict[str, Any]:
        """Return detector, defence_ms, defence_costs, recommended, wear_notice and warm_start, as plain values."""

    @abstractmethod
    def _processor_record(self) -> dict[str, Any]:
        """Return camera, detector and worn pattern, for a recording's session."""

    # What a viewer may change

    @property
    def controls(self) -> Controls:
        """Return the controls as they stand."""
        return self._panel.now

    def control(self, /, **changes: Any) -> Controls:
        """Change some controls and return all of them.

        Raises: SettingsError, DefenceError, PatchError, naming what cannot be; nothing is changed then.
        """
        return self._panel.change(**changes)

    def start_recording(self, path: Path | None = None, *, clean: bool = False, overwrite: bool = False) -> Path:
        """Begin to record and return the video's path; a name by date and time in the recordings' folder unless given.

        clean: keep the camera's own video too. overwrite: replace a recording of that name.

        Raises: RecordingError if a recording is running, one of that name is there, the source has ended, or the file
        cannot be made.
        """
        if self._loop.ended:
            raise RecordingError(f"nothing to record: {self._loop.ended}; open a source first")
        session = {
            "settings": {
                **self.settings.model_dump(mode="json", exclude={"token", "viewer_token"}),
                "source": self._addresses.shown(self.settings.source),
            },
            "controls": self.controls.model_dump(),
            "source": self.source_spec,
            **self._processor_record(),
        }
        return self._recordings.start(path, clean=clean, overwrite=overwrite, session=session)

    def stop_recording(self) -> Path | None:
        """End the recording and return its path, or None if none was running.

        Raises: RecordingError if the end of the file could not be written; what is there stays. Also if no frame came
        meanwhile.
        """
        return self._recordings.stop()

    @property
    def recording_failed(self) -> bool:
        """Return whether a recording of this run ended before it was stopped: a full disk, an encoder's error."""
        return self._recordings.failed

    @abstractmethod
    def play(self, **changes: Any) -> dict[str, Any]:
        """Pause, go on, jump, step, or play at another speed; return where the recording is then.

        Raises: SettingsError where no recording is shown.
        """

    @abstractmethod
    def switch_source(self, spec: str) -> str:
        """Change to another source once it is open; a failure is a notice. Return what is shown of its address.

        Raises: SettingsError where a recording is shown.
        """

    @abstractmethod
    def take_source(self, source: Source) -> None:
        """Change to a source that is open already.

        Raises: SettingsError where a recording is shown.
        """

    @abstractmethod
    def switch_detector(self, name: str, backend: Backend, imgsz: int) -> None:
        """Change to another detector once it is loaded; a failure is a notice.

        Raises: SettingsError where a recording is shown.
        """

    @abstractmethod
    def warm_start(self) -> dict[str, Any]:
        """Take the pattern off until the defence has seen its wearers, then put it on again; the second time, at once.

        Raises: SettingsError if none is worn.
        """

    @abstractmethod
    def measure_costs(self, names: tuple[str, ...]) -> None:
        """Measure in the background what some defences cost on this machine; `state` then has it.

        Raises: SettingsError if no frame has been shown yet.
        """

    @abstractmethod
    def ask(self, pixels: UInt8Array) -> Detections:
        """Return the people that the bare detector finds in an image (h, w, 3) uint8 RGB, from the threshold up.

        Raises: SettingsError where a recording is shown.
        """
