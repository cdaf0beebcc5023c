"""Views of one image under the simulated world: its people whole, neither cropped nor mirrored as in training."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from physadv.arrays import to_image, to_tensor
from physadv.errors import DataError
from physadv.simulate.paste import Prints
from physadv.simulate.wear import Worn, wears
from physadv.simulate.world import World
from physadv.types import Detections, Float32Array, UInt8Array

# A view shows this much more than its person's longer side.
ROOM = 1.15
# Smaller people wear nothing: a pattern on them would be a few pixels.
SMALLEST_PX = 20.0


def simulated_views(
    worn: Worn,
    pixels: UInt8Array,
    people: Detections,
    *,
    world: World,
    count: int,
    size: int,
    generator: torch.Generator,
) -> list[UInt8Array]:
    """Return `count` square views (size, size, 3) uint8 RGB of an image's people, each under another draw of `world`.

    pixels: (h, w, 3) uint8 RGB without the pattern. people: found in them; whoever is not sure enough `wears` nothing. The
    largest come first, and come again until there are enough views. Placement is that of the live image, with no arm in
    front; cloth is cut from a texture anywhere, as in training.

    Raises: DataError if there is nobody to wear it.
    """
    sure = people.pick(wears(people))
    sides = np.sqrt((sure.xyxy[:, 2] - sure.xyxy[:, 0]) * (sure.xyxy[:, 3] - sure.xyxy[:, 1]))
    order = np.argsort(-sides, kind="stable")
    order = order[sides[order] >= SMALLEST_PX][:count]
    if len(order) == 0:
        raise DataError("simulated world: no person in the image is large and clear enough to wear the pattern")
    everyone = sure.pick(order)
    windows = [_window(box, pixels) for box in everyone.xyxy]
    owner, quads, cloth = [], [], []
    for view in range(count):
        left, top, side = windows[view % len(windows)]
        for n, box in enumerate(everyone.xyxy):
            if box[2] <= left or box[3] <= top or box[0] >= left + side or box[1] >= top + side:
                continue
            points = None if everyone.keypoints is None else everyone.keypoints[n]
            for quad, cut in worn.pieces(box, points):
                owner.append(view)
                quads.append((quad - (left, top)) * (size / side))
                cloth.append((1.0, 1.0) if cut is None else (cut[0] / worn.size_cm[0], cut[1] / worn.size_cm[1]))
    prints = _prints(np.array(owner), np.array(quads, np.float32), np.array(cloth, np.float32), generator)
    crops = [_cut(pixels, window, size) for window in windows]
    images = torch.stack([crops[view % len(crops)] for view in range(count)])
    pattern = torch.cat(worn.patch.tensors())
    draw = world.sample(len(prints), count, generator)
    with torch.inference_mode():
        shown = world.apply(pattern, images, prints, draw)
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


def _prints(
    owner: np.ndarray[tuple[int], np.dtype[np.int64]],
    quads: Float32Array,
    cloth: Float32Array,
    generator: torch.Generator,
) -> Prints:
    """Return prints as tensors, the nearest (lowest in the image) on top; what repeats begins anywhere."""
    n = len(quads)
    shown = torch.from_numpy(cloth)
    begin = torch.rand(n, 2, generator=generator) * (shown != 1).any(1, keepdim=True)
    rank = torch.from_numpy(quads[:, :, 1].max(1)).argsort(stable=True).argsort()
    window = torch.cat([begin, shown], 1)
    return Prints(torch.from_numpy(owner), torch.from_numpy(quads), rank, torch.zeros(n, 2, 5), window)
