"""What a client can do wrong: one line and a 4xx, or a close code and a reason; nothing in the log."""

import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from physadv.live.demo import Demo
from physadv.web.app import build_app
from physadv.web.faults import MAX_REASON, Faults, answered
from physadv.web.gate import MAX_DEPTH, MAX_JSON, depth
from tests.web.test_page import HERE, jpeg, web_socket


@pytest.fixture
def client(running: Demo, caplog: pytest.LogCaptureFixture) -> Iterator[TestClient]:
    # Errors come back as answers, as they do from a server.
    with TestClient(build_app(running), base_url=HERE, raise_server_exceptions=False) as out:
        yield out
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING], caplog.text


def nested(levels: int) -> bytes:
    return b'{"conf": ' + b"[" * levels + b"]" * levels + b"}"


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (b'{"self": 1}', JSON, 422, "self"),
        (b'{"changes": {"conf": 1}}', JSON, 422, "changes"),
        (b'{"\\ud800": 1}', JSON, 422, "valid string"),
        (b'{"defend": "\\ud800"}', JSON, 422, "Defences: expected a valid string"),
        (nested(MAX_DEPTH), JSON, 400, "nested"),
        (nested(90_000), JSON, 400, "nested"),
        (b"{" * 100, JSON, 400, "nested"),
        (b"{not json", JSON, 400, "not JSON"),
        (b'{"conf": ' + b"9" * 5000 + b"}", JSON, 400, "parsing the body"),
        (b"[1, 2]", JSON, 422, "dictionary"),
        (b'"conf"', JSON, 422, "dictionary"),
        (b'{"conf": 0.5}', {"content-type": "text/plain"}, 415, "application/json"),
        (b'{"conf": 0.5}', {}, 415, "application/json"),
        (b"conf=0.5", {"content-type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        (b"\xff\xfe\x00", {"content-type": "\xff\x00;;="}, 415, "application/json"),
        (b'{"conf": "' + b"x" * MAX_JSON + b'"}', JSON, 413, "larger than"),
        (b"{}", {**JSON, "content-length": "9" * 5000}, 413, "larger than"),
        (b'{"wear": "' + b"x" * 9000 + b'"}', JSON, 422, "no pattern named"),
    ],
)
def test_a_body_that_cannot_be_taken_is_said_in_one_line(
    client: TestClient, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    answer = client.post("/api/controls", content=body, headers={k: v.encode("latin-1") for k, v in headers.items()})
    text = answer.json()["error"]
    assert (answer.status_code, says in text) == (status, True), text
    assert "\n" not in text
    assert len(text) <= 500


def test_brackets_in_strings_do_not_count_as_nesting(client: TestClient) -> None:
    assert depth(b'{"a": "[[[[\\"[[", "b": [[1]]}') == 3
    assert depth(b'{"a": "[[[[') == 1
    answer = client.post("/api/controls", json={"wear": '[{"' * 20})
    assert answer.status_code == 422
    assert "no pattern named" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404), ("/static/nothing", 404), ("/static/..%2f..%2fapp.py", 404), ("/static/%00", 404),
        ("/static/" + "a" * 5000, 404), ("/api/recordings/%00.mp4", 422), ("/api/patches/thumbnail", 422),
        ("/api/patches/thumbnail?name=%00%ff", 422), ("/api/world.jpg?strength=nan", 422),
        ("/api/print/file?pattern=%ed%a0%80", 422), ("/api/state?token=%ff%fe", 200),
    ],
)  # fmt: skip
def test_paths_and_queries_that_lead_nowhere(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_a_method_that_is_not_there_is_said_with_those_that_are(client: TestClient) -> None:
    answer = client.delete("/api/controls")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("host", ["[", "[::1", "]", "[::1]x", "a b", "127.0.0.1:80:80", "127.0.0.1@evil", "", "\xff"])
def test_a_host_that_is_none_is_refused(client: TestClient, running: Demo, host: str) -> None:
    header = {"host": host.encode("latin-1")}
    assert client.get("/api/state", headers=header).status_code == 403
    with pytest.raises(WebSocketDisconnect) as refused, web_socket(client, "/ws/frames", headers=header):
        pass
    assert refused.value.code == 4403
    # Where a token is needed, that is what is said, whatever else is wrong.
    locked = TestClient(build_app(running, token="open sesame"), base_url=HERE, raise_server_exceptions=False)
    assert locked.get("/api/state", headers=header).status_code == 401
    assert locked.post("/api/controls", content=nested(500), headers={**header, **JSON}).status_code == 401


@pytest.mark.parametrize("origin", ["http://[", "null", "http://127.0.0.1:8000@evil", "\xff", "http://"])
def test_an_origin_that_is_none_is_refused(client: TestClient, origin: str) -> None:
    header = {"origin": origin.encode("latin-1")}
    assert client.post("/api/controls", json={}, headers=header).status_code == 403


@pytest.mark.parametrize(
    "cookie", ["physadv_token", "physadv_token=%ff", '=; "', "a=[;\xff", "physadv_token=" + "x" * 9000]
)
def test_a_cookie_that_is_none_lets_nobody_in(running: Demo, cookie: str) -> None:
    locked = TestClient(build_app(running, token="open sesame"), base_url=HERE)
    assert locked.get("/api/state", headers={"cookie": cookie.encode("latin-1")}).status_code == 401


def ended(socket: Any) -> WebSocketDisconnect:
    """How a socket ends, after whatever comes before."""
    while (message := socket.receive())["type"] != "websocket.close":
        pass
    return WebSocketDisconnect(message["code"], message["reason"])


@pytest.mark.parametrize(
    "message", ["not json", "[1]", "7", "[" * 400, '{"ack":' + "1" * 600 + "}", b"bytes"], ids=lambda m: repr(m)[:12]
)
def test_what_is_no_acknowledgement_ends_the_socket_with_the_reason(client: TestClient, message: str | bytes) -> None:
    with web_socket(client, "/ws/frames") as socket:
        (socket.send_bytes if isinstance(message, bytes) else socket.send_text)(message)
        end = ended(socket)
    assert end.code == 4422
    assert "expected" in end.reason


@pytest.mark.parametrize(
    "message", ['{"ack": true}', '{"ack": 1e999}', '{"seen": 3}', "{}", '{"ack": -' + "9" * 400 + "}"]
)
def test_an_acknowledgement_of_nothing_changes_nothing(client: TestClient, message: str) -> None:
    with web_socket(client, "/ws/frames") as socket:
        socket.send_text(message)
        socket.send_text(json.dumps({"ack": 0}))
        assert socket.receive()["type"] == "websocket.send"


@pytest.mark.parametrize(
    "message", ["text", b"", b"12345678abc", struct.pack("<d", float("nan")) + b"\xff\xd8\xff\xd9"]
)
def test_what_is_no_image_ends_the_cameras_socket(client: TestClient, message: str | bytes) -> None:
    with web_socket(client, "/ws/camera") as socket:
        (socket.send_bytes if isinstance(message, bytes) else socket.send_text)(message)
        assert ended(socket).code == 4422


def test_viewers_and_cameras_that_leave_at_any_moment_leave_no_trace(client: TestClient) -> None:
    for _ in range(5):
        with web_socket(client, "/ws/frames"):
            pass
        with web_socket(client, "/ws/frames") as socket:
            socket.receive()
        with web_socket(client, "/ws/camera") as socket:
            socket.send_bytes(struct.pack("<d", 1.0) + jpeg())
    assert client.get("/api/state").status_code == 200


def test_a_fault_of_ours_is_logged_and_answered_with_500(caplog: pytest.LogCaptureFixture) -> None:
    app, router = FastAPI(), APIRouter()

    @router.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("no such luck")

    @router.websocket("/broken")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        raise ZeroDivisionError("no such luck either")

    app.include_router(router)
    app.add_exception_handler(Exception, answered)
    client = TestClient(Faults(app), raise_server_exceptions=False)
    answer = client.get("/broken")
    assert (answer.status_code, "ZeroDivisionError" in answer.json()["error"]) == (500, True)
    with client.websocket_connect("/broken") as session:
        assert ended(session).code == 1011
    assert caplog.text.count("Traceback") == 2


def test_a_reason_for_closing_fits_a_close_frame(tmp_path: Path) -> None:
    long = "ü" * 300

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise OSError(5, long)

    with TestClient(Faults(app)).websocket_connect("/x") as session:
        reason = ended(session).reason
    assert MAX_REASON - 2 <= len(reason.encode()) <= MAX_REASON
