"""The guided tour in a real Chromium: from start to end, by keys, on a phone, by address; it never covers the picture."""

import base64
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from physadv.live.demo import Demo
from physadv.tour.guide import ShownStep, guide, host_of
from physadv.tour.stops import STOPS
from tests.browser.stand import Stand, eventually
from tests.browser.test_layout import COLLIDE, SMALL
from tests.live.scene import until

pytestmark = pytest.mark.browser
# Whether nothing lies over an image, and all of the page is within the window's width.
APART = """() => {
  const parts = [0.02, 0.25, 0.5, 0.75, 0.98];
  const images = [...document.querySelectorAll("#main, #bare")];
  return document.documentElement.scrollWidth <= innerWidth && images
    .filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect())
    .every((box) => box.top >= 0 && box.bottom <= innerHeight && parts.every((x) => parts.every((y) => document
      .elementFromPoint(box.left + x * box.width, box.top + y * box.height).closest(".stage"))));
}"""
# Texts that lie over each other, but for the row that stays in sight while the others are scrolled under it.
OVER = f"""() => {{
  const row = document.getElementById("tour-stops");
  row.style.position = "static";
  const out = ({COLLIDE})();
  row.style.position = "";
  return out;
}}"""
TITLE = "(title) => document.getElementById('tour-title').textContent === title"


def stands(demo: Demo, step: ShownStep) -> bool:
    """Whether the demo's controls are a step's; a width that it leaves open is the pattern's usual one."""
    wanted = {name: value for name, value in step.controls.items() if (name, value) != ("wear_size", None)}
    return demo.controls.model_dump().items() >= wanted.items()


