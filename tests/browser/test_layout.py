"""Where things are: the picture stays in sight while the controls are used, nothing covers or cuts anything else."""

from typing import Any

import pytest

from tests.browser.stand import Stand, eventually

pytestmark = pytest.mark.browser
BOX = "(id) => { const b = document.getElementById(id).getBoundingClientRect(); return [b.top, b.bottom]; }"


def place(page: Any, name: str) -> tuple[float, float]:
    top, bottom = page.evaluate(BOX, name)
    return top, bottom


def headings(page: Any) -> list[str]:
    found: list[str] = page.evaluate("() => [...document.querySelectorAll('#controls h2')].map((h) => h.textContent)")
    return found


def test_the_pattern_is_near_and_the_picture_stays_while_the_controls_scroll(stand: Stand) -> None:
    page = stand.open(viewport={"width": 1440, "height": 900})
    assert headings(page) == ["Worn pattern", "Defences", "Detection", "Source", "Detector"]
    assert place(page, "patches")[0] < 400
    before = place(page, "stage")
    page.evaluate("() => document.getElementById('detector-load').scrollIntoView({ block: 'nearest' })")
    assert place(page, "stage") == before
    assert 0 < place(page, "detector-load")[1] <= 900


def test_on_a_phone_the_picture_stays_on_top_of_the_controls(stand: Stand) -> None:
    page = stand.open(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    assert place(page, "patches")[0] < 844
    for name in ("patches", "defences", "detector-load", "alerts"):
        page.evaluate("(id) => document.getElementById(id).scrollIntoView({ block: 'center' })", name)
        assert place(page, "stage")[0] == 0, name
    for name in ("patches", "defences"):
        style = f"() => getComputedStyle(document.getElementById('{name}')).maxHeight"
        assert page.evaluate(style) == "none"


def test_figures_do_not_run_into_each_other(stand: Stand) -> None:
    page = stand.open(viewport={"width": 1024, "height": 768})
    wide = page.evaluate(
        """() => {
          for (const [id, text] of [["f-age50", "1,113"], ["f-age95", "1,329"], ["f-dropped", "420,000"]])
            document.getElementById(id).textContent = text;
          return [...document.querySelectorAll(".figures > div")].filter((d) => d.scrollWidth > d.clientWidth).length;
        }"""
    )
    assert wide == 0


def test_in_full_screen_the_notice_is_on_the_screen(stand: Stand) -> None:
    page = stand.page
    page.check("#defence-persistence", force=True)
    page.wait_for_selector("#aside:not([hidden])")
    page.click("#fullscreen")
    eventually(page, "() => document.fullscreenElement !== null")
    eventually(page, "() => document.getElementById('aside').getBoundingClientRect().bottom <= innerHeight")
    assert page.evaluate("() => document.getElementById('main').getBoundingClientRect().height > innerHeight / 4")


def test_a_phones_links_are_whole_and_its_switches_large_enough(stand: Stand) -> None:
    page = stand.open(viewport={"width": 360, "height": 800}, is_mobile=True, has_touch=True)
    eventually(page, "() => document.querySelectorAll('.bar nav a').length > 3")
    assert page.evaluate(
        """() => {
          const nav = document.querySelector(".bar nav");
          return nav.scrollWidth <= nav.clientWidth && nav.lastChild.getBoundingClientRect().right
            <= document.querySelector(".bar .end").getBoundingClientRect().left;
        }"""
    )
    small = "(input) => input.offsetHeight && input.getBoundingClientRect().height < 24"
    switches = "[...document.querySelectorAll('.switch input')]"
    assert page.evaluate(f"() => {switches}.filter({small}).length") == 0


def test_the_true_size_tools_leave_a_small_pattern_uncovered_on_a_phone(stand: Stand) -> None:
    page = stand.open(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.goto(stand.server.url + "show")
    page.click("#fits")
    page.wait_for_selector("#stage:not([hidden])")
    page.fill("#size", "5")
    eventually(page, "() => document.getElementById('picture').naturalWidth > 0")
    picture, tools, hint = (place(page, name) for name in ("picture", "tools", "hint"))
    assert hint[1] <= picture[0]
    assert picture[1] <= tools[0]
    assert tools[1] <= 844


def test_the_picture_given_to_the_detector_moves_no_pane(stand: Stand) -> None:
    page = stand.page
    page.check("#seen", force=True)
    eventually(page, "() => document.getElementById('seen-says').textContent.startsWith('Nothing that is on')")
    page.check("#defence-rotate", force=True)
    eventually(page, "() => document.getElementById('main-name').textContent === 'given to the detector'")
    size = "(id) => { const c = document.getElementById(id); return [c.width, c.height, c.offsetTop, c.offsetHeight]; }"
    assert page.evaluate(size, "bare") == page.evaluate(size, "main")
    assert page.text_content("#seen-says") == "This is the picture that it is given."
