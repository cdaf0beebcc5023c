"""The page's server without a browser: who is let in, what is taken, what is refused, what a viewer is sent."""

import errno
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from physadv.capture.browser import BrowserSource
from physadv.defend import DEFENCES
from physadv.live.demo import Demo
from physadv.live.library import MAX_UPLOADS
from physadv.live.replay import Replay
from physadv.live.session import Session
from physadv.patch import shipped_names
from physadv.web.app import build_app
from physadv.web.stream import APART_S, Packet, Viewer, encode
from tests.live.scene import Camera, demo, image, until
from tests.live.test_recorder import record_some

HERE = "http://127.0.0.1:8000"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Demo]:
    out = demo(Camera(fps=40), ui="web", recordings=tmp_path)
    out.start()
    until(lambda: out.latest is not None)
    yield out
    out.stop()


@pytest.fixture
def client(running: Demo) -> Iterator[TestClient]:
    # As a context: one event loop for everything, as a server has.
    with TestClient(build_app(running), base_url=HERE) as out:
        yield out


def web_socket(client: TestClient, path: str, **options: Any) -> Any:
    return client.websocket_connect(str(client.base_url).replace("http", "ws", 1).rstrip("/") + path, **options)


def png(width: int = 32, height: int = 32) -> bytes:
    out = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    rest = data[4 + length :]
    return header, rest[: header["jpeg"]], rest[header["jpeg"] :]


def next_image(socket: Any) -> tuple[dict[str, Any], bytes, bytes]:
    while True:
        message = socket.receive()
        if message.get("bytes"):
            return unpack(message["bytes"])


def test_images_come_with_their_people_and_are_acknowledged(client: TestClient) -> None:
    with web_socket(client, "/ws/frames") as socket:
        numbers = []
        for _ in range(5):
            header, jpeg, _ = next_image(socket)
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            assert image.shape[:2] == (header["h"], header["w"]) == (240, 320)
            assert len(header["people"]) == 1
            assert len(header["people"][0]["points"]) == 51
            numbers.append(header["n"])
            socket.send_text(json.dumps({"ack": header["n"]}))
        assert numbers == sorted(set(numbers))


def test_who_does_not_acknowledge_gets_two_images_and_the_state_goes_on(client: TestClient, running: Demo) -> None:
    with web_socket(client, "/ws/frames") as slow:
        images = states = 0
        while states < 6:
            message = slow.receive()
            images += bool(message.get("bytes"))
            states += bool(message.get("text"))
        assert images == 2
        newest = running.figures.frames
        slow.send_text(json.dumps({"ack": 10**9}))
        # What comes after the pause is new, not what was left waiting.
        assert next_image(slow)[0]["n"] >= newest - 2


