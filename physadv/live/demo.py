"""The demo: light in, people found, the image shown; one loop thread that everything else only asks and tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from physadv import __version__
from physadv.capture import open_source
from physadv.capture.browser import BrowserSource
from physadv.capture.cuts import Cuts
from physadv.capture.latest import Latest, SourceState
from physadv.defend import parse_pipeline
from physadv.errors import CalibrationError, EndOfStream, PhysadvError, RecordingError, SettingsError, SourceError
from physadv.live.addresses import Addresses
from physadv.live.errands import Errands, Progress
from physadv.live.feed import Feed, feed_of, open_feed
from physadv.live.figures import Tally
from physadv.live.measure import Measure
from physadv.live.notices import Notices
from physadv.live.overlay import Overlay
from physadv.live.recommend import BEST, Viewpoint, objection, usual_cm
from physadv.live.rewear import Rewear
from physadv.live.settings import Backend, Controls, LiveSettings
from physadv.live.tape import Tape
from physadv.live.vision import Shown, SwitchedOff, Vision
from physadv.live.wardrobe import Wardrobe
from physadv.live.watch import Guard
from physadv.live.wearers import judged, reported
from physadv.patch import Patch
from physadv.settings import parse
from physadv.types import Detections, Detector, Frame, Source, UInt8Array

TICK_S = 0.1
# A network camera answers within three seconds or not at all; a webcam may take longer to wake.
FIRST_IMAGE_S = 10.0
NEVER_SEEN = (
    "Persistence keeps people whom it saw without the pattern, for some seconds and until the scene changes. It never saw "
    "who is hidden here."
)


class Loader(Protocol):
    """What turns a model's name into a detector."""

    def __call__(self, name: str, *, backend: Backend, imgsz: int, progress: Progress | None) -> Detector:
        """Return the detector; takes seconds."""
        ...


def load(name: str, *, backend: Backend, imgsz: int, progress: Progress | None) -> Detector:
    """Return the named detector on the named backend; every candidate down to confidence .05.

    Raises: WeightsError, BackendError.
    """
    from physadv.detect import load_detector

    return load_detector(name, backend=backend, imgsz=imgsz, progress=progress)


