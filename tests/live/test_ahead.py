"""What is looked at before its turn: two images of a file side by side, one of a camera, the same answers in order."""

import threading
import time

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.defend import DEFENCES, Defence
from physadv.detect.base import WrappedDetector
from physadv.errors import SourceError
from physadv.live.camera_demo import open_demo
from physadv.live.loading import DetectorChoice
from physadv.live.settings import LiveSettings
from physadv.live.shown import Shown
from physadv.types import Detections, Detector, Frame, GradientDetector
from tests.live.scene import Camera, Film, Slow, demo, finished, until


class Lane(BlobDetector):
    """Counts how many of its kind are at work; the frames with an odd index take longer."""

    def __init__(self, whole: "TwoLanes") -> None:
        super().__init__()
        self.whole = whole

    def detect(self, frame: Frame) -> Detections:
        with self.whole.at_work(frame):
            time.sleep(0.03 if frame.index % 2 else 0.005)
            return super().detect(frame)


class TwoLanes(BlobDetector):
    """A detector that looks at two images side by side; asked itself, it looks at one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.most = self.now = self.itself = 0
        self._lock = threading.Lock()

    def lanes(self) -> tuple[Detector, ...]:
        return Lane(self), Lane(self)

    def detect(self, frame: Frame) -> Detections:
        self.itself += 1
        with self.at_work(frame):
            return super().detect(frame)

    def at_work(self, frame: Frame):  # type: ignore[no-untyped-def]
        return _AtWork(self, frame)


class _AtWork:
    def __init__(self, whole: TwoLanes, frame: Frame) -> None:
        self.whole, self.frame = whole, frame

    def __enter__(self) -> None:
        with self.whole._lock:
            self.whole.now += 1
            self.whole.most = max(self.whole.most, self.whole.now)
            self.whole.asked.append(self.frame.index)

    def __exit__(self, *_: object) -> None:
        with self.whole._lock:
            self.whole.now -= 1


def shown_of(detector: Detector, source: object, **settings: object) -> list[Shown]:
    shown: list[Shown] = []
    running = demo(source, detector, **settings)
    running.subscribe(shown.append)
    finished(running)
    return shown


def test_two_images_of_a_file_are_looked_at_side_by_side_and_shown_in_order() -> None:
    detector = TwoLanes()
    shown = shown_of(detector, Film(21, without=frozenset({3, 8})))
    assert detector.most == 2 and not detector.itself
    assert sorted(detector.asked) == list(range(21)), "each image is asked once"
    assert [s.number for s in shown] == [s.frame.index for s in shown] == list(range(21))
    plain = shown_of(BlobDetector(), Film(21, without=frozenset({3, 8})))
    for a, b in zip(shown, plain, strict=True):
        np.testing.assert_array_equal(a.people.xyxy, b.people.xyxy)
        np.testing.assert_array_equal(a.people.score, b.people.score)


def test_of_a_camera_one_image_at_a_time_is_looked_at() -> None:
    detector = TwoLanes()
    shown_of(detector, Camera(fps=200), frames=10)
    assert detector.most == 1 and detector.itself == 10


def test_a_cameras_next_image_is_begun_before_the_one_before_it_is_handed_on() -> None:
    detector = TwoLanes()
    running = demo(Camera(fps=300), detector, frames=6)
    begun: list[int] = []

    def slow(_: Shown) -> None:
        time.sleep(0.05)
        begun.append(detector.itself)

    running.subscribe(slow)
    finished(running)
    # The next of a camera of 300 a second is there, but for a machine that is busy; after the last none is begun.
    assert sum(itself == shown + 2 for shown, itself in enumerate(begun)) >= 3
    assert detector.itself == 6 and detector.most == 1


def test_a_pattern_is_placed_by_the_clean_image_of_its_own_frame() -> None:
    shown = shown_of(TwoLanes(), Film(12), wear=["webcam"], wear_size=60.0)
    for one in shown:
        assert one.placed is not None
        assert abs(float(one.placed.xyxy[0, 0]) - (100 + one.frame.index % 40)) <= 3
        assert (one.frame.pixels != one.clean.pixels).any()


def test_the_images_before_a_damage_are_shown_and_then_its_error_is_raised() -> None:
    class Damaged(Film):
        def read(self):  # type: ignore[no-untyped-def]
            if self.index == 5:
                raise SourceError("film: cut off after 5 images")
            return super().read()

    running = demo(Damaged(50), TwoLanes())
    with pytest.raises(SourceError, match="cut off"):
        finished(running)
    assert running.figures.frames == 5


def test_a_detector_that_fails_ends_the_run_with_its_error_and_its_threads() -> None:
    class Failing(TwoLanes):
        def at_work(self, frame: Frame):  # type: ignore[no-untyped-def]
            if frame.index == 4:
                raise RuntimeError("out of memory")
            return super().at_work(frame)

    before = threading.active_count()
    running = demo(Film(50), Failing())
    with pytest.raises(RuntimeError, match="out of memory"):
        finished(running)
    assert running.figures.frames == 4
    until(lambda: threading.active_count() <= before)


def test_nothing_is_left_of_a_run_that_is_stopped_in_the_middle() -> None:
    before = threading.active_count()
    running = demo(Film(10_000), TwoLanes())
    running.start()
    until(lambda: running.figures.frames > 3)
    running.stop()
    assert running.error is None
    until(lambda: threading.active_count() <= before)


def test_images_begun_with_one_detector_are_asked_again_of_the_next() -> None:
    class Nobody(BlobDetector):
        name = "nobody"

        def detect(self, frame: Frame) -> Detections:
            return Detections.empty()

    shown: list[Shown] = []
    running = demo(Film(10), TwoLanes())

    def switch(one: Shown) -> None:
        shown.append(one)
        if one.number == 4:
            running._live.adopt_detector(DetectorChoice("nobody", "torch", 320), Nobody())

    running.subscribe(switch)
    finished(running)
    assert [len(s.people) for s in shown] == [1] * 5 + [0] * 5


def test_from_a_file_to_a_camera_only_the_cameras_images_follow() -> None:
    detector = TwoLanes()
    running = open_demo(LiveSettings(ui="web"), source=Film(10_000), detector=detector)
    shown: list[Shown] = []
    running.subscribe(shown.append)
    running.start()
    try:
        until(lambda: running.figures.frames > 2)
        camera = Camera(fps=100, width=160)
        running.take_source(camera)
        until(lambda: running.source is camera and shown[-1].frame.size[0] == 160)
        until(lambda: detector.itself > 3)
        widths = [s.frame.size[0] for s in shown]
        assert widths == sorted(widths, reverse=True)
    finally:
        running.stop()


class LooksTwice(Defence):
    """Looks at the bare image and at one that it has changed."""

    name = "looks-twice"
    title = "looks twice"
    paper = ""

    def guard(self, detector: Detector) -> Detector:
        class Guarded(WrappedDetector):
            def detect(self, frame: Frame) -> Detections:
                out = self.inner.detect(frame.with_pixels(frame.pixels[:, ::-1].copy()))
                self.inner.detect(frame)
                return out

        return Guarded(detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        return detector


def test_beside_a_defence_that_looks_at_the_bare_image_too_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFENCES, "looks-twice", LooksTwice)
    detector = TwoLanes()
    shown = shown_of(detector, Film(8), defend="looks-twice")
    assert all(s.bare is not None and len(s.people) == 1 for s in shown)
    assert sorted(detector.asked) == sorted([*range(8)] * 2)


def test_no_pass_is_spent_on_a_bare_answer_that_nobody_sees() -> None:
    detector = TwoLanes()
    finished(demo(Film(6), detector, defend="lgs:plain=false"))
    assert sorted(detector.asked) == [*range(6)]


@pytest.mark.alone
def test_a_look_at_the_bare_image_runs_beside_the_defences_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFENCES, "looks-twice", LooksTwice)
    detector = TwoLanes()
    running = demo(Camera(fps=50), detector, defend="looks-twice", frames=6, compare=False)
    finished(running)
    # That it looks at the bare image is known from the second frame on.
    assert detector.itself == 2 + 5 and len(detector.asked) == 12
    assert detector.most == 2


def test_a_defence_costs_so_many_times_what_the_bare_detector_takes() -> None:
    running = demo(Film(1), Slow(0.02))
    try:
        frame = Film(1).read()
        defending = running._live.defending
        assert defending.cost("persistence", frame) < 1.5 < defending.cost("median", frame) < 3
    finally:
        running.stop()