def test_nothing_is_encoded_for_viewers_that_are_behind(
    client: TestClient, running: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []

    def counted(shown: Any, *more: Any) -> Packet:
        encoded.append(shown.number)
        return encode(shown, *more)

    monkeypatch.setattr("physadv.web.stream.encode", counted)
    with web_socket(client, "/ws/frames") as slow:
        states = 0
        while states < 6:
            states += bool(slow.receive().get("text"))
        assert len(encoded) == 2 < running.figures.frames
        slow.send_text(json.dumps({"ack": 10**9}))
        next_image(slow)
        next_image(slow)
        assert 3 <= len(encoded) <= 5
    assert encoded == sorted(set(encoded))


def test_a_camera_of_many_images_a_second_is_not_encoded_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []

    def counted(*args: Any) -> Packet:
        begun.append(time.monotonic())
        return encode(*args)

    monkeypatch.setattr("physadv.web.stream.encode", counted)
    fast = demo(Camera(fps=250), ui="web")
    fast.start()
    with TestClient(build_app(fast), base_url=HERE) as client, web_socket(client, "/ws/frames") as socket:
        for _ in range(25):
            socket.send_text(json.dumps({"ack": next_image(socket)[0]["n"]}))
    fast.stop()
    # A busy machine may begin the first one late, and any pause is longer than asked for.
    assert begun[24] - begun[0] >= 0.7 * 24 * APART_S


def test_images_are_as_wide_as_the_page_shows_them_and_boxes_stay(client: TestClient) -> None:
    with web_socket(client, "/ws/frames") as socket:
        socket.send_text(json.dumps({"width": 200}))
        for _ in range(20):
            header, jpeg, _ = next_image(socket)
            socket.send_text(json.dumps({"ack": header["n"]}))
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            if image is not None and image.shape[1] == 200:
                break
        assert image is not None and image.shape[:2] == (150, 200)
        assert (header["w"], header["h"]) == (320, 240)
        assert 90 < header["people"][0]["box"][0] < 150
        # Nobody can ask for no image at all, or one larger than there is.
        for width in (-5, 10**9):
            socket.send_text(json.dumps({"width": width}))
            for _ in range(4):
                header, jpeg, _ = next_image(socket)
                socket.send_text(json.dumps({"ack": header["n"]}))
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None and image.shape[1] == (160 if width < 0 else 320)


def test_a_image_older_than_its_viewer_does_not_count_as_slow() -> None:
    viewer = Viewer()
    packet = Packet(7, b"", viewer.joined_ns - 10**11)
    assert viewer.next(packet) is packet
    viewer.acknowledge(7)
    median = viewer.latency.percentile(50, time.monotonic())
    assert median is not None and median < 10_000


def test_a_slow_viewer_slows_neither_the_loop_nor_another_viewer(client: TestClient, running: Demo) -> None:
    with web_socket(client, "/ws/frames"), web_socket(client, "/ws/frames") as quick:
        before = running.figures.frames
        got = 0
        while running.figures.frames < before + 40:
            header, _, _ = next_image(quick)
            quick.send_text(json.dumps({"ack": header["n"]}))
            got += 1
        assert got > 20


def test_the_defended_view_has_both_answers_and_what_was_given(client: TestClient) -> None:
    assert client.post("/api/controls", json={"defend": "median"}).status_code == 200
    with web_socket(client, "/ws/frames") as socket:
        socket.send_text(json.dumps({"seen": True}))
        for _ in range(200):
            header, _, seen = next_image(socket)
            socket.send_text(json.dumps({"ack": header["n"]}))
            if seen:
                break
        assert header["defences"] == ["median"]
        assert len(header["bare"]) == 1
        assert cv2.imdecode(np.frombuffer(seen, np.uint8), cv2.IMREAD_COLOR) is not None


def test_options_describe_every_defence(client: TestClient) -> None:
    options = client.get("/api/options").json()
    assert [d["name"] for d in options["defences"]] == list(DEFENCES)
    for defence in options["defences"]:
        assert defence["title"]
        for name, schema in defence["parameters"].items():
            assert "default" in schema, f"{defence['name']}.{name} has no default to show"
    assert any(s["spec"] == "sample" for s in options["sources"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"conf": 2}, "Confidence threshold"),
        ({"conf": None}, "Confidence threshold"),
        ({"defend": "nonsense"}, "nonsense"),
        ({"wear": "nobody"}, "nobody"),
        ({"unknown": 1}, "unknown"),
        ({"wear_size": -3}, "Printed width"),
        ({"wear": "street-portrait", "wear_size": 80}, "Printed width: a print 160 cm high is longer than"),
    ],
)
def test_impossible_controls_are_refused_in_one_line(client: TestClient, changes: dict[str, Any], says: str) -> None:
    answer = client.post("/api/controls", json=changes)
    assert answer.status_code == 422
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_what_fails_in_the_background_is_reported_in_the_words_of_the_page(client: TestClient) -> None:
    client.post("/api/source", json={"spec": "nothing.mp4"})
    with web_socket(client, "/ws/frames") as socket:
        for _ in range(100):
            message = socket.receive()
            notices = json.loads(message["text"])["notices"] if message.get("text") else []
            if notices:
                break
        assert notices[0]["text"].startswith("Source: expected") and "nothing.mp4" in notices[0]["text"]


