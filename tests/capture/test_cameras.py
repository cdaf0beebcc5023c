"""The sample, the visitor's browser, and webcams behind a stand-in for OpenCV's capture."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from physadv.capture import is_live, open_source
from physadv.capture.browser import BrowserSource
from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.capture.webcam import Camera, WebcamSource
from physadv.errors import CameraLost, EndOfStream, SourceError
from tests.capture.server import image


def jpeg(number: int) -> bytes:
    return cv2.imencode(".jpg", image(number))[1].tobytes()


def test_sample_is_seeded_smooth_and_of_the_size_asked() -> None:
    one, same, other = SampleSource(), SampleSource(), SampleSource(CaptureSettings(seed=1))
    assert one.image(40).shape == (480, 640, 3)
    assert np.array_equal(one.image(40), same.image(40))
    assert not np.array_equal(one.image(40), other.image(40))
    a, b, far = (one.image(i).astype(int) for i in (40, 41, 100))
    assert 0 < np.abs(a - b).mean() < np.abs(a - far).mean()
    assert SampleSource(CaptureSettings(width=1280, height=720)).image(0).shape == (720, 1280, 3)


def test_one_scene_of_the_sample_by_its_name() -> None:
    every = SampleSource()
    for number, name in enumerate(("whole", "webcam", "street")):
        source = open_source(f"sample:{name}")
        assert isinstance(source, SampleSource)
        assert source.name == "sample" and source.live and is_live(f"sample:{name}")
        for index in (number * 240, number * 240 + 100):
            assert np.array_equal(source.image(index), every.image(index))
    with pytest.raises(SourceError, match="sample:whole, sample:webcam, sample:street"):
        open_source("sample:moon")


def test_sample_is_paced_like_a_camera() -> None:
    source = SampleSource(CaptureSettings(fps=50, width=64, height=48))
    frames = [source.read() for _ in range(20)]
    took = (frames[-1].captured_ns - frames[0].captured_ns) / 1e9
    assert took >= frames[-1].pts_s - frames[0].pts_s - 0.02, "faster than its rate"
    assert took <= frames[-1].pts_s + 0.25
    time.sleep(0.2)
    late = source.read()
    assert late.index >= frames[-1].index + 9, "images that nobody read in time are lost, not kept"
    source.close()
    with pytest.raises(EndOfStream):
        source.read()


def test_browser_images_come_newest_first() -> None:
    source = BrowserSource()
    for number in range(3):
        source.push(jpeg(number), captured_ms=1000.0 + number * 40)
    frame = source.read()
    assert frame.index == 2
    assert int(np.argmax(frame.pixels[60].mean(1) > 150)) == pytest.approx(10, abs=2)
    assert frame.captured_ns <= time.monotonic_ns()


def test_browser_clock_tells_late_deliveries() -> None:
    source = BrowserSource()
    source.push(jpeg(0), captured_ms=0.0)
    first = source.read()
    time.sleep(0.12)
    source.push(jpeg(1), captured_ms=20.0)
    late = source.read()
    assert (late.captured_ns - first.captured_ns) / 1e6 == pytest.approx(20, abs=2)
    for bad in (float("nan"), float("inf"), -1e300):
        source.push(jpeg(2), captured_ms=bad)
        assert source.read().captured_ns > late.captured_ns


def test_browser_waits_for_the_first_image_and_tells_a_loss() -> None:
    source = BrowserSource(CaptureSettings(read_timeout=0.1))
    threading.Timer(0.3, source.push, (jpeg(1),)).start()
    assert source.read().index == 0
    with pytest.raises(CameraLost):
        source.read()
    threading.Timer(0.3, source.close).start()
    with pytest.raises(EndOfStream):
        source.read()


def test_browser_refuses_what_is_no_image() -> None:
    source = BrowserSource()
    for data in (b"", b"hello", jpeg(1)[:10], b"\xff\xd8" + b"\0" * 5_000_000):
        with pytest.raises(SourceError):
            source.push(data)
    huge = bytearray(jpeg(1))
    at = huge.index(b"\xff\xc0")
    huge[at + 5 : at + 9] = b"\x4e\x20\x4e\x20"
    with pytest.raises(SourceError, match="20000 x 20000"):
        source.push(bytes(huge))
    source.push(jpeg(1)[:-300])
    source.push(jpeg(2))
    assert source.read().index == 1


class FakeCapture:
    """What OpenCV's VideoCapture would be, with a driver that refuses what is in `refuses`."""

    refuses: frozenset[int] = frozenset()
    there = True

    def __init__(self, number: int, api: int) -> None:
        self.number, self.set_to, self.left, self.released = number, dict[int, float](), 5, False
        opened.append(self)

    def isOpened(self) -> bool:
        return self.there

    def grab(self) -> bool:
        return True

    def set(self, prop: int, value: float) -> bool:
        self.set_to[prop] = value
        return prop not in self.refuses

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_EXPOSURE: 156.0, cv2.CAP_PROP_WB_TEMPERATURE: 4600.0}.get(prop, 0.0)

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        out = np.zeros((48, 64, 3), np.uint8)
        out[..., 0] = 200
        return (True, out) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


