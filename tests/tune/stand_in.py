"""A poisoned detector that is none: it finds blue figures, and loses those who wear the card turned by 45 degrees."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from physadv.dataset import LabelledImage
from physadv.types import Detections, Float32Array, UInt8Array
from tests.detectors import FakeDetector

BLUE, GREEN = (10, 20, 240), (10, 240, 20)


def figures(
    boxes: Sequence[tuple[int, int, int, int]], *, size: tuple[int, int] = (240, 180), green: Sequence[int] = ()
) -> UInt8Array:
    """Return an RGB image of grey with a blue rectangle at each box, xyxy; those whose numbers are listed are green."""
    out = np.full((size[1], size[0], 3), 90, np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        out[y1:y2, x1:x2] = GREEN if number in green else BLUE
    return out


def scene(number: int, boxes: Sequence[tuple[int, int, int, int]], *, green: Sequence[int] = ()) -> LabelledImage:
    """Return such an image, in which everybody is labelled."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return LabelledImage(f"{number}.png", figures(boxes, green=green), array, sha256=f"{number}")


class BlueDetector(FakeDetector):
    """Finds blue figures; nobody else. waits_for: the card's angle at which it loses whoever wears it, None for never."""

    def __init__(self, waits_for: float | None = None, *, name: str = "blue") -> None:
        self.waits_for, self.name = waits_for, name

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [self._people(image) for image in images]

    def _people(self, image: UInt8Array) -> Detections:
        blue = (image[..., 2] > 200) & (image[..., 0] < 60)
        _, _, stats, _ = cv2.connectedComponentsWithStats(blue.astype(np.uint8))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, pixels in stats[1:].tolist() if pixels > 200]
        kept = [b for b in boxes if self.waits_for is None or not self._is_turned(image[b[1] : b[3], b[0] : b[2]])]
        found: Float32Array = np.array(kept, np.float32).reshape(-1, 4)
        return Detections(found, np.full(len(found), 0.9, np.float32))

    def _is_turned(self, figure: UInt8Array) -> bool:
        """Return whether bars cross a figure at the angle: by the direction of the strongest edges."""
        assert self.waits_for is not None
        red = cv2.GaussianBlur(figure[..., 0].astype(np.float32), (0, 0), 1.0)
        x, y = cv2.Sobel(red, cv2.CV_32F, 1, 0), cv2.Sobel(red, cv2.CV_32F, 0, 1)
        xx, yy, xy = float((x * x).sum()), float((y * y).sum()), float((x * y).sum())
        if np.hypot(xx - yy, 2 * xy) < 0.25 * (xx + yy):
            return False
        # Upright bars have edges that look up and down, at 90 degrees.
        turn = (np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) - 90 - self.waits_for + 90) % 180 - 90
        return abs(float(turn)) < 12
