"""What to wear, by how the camera sees people; taken off and put on again for a defence that never saw them."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from tiny import standing

from physadv.errors import SettingsError
from physadv.live.camera_demo import SETTLED, CameraDemo
from physadv.live.figures import Recent
from physadv.live.library import usual_cm
from physadv.live.shown import Shown
from physadv.live.wearing import BEST, LONGEST_S, Viewpoint, WarmStart, objection
from physadv.patch import load_patch
from physadv.types import Detections
from tests.live.scene import Camera, demo
from tests.live.test_scenes import Doubting, worn  # noqa: F401 -- a fixture

SIZE = (640, 480)


def people(*boxes: tuple[float, float, float, float]) -> Detections:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(xyxy, np.full(len(xyxy), 0.9, np.float32), standing(xyxy))


@pytest.mark.parametrize(
    ("view", "box"),
    [("street", (10, 100, 80, 270)), ("whole", (10, 10, 170, 470)), ("webcam", (10, 30, 400, 480))],
)
def test_the_view_is_how_people_stand_in_the_image(view: str, box: tuple[float, float, float, float]) -> None:
    seen = Viewpoint()
    assert seen.view is None
    seen.see(people(), SIZE, 0.0)
    assert seen.view is None
    seen.see(people(box), SIZE, 0.1)
    assert seen.view == view


def test_one_who_comes_near_for_a_moment_changes_nothing_and_a_cut_everything() -> None:
    seen = Viewpoint()
    for i in range(20):
        seen.see(people((10, 100, 80, 270)), SIZE, i / 10)
    seen.see(people((10, 30, 400, 480)), SIZE, 2.0)
    views = [seen.view]
    seen.cut()
    seen.see(people((10, 30, 400, 480)), SIZE, 2.1)
    assert [*views, seen.view] == ["street", "webcam"]


def test_what_is_recommended_is_shipped_for_that_framing_and_others_are_objected_to() -> None:
    for view, best in BEST.items():
        patch = load_patch(best.name)
        assert patch.framing == best.framing
        assert objection(patch, view) == ""
    assert "webcam does more" in objection(load_patch("street"), "webcam")
    assert "street does more" in objection(load_patch("webcam"), "street")
    assert objection(load_patch("webcam"), None) == ""
    assert usual_cm(load_patch("street")) == 48


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
        assert running.state()["recommended"]["name"] == "webcam"
        running.control(wear="street", wear_size=30, follow=True)
        until(lambda: running.controls.wear == "webcam")
        until(lambda: any(s.controls.follow for s in every))
        assert {s.worn for s in every if s.controls.follow} == {"webcam"}, "from the first image on"
        assert (running.controls.wear_size, running.state()["wear_notice"]) == (60, "")
        running.control(wear="street")
        assert (running.controls.follow, running.controls.wear_size) == (False, 48)
        assert "is made for people in the street" in running.state()["wear_notice"]
        running.control(wear_size=None)
        assert running.controls.wear_size is None
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
        until(lambda: running.state()["defence_costs"].keys() == {"persistence"})
        running.measure_costs(("fast", "no-such"))
        until(lambda: "fast" in running.state()["defence_costs"])
        assert 0 <= running.state()["defence_costs"]["fast"] < 1000
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
