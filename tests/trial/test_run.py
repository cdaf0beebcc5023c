"""A trial that runs by itself on a film, goes on after a crash, and is guided by somebody before a camera."""

import errno
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.errors import DataError, EndOfStream, RecordingError, SettingsError, SourceError
from physadv.evaluate.compare import compare
from physadv.evaluate.pairs import Pairs, PairScorer
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.live.recorder import VideoWriter
from physadv.trial.book import TrialBook
from physadv.trial.plan import ARMS
from physadv.trial.report import write_report
from physadv.trial.run import TrialRun
from physadv.trial.sources import FilmStretch, open_locked
from physadv.trial.state import read_state
from physadv.types import Frame
from tests.live.scene import Camera, until
from tests.trial.scene import Shy, begun, film, planned, ran


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial of one-second windows that ran without interruption."""
    folder = tmp_path_factory.mktemp("done")
    film(folder / "film.mp4", seconds=5)
    planned(folder, blocks=4, window_s=1.0)
    write_report(ran(folder))
    return folder


def cells(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(c["condition"], c["transform"]): c for c in json.loads((folder / "results.json").read_text())}


def test_it_says_what_the_pattern_does_beside_its_controls_and_ends_when_that_is_plain(done: Path) -> None:
    found = cells(done / "trial")
    name = "2 m, 0 deg, day"
    assert found["pattern", name]["frame_asr"] == 1.0 and found["pattern", name]["never_seen"] == 3
    assert {arm: found[arm, name]["frame_asr"] for arm in ARMS[:-1]} == dict.fromkeys(ARMS[:-1], 0.0)
    # Decided at the first look: the fourth block was not recorded.
    assert found["pattern", name]["n_windows"] == 3
    for arm in ARMS[:-1]:
        assert found["pattern", name][f"asr_above_{arm}"] == 1.0
        assert found["pattern", name][f"asr_above_{arm}_ci95"][0] > 0
    doubts = " ".join(found["pattern", ""]["doubts"])
    assert "a proxy: the prints were put on by software" in doubts and "only 3 blocks" in doubts
    assert "not in random order" not in doubts and "neither decided" not in doubts and "exposure" not in doubts
    page = (done / "trial" / "report.html").read_text()
    assert "Sequential looking" in page and "physadv evaluate --config" in page and "data:image/" in page


def test_its_videos_are_scored_again_by_evaluate(done: Path) -> None:
    import tomllib

    given = tomllib.loads((done / "trial" / "rescore-1.toml").read_text())["pair"]
    scorer = PairScorer(Pairs.of(given), Shy(), EvaluateSettings(), cache=False)
    again = {cell.condition: cell["frame_asr"] for cell in finish(scorer.scoring())}
    assert again == {"none": 0.0, "grey": 0.0, "shuffled": 0.0, "pattern": 1.0}
    # And two arms of one trial are compared as two evaluations are.
    hidden = next(d for d in compare(f"{done}/trial:pattern", f"{done}/trial:grey").differences if d.figure == "hidden")
    assert hidden.value == 1.0 and hidden.units == 3


def test_after_a_crash_it_goes_on_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "film.mp4")
    planned(tmp_path, blocks=1)
    whole = ran(tmp_path, out="whole")
    write_report(whole)
    record, count = TrialRun._record, 0

    def crash(self: TrialRun, window: Any) -> Any:
        nonlocal count
        count += 1
        out = record(self, window)
        # After the videos are written, before trial.json is: as a kill may leave it.
        return out if count != 3 else pytest.fail("killed")

    with monkeypatch.context() as patch:
        patch.setattr(TrialRun, "_record", crash)
        with pytest.raises(pytest.fail.Exception):
            ran(tmp_path)
    assert len(_state(tmp_path).windows) == 2
    own = tmp_path / "trial" / "windows" / "mine.mp4"
    own.write_bytes(b"of somebody else")
    book = ran(tmp_path)
    assert [note.partition(":")[0] for note in book.state.notes] == ["half a window was thrown away"] and own.exists()
    write_report(book)
    assert (tmp_path / "trial" / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()
    mine, theirs = ([w.model_copy(update={"began": ""}) for w in b.state.windows] for b in (book, whole))
    assert mine == theirs
    # Nothing is left to record.
    assert TrialBook(tmp_path / "trial", _state(tmp_path)).next() is None


def _state(folder: Path) -> Any:
    state = read_state(folder / "trial")
    assert state is not None
    return state


def test_a_full_disk_ends_it_and_loses_no_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "film.mp4")
    planned(tmp_path, blocks=1)
    write, writers = VideoWriter.write, set[Path]()

    def full(self: VideoWriter, *args: Any) -> Any:
        writers.add(self.path)
        if len(writers) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(VideoWriter, "write", full)
        with pytest.raises(RecordingError, match="the disk is full; the 2 windows before are whole"):
            ran(tmp_path)
    kept = _state(tmp_path).windows
    assert ran(tmp_path).state.windows[: len(kept)] == kept
    assert len(_state(tmp_path).counted) == 4


def test_a_film_without_anybody_is_refused(tmp_path: Path) -> None:
    film(tmp_path / "film.mp4", person=False)
    planned(tmp_path)
    # The first window is one with a print, for which there is nobody; the next is one with nothing on.
    with pytest.raises(SourceError, match="there is nobody, or no chest, to put it on") as error:
        ran(tmp_path)
    assert error.value.field == "source"
    planned(tmp_path, seed=1)
    with pytest.raises(DataError, match=r"nobody is found with nothing on.*expected one person in view"):
        ran(tmp_path, out="other")


def test_a_film_in_which_the_print_is_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "film.mp4")
    planned(tmp_path)
    monkeypatch.setattr("physadv.live.overlay.fast_render", lambda pixels, *_: pixels.copy())
    with pytest.raises(SourceError, match="the print that software puts on is nowhere in the image"):
        ran(tmp_path)


def test_another_plan_detector_or_proxy_is_refused(done: Path, tmp_path: Path) -> None:
    class Other(Shy):
        sha256 = "2" * 64

    with pytest.raises(SettingsError, match=r"detector: expected blobs 111111111111.*got blobs 222222222222"):
        begun(done, auto=True, detector=Other())
    with pytest.raises(SettingsError, match="proxy: expected digital, as when the trial was begun, got none"):
        begun(done)
    with pytest.raises(SettingsError, match=r"conf: expected 0.25, .*, got 0.5"):
        begun(done, auto=True, conf=0.5)
    with pytest.raises(SettingsError, match="source: expected a camera before which the sheets are worn"):
        begun(done, out="other")
    with pytest.raises(SettingsError, match=r"source: expected .*film.mp4, as when .*, got .*second.mp4"):
        begun(done, auto=True, source=str(film(tmp_path / "second.mp4")))
    with pytest.raises(SettingsError, match=r"source: expected a camera before which .* got 'sample:whole'"):
        begun(done, out="other", source="sample:whole")
    with pytest.raises(SourceError, match=r"source: expected a scene that stays: sample:whole, .*, got sample"):
        begun(done, out="other", source="sample", auto=True)
    with pytest.raises(SettingsError, match="auto: expected `proxy=digital`"):
        begun(done, auto=True, proxy="screen")
    film(tmp_path / "film.mp4")
    planned(tmp_path, seed=9)
    with pytest.raises(SettingsError, match="holds a trial of another plan"):
        begun(tmp_path, out=str(done / "trial"), auto=True)
    (tmp_path / "plan" / "patterns" / "grey.safetensors").unlink()
    with pytest.raises(DataError, match=r"plan: .*grey.safetensors"):
        begun(tmp_path, auto=True)


def test_a_damaged_or_incomplete_trial_is_refused(done: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(done / "trial", tmp_path / "trial")
    path = tmp_path / "trial" / "trial.json"
    value = json.loads(path.read_text())
    sidecar = next((tmp_path / "trial" / "windows").glob("*.jsonl"))
    lines = sidecar.read_text().splitlines(keepends=True)
    for kept, says in ((lines[:-1], "expected 10 frames, got 9"), ([*lines[1:], lines[0]], "do not rise")):
        sidecar.write_text("".join(kept))
        with pytest.raises(RecordingError, match=says):
            write_report(TrialBook(tmp_path / "trial", _state(tmp_path)))
    sidecar.unlink()
    with pytest.raises(DataError, match="1 recorded windows are missing"):
        read_state(tmp_path / "trial")
    sidecar.write_text("".join(lines))
    first, *rest = value["windows"]
    for change, says in (
        ({"format": 7, "physadv": "9"}, "of physadv 9"),
        ({"windows": [{"cell": -1}]}, "windows.0"),
        ({"windows": [{**first, "cell": 1}, *rest]}, "cell 2, block 1: expected one of 1 cells of 4 blocks"),
        ({"windows": [{**first, "arm": rest[0]["arm"]}, *rest]}, "each arm of a block once, got it twice"),
        ({"windows": [first, *rest, first]}, "each window and each arm"),
        ({"windows": [{**first, "light": [0, 0, -9]}]}, "light.2: expected at least 0"),
    ):
        path.write_text(json.dumps({**value, **change}))
        with pytest.raises(DataError, match=says):
            read_state(tmp_path / "trial")
    path.write_text("[")
    with pytest.raises(DataError, match="is no trial"):
        read_state(tmp_path / "trial")


class Stage(Camera):
    """A camera before which somebody may be, in some light."""

    def __init__(self) -> None:
        super().__init__(fps=60)
        self.person, self.gain = False, 1.0

    def read(self) -> Frame:
        frame = super().read()
        pixels = frame.pixels if self.person else np.full_like(frame.pixels, 90)
        pixels = (pixels * self.gain).astype(np.uint8)
        pixels[:4, :4] = frame.index % 251
        return frame.with_pixels(pixels)


def test_somebody_is_guided_through_it_and_what_went_otherwise_is_doubted(tmp_path: Path) -> None:
    planned(tmp_path, blocks=1)
    camera = Stage()
    trial = begun(tmp_path, source=camera, countdown=0)
    thread = threading.Thread(target=trial.run, daemon=True)
    thread.start()

    def prompted(arm: str | None = None) -> bool:
        window = trial.window
        return trial.guide.phase == "prompt" and window is not None and arm in (None, window.arm)

    def step() -> None:
        until(prompted)
        window, before = trial.window, len(trial.book.state.windows)
        assert window is not None
        camera.gain = 0.5 if window.arm == "grey" else 1.0
        trial.guide.ask("begin")
        until(lambda: len(trial.book.state.windows) > before and trial.guide.phase != "checking")

    try:
        while not any(w.redone for w in trial.book.state.windows):
            step()
        assert "block 1 is done again: nobody is found with nothing on" in trial.state()["message"]
        camera.person = True
        step()
        until(prompted)
        trial.guide.ask("redo")
        until(lambda: any(w.redone.endswith("by hand") for w in trial.book.state.windows) and prompted())
        while len(trial.book.state.counted) < len(ARMS):
            step()
        until(lambda: trial.guide.phase == "done")
    finally:
        trial.demo.stop()
    doubts = " | ".join(write_report(trial.book).doubts)
    for says in (
        "1 block was done again, as the person was not found",
        "windows were done again by hand (1 of",
        "grey: 0.5",
        "the arms came only once in the order",
        "exposure and white balance were not locked",
    ):
        assert says in doubts
    assert "proxy" not in doubts and "was not found" in doubts


def test_a_scene_of_the_sample_is_a_film_and_auto_is_a_webcam_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CaptureSettings(width=64, height=48, fps=8)
    stretch = FilmStretch("sample:whole", settings, start_s=1.05, length_s=0.25, serial=1, notify=print)
    frames = [stretch.read() for _ in range(3)]
    assert [frame.pts_s for frame in frames] == [0, 0.125, 0.25] and not stretch.live
    assert np.array_equal(frames[0].pixels, SampleSource(settings, scene="whole").image(9))
    with pytest.raises(EndOfStream):
        stretch.read()
    monkeypatch.setattr("physadv.trial.sources.cameras", list)
    with pytest.raises(SourceError, match="source: expected a webcam that answers, got none"):
        open_locked("auto", settings, print)


def test_arms_in_a_fixed_order_are_doubted(tmp_path: Path) -> None:
    film(tmp_path / "film.mp4")
    plan = planned(tmp_path, blocks=2)
    value = {**plan.model_dump(mode="json"), "orders": [[list(ARMS)] * 2]}
    (tmp_path / "plan" / "plan.json").write_text(json.dumps(value))
    doubts = " | ".join(write_report(ran(tmp_path)).doubts)
    assert "the arms came in every block in the order none, grey, shuffled, pattern: not at random" in doubts
    assert "not those that its seed draws" in doubts
