"""The tour without a page, as a video: every stop in turn, its caption under the picture, by the demo's own recorder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from physadv.capture.sample import SampleFilm
from physadv.errors import BackendError, DataError, SourceError, WeightsError
from physadv.live.camera_demo import CameraDemo, open_demo
from physadv.live.looking import Looking, PersonLook
from physadv.live.settings import Controls, LiveSettings
from physadv.live.shown import Shown
from physadv.tour.figures import TourFigures
from physadv.tour.fonts import font_with, latin_font
from physadv.tour.guide import SAMPLE, Guide, ShownStop, guide, host_of
from physadv.tour.panel import Caption, composed
from physadv.tour.settings import TourSettings
from physadv.tour.stops import STOPS
from physadv.tour.texts import every_text
from physadv.types import Detector, UInt8Array

# Images a second of the sample: half of a camera's show the same in half the time.
FPS = 12.0
# A change takes effect with the second or third image after it. After so many it never will: a defence that failed was
# switched off, and the stop is shown without it.
PATIENCE = 40
Teller = Callable[[str], None]


class TourFilm:
    """Takes a demo through the stops while it records. `listen` and `draw` are called on the loop's thread.

    done: whether all of them were shown. stop: the number of the one that is shown.
    """

    def __init__(
        self,
        demo: CameraDemo,
        numbers: Sequence[int],
        *,
        language: str,
        seconds: float,
        film: SampleFilm | None,
        font: Path | None,
        tell: Teller,
        looking: Looking,
    ) -> None:
        self.done, self.stop = False, numbers[0]
        self._demo, self._film, self._looking = demo, film, looking
        self._language, self._seconds, self._font, self._tell = language, seconds, font, tell
        self._left = list(numbers)
        self._figures = TourFigures()
        self._guide: Guide
        self._shown: ShownStop
        self._step = 0
        self._wanted: Controls
        self._since, self._first, self._waited = -1.0, 0, 0
        self._caption: Caption | None = None
        self._looks = False
        self._next_stop()

    def _next_stop(self) -> None:
        """Go to the next stop; after the last the demo is stopped."""
        if not self._left:
            self.done = True
            self._demo.stop()
            return
        self.stop = self._left.pop(0)
        self._guide = guide(host_of(self._demo), self._language)
        self._shown = self._guide.stops[self.stop - 1]
        if self._film is not None:
            self._first = self._film.show(self._shown.source.partition(":")[2])
        self._tell(f"stop {self.stop} of {len(self._guide.stops)}: {self._shown.texts['title']}")
        self._take(0)

    def _take(self, step: int) -> None:
        """Set the controls of a step of the present stop."""
        self._step, self._since, self._waited, self._caption = step, -1.0, 0, None
        self._figures.clear()
        self._wanted = self._demo.control(**self._shown.steps[step].controls)

    def listen(self, shown: Shown) -> None:
        """Take a frame into account: it may be the last of its step."""
        if self._since < 0:
            self._waited += 1
            takes_effect = shown.clean.index >= self._first and shown.controls == self._wanted
            if not takes_effect and self._waited < PATIENCE:
                # The words come before the picture, so that none are written under what they are not about.
                self._caption = self._captioned(shown)
                return
            self._since = shown.clean.pts_s
            self._looks = bool(self._shown.steps[self._step].look)
        self._figures.add(shown)
        self._caption = self._captioned(shown)
        # The clock of a file that begins again goes back.
        if 0 <= shown.clean.pts_s - self._since < self._seconds:
            return
        if self._step + 1 < len(self._shown.steps):
            self._take(self._step + 1)
        else:
            self._next_stop()

    def _captioned(self, shown: Shown) -> Caption:
        stop, words, texts = self._shown, self._guide.words, self._shown.texts
        cost = self._demo.state()["figures"]["defence_ms"]
        live = self._figures.lines(stop.live, self._guide.live, cost, certifies=bool(shown.claims))
        return Caption(
            place=words["place"].format(stop=stop.number, stops=len(self._guide.stops)),
            title=texts["title"],
            do=" ".join(stop.cannot) or texts["do"],
            done=stop.command or (stop.steps[self._step].button if self._step else words["start"]),
            now=tuple(live),
            measured=texts["measured"],
            why=texts["why"],
            read=texts["read"],
            labels=(words["now"], words["measured"], words["why"], words["read"]),
        )

    def draw(self, shown: Shown) -> Callable[[], UInt8Array]:
        """Return what draws the image of the video for a frame, on the recorder's thread. See `recorder.Drawing`."""
        caption, looks = self._caption or self._captioned(shown), self._looks

        def image() -> UInt8Array:
            picture = shown.annotated
            if looks:
                picture = self._with_map(picture, shown)
            return composed(picture, caption, self._font)

        return image

    def _with_map(self, picture: UInt8Array, shown: Shown) -> UInt8Array:
        """Return the picture with what the detector looks at laid over the nearest person, where that can be known."""
        try:
            found = self._looking.look(shown, None)
        except (DataError, BackendError, WeightsError):
            return picture
        self._figures.score = found.score
        return with_heat(picture, found)


