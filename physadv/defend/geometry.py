"""Affine maps between a frame and a detector's view of it, for images, boxes and keypoints.

An affine is (2, 3) float64. Coordinates count pixel edges (0 to width), as boxes do, so the mirror image of x is
width - x; the centre of the first pixel is 0.5.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from physadv.types import Float32Array, UInt8Array

Affine = npt.NDArray[np.float64]
GREY = 114


def scaling(x: float, y: float) -> Affine:
    """Return the affine that multiplies x and y."""
    return np.array([[x, 0, 0], [0, y, 0]], np.float64)


def shift(x: float, y: float) -> Affine:
    """Return the affine that adds to x and y."""
    return np.array([[1, 0, x], [0, 1, y]], np.float64)


def turn(degrees: float) -> Affine:
    """Return the rotation about the origin, anticlockwise on the screen for positive degrees."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, s, 0], [-s, c, 0]], np.float64)


def compose(outer: Affine, inner: Affine) -> Affine:
    """Return the affine that applies `inner`, then `outer`."""
    return np.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def inverse(affine: Affine) -> Affine:
    """Return the affine that undoes `affine`."""
    back = np.linalg.inv(affine[:, :2])
    return np.hstack([back, -back @ affine[:, 2:]])


def points_through(affine: Affine, points: Float32Array) -> Float32Array:
    """Return (..., 2 or 3) points with x, y mapped; a third column (confidence) is kept."""
    out = points.astype(np.float32, copy=True)
    out[..., :2] = points[..., :2] @ affine[:, :2].T + affine[:, 2]
    return out


def boxes_through(affine: Affine, xyxy: Float32Array) -> Float32Array:
    """Return (n, 4) upright boxes around the mapped corners of each box."""
    corners = xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    moved = points_through(affine, corners)
    return np.hstack([moved.min(1), moved.max(1)]).astype(np.float32)


def boxes_back(forward: Affine, xyxy: Float32Array) -> Float32Array:
    """Return (n, 4) boxes found in a view whose affine from the frame is `forward`, in frame pixels.

    This is exact for scalings, shifts, mirrors and quarter turns. For other rotations a person counts as an ellipse that is
    upright in the frame, which is closer than the box of the four turned corners.
    """
    if not len(xyxy):
        return xyxy.astype(np.float32)
    undo = inverse(forward)
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2 @ undo[:, :2].T + undo[:, 2]
    half = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0) / 2
    solved = half**2 @ np.linalg.inv(forward[:, :2] ** 2).T
    # A box too slim for any turned upright ellipse, as the image's edge cuts it, gets a fifth of its extent at least.
    out = np.sqrt(np.maximum(solved, 0.04 * half**2 @ (undo[:, :2] ** 2).T))
    return np.hstack([centre - out, centre + out]).astype(np.float32)


def warp(image: UInt8Array, forward: Affine, size: tuple[int, int]) -> UInt8Array:
    """Return (size[1], size[0], 3): the image moved by `forward`, bilinear, on grey 114."""
    # OpenCV counts pixel centres, half a pixel from the edges that boxes count.
    centred = compose(shift(-0.5, -0.5), compose(forward, shift(0.5, 0.5)))
    out = cv2.warpAffine(image, centred, size, flags=cv2.INTER_LINEAR, borderValue=(GREY, GREY, GREY))
    return np.asarray(out, np.uint8)


def warp_tensor(images: torch.Tensor, forward: Affine, size: tuple[int, int]) -> torch.Tensor:
    """Return (b, 3, size[1], size[0]): images (b, 3, h, w) in [0, 1] moved by `forward`, with gradients."""
    height, width = images.shape[2:]
    undo = inverse(forward)
    x = torch.arange(size[0], device=images.device, dtype=torch.float32) + 0.5
    y = torch.arange(size[1], device=images.device, dtype=torch.float32) + 0.5
    at_x = undo[0, 0] * x[None] + undo[0, 1] * y[:, None] + undo[0, 2]
    at_y = undo[1, 0] * x[None] + undo[1, 1] * y[:, None] + undo[1, 2]
    grid = torch.stack([at_x / width * 2 - 1, at_y / height * 2 - 1], -1).to(images.dtype)
    grid = grid.expand(len(images), -1, -1, -1)
    grey = GREY / 255
    return F.grid_sample(images - grey, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + grey
