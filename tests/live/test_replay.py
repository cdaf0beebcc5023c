"""Playing a recording: pause, steps, jumps and speeds, each frame with what was seen in it."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from physadv.errors import EndOfStream
from physadv.live.recorder import Recorder, RecordSettings
from physadv.live.replay import Replay, ReplaySource
from physadv.live.session import Session
from physadv.live.settings import Controls
from physadv.live.shown import Shown
from physadv.live.sidecar import persons_of
from physadv.types import Detections
from physadv.web.app import build_app
from tests.live.scene import Film, demo, until
from tests.live.test_recorder import INFO, frame, image, people, record_some

COUNT = 600


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    # Longer than the stretch between two frames that can be decoded by themselves (250).
    path = tmp_path_factory.mktemp("recording") / "v.mp4"
    record_some(path, COUNT)
    return Session(path)


def shown(source: ReplaySource) -> int:
    """Read a frame and return its number, which image, boxes and position must agree on."""
    given = source.read()
    item = source.recorded(given)
    assert given.pixels.mean() == pytest.approx(image(item.number).mean(), abs=4)
    assert item.detections.xyxy[0, 3] == pytest.approx(40 + item.number)
    assert source.state()["position_s"] == pytest.approx(item.number / 25)
    return item.number


def test_every_jump_shows_the_frame_of_that_moment_with_its_own_people(session: Session) -> None:
    source = ReplaySource(session, hold=True)
    assert shown(source) == 0
    assert source.state()["duration_s"] == pytest.approx((COUNT - 1) / 25)
    for second, number in ((8.0, 200), (23.0, 575), (10.41, 260), (0.0, 0), (1e6, COUNT - 1)):
        source.play(pause=True, seek_s=second)
        assert shown(source) == number
    for step, number in ((-1, COUNT - 2), (-1, COUNT - 3), (1, COUNT - 2), (1, COUNT - 1), (1, COUNT - 1)):
        source.play(step=step)
        assert shown(source) == number
    assert source.state()["paused"]


def test_steps_pressed_faster_than_frames_are_read_all_count(session: Session) -> None:
    source = ReplaySource(session, hold=True)
    shown(source)
    for _ in range(5):
        source.play(step=1)
    source.play(step=-1)
    assert shown(source) == 4


@pytest.mark.alone
def test_speed_holds_and_the_end_is_held_until_a_jump(session: Session) -> None:
    source = ReplaySource(session, hold=True)
    source.play(speed=4, seek_s=(COUNT - 21) / 25)
    begun = time.monotonic()
    times = [source.read().pts_s for _ in range(21)]
    assert time.monotonic() - begun == pytest.approx(20 / 25 / 4, abs=0.15)
    source.play(pause=True, seek_s=0)
    times.append(source.read().pts_s)
    assert all(np.diff(times) > 0)
    source.close()
    with pytest.raises(EndOfStream):
        source.read()


def test_a_replay_pauses_ends_and_shows_the_states_recorded(tmp_path: Path) -> None:
    bare = Detections(np.array([[5, 6, 20, 30]], np.float32), np.array([0.4], np.float32))
    held = replace(people(5), score=np.array([0.1], np.float32))
    wearers = [{"xyxy": [1.0, 2.0, 30.0, 40.0], "state": "hidden", "person": -1, "score": 0.1}]
    info = {**INFO, "bare": persons_of(bare), "wearers": wearers, "bare_wearers": wearers, "panes": 2}
    recorder = Recorder(tmp_path / "v.mp4", RecordSettings(clean=True))
    for i in range(10):
        recorder.write(frame(i), np.hstack([image(i)] * 2), held, info, wait=True)
    recorder.close()
    replay = Replay(Session(tmp_path / "v.mp4"), loop=1)
    replay.start()
    replay.play(pause=True, seek_s=0.2)
    until(lambda: replay.latest is not None and replay.state()["replay"]["position_s"] == pytest.approx(0.2))
    now = replay.latest
    assert now is not None and now.hiding is not None and now.bare is not None and now.people.held is not None
    # Held then, and not above the threshold that a replay would have without looking.
    assert now.people.held.tolist() == [True]
    assert (now.hiding.count, now.hiding.hidden, now.worn, now.defences) == (1, 1, "webcam", ("lgs",))
    assert now.bare.xyxy.tolist() == [[5, 6, 20, 30]]
    time.sleep(1.3)
    assert replay.state()["source"]["state"] == "live"
    assert not replay.over
    # Of another threshold than the recorded one the states would contradict the boxes.
    replay.control(conf=0.95)
    replay.play(step=1)
    until(lambda: replay.latest is not None and replay.latest.wearers is None)
    replay.play(pause=False, speed=4)
    until(lambda: replay.over)
    replay.play(seek_s=0)
    until(lambda: not replay.over)
    replay.stop()
    assert replay.error is None


def test_an_annotated_replay_has_the_recorded_threshold_both_answers_and_this_rounds_alerts(tmp_path: Path) -> None:
    wearers = [{"xyxy": [1.0, 2.0, 30.0, 40.0], "state": "hidden", "person": -1, "score": 0.1}]
    bare = Detections(np.array([[5, 6, 20, 30]], np.float32), np.array([0.6], np.float32))
    info = {**INFO, "bare": persons_of(bare), "wearers": wearers, "bare_wearers": wearers, "panes": 2, "conf": 0.4}
    info["defences"] = ["lgs", "persistence"]
    session = {"controls": Controls(conf=0.4).model_dump()}
    worn = {"worn": "chest-v3", "worn_cm": 48.0, "worn_angle": 45.0, "worn_lit": False}
    recorder = Recorder(tmp_path / "v.mp4", RecordSettings(clean=False), session)
    for i in range(10):
        recorder.write(frame(i), np.hstack([image(i)] * 2), people(i), {**info, **worn}, wait=True)
    recorder.close()
    replay = Replay(Session(tmp_path / "v.mp4"), loop=2)
    assert replay.controls.conf == 0.4
    seen: list[Shown] = []
    replay.subscribe(seen.append)
    replay.start()
    until(lambda: replay.over and len(seen) == 20)
    now = seen[-1]
    assert now.bare is not None and now.bare_hiding is not None and now.bare_hiding.hidden == 1
    assert (now.controls.conf, now.worn_cm, now.bare.xyxy.tolist()) == (0.4, 48.0, [[5, 6, 20, 30]])
    assert (now.worn, now.worn_angle, now.worn_lit) == ("chest-v3", 45.0, False)
    assert (
        replay.player.state()["recorded"]["wear_angle"] == 45 and replay.player.state()["recorded"]["wear_lit"] is False
    )
    (said,) = (n for n in replay.notices.newest() if n.kind == "pattern")
    assert said.count == 1 and said.text == "the pattern chest-v3 is no longer shipped: webcam took its place"
    # The marks are in the video: none is drawn again, no pane added.
    assert now.frame.size == (128, 48) and np.array_equal(now.annotated, now.frame.pixels)
    assert not replay.state()["warm_start"]["offer"]
    assert [n.count for n in replay.notices.newest() if n.kind == "vanished"] == [10]
    replay.stop()
    assert replay.error is None


def test_a_live_demo_is_not_played() -> None:
    running = demo(Film(3))
    answer = TestClient(build_app(running), base_url="http://127.0.0.1:8000").post("/api/replay", json={"pause": True})
    assert answer.status_code == 422 and "this demo is live" in answer.json()["error"]
    running.stop()
