"""A recording on the page: it is played by buttons and keys, and nothing is there that cannot act."""

from collections.abc import Iterator
from typing import Any

import pytest

from physadv.live.replay import Replay
from physadv.live.session import Session
from physadv.web.serve import Listener, PageServer
from tests.browser.stand import eventually
from tests.browser.test_layout import COLLIDE
from tests.live.scene import until
from tests.live.test_recorder import record_some

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    folder = tmp_path_factory.mktemp("recording")
    record_some(folder / "v.mp4", 200)
    out = Replay(Session(folder / "v.mp4"), loop=0)
    out.start()
    yield out
    out.stop()


@pytest.fixture
def page(browser: Any, replay: Replay) -> Iterator[Any]:
    server = PageServer(Listener(port=0), replay)
    server.start()
    out = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    out.goto(server.url)
    eventually(out, "() => window.physadv?.chart.points.length > 0", timeout=20)
    out.wait_for_selector("#replay:not([hidden])")
    yield out
    for context in browser.contexts:
        context.close()
    server.close()


def position(page: Any) -> float:
    return float(page.input_value("#seek"))


def test_buttons_and_keys_play_it(page: Any, replay: Replay) -> None:
    replay.play(seek_s=2)
    page.keyboard.press("Space")
    until(lambda: replay.state()["replay"]["paused"])
    eventually(page, "() => document.getElementById('play').getAttribute('aria-label') === 'Play'")
    page.wait_for_timeout(1300)
    assert page.text_content("#link") == "paused" and page.is_hidden("#veil")
    at = replay.state()["replay"]["position_s"]
    page.keyboard.press(".")
    page.click("#forth")
    page.keyboard.press(",")
    until(lambda: replay.state()["replay"]["position_s"] == pytest.approx(at + 0.04))
    page.evaluate(
        "() => { const e = document.getElementById('seek'); e.value = 6; e.dispatchEvent(new Event('input')); }"
    )
    until(lambda: replay.state()["replay"]["position_s"] == 6)
    eventually(page, "() => document.getElementById('seek-out').textContent === '0:06 / 0:07'")
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    until(lambda: replay.state()["replay"]["position_s"] == 1)
    eventually(page, "() => document.getElementById('seek-out').textContent === '0:01 / 0:07'")
    page.select_option("#speed", "4")
    page.click("#play")
    until(lambda: not replay.state()["replay"]["paused"])
    assert replay.state()["replay"]["speed"] == 4
    eventually(page, "() => document.getElementById('link').textContent === 'replay'")


def test_what_cannot_act_is_not_there_and_texts_keep_apart(page: Any, replay: Replay) -> None:
    for name in ("wear-panel", "defend-panel", "source-panel", "detector-panel", "record", "world", "camera-here"):
        assert page.is_hidden(f"#{name}"), name
    assert page.is_visible("#detection-panel") and page.is_visible("#snapshot")
    for key in "cwd1r":
        page.keyboard.press(key)
    page.keyboard.press("?")
    assert "record" not in page.text_content("#keys") and "pause" in page.text_content("#keys")
    page.keyboard.press("Escape")
    assert page.evaluate("() => document.querySelector('.toasts, #camera-says:not([hidden])')") is None
    for width in (1440, 1024, 560, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(COLLIDE) == []