def with_heat(picture: UInt8Array, found: PersonLook) -> UInt8Array:
    """Return a picture (h, w, 3) RGB, as large as the frame, with a map of a person laid over it."""
    left, top, right, bottom = found.xyxy
    heat = cv2.resize(found.heat, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    cover = heat[..., 3:] / 255
    out = picture.copy()
    under = out[top:bottom, left:right]
    out[top:bottom, left:right] = np.clip(under * (1 - cover) + heat[..., :3] * cover + 0.5, 0, 255).astype(np.uint8)
    return out


def record_tour(
    settings: TourSettings,
    tell: Teller,
    *,
    stopped: Callable[[], bool] = lambda: False,
    detector: Detector | None = None,
    looking: Looking | None = None,
) -> CameraDemo:
    """Record the tour as `settings.record` and return the demo, which has ended; at once if the recording failed.

    tell: takes a line about how far it is, and at the end one for each thing that failed.
    stopped: asked five times a second whether to end; what was recorded is whole.
    detector, looking: used in place of those that the settings name.

    Raises: SourceError if the source ended before the tour. RecordingError, and what `open_demo` raises.
    """
    language, font = _language_of(settings, tell)
    live = LiveSettings(
        ui="none",
        loop=0,
        source=settings.source,
        detector=settings.detector,
        runs=settings.runs,
        imgsz=settings.imgsz,
        backend=settings.backend,
    )
    capture = live.capture()
    film = SampleFilm(capture.model_copy(update={"fps": capture.fps or FPS})) if settings.source == SAMPLE else None
    demo = open_demo(live, source=film, detector=detector, progress=tell)
    numbers = range(1, len(STOPS) + 1) if settings.stop is None else [settings.stop]
    try:
        made = TourFilm(
            demo,
            numbers,
            language=language,
            seconds=settings.step_seconds,
            film=film,
            font=font,
            tell=tell,
            looking=looking or Looking(lambda name: demo.detectors.find(name).where),
        )
        demo.subscribe(made.listen)
        demo.start_recording(settings.record, overwrite=settings.overwrite, draw=made.draw)
        demo.start()
        # Short waits: a signal's handler runs on this thread only between them.
        broke_off = False
        while not (demo.wait(0.2) or stopped() or broke_off):
            broke_off = demo.recording_failed
    finally:
        demo.stop()
    if demo.error is not None:
        raise demo.error
    for notice in demo.notices.newest(100):
        if notice.level == "error":
            tell(f"{notice.kind}: {notice.text}")
    if not (made.done or stopped() or broke_off):
        raise SourceError(f"{demo.source_spec}: ended at stop {made.stop} of the tour", field="source")
    return demo


def _language_of(settings: TourSettings, tell: Teller) -> tuple[str, Path | None]:
    """Return the language of the video and the font file for it, None for the font that Pillow carries."""
    language = settings.language or "en"
    if language == "en":
        return language, latin_font()
    font = font_with(str(every_text()["words"]["tour"][language]))
    if font is None:
        tell(
            f"no font here has the characters of {language!r}, so the words are English; install Noto Sans CJK, for one"
        )
        return "en", latin_font()
    return language, font
