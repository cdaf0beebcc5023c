"""Where things are: the picture stays in sight while the controls are used, nothing covers or cuts anything else."""

from typing import Any

import pytest

from tests.browser.stand import Stand

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
