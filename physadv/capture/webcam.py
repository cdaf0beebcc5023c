"""Webcams through OpenCV: list them, open them with a time limit, lock exposure and white balance."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from cv2_enumerate_cameras import enumerate_cameras, supported_backends

from physadv.capture.reading import Damaged, HeldSource, Notify, silent
from physadv.capture.settings import CaptureSettings
from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.types import Frame, UInt8Array

# Images after which automatic exposure and white balance have settled, about one second.
SETTLE_IMAGES = 30
# As many damaged images in a row as a camera may give before it counts as lost.
DAMAGED = 5
# A camera that took longer than this for nothing is silent.
SILENT_S = 1.0
# The kernel's number of video devices; others are not opened to see whether they are cameras.
_V4L_MAJOR = 81


@dataclass(frozen=True, slots=True)
class Camera:
    """A capture device: the index that OpenCV knows it by, its node and the name its driver gives."""

    index: int
    node: str
    name: str


def cameras() -> list[Camera]:
    """Return the capture devices that the system lists, without opening them, by number."""
    # The first backend is the system's own, under whose numbers OpenCV opens cameras.
    found = enumerate_cameras(supported_backends[0])
    return sorted((Camera(c.index, str(c.path or c.index), c.name or f"camera {c.index}") for c in found), key=_number)


def is_webcam(spec: str) -> bool:
    """Return whether `spec` is a webcam's number, or a path that is, leads to or led to a device; nothing is opened.

    Names such as /dev/v4l/by-id/... are links that stay when a camera gets another number, and go with it.
    """
    if spec.isdecimal():
        return True
    node = _node_of(spec)
    try:
        return stat.S_ISCHR(node.stat().st_mode)
    except (OSError, ValueError):
        return re.fullmatch(r"/dev/(video\d+|v4l/.+)", str(node)) is not None


def _node_of(spec: str) -> Path:
    """Return the device that a webcam's number or path leads to at this moment; it need not be there."""
    if spec.isdecimal():
        return Path(f"/dev/video{spec}")
    try:
        return Path(os.path.realpath(Path(spec).expanduser()))
    except (OSError, ValueError, RuntimeError):
        # A NUL in it, a loop of links, or the home of nobody.
        return Path(spec)


def _number(camera: Camera) -> int:
    return camera.index


def _may_be_camera(node: Path) -> bool:
    return re.fullmatch(r"/dev/video\d+", str(node)) is not None or os.major(node.stat().st_rdev) == _V4L_MAJOR


def _for_opencv(node: Path) -> int | str:
    """Return the number by which OpenCV knows a device, or its path."""
    numbered = re.fullmatch(r"/dev/video(\d+)", str(node))
    return int(numbered[1]) if numbered else str(node)


class WebcamSource(HeldSource):
    """A webcam, by number or path. Opens at the first `read` and again after a loss; asks for what the settings say."""

    live = True

    def __init__(self, spec: str, settings: CaptureSettings | None = None, notify: Notify = silent) -> None:
        super().__init__()
        self.settings = settings or CaptureSettings()
        self.name = f"webcam {spec}"
        self._spec = spec
        self._capture: Any = None
        self._index = 0
        self.damaged = Damaged(self.name, notify)
        self._first_ns: int | None = None

    def open(self) -> None:
        """Open the device and lock what is to be locked; does nothing if it is open.

        Raises: CameraLost if it is not there, busy, or gives no image. SourceError if it refuses a lock that was asked
        for: a comparison under drifting exposure would be worthless.
        """
        if self._capture is not None:
            return
        shorten_wait()
        # A link may lead elsewhere after a camera was pulled out and put in again.
        node = _node_of(self._spec)
        if sys.platform == "linux" and not node.exists():
            raise CameraLost(f"{self.name}: there is no {node}")
        if sys.platform == "linux" and not _may_be_camera(node):
            raise SourceError(f"{self.name}: {node} is a device, but no camera")
        capture = cv2.VideoCapture(_for_opencv(node), cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        try:
            if not capture.isOpened():
                raise CameraLost(
                    f"{self.name}: {node} cannot be opened (in use by another program, no permission, or no driver)"
                )
            self._ask(capture)
            if not capture.grab():
                raise CameraLost(f"{self.name}: opens but gives no image")
            self._lock(capture)
        except BaseException:
            capture.release()
            raise
        self._capture = capture

    def read(self) -> Frame:
        """Return the next image.

        Raises: CameraLost when the device gives none. EndOfStream after `close`. SourceError if a lock is refused.
        """
        with self._reading:
            if self._closed.is_set():
                self._release()
                raise EndOfStream(f"{self.name} was closed")
            self.open()
            image = self._image()
            captured_ns = self._captured_ns(time.monotonic_ns())
        if self._first_ns is None:
            self._first_ns = captured_ns
        index, self._index = self._index, self._index + 1
        pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return Frame(pixels, index, captured_ns, (captured_ns - self._first_ns) / 1e9)

    def _image(self) -> UInt8Array:
        """Return the device's next whole image (h, w, 3), BGR; damaged ones leave a gap in the index.

        Raises: CameraLost when it gives none, or as many damaged ones in a row as `DAMAGED`.
        """
        why = ""
        for missed in range(DAMAGED):
            began = time.monotonic()
            try:
                ok, image = self._capture.read()
            except cv2.error as error:
                ok, image, why = False, None, f" ({error.err})"
            if ok and image is not None and image.ndim == 3:
                self.damaged.add(missed)
                self._index += missed
                return cast(UInt8Array, image)
            # OpenCV says the same of an image that it cannot decode, at once, and of none at all, after its limit.
            if time.monotonic() - began > SILENT_S:
                break
        self._release()
        raise CameraLost(f"{self.name}: gives no image any more{why}")

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _captured_ns(self, now: int) -> int:
        """Return when the driver received the image: V4L2 stamps buffers with the monotonic clock that we use."""
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
            for _ in range(SETTLE_IMAGES):
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
            raise SourceError(
                f"{self.name}: the driver refuses {what}", hint="leave that setting out, or set it with v4l2-ctl"
            )


def shorten_wait() -> None:
    """Keep OpenCV's wait for a silent device short.

    It is read from the environment by OpenCV itself, once, when the first camera is opened.
    """
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