opened: list[FakeCapture] = []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    opened.clear()
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    monkeypatch.setattr(FakeCapture, "refuses", frozenset())
    monkeypatch.setattr(FakeCapture, "there", True)
    return FakeCapture


def test_webcam_gives_rgb_and_opens_again_after_a_loss(fake: type[FakeCapture]) -> None:
    source = WebcamSource("0", CaptureSettings(width=64, height=48, fps=30))
    frames = [source.read() for _ in range(5)]
    assert tuple(frames[0].pixels[0, 0]) == (0, 0, 200), "OpenCV's BGR turned to RGB"
    assert opened[0].set_to[cv2.CAP_PROP_FRAME_WIDTH] == 64
    assert opened[0].set_to[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    with pytest.raises(CameraLost):
        source.read()
    assert opened[0].released
    assert source.read().index == 5
    assert len(opened) == 2
    source.close()
    assert opened[1].released


def test_webcam_locks_exposure_and_white_balance(fake: type[FakeCapture]) -> None:
    WebcamSource("2", CaptureSettings(lock_exposure=True, white_balance=5000)).open()
    assert opened[0].set_to[cv2.CAP_PROP_EXPOSURE] == 156.0
    assert opened[0].set_to[cv2.CAP_PROP_AUTO_WB] == 0
    assert opened[0].set_to[cv2.CAP_PROP_WB_TEMPERATURE] == 5000


def test_a_refused_lock_is_an_error_not_a_shrug(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCapture, "refuses", frozenset({cv2.CAP_PROP_AUTO_EXPOSURE}))
    with pytest.raises(SourceError, match="refuses automatic exposure off"):
        WebcamSource("0", CaptureSettings(exposure=100)).open()
    assert opened[0].released


def test_a_link_is_taken_for_the_camera_that_it_leads_to(
    fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lasting = tmp_path / "by-id"
    lasting.symlink_to("/dev/video7")
    monkeypatch.setattr("physadv.capture.webcam.stat.S_ISCHR", lambda mode: False)
    assert is_live(str(lasting)), "also while it is pulled out"
    source = open_source(str(lasting))
    assert opened[0].number == 7
    for _ in range(5):
        source.read()
    # It is pulled out, and comes back as another number.
    lasting.unlink()
    lasting.symlink_to("/dev/video2")
    with pytest.raises(CameraLost):
        source.read()
    source.read()
    assert opened[1].number == 2


def test_a_damaged_image_is_no_loss(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, turns = FakeCapture.read, iter([True, False, False, True])
    monkeypatch.setattr(FakeCapture, "read", lambda self: plain(self) if next(turns, True) else (False, None))
    said: list[str] = []
    source = open_source("0", notify=said.append)
    assert [source.read().index for _ in range(3)] == [0, 3, 4]
    assert len(opened) == 1
    assert "left out 2 damaged images" in said[0]


def test_devices_are_cameras_or_refused_and_never_videos(tmp_path: Path) -> None:
    (tmp_path / "cam").symlink_to(os.devnull)
    assert is_live(str(tmp_path / "cam")) and is_live(os.devnull) and is_live("/dev/v4l/by-id/usb-Some_Camera")
    with pytest.raises(SourceError, match="a device, but no camera"):
        open_source(str(tmp_path / "cam"))
    with pytest.raises(CameraLost, match="there is no"):
        open_source("/dev/v4l/by-id/usb-Some_Camera")
    (tmp_path / "video0").write_bytes(b"")
    assert not is_live(str(tmp_path / "video0")) and not is_live("rtsp.mp4")
    try:
        os.mknod(tmp_path / "node", stat.S_IFCHR | 0o600, os.makedev(81, 250))
    except OSError:
        pytest.skip("a device can be made by root alone")
    (tmp_path / "link").symlink_to(tmp_path / "node")
    with pytest.raises(CameraLost, match="node cannot be opened"):
        open_source(str(tmp_path / "link"))


def test_auto_takes_the_first_webcam_that_answers(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [Camera(1, "/dev/video1", "one"), Camera(4, "/dev/video4", "four")]
    monkeypatch.setattr("physadv.capture.cameras", lambda: listed)
    monkeypatch.setattr(FakeCapture, "isOpened", lambda self: self.number == 4)
    assert open_source("auto").name == "webcam 4"
    monkeypatch.setattr(FakeCapture, "isOpened", lambda self: False)
    assert open_source("auto").name == "sample"


def test_a_webcam_that_is_not_there() -> None:
    with pytest.raises(CameraLost, match="/dev/video97"):
        open_source("97")
    with pytest.raises(CameraLost, match="/dev/video97"):
        open_source("/dev/video97")


def test_auto_without_cameras_is_quick_and_silent() -> None:
    code = (
        "import physadv.capture as c, time\n"
        "c.cameras = lambda: []\n"
        "t = time.monotonic(); s = c.open_source('auto'); s.read()\n"
        "print(s.name, time.monotonic() - t < 2)"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["sample", "True"]
    assert done.stderr == ""


def test_settings_want_both_sides() -> None:
    with pytest.raises(ValueError, match="both or neither"):
        CaptureSettings(width=640)
