"""The print page in a real Chromium: the size that is printed is the size that is advised on and shown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from physadv.fabricate.poster import printed_size
from physadv.fabricate.settings import PrintSettings
from physadv.live.library import PatchLibrary
from physadv.patch import Patch, save_patch
from physadv.web.serve import Listener, PageServer
from tests.browser.stand import eventually
from tests.camera.test_profile import camera

pytestmark = pytest.mark.browser
TALL = Patch(
    "tall",
    np.random.default_rng(0).integers(0, 256, (48, 24, 3), dtype=np.uint8),
    np.full((48, 24), 255, np.uint8),
    (250.0, 500.0),
)
SHOWN = "(mm) => new URLSearchParams(document.getElementById('show').search).get('mm') === mm"

# Whether a line stands next after the row of a field, which is marked as wrong.
BELOW = """([id, text]) => {
  const field = document.getElementById(id);
  const note = field.closest(".stack > *").nextElementSibling;
  return field.getAttribute("aria-invalid") === "true" && !note.hidden && note.textContent === text;
}"""
DRAWN = """() => {
  const [sheet, count] = ["preview", "which"].map((id) => document.getElementById(id));
  return sheet.naturalWidth > 0 && count.textContent.startsWith("1 /");
}"""


class Desk:
    """The page on a pattern that is not square, a calibrated camera, and what the page asked for."""

    def __init__(self, browser: Any, folder: Path) -> None:
        _, tensors = save_patch(TALL, folder)
        camera().model_copy(update={"name": "desk"}).save(folder / "calib" / "cameras" / "desk.json")
        self.server = PageServer(Listener(port=0), library=PatchLibrary([str(tensors)]))
        self.server.start()
        self.asked: list[dict[str, Any]] = []
        self.downloads: list[str] = []
        self.problems: list[str] = []
        self.page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        self.page.on("request", self._heard)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(f"{self.server.url}print")
        eventually(self.page, SHOWN, "250", timeout=10)

    def _heard(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.path == "/api/print/advise":
            self.asked.append(json.loads(request.post_data))
        if address.path == "/api/print/file":
            self.downloads.append(address.query)


@pytest.fixture
def desk(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    out = Desk(browser, tmp_path)
    yield out
    for context in browser.contexts:
        context.close()
    out.server.close()
    assert not out.problems


def advised(desk: Desk) -> dict[str, Any]:
    """The newest question, once it was answered."""
    eventually(desk.page, "() => document.getElementById('pixels').textContent !== ''")
    return desk.asked[-1]


def test_a_size_for_a_person_is_printed_advised_on_and_shown_alike(desk: Desk) -> None:
    page = desk.page
    assert page.text_content("#comes-to") == "Comes to 25 × 50 cm."
    assert page.is_hidden("#rule-fields")
    page.fill("#for_person", "190")
    width, height = printed_size(TALL, PrintSettings(for_person=190))
    eventually(page, SHOWN, f"{width:.1f}")
    assert advised(desk)["size"] == pytest.approx(width / 10, abs=0.01) and desk.asked[-1]["person_height"] == 190
    assert page.text_content("#comes-to") == f"Comes to {width / 10:.2f} × {height / 10:.2f} cm."
    assert (
        width / height == 0.5
        and page.is_disabled("#size")
        and float(page.input_value("#size")) == pytest.approx(width / 10, abs=0.01)
    )

    page.select_option("#rule", "height")
    page.fill("#scale", "0.3")
    width, _ = printed_size(TALL, PrintSettings(for_person=190, rule="height", scale=0.3))
    eventually(page, SHOWN, f"{width:.1f}")
    assert advised(desk)["size"] == pytest.approx(width / 10, abs=0.01)
    with page.expect_download() as download:
        page.click("#get")
    query = parse_qs(desk.downloads[-1])
    assert (query["for_person"], query["rule"], query["scale"]) == (["190cm"], ["height"], ["0.3"])
    assert download.value.suggested_filename == "tall.pdf"

    page.fill("#scale", "3")
    eventually(page, BELOW, ["scale", "Side, as a share: expected a fraction of the person above 0 and under 1, got 3"])
    assert page.get_attribute("#show", "href") is None and page.text_content("#comes-to") == ""


def test_advice_takes_a_calibrated_camera(desk: Desk) -> None:
    page = desk.page
    page.select_option("#camera", "desk")
    until_pixels = (
        "(n) => document.getElementById('pixels').textContent.includes(`sees it as ${n[0]} × ${n[1]} pixels`)"
    )

    def pixels(focal: float) -> list[int]:
        return [int(focal * cm / 300 + 0.5) for cm in (25, 50)]

    eventually(page, until_pixels, pixels(500))
    assert "Standing it covers chest to" in page.text_content("#pixels")
    assert desk.asked[-1]["camera"] == "desk"
    assert page.is_hidden("#fov") and page.is_hidden("#resolution")
    page.select_option("#camera", "")
    assert page.is_visible("#fov") and page.is_visible("#resolution")
    eventually(page, until_pixels, pixels(320 / np.tan(np.radians(30))))


def test_what_cannot_be_printed_is_said_beside_its_field_and_shows_nothing_of_before(desk: Desk) -> None:
    page = desk.page
    eventually(page, DRAWN)
    assert advised(desk) and page.text_content("#verdict")
    page.fill("#size", "0")
    # What was said of the choice before goes at once, not when the server has answered.
    assert page.text_content("#verdict") == page.text_content("#pixels") == ""
    eventually(page, BELOW, ["size", "Width: expected a length above zero, got 0cm"])
    assert page.get_attribute("#preview", "src") is None and page.text_content("#which") == ""
    assert page.is_disabled("#get") and page.is_disabled("#get-png") and page.is_disabled("#after")
    assert page.text_content("#verdict") == page.text_content("#comes-to") == ""

    page.fill("#size", "")
    eventually(page, SHOWN, "250")
    eventually(page, DRAWN)
    assert page.get_attribute("#size", "placeholder") == "25" and advised(desk)["size"] == 25
    assert page.is_enabled("#get") and page.is_hidden("#wrong")
    assert page.get_attribute("#size", "aria-invalid") is None

    page.fill("#fov", "200")
    eventually(page, BELOW, ["fov", "Field of view: expected 5 to 160 degrees across the image, got 200"])
    assert page.text_content("#verdict") == page.text_content("#pixels") == "" and page.is_enabled("#get")
    page.fill("#fov", "70")
    eventually(page, "() => document.getElementById('verdict').textContent !== ''")
    assert page.is_hidden("#wrong-view")


def test_panels_are_offered_for_textures_alone(desk: Desk) -> None:
    page = desk.page
    panels = "#garment [value=panels]"
    assert page.is_disabled(panels) and "for textures" in page.text_content(panels)
    page.select_option("#pattern", "tshirt")
    eventually(
        page, "() => document.getElementById('pixels').textContent.startsWith('Worn over the torso, on a person of 3')"
    )
    assert "people in photographs)" in page.text_content("#pixels") and desk.asked[-1]["size"] is None
    assert page.is_enabled(panels) and "for textures" not in page.text_content(panels)
    assert page.is_hidden("#clothes")
    eventually(page, "() => document.getElementById('comes-to').textContent.includes('one tile of a texture')")
    page.select_option("#garment", "panels")
    eventually(page, "() => /^Comes to [^:]*$/.test(document.getElementById('comes-to').textContent)")
    assert page.is_visible("#clothes") and page.is_visible("#shirt")
    page.select_option("#pattern", "tall")
    assert page.input_value("#garment") == "" and page.input_value("#paper") == "a4" and page.is_disabled(panels)


@pytest.mark.parametrize("path", ["print", "show"])
def test_an_old_address_has_what_took_its_patterns_place(desk: Desk, path: str) -> None:
    page = desk.page
    page.goto(f"{desk.server.url}{path}?pattern=shirt-v1")
    eventually(page, "() => document.getElementById('pattern').value === 'tshirt'")
    assert "the pattern shirt-v1 is no longer shipped: tshirt took its place" in page.text_content(".toasts")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1366, 768)])
def test_a_pattern_larger_than_the_screen_leaves_the_tools_in_sight(desk: Desk, width: int, height: int) -> None:
    page = desk.page
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{desk.server.url}show?pattern=webcam&mm=480")
    page.click("#fits")
    for name in ("tools", "warn", "full"):
        box = page.locator(f"#{name}").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width, name
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, name
    # Seen, and not behind the pattern.
    page.click("#largest", timeout=2000)
    assert page.is_hidden("#warn")
    image = page.locator("#image").bounding_box()
    assert image is not None and image["x"] >= 0 and image["x"] + image["width"] <= width
