import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.capture.latest import SourceState
from physadv.defend import DEFENCES, Pipeline, parse_pipeline
from physadv.errors import CameraLost, DefenceError, PatchError, RecordingError, SettingsError, SourceError
from physadv.live.camera_demo import open_demo
from physadv.live.inference import DefendedDetector, Inference, SwitchedOff
from physadv.live.settings import LiveSettings
from physadv.live.shown import Shown
from physadv.patch import Patch
from physadv.types import Detections, Frame
from tests.live.scene import Broken, Camera, Film, Slow, Stuck, demo, finished, until


def test_a_file_is_shown_whole_and_in_order() -> None:
    seen: list[int] = []
    running = demo(Film(50))
    running.subscribe(lambda shown: seen.append(shown.frame.index))
    stats = finished(running).stats()
    assert seen == list(range(50))
    assert stats["frames_processed"] == 50
    assert stats["dropped"] == 0
    assert stats["persons_total"] == 50


class Gone:
    """A live source that gives `count` images and then none."""

    live = True
    name = "gone"

    def __init__(self, count: int) -> None:
        self.left = count

    def read(self) -> Frame:
        if not self.left:
            raise CameraLost("gone: no answer")
        self.left -= 1
        return Frame(np.full((24, 32, 3), self.left, np.uint8), 0, time.monotonic_ns(), 0.0)

    def close(self) -> None:
        pass


def test_headless_a_source_that_never_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.capture.latest.FIRST_TRIES", 1)
    with pytest.raises(SourceError, match="source: gone: no answer; no image in 1 tries"):
        finished(demo(Gone(0)))
    # One that has given an image may come back, and on a page another can be chosen.
    assert finished(demo(Gone(1), seconds=0.5)).figures.frames == 1
    assert finished(demo(Gone(0), seconds=0.5, ui="web")).figures.frames == 0


def test_the_figures_have_their_names_and_are_json() -> None:
    stats = finished(demo(Film(20, without=frozenset({3, 4})))).stats()
    wanted = "frames_processed dropped fps age_ms stage_ms persons_total backend precision detector source"
    assert set(wanted.split()) <= stats.keys()
    assert set(stats["age_ms"]) == {"p50", "p95", "p99"}
    assert stats["persons_total"] == 18
    assert stats["stage_ms"]["detect"] > 0
    json.dumps(stats, allow_nan=False)


@pytest.mark.alone
def test_a_slow_detector_sees_new_light_and_the_rest_is_counted_as_dropped() -> None:
    stats = finished(demo(Camera(fps=100), Slow(0.08), seconds=1.5)).stats()
    # Behind a queue the light would be over a second old by the end; the bound leaves room for a busy machine.
    assert stats["age_ms"]["p50"] < 300
    assert stats["dropped"] > 3 * stats["frames_processed"]
    assert stats["fps"] < 13


def test_limits_by_frames_and_by_seconds() -> None:
    assert finished(demo(Camera(), frames=7)).figures.frames == 7
    start = time.monotonic()
    finished(demo(Camera(), seconds=0.5))
    assert 0.4 < time.monotonic() - start < 3


def test_a_damaged_file_ends_a_headless_run_with_its_error() -> None:
    class Damaged(Film):
        def read(self):  # type: ignore[no-untyped-def]
            if self.index == 5:
                raise SourceError("film: cut off after 5 images")
            return super().read()

    with pytest.raises(SourceError, match="cut off"):
        finished(demo(Damaged(50)))


def test_with_viewers_a_damaged_file_is_a_notice_and_another_source_can_follow() -> None:
    class Damaged(Film):
        def read(self):  # type: ignore[no-untyped-def]
            raise SourceError("film: damaged")

    running = demo(Damaged(1), ui="web")
    running.start()
    try:
        until(lambda: running.state()["source"]["state"] == SourceState.ENDED)
        assert running.notices.newest()[-1].text == "film: damaged"
        running.take_source(Camera())
        until(lambda: running.figures.frames > 3)
        assert running.state()["source"]["state"] == SourceState.LIVE
    finally:
        running.stop()


def test_a_defence_that_throws_is_switched_off_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFENCES, "broken", Broken)
    running = demo(Film(20), defend="median,broken")
    finished(running)
    assert running.figures.frames >= 19
    assert running.controls.defend == "median"
    assert any("broken was switched off: ZeroDivisionError: no such luck" in n.text for n in running.notices.newest())


