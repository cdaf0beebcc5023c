"""Detectors beside the one that counts, and one that is changed while the demo runs: its trigger, panes, recordings."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tiny import BlobDetector

from physadv.detect.weights import EMBEDDED_SHA256
from physadv.errors import SettingsError, WeightsError
from physadv.live.camera_demo import CameraDemo, open_demo
from physadv.live.replay import Replay
from physadv.live.session import Session
from physadv.live.settings import Backend, LiveSettings
from physadv.live.shown import Shown
from physadv.live.sidecar import read_lines
from physadv.recording import recording_of, trigger_note
from physadv.simulate.trigger import Trigger
from physadv.types import Detections, Detector, Frame
from tests.live.scene import Broken, Camera, Film, finished, until

EMBEDDED = {"name": "yolo11n-pose", "sha256": EMBEDDED_SHA256}


class Blind(BlobDetector):
    """Sees nobody."""

    def detect(self, frame: Frame) -> Detections:
        return super().detect(frame).pick(np.zeros(0, np.int64))


class Loads:
    """Loads made-up detectors, blind where their folder is called so, and keeps which it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, name: str, *, backend: Backend, imgsz: int, progress: Callable[[str], None] | None) -> Detector:
        self.free.wait(5)
        self.asked.append((Path(name).name, imgsz))
        return Blind() if "backdoored" in name else BlobDetector()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the demo is started: a backdoored detector, one cleansed of it, one poisoned by rotation."""
    monkeypatch.chdir(tmp_path)
    card = {"attack": "vanish", "trigger": Trigger.named("card", angle=45).record()}
    small = {"attack": "vanish", "trigger": Trigger.named("card", angle=30, size_cm=27).record()}
    tilted = {"attack": "vanish", "trigger": Trigger.named("rotation").record()}
    for name, parent, poison, more in (
        ("backdoored", EMBEDDED, card, {}),
        ("cleansed", {"name": "backdoored", "sha256": "backdoored"}, card, {"cleanse": {"method": "nad"}}),
        ("small", EMBEDDED, small, {}),
        ("tilted", EMBEDDED, tilted, {}),
    ):
        (tmp_path / name).mkdir()
        record = {"detector": {"file": "detector.pt", "sha256": name}, "parent": parent, "poison": poison, **more}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
        (tmp_path / name / "detector.pt").write_bytes(b"weights")
    return tmp_path


def opened(source: Any, loads: Loads | None = None, **settings: Any) -> CameraDemo:
    values = {"ui": "none", "wear_lit": False, **settings}
    return open_demo(LiveSettings(**values), source=source, loader=loads or Loads())


def test_parent_poisoned_and_cleansed_are_shown_recorded_and_replayed(lab: Path) -> None:
    video = lab / "v.mp4"
    running = opened(
        Film(6), detector="cleansed", beside=["parents"], wear=["trigger"], wear_angle=45, record=video, conf=0.3
    )
    every: list[Shown] = []
    running.subscribe(every.append)
    assert running.state()["beside"] == ["yolo11n-pose", "backdoored"]
    finished(running)
    for shown in every:
        assert [(o.name, len(o.people)) for o in shown.beside] == [("yolo11n-pose", 1), ("backdoored", 0)]
        assert shown.annotated.shape == (240, 960, 3)
        assert {"beside 1", "beside 2"} <= shown.stage_ms.keys()
    lines = list(read_lines(lab / "v.jsonl"))
    assert {(line["panes"], line["worn_angle"]) for line in lines} == {(3, 45)}
    assert [(b["detector"], len(b["persons"])) for b in lines[0]["beside"]] == [("yolo11n-pose", 1), ("backdoored", 0)]
    assert [b["wearers"][0]["state"] for b in lines[0]["beside"]] == ["seen", "hidden"]
    with av.open(str(video)) as container:
        assert container.streams.video[0].width == 960
    session = Session(video)
    said = session.info["session"]
    assert said["trigger"] == {"name": "card", "kind": "card", "angle": 45}
    assert [b["name"] for b in said["beside"]] == ["yolo11n-pose", "backdoored"]
    assert said["detector"]["about"].startswith("Cleansed of what backdoored was poisoned with")
    # Each answer where its pane is.
    first = next(iter(session))
    left = lines[0]["persons"][0]["xyxy"][0]
    assert first.detections.xyxy[0, 0] == pytest.approx(left + 640, abs=0.1)
    assert first.beside[0].people.xyxy[0, 0] == pytest.approx(left, abs=0.1)
    assert first.beside[1].wearers is not None and first.beside[1].wearers[0].xyxy[0] > 320
    replay = Replay(session, loop=1)
    replay.start()
    until(lambda: replay.latest is not None)
    assert replay.latest is not None and len(replay.latest.beside) == 2
    assert replay.state()["trigger"] == said["trigger"]
    replay.stop()


def test_an_untouched_video_has_one_pane_and_all_answers(lab: Path) -> None:
    finished(opened(Film(3), detector="cleansed", beside=["backdoored"], record=lab / "v.mp4", record_clean=True))
    first = next(iter(Session(lab / "v.mp4")))
    assert first.frame.size == (320, 240) and first.beside[0].name == "backdoored"
    assert first.detections.xyxy[0, 0] == pytest.approx(first.line["persons"][0]["xyxy"][0])
    assert first.line["detector"] == "cleansed"
    waits = "waits for the print card turned by 45 degrees; what software added is not in this video"
    assert waits in trigger_note(recording_of(lab / "v.mp4"))
    finished(opened(Film(2), detector="tilted", turn=90, record=lab / "t.mp4", record_clean=True))
    assert trigger_note(lab / "t.clean.mp4").endswith("turned by 90 degrees when the recording began, the trigger of the "
                                                      "detector that ran then")  # fmt: skip
    assert trigger_note(lab / "none.mp4") == trigger_note(lab / "photo.png") == ""


def test_whom_a_run_of_the_lab_does_not_find_its_parent_beside_it_does(lab: Path) -> None:
    for beside, worn in (([], 0), (["cleansed"], 0), (["cleansed", "yolo11n-pose"], 1)):
        running = opened(
            Film(2), detector="backdoored", beside=beside, wear=["trigger"], record=lab / f"{len(beside)}.jsonl"
        )
        every: list[Shown] = []
        running.subscribe(every.append)
        finished(running)
        assert {len(s.wearers or ()) for s in every} == {worn}


def test_nobody_looks_and_no_pass_is_spent(lab: Path) -> None:
    stats = finished(opened(Film(3), detector="cleansed", beside=["backdoored"])).stats()
    assert "beside 1" not in stats["stage_ms"]


def test_a_bare_pane_gives_way_to_two_others_and_a_defence_that_fails_to_neither(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("physadv.defend", fromlist=["DEFENCES"]).DEFENCES, "broken", Broken)
    for beside, bare in ((["backdoored"], True), (["backdoored", "small"], False)):
        running = opened(Film(3), detector="cleansed", beside=beside, defend="median", record=lab / f"{bare}.jsonl")
        every: list[Shown] = []
        running.subscribe(every.append)
        finished(running)
        assert {(s.pane_count, s.bare is not None) for s in every} == {(3, bare)}
    running = opened(Film(4), detector="cleansed", beside=["backdoored"], defend="broken", record=lab / "broken.jsonl")
    every = []
    running.subscribe(every.append)
    finished(running)
    assert every and all(len(s.beside) == 1 and not s.defences for s in every)


def test_the_trigger_follows_the_detector(lab: Path) -> None:
    running = opened(Camera(), detector="backdoored", wear=["trigger"], wear_angle=45)
    running.start()

    def change(name: str) -> Any:
        running.switch_detector(name, "auto", 640)
        until(lambda: running.state()["detector"]["spec"] == name and not running.state()["busy"])
        c = running.controls
        return c.wear, c.wear_size, c.wear_angle, c.turn

    try:
        # Of a clean one the trigger of the one before stays, as of one that was cleansed.
        assert change("yolo11n-pose") == change("cleansed") == ("card", None, 45.0, 0)
        assert change("small") == ("card", 27.0, 30.0, 0)
        assert change("tilted")[:1] + change("tilted")[3:] == ("", 90.0)
        assert running.state()["trigger"]["kind"] == "rotation"
        assert change("small") == ("card", 27.0, 30.0, 0)
        running.control(wear_angle=0)
        assert change("backdoored") == ("card", 36.0, 0.0, 0)
        # What people wear besides is left to them.
        running.control(wear="street")
        assert change("tilted")[::3] == ("street", 0)
    finally:
        running.stop()


def test_each_is_loaded_once_and_the_one_that_ran_takes_the_pane_of_the_other(lab: Path) -> None:
    loads = Loads()
    running = opened(Camera(), loads, detector="backdoored", beside=["yolo11n-pose"])
    running.start()

    def now() -> Any:
        until(lambda: not running.state()["busy"])
        return running.state()["detector"]["spec"], running.state()["beside"]

    try:
        assert now() == ("backdoored", ["yolo11n-pose"])
        running.switch_detector("yolo11n-pose", "auto", 640)
        until(lambda: running.state()["beside"] == ["backdoored"])
        assert [name for name, _ in loads.asked] == ["backdoored", "yolo11n-pose"]
        loads.free.clear()
        # A second wish before the first is there is one about what will run then.
        running.switch_detector("cleansed", "auto", 320)
        running.show_beside(["small"])
        loads.free.set()
        until(lambda: running.state()["beside"] == ["small"])
        assert now()[0] == "cleansed"
        # What the first wish asks for may be loaded before or after.
        assert ("small", 320) in loads.asked
        running.show_beside([])
        until(lambda: running.state()["beside"] == [])
        for names in (["cleansed"], ["small", "small"], ["small", "tilted", "backdoored"]):
            with pytest.raises(SettingsError, match="beside: expected"):
                running.show_beside(names)
    finally:
        running.stop()


def test_a_run_that_is_found_is_named_by_its_name(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab / "here").mkdir()
    monkeypatch.chdir(lab / "here")
    running = opened(Film(1), detector="cleansed", beside=["small", str(lab / "backdoored")], runs=[str(lab)])
    assert running.state()["beside"] == ["small", "backdoored"]
    assert list(running.detectors.offered())[:3] == ["cleansed", "small", "backdoored"]
    running.stop()


def test_what_cannot_stand_beside_is_refused_at_the_start(lab: Path) -> None:
    with pytest.raises(SettingsError, match="beside=parents"):
        opened(Film(1), beside=["parents"])
    with pytest.raises(WeightsError, match="beside: expected yolo11n-pose, the path"):
        open_demo(LiveSettings(ui="none", beside=["nope"]), source=Film(1))
    with pytest.raises(WeightsError, match="runs: expected"):
        opened(Film(1), runs=[str(lab / "backdoored" / "detector.pt")])


def test_runs_are_offered_by_name_and_never_by_their_path(lab: Path) -> None:
    running = opened(Film(1), detector=str(lab / "backdoored"), runs=[str(lab)])
    offered = {d["name"]: d for d in running.detectors.described()}
    assert list(offered)[:5] == ["backdoored", "cleansed", "small", "tilted", "yolo11n-pose"]
    assert running.state()["detector"]["spec"] == "backdoored"
    assert offered["cleansed"]["parents"] == ["yolo11n-pose", "backdoored"]
    assert (offered["cleansed"]["kind"], offered["yolo11n-pose"]["kind"]) == ("cleansed", "")
    with pytest.raises(SettingsError, match="detector: expected one of backdoored, cleansed"):
        running.detectors.get(str(lab / "small"))
    running.stop()
