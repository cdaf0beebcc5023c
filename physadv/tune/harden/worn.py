"""Patterns worn by the people of a training batch: where, and how the simulated world shows them; with gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import Field, field_validator

from physadv.boxes import area
from physadv.settings import Settings
from physadv.simulate.placement import SMALLEST_PX, Placement, Prints, people_of, side_px
from physadv.simulate.sensor import Sensor
from physadv.simulate.world import World, WorldDraw
from physadv.types import Float32Array, Int64Array

# A print of twice a person's size covers all of a body, whatever its pose.
LARGEST = 2.0


class WornSettings(Settings):
    """How patterns are worn while a detector is hardened."""

    worn: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="share of a batch's images whose people wear a pattern; the others stay clean",
    )
    print_scale: tuple[float, float] = Field(
        default=(0.2, 0.6),
        description="least and largest size of a print, the root of its area over that of the person's box",
    )
    elsewhere: float = Field(
        default=0.3, ge=0, le=1, description="share of those images in which the pattern lies beside the people too"
    )
    world: float = Field(
        default=0.5, ge=0, le=2, description="strength of the simulated world: turn, tilt, wrinkles, light, occlusion"
    )

    @field_validator("print_scale")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not 0 < low <= high <= LARGEST:
            raise ValueError(
                f"expected the least size and then the largest, above 0 and up to {LARGEST:g}, got {low:g},{high:g}"
            )
        return value

    def transforms(self) -> World:
        """Return the world of the prints; the camera's part is left out, which would change clean pixels too."""
        return World.of(self.world).model_copy(update={"sensor": Sensor(strength=0.0)})


# Where a print's centre lies down the box, and how many follow the joints where these are known.
AT = (0.35, 0.55)
BY_JOINTS = 0.4
# Side of what a print beside the people is placed on, over the image's side.
BESIDE = (0.15, 0.6)


@dataclass(frozen=True, slots=True, eq=False)
class BatchPeople:
    """The people of a batch in pixels of its images.

    owner: (n,) the image of each. boxes: (n, 4) xyxy. keypoints: (n, 17, 3), confidence 0 where none are known.
    """

    owner: Int64Array
    boxes: Float32Array
    keypoints: Float32Array

    @classmethod
    def of(cls, batch: Mapping[str, Any], person: int) -> BatchPeople:
        """Return the people of an Ultralytics batch: `img` (b, 3, h, w), `cls`, `bboxes` (cx, cy, w, h, as fractions),
        `batch_idx` and perhaps `keypoints` (fractions, with visibility). person: the class that is one."""
        height, width = batch["img"].shape[-2:]
        mine = batch["cls"].reshape(-1).cpu().numpy() == person
        boxes = batch["bboxes"].cpu().numpy().reshape(-1, 4)[mine]
        half = boxes[:, 2:] / 2
        corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1) * np.array([width, height] * 2)
        points = np.zeros((len(boxes), 17, 3), np.float32)
        if "keypoints" in batch and batch["keypoints"].shape[1:2] == (17,):
            points = batch["keypoints"].cpu().numpy()[mine].astype(np.float32)
            points[..., :2] *= np.array([width, height], np.float32)
            points[..., 2] = points[..., 2] > 0
        owner = batch["batch_idx"].cpu().numpy().reshape(-1)[mine].astype(np.int64)
        return cls(owner, corners.astype(np.float32), points)

    def of_images(self, images: Sequence[int]) -> BatchPeople:
        """Return the people in these images, which count from 0 then."""
        places = {image: place for place, image in enumerate(images)}
        mine = np.array([int(o) in places for o in self.owner], bool)
        owner = np.array([places[int(o)] for o in self.owner[mine]], np.int64)
        return BatchPeople(owner, self.boxes[mine], self.keypoints[mine])


@dataclass(frozen=True, slots=True, eq=False)
class WornPattern:
    """The images of a batch whose people wear one pattern.

    images: their numbers. pattern: its number. prints, draw: where it lies in them, and what the world does to it.
    """

    images: list[int]
    pattern: int
    prints: Prints
    draw: WorldDraw


