"""What the visitor changes on the live page stays until the server answers, and goes back if it will not."""

import json
from typing import Any

import pytest

from tests.browser.stand import Stand, eventually, open_more, within_a_second
from tests.live.scene import until

pytestmark = pytest.mark.browser


def refuse(page: Any) -> None:
    """Let the server refuse every change of a control."""
    answer = json.dumps({"error": "not today"})
    page.route("**/api/controls", lambda route: route.fulfill(status=422, body=answer, content_type="application/json"))


def test_a_slider_keeps_every_step_of_twelve(stand: Stand) -> None:
    page = stand.page
    open_more(page)
    page.check("#defence-jpeg", force=True)
    page.click("#defences [data-name=jpeg] .icon")
    slider = "#parameters-jpeg [data-key=quality]"
    before = int(page.input_value(slider))
    page.focus(slider)
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(70)
    wanted = before + 12
    assert page.input_value(slider) == str(wanted)
    assert f"quality={wanted}" in page.text_content("#pipeline")
    until(lambda: f"quality={wanted}" in stand.demo.controls.defend, 2)
    page.wait_for_timeout(700)
    assert page.input_value(slider) == str(wanted)


def test_what_the_server_refuses_goes_back(stand: Stand) -> None:
    page = stand.page
    open_more(page)
    refuse(page)
    for box in ("#defence-median", "#compare", "#skeleton"):
        was = page.is_checked(box)
        page.click(box, force=True)
        within_a_second(page, "() => document.querySelector('.toasts .bad')?.textContent === 'not today'")
        within_a_second(page, "([box, was]) => document.querySelector(box).checked === was", [box, was])
    page.focus("#conf")
    page.keyboard.press("ArrowRight")
    within_a_second(page, "() => document.getElementById('conf').value === '0.25'")
    assert page.get_attribute(".card[data-defend='']", "aria-pressed") == "true"
    stand.forgive()


def test_what_a_demo_that_is_gone_never_heard_goes_back(stand: Stand) -> None:
    page = stand.page
    stand.demo.stop()
    stand.server.close()
    eventually(page, "() => document.getElementById('link').textContent === 'demo gone'", timeout=10)
    open_more(page)
    for box in ("#defence-median", "#compare"):
        was = page.is_checked(box)
        page.click(box, force=True)
        eventually(page, "([box, was]) => document.querySelector(box).checked === was", [box, was])
    stand.forgive()


def test_the_first_defences_say_what_they_cost_here_once_measured(stand: Stand) -> None:
    page = stand.page
    assert "Proves nothing" in page.text_content(".card[data-defend=fast]")
    page.click("#measure")
    measured = """() => [...document.querySelectorAll(".card .cost")]
      .filter((cost) => /^about [0-9]+ fps here$/.test(cost.textContent)).length"""
    eventually(page, f"() => ({measured})() >= 3", timeout=15)
    assert page.is_hidden("#costs")


def test_every_parameter_says_what_it_is_below_its_name(stand: Stand) -> None:
    page = stand.page
    open_more(page)
    page.click("#defences [data-name=entropy] .icon")
    for text in ("share of the image beyond which nothing is removed", "pixels by which each region is grown"):
        assert page.locator(f"#parameters-entropy small:visible:has-text('{text}')").count() == 1
    assert "1 more pass" in page.text_content("#defences [data-name=entropy] .switch small")
    untold = "() => [...document.querySelectorAll('.parameter')].filter((p) => !p.querySelector('small')).length"
    assert page.evaluate(untold) == 0


def test_a_number_out_of_range_is_refused_in_words_and_put_back(stand: Stand) -> None:
    page = stand.page
    open_more(page)
    page.click("#defences [data-name=pixel-deflection] .icon")
    field = "#parameters-pixel-deflection [data-key=deflections]"
    for wrong in ("9999999", "-1", "2.5", ""):
        page.fill(field, wrong)
        page.keyboard.press("Enter")
        within_a_second(page, "(field) => document.querySelector(field).value === '2000'", field)
        within_a_second(page, "() => document.querySelector('.toasts .bad')?.textContent.includes('from 0 to 500000')")
    page.fill(field, "300")
    page.check("#defence-pixel-deflection", force=True)
    until(lambda: stand.demo.controls.defend == "pixel-deflection:deflections=300", 2)
    page.click("#defences [data-name=probes] .icon")
    page.fill("#parameters-probes [data-key=seed]", "")
    page.keyboard.press("Enter")
    assert "seed" not in (page.text_content(".toasts") or "")