def with_maps(page: Any) -> None:
    """Answer for a detector that has gradients; the made-up one has none."""
    png = BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 200)).save(png, "PNG")
    found = {"n": 10**6, "box": [10, 10, 50, 50], "score": 0.876, "ms": 1.0,
             "image": f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"}  # fmt: skip
    page.route("**/api/look", lambda route: route.fulfill(json=found))
    page.route("**/api/look/layers", lambda route: route.fulfill(json=[]))


def test_from_start_to_end_every_stop_sets_the_demo_and_leaving_restores_it(stand: Stand) -> None:
    page, demo = stand.page, stand.demo
    with_maps(page)
    page.set_viewport_size({"width": 1280, "height": 720})
    demo.control(wear="checkers", wear_size=70.0, conf=0.4)
    eventually(page, "() => document.getElementById('conf').value === '0.4'")
    before = demo.controls
    page.click("#tour-open")
    for stop in guide(host_of(demo), "en").stops:
        eventually(page, TITLE, stop.texts["title"])
        assert page.evaluate("() => document.activeElement.id") == "tour-title"
        assert page.evaluate(APART), stop.name
        assert page.evaluate(OVER) == [], stop.name
        for number, step in enumerate(stop.steps):
            until(lambda step=step: stands(demo, step))
            eventually(page, "(look) => document.getElementById('look').value === look", step.look)
            if step.controls["wear"] and step is stop.steps[-1]:
                eventually(page, "() => document.getElementById('tour-now').textContent.includes('not found')")
            if number + 1 < len(stop.steps):
                page.click("#tour-act")
        if stop.number == 1:
            eventually(page, "() => document.getElementById('tour-now').textContent.includes('0.88')")
        if stop.name == "poison":
            assert page.is_hidden("#tour-act")
            assert "physadv lab poison" in page.text_content("#tour-cannot code")
        # The made-up person fills the image.
        assert ("Step back" in page.text_content("#tour-cannot")) == (stop.framing == "street")
        if stop.number < len(STOPS):
            page.click("#tour-next")
    assert page.is_disabled("#tour-next")
    page.click("#tour-leave")
    until(lambda: demo.controls == before)
    assert page.is_hidden("#tour") and "#" not in page.url


def test_by_keys_alone_and_what_is_left_by_closing_the_page_is_restored_too(stand: Stand) -> None:
    page, demo = stand.page, stand.demo
    before = demo.controls
    press = page.keyboard.press
    press("g")
    eventually(page, TITLE, "What the detector looks at")
    press("ArrowLeft")
    for title in ("A print on the chest", "A T-shirt that walks"):
        press("ArrowRight")
        eventually(page, TITLE, title)
    press("a")
    until(lambda: demo.controls.wear == "outfit")
    press("a")
    until(lambda: demo.controls.wear == "")
    press("ArrowLeft")
    eventually(page, TITLE, "A print on the chest")
    press("a")
    until(lambda: demo.controls.wear == "webcam")
    press("?")
    assert "the guided tour" in page.text_content("#keys")
    press("Escape")
    press("g")
    until(lambda: demo.controls == before)
    # Without the tour its keys do nothing.
    press("a")
    press("g")
    eventually(page, TITLE, "What the detector looks at")
    press("ArrowRight")
    eventually(page, TITLE, "A print on the chest")
    press("a")
    until(lambda: demo.controls.wear == "webcam")
    page.goto(stand.server.url + "print")
    until(lambda: demo.controls == before)


def test_whoever_leaves_while_a_stop_is_on_its_way_has_left(stand: Stand) -> None:
    page, demo = stand.page, stand.demo
    before, held = demo.controls, list[Any]()
    page.keyboard.press("g")
    eventually(page, TITLE, "What the detector looks at")
    page.route("**/api/tour?*", lambda route: held.append(route))
    page.keyboard.press("ArrowRight")
    until(lambda: page.evaluate("() => location.hash").startswith("#tour=2") and bool(held))
    page.keyboard.press("g")
    # Before it was ever opened, too.
    page.keyboard.press("g")
    until(lambda: page.evaluate("() => true") and len(held) == 2)
    page.keyboard.press("g")
    for route in held:
        with page.expect_response("**/api/tour?*"):
            route.continue_()
    page.evaluate("() => fetch('/api/state').then((answer) => answer.json())")
    assert page.is_hidden("#tour") and "#" not in page.url
    assert demo.controls == before


def test_a_stop_by_address_on_a_phone_in_chinese(stand: Stand) -> None:
    stand.leave()
    page = stand.open(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, locale="zh-CN")
    page.evaluate("() => { location.hash = 'tour=8'; }")
    stops = {language: guide(host_of(stand.demo), language).stops for language in ("en", "zh")}
    eventually(page, TITLE, stops["zh"][7].texts["title"])
    assert page.get_attribute("#tour", "lang") == "zh"
    page.tap("#tour-act")
    until(lambda: stand.demo.controls.wear == "street-switch")
    for number in range(8, 0, -1):
        eventually(page, TITLE, stops["zh"][number - 1].texts["title"])
        assert page.evaluate(APART), number
        assert page.evaluate(OVER) == [], number
        assert page.evaluate("() => document.getElementById('stage').getBoundingClientRect().top >= 0")
        # What leads on is in sight without scrolling.
        assert page.evaluate("() => document.getElementById('tour-next').getBoundingClientRect().bottom <= innerHeight")
        if number > 1:
            page.tap("#tour-back")
    assert page.evaluate(SMALL) == []
    page.click("#tour-languages [lang=en]")
    eventually(page, TITLE, stops["en"][0].texts["title"])
    assert page.url.endswith("#tour=1&language=en")
    page.tap("#tour-leave")
    until(lambda: stand.demo.controls.wear == "")


def test_an_address_of_no_stop_or_language_is_one_line(stand: Stand) -> None:
    page = stand.page
    page.evaluate("() => { location.hash = 'tour=99'; }")
    eventually(page, "() => document.querySelector('.toasts')?.textContent.includes('There is no stop 99')")
    eventually(page, TITLE, "What the detector looks at")
    page.evaluate("() => { location.hash = 'tour=4&language=tlh'; }")
    eventually(page, "() => document.querySelector('.toasts').textContent.includes('en or zh')")
    eventually(page, TITLE, "Too small, or too far away")
    # The browser itself reports that a request was refused.
    assert all("422" in problem for problem in stand.problems), stand.problems
    stand.problems.clear()
