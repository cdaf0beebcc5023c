"""What to wear, by how the camera sees people; taken off and put on again for a defence that never saw them."""

import time
from collections.abc import Callable

import pytest

from physadv.errors import SettingsError
from physadv.live.camera_demo import SETTLED, CameraDemo
from physadv.live.figures import Recent
from physadv.live.recommend import Recommendation, View, usual_cm
from physadv.live.shown import Shown
from physadv.live.wearing import LONGEST_S, Viewpoint, WarmStart, objection
from physadv.patch import load_patch
from tests.live.scene import Camera, demo
from tests.live.test_scenes import Doubting, worn  # noqa: F401 -- a fixture

SMALL, NEAR = (View(180.0, 1.0, 0.4, 180.0, hips=True, legs=True), View(900.0, 0.5, 0.9, 430.0, hips=False, legs=False))


def test_one_who_comes_near_for_a_moment_changes_nothing_and_a_cut_everything() -> None:
    seen = Viewpoint()
    assert seen.view is None
    for i in range(20):
        seen.see(SMALL, i / 10)
    seen.see(NEAR, 2.0)
    views = [seen.view]
    seen.cut()
    seen.see(NEAR, 2.1)
    assert [*views, seen.view] == [SMALL, NEAR]


def test_a_pattern_for_another_framing_is_objected_to() -> None:
    street, webcam = load_patch("street"), load_patch("webcam")
    assert objection(street, NEAR, Recommendation("webcam", 48.0, "")) == (
        "street is made for people in the street, small and whole; here people fill the image, and webcam does more."
    )
    assert "here people are small, and street does more" in objection(webcam, SMALL, Recommendation("street", 48.0, ""))
    assert objection(webcam, SMALL, None).endswith("here people are small.")
    assert objection(webcam, NEAR, None) == objection(webcam, None, None) == ""
    assert objection(street, NEAR, Recommendation("street", 48.0, "")) == ""


def test_off_until_somebody_was_seen_for_two_seconds_since_the_last_cut() -> None:
    warm_start, off = WarmStart(), []
    assert not warm_start.is_off(0.0, cut=False)
    warm_start.begin()
    for i in range(60):
        off.append(warm_start.is_off(i / 10, cut=i == 10))
        warm_start.saw(1 if i >= 5 else 0, i / 10)
    assert off == [True] * 30 + [False] * 30
    warm_start.begin()
    assert warm_start.is_off(10.0, cut=False) and not warm_start.is_off(10.1 + LONGEST_S, cut=False), "nobody came"


def test_figures_are_of_the_last_three_seconds() -> None:
    recent = Recent()
    assert recent.percentile(50, 0.0) is None
    for i in range(100):
        recent.add(500.0, i / 10)
    for i in range(31):
        recent.add(20.0, 10 + i / 10)
    assert recent.percentile(50, 13.01) == 20
    assert recent.percentile(50, 17.0) is None


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@pytest.fixture
def running(worn: str) -> CameraDemo:  # noqa: F811
    return demo(Camera(fps=30), Doubting(), wear=[worn], defend="persistence", ui="web")


def test_off_and_on_again_makes_persistence_hold_people_it_never_saw(running: CameraDemo) -> None:
    every: list[Shown] = []
    running.subscribe(every.append)
    running.start()
    try:
        until(lambda: bool(running.state()["warm_start"]["offer"]))
        assert (
            "never" in running.state()["warm_start"]["text"]
            or "without the pattern" in running.state()["warm_start"]["text"]
        )
        assert running.warm_start()["running"]
        until(lambda: any(s.worn == "" for s in every))
        until(lambda: not running.state()["warm_start"]["running"])
        count = len(every)
        until(lambda: len(every) > count + 10)
        assert {w.state for s in every[count + 2 : count + 10] for w in s.wearers or ()} == {"held"}
        assert not running.state()["warm_start"]["offer"]
        running.control(wear="")
        with pytest.raises(SettingsError, match="no pattern is worn"):
            running.warm_start()
    finally:
        running.stop()


def test_following_wears_what_fits_the_view_until_another_pattern_is_chosen(running: CameraDemo) -> None:
    every: list[Shown] = []
    running.subscribe(every.append)
    running.start()
    try:
        # The made-up person fills the image from head to foot.
        until(lambda: running.state()["recommended"] is not None)
        name = running.state()["recommended"]["name"]
        assert name in ("outfit", "webcam")
        running.control(wear="street", wear_size=30, follow=True)
        until(lambda: running.controls.wear == name)
        until(lambda: any(s.controls.follow for s in every))
        assert {s.worn for s in every if s.controls.follow} == {name}, "from the first image on"
        best = running.state()["recommended"]
        assert (running.controls.wear_size, running.state()["wear_notice"]) == (best["width_cm"], "")
        running.control(wear="street")
        assert (running.controls.follow, running.controls.wear_size) == (False, usual_cm(load_patch("street")))
        assert "is made for people in the street" in running.state()["wear_notice"]
        running.control(wear_size=None)
        assert running.controls.wear_size is None
        until(lambda: bool(every[-1].worn_lit) and every[-1].lines[-1].endswith(", lit"))
        running.control(wear_lit=False)
        until(lambda: every[-1].worn_lit is False and every[-1].lines[-1].endswith(", flat"))
        # By an old name the one that took its place is worn, and it is said.
        running.control(wear="chest-v3")
        assert running.controls.wear == "webcam"
        assert any("webcam took its place" in n.text for n in running.notices.newest())
    finally:
        running.stop()


def test_a_switch_starts_the_figures_anew(running: CameraDemo) -> None:
    running.start()
    try:
        until(lambda: running.state()["figures"]["fps"] is not None and running.figures.frames > 20)
        running.figures.clear_recent()
        figures = running.figures.recent()
        assert figures["fps"] is None or running.figures.frames > 20
        running.control(compare=False)
        until(lambda: "detect" not in running.state()["figures"]["stage_ms"])
    finally:
        running.stop()


def test_what_defences_cost_is_measured_on_this_machine(running: CameraDemo) -> None:
    with pytest.raises(SettingsError, match="no frame"):
        running.measure_costs(("fast",))
    running.start()
    try:
        until(lambda: running.latest is not None)
        running.measure_costs(("fast", "no-such"))
        until(lambda: "fast" in running.state()["defence_costs"])
        assert running.state()["defence_costs"].keys() == {"fast"} and running.state()["defence_costs"]["fast"] > 0
        assert any("no-such was not measured" in n.text for n in running.notices.newest())
        assert running.controls.defend == "persistence"
    finally:
        running.stop()


def test_costs_are_measured_by_themselves_once_images_are_shown(running: CameraDemo) -> None:
    running.measure_costs_once_shown(("fast", "median"))
    shown: list[set[str]] = []
    running.subscribe(lambda _: shown.append(set(running.state()["defence_costs"])))
    running.start()
    try:
        until(lambda: running.state()["defence_costs"].keys() >= {"fast", "median"})
        assert not any({"fast", "median"} & known for known in shown[: SETTLED - 1]), (
            "the first images wait for nothing"
        )
        count = len(shown)
        until(lambda: len(shown) > count + 2 * SETTLED)
        assert not running.state()["busy"].get("costs"), "once for a detector"
    finally:
        running.stop()
