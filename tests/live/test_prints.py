"""How prints lie: found in pixels by their own texture, known where software draws them, and the side of the condition."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import BlobDetector

from physadv.errors import SettingsError
from physadv.live import print_finder
from physadv.live.camera_demo import CameraDemo, open_demo
from physadv.live.moved import Move, MovedFrames
from physadv.live.print_finder import LONG_SIDES, PrintFinder, PrintWatch
from physadv.live.print_pose import PrintPose, condition_now
from physadv.live.replay import condition_in, pose_in
from physadv.live.settings import LiveSettings
from physadv.live.shown import Shown
from physadv.live.sidecar import read_lines
from physadv.patch import Patch, load_patch
from physadv.simulate.activation import Activation
from physadv.simulate.fast_render import fast_render
from physadv.simulate.placement import Placement, Prints, people_of
from physadv.simulate.trigger import folded_prints, turned_prints
from physadv.types import Frame, UInt8Array
from tests.live.scene import Film, finished, until

SIZE = (320, 240)
# Of a camera 60 degrees across.
FOCAL = SIZE[0] / 2 / np.tan(np.radians(30))


def photographed(patch: Patch, *, angle: float = 0.0, fold: float = 0.0) -> tuple[UInt8Array, Prints]:
    """Return a grainy image with a print on somebody, as a camera sends it."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    prints = Placement.worn(patch).prints(
        people_of(np.array([[60, 10, 260, 235]], np.float32), np.zeros((1, 17, 3), np.float32))
    )
    prints = folded_prints(turned_prints(prints, angle, aspect=1.0), fold)
    image = cv2.GaussianBlur(fast_render(np.asarray(wall, np.uint8), patch, prints), (0, 0), 0.7)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image)[1], cv2.IMREAD_COLOR), np.uint8), prints


@pytest.mark.parametrize(("angle", "fold"), [(0.0, 0.0), (35.0, 0.0), (-140.0, 0.0), (20.0, 0.375), (0.0, -0.5)])
def test_a_print_is_found_with_its_turn_fold_and_distance(angle: float, fold: float) -> None:
    patch = load_patch("street-switch")
    image, _ = photographed(patch, angle=angle, fold=fold)
    others = [(load_patch(name), 36.0) for name in ("webcam", "street-portrait")]
    found = PrintFinder().find(image, [*others, (patch, 36.0)], None)
    assert found is not None and found.name == "street-switch" and found.sure > 0.6
    assert abs(found.tilt - angle) < 4
    assert abs(found.fold - fold) <= 0.125
    whole = photographed(patch, angle=angle)[1].quads[0]
    assert np.abs(np.array(found.corners) - whole).max() < 5
    wide = np.linalg.norm(whole[1] - whole[0])
    assert abs(found.distance / (FOCAL * 36 / wide / 100) - 1) < 0.06
    # A calibrated camera of twice the focal length is twice as far away.
    far = PrintFinder().find(image, [(patch, 36.0)], 2 * FOCAL)
    assert far is not None and abs(far.distance / found.distance - 2) < 0.05


def test_a_small_print_is_found_once_the_image_is_enlarged() -> None:
    patch = load_patch("webcam")
    large, _ = photographed(patch, angle=35.0)
    small = MovedFrames().move(Frame(large, 0, 0, 0.0), Move(farther=5.0)).pixels
    assert PrintFinder().find(small, [(patch, 36.0)], None, longest=320) is None
    found = PrintFinder().find(small, [(patch, 36.0)], None, longest=LONG_SIDES[1])
    assert found is not None and abs(found.tilt - 35) < 4


def test_nothing_is_found_where_there_is_no_print() -> None:
    patch = load_patch("street")
    image, _ = photographed(load_patch("webcam"))
    assert PrintFinder().find(image, [(patch, 36.0)], None) is None
    assert PrintFinder().find(np.full((64, 64, 3), 90, np.uint8), [(patch, 36.0)], None) is None
    # Seen in a mirror it is another pattern.
    assert PrintFinder().find(image[:, ::-1].copy(), [(load_patch("webcam"), 36.0)], None) is None


def test_the_watch_looks_at_the_newest_frame_and_forgets_another_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Finder:
        def find(
            self, pixels: UInt8Array, patches: Sequence[tuple[Patch, float]], focal_px: float | None, *, longest: int
        ) -> PrintPose:
            assert longest == LONG_SIDES[0]
            seen.append(int(pixels[0, 0, 0]))
            return PrintPose("p", float(pixels[0, 0, 0]), 0.0, 2.0)

    monkeypatch.setattr(print_finder, "PrintFinder", Finder)
    watch = PrintWatch()
    assert watch.latest() is None
    for number in range(5):
        watch.offer(Frame(np.full((8, 8, 3), number, np.uint8), number, 0, 0.0), [], None)
    until(lambda: (pose := watch.latest()) is not None and pose.tilt == 4)
    # The first may have been taken before the last came; between two looks it rests.
    assert len(seen) <= 2
    watch.reset()
    assert watch.latest() is None
    watch.close()
    watch.close()