def test_a_nan_in_the_body_is_refused(client: TestClient) -> None:
    answer = client.post("/api/controls", content=b'{"conf": NaN}', headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_patterns_come_with_their_size_and_in_order(client: TestClient) -> None:
    for name in ("tshirt", "webcam", "chest-v1"):
        client.get("/api/patches/thumbnail", params={"name": name})
    client.post("/api/patches?name=mine.png", content=png())
    found = client.get("/api/patches").json()
    assert [p["name"] for p in found] == ["mine", *shipped_names()]
    assert [p["name"] for p in found if p["own"]] == ["mine"]
    by_name = {p["name"]: p for p in found}
    assert by_name["webcam"]["size_mm"][0] == 480
    assert [by_name[n]["widest_cm"] for n in ("webcam", "street-portrait", "poster")] == [139, 69, 300]
    assert by_name["tshirt"]["target"] == "tshirt"


def test_an_uploaded_pattern_can_be_worn(client: TestClient, running: Demo) -> None:
    name = client.post("/api/patches?name=mine.png", content=png()).json()["name"]
    assert name == "mine"
    assert client.get("/api/patches/thumbnail", params={"name": name}).headers["content-type"] == "image/png"
    assert client.post("/api/controls", json={"wear": name}).status_code == 200
    until(lambda: running.latest is not None and running.latest.worn == name)


def test_the_controls_of_somebody_who_wears_an_old_upload_still_work(client: TestClient, running: Demo) -> None:
    name = client.post("/api/patches?name=mine.png", content=png()).json()["name"]
    client.post("/api/controls", json={"wear": name})
    for side in range(33, 33 + MAX_UPLOADS):
        assert client.post("/api/patches?name=other.png", content=png(side, side)).status_code == 200
    assert client.post("/api/controls", json={"conf": 0.4}).status_code == 200
    assert running.library.get(name) is not None


def big_png() -> bytes:
    """A small file whose header promises 20,000 x 20,000 pixels."""
    data = bytearray(png())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "empty"), (b"not an image", "not an image"), (big_png(), "pixels"), (b"\x89PNG" + bytes(11_000_000), "MB")],
    ids=["empty", "text", "20,000 pixels", "11 MB"],
)
def test_uploads_that_are_no_patterns_are_refused(client: TestClient, data: bytes, says: str) -> None:
    answer = client.post("/api/patches?name=x.png", content=data)
    assert answer.status_code == 422
    assert says in answer.json()["error"]


def test_a_body_beyond_the_bound_is_cut_off(client: TestClient) -> None:
    assert client.post("/api/patches", content=bytes(13_000_000)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(100_000)

    answer = client.post("/api/patches", content=endless())
    assert answer.status_code in (400, 413, 422)


def test_recording_and_download(client: TestClient, running: Demo) -> None:
    name = client.post("/api/recording", json={"on": True}).json()["name"]
    assert "already recording" in client.post("/api/recording", json={"on": True}).json()["error"]
    until(lambda: running.state()["recording"]["written"] > 5)
    assert client.post("/api/recording", json={"on": False}).json() == {"on": False, "name": name}
    assert name in [r["name"] for r in client.get("/api/recordings").json()]
    assert client.get(f"/api/recordings/{name}").content[4:8] == b"ftyp"
    for other in ("..%2Fsecret.mp4", "nothing.mp4", "%2Fetc%2Fpasswd"):
        assert client.get(f"/api/recordings/{other}").status_code in (404, 422)


def test_links_out_of_the_folder_of_recordings_are_neither_listed_nor_sent(client: TestClient, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    for name in ("secret.mp4", "secret.jsonl"):
        (elsewhere / name).write_text("not yours")
    (tmp_path / "own.mp4").write_text("a video")
    for link, to in (("a.mp4", "secret.mp4"), ("own.jsonl", "secret.jsonl"), ("own.clean.mp4", "secret.mp4")):
        (tmp_path / link).symlink_to(elsewhere / to)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "gone.mp4").symlink_to(elsewhere / "nothing")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert client.get("/api/recordings").json() == [{"name": "own.mp4", "bytes": 7, "clean": None, "data": None}]
    assert client.get("/api/recordings/own.mp4").text == "a video"
    for link in ("a.mp4", "own.jsonl", "own.clean.mp4", "folder.mp4", "gone.mp4", "pipe.mp4"):
        answer = client.get(f"/api/recordings/{link}")
        assert (answer.status_code, answer.json()["error"]) == (422, f"{link}: no such recording")


def test_the_page_offers_and_takes_no_detector_but_the_command_lines_and_the_caches(
    running: Demo, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "yolo11s.pt").write_bytes(b"weights")
    (evil := tmp_path / "evil.pt").write_bytes(b"weights")
    loaded: list[str] = []
    monkeypatch.setattr(running, "switch_detector", lambda name, *_: loaded.append(name))
    offered = client.get("/api/options").json()["detectors"]
    assert [d["name"] for d in offered] == ["yolo11n-pose", "yolo11s.pt"]
    for name in (str(evil), "../evil.pt", "yolo12n.pt", f"{tmp_path}/cache/weights/yolo11s.pt", "\0"):
        answer = client.post("/api/detector", json={"name": name})
        assert (answer.status_code, answer.json()["field"]) == (422, "detector"), name
        assert answer.json()["error"].startswith("Detector: expected one of yolo11n-pose, yolo11s.pt, got")
    assert client.post("/api/detector", json={"name": "yolo11s.pt"}).json() == {"loading": "yolo11s.pt"}
    assert loaded == ["yolo11s.pt"]


def test_a_folder_that_cannot_be_written_is_said_in_one_line(client: TestClient, tmp_path: Path) -> None:
    tmp_path.rmdir()
    tmp_path.write_text("a file, not a folder")
    answer = client.post("/api/recording", json={"on": True})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"{tmp_path}: ") and "recordings" in answer.json()["error"]


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [(errno.ENOSPC, 507, "x.mp4: No space left on device"), (errno.EACCES, 422, "x.mp4: Permission denied")],
)
def test_what_cannot_be_written_is_said_in_one_line(
    client: TestClient, running: Demo, monkeypatch: pytest.MonkeyPatch, code: int, status: int, says: str
) -> None:
    def refused(**_: Any) -> Path:
        raise OSError(code, os.strerror(code), "x.mp4")

    monkeypatch.setattr(running, "start_recording", refused)
    answer = client.post("/api/recording", json={"on": True})
    assert (answer.status_code, answer.json()) == (status, {"error": says})


