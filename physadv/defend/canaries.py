"""People to paste as probes, cut from photographs that the package ultralytics carries, and where probes are placed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from physadv.arrays import read_image
from physadv.errors import DefenceError
from physadv.types import Float32Array, UInt8Array

# People in ultralytics' sample photographs, xyxy in their pixels: two walkers, one seen to the hips.
PEOPLE = (
    ("bus.jpg", (50, 398, 244, 904)),
    ("bus.jpg", (222, 405, 347, 862)),
    ("zidane.jpg", (748, 41, 1147, 711)),
)
# Height of the kept cutouts: a probe is rarely larger, and shrinking a large one costs time on every frame.
HEIGHT = 320
# Least height of a canary, as a fraction of the image's. Measured at 416 px without any pattern: the detector finds fewer
# than one in seven cutouts lower than a fifth, and all that are higher than .3.
LEAST = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A person to paste. pixels: (h, w, 3) uint8 RGB. alpha: (h, w) float32 in [0, 1], fading towards the edges."""

    pixels: UInt8Array
    alpha: Float32Array


@lru_cache(maxsize=1)
def cutouts() -> tuple[Cutout, ...]:
    """Return the people that can be pasted.

    Raises: DefenceError if the photographs are not installed.
    """
    spec = find_spec("ultralytics")
    folder = Path(spec.origin).parent / "assets" if spec and spec.origin else None
    if folder is None or not all((folder / name).is_file() for name, _ in PEOPLE):
        raise DefenceError("probes: the sample photographs of the package ultralytics are missing; reinstall it")
    images = {name: read_image(folder / name, error=DefenceError) for name, _ in PEOPLE}
    return tuple(_cut(images[name], box) for name, box in PEOPLE)


def _cut(image: UInt8Array, box: tuple[int, int, int, int]) -> Cutout:
    x0, y0, x1, y1 = box
    size = (round(HEIGHT * (x1 - x0) / (y1 - y0)), HEIGHT)
    pixels = np.asarray(cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)
    # A superellipse: solid over the body, transparent in the corners, where the background shows.
    x = np.abs(np.linspace(-1, 1, size[0], dtype=np.float32))[None]
    y = np.abs(np.linspace(-1, 1, size[1], dtype=np.float32))[:, None]
    return Cutout(pixels, np.clip((1 - (x**4 + y**6)) / 0.35, 0, 1).astype(np.float32))


def overlay(image: UInt8Array, cutout: Cutout, left: int, top: int, height: int, *, gain: float, mirror: bool) -> None:
    """Paste a person of `height` pixels onto (h, w, 3) pixels in place; what sticks out is cut off.

    gain: factor on its brightness. mirror: exchange left and right.
    """
    width = max(round(height * cutout.pixels.shape[1] / cutout.pixels.shape[0]), 1)
    pixels = cv2.resize(cutout.pixels, (width, height), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(cutout.alpha, (width, height), interpolation=cv2.INTER_AREA)
    if mirror:
        pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, image.shape[1]), min(top + height, image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    under = image[y0:y1, x0:x1].astype(np.float32)
    mixed = under + (np.clip(pixels[part].astype(np.float32) * gain, 0, 255) - under) * alpha[part][..., None]
    image[y0:y1, x0:x1] = np.rint(mixed).astype(np.uint8)


def canary_box(place: Float32Array, aspect: float, size: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    """Return the box of a canary of that width / height: partly over the place, inside the image, (4,) whole pixels.

    size: (width, height) of the image.
    """
    width, height = size
    tall = float(place[3] - place[1])
    high = int(
        np.clip(round(tall * rng.uniform(0.6, 0.9)), max(24, LEAST * height), 0.95 * min(height, width / aspect))
    )
    wide = max(round(high * aspect), 1)
    side = 1 if rng.random() < 0.5 else -1
    x = (place[0] + place[2]) / 2 + side * rng.uniform(0.35, 0.6) * (place[2] - place[0]) - wide / 2
    y = place[1] + rng.uniform(0.05, 0.3) * tall
    left, top = int(np.clip(x, 0, width - wide)), int(np.clip(y, 0, height - high))
    return np.array([left, top, left + wide, top + high], np.float32)


def peck_boxes(places: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return (n, 4) random boxes, each over the middle of its place: .35 to .65 of the root of its area wide and high."""
    size = (places[:, 2:] - places[:, :2]).astype(np.float64)
    root = np.sqrt(np.maximum(size.prod(1), 1))
    extent = root[:, None] * rng.uniform(0.35, 0.65, (len(places), 2))
    centre = places[:, :2] + size * np.stack(
        [rng.uniform(0.35, 0.65, len(places)), rng.uniform(0.25, 0.6, len(places))], 1
    )
    return np.concatenate([centre - extent / 2, centre + extent / 2], 1).astype(np.float32)
