"""What the page says of its image: of the wearers where a pattern is worn, of everybody else where none is."""

from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.types import Alert, Detections, Frame, UInt8Array
from tests.browser.stand import Stand, eventually, open_more
from tests.live.scene import until

pytestmark = pytest.mark.browser


class Windows(BlobDetector):
    """Finds the people that no pattern cuts in two, and always a window beside them."""

    def _people(self, image: UInt8Array) -> Detections:
        found = super()._people(image)
        whole = found.pick(found.xyxy[:, 3] - found.xyxy[:, 1] > 150)
        boxes = np.concatenate([whole.xyxy, [[250, 10, 300, 60]]]).astype(np.float32)
        return Detections(boxes, np.append(whole.score, 0.3).astype(np.float32))


def test_the_headline_is_about_the_wearer(stand: Stand) -> None:
    page = stand.page
    assert page.text_content("#main-says") == "1 person"
    stand.demo._live.inference.use(Windows(), None)
    page.check("#patches input[value='checkers']", force=True)
    until(lambda: stand.demo.controls.wear == "checkers")
    stand.demo.control(wear_size=90.0)
    eventually(page, "() => document.getElementById('main-says').textContent === 'hidden'")
    assert page.text_content("#main-best") == "best 0.00"
    eventually(page, "() => { const { points } = window.physadv.chart; return points[points.length - 1].top === 0; }")
    assert "Wearers" in page.text_content("#chart-title")
    page.click("#wear-off")
    eventually(page, "() => document.getElementById('main-says').textContent === '2 people'")


def test_a_pattern_that_a_defence_never_saw_off_is_taken_off_and_on_again(stand: Stand) -> None:
    page = stand.page
    stand.demo._live.inference.use(Windows(), None)
    stand.demo.control(wear="checkers", wear_size=90.0)
    open_more(page)
    page.check("#defence-persistence", force=True)
    page.wait_for_selector("#warm-start:not([hidden])", timeout=5000)
    page.click("#warm-start")
    until(lambda: stand.demo.latest is not None and not stand.demo.latest.worn)
    eventually(page, "() => document.getElementById('warm-start').textContent === 'Cancel'")
    until(lambda: stand.demo.latest is not None and stand.demo.latest.worn == "checkers", 10)
    eventually(page, "() => document.getElementById('main-says').textContent === 'held'")
    eventually(page, "() => document.getElementById('bare-says').textContent === 'hidden'")


def figures(page: Any) -> list[str]:
    return [page.text_content(f"#f-{name}") for name in ("fps", "latency50", "latency95")]


def test_a_demo_that_is_gone_is_said_over_the_image(stand: Stand) -> None:
    page = stand.page
    eventually(page, "() => Number(document.getElementById('f-fps').textContent) > 5", timeout=5)
    stand.demo.stop()
    stand.server.close()
    gone = "() => document.querySelector('#veil p').textContent === 'The demo is gone.Trying to reconnect…'"
    eventually(page, gone, timeout=10)
    assert page.is_visible("#veil")
    assert figures(page) == ["–", "–", "–"]
    page.wait_for_timeout(1500)
    assert page.evaluate(gone)
    stand.forgive()


def test_a_demo_that_hangs_is_said_over_the_image_until_it_answers(stand: Stand) -> None:
    page, go_on, state = stand.page, Event(), stand.demo.state

    def hung() -> dict[str, Any]:
        go_on.wait(20)
        return state()

    stand.demo.state = hung  # type: ignore[method-assign]
    try:
        eventually(page, "() => document.getElementById('link').textContent === 'demo silent'", timeout=10)
        assert "does not answer" in page.text_content("#veil")
        assert figures(page) == ["–", "–", "–"]
    finally:
        go_on.set()
    eventually(page, "() => document.getElementById('link').textContent === 'live'", timeout=5)
    page.wait_for_selector("#veil", state="hidden", timeout=3000)


def test_figures_of_a_source_that_has_ended_are_not_kept(stand: Stand) -> None:
    eventually(stand.page, "() => Number(document.getElementById('f-fps').textContent) > 5", timeout=5)
    assert stand.demo.source is not None
    stand.demo.source.close()
    stand.page.wait_for_selector("#veil:not([hidden])", timeout=3000)
    eventually(stand.page, "() => document.getElementById('f-latency50').textContent === '–'")
    assert figures(stand.page) == ["–", "–", "–"]


MARKS = "() => [...document.querySelectorAll('#marks li:not([hidden])')].map((item) => item.dataset.of)"


class Reporting(BlobDetector):
    """Holds everybody without being sure of them, and removes a corner."""

    def detect(self, frame: Frame) -> Detections:
        found = super().detect(frame)
        corner = Alert("removed", "", (5.0, 5.0, 60.0, 60.0))
        unsure = np.full(len(found), 0.1, np.float32)
        return replace(
            found, score=unsure, held=np.ones(len(found), bool), track=np.arange(len(found)), alerts=(corner,)
        )


def test_the_marks_that_are_in_the_image_are_explained(stand: Stand) -> None:
    page = stand.page
    assert page.evaluate(MARKS) == ["plain"]
    stand.demo._live.inference.use(Reporting(), None)
    eventually(page, f"() => ({MARKS})().join() === 'held,removed'", timeout=4)
    placed = page.evaluate(
        """async () => {
          const { Labels } = await import("/static/overlay.js");
          const labels = new Labels(320, 240);
          return [labels.place([100, 50, 180, 200], 70, 16), labels.place([102, 52, 180, 200], 70, 16)];
        }"""
    )
    assert placed == [[100, 34], [102, 52]]
