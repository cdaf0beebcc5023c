"""Webcams through OpenCV: what is there, opening with a time limit, locking exposure and white balance."""

from __future__ import annotations

import os
import re
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from physadv.capture.settings import CaptureSettings
from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.types import Frame

# Pictures after which automatic exposure and white balance have settled, about one second.
SETTLE_PICTURES = 30
_VIDIOC_QUERYCAP = 0x80685600
_CAPTURES = 0x1


@dataclass(frozen=True, slots=True)
class Camera:
    """A capture device: the index that OpenCV knows it by, its node and the name its driver gives."""

    index: int
    node: str
    name: str


def cameras() -> list[Camera]:
    """Return the capture devices that the system lists, without opening them.

    On Linux /dev/video* nodes that can capture; elsewhere there is no list to read without opening, so four are assumed.
    """
    if sys.platform != "linux":
        return [Camera(i, str(i), f"camera {i}") for i in range(4)]
    found = []
    for node in Path("/dev").glob("video*"):
        match = re.fullmatch(r"video(\d+)", node.name)
        name = _capture_name(node) if match else None
        if match and name is not None:
            found.append(Camera(int(match[1]), str(node), name))
    return sorted(found, key=lambda c: c.index)


def _capture_name(node: Path) -> str | None:
    """Return the driver's name of a V4L2 node that captures video, or None (a metadata node, or not accessible)."""
    from fcntl import ioctl

    buffer = bytearray(104)
    try:
        handle = os.open(node, os.O_RDWR | os.O_NONBLOCK)
        try:
            ioctl(handle, _VIDIOC_QUERYCAP, buffer)
        finally:
            os.close(handle)
    except OSError:
        return None
    (device_caps,) = struct.unpack_from("<I", buffer, 88)
    return buffer[16:48].split(b"\0")[0].decode(errors="replace") if device_caps & _CAPTURES else None


class WebcamSource:
    """A webcam. Opens at the first `read` and again after a loss; asks for size, rate and MJPG as the settings say."""

    live = True

    def __init__(self, spec: str, settings: CaptureSettings | None = None) -> None:
        self.settings = settings or CaptureSettings()
        self.name = f"webcam {spec}"
        self._spec = spec
        self._capture: Any = None
        self._index = 0
        self._first_ns: int | None = None
        self._closed = False
        self._reading = threading.Lock()

    def open(self) -> None:
        """Open the device and lock what is to be locked; does nothing if it is open.

        Raises: CameraLost if it is not there, busy, or gives no picture. SourceError if it refuses a lock that was asked
        for: a comparison under drifting exposure would be worth nothing.
        """
        if self._capture is not None:
            return
        quieten_opencv()
        node = self._spec if not self._spec.isdecimal() else f"/dev/video{self._spec}"
        if sys.platform == "linux" and not Path(node).exists():
            raise CameraLost(f"{self.name}: there is no {node}")
        number = int(re.sub(r"\D", "", self._spec))
        capture = cv2.VideoCapture(number, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        try:
            if not capture.isOpened():
                raise CameraLost(f"{self.name}: cannot be opened (in use by another program, or no permission)")
            self._ask(capture)
            if not capture.grab():
                raise CameraLost(f"{self.name}: opens but gives no picture")
            self._lock(capture)
        except BaseException:
            capture.release()
            raise
        self._capture = capture

    def read(self) -> Frame:
        """Return the next picture.

        Raises: CameraLost when the device gives none. EndOfStream after `close`. SourceError if a lock is refused.
        """
        with self._reading:
            if self._closed:
                self._release()
                raise EndOfStream(f"{self.name} was closed")
            self.open()
            ok, picture = self._capture.read()
            captured_ns = self._light_arrived(time.monotonic_ns())
            if not ok or picture is None or picture.ndim != 3:
                self._release()
                raise CameraLost(f"{self.name}: gives no picture any more")
        if self._first_ns is None:
            self._first_ns = captured_ns
        index, self._index = self._index, self._index + 1
        pixels = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return Frame(pixels, index, captured_ns, (captured_ns - self._first_ns) / 1e9)

    def close(self) -> None:
        """Give the device back, at the latest at the next `read`. Safe to call twice and from another thread."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            self._release()
            self._reading.release()

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _light_arrived(self, now: int) -> int:
        """Return when the driver received the picture: V4L2 stamps buffers with the monotonic clock that we use."""
        stamp = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6) if sys.platform == "linux" else 0
        return stamp if 0 <= now - stamp < 1_000_000_000 else now

    def _ask(self, capture: Any) -> None:
        want = self.settings
        if want.mjpg:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        if want.width and want.height:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, want.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, want.height)
        if want.fps:
            capture.set(cv2.CAP_PROP_FPS, want.fps)

    def _lock(self, capture: Any) -> None:
        want = self.settings
        if want.lock_exposure or want.lock_white_balance:
            for _ in range(SETTLE_PICTURES):
                capture.grab()
        if want.exposure is not None or want.lock_exposure:
            value = capture.get(cv2.CAP_PROP_EXPOSURE) if want.exposure is None else want.exposure
            # 1 is "manual" in V4L2's menu; other systems' drivers take 0.25.
            manual = 1 if sys.platform == "linux" else 0.25
            self._set(capture, cv2.CAP_PROP_AUTO_EXPOSURE, manual, "automatic exposure off")
            self._set(capture, cv2.CAP_PROP_EXPOSURE, value, f"exposure {value:g}")
        if want.white_balance is not None or want.lock_white_balance:
            value = capture.get(cv2.CAP_PROP_WB_TEMPERATURE) if want.white_balance is None else want.white_balance
            self._set(capture, cv2.CAP_PROP_AUTO_WB, 0, "automatic white balance off")
            self._set(capture, cv2.CAP_PROP_WB_TEMPERATURE, value, f"white balance {value:g} K")

    def _set(self, capture: Any, prop: int, value: float, what: str) -> None:
        if not capture.set(prop, value):
            raise SourceError(f"{self.name}: the driver refuses {what}; leave that flag out, or set it with v4l2-ctl")


def quieten_opencv() -> None:
    """Keep OpenCV's warnings about cameras off the terminal, and its wait for a silent device short.

    The wait is read from the environment by OpenCV itself, once, when the first camera is opened.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
