"""`physadv replay`: the page of a recording, and what it refuses."""

import urllib.request
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from physadv.cli import main
from physadv.errors import SettingsError
from physadv.live.replay import Replay
from physadv.live.session import Session
from physadv.live.shown import Shown
from physadv.web.app import build_app
from tests.live.test_recorder import record_some


def test_the_page_of_a_recording_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_some(tmp_path / "v.mp4", 5)
    answers: list[int] = []
    wait = Replay.wait

    def look(self: Replay, timeout: float | None = None) -> bool:
        if not answers:
            answers.append(urllib.request.urlopen(started[0], timeout=5).status)
        return wait(self, timeout)

    started: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text, **_: started.append(text.split()[-1]))
    monkeypatch.setattr(Replay, "wait", look)
    assert main(["replay", str(tmp_path), "--port", "0", "--seconds", "1"]) == 0
    assert answers == [200]


def test_replay_shows_what_was_seen_and_refuses_what_would_be_untrue(tmp_path: Path) -> None:
    record_some(tmp_path / "v.mp4", 8)
    demo = Replay(Session(tmp_path / "v.mp4"), loop=1)
    shown: list[Shown] = []
    demo.subscribe(shown.append)
    demo.start()
    for refused in ({"wear": "webcam"}, {"defend": "lgs"}):
        with pytest.raises(SettingsError, match="a recording shows what was found then"):
            demo.control(**refused)
    page = TestClient(build_app(demo), base_url="http://127.0.0.1:8000")
    for path, body in (
        ("source", {"spec": "sample"}),
        ("detector", {"name": "yolo11n-pose"}),
        ("warm-start", {}),
        ("defences/measure", {}),
    ):
        answer = page.post(f"/api/{path}", json=body)
        assert (answer.status_code, answer.json()["error"]) == (
            422, "a recording is being shown; use `physadv live`",
        ), path  # fmt: skip
    assert demo.control(conf=0.5).conf == 0.5
    while not shown or shown[-1].clean.index < 7:
        assert not demo.wait(0.05) or shown[-1].clean.index == 7
    demo.stop()
    assert demo.error is None
    for item in shown:
        assert item.people.xyxy[0, 3] == pytest.approx(40 + item.clean.index)


def test_no_recording_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for where in ("nosuch.mp4", "nosuch.txt", "nosuch", "."):
        assert main(["replay", str(tmp_path / where)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
