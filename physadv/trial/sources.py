"""What a trial films: a camera with its exposure locked as far as it allows, or a stretch of a file, the same each time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from physadv.capture import SCENE, is_live, open_source
from physadv.capture.sample import SCENES, SampleFilm
from physadv.capture.settings import CaptureSettings
from physadv.capture.webcam import cameras, is_webcam
from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.types import Frame, Source

# Frames of one stretch are numbered from a multiple of this on, so that none is taken for one of another.
NUMBERS = 1 << 24
LOCKED, MEASURED = "locked where the automatic had settled", "not locked, measured in each window"


def films_people(spec: str) -> bool:
    """Return whether a source is a camera, before which sheets can be worn. The sample is none.

    Raises: SourceError for the sample as a whole: within a block its scenes, and so its people, would change.
    """
    if spec == "sample":
        names = ", ".join(f"{SCENE}{scene.name}" for scene in SCENES)
        raise SourceError(
            field="source", expected=f"a scene that stays: {names}", got="sample, which shows them in turn"
        )
    return is_live(spec) and not spec.startswith(SCENE)


def locks(*, exposure: bool = False, white_balance: bool = False) -> dict[str, str]:
    """Return what a report says of each: whether the camera holds it."""
    held = {"exposure": exposure, "white balance": white_balance}
    return {name: LOCKED if on else MEASURED for name, on in held.items()}


def open_locked(spec: str, capture: CaptureSettings, notify: Callable[[str], None]) -> tuple[Source, dict[str, str]]:
    """Return a camera, and what was done about its exposure and white balance.

    A webcam is asked to lock both, then each by itself; other cameras have no such controls. auto is the first webcam that
    answers, and nothing else.

    Raises: SourceError or CameraLost if it cannot be opened.
    """
    if spec == "auto":
        for camera in cameras():
            with suppress(SourceError):
                return open_locked(str(camera.index), capture, notify)
        raise SourceError(
            field="source", expected="a webcam that answers", got="none", hint="name a camera: a number or an address"
        )
    if not is_webcam(spec):
        return open_source(spec, capture, notify), locks()
    for exposure, white in ((True, True), (True, False), (False, True)):
        wanted = {"lock_exposure": exposure, "lock_white_balance": white}
        try:
            source = open_source(spec, capture.model_copy(update=wanted), notify)
        except CameraLost:
            raise
        except SourceError:
            # The driver refuses one of them.
            continue
        return source, locks(exposure=exposure, white_balance=white)
    return open_source(spec, capture, notify), locks()


class FilmStretch:
    """A stretch of a file, or of a scene of the sample: `length_s` seconds from `start_s` on, and one image more.

    A shorter file goes round.

    first: the number of its first image, a multiple of `NUMBERS`. error: why no more images come, "" where more come or
    the stretch is over.
    """

    live = False

    def __init__(
        self, spec: str, capture: CaptureSettings, *, start_s: float, length_s: float, serial: int,
        notify: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Open the file.

        Raises: SourceError if it cannot be opened.
        """
        self._source: Source
        if spec.startswith(SCENE):
            self._source = SampleFilm(capture, scene=spec.removeprefix(SCENE), start_s=start_s)
        else:
            self._source = open_source(spec, capture.model_copy(update={"loop": 0}), notify)
        self.name, self.first = self._source.name, serial * NUMBERS
        self.error = ""
        self._start_s, self._length_s = start_s, length_s
        self._from_s: float | None = None
        self._given = 0
        self._over = False

    def read(self) -> Frame:
        """Return the next image.

        Raises: EndOfStream after the last. SourceError if the file is damaged.
        """
        if self._over:
            raise EndOfStream(f"{self.name}: the window is over")
        try:
            frame = self._source.read()
            while self._from_s is None and frame.pts_s < self._start_s:
                frame = self._source.read()
        except (SourceError, EndOfStream) as error:
            self.error = error.text
            raise
        if self._from_s is None:
            self._from_s = frame.pts_s
        at_s = frame.pts_s - self._from_s
        self._over = at_s >= self._length_s
        self._given += 1
        return Frame(frame.pixels, self.first + self._given - 1, frame.captured_ns, at_s)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._source.close()
