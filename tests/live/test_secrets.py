"""A camera's password: it opens the camera, and is in nothing that anybody is shown, sent or left."""

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from tiny import BlobDetector

from physadv.cli import main
from physadv.cli.begun import BEGUN
from physadv.cli.calibrate_camera import CalibrateCameraVerb, _notes
from physadv.cli.train import TrainVerb, write_flags
from physadv.live.camera_demo import open_demo
from physadv.live.settings import LiveSettings
from physadv.web.app import build_app
from tests.live.scene import image, until
from tests.web.test_page import HERE, web_socket

SECRET, NAME = "hUnT3r:/#?", "aDm1n"
ESCAPED = "hUnT3r%3A%2F%23%3F"


class Locked(BaseHTTPRequestHandler):
    """A camera that shows its images to those who know its password, by header or in the query."""

    def do_GET(self) -> None:
        known = base64.b64encode(f"{NAME}:{SECRET}".encode()).decode()
        if self.headers.get("authorization") != f"Basic {known}" and f"pwd={ESCAPED}" not in self.path:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for number in range(10_000):
                body = cv2.imencode(".jpg", image(number))[1].tobytes()
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
                self.wfile.write(head + body + b"\r\n")
                time.sleep(0.03)
        except OSError:
            return

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Locked)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def leaks(text: str) -> list[str]:
    return [s for s in (SECRET, ESCAPED, "hUnT3r", NAME) if s in text]


def left_in(folder: Path) -> Iterator[str]:
    """Everything that files say, Parquet too, and what they are called."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield f"{path}\n{path.read_bytes().decode('latin-1')}"
            if path.suffix == ".parquet":
                yield str(pq.read_table(path).to_pylist())


def sent(client: TestClient) -> str:
    """Everything that the page can get of the demo."""
    paths = ("/api/state", "/api/options", "/api/recordings", "/api/patches", "/api/pages", "/api/calibrate/state")
    with web_socket(client, "/ws/frames") as socket:
        messages = [socket.receive() for _ in range(4)]
    return "\n".join([client.get(path).text for path in paths] + [str(m) for m in messages])


@pytest.mark.parametrize(
    "address", ["http://{name}:{secret}@127.0.0.1:{port}/auth", "http://127.0.0.1:{port}/video?pwd={secret}"]
)
def test_live_opens_the_camera_again_by_what_is_shown_of_it(
    address: str, port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    whole = address.format(name=NAME, secret=ESCAPED, port=port)
    shown = address.replace("{name}:{secret}@", "").format(port=port, secret="***")
    running = open_demo(
        LiveSettings(source=whole, ui="web", recordings=tmp_path, record=tmp_path / "v.mp4"), detector=BlobDetector()
    )
    running.start()
    with TestClient(build_app(running), base_url=HERE) as client:
        until(lambda: running.figures.frames > 2)
        seen = [sent(client)]
        assert client.get("/api/state").json()["source"]["spec"] == shown
        assert client.post("/api/source", json={"spec": "sample"}).json() == {"opening": "sample"}
        until(lambda: running.source_spec == "sample")
        # A wrong password for the same camera: it is said, and does not take the place of the right one.
        wrong = whole.replace("hUnT3r", "hUnT3rx")
        assert client.post("/api/source", json={"spec": wrong}).json() == {"opening": shown}
        until(lambda: running.notices.newest(), timeout=15)
        assert client.post("/api/source", json={"spec": shown}).json() == {"opening": shown}
        seen.append(client.get("/api/state").text)
        until(lambda: running.source_spec == shown)
        until(lambda: running.state()["source"]["state"] == "live")
        # A library's own words.
        running.notices.add("error", "source", f"OSError: {whole}: no such luck")
        seen.append(sent(client))
    running.stop()
    seen += [json.dumps(running.stats()), caplog.text, *capfd.readouterr(), *left_in(tmp_path)]
    assert json.loads((tmp_path / "v.session.json").read_text())["session"]["source"] == shown
    assert [leaks(text) for text in seen if leaks(text)] == []


UNREACHED = [
    "rtsp://aDm1n:hUnT3r@127.0.0.1:9/x",
    "rtsp://aDm1n:P@hUnT3r@127.0.0.1:9/x",
    "rtsp://127.0.0.1:9/user=a&Password=hUnT3r",
    "http://127.0.0.1:9/a.mp4?token=hUnT3r",
]


@pytest.mark.parametrize("url", UNREACHED)
@pytest.mark.parametrize(
    "argv",
    [
        "{}", "live {}", "live --sauce {}", "live --port {}", "live --host {}", "live --source {}" + "x" * 2000,
        "live --record {} --source 0", "live --imgsz {}", "live --detector {} --source sample --ui none", "live --wear {}",
        "live --camera {} --source sample", "live --config {}", "live --config CONFIG", "live --config BROKEN",
        "learn blocks --source {} --seconds .1 --out w.safetensors", "train --images {}", "train --source {} --images x",
        "calibrate camera --source {} --ui headless --seconds .1", "evaluate --video {}", "evaluate --images {}",
        "preview webcam --images {}", "replay {}", "show {}", "advise {}", "print {}", "evaluate --images x --out {}",
        "calibrate colour --photo {} --printer p --camera c",
    ],
)  # fmt: skip
def test_no_command_tells_a_secret(
    argv: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("CONFIG.yaml").write_text(f"source: '{url}'\nport: '{url}'\n")
    Path("BROKEN.yaml").write_text(f"source: '{url}'\nport: [{url}\n")
    words = argv.replace("CONFIG", "CONFIG.yaml").replace("BROKEN", "BROKEN.yaml").split()
    assert main([word.replace("{}", url) for word in words]) == 2
    out, err = capfd.readouterr()
    assert leaks(out + err) == []
    assert len(err.strip().splitlines()) == 1, err
    for own in ("CONFIG.yaml", "BROKEN.yaml"):
        Path(own).unlink()
    assert [leaks(text) for text in left_in(tmp_path) if leaks(text)] == []


def test_the_flags_with_which_a_run_can_be_resumed_hold_no_password(tmp_path: Path) -> None:
    # As is what a camera's profile keeps of where its images came from.
    notes = _notes(CalibrateCameraVerb(source="rtsp://aDm1n:hUnT3r@127.0.0.1:9/x"))
    assert notes["source"] == "rtsp://127.0.0.1:9/x"
    write_flags(TrainVerb(source="rtsp://aDm1n:hUnT3r@127.0.0.1:9/x", out=tmp_path), None)
    begun = (tmp_path / BEGUN).read_text()
    assert json.loads(begun)["source"] == "rtsp://127.0.0.1:9/x"
    assert leaks(begun) == []