def test_a_condition_says_on_which_side_a_view_is() -> None:
    patch = load_patch("street-switch")

    def side(tilt: float) -> tuple[str, str]:
        now = condition_now(patch, PrintPose("street-switch", tilt, 0.0, 3.0))
        assert now is not None and now.when == "upright"
        return now.side, now.text

    assert side(tilt=10) == ("active", "tilt 10 degrees")
    assert side(tilt=-120)[0] == "dormant" and side(tilt=45)[0] == ""
    unknown = condition_now(patch, None)
    assert unknown is not None and (unknown.side, unknown.text) == ("", "")
    assert condition_now(load_patch("street"), None) is None
    # What is not known is not taken for granted: neither light nor colour is measured.
    both = Activation.of("upright,light:bright")
    assert both.side_now({"tilt": 0.0}) == "" and both.side_now({"tilt": 0.0, "light": 1.0}) == "active"
    assert both.side_now({"tilt": 90.0}) == "dormant"
    assert Activation.of("near:2").side_now({"distance": 6.0}) == "dormant"


def test_frames_are_made_smaller_and_each_is_known_by_how_much() -> None:
    moved = MovedFrames()
    frame = Frame(np.full((40, 60, 3), 200, np.uint8), 0, 0, 0.0)
    assert moved.move(frame, Move()) is frame
    small = moved.move(frame, Move(farther=2.0))
    assert small.size == frame.size
    inner = (small.pixels == 200).all(2)
    assert inner.sum() == 20 * 30 and inner[10:30, 15:45].all() and (small.pixels[~inner] == 114).all()
    assert moved.of(small) == Move(0.0, 2.0) and moved.of(frame) == Move()
    both = moved.move(frame, Move(90.0, 4.0))
    assert both.size == (40, 60) and moved.of(both) == Move(90.0, 4.0)


def demo(**settings: object) -> CameraDemo:
    return open_demo(LiveSettings(**{"ui": "none", **settings}), source=Film(4), detector=BlobDetector())  # type: ignore[arg-type]


def test_what_is_worn_is_folded_made_smaller_and_recorded_with_the_side_of_its_condition(tmp_path: Path) -> None:
    lines = tmp_path / "out.jsonl"
    every: list[Shown] = []
    running = demo(wear=["street-switch"], wear_angle=120, wear_fold=0.25, farther=1.5, find_print=True, record=lines)
    running.subscribe(every.append)
    finished(running)
    assert {(s.worn_fold, s.farther) for s in every} == {(0.25, 1.5)}
    assert {s.condition.side for s in every if s.condition} == {"dormant"} and all(s.condition for s in every)
    assert every[0].lines[1] == "image made 1.5 times smaller by software"
    assert "turned 120 deg, 25% folded away" in every[0].lines[-1]
    pose = every[0].worn_pose
    assert pose is not None and (pose.tilt, pose.fold) == (120, 0.25)
    recorded = list(read_lines(lines))
    assert [(r["worn_fold"], r["farther"]) for r in recorded] == [(0.25, 1.5)] * 4
    again = pose_in(recorded[0], "worn_pose")
    assert again is not None and (again.tilt, again.fold, again.distance) == (120, 0.25, round(pose.distance, 2))
    assert pose_in({}, "print_found") is None
    assert condition_in(recorded[0]) == every[0].condition
    whole: list[Shown] = []
    plain = demo(wear=["street-switch"])
    plain.subscribe(whole.append)
    finished(plain)
    # 1.5 times smaller is 1.5 times as far.
    assert whole[0].worn_pose is not None and abs(pose.distance / whole[0].worn_pose.distance - 1.5) < 0.15
    assert whole[0].condition is not None and whole[0].condition.side == "active"


def test_another_pattern_hangs_unfolded_and_clothes_are_not_folded() -> None:
    running = demo(wear=["street"], wear_fold=0.5)
    assert running.controls.wear_fold == 0.5
    assert running.control(wear="street", wear_size=30).wear_fold == 0.5
    assert running.control(wear="street-switch").wear_fold == 0
    running.stop()
    with pytest.raises(SettingsError, match="worn as clothes") as refused:
        demo(wear=["tshirt"], wear_fold=0.25)
    assert refused.value.field == "wear_fold"