def test_a_defence_that_never_answers_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFENCES, "stuck", Stuck)
    running = demo(Camera(), ui="web", defence_limit=0.2)
    running.start()
    try:
        until(lambda: running.figures.frames > 2)
        running.control(defend="stuck")
        until(lambda: bool(running.notices.newest()))
        before = running.figures.frames
        until(lambda: running.figures.frames > before + 3)
        assert running.controls.defend == ""
        assert "stuck was switched off: no answer within 0.6 s" in running.notices.newest()[-1].text
    finally:
        running.stop()


def test_detectors_beside_take_none_of_the_time_of_a_defence() -> None:
    class Late(BlobDetector):
        def detect(self, frame: Frame) -> Detections:
            time.sleep(1.2)
            return super().detect(frame)

    # Without an answer after .9 s a defence is left behind.
    inference = Inference(BlobDetector(), limit_s=0.3)
    inference.stand_beside([Late()])
    inference.use(inference.detector, DefendedDetector(parse_pipeline("median"), inference.detector))
    frame = Film(1).read()
    took: dict[str, float] = {}
    inference.begin_beside(frame)
    assert len(inference.answer(frame, took)) == 1
    assert took["defended"] < 900 and len(inference.beside(frame, took)[0]) == 1
    inference.close()


def test_workers_left_behind_end_with_their_tasks() -> None:
    inference = Inference(BlobDetector(), limit_s=0.02)
    frame = Film(1).read()
    inference.answer(frame)
    before = threading.active_count()
    for names in (["stuck"], ["stuck"], ["stuck"], ["broken", "stuck"], ["broken", "stuck"]):
        defences = [{"broken": Broken(), "stuck": Stuck(seconds=0.5)}[name] for name in names]
        inference.use(inference.detector, DefendedDetector(Pipeline(tuple(defences)), inference.detector))
        with pytest.raises(SwitchedOff):
            inference.answer(frame)
    until(lambda: threading.active_count() <= before)
    inference.close()


def test_the_bare_answer_stands_beside_the_defended_one_and_can_be_left_out() -> None:
    shown: list[Shown] = []
    running = demo(Film(6), defend="median")
    running.subscribe(shown.append)
    finished(running)
    assert all(s.bare is not None and s.defences == ("median",) for s in shown)
    plain = demo(Film(6), defend="median", compare=False)
    shown.clear()
    plain.subscribe(shown.append)
    finished(plain)
    assert all(s.bare is None and s.bare_top is None for s in shown)
    assert "detect" not in plain.stats()["stage_ms"]


def test_two_hundred_switches_leave_no_wrong_box_and_no_thread() -> None:
    running = demo(Camera(fps=200), ui="web")
    wrong: list[int] = []

    def check(shown: Shown) -> None:
        x = 100 + shown.frame.index % 40
        if len(shown.people) != 1 or abs(float(shown.people.xyxy[0, 0]) - x) > 3:
            wrong.append(shown.frame.index)

    running.subscribe(check)
    running.start()
    try:
        until(lambda: running.figures.frames > 2)
        before = threading.active_count()
        names = ["", "flip", "median,flip", "bit-depth", "vote"]
        for i in range(200):
            running.control(defend=names[i % len(names)])
            time.sleep(0.01)
        running.control(defend="")
        until(lambda: running.latest is not None and running.latest.defences == ())
        assert threading.active_count() <= before
        assert not running.notices.newest()
        assert not wrong
    finally:
        running.stop()


def test_controls_refuse_what_cannot_be_and_change_nothing() -> None:
    running = demo(Film(1))
    before = running.controls
    with pytest.raises(SettingsError):
        running.control(conf=float("nan"))
    with pytest.raises(SettingsError):
        running.control(colour="red")
    with pytest.raises(DefenceError, match="nonsense"):
        running.control(defend="nonsense")
    with pytest.raises(PatchError, match="nobody"):
        running.control(wear="nobody")
    assert running.controls == before
    running.stop()


def test_a_detector_is_switched_while_the_old_one_runs() -> None:
    loading = threading.Event()

    class Other(BlobDetector):
        name = "other"

    def loader(name, *, backend, imgsz, progress):  # type: ignore[no-untyped-def]
        progress("half way")
        assert loading.wait(5)
        return Other()

    running = open_demo(LiveSettings(ui="web"), source=Camera(), detector=BlobDetector(), loader=loader)
    running.start()
    try:
        running.switch_detector("other", "torch", 320)
        until(lambda: running.state()["busy"].get("detector") == "half way")
        before = running.figures.frames
        until(lambda: running.figures.frames > before + 3)
        assert running.state()["detector"]["name"] == "blobs"
        loading.set()
        until(lambda: running.state()["detector"]["name"] == "other")
        assert running.state()["detector"]["imgsz"] == 320
        assert running.state()["busy"] == {}
    finally:
        running.stop()


