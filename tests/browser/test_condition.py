"""A pattern with a condition on the page: folded and farther away by sliders and keys, found in the image, on the chart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physadv.patch import load_patch
from physadv.simulate.fast_render import fast_render
from physadv.simulate.placement import Placement, people_of
from physadv.simulate.trigger import turned_prints
from physadv.types import Frame
from tests.browser.stand import Stand, Still, eventually, within_a_second
from tests.live.scene import until

pytestmark = pytest.mark.browser
SAYS = "([id, text]) => document.getElementById(id).textContent.includes(text)"
SIDE = "(side) => window.physadv.chart.points.at(-1)?.side === side"


class Wall(Still):
    """A camera before which a print hangs on the wall, turned by 120 degrees."""

    def read(self) -> Frame:
        frame = super().read()
        patch = load_patch("street-switch")
        somebody = people_of(np.array([[20, 0, 220, 239]], np.float32), np.zeros((1, 17, 3), np.float32))
        prints = Placement.worn(patch).prints(somebody)
        wall = np.full((240, 320, 3), 128, np.uint8)
        wall[0, 0] = frame.index % 251
        return frame.with_pixels(fast_render(wall, patch, turned_prints(prints, 120.0, aspect=1.0)))


def test_it_is_folded_and_moved_away_and_the_chart_has_the_side_of_its_condition(stand: Stand) -> None:
    page = stand.page
    page.check("#patches input[value='street-switch']", force=True)
    eventually(page, SIDE, "active")
    assert page.is_visible("#condition-says") and page.is_visible(".legend [data-of='dormant']")
    within_a_second(page, SAYS, ["condition-says", "tilt 0 degrees: acts now. It acts when upright."])
    page.focus("#wear_angle")
    page.keyboard.press("Home")
    until(lambda: stand.demo.controls.wear_angle == -180, 1)
    eventually(page, SIDE, "dormant")
    within_a_second(page, SAYS, ["condition-says", "must not act now"])
    page.keyboard.press(">")
    until(lambda: stand.demo.controls.wear_fold == 0.0625, 1)
    assert page.text_content("#fold-out") == "6 % right"
    page.keyboard.press("<")
    page.keyboard.press("<")
    until(lambda: stand.demo.controls.wear_fold == -0.0625, 1)
    page.focus("#farther")
    page.keyboard.press("ArrowRight")
    until(lambda: stand.demo.controls.farther == 1.25, 1)
    within_a_second(page, SAYS, ["big-worn", "turned by -180°, 6 % folded away, 1.25 times as far"])
    within_a_second(page, SAYS, ["farther-out", "1.25 times"])
    # One that acts always has no side.
    page.check("#patches input[value='street']", force=True)
    eventually(page, "() => document.getElementById('condition-says').hidden")
    assert stand.demo.controls.wear_fold == 0 and page.is_hidden(".legend [data-of='dormant']")
    page.check("#patches input[value='tshirt']", force=True)
    within_a_second(page, SAYS, ["fold-out", "as it hangs"])
    assert page.is_disabled("#wear_fold")


def test_a_print_in_the_image_is_found_and_said(browser: Any, tmp_path: Path) -> None:
    stand = Stand(browser, tmp_path, Wall())
    page = stand.page
    about = page.text_content("#print-says")
    page.keyboard.press("e")
    until(lambda: stand.demo.controls.find_print, 1)
    eventually(page, SAYS, ["print-says", "street-switch: turned by 12"], timeout=10)
    eventually(page, SIDE, "dormant")
    within_a_second(page, SAYS, ["condition-says", "must not act now. It acts when upright."])
    assert page.get_attribute("#condition-says", "data-side") == "dormant"
    page.keyboard.press("e")
    until(lambda: not stand.demo.controls.find_print, 1)
    within_a_second(page, SAYS, ["print-says", about])
    stand.close()
    assert not stand.problems