@dataclass(frozen=True, slots=True, eq=False)
class WornBatch:
    """What the people of one batch wear: all chance is in it, the patterns' texels are not."""

    world: World
    groups: list[WornPattern]

    def apply(self, images: torch.Tensor, patterns: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return images (b, 3, h, w) in [0, 1] with the patterns, (4, p, q) each, on them; differentiable in these."""
        out = list(images)
        for group in self.groups:
            shown = self.world.apply(patterns[group.pattern], images[group.images], group.prints, group.draw)
            for place, image in enumerate(group.images):
                out[image] = shown[place]
        return torch.stack(out)

    def boxes(self, shape: tuple[int, int]) -> tuple[Int64Array, Float32Array]:
        """Return the image of each print and the box (m, 4) xyxy around it, within images of that (height, width)."""
        owner = [np.array(g.images, np.int64)[g.prints.owner] for g in self.groups]
        quads = [g.prints.quads for g in self.groups]
        if not quads:
            return np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
        corners = np.concatenate(quads)
        limit = np.array([shape[1], shape[0]], np.float32)
        low, high = np.clip(corners.min(1), 0, limit), np.clip(corners.max(1), 0, limit)
        boxes = np.concatenate([low, high], 1).astype(np.float32)
        seen = area(boxes) > 1
        return np.concatenate(owner)[seen], boxes[seen]


def dress(
    people: BatchPeople,
    shape: tuple[int, int, int],
    placements: Sequence[Placement],
    settings: WornSettings,
    rng: np.random.Generator,
) -> WornBatch:
    """Return what people of a batch wear, by chance.

    shape: the batch's (images, height, width). placements: of each pattern; the size and height of a print are drawn anew,
    clothes are worn as they are.
    """
    count = shape[0]
    dressed = np.flatnonzero(rng.random(count) < settings.worn)
    # Each image another pattern as far as they go.
    order = np.concatenate([rng.permutation(len(placements)) for _ in range(-(-count // len(placements)))])
    chosen: dict[int, list[int]] = {}
    for image in dressed.tolist():
        chosen.setdefault(int(order[image]), []).append(image)
    world = settings.transforms()
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    groups = []
    for pattern, images in chosen.items():
        mine = people.of_images(images)
        prints = _prints(mine, len(images), shape[1:], placements[pattern], settings, rng)
        if len(prints):
            groups.append(WornPattern(images, pattern, prints, world.sample(len(prints), len(images), generator)))
    return WornBatch(world, groups)


def _prints(
    people: BatchPeople,
    images: int,
    size: tuple[int, int],
    placement: Placement,
    settings: WornSettings,
    rng: np.random.Generator,
) -> Prints:
    """Return the prints of one pattern on the people of its images, and beside them in some of these."""
    if placement.cloth:
        large = np.sqrt(area(people.boxes)) >= SMALLEST_PX
        worn = people_of(people.boxes[large], people.keypoints[large])
        return placement.prints(worn, rng, owner=people.owner[large])
    there = np.flatnonzero(rng.random(images) < settings.elsewhere)
    beside = _places(len(there), size, rng)
    boxes = np.concatenate([people.boxes, beside])
    points = np.concatenate([people.keypoints, np.zeros((len(beside), 17, 3), np.float32)])
    owner = np.concatenate([people.owner, there])
    large = np.sqrt(area(boxes)) >= SMALLEST_PX
    boxes, points, owner = boxes[large], points[large], owner[large]
    n = len(boxes)
    low, high = np.log(settings.print_scale)
    side = np.exp(rng.uniform(low, high, n)) * side_px(boxes, "area", 1.0)
    drawn = replace(placement, rule="area", scale=1.0, size_cm=None, at=float(rng.uniform(*AT)))
    dressed = people_of(boxes, points)
    # Whose chest is out of sight, and what stands beside people, wears it by the box.
    upright = (rng.random(n) >= BY_JOINTS) | ~drawn.dresses(dressed)
    return drawn.prints(dressed, rng, owner=owner, side=side.astype(np.float32), upright=upright)


def _places(count: int, size: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    """Return (count, 4) boxes of the shape of people, anywhere in an image of that (height, width)."""
    height, width = size
    wide = rng.uniform(*BESIDE, count) * min(size)
    high = wide * rng.uniform(0.8, 2.5, count)
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    out = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], 1)
    limit = np.array([width, height] * 2)
    return np.clip(out, 0, limit).astype(np.float32)