def test_a_detector_that_cannot_be_loaded_is_a_notice() -> None:
    running = demo(Camera(), ui="web")
    running.start()
    try:
        running.switch_detector("/nowhere/x.pt", "torch", 320)
        until(lambda: bool(running.notices.newest()))
        assert "/nowhere/x.pt" in running.notices.newest()[-1].text
        assert running.state()["detector"]["name"] == "blobs"
    finally:
        running.stop()


def test_a_source_that_cannot_be_opened_is_a_notice() -> None:
    running = demo(Camera(), ui="web")
    running.start()
    try:
        running.switch_source("/nowhere.mp4")
        until(lambda: bool(running.notices.newest()))
        assert "/nowhere.mp4" in running.notices.newest()[-1].text
        assert running.source_spec == Camera.name
    finally:
        running.stop()


class Silent(Camera):
    """A stream whose server does not answer."""

    name = "silent"

    def read(self) -> Frame:
        time.sleep(0.02)
        raise CameraLost("silent: no answer")


def test_a_source_that_gives_no_image_leaves_the_old_one_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.live.feed.open_source", lambda *_: Silent())
    running = demo(Camera(), ui="web")
    running.start()
    try:
        running.switch_source("rtsp://nobody")
        until(lambda: bool(running.notices.newest()))
        assert "rtsp://nobody: no frame came, so the source stays as it was: silent: no answer" in (
            running.notices.newest()[-1].text
        )
        before = running.figures.frames
        until(lambda: running.figures.frames > before + 3)
        assert running.source_spec == Camera.name
    finally:
        running.stop()


def test_a_recording_without_images_is_not_called_saved(tmp_path: Path) -> None:
    running = demo(Camera(fps=1), recordings=tmp_path, ui="web")
    running.start()
    try:
        until(lambda: running.figures.frames > 0)
        running.start_recording()
        with pytest.raises(RecordingError, match="nothing was recorded"):
            running.stop_recording()
        assert not list(tmp_path.iterdir())
    finally:
        running.stop()
    ended = demo(Film(2), recordings=tmp_path, ui="web")
    ended.start()
    try:
        until(lambda: ended.state()["source"]["state"] == SourceState.ENDED)
        with pytest.raises(RecordingError, match="nothing to record"):
            ended.start_recording()
    finally:
        ended.stop()


def checkers(name: str = "checkers") -> Patch:
    pixels = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((8, 8)))[..., None] * np.array([255, 0, 255])
    return Patch(name, pixels.astype(np.uint8), np.full((64, 64), 255, np.uint8), (360.0, 360.0))


def test_a_pattern_is_worn_from_its_second_on_and_hides_nothing_from_its_own_placing(tmp_path: Path) -> None:
    from physadv.patch import save_patch

    save_patch(checkers(), tmp_path)
    shown: list[Shown] = []
    running = demo(Film(30), wear=[str(tmp_path / "patch.png")], wear_size=90.0, wear_from=1.0)
    running.subscribe(shown.append)
    finished(running)
    changed = [bool((s.frame.pixels != s.clean.pixels).any()) for s in shown]
    assert changed == [i >= 10 for i in range(30)]
    assert [s.worn != "" for s in shown] == changed
    assert [s.lines[1:] for s in shown] == [
        ("pattern added by software: checkers, 90 cm, lit",) if c else () for c in changed
    ]
    # The detector that counts is given the worn image: it no longer finds a person of full height.
    height = [float(np.ptp(s.people.xyxy[:, [1, 3]], axis=1).max(initial=0)) for s in shown]
    assert min(height[:10]) > 190 > max(height[10:])


def test_recording_from_the_controls_and_its_end(tmp_path: Path) -> None:
    running = demo(Camera(fps=50), recordings=tmp_path, ui="web")
    running.start()
    try:
        until(lambda: running.figures.frames > 2)
        path = running.start_recording()
        until(lambda: running.state()["recording"]["written"] > 10)
        assert running.stop_recording() == path
    finally:
        running.stop()
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    assert len(lines) > 10
    assert path.stat().st_size > 1000


def test_a_failing_encoder_leaves_the_demo_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from physadv.live import recorder as record

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    running = demo(Camera(fps=50), recordings=tmp_path, ui="web")
    running.start()
    try:
        until(lambda: running.figures.frames > 2)
        monkeypatch.setattr(record.VideoWriter, "write", full)
        running.start_recording()
        until(lambda: any("disk is full" in n.text for n in running.notices.newest()))
        before = running.figures.frames
        until(lambda: running.figures.frames > before + 5)
        assert not running.state()["recording"]["on"]
    finally:
        running.stop()
