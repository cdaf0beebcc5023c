"""The demo over a camera, a file or a stream: built whole from its settings, source and detector changed while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import cv2

from physadv.capture import open_source
from physadv.capture.browser import BrowserSource
from physadv.capture.latest import SourceState
from physadv.defend import parse_pipeline
from physadv.errors import PhysadvError, SettingsError, SourceError, WeightsError
from physadv.fabricate.advise import aspect_of
from physadv.fabricate.body import check_length
from physadv.live.bare import NoAnswer
from physadv.live.calibrated import CalibratedCamera
from physadv.live.demo import Demo
from physadv.live.detectors import PARENTS, DetectorLibrary, OfferedDetector, placing
from physadv.live.feed import Feed, feed_of, open_feed
from physadv.live.inference import DefendedDetector, Inference
from physadv.live.library import PatchLibrary
from physadv.live.loading import DetectorChoice, LoadedDetectors, Loader, load
from physadv.live.loop import TICK_S, Loop
from physadv.live.processor import LiveProcessor
from physadv.live.recommend import usual_cm
from physadv.live.settings import Backend, Controls, LiveSettings
from physadv.live.shared import SharedState
from physadv.live.shown import Shown
from physadv.live.wearing import Wearing
from physadv.patch import Patch
from physadv.simulate.trigger import Trigger
from physadv.types import Detections, Detector, Source, UInt8Array

# A network camera answers within three seconds or not at all; a webcam may take longer to wake.
FIRST_FRAME_S = 10.0
# Images shown before defences are measured by themselves: some seconds, in which a browser has loaded the page.
SETTLED = 60


def open_demo(
    settings: LiveSettings,
    *,
    source: Source | None = None,
    detector: Detector | None = None,
    loader: Loader = load,
    progress: Callable[[str], None] | None = None,
) -> CameraDemo:
    """Return the demo with its source open and its detector loaded; seconds, the first time minutes for an export.

    source, detector: used in place of those that the settings name. progress: takes a line about how far loading is.

    Raises: PatchError, DefenceError, CalibrationError, SettingsError for what the settings name and cannot be. SourceError,
    WeightsError, BackendError, RecordingError. DataError if the detector's record has a damaged trigger.
    """
    # Inference has every core: OpenCV's own threads take from it. With two of them, two cores give `fast` .82 of the bare
    # loop's rate on a file, with one .88.
    cv2.setNumThreads(1)
    named = [name for name in settings.beside if name != PARENTS]
    detectors = DetectorLibrary([settings.detector, *named], settings.runs)
    chosen = detectors.find(settings.detector)
    others = detectors.beside(settings.beside, chosen.name)
    library = PatchLibrary(settings.wear, trigger=chosen.trigger())
    first = library.get(library.first[0]) if library.first else None
    size = settings.wear_size
    if first is not None:
        size = usual_cm(first) if size is None else _checked_size(first, size)
        _check_flat(first, {"wear_angle": settings.wear_angle, "wear_fold": settings.wear_fold})
    camera = CalibratedCamera(settings.camera) if settings.camera is not None else None
    pipeline = parse_pipeline(settings.defend)
    controls = Controls(
        conf=settings.conf,
        turn=settings.turn,
        farther=settings.farther,
        find_print=settings.find_print,
        defend=pipeline.text,
        wear=library.first[0] if library.first else "",
        wear_size=size,
        wear_angle=settings.wear_angle,
        wear_fold=settings.wear_fold,
        wear_lit=settings.wear_lit,
        compare=settings.compare,
    )
    shared = SharedState.of(settings, controls, library)
    # As it may be shown: the whole address is the settings' and `addresses`' alone.
    source_spec = source.name if source is not None else shared.addresses.shown(settings.source)
    if source is None:
        say = partial(shared.notices.add, "info", "source")
        source = open_source(settings.source, settings.capture(), say)
        shared.addresses.opened(settings.source)
    try:
        choice = DetectorChoice(chosen.name, settings.backend, settings.imgsz)
        models = LoadedDetectors(detectors, loader)
        if detector is None:
            detector = models.load(choice, progress)
        else:
            models.add(choice, detector)
        try:
            beside = [models.load(choice._replace(name=other.name), progress) for other in others]
        except WeightsError as error:
            # Where a detector is loaded it is the `detector`.
            raise error.at("beside") from error
        # Without viewers a defence may take as long as it likes.
        watched = settings.ui != "none" or source.live
        inference = Inference(detector, limit_s=settings.defence_limit if watched else None)
        # A defence that cannot work with this detector is an error at the start, not on the first frame.
        if pipeline.defences:
            inference.use(detector, DefendedDetector(pipeline, detector))
        wearing = Wearing(library, from_s=settings.wear_from)
        about = chosen.about
        processor = LiveProcessor(inference, wearing, shared, choice=choice, about=about, camera=camera)
        processor.adopt_beside([other.name for other in others], beside, placing=placing(chosen, others))
        # Read from here on: a frame taken while the detector was loading would be old.
        loop = Loop(feed_of(source), processor, shared)
    except BaseException:
        source.close()
        raise
    demo = CameraDemo(loop, processor, shared, source_spec=source_spec, models=models)
    if settings.record is not None:
        try:
            demo.start_recording(settings.record, clean=settings.record_clean, overwrite=settings.overwrite)
        except BaseException:
            demo.stop()
            raise
    return demo


def _checked_size(patch: Patch, size: float) -> float:
    """Return the width in cm at which a pattern is to be worn.

    Raises: SettingsError for a texture: another size would be another period than it was trained with. FabricationError
    for a print longer than its wearer.
    """
    if patch.tiles:
        every = f"{patch.size_mm[0] / 10:g} cm"
        raise SettingsError(
            f"{patch.name} is a texture that repeats every {every}, worn as clothes as large as their wearer",
            field="wear_size",
            hint="leave the size out",
        )
    check_length(patch.target, size * 10 * aspect_of(patch), field="wear_size")
    return size


def _check_flat(patch: Patch, given: Mapping[str, float]) -> None:
    """Raise SettingsError if a texture is to be turned or folded: it is cloth, and hangs as its wearer does."""
    field = next((name for name, value in given.items() if value), None)
    if patch.tiles and field is not None:
        raise SettingsError(f"{patch.name} is a texture, worn as clothes", field=field, hint="leave it out")


class CameraDemo(Demo):
    """The demo over whatever source is open. Made by `open_demo`.

    A defence that throws or takes too long is switched off with a notice. Loading a detector or opening a source happens
    in the background, while the old one keeps running.
    """

    def __init__(
        self, loop: Loop, processor: LiveProcessor, shared: SharedState, *, source_spec: str, models: LoadedDetectors
    ) -> None:
        super().__init__(loop, processor, shared, source_spec=source_spec)
        self.detectors = models.library
        self._live, self._models = processor, models
        # What is being loaded: the detector that will run, and those beside it.
        self._asked: tuple[DetectorChoice, tuple[str, ...]] | None = None

    def control(self, /, **changes: Any) -> Controls:
        """Change some controls and return all of them; a pattern that is chosen ends a warm start.

        Raises: SettingsError, DefenceError, PatchError, naming what cannot be; nothing is changed then.
        """
        new = super().control(**changes)
        if not changes.keys().isdisjoint(("wear", "wear_size")):
            self._live.wearing.warm_start.cancel()
        return new

    def switch_source(self, spec: str) -> str:
        """Open another source in the background and change to it once it gives frames; a failure is a notice.

        spec: as `source`, or as an address that was open before is shown. Return what is shown of it.
        """
        whole = self._shared.addresses.whole(spec)
        shown = self._shared.addresses.shown(whole)
        self._loop.tasks.run(
            "source",
            f"opening {shown}",
            lambda _: self._first_frame(whole),
            adopt=lambda feed: self._change_feed(shown, feed),
            discard=lambda feed: feed.close(),
        )
        return shown

    def take_source(self, source: Source) -> None:
        """Change to a source that is open already."""
        self._loop.tasks.post(
            "source",
            feed_of(source),
            adopt=lambda feed: self._change_feed(source.name, feed),
            discard=lambda feed: feed.close(),
        )

    def _change_feed(self, shown: str, feed: Feed) -> None:
        self.source_spec = shown
        self._loop.change_feed(feed)

    def _first_frame(self, spec: str) -> Feed:
        """Return an open feed that has given its first frame.

        Raises: SourceError if none came: after a mistyped address the old source goes on.
        """
        feed = open_feed(spec, self.settings.capture(), partial(self.notices.add, "info", "source"))
        if isinstance(feed.source, BrowserSource):
            # Frames come once a visitor has allowed it.
            return feed
        until = time.monotonic() + FIRST_FRAME_S
        while (status := feed.status())[0] is SourceState.CONNECTING and time.monotonic() < until:
            if self._loop.stopping.wait(TICK_S):
                break
        if status[0] in (SourceState.CONNECTING, SourceState.BACKOFF, SourceState.ENDED):
            feed.close()
            shown = self._shared.addresses.shown(spec)
            raise SourceError(f"{shown}: no frame came, so the source stays as it was: {status[1]}")
        self._shared.addresses.opened(spec)
        return feed

    def switch_detector(self, name: str, backend: Backend, imgsz: int) -> None:
        """Load another detector in the background and change to it once it is there; a failure is a notice.

        Its trigger is what is worn or turned then, as far as the one before was. Detectors beside it are loaded anew for
        another backend or size; one of them that becomes the running one leaves its pane to the one that ran.

        name: as it is offered, or as `load_detector` takes it.

        Raises: WeightsError if it is a run of the lab whose record is damaged.
        """
        choice = DetectorChoice(self.detectors.find(name).name, backend, imgsz)
        before, beside = self._asked or (self._live.choice, self._live.beside)
        self._load(choice, tuple(before.name if other == choice.name else other for other in beside))

    def show_beside(self, names: Sequence[str]) -> None:
        """Load other detectors in the background and let them look at the same frames, in the order of their names.

        names: as `DetectorLibrary.beside` takes them; none takes their panes away.

        Raises: SettingsError as that does.
        """
        choice, _ = self._asked or (self._live.choice, ())
        self._load(choice, tuple(other.name for other in self.detectors.beside(names, choice.name)))

    def _load(self, choice: DetectorChoice, beside: tuple[str, ...]) -> None:
        """Load what is not there yet in the background, and change to all of it at once."""
        wanted = [choice, *(choice._replace(name=name) for name in beside)]
        # A second wish, before the first is there, is one about what will run then.
        asked = self._asked = (choice, beside)

        def done() -> None:
            if self._asked is asked:
                self._asked = None

        def work(progress: Callable[[str], None]) -> tuple[list[Detector], list[OfferedDetector], Trigger | None]:
            try:
                offered = [self.detectors.find(one.name) for one in wanted]
                return [self._models.load(one, progress) for one in wanted], offered, offered[0].trigger()
            except BaseException:
                done()
                raise

        def adopt(loaded: tuple[list[Detector], list[OfferedDetector], Trigger | None]) -> None:
            (detector, *others), (chosen, *offered), trigger = loaded
            if trigger is not None and choice.name != self._live.choice.name:
                self._shared.panel.take_trigger(trigger)
            self._live.adopt_detector(choice, detector, chosen.about)
            self._live.adopt_beside(beside, others, placing=placing(chosen, offered))
            self._models.keep(wanted)
            done()

        missing = [one.name for one in wanted if not self._models.has(one)]
        what = f"loading {' and '.join(missing)}" if missing else f"changing to {choice.name}"
        self._loop.tasks.run("detector", what, work, adopt=adopt)

    def warm_start(self) -> dict[str, Any]:
        """Take the pattern off until the defence has seen its wearers, then put it on again; the second time, at once.

        Raises: SettingsError if none is worn.
        """
        if not self.controls.wear:
            raise SettingsError("no pattern is worn that could be taken off", field="wear", hint="choose one first")
        warm = self._live.wearing.warm_start
        if warm.running:
            warm.cancel()
        else:
            warm.begin()
        state: dict[str, Any] = self._live.state(self.latest)["warm_start"]
        return state

    def measure_costs(self, names: tuple[str, ...]) -> None:
        """Measure in the background what some defences cost on this machine, on the frame shown last; `state` has it then.

        Raises: SettingsError if no frame has been shown yet.
        """
        shown = self.latest
        if shown is None:
            raise SettingsError("no frame has been shown yet on which the cost of a defence could be measured")

        def work(progress: Callable[[str], None]) -> dict[str, float]:
            out = {}
            for name in names:
                progress(f"measuring {name}")
                try:
                    out[name] = self._live.defending.cost(name, shown.clean)
                except (PhysadvError, NoAnswer) as error:
                    self.notices.add("error", "costs", f"{name} was not measured: {error}")
            return out

        self._loop.tasks.run("costs", "measuring defences", work, adopt=self._live.adopt_costs)

    def measure_costs_once_shown(self, names: tuple[str, ...]) -> None:
        """Measure what some defences cost by itself: after the first images, and again with another detector.

        The first image waits for nothing: `SETTLED` images are shown before.
        """
        measured: Detector | None = None
        frames = 0

        def listen(_: Shown) -> None:
            nonlocal measured, frames
            detector = self._live.inference.detector
            frames = frames + 1 if detector is not measured else 0
            if frames >= SETTLED:
                measured, frames = detector, 0
                self.measure_costs(names)

        self.subscribe(listen)

    def ask(self, pixels: UInt8Array) -> Detections:
        """Return the people that the bare detector finds in an image (h, w, 3) uint8 RGB, from the threshold up."""
        return self._live.ask(pixels)
