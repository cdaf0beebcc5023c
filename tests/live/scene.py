"""A made-up scene for the loop's tests: a green person that `BlobDetector` finds, cameras that misbehave on request."""

from __future__ import annotations

import threading
import time

import numpy as np
from tiny import BlobDetector, draw_person

from physadv.defend import Defence
from physadv.errors import EndOfStream
from physadv.live.camera_demo import CameraDemo, open_demo
from physadv.live.settings import LiveSettings
from physadv.types import Detections, Detector, Frame, GradientDetector, UInt8Array


def image(index: int, *, width: int = 320, height: int = 240, person: bool = True) -> UInt8Array:
    """A grey image with a person that moves, and a corner that tells one image from the next."""
    out = np.full((height, width, 3), 90, np.uint8)
    if person:
        x = 100 + index % 40
        draw_person(out, (x, 30, x + 80, 230))
    out[:4, :4] = index % 251
    return out


class Camera:
    """A live source of `fps` images a second."""

    live = True
    name = "made-up camera"

    def __init__(self, fps: float = 60, *, width: int = 320, height: int = 240) -> None:
        self.fps, self.width, self.height = fps, width, height
        self.index = 0
        self.closed = threading.Event()

    def read(self) -> Frame:
        if self.closed.wait(1 / self.fps):
            raise EndOfStream("closed")
        pixels = image(self.index, width=self.width, height=self.height)
        frame = Frame(pixels, self.index, time.monotonic_ns(), self.index / self.fps)
        self.index += 1
        return frame

    def close(self) -> None:
        self.closed.set()


class Film:
    """A finite source of `count` images."""

    live = False
    name = "made-up film"

    def __init__(self, count: int, *, without: frozenset[int] = frozenset()) -> None:
        self.count, self.without, self.index = count, without, 0

    def read(self) -> Frame:
        if self.index >= self.count:
            raise EndOfStream("that was the last")
        pixels = image(self.index, person=self.index not in self.without)
        frame = Frame(pixels, self.index, time.monotonic_ns(), self.index / 10)
        self.index += 1
        return frame

    def close(self) -> None:
        self.index = self.count


class Slow(BlobDetector):
    """A detector that takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def detect_batch(self, images: object) -> list[Detections]:
        time.sleep(self.seconds)
        return super().detect_batch(images)  # type: ignore[arg-type]


class Broken(Defence):
    """Throws at every image."""

    name = "broken"
    title = "throws"
    paper = ""

    def guard(self, detector: Detector) -> Detector:
        class Guarded(BlobDetector):
            def detect(self, frame: Frame) -> Detections:
                raise ZeroDivisionError("no such luck")

        return Guarded()

    def twin(self, detector: GradientDetector) -> GradientDetector:
        return detector


class Stuck(Defence):
    """Never answers."""

    name = "stuck"
    title = "never answers"
    paper = ""
    seconds: float = 30.0

    def guard(self, detector: Detector) -> Detector:
        seconds = self.seconds

        class Guarded(BlobDetector):
            def detect(self, frame: Frame) -> Detections:
                time.sleep(seconds)
                return detector.detect(frame)

        return Guarded()

    def twin(self, detector: GradientDetector) -> GradientDetector:
        return detector


def demo(source: object, detector: Detector | None = None, **settings: object) -> CameraDemo:
    """A demo over a made-up source, not started."""
    return open_demo(
        LiveSettings(**{"ui": "none", **settings}),  # type: ignore[arg-type]
        source=source,  # type: ignore[arg-type]
        detector=detector or BlobDetector(),
    )


def finished(running: CameraDemo, timeout: float = 20) -> CameraDemo:
    """The same demo once it has ended by itself; its error, if any, is raised."""
    running.start()
    assert running.wait(timeout), "the loop did not end"
    if running.error is not None:
        raise running.error
    return running


def until(condition: object, timeout: float = 20) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
