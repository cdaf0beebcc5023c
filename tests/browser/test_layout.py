"""Where things are: the image stays in sight while the controls are used, nothing covers or cuts anything else."""

from typing import Any

import pytest

from tests.browser.stand import Stand, eventually, open_more

pytestmark = pytest.mark.browser
BOX = "(id) => { const b = document.getElementById(id).getBoundingClientRect(); return [b.top, b.bottom]; }"


def place(page: Any, name: str) -> tuple[float, float]:
    top, bottom = page.evaluate(BOX, name)
    return top, bottom


def headings(page: Any) -> list[str]:
    found: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('#controls h2')].filter((h) => h.checkVisibility()).map((h) => h.textContent)"
    )
    return found


# Texts of one panel that lie over each other.
COLLIDE = """() => {
  const leaves = [...document.querySelectorAll("main *")]
    .filter((n) => n.checkVisibility() && n.textContent.trim() && !n.children.length && n.tagName !== "OPTION")
    .filter((n) => !n.matches(".visually-hidden"));
  const boxes = leaves.map((n) => {
    const range = document.createRange();
    range.selectNodeContents(n);
    return [n, range.getBoundingClientRect(), n.closest(".panel, .stage, .figures")];
  }).filter(([, box]) => box.width);
  const over = ([, a, one], [, b, two]) => one === two
    && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap((one, i) => boxes.slice(i + 1).filter((two) => over(one, two))
    .map((two) => one[0].textContent.trim() + " | " + two[0].textContent.trim()));
}"""
# What a finger has to hit and cannot, smaller than 44 px (24 for a switch, which has its label beside it).
SMALL = """() => [...document.querySelectorAll("button, .button, select, .switch, input[type=text]")]
  .filter((n) => n.checkVisibility() && n.getBoundingClientRect().height < 43.5 && !n.closest(".defences"))
  .map((n) => n.outerHTML.slice(0, 80))"""


def test_a_laptop_shows_the_first_steps_and_keeps_the_image_in_sight(stand: Stand) -> None:
    page = stand.page
    page.set_viewport_size({"width": 1440, "height": 900})
    assert headings(page) == [
        "Wear a pattern", "Defend", "All patterns, by where they work", "Source", "Detection", "Detector", "Recordings",
    ]  # fmt: skip
    assert place(page, "cards")[1] < 900
    before = place(page, "stage")
    page.evaluate("() => document.getElementById('detector-load').scrollIntoView({ block: 'nearest' })")
    assert place(page, "stage") == before
    assert 0 < place(page, "detector-load")[1] <= 900
    page.check("#patches input[value='checkers']", force=True)
    page.click(".card[data-defend=fast]")
    page.wait_for_selector("#pane-bare:not([hidden])")
    for width in (1440, 1280, 1024, 901):
        page.set_viewport_size({"width": width, "height": 720})
        page.evaluate("""() => {
          for (const [id, text] of [["f-latency50", "1,113"], ["f-latency95", "1,329"], ["f-dropped", "420,000"]])
            document.getElementById(id).textContent = text;
        }""")
        assert page.evaluate(COLLIDE) == []
        wide = (
            "() => [...document.querySelectorAll('.figures > div')].filter((d) => d.scrollWidth > d.clientWidth).length"
        )
        assert page.evaluate(wide) == 0


def test_a_phone_keeps_the_image_on_top_and_nothing_runs_out_of_it(stand: Stand) -> None:
    page = stand.open(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.click("#patches input[value='checkers'] + img")
    page.click(".card[data-defend=fast]")
    page.wait_for_selector("#pane-bare:not([hidden])")
    for name in ("defend-panel", "patterns-panel", "detector-panel"):
        page.evaluate("(id) => document.getElementById(id).scrollIntoView()", name)
        assert place(page, "stage")[0] == 0, name
        assert place(page, "stage")[1] <= place(page, name)[0], name
    page.evaluate("() => scrollTo(0, 0)")
    assert place(page, "wear-panel")[0] < 844
    assert page.evaluate(SMALL) == []
    for width in (390, 360, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(COLLIDE) == []
    eventually(page, "() => document.querySelectorAll('.bar nav a').length > 3")
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate(
        """() => {
          const nav = document.querySelector(".bar nav");
          return nav.scrollWidth <= nav.clientWidth && nav.lastChild.getBoundingClientRect().right
            <= document.querySelector(".bar .end").getBoundingClientRect().left;
        }"""
    )


def test_full_screen_has_words_for_the_back_of_a_room(stand: Stand) -> None:
    page = stand.page
    page.check("#patches input[value='checkers']", force=True)
    page.click(".card[data-defend=fast]")
    page.wait_for_selector("#aside:not([hidden])")
    page.click("#fullscreen")
    eventually(page, "() => document.fullscreenElement !== null")
    eventually(page, "() => document.getElementById('aside').getBoundingClientRect().bottom <= innerHeight")
    assert page.evaluate("() => document.getElementById('main').getBoundingClientRect().height > innerHeight / 4")
    eventually(page, "() => document.getElementById('big').innerText.replace(/\\s+/g, ' ').startsWith('checkers')")
    assert page.get_attribute(".card[data-defend=fast]", "aria-pressed") == "true"
    eventually(page, "() => /defence: fast[^]*fps/.test(document.getElementById('big').innerText)")
    for name in ("big", "main-says"):
        size = f"() => parseFloat(getComputedStyle(document.getElementById('{name}')).fontSize) / innerHeight"
        assert page.evaluate(size) > (0.04 if name == "big" else 0.025), name
    assert place(page, "big")[1] <= page.evaluate("innerHeight") + 0.5


def test_the_true_size_tools_leave_a_small_pattern_uncovered_on_a_phone(stand: Stand) -> None:
    page = stand.open(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.goto(stand.server.url + "show")
    page.click("#fits")
    page.wait_for_selector("#stage:not([hidden])")
    page.fill("#size", "5")
    eventually(page, "() => document.getElementById('image').naturalWidth > 0")
    image, tools, hint = (place(page, name) for name in ("image", "tools", "hint"))
    assert hint[1] <= image[0]
    assert image[1] <= tools[0]
    assert tools[1] <= 844


def test_the_image_given_to_the_detector_moves_no_pane(stand: Stand) -> None:
    page = stand.page
    open_more(page)
    page.check("#seen", force=True)
    eventually(page, "() => document.getElementById('seen-says').textContent.startsWith('Nothing that is on')")
    page.check("#defence-rotate", force=True)
    eventually(page, "() => document.getElementById('main-name').textContent === 'given to the detector'")
    size = "(id) => { const c = document.getElementById(id); return [c.width, c.height, c.offsetTop, c.offsetHeight]; }"
    assert page.evaluate(size, "bare") == page.evaluate(size, "main")
    assert page.text_content("#seen-says") == "This is the image that it is given."
