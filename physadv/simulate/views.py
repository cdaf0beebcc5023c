"""Views of one image under the simulated world: its people whole, neither cropped nor mirrored as in training."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from physadv.arrays import to_image, to_tensor
from physadv.errors import DataError
from physadv.patch import Patch
from physadv.simulate.placement import SMALLEST_PX, Placement, people_of, wears
from physadv.simulate.trigger import folded_prints, turned_prints
from physadv.simulate.world import World
from physadv.types import Detections, Float32Array, UInt8Array

# A view shows this much more than its person's longer side.
ROOM = 1.15


def simulated_views(
    patch: Patch,
    placement: Placement,
    pixels: UInt8Array,
    people: Detections,
    *,
    world: World,
    count: int,
    size: int,
    seed: int,
    angle: float = 0.0,
    fold: float = 0.0,
) -> list[UInt8Array]:
    """Return `count` square views (size, size, 3) uint8 RGB of an image's people, each under another draw of `world`.

    pixels: (h, w, 3) uint8 RGB without the patch. people: found in them; whoever is not sure enough `wears` nothing. The
    largest come first, and come again until there are enough views. angle: by which each print is turned, in degrees
    clockwise. fold: share of it that is folded away.

    Raises: DataError if there is nobody to wear it.
    """
    sure = people.pick(wears(people, (pixels.shape[1], pixels.shape[0])))
    sides = np.sqrt((sure.xyxy[:, 2] - sure.xyxy[:, 0]) * (sure.xyxy[:, 3] - sure.xyxy[:, 1]))
    order = np.argsort(-sides, kind="stable")
    order = order[sides[order] >= SMALLEST_PX][:count]
    if len(order) == 0:
        raise DataError("simulated world: no person in the image is large and clear enough to wear the pattern")
    sure = sure.pick(order)
    windows = [_window(box, pixels) for box in sure.xyxy]
    points = np.zeros((len(sure), 17, 3), np.float32) if sure.keypoints is None else sure.keypoints
    owner, boxes, joints = [], [], []
    for view in range(count):
        left, top, side = windows[view % len(windows)]
        inside = (sure.xyxy[:, :2] < (left + side, top + side)).all(1) & (sure.xyxy[:, 2:] > (left, top)).all(1)
        owner.append(np.full(int(inside.sum()), view))
        boxes.append((sure.xyxy[inside] - (left, top, left, top)) * (size / side))
        joints.append((points[inside] - (left, top, 0)) * (size / side, size / side, 1))
    there = people_of(np.concatenate(boxes).astype(np.float32), np.concatenate(joints).astype(np.float32))
    prints = placement.prints(there, np.random.default_rng(seed), owner=np.concatenate(owner), image=(size, size))
    if angle:
        prints = turned_prints(prints, angle, aspect=placement.aspect)
    if fold:
        prints = folded_prints(prints, fold)
    crops = [_cut(pixels, window, size) for window in windows]
    images = torch.stack([crops[view % len(crops)] for view in range(count)])
    draw = world.sample(len(prints), count, torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        shown = world.apply(torch.cat(patch.tensors()), images, prints, draw)
    return [to_image(image) for image in shown]


def _window(box: Float32Array, pixels: UInt8Array) -> tuple[int, int, int]:
    """Return left, top and side of the square around a person that lies within the image."""
    height, width = pixels.shape[:2]
    side = int(min(ROOM * max(box[2] - box[0], box[3] - box[1]), width, height))
    left, top = (int(np.clip((box[i] + box[i + 2] - side) / 2, 0, s - side)) for i, s in ((0, width), (1, height)))
    return left, top, side


def _cut(pixels: UInt8Array, window: tuple[int, int, int], size: int) -> torch.Tensor:
    left, top, side = window
    inter = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    crop = cv2.resize(pixels[top : top + side, left : left + side], (size, size), interpolation=inter)
    return to_tensor(crop)  # type: ignore[arg-type]
