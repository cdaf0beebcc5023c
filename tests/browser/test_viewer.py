"""The read-only link: shown and copied by those who may change things, and a page without anything that could."""

from pathlib import Path
from typing import Any

import pytest

from physadv.web.serve import Listener, PageServer
from tests.browser.stand import Stand, eventually
from tests.live.scene import until

pytestmark = pytest.mark.browser


def test_the_link_leads_to_a_page_that_only_looks_on(stand: Stand, tmp_path: Path) -> None:
    server = PageServer(Listener(port=0, token="open sesame", viewer_token="look on"), stand.demo)
    server.start()
    owner: Any = stand.browser.new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
    owner.goto(server.url)
    owner.click("#share-open")
    assert owner.input_value("#share-url") == server.viewer_url
    owner.click("#share-copy")
    eventually(owner, "async (url) => await navigator.clipboard.readText() === url", server.viewer_url)

    problems: list[str] = []
    page = stand.browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.goto(server.viewer_url)
    eventually(page, "() => document.getElementById('link').textContent === 'live · view only'", timeout=10)
    eventually(page, "() => window.physadv.chart.points.length > 3", timeout=5)
    page.set_viewport_size({"width": 1280, "height": 800})
    shown = """() => [...document.querySelectorAll("button, input, select, summary")]
      .filter((n) => n.checkVisibility()).map((n) => n.id)"""
    assert page.evaluate(shown) == ["help-open", "snapshot", "fullscreen", "tour-open"]
    for key in "wdbrc1+k":
        page.keyboard.press(key)
    # What the others do is seen all the same.
    stand.page.check("#patches input[value='checkers']", force=True)
    until(lambda: stand.demo.controls.wear == "checkers")
    eventually(page, "() => document.getElementById('chart-title').textContent.startsWith('Wearers')")
    assert stand.demo.controls.skeleton and stand.demo.controls.conf == 0.25
    assert not problems
    server.close()
    stand.leave()
