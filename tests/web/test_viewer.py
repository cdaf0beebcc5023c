"""The read-only link: what it shows, and that nothing can be changed or fetched through it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute
from starlette.websockets import WebSocketDisconnect

from physadv.errors import SettingsError
from physadv.live.demo import Demo
from physadv.web.app import PARTS, build_app, live_parts
from physadv.web.context import PageContext
from physadv.web.serve import Listener, PageServer
from tests.live.scene import Camera, demo
from tests.web.test_page import next_image, web_socket

OUTSIDE = "http://192.168.1.5:8000"
SEEN = ("/", "/favicon.ico", "/static/live.js", "/api/pages", "/api/options", "/api/state", "/api/patches",
        "/api/patches/thumbnail?name=webcam", "/api/patches/image?name=webcam", "/api/snapshot.png",
        "/api/tour?language=zh")  # fmt: skip


@pytest.fixture
def app(running: Demo) -> Any:
    return build_app(running, token="open sesame", viewer_token="look on")


def visitor(app: Any, token: str) -> TestClient:
    return TestClient(app, base_url=OUTSIDE, headers={"authorization": f"Bearer {token}"})


def test_a_viewer_sees_the_page_its_images_and_its_state(app: Any) -> None:
    with visitor(app, "look on") as viewer:
        assert {path: viewer.get(path).status_code for path in SEEN} == dict.fromkeys(SEEN, 200)
        assert viewer.get("/api/state").json()["viewer"] is True
        assert viewer.get("/api/options").json()["viewer_link"] is None
        assert [p["path"] for p in viewer.get("/api/pages").json()] == ["/"]
        # The tour is there to be read; none of its stops has anything to press.
        assert {len(stop["steps"]) for stop in viewer.get("/api/tour").json()["stops"]} == {1}
        with web_socket(viewer, "/ws/frames") as socket:
            assert next_image(socket)[1][:2] == b"\xff\xd8"


def test_a_controller_learns_that_it_may_change_things_and_gets_the_link(app: Any) -> None:
    with visitor(app, "open sesame") as owner:
        assert owner.get("/api/state").json()["viewer"] is False
        link = owner.get("/api/options").json()["viewer_link"]
        looking_on = TestClient(app, base_url=OUTSIDE)
        assert looking_on.get(link).status_code == 200
        # From here on the cookie speaks.
        assert looking_on.get("/api/state").json()["viewer"] is True


def test_whoever_opened_the_page_as_localhost_hands_on_an_address_that_others_reach(running: Demo) -> None:
    app = build_app(running, token="open sesame", viewer_token="look on", address="http://192.168.1.5:8000/")
    owner = {"authorization": "Bearer open sesame"}
    for base, link in (
        ("http://127.0.0.1:8000", "http://192.168.1.5:8000/?token=look%20on"),
        (OUTSIDE, "/?token=look%20on"),
    ):
        with TestClient(app, base_url=base, headers=owner) as client:
            assert client.get("/api/options").json()["viewer_link"] == link


def routes() -> Iterator[tuple[str, str]]:
    """Every route of every part, with a method."""

    def flat(found: list[BaseRoute]) -> Iterator[Any]:
        for route in found:
            yield from flat(route.routes) if hasattr(route, "routes") else [route]

    for part in (*PARTS, *live_parts()):
        for route in flat(part(PageContext(demo(Camera(), ui="web"))).routes):
            for method in getattr(route, "methods", None) or {"socket"}:
                yield method, route.path


def test_every_other_call_of_every_part_is_refused(app: Any, running: Demo, tmp_path: Path) -> None:
    before, seen = running.state(), {s.partition("?")[0] for s in SEEN}
    found = sorted(set(routes()))
    assert len(found) > 30
    with visitor(app, "look on") as viewer:
        for method, path in found:
            if (path in seen and method == "GET") or path == "/ws/frames":
                continue
            if method == "socket":
                with pytest.raises(WebSocketDisconnect) as refused, web_socket(viewer, path):
                    pass
                assert refused.value.code == 4403, path
            else:
                answer = viewer.request(method, path, json={})
                assert answer.status_code == 403, (method, path)
                assert "only looks on" in answer.json()["error"]
    after = running.state()
    assert [before[k] for k in ("controls", "recording", "detector", "busy")] == [
        after[k] for k in ("controls", "recording", "detector", "busy")
    ]


@pytest.mark.parametrize("path", ["/api/controls", "/api/source", "/api/recording", "/api/patches?name=x"])
def test_a_link_in_the_address_gives_no_more_than_a_cookie(app: Any, path: str) -> None:
    viewer = TestClient(app, base_url=OUTSIDE)
    assert viewer.get("/?token=look on").status_code == 200
    assert viewer.post(path, json={"conf": 0.9}).status_code == 403
    assert viewer.post(f"{path}{'&' if '?' in path else '?'}token=look on", json={"conf": 0.9}).status_code == 403


def test_a_wrong_token_in_the_address_keeps_the_cookie(app: Any) -> None:
    owner = TestClient(app, base_url=OUTSIDE)
    owner.get("/?token=open sesame")
    assert owner.get("/api/state?token=wrong").json()["viewer"] is False
    assert owner.get("/api/state").json()["viewer"] is False


def test_the_server_makes_a_link_of_its_own_or_takes_one(running: Demo) -> None:
    made = PageServer(Listener(port=0, token="open sesame"), running)
    given = PageServer(Listener(port=0, token="open sesame", viewer_token="look on"), running)
    bare = PageServer(Listener(port=0), running)
    shown = PageServer(Listener(port=0, token="open sesame"))
    try:
        assert "?token=" in made.viewer_url
        assert "sesame" not in made.viewer_url
        assert given.viewer_url.endswith("/?token=look%20on")
        assert bare.viewer_url == shown.viewer_url == ""
    finally:
        for server in (made, given, bare, shown):
            server.close()


@pytest.mark.parametrize(("token", "says"), [("", "expected `token` beside it"), ("look on", "another secret")])
def test_a_link_without_a_difference_is_refused(running: Demo, token: str, says: str) -> None:
    with pytest.raises(SettingsError, match=f"viewer_token: .*{says}"):
        PageServer(Listener(port=0, token=token, viewer_token="look on"), running)
