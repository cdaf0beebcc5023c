"""The built-in camera: pans, zooms and shakes over photographs of people, near and far, the same for the same seed."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from physadv.arrays import read_image
from physadv.capture.settings import CaptureSettings
from physadv.errors import EndOfStream, SourceError
from physadv.types import Float32Array, Frame, UInt8Array

DEFAULT_FPS = 30.0
DEFAULT_SIZE = (640, 480)
SCENE_S = 8.0


@dataclass(frozen=True, slots=True)
class SampleScene:
    """A photograph and where its people are: the camera's centre wanders around `centre` by up to `reach`, in pixels.

    name: by which the sample shows it alone. view: smallest and largest width of the view, in pixels. columns: so many of
    the photograph's, from its left, are followed by their mirror image, again and again: a street as long as any view; 0
    shows the photograph as it is. shrunk: factor on its size before it is looked at, in whose pixels all these are.
    """

    name: str
    file: str
    centre: tuple[float, float]
    reach: tuple[float, float]
    view: tuple[float, float]
    columns: int = 0
    shrunk: float = 1.0


# Whole people who fill the image, two as before a webcam, and a street of people 175 to 190 pixels high (of 480), for
# whose size street patterns are trained. docs/experiments.md says which pattern hides them in which scene.
SCENES = (
    SampleScene("whole", "bus.jpg", (300.0, 640.0), (110.0, 60.0), (560.0, 720.0)),
    SampleScene("webcam", "zidane.jpg", (810.0, 385.0), (50.0, 20.0), (840.0, 940.0)),
    SampleScene("street", "bus.jpg", (264.0, 234.0), (60.0, 4.0), (680.0, 716.0), columns=660, shrunk=0.4),
)


class SampleSource:
    """A virtual camera that needs no device. Image i depends on seed, size, rate and i alone.

    Like a camera it does not wait for its reader: images that are not read in time are lost and leave a gap in the index.
    """

    live = True
    name = "sample"

    def __init__(self, settings: CaptureSettings | None = None, *, scene: str = "") -> None:
        """scene: the name of the one to stay with, "" for all in turn.

        Raises: SourceError if there is no such scene, or the photographs are not there.
        """
        settings = settings or CaptureSettings()
        self._scenes = [one for one in SCENES if scene in ("", one.name)]
        if not self._scenes:
            names = ", ".join(f"sample:{one.name}" for one in SCENES)
            raise SourceError(field="source", expected=f"sample, or one of its scenes: {names}", got=f"sample:{scene}")
        self.fps = settings.fps or DEFAULT_FPS
        self.size = (settings.width, settings.height) if settings.width and settings.height else DEFAULT_SIZE
        folder = assets_folder()
        self._photos = [_photograph(folder, one) for one in self._scenes]
        rng = np.random.default_rng(settings.seed)
        self._slow = Wander(rng, periods_s=(7.0, 23.0), parts=3)
        self._shake = Wander(rng, periods_s=(0.25, 1.1), parts=4)
        self._start_s: float | None = None
        self._next = 0
        self._closed = threading.Event()

    def read(self) -> Frame:
        """Return the next image when its moment has come.

        Raises: EndOfStream after `close`.
        """
        now = time.monotonic()
        if self._start_s is None:
            self._start_s = now
        # A reader that was away for longer than an image takes has missed those in between.
        index = max(self._next, int((now - self._start_s) * self.fps))
        if self._closed.wait(max(self._start_s + index / self.fps - now, 0)):
            raise EndOfStream(f"{self.name} was closed")
        captured_ns = time.monotonic_ns()
        self._next = index + 1
        return Frame(self.image(index), index, captured_ns, index / self.fps)

    def close(self) -> None:
        """End. Safe to call twice and from another thread."""
        self._closed.set()

    def image(self, index: int) -> UInt8Array:
        """Return image `index`, (h, w, 3) uint8 RGB."""
        t = index / self.fps
        which = int(t / SCENE_S) % len(self._scenes)
        photo = self._photos[which]
        return cv2.warpAffine(  # type: ignore[return-value]
            photo,
            self._view(self._scenes[which], t, photo.shape[1], photo.shape[0]),
            self.size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )

    def _view(self, scene: SampleScene, t: float, width: int, height: int) -> Float32Array:
        """Return the 2 x 3 map from image pixels to photograph pixels at time t."""
        pan_x, pan_y, zoom = self._slow.at(t)
        shake_x, shake_y, roll = self._shake.at(t)
        low, high = scene.view
        looked_at = (low + high) / 2 + zoom * (high - low) / 2
        cx, cy = scene.centre[0] + pan_x * scene.reach[0], scene.centre[1] + pan_y * scene.reach[1]
        if not scene.columns:
            looked_at = min(looked_at, width * 0.98, height * 0.98 * self.size[0] / self.size[1])
            half_w, half_h = looked_at / 2, looked_at / self.size[0] * self.size[1] / 2
            cx, cy = np.clip(cx, half_w, width - half_w), np.clip(cy, half_h, height - half_h)
        scale = looked_at / self.size[0]
        cx, cy = cx + 2.0 * shake_x, cy + 2.0 * shake_y
        angle = np.deg2rad(0.4) * roll
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        mx, my = (self.size[0] - 1) / 2, (self.size[1] - 1) / 2
        return np.array([[c, -s, cx - c * mx + s * my], [s, c, cy - s * mx - c * my]], np.float32)


class SampleFilm:
    """The sample as a film: every image in order, however long each takes. Its scene can be changed."""

    live = False
    name = "sample"

    def __init__(self, settings: CaptureSettings, *, scene: str = "", start_s: float = 0.0) -> None:
        """scene: the first that is shown, "" for all in turn. start_s: the time of the first image.

        Raises: SourceError as `SampleSource`.
        """
        self._settings = settings
        self._scenes: dict[str, SampleSource] = {}
        self._next = 0
        self.show(scene)
        self._next = math.ceil(start_s * self._scenes[scene].fps)
        self._closed = False

    def show(self, scene: str) -> int:
        """Show a scene of the sample from now on; return the number of its first image.

        Raises: SourceError as `SampleSource`.
        """
        if scene not in self._scenes:
            self._scenes[scene] = SampleSource(self._settings, scene=scene)
        self._scene = scene
        return self._next

    def read(self) -> Frame:
        """Return the next image.

        Raises: EndOfStream after `close`.
        """
        if self._closed:
            raise EndOfStream(f"{self.name} was closed")
        index, self._next = self._next, self._next + 1
        source = self._scenes[self._scene]
        return Frame(source.image(index), index, time.monotonic_ns(), index / source.fps)

    def close(self) -> None:
        """End. Safe to call twice and from another thread."""
        self._closed = True


def _photograph(folder: Path, scene: SampleScene) -> UInt8Array:
    """Return what a scene's camera looks at, (h, w, 3) uint8 RGB; beyond its edges it goes on mirrored."""
    photo = read_image(folder / scene.file, error=SourceError)
    if scene.columns:
        part = photo[:, : scene.columns]
        photo = np.concatenate([part, part[:, ::-1]], 1)
    if scene.shrunk == 1:
        return photo
    return cv2.resize(photo, None, fx=scene.shrunk, fy=scene.shrunk, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


class Wander:
    """Three smooth random walks in [-1, 1]: sums of sines with seeded periods and phases."""

    def __init__(self, rng: np.random.Generator, *, periods_s: tuple[float, float], parts: int) -> None:
        self._rate = 2 * np.pi / rng.uniform(*periods_s, size=(3, parts))
        self._phase = rng.uniform(0, 2 * np.pi, size=(3, parts))

    def at(self, t: float) -> tuple[float, float, float]:
        """Return the three values at time t in seconds."""
        x, y, z = np.sin(self._rate * t + self._phase).mean(axis=1)
        return float(x), float(y), float(z)


def assets_folder() -> Path:
    """Return the folder of photographs that the ultralytics package carries, without importing it.

    Raises: SourceError if the package or its photographs are not there.
    """
    spec = find_spec("ultralytics")
    folder = Path(spec.origin).parent / "assets" if spec and spec.origin else None
    if folder is None or not all((folder / scene.file).is_file() for scene in SCENES):
        raise SourceError(
            "sample: the photographs of the ultralytics package are not installed; pip install ultralytics"
        )
    return folder