def test_a_recording_is_listed_with_its_untouched_video_and_data(client: TestClient, running: Demo) -> None:
    name = client.post("/api/recording", json={"on": True, "clean": True}).json()["name"]
    assert running.state()["recording"]["clean"] is True
    until(lambda: running.state()["recording"]["written"] > 5)
    assert client.get("/api/recordings").json() == []
    client.post("/api/recording", json={"on": False})
    (one,) = client.get("/api/recordings").json()
    stem = name.removesuffix(".mp4")
    assert [one["name"], one["clean"], one["data"]] == [name, f"{stem}.clean.mp4", f"{stem}.jsonl"]
    assert client.get(f"/api/recordings/{one['clean']}").content[4:8] == b"ftyp"
    assert json.loads(client.get(f"/api/recordings/{one['data']}").text.splitlines()[0])


def test_a_snapshot_shows_both_panes_side_by_side(client: TestClient, running: Demo) -> None:
    client.post("/api/controls", json={"defend": "median"})
    until(lambda: running.latest is not None and running.latest.bare is not None)
    image = cv2.imdecode(np.frombuffer(client.get("/api/snapshot.png").content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (240, 640, 3)


def test_what_persistence_has_to_say_is_written_on_the_image(client: TestClient) -> None:
    assert client.post("/api/controls", json={"defend": "persistence"}).status_code == 200
    with web_socket(client, "/ws/frames") as socket:
        for _ in range(40):
            header, _, _ = next_image(socket)
            socket.send_text(json.dumps({"ack": header["n"]}))
            if header["defences"]:
                break
        assert header["alarm"]["kind"] == "notice"
        assert "people it has already seen" in header["alarm"]["text"]


def test_the_simulated_world_is_drawn_of_the_worn_pattern_once_a_second(client: TestClient, running: Demo) -> None:
    answer = client.get("/api/world.jpg")
    assert answer.status_code == 422
    assert "no pattern is worn" in answer.json()["error"]
    name = client.post("/api/patches?name=mine.png", content=png()).json()["name"]
    client.post("/api/controls", json={"wear": name})
    until(lambda: running.latest is not None and running.latest.worn == name)
    drawn = client.get("/api/world.jpg", params={"strength": 0.5, "columns": 4, "seed": 3})
    assert drawn.status_code == 200
    sheet = cv2.imdecode(np.frombuffer(drawn.content, np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    assert sheet.shape == (3 * 194 - 2, 4 * 194 - 2, 3)
    hidden, of, views = drawn.headers["x-hidden"].split()
    assert (of, views) == ("of", "12")
    assert 0 <= int(hidden) <= 12
    assert client.get("/api/world.jpg").status_code == 204
    assert client.get("/api/world.jpg", params={"strength": 7}).status_code == 422


def test_a_snapshot_is_the_annotated_image(client: TestClient) -> None:
    shot = cv2.imdecode(np.frombuffer(client.get("/api/snapshot.png").content, np.uint8), cv2.IMREAD_COLOR)
    assert shot is not None
    assert shot.shape == (240, 320, 3)
    assert not (shot == image(0)[..., ::-1]).all()


def jpeg() -> bytes:
    return cv2.imencode(".jpg", image(7))[1].tobytes()


def test_the_visitors_camera_becomes_the_source(client: TestClient, running: Demo) -> None:
    with web_socket(client, "/ws/camera") as socket:
        number = count()

        def live() -> bool:
            # It goes on sending, as a camera does: an image that came a second ago is stale.
            socket.send_bytes(struct.pack("<d", next(number) * 33.0) + jpeg())
            assert socket.receive_text() == "ok"
            return running.source_spec == BrowserSource.name and running.state()["source"]["state"] == "live"

        until(live)


def test_a_camera_that_sends_no_jpeg_is_closed_with_the_reason(client: TestClient) -> None:
    with web_socket(client, "/ws/camera") as socket:
        socket.send_bytes(bytes(100))
        with pytest.raises(WebSocketDisconnect) as raised:
            socket.receive_text()
        assert "JPEG" in raised.value.reason


def test_a_camera_that_cannot_be_the_source_is_closed_with_the_reason(tmp_path: Path) -> None:
    record_some(tmp_path / "v.mp4", 5)
    replay = Replay(Session(tmp_path / "v.mp4"), loop=1)
    with TestClient(build_app(replay), base_url=HERE) as client, web_socket(client, "/ws/camera") as socket:
        with pytest.raises(WebSocketDisconnect) as raised:
            socket.receive_text()
        assert raised.value.code == 4422
        assert "a recording is being shown" in raised.value.reason


# Who is let in


def test_another_name_for_this_machine_is_refused(running: Demo) -> None:
    evil = TestClient(build_app(running), base_url="http://evil.example:8000")
    assert evil.get("/api/state").status_code == 403
    with pytest.raises(WebSocketDisconnect), web_socket(evil, "/ws/frames"):
        pass


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9999", "null"])
def test_requests_from_other_sites_pages_are_refused(client: TestClient, origin: str) -> None:
    head = {"origin": origin}
    assert client.post("/api/controls", json={"conf": 0.5}, headers=head).status_code == 403
    for path in ("/ws/frames", "/ws/camera"):
        with pytest.raises(WebSocketDisconnect), web_socket(client, path, headers=head):
            pass


def test_the_pages_own_origin_is_taken(client: TestClient) -> None:
    assert client.post("/api/controls", json={"conf": 0.5}, headers={"origin": HERE}).status_code == 200


def test_a_token_is_needed_where_one_is_set(running: Demo) -> None:
    app = build_app(running, token="open sesame")
    base = "http://192.168.1.5:8000"
    assert TestClient(app, base_url=base).get("/api/state").status_code == 401
    assert TestClient(app, base_url=base).get("/api/state?token=wrong").status_code == 401
    with pytest.raises(WebSocketDisconnect), web_socket(TestClient(app, base_url=base), "/ws/frames"):
        pass
    known = TestClient(app, base_url=base)
    assert known.get("/?token=open sesame").status_code == 200
    # From here on the cookie speaks.
    assert known.get("/api/state").status_code == 200
    with web_socket(known, "/ws/frames") as socket:
        assert next_image(socket)[1][:2] == b"\xff\xd8"
    bearer = TestClient(app, base_url=base, headers={"authorization": "Bearer open sesame"})
    assert bearer.get("/api/state").status_code == 200


def test_nothing_on_the_page_comes_from_elsewhere(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    static = Path(__file__).parents[2] / "physadv" / "web" / "static"
    for file in static.rglob("*"):
        if file.suffix in (".html", ".js", ".css"):
            text = file.read_text(encoding="utf-8")
            assert "https://" not in text, file
            assert "style=" not in text, f"{file}: refused by the content policy"


def test_every_page_in_the_header_answers(client: TestClient) -> None:
    for link in client.get("/api/pages").json():
        assert client.get(link["path"]).status_code == 200, link
