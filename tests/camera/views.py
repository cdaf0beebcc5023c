"""Rendered views of a board: known intrinsics, distortion, blur and noise, traced pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from physadv.camera.charuco import Board, Layout
from physadv.types import Float32Array, UInt8Array


@dataclass(frozen=True)
class Lens:
    """A camera with intrinsics that a calibration should find."""

    focal: float = 900.0
    cx: float = 655.0
    cy: float = 350.0
    distortion: tuple[float, ...] = (-0.22, 0.08, 0.0008, -0.0005, 0.0)
    size: tuple[int, int] = (1280, 720)
    blur: float = 0.8
    noise: float = 3.0

    @property
    def matrix(self) -> np.ndarray:
        return np.array([[self.focal, 0, self.cx], [0, self.focal, self.cy], [0, 0, 1]])


def rays(lens: Lens) -> Float32Array:
    """(h, w, 2) directions of the light that reaches each pixel of the distorted image."""
    w, h = lens.size
    grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 1, 2).astype(np.float64)
    flat = cv2.undistortPoints(
        grid, lens.matrix, np.array(lens.distortion), None, np.eye(3), np.eye(3), (cv2.TERM_CRITERIA_COUNT, 60, 0)
    )
    return np.asarray(flat, np.float32).reshape(h, w, 2)


def render(
    board: Board,
    lens: Lens,
    rotation: np.ndarray,
    translation: np.ndarray,
    rng: np.random.Generator,
    directions: Float32Array,
    layout: Layout = "standard",
) -> UInt8Array:
    """An RGB image of a board posed before the camera (squares as units)."""
    scale = 48
    margin = scale // 2
    flat = np.pad(board.image(scale, layout), margin, constant_values=255).astype(np.float32)
    turn = cv2.Rodrigues(rotation)[0]
    plane = np.linalg.inv(np.stack([turn[:, 0], turn[:, 1], translation], 1))
    d = np.concatenate([directions, np.ones_like(directions[..., :1])], -1) @ plane.T
    xy = d[..., :2] / d[..., 2:]
    # The squares are smaller in the image than in the texture: blur it first, as a lens does.
    shrink = scale * float(np.linalg.norm(translation)) / lens.focal
    soft = cv2.GaussianBlur(flat, (0, 0), max(0.45 * shrink, 0.3))
    at = (xy * scale + margin - 0.5).astype(np.float32)
    grey = cv2.remap(soft, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=90)
    grey = cv2.GaussianBlur(grey, (0, 0), lens.blur) + rng.normal(size=grey.shape) * lens.noise
    return np.repeat(np.clip(grey * 0.85 + 12, 0, 255).astype(np.uint8)[..., None], 3, 2)


def poses(board: Board, lens: Lens, count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses that a person would show: over the whole image, near and far, tilted each way."""
    out = []
    tilts = [(0, 0), (30, 0), (-30, 0), (0, 30), (0, -30), (25, 25), (-25, 20), (20, -25)]
    places = [(0.5, 0.5), (0.25, 0.3), (0.75, 0.3), (0.25, 0.7), (0.75, 0.7), (0.5, 0.3), (0.5, 0.7)]
    for k in range(count):
        pitch, yaw = np.radians(np.array(tilts[k % len(tilts)]) + rng.uniform(-6, 6, 2))
        roll = np.radians(rng.uniform(-15, 15) + 90 * (k % 2))
        turn = cv2.Rodrigues(np.array([pitch, 0, 0]))[0] @ cv2.Rodrigues(np.array([0, yaw, 0]))[0]
        turn = turn @ cv2.Rodrigues(np.array([0, 0, roll]))[0]
        z = board.rows * lens.focal / lens.size[1] / rng.uniform(0.6, 1.15)
        x, y = (np.array(places[k % len(places)]) + rng.uniform(-0.06, 0.06, 2)) * lens.size
        middle = np.array([(x - lens.cx) / lens.focal * z, (y - lens.cy) / lens.focal * z, z])
        t = middle - turn @ np.array([board.columns / 2, board.rows / 2, 0])
        out.append((cv2.Rodrigues(turn)[0].ravel(), t))
    return out


def views_of(board: Board, lens: Lens, count: int, seed: int = 0, *, layout: Layout = "standard") -> list[UInt8Array]:
    """Rendered images of a board."""
    rng = np.random.default_rng(seed)
    directions = rays(lens)
    return [render(board, lens, r, t, rng, directions, layout) for r, t in poses(board, lens, count, rng)]