class Demo:
    """Reads, dresses, detects, draws and hands on, image by image, newest first, until stopped.

    `open` then `start`; every public method may be called from any thread. Changes take effect with the next image.
    A defence that throws or takes too long is switched off with a notice. Loading a detector or opening a source happens
    aside, while the old one keeps running.
    """

    def __init__(
        self,
        settings: LiveSettings,
        *,
        source: Source | None = None,
        detector: Detector | None = None,
        loader: Loader = load,
    ) -> None:
        """source, detector: used in place of those that the settings name (a recording's, a test's).

        Raises: PatchError, DefenceError, CalibrationError for what the settings name and is not there. SettingsError for
        the size of a texture, which has none.
        """
        self.settings = settings
        self.wardrobe = Wardrobe(settings.wear)
        if settings.wear and settings.wear_size is not None:
            _check_size(self.wardrobe.get(self.wardrobe.first[0]))
        self.measure = Measure(settings.camera) if settings.camera is not None else None
        self._addresses = Addresses()
        self.notices = Notices(self._addresses.without_secrets)
        self.tally = Tally()
        # As it may be shown: the whole address is the settings' and `_addresses`' alone.
        self.source_spec = source.name if source is not None else self._addresses.shown(settings.source)
        self.detector_spec = (settings.detector, settings.backend, settings.imgsz)
        self.error: BaseException | None = None
        self._loader = loader
        self._given = (source, detector)
        self._lock = threading.RLock()
        self._controls = Controls(
            conf=settings.conf,
            defend=parse_pipeline(settings.defend).text,
            wear=self.wardrobe.first[0] if self.wardrobe.first else "",
            wear_size=self._first_size(),
            compare=settings.compare,
        )
        self._feed: Feed | None = None
        self._vision: Vision | None = None
        self._errands = Errands(self.notices, _discard)
        self._tape = Tape(settings.recordings)
        self._listeners: list[Callable[[Shown], None]] = []
        self._latest: Shown | None = None
        self._dropped_before = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = ""
        self._wearing: tuple[str, float | None] | None = None
        self._first_pts: float | None = None
        self._wear_now = False
        self._cuts = Cuts()
        self._elsewhere = True
        self._compared = settings.compare
        self._viewpoint = Viewpoint()
        self._rewear = Rewear()
        self._costs: dict[str, float] = {}

    def _first_size(self) -> float | None:
        """Return the width in cm of the first pattern that the settings name."""
        if self.settings.wear_size is not None or not self.wardrobe.first:
            return self.settings.wear_size
        return usual_cm(self.wardrobe.get(self.wardrobe.first[0]))

    # Life

    def open(self, progress: Progress | None = None) -> None:
        """Open the source and load the detector; seconds, the first time minutes while a model is exported.

        Raises: SourceError, WeightsError, BackendError, DefenceError, RecordingError.
        """
        source, detector = self._given
        if source is None:
            source = open_source(self.settings.source, self.settings.capture(), self._left_out)
            self._addresses.opened(self.settings.source)
        try:
            if detector is None:
                name, backend, imgsz = self.detector_spec
                detector = self._loader(name, backend=backend, imgsz=imgsz, progress=progress)
            watched = self.settings.ui != "none" or source.live
            self._vision = Vision(detector, limit_s=self.settings.defence_limit if watched else None)
            # A defence that cannot work with this detector is said at the start, not on the first image.
            Guard(parse_pipeline(self._controls.defend), detector)
            if self.settings.record is not None:
                want = self.settings
                self.start_recording(want.record, clean=want.record_clean, overwrite=want.overwrite)
        except BaseException:
            source.close()
            raise
        # Read from here on: an image taken while the detector was loading would be old light.
        self._feed = feed_of(source)

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether the loop has ended within `timeout` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    @property
    def running(self) -> bool:
        """Return whether the loop's thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End the loop after the image it is at, and close what is open. Safe to call twice."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=20)
        elif self._thread is None:
            self._close()

    def subscribe(self, listener: Callable[[Shown], None]) -> Callable[[], None]:
        """Call `listener` on the loop's thread with each image shown; return what ends that. It must be quick."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def end() -> None:
            with self._lock:
                self._listeners = [other for other in self._listeners if other is not listener]

        return end

    # Telling

    @property
    def controls(self) -> Controls:
        """Return the controls as they stand."""
        return self._controls

    def control(self, /, **changes: Any) -> Controls:
        """Change some controls and return all of them.

        Raises: SettingsError, DefenceError, PatchError, naming what cannot be; nothing is changed then.
        """
        with self._lock:
            # Whoever chooses a pattern or a width follows the recommendation no more.
            chosen = {} if changes.keys().isdisjoint(("wear", "wear_size")) else {"follow": False}
            name = changes.get("wear")
            if name and name != self._controls.wear and changes.get("wear_size") is None:
                changes["wear_size"] = usual_cm(self.wardrobe.get(str(name)))
            new = parse(Controls, {**self._controls.model_dump(), **chosen, **changes})
            if chosen:
                self._rewear.cancel()
            if new.defend != self._controls.defend:
                new = new.model_copy(update={"defend": parse_pipeline(new.defend).text})
            self.wardrobe.wear(new.wear)
            self._controls = new
            return new

    def switch_source(self, spec: str) -> str:
        """Open another source aside and change to it once it is open; a failure is a notice, the old one goes on.

        spec: as `--source`, or as an address that was open before is shown. Return what is shown of it.
        """
        whole = self._addresses.whole(spec)
        shown = self._addresses.shown(whole)
        self._errands.run("source", f"opening {shown}", lambda _: (shown, self._first_seen(whole)))
        return shown

    def _left_out(self, text: str) -> None:
        """Tell the viewer of images that the source leaves out."""
        self.notices.add("info", "source", text)

    def _first_seen(self, spec: str) -> Feed:
        """Return an open feed that has given its first image.

        Raises: SourceError if none came: whoever mistyped an address keeps the image that there was.
        """
        feed = open_feed(spec, self.settings.capture(), self._left_out)
        if isinstance(feed.source, BrowserSource):
            # Images come once a visitor has allowed it.
            return feed
        until = time.monotonic() + FIRST_IMAGE_S
        while (status := feed.status())[0] is SourceState.CONNECTING and time.monotonic() < until:
            if self._stop.wait(TICK_S):
                break
        if status[0] in (SourceState.CONNECTING, SourceState.BACKOFF, SourceState.ENDED):
            feed.close()
            shown = self._addresses.shown(spec)
            raise SourceError(f"{shown}: no image came, so the source stays as it was: {status[1]}")
        self._addresses.opened(spec)
        return feed

    def take_source(self, source: Source) -> None:
        """Change to a source that is open already."""
        self._errands.post("source", (source.name, feed_of(source)))

    def switch_detector(self, name: str, backend: Backend, imgsz: int) -> None:
        """Load another detector aside and change to it once it is there; a failure is a notice, the old one goes on."""

        def work(progress: Progress) -> tuple[tuple[str, Backend, int], Detector]:
            return (name, backend, imgsz), self._loader(name, backend=backend, imgsz=imgsz, progress=progress)

        self._errands.run("detector", f"loading {name}", work)

    def play(self, **changes: Any) -> dict[str, Any]:  # noqa: ARG002 -- as a recording's demo has it
        """Raise: only a recording can be paused or searched.

        Raises: SettingsError.
        """
        raise SettingsError("this demo is live", hint="play a recording with `physadv replay FILE`")

    def start_recording(self, path: Path | None = None, *, clean: bool = False, overwrite: bool = False) -> Path:
        """Begin to record and return the video's path; a name by date and time in the recordings' folder unless given.

        overwrite: replace a recording of that name.

        Raises: RecordingError if a recording is running, one of that name is there, the source has ended, or the file
        cannot be made.
        """
        if self._ended:
            raise RecordingError(f"nothing to record: {self._ended}; open a source first")
        return self._tape.start(path, clean=clean, overwrite=overwrite, session=self._session())

    def stop_recording(self) -> Path | None:
        """End the recording and return its path, or None if none was running.

        Raises: RecordingError if the end of the file could not be written; what is there stays. Also if no image came
        meanwhile.
        """
        return self._tape.stop()

    # Asking

    @property
    def latest(self) -> Shown | None:
        """Return the image shown last."""
        return self._latest

    def ask(self, pixels: UInt8Array) -> Detections:
        """Return whom the bare detector finds in an image (h, w, 3) uint8 RGB from elsewhere, from the threshold up."""
        assert self._vision is not None
        return self._vision.ask(pixels).above(self._controls.conf)

    def state(self) -> dict[str, Any]:
        """Return everything a screen shows beside the image, as plain values."""
        feed, vision = self._feed, self._vision
        source_state, detail = feed.status() if feed is not None else (SourceState.CONNECTING, "not opened yet")
        if self._ended:
            source_state, detail = SourceState.ENDED, self._ended
        detector = vision.detector if vision is not None else None
        return {
            "source": {
                "spec": self.source_spec,
                # What "auto" found.
                "name": self._addresses.without_secrets(feed.source.name) if feed is not None else "",
                "state": str(source_state),
                "detail": self._addresses.without_secrets(detail),
            },
            "detector": {
                "name": detector.name if detector else self.detector_spec[0],
                "spec": self.detector_spec[0],
                "backend": detector.backend if detector else "",
                "precision": detector.precision if detector else "",
                "imgsz": self.detector_spec[2],
            },
            "controls": self._controls.model_dump(),
            "figures": {
                **self.tally.now(),
                "dropped": self.dropped,
                "defence_ms": round(vision.defence_ms, 1) if vision is not None and vision.guard is not None else None,
            },
            "recording": self._tape.state(),
            "recommended": self._recommended(),
            "wear_notice": self._objection(),
            "rewear": self._rewear_state(),
            "defence_costs": dict(self._costs),
            "claims": list(self._latest.claims) if self._latest is not None else [],
            "busy": dict(self._errands.busy),
        }

    @property
    def source(self) -> Source | None:
        """Return the source that is read, or will be with the next image."""
        waiting = self._errands.waiting("source")
        feed = waiting[1] if waiting is not None else self._feed
        return feed.source if feed is not None else None

    @property
    def recording_failed(self) -> bool:
        """Return whether a recording of this run ended before it was told to: a full disk, an encoder's error."""
        return self._tape.failed

    @property
    def dropped(self) -> int:
        """Return how many images of live sources were replaced by newer ones before the loop took them."""
        return self._dropped_before + (self._feed.dropped if self._feed is not None else 0)

    def stats(self) -> dict[str, Any]:
        """Return the figures of the whole run, as `--stats` writes them."""
        detector = self._vision.detector if self._vision is not None else None
        source = self.source
        return {
            "physadv": __version__,
            **self.tally.whole(),
            "dropped": self.dropped,
            "backend": detector.backend if detector else "",
            "precision": detector.precision if detector else "",
            "detector": detector.name if detector else self.detector_spec[0],
            "imgsz": self.detector_spec[2],
            # "auto" would not say whether a camera answered.
            "source": source.name if self.source_spec == "auto" and source is not None else self.source_spec,
            "controls": self._controls.model_dump(),
            "notices": [f"{n.kind}: {n.text}" for n in self.notices.newest(100)],
        }

    def measure_costs(self, names: Sequence[str]) -> None:
        """Measure aside what some defences cost on this machine, on the image shown last; `state` then says it.

        Raises: SettingsError if no image has been shown yet.
        """
        shown, vision = self._latest, self._vision
        if shown is None or vision is None:
            raise SettingsError("no image has been shown yet on which the cost of a defence could be measured")

        def work(progress: Progress) -> dict[str, float]:
            out = {}
            for name in names:
                progress(f"measuring {name}")
                try:
                    out[name] = round(vision.cost(parse_pipeline(name), shown.clean), 1)
                except (PhysadvError, TimeoutError) as error:
                    self.notices.add("error", "costs", f"{name} was not measured: {error}")
            return out

        self._errands.run("costs", "measuring defences", work)

    def _recommended(self) -> dict[str, Any] | None:
        view = self._viewpoint.view
        return None if view is None else asdict(BEST[view])

    def _objection(self) -> str:
        wear = self._controls.wear
        return objection(self.wardrobe.get(wear), self._viewpoint.view) if wear else ""

    def _rewear_state(self) -> dict[str, Any]:
        """Return whether a defence with a memory has nothing to remember of somebody hidden, and what can be done."""
        shown = self._latest
        blind = (
            shown is not None
            and "persistence" in shown.defences
            and any(w.state == "hidden" for w in shown.wearers or ())
        )
        return {
            "offer": blind and not self._rewear.running,
            "running": self._rewear.running,
            "text": self._rewear.text or (NEVER_SEEN if blind else ""),
        }

    def rewear(self) -> dict[str, Any]:
        """Take the pattern off until the defence has seen its wearers, then put it on again; the second time, at once.

        Raises: SettingsError if none is worn.
        """
        if not self._controls.wear:
            raise SettingsError("no pattern is worn that could be taken off", field="wear", hint="choose one first")
        if self._rewear.running:
            self._rewear.cancel()
        else:
            self._rewear.begin()
        return self._rewear_state()

    # The loop

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # noqa: BLE001 -- kept for whoever waits; a thread cannot raise to anyone
            self.error = error
        finally:
            self._close()

    def _loop(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set() and not self._done(began):
            self._adopt()
            frame = self._take()
            if frame is None:
                continue
            if self.tally.frames == 0:
                began = time.monotonic()
            try:
                shown = self._shown(frame)
            except SwitchedOff as failure:
                self._switch_off(failure)
                continue
            self._hand_on(shown)

    def _done(self, began: float) -> bool:
        want = self.settings
        if want.frames is not None and self.tally.frames >= want.frames:
            return True
        return want.seconds is not None and time.monotonic() - began >= want.seconds

    def _take(self) -> Frame | None:
        """Return the next image, or None if none came lately.

        Raises: SourceError if the source failed, or never answered, and there is nobody to choose another.
        """
        assert self._feed is not None
        if self._ended:
            self._stop.wait(TICK_S)
            return None
        try:
            frame = self._feed.take(TICK_S)
            # Where nobody looks who could choose another source.
            if frame is None and self.settings.ui == "none" and isinstance(self._feed, Latest):
                self._feed.check_answers()
            return frame if frame is None or self.measure is None else self.measure.flat(frame)
        except EndOfStream as end:
            self._ended = str(end)
            if self.settings.ui == "none":
                self._stop.set()
        except SourceError as error:
            if self.settings.ui == "none":
                raise
            self._ended = error.text
            self.notices.add("error", "source", error.marked)
        except CalibrationError as error:
            # Chosen at the start it is a mistake; a source that came later goes on without it.
            if self.tally.frames == 0:
                raise
            self.measure = None
            self.notices.add("error", "camera", error.marked)
        return None

    def _adopt(self) -> None:
        """Take over what was prepared aside, and what the controls ask for."""
        assert self._vision is not None and self._feed is not None
        done, controls = self._errands.take(), self._controls
        detector = self._vision.detector
        if "source" in done:
            self._dropped_before = self.dropped
            old = self._feed
            self.source_spec, self._feed = done["source"]
            self._ended, self._first_pts = "", None
            # A camera that hangs in a read takes seconds to close.
            threading.Thread(target=old.close, name="close source", daemon=True).start()
            self._elsewhere = True
            self.tally.clear_recent()
        if "detector" in done:
            self.detector_spec, detector = done["detector"]
            self._costs = {}
        if "costs" in done:
            self._costs |= done["costs"]
        self._defend(controls, detector)
        self._wear(controls)
        if controls.compare != self._compared:
            self._compared = controls.compare
            self.tally.clear_recent()

    def _defend(self, controls: Controls, detector: Detector) -> None:
        assert self._vision is not None
        guard = self._vision.guard
        text = guard.pipeline.text if guard is not None else ""
        if text == controls.defend and detector is self._vision.detector:
            return
        try:
            pipeline = parse_pipeline(controls.defend)
            self._vision.use(detector, Guard(pipeline, detector) if pipeline.defences else None)
        except PhysadvError as error:
            self._vision.use(detector, None)
            self._drop_defences(controls.defend)
            self.notices.add("error", "defence", f"{controls.defend} is off: {error.text}")
        self.tally.clear_recent()

    def _wear(self, controls: Controls) -> None:
        assert self._vision is not None
        worn = self._vision.worn
        wanted = (controls.wear, controls.wear_size) if controls.wear else None
        if wanted == self._wearing and (worn is not None) == (wanted is not None):
            return
        self._vision.dress(self.wardrobe.worn(controls.wear, controls.wear_size) if controls.wear else None)
        self._wearing = wanted
        self.tally.clear_recent()

    def _shown(self, frame: Frame) -> Shown:
        assert self._vision is not None
        controls, vision = self._controls, self._vision
        cut = self._cut(frame)
        dressed = self._dressed(frame) and not self._rewear.off(frame.pts_s, cut=cut)
        arrived = partial(self._place, size=frame.size, at_s=frame.pts_s)
        given, placed, people, bare, stage = vision.look(frame, controls, dressed=dressed, placed=arrived)
        if controls.follow and self._wearing is not None:
            controls = controls.model_copy(update=dict(zip(("wear", "wear_size"), self._wearing, strict=True)))
        guard = vision.guard
        if guard is not None:
            self._costs[controls.defend] = round(vision.defence_ms, 1)
        conf = max(controls.conf, vision.detector.min_conf)
        self.notices.alerts(people.alerts)
        sure = reported(people, conf)
        self._rewear.saw(len(sure), frame.pts_s)
        worn = vision.worn if dressed else None
        on = None if worn is None else (worn.on, worn.found)
        if worn is None:
            self._viewpoint.see(people, frame.size, frame.pts_s)
        return Shown(
            number=self.tally.frames,
            frame=given,
            clean=frame,
            people=sure,
            bare=None if bare is None else reported(bare, conf),
            top=float(people.score.max(initial=0.0)),
            bare_top=None if bare is None else float(bare.score.max(initial=0.0)),
            controls=controls,
            defences=tuple(d.name for d in guard.pipeline.defences) if guard is not None else (),
            worn=controls.wear if worn is not None else "",
            worn_cm=round(worn.size_cm[0], 1) if worn is not None else None,
            cut=cut,
            placed=placed,
            wearers=None if on is None else judged(*on, people, conf),
            bare_wearers=None if on is None or bare is None else judged(*on, bare, conf),
            stage_ms=stage,
            lines=self._lines(controls, worn),
            claims=guard.claims if guard is not None else (),
            sizes=self.measure.told(sure) if self.measure is not None else (),
        )

    def _cut(self, frame: Frame) -> bool:
        """Return whether another scene begins with this image; what came from earlier ones is then forgotten."""
        assert self._vision is not None
        step = self._cuts.step(frame.pixels)
        cut, self._elsewhere = self._elsewhere or step == "cut", False
        if cut:
            self._vision.cut()
            self._viewpoint.cut()
        elif step == "blank" and self._vision.worn is not None:
            # Nobody wears anything on a black image; whoever is there afterwards may still be the same.
            self._vision.worn.reset()
        return cut

    def _place(self, found: Detections, *, size: tuple[int, int], at_s: float) -> None:
        """Take whom a pattern is about to be put on; change to what is recommended for them where that is asked for."""
        self._viewpoint.see(found, size, at_s)
        if not self._controls.follow or (view := self._viewpoint.view) is None:
            return
        with self._lock:
            if self._controls.follow and self._controls.wear:
                best = BEST[view]
                self._controls = self._controls.model_copy(update={"wear": best.name, "wear_size": best.width_cm})
                self.wardrobe.wear(best.name)
                self._wear(self._controls)

    def _dressed(self, frame: Frame) -> bool:
        """Return whether the pattern is on by now: `wear_from` seconds into the images."""
        if self._first_pts is None:
            self._first_pts = frame.pts_s
        if frame.pts_s - self._first_pts >= self.settings.wear_from:
            self._wear_now = True
        return self._wear_now

    def _lines(self, controls: Controls, worn: Overlay | None) -> tuple[str, ...]:
        """Return what is written into the image: how it was made, so that a recording cannot be taken for another."""
        assert self._vision is not None
        detector = self._vision.detector
        lines = [f"{detector.name} {detector.backend} {detector.precision}  conf {controls.conf:.2f}"]
        if controls.defend:
            lines.append(f"defence {controls.defend}")
        if worn is not None:
            size = "" if worn.patch.target == "tshirt" else f", {worn.size_cm[0]:.0f} cm"
            lines.append(f"pattern added by software: {worn.patch.name}{size}")
        return tuple(lines)

    def _hand_on(self, shown: Shown) -> None:
        self._latest = shown
        for listener in self._listeners:
            listener(shown)
        # A file waits for the encoder, so that every image is recorded; a camera does not.
        assert self._feed is not None
        try:
            self._tape.write(shown, wait=not self._feed.source.live)
        except RecordingError as error:
            self.notices.add("error", "recording", error.marked)
        self.tally.add(shown, time.monotonic_ns())

    def _switch_off(self, failure: SwitchedOff) -> None:
        for name, reason in failure.reasons.items():
            self.notices.add("error", "defence", f"{name} was switched off: {reason}")
        with self._lock:
            pipeline = parse_pipeline(self._controls.defend)
            left = tuple(d for d in pipeline.defences if d.name not in failure.reasons)
            self._controls = self._controls.model_copy(update={"defend": type(pipeline)(left).text})
        assert self._vision is not None
        self._vision.use(self._vision.detector, None)

    def _drop_defences(self, text: str) -> None:
        with self._lock:
            if self._controls.defend == text:
                self._controls = self._controls.model_copy(update={"defend": ""})

    # Help

    def _session(self) -> dict[str, Any]:
        assert self._vision is not None
        detector = self._vision.detector
        worn = self._controls.wear
        return {
            "settings": {
                **self.settings.model_dump(mode="json", exclude={"token", "viewer_token"}),
                "source": self._addresses.shown(self.settings.source),
            },
            "controls": self._controls.model_dump(),
            "source": self.source_spec,
            "camera": self.measure.record() if self.measure is not None else None,
            "detector": {
                "name": detector.name,
                "backend": detector.backend,
                "precision": detector.precision,
                "imgsz": self.detector_spec[2],
                "sha256": detector.sha256,
            },
            "worn": {"name": worn, "sha256": self.wardrobe.get(worn).sha256} if worn else None,
        }

    def _close(self) -> None:
        try:
            self.stop_recording()
        except RecordingError as error:
            self.notices.add("error", "recording", error.marked)
            if not self._tape.failed:
                self.error = self.error or error
        if self._feed is not None:
            self._feed.close()
        if self._vision is not None:
            self._vision.close()


def _check_size(patch: Patch) -> None:
    """Raise SettingsError if the pattern is a texture: in another size it would not repeat as it was trained to."""
    if patch.target == "tshirt":
        every = f"{patch.size_mm[0] / 10:g} cm"
        raise SettingsError(
            f"{patch.name} is a texture that repeats every {every}, worn as a whole T-shirt, which is as large "
            "as its wearer",
            field="wear_size",
            hint="leave the size out",
        )


def _discard(kind: str, value: Any) -> None:
    """Close a source that was opened and is not wanted any more."""
    if kind == "source":
        value[1].close()
