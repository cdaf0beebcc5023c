"""The page in a real Chromium: moving images, switches that act within a second, recording, the visitor's camera."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.browser.stand import JOINTS, LOOK, Stand, Still, eventually, open_more, within_a_second
from tests.live.scene import Camera, until

pytestmark = pytest.mark.browser


def test_images_move_and_reach_the_screen_quickly(browser: Any, tmp_path: Path) -> None:
    stand = Stand(browser, tmp_path, Camera(fps=30))
    try:
        looks = set()
        for _ in range(8):
            looks.add(stand.page.evaluate(LOOK, "main"))
            time.sleep(0.12)
        assert len(looks) >= 5
        assert stand.page.text_content("#link") == "live"
        until(lambda: "page" in stand.page.text_content("#f-backend"))
        assert 15 < float(stand.page.text_content("#f-fps")) < 45
        assert not stand.problems
    finally:
        stand.close()


def test_each_switch_changes_the_image_within_a_second(stand: Stand) -> None:
    page = stand.page
    assert page.evaluate(JOINTS) > 20

    page.uncheck("#skeleton", force=True)
    within_a_second(page, f"() => ({JOINTS})() === 0")
    page.check("#skeleton", force=True)

    page.fill("#conf", "0.95")
    page.evaluate("document.getElementById('conf').dispatchEvent(new Event('input'))")
    within_a_second(page, "() => document.getElementById('conf-out').textContent === '0.95'")
    page.keyboard.press("Escape")

    before = page.evaluate(LOOK, "main")
    page.check("#patches input[value='checkers']", force=True)
    within_a_second(
        page,
        f"(before) => ({LOOK})('main') !== before && document.querySelector('#patches input:checked').value === 'checkers'",
        before,
    )
    until(lambda: stand.demo.latest is not None and stand.demo.latest.worn == "checkers", 1)

    names = page.evaluate("[...document.querySelectorAll('#defences > li')].map((li) => li.dataset.name)")
    assert names
    open_more(page)
    for name in names[:8]:
        box = f"#defence-{name}"
        page.check(box, force=True)
        within_a_second(
            page,
            "() => !document.getElementById('pane-bare').hidden && "
            "document.getElementById('main-name').textContent.startsWith('defended: ')",
        )
        page.uncheck(box, force=True)
        within_a_second(page, "() => document.getElementById('pane-bare').hidden")
    assert not [n for n in stand.demo.notices.newest() if n.level == "error"]


def test_parameters_reach_the_defence_and_another_viewers_switch(stand: Stand) -> None:
    page, other = stand.page, stand.open()
    open_more(page)
    page.check("#defence-jpeg", force=True)
    page.click("#defences [data-name=jpeg] .icon")
    page.evaluate(
        """() => {
          const input = document.querySelector("#parameters-jpeg [data-key=quality]");
          input.value = input.min || "20";
          input.dispatchEvent(new Event("input", { bubbles: true }));
          input.dispatchEvent(new Event("change", { bubbles: true }));
        }"""
    )
    until(lambda: "quality=" in stand.demo.controls.defend, 2)
    eventually(other, "() => document.getElementById('defence-jpeg').checked")


def test_the_simulated_world_is_drawn_when_it_is_opened_and_changed(stand: Stand) -> None:
    page = stand.page
    page.click("#world summary")
    eventually(page, "() => document.getElementById('world-says').textContent.includes('No pattern is worn')")
    page.check("#patches input[value='checkers']", force=True)
    eventually(page, "() => document.getElementById('world-sheet').naturalWidth > 1000", timeout=20)
    assert "finds nobody in" in page.text_content("#world-says")
    for action in ("e('world-strength').value = 1.5; e('world-strength').dispatchEvent(new Event('input'))",
                   "e('world-goes-on').click()"):  # fmt: skip
        before = page.get_attribute("#world-sheet", "src")
        page.evaluate(f"() => {{ const e = (id) => document.getElementById(id); {action}; }}")
        eventually(page, "(old) => document.getElementById('world-sheet').src !== old", before, timeout=20)
    before = page.get_attribute("#world-sheet", "src")
    eventually(page, "(old) => document.getElementById('world-sheet').src !== old", before, timeout=20)


def test_what_time_cannot_know_is_said_below_the_image(stand: Stand) -> None:
    open_more(stand.page)
    stand.page.check("#defence-persistence", force=True)
    stand.page.wait_for_selector("#aside:not([hidden])", timeout=2000)
    assert "people it has already seen" in stand.page.text_content("#aside")
    assert stand.page.is_hidden("#alarm")
    assert stand.page.evaluate(
        """() => [...document.querySelectorAll(".pane")].every((pane) =>
          pane.getBoundingClientRect().bottom <= document.getElementById("aside").getBoundingClientRect().top)"""
    )


def test_a_source_that_stalls_is_said_within_three_seconds_and_back_at_once(stand: Stand) -> None:
    source = stand.demo.source
    assert isinstance(source, Still)
    source.flowing.clear()
    stand.page.wait_for_selector("#veil:not([hidden])", timeout=3000)
    assert "no image" in stand.page.text_content("#veil")
    source.flowing.set()
    stand.page.wait_for_selector("#veil", state="hidden", timeout=3000)


def test_images_move_again_after_the_demo_was_started_anew_on_the_same_port(browser: Any, tmp_path: Path) -> None:
    stand = Stand(browser, tmp_path, Camera(fps=30))
    page, port = stand.page, stand.server.port
    try:
        eventually(page, "() => window.physadv.chart.points.length > 5", timeout=5)
        # As after hours: the new demo would not get so far within the test.
        page.evaluate(
            """() => {
              const { stream, chart } = window.physadv;
              stream.painted = 1e6;
              window.old = chart.points[0];
            }"""
        )
        stand.demo.stop()
        stand.server.close()
        eventually(page, "() => document.getElementById('link').textContent === 'demo gone'", timeout=10)
        stand.serve(Camera(fps=30), port)
        eventually(page, "() => document.getElementById('link').textContent === 'live'", timeout=10)
        before = page.evaluate(LOOK, "main")
        eventually(page, f"(before) => ({LOOK})('main') !== before", before)
        assert page.evaluate("() => !window.physadv.chart.points.includes(window.old)")
    finally:
        stand.close()


@pytest.mark.alone
def test_a_slow_viewer_slows_nobody(stand: Stand) -> None:
    slow = stand.open()
    slow.evaluate(
        """() => {
          const real = createImageBitmap;
          window.createImageBitmap = (blob) => new Promise((done) => setTimeout(() => done(real(blob)), 900));
        }"""
    )
    stand.page.evaluate(
        """() => {
          const { chart } = window.physadv, add = chart.add;
          window.painted = 0;
          chart.add = (...values) => { window.painted += 1; add.apply(chart, values); };
        }"""
    )
    start = stand.demo.figures.frames
    time.sleep(2)
    loop = stand.demo.figures.frames - start
    painted = stand.page.evaluate("window.painted")
    assert loop > 30
    assert painted > 0.6 * loop
    assert slow.evaluate("window.physadv.chart.points.length") > 0


def test_two_hundred_switches_in_a_minute(stand: Stand) -> None:
    threads = threading.active_count()
    start = time.monotonic()
    stand.page.evaluate(
        """async () => {
          const boxes = [...document.querySelectorAll("#defences input[type=checkbox][id^=defence-]")].slice(0, 8);
          for (let i = 0; i < 200; i += 1) {
            boxes[Math.floor(i / 2) % boxes.length].click();
            await new Promise((r) => setTimeout(r, 10));
          }
        }"""
    )
    assert time.monotonic() - start < 60
    until(lambda: stand.demo.controls.defend == "" and stand.demo.latest is not None and not stand.demo.latest.defences)
    shown = stand.demo.latest
    assert shown is not None
    assert shown.people.xyxy[0].tolist() == pytest.approx([100, 30, 180, 230], abs=2)
    assert threading.active_count() <= threads + 4
    assert not [n for n in stand.demo.notices.newest() if n.level == "error"]


def test_keyboard_labels_and_a_phone(stand: Stand) -> None:
    page = stand.page
    page.keyboard.press("k")
    within_a_second(page, "() => !document.getElementById('skeleton').checked")
    page.keyboard.press("d")
    until(lambda: stand.demo.controls.defend != "", 1)
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas")]
          .filter((n) => n.checkVisibility() || n.labels?.length)
          .filter((n) => !(n.textContent.trim() || n.getAttribute("aria-label") || n.labels?.length))
          .map((n) => n.outerHTML)"""
    )
    assert nameless == []
    phone = stand.open(viewport={"width": 390, "height": 800}, color_scheme="light", is_mobile=True, has_touch=True)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = stand.open(color_scheme="dark")
    assert phone.evaluate(ground) != dark.evaluate(ground)
