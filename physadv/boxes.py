"""Boxes (x0, y0, x1, y1): the letterbox into a network's input and back, areas and overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from physadv.types import Float32Array, UInt8Array

# The grey that the networks were trained to see around an image.
PAD_VALUE = 114
# Of every model but those with a P6 level, which say theirs.
STRIDE = 32


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame is scaled and padded to the network's input, and how boxes come back.

    scale: network pixels per frame pixel along x and y. left, top: padding in network pixels. width, height: the
    network input. frame_width, frame_height: the frame.
    """

    scale: tuple[float, float]
    left: int
    top: int
    width: int
    height: int
    frame_width: int
    frame_height: int

    @classmethod
    def fit(cls, frame_width: int, frame_height: int, imgsz: int, *, stride: int = STRIDE) -> Letterbox:
        """Return the letterbox into the smallest input of long side `imgsz` that holds the frame.

        Width and height are multiples of `stride`.

        Source: the rectangular inference of ultralytics' `LetterBox(auto=True)`, whose figures this must reproduce.
        """
        ratio = imgsz / max(frame_width, frame_height)
        inner_w, inner_h = max(round(frame_width * ratio), 1), max(round(frame_height * ratio), 1)
        return cls._around(
            inner_w, inner_h, -(-inner_w // stride) * stride, -(-inner_h // stride) * stride, frame_width, frame_height
        )

    @classmethod
    def into(cls, frame_width: int, frame_height: int, width: int, height: int, *, stretch: bool = False) -> Letterbox:
        """Return the letterbox into an input of a given size. stretch: fill it, whatever the frame's proportions.

        Source: ultralytics' `LetterBox(auto=False)` and `scale_fill`.
        """
        ratio = min(width / frame_width, height / frame_height)
        inner_w, inner_h = max(round(frame_width * ratio), 1), max(round(frame_height * ratio), 1)
        if stretch:
            inner_w, inner_h = width, height
        return cls._around(inner_w, inner_h, width, height, frame_width, frame_height)

    @classmethod
    def _around(cls, inner_w: int, inner_h: int, width: int, height: int, frame_w: int, frame_h: int) -> Letterbox:
        left, top = round((width - inner_w) / 2 - 0.1), round((height - inner_h) / 2 - 0.1)
        return cls((inner_w / frame_w, inner_h / frame_h), left, top, width, height, frame_w, frame_h)

    @property
    def inner(self) -> tuple[int, int]:
        """Return (width, height) of the scaled frame inside the padding."""
        return round(self.frame_width * self.scale[0]), round(self.frame_height * self.scale[1])

    def apply(self, pixels: UInt8Array) -> UInt8Array:
        """Return (height, width, 3) uint8: the frame scaled bilinearly, padded with grey 114."""
        inner_w, inner_h = self.inner
        if pixels.shape[1::-1] != (inner_w, inner_h):
            pixels = cv2.resize(pixels, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        if (inner_w, inner_h) == (self.width, self.height):
            return pixels
        out = np.full((self.height, self.width, 3), PAD_VALUE, np.uint8)
        out[self.top : self.top + inner_h, self.left : self.left + inner_w] = pixels
        return out

    def boxes_to_frame(self, xyxy: Float32Array) -> Float32Array:
        """Return (n, 4) boxes in frame pixels, clipped to the frame."""
        out = (xyxy - np.array([self.left, self.top] * 2, np.float32)) / np.array(self.scale * 2, np.float32)
        np.clip(out[:, 0::2], 0, self.frame_width, out=out[:, 0::2])
        np.clip(out[:, 1::2], 0, self.frame_height, out=out[:, 1::2])
        return out.astype(np.float32)

    def points_to_frame(self, points: Float32Array) -> Float32Array:
        """Return (n, k, 3) keypoints (x, y, confidence) in frame pixels, not clipped."""
        out = points.astype(np.float32, copy=True)
        out[..., :2] = (out[..., :2] - np.array([self.left, self.top], np.float32)) / np.array(self.scale, np.float32)
        return out


def iou(a: Float32Array, b: Float32Array) -> Float32Array:
    """Return the (n, m) intersection over union of (n, 4) and (m, 4) xyxy boxes; 0 for boxes without area."""
    inter = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - inter
    return np.where(union > 0, inter / np.maximum(union, 1e-9), 0).astype(np.float32)


def intersection(a: Float32Array, b: Float32Array) -> Float32Array:
    """Return the (n, m) areas common to (n, 4) and (m, 4) xyxy boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=2)


def coverage(a: Float32Array, b: Float32Array) -> Float32Array:
    """Return (n, m) the share of each of (n, 4) boxes that each of (m, 4) others covers (IoA)."""
    return np.asarray(intersection(a, b) / np.maximum(area(a), 1e-9)[:, None], np.float32)


def covered_by(boxes: Float32Array, others: Float32Array) -> Float32Array:
    """Return (n,) the largest share of each of (n, 4) boxes that one of (m, 4) others covers; 0 without others."""
    return coverage(boxes, others).max(1, initial=0) if len(others) else np.zeros(len(boxes), np.float32)


def area(xyxy: Float32Array) -> Float32Array:
    """Return the (n,) areas of xyxy boxes."""
    return np.prod(np.clip(xyxy[:, 2:] - xyxy[:, :2], 0, None), axis=1)


def corners(box: Float32Array) -> tuple[float, float, float, float]:
    """Return one (4,) box as the plain numbers that an alert holds."""
    x0, y0, x1, y1 = box.tolist()
    return x0, y0, x1, y1
