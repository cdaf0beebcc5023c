"""The patterns on the page: in order, by key, at the size that they have or are given."""

import pytest

from tests.browser.stand import Stand, within_a_second
from tests.live.scene import until

pytestmark = pytest.mark.browser
CAPTION = "(text) => document.getElementById('big-worn').textContent === text"
SAYS = "(text) => document.getElementById('size-out').textContent === text"


def test_what_is_recommended_is_one_press_away_and_the_wrong_framing_is_said(stand: Stand) -> None:
    page = stand.page
    page.wait_for_selector("#wear-best:not([hidden])")
    best = stand.demo.state()["recommended"]
    assert best["name"] in page.text_content("#wear-best") and best["why"] in page.text_content("#wear-best")
    page.click("#wear-best")
    until(lambda: (stand.demo.controls.wear, stand.demo.controls.wear_size) == (best["name"], best["width_cm"]), 1)
    assert page.is_hidden("#wear-best") and page.is_visible("#worn")
    # Clothes have no width of their own.
    assert best["name"] == "outfit" and best["width_cm"] is None
    within_a_second(page, CAPTION, "outfit")
    assert page.get_attribute("#wear-print", "href").endswith("outfit")
    assert page.is_checked("#wear_lit") and "photograph" in page.text_content("label:has(#wear_lit)")
    page.uncheck("#wear_lit")
    until(lambda: not stand.demo.controls.wear_lit and stand.demo.controls.follow, 1)
    within_a_second(page, CAPTION, "outfit, flat")
    # The person fills the image.
    page.check("#patches input[value='street']", force=True)
    page.wait_for_selector("#wear-notice:not([hidden])")
    assert "street is made for" in page.text_content("#wear-notice")
    assert page.is_visible("#wear-best")
    page.keyboard.press("w")
    until(lambda: stand.demo.controls.wear == "", 1)


def test_the_slider_stands_at_the_patterns_own_size(stand: Stand) -> None:
    page = stand.page
    page.check("#patches input[value='street']", force=True)
    within_a_second(page, SAYS, "48 cm")
    page.click("#size-own")
    within_a_second(page, SAYS, "36 cm, own size")
    assert page.input_value("#size") == "36"
    page.focus("#size")
    page.keyboard.press("ArrowRight")
    within_a_second(page, SAYS, "37 cm")
    until(lambda: stand.demo.controls.wear_size == 37, 1)
    page.click("#size-own")
    within_a_second(page, SAYS, "36 cm, own size")
    assert page.text_content("#size-label") == "Printed width"
    assert page.text_content("#angle-out") == "upright" and page.is_hidden("#trigger")
    page.focus("#wear_angle")
    page.keyboard.press("ArrowRight")
    until(lambda: stand.demo.controls.wear_angle == 1, 1)
    within_a_second(page, CAPTION, "street, 36 cm, turned by 1°")
    page.focus("#turn")
    page.keyboard.press("ArrowLeft")
    until(lambda: stand.demo.controls.turn == -1, 1)
    within_a_second(page, CAPTION, "street, 36 cm, turned by 1°, image turned by -1°")
    assert page.is_hidden("#tilt")


def test_a_texture_repeats_as_it_was_trained_and_the_next_pattern_has_its_own_size(stand: Stand) -> None:
    page = stand.page
    assert stand.demo.controls.wear_size == 70
    page.check("#patches input[value='tshirt']", force=True)
    within_a_second(page, SAYS, "every 20 cm")
    assert page.text_content("#size-label") == "Repeats"
    assert page.is_disabled("#size") and page.is_disabled("#size-own")
    page.keyboard.press("]")
    page.check("#patches input[value='street']", force=True)
    within_a_second(page, SAYS, "48 cm")
    assert page.is_enabled("#size")


def test_patterns_stand_by_where_they_work_with_their_whole_names(stand: Stand) -> None:
    page = stand.page
    page.wait_for_selector("#patches img")
    found = page.evaluate(
        "() => [...document.querySelectorAll('#patches h3, #patches input')].map((n) => n.value || n.textContent)"
    )
    assert found[:3] == ["Yours", "checkers", "Webcam: one person fills the image"]
    street = found.index("Street: people are small in the image")
    assert found.index("webcam") < street < found.index("street")
    cut = "(span) => span.scrollWidth > span.clientWidth + 1 || getComputedStyle(span).whiteSpace === 'nowrap'"
    assert page.evaluate(f"() => [...document.querySelectorAll('#patches span')].filter({cut}).length") == 0


def test_keys_choose_a_pattern_and_its_size(stand: Stand) -> None:
    page = stand.page
    page.wait_for_selector("#patches img")
    page.keyboard.press("1")
    until(lambda: stand.demo.controls.wear == "checkers", 1)
    page.keyboard.press("2")
    until(lambda: stand.demo.controls.wear == "webcam", 1)
    for _ in range(3):
        page.keyboard.press("[")
    until(lambda: stand.demo.controls.wear_size == 42, 1)
    page.keyboard.press("]")
    until(lambda: stand.demo.controls.wear_size == 44, 1)
    page.keyboard.press("0")
    until(lambda: stand.demo.controls.wear == "", 1)
    page.keyboard.press("w")
    until(lambda: (stand.demo.controls.wear, stand.demo.controls.wear_size) == ("webcam", 44), 1)
    page.click("#wear-off")
    until(lambda: stand.demo.controls.wear == "", 1)
    page.keyboard.press("?")
    keys = page.text_content("#keys")
    assert "1 … 9" in keys
    assert "[ ]" in keys
