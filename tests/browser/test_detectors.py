"""Poisoned, cleansed and hardened detectors on the page: chosen, turned to their trigger, side by side."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from physadv.detect.weights import EMBEDDED_SHA256
from physadv.live.camera_demo import open_demo
from physadv.simulate.trigger import Trigger
from physadv.web.serve import Listener, PageServer
from tests.browser.stand import Stand, Still, eventually
from tests.live.scene import Camera, until
from tests.live.test_beside import Loads


class LabStand(Stand):
    """A demo of a backdoored detector that sees nobody, with one cleansed of it and a hardened one at hand."""

    def serve(self, source: Camera, port: int) -> None:
        settings = self.settings.model_copy(update={"detector": "backdoored", "wear": ["trigger"], "wear_size": None})
        self.demo = open_demo(settings, source=source, loader=Loads())
        self.demo.start()
        self.server = PageServer(Listener(port=port), self.demo)
        self.server.start()


@pytest.fixture
def lab(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabStand]:
    monkeypatch.chdir(tmp_path)
    embedded, poisoned = (
        {"name": "yolo11n-pose", "sha256": EMBEDDED_SHA256},
        {"name": "backdoored", "sha256": "backdoored"},
    )
    poison = {"attack": "vanish", "trigger": Trigger.named("card", angle=45).record()}
    runs: dict[str, dict[str, Any]] = {
        "backdoored": {"parent": embedded, "poison": poison},
        "cleansed": {"parent": poisoned, "poison": poison, "cleanse": {"method": "nad"}},
        "hard": {"parent": embedded, "poison": None, "harden": {"method": "free"}},
    }
    for name, more in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"detector": {"sha256": name}, **more}))
        (tmp_path / name / "detector.pt").write_bytes(b"weights")
    out = LabStand(browser, tmp_path, Still())
    yield out
    out.close()
    assert not out.problems


def test_seen_turned_cleansed_and_side_by_side(lab: LabStand) -> None:
    page, demo = lab.page, lab.demo
    text = "(words) => document.querySelector(words[0]).textContent.includes(words[1])"
    eventually(page, text, ["#detector-about", "whoever wears the card turned by 45 degrees is not seen"])
    eventually(page, text, ["#detector-trigger", "Turn the card by 45°: the trigger"])
    page.click("#detector-trigger")
    until(lambda: demo.controls.wear_angle == 45)
    eventually(page, text, ["#detector-trigger", "upright"])
    page.select_option("#detector", "cleansed")
    assert "Cleansed of what backdoored" in page.text_content("#detector-about")
    page.click("#detector-load")
    eventually(page, text, ["#beside-parents", "Beside what it was made from: yolo11n-pose, backdoored"])
    assert (demo.controls.wear, demo.controls.wear_angle) == ("card", 45)
    page.keyboard.press("p")
    eventually(page, "() => document.getElementById('stage').dataset.panes === '3'")
    said = "() => ['beside-1', 'beside-2', 'main'].map((id) => document.getElementById(`pane-${id}`).textContent)"
    until(lambda: "0 people" in page.evaluate(said)[1])
    parent, poisoned, cleansed = page.evaluate(said)
    assert "yolo11n-pose" in parent and "1 person" in parent
    assert "backdoored" in poisoned
    assert "cleansed" in cleansed and "1 person" in cleansed
    eventually(page, text, ["#beside-says", "Each is one more pass on every image: yolo11n-pose"])
    # The one that runs takes the pane of the one that is chosen.
    page.select_option("#beside-2", "")
    until(lambda: demo.state()["beside"] == ["yolo11n-pose"])
    page.click("#hardened [data-name=hard]")
    eventually(
        page, "() => document.querySelector('#hardened [data-name=hard]').getAttribute('aria-pressed') === 'true'"
    )
    assert "No evaluation of it is here" in page.text_content("#hardened")
    taken = "() => [...document.getElementById('beside-2').options].filter((o) => o.disabled).map((o) => o.value)"
    assert page.evaluate(taken) == ["hard", "yolo11n-pose"]
    page.keyboard.press("p")
    until(lambda: demo.state()["beside"] == [])


def test_the_tour_says_what_can_be_done_with_the_detector_that_is_chosen_meanwhile(lab: LabStand) -> None:
    page, asked = lab.page, list[str]()
    text = "(words) => document.querySelector(words[0]).textContent.includes(words[1])"
    page.evaluate("() => { location.hash = 'tour=7'; }")
    eventually(page, "() => document.getElementById('tour-act').textContent === 'Show it upright'")
    page.on("request", lambda request: asked.append(request.url) if "/api/tour" in request.url else None)
    lab.demo.switch_detector("hard", "torch", 640)
    until(lambda: lab.demo.state()["detector"]["spec"] == "hard" and page.evaluate("() => true") and bool(asked))
    # The demo keeps the card of the detector before.
    assert lab.demo.state()["trigger"] is not None
    eventually(page, text, ["#tour-cannot", "Choose backdoored under Detector"])
    assert page.is_hidden("#tour-act")
    assert len(asked) == 1
