"""Batches for training: square views of photographs around people, at all scales, with the prints they will wear."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from physadv.dataset import LabelledImage
from physadv.errors import DataError
from physadv.patch import TEXTURES, Target
from physadv.simulate.joints import MIRRORED, shoulders_visible, torso_frames
from physadv.simulate.placement import BOX_AT, SMALLEST_PX, Framing, Placement, Prints, Rule, people_of, side_px
from physadv.simulate.states import distance_m
from physadv.types import BoolArray, Detections, Float32Array, Int64Array, UInt8Array

Array = npt.NDArray[Any]
PAD = 114
VIDEO_COUNTS_AS = 12
CHANNELS_SWAPPED, GREY = 0.2, 0.05
STREET_BY_JOINTS = 0.3
# sqrt(w h) of the person over the view's side. With views of 224 to 320 pixels these are the sizes at which people of 2 %
# to 50 % of an image appear to a detector at 416; trained on smaller ones alone a pattern leaves large people visible.
# Someone before a webcam is 140 pixels large to a detector at 320, twice that at 640; the smaller is the harder to hide.
STREET_SHARE, WEBCAM_SHARE = (0.22, 0.95), (0.45, 1.0)
# From this share on a person is large in a view. By chance .43 of the views of 61 photographs in the street show one: many
# photographs end too soon around a person for a smaller share.
LARGE_SHARE = 0.6
# Share of the views before a webcam that end at the wearer's chest, and how far below the shoulders, in centimetres: with
# the camera on a laptop nobody shows the hips. By chance photographs of whole people never end there.
CUT_AT_CHEST, CUT_CM = 0.3, (16.0, 40.0)
# Where a distance is asked for, people are no higher than so much of the view.
MOST_OF_VIEW = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A batch of views.

    images: (b, 3, s, s) in [0, 1], channels_last. owner: (n,) image of each person. boxes: (n, 4) of the people to be
    hidden, clipped to the view. prints: what they wear. metres: (n,) how far away they are. state: of a pattern with a
    condition, where it must act and where not; None where it acts always.
    """

    images: torch.Tensor
    owner: torch.Tensor
    boxes: torch.Tensor
    prints: Prints
    metres: Float32Array
    state: BatchState | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        state = None if self.state is None else self.state.to(device)
        return replace(
            self, images=self.images.to(device), owner=self.owner.to(device), boxes=self.boxes.to(device), state=state
        )

    def piece(self, low: int, high: int, prints: Int64Array) -> Batch:
        """Return the batch of the images from `low` to `high` - 1; prints: (k,) those that lie in them."""
        people = (self.owner >= low) & (self.owner < high)
        worn = self.prints.pick(prints)
        state = self.state
        return Batch(
            self.images[low:high],
            self.owner[people] - low,
            self.boxes[people],
            replace(worn, owner=worn.owner - low),
            self.metres[people.cpu().numpy()],
            None if state is None else BatchState(state.sides[people], state.gain[low:high]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class BatchState:
    """The state of a batch. sides: (n,) 1 for people that the pattern is to hide, -1 for those who must stay seen, 0 for
    neither. gain: (b, 3) factors of each image's channels, as it is lit."""

    sides: torch.Tensor
    gain: torch.Tensor

    def to(self, device: torch.device) -> BatchState:
        """Return the state on another device."""
        return BatchState(self.sides.to(device), self.gain.to(device))


@dataclass(frozen=True, slots=True)
class PlacementRange:
    """The placements that training draws from.

    target: what the pattern is for. street, webcam: range of the print's side, the root of its area, over what `rule` takes
    of the box, in each framing. at: centre of the print down the box. size_cm: its width and height, after which a
    cloth's texture repeats.
    """

    target: Target = "chest"
    street: tuple[float, float] = (0.30, 0.42)
    webcam: tuple[float, float] = (0.55, 0.72)
    at: float = BOX_AT
    size_cm: tuple[float, float] = (40.0, 40.0)
    rule: Rule = "area"

    @property
    def aspect(self) -> float:
        """Return the print's width over its height."""
        return self.size_cm[0] / self.size_cm[1]

    @property
    def placement(self) -> Placement:
        """Return the placement of a print as large as `rule` says; `prints` draws how much smaller each is."""
        if self.target in TEXTURES:
            return Placement(self.target, size_cm=self.size_cm)
        return Placement(self.target, self.rule, scale=1.0, aspect=self.aspect, at=self.at)

    def dresses(self, people: Detections, webcam: BoolArray, image: tuple[int, int] | None = None) -> BoolArray:
        """Return (n,) who wears one: before a webcam, or of clothes, whoever shows the chest; in the street everybody."""
        shown = self.placement.dresses(people, image)
        return shown if self.target in TEXTURES else shown | ~webcam

    def wearers(self, image: LabelledImage, framing: Framing) -> BoolArray:
        """Return (n,) who of an image's people wears one in views of a framing."""
        people = people_of(image.boxes, image.keypoints)
        return self.dresses(people, np.full(len(people), framing == "webcam"), image.size)

    def prints(
        self,
        people: Detections,
        owner: Int64Array,
        webcam: BoolArray,
        rng: np.random.Generator,
        image: tuple[int, int] | None = None,
    ) -> Prints:
        """Return a print on each person who `dresses` says wears one.

        owner, webcam: (n,) the image of each, and whether it is framed as by a webcam. image: (width, height) of
        the images.
        """
        n = len(people)
        placement = self.placement
        if self.target in TEXTURES:
            return placement.prints(people, rng, owner=owner, image=image)
        low, high = np.where(webcam[:, None], self.webcam, self.street).T
        relative = np.exp(rng.uniform(np.log(low), np.log(high)))
        # In the street a print is scored by the box. Some follow the joints all the same, as a shirt on a body does.
        by_joints = (rng.random(n) < STREET_BY_JOINTS) & placement.dresses(people, image)
        upright = ~(webcam | by_joints)
        bodies = placement.bodies(people.xyxy, people.keypoints, upright=upright, image=image)
        side = (relative * side_px(bodies, self.rule, 1.0)).astype(np.float32)
        return placement.prints(people, owner=owner, side=side, upright=upright, image=image)


class CropSampler:
    """Draws views around people; every draw depends on the generator alone."""

    def __init__(
        self, images: list[LabelledImage], *, framing: Framing, placements: PlacementRange, large: float = 0.0
    ) -> None:
        """large: share of the views in which the person takes `LARGE_SHARE` of the side or more; 0 leaves it to chance.

        Raises: DataError if nobody shows the chest, where that is what a print hangs on.
        """
        self.images, self.framing, self.placements, self.large = images, framing, placements, large
        rows, weights = [], []
        frames = Counter(p.name.partition("#")[0] for p in images)
        for p, image in enumerate(images):
            for q in np.flatnonzero(placements.wearers(image, framing)).tolist():
                box = image.boxes[q]
                side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
                rows.append((p, q))
                # Small people are blurred when enlarged and rarely found even when they wear nothing.
                weight = np.clip((side - 30) / 50, 0.02, 1) / np.sqrt(len(image.boxes))
                # Frames of one video are near copies: together they count as so many photographs.
                weights.append(weight * min(1.0, VIDEO_COUNTS_AS / frames[image.name.partition("#")[0]]))
        n = sum(len(image.boxes) for image in images)
        if n and not rows:
            raise DataError(
                f"none of {n} people shows the chest, on which the print hangs",
                hint="give images that show people down to the chest",
            )
        self.rows = rows
        self.weights = np.array(weights) / max(sum(weights), 1e-9)

    def batch(self, count: int, size: int, rng: np.random.Generator, *, metres: Float32Array | None = None) -> Batch:
        """Return `count` views of `size` pixels, each of another person where there are enough people.

        metres: (count,) how far away each of them is to be, as near as their photograph allows.
        """
        chosen = rng.choice(len(self.rows), count, replace=count > len(self.rows), p=self.weights)
        away = [None] * count if metres is None else metres.tolist()
        rows = [self.rows[i] for i in chosen]
        return self.batch_of([self._view(p, q, size, rng, m) for (p, q), m in zip(rows, away, strict=True)], rng)

    def batch_of(self, crops: list[Crop], rng: np.random.Generator) -> Batch:
        """Return crops as one batch with the prints that its people wear."""
        stack = torch.from_numpy(np.stack([v.pixels for v in crops]))
        images = stack.permute(0, 3, 1, 2).float().div_(255)
        owner = np.concatenate([np.full(len(v.boxes), i) for i, v in enumerate(crops)])
        boxes = np.concatenate([v.boxes for v in crops])
        points = np.concatenate([v.keypoints for v in crops])
        webcam = np.concatenate([np.full(len(v.boxes), v.webcam) for v in crops])
        size = (images.shape[3], images.shape[2])
        prints = self.placements.prints(people_of(boxes, points), owner, webcam, rng, size)
        metres = np.concatenate([v.metres for v in crops])
        return Batch(images, torch.from_numpy(owner).long(), torch.from_numpy(boxes), prints, metres)

    def _view(self, p: int, q: int, size: int, rng: np.random.Generator, metres: float | None = None) -> Crop:
        image = self.images[p]
        webcam = self.framing == "webcam" or (self.framing == "mixed" and rng.random() < 0.5)
        scale, centre = self._frame(image, q, webcam, size, rng, metres)
        flip = rng.random() < 0.5
        step = np.array([[-scale if flip else scale, 0], [0, scale]])
        matrix = np.concatenate([step, (size / 2 - step @ centre)[:, None]], 1)
        pixels = _warp(image.pixels, matrix, scale, size)
        boxes, points = _moved(image, matrix, flip)
        clipped = np.clip(boxes, 0, size)
        w, h = (clipped[:, 2:] - clipped[:, :2]).T
        kept = w * h / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
        worn = (np.sqrt(w * h) >= SMALLEST_PX) & ((kept > 0.3) | (np.arange(len(boxes)) == q))
        shown = people_of(clipped.astype(np.float32), points.astype(np.float32))
        worn &= self.placements.dresses(shown, np.full(len(boxes), webcam), (size, size))
        return Crop(
            _jitter(pixels, rng),
            clipped[worn].astype(np.float32),
            points[worn].astype(np.float32),
            webcam,
            distance_m(boxes[worn]),
        )

    def _frame(
        self,
        image: LabelledImage,
        q: int,
        webcam: bool,
        size: int,
        rng: np.random.Generator,
        metres: float | None = None,
    ) -> tuple[float, Float32Array]:
        """Return view pixels per image pixel, and the image's point in the middle of the view."""
        box = image.boxes[q]
        w, h = box[2:] - box[:2]
        middle = (box[:2] + box[2:]) / 2
        ph, pw = image.pixels.shape[:2]
        if webcam and h > 1.3 * w:
            # The upper body alone is before a webcam, whatever the photograph shows below.
            tall = w * rng.uniform(0.9, 1.5)
            middle, h = np.array([middle[0], box[1] + min(tall, h) / 2]), min(tall, h)
        low, high = WEBCAM_SHARE if webcam else STREET_SHARE
        if self.large:
            low, high = (LARGE_SHARE, high) if rng.random() < self.large else (low, LARGE_SHARE)
        want = size * float(np.exp(rng.uniform(np.log(low), np.log(high))))
        if metres is not None:
            # Nearer people than fit into the view would wear the print outside of it.
            want = float(np.sqrt(w * h)) * min(float(distance_m(box[None])[0]) / metres, MOST_OF_VIEW * size / h)
        scale = min(want / float(np.sqrt(w * h)), 3.0)
        # A view much larger than its photograph would be padding, which costs as much as people do.
        scale = max(scale, size / (1.2 * min(ph, pw)))
        end = self._end_at_chest(image, q, rng) if webcam and metres is None else None
        if end is not None:
            # From no higher than the image, and no lower than the head.
            scale = min(max(scale, size / max(end, 1.0)), size / max(end - box[1], 1.0), 3.0)
        room = size / scale
        # The person lies anywhere in the view, but mostly whole.
        slack = np.maximum(room - np.array([w, h]), 0.25 * room) / 2
        centre = middle + rng.uniform(-1, 1, 2) * slack
        for axis, length in ((0, pw), (1, ph)):
            if length >= room:
                centre[axis] = np.clip(centre[axis], room / 2, length - room / 2)
        if end is not None:
            centre[1] = end - room / 2
        return scale, centre

    def _end_at_chest(self, image: LabelledImage, q: int, rng: np.random.Generator) -> float | None:
        """Return how far down its image a view goes that ends at a person's chest; None for one that need not."""
        cut, below = rng.random() < CUT_AT_CHEST, rng.uniform(*CUT_CM)
        points = image.keypoints[q : q + 1]
        if not cut or not shoulders_visible(points, 1)[0]:
            return None
        origin, _, down = torso_frames(points)
        end = float(origin[0, 1] + below * np.linalg.norm(down[0]))
        return end if end < image.boxes[q, 3] else None


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One square view: pixels (s, s, 3) uint8 RGB, boxes (n, 4) and keypoints (n, 17, 3) in it, its kind of framing, and
    how far away its people are in metres, (n,)."""

    pixels: UInt8Array
    boxes: Float32Array
    keypoints: Float32Array
    webcam: bool
    metres: Float32Array


def _warp(pixels: UInt8Array, matrix: Array, scale: float, size: int) -> UInt8Array:
    # Bilinear sampling skips pixels when it shrinks by more than two: shrink by whole halvings first.
    while scale < 0.6:
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        matrix, scale = matrix @ np.diag([2.0, 2.0, 1.0]), scale * 2
    # OpenCV counts from the middle of the first pixel, boxes from its edge.
    step, place = matrix[:, :2], matrix[:, 2:]
    matrix = np.concatenate([step, place + (step.sum(1, keepdims=True) - 1) / 2], 1)
    return cv2.warpAffine(  # type: ignore[return-value]
        pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(PAD,) * 3
    )


def _moved(image: LabelledImage, matrix: Array, flip: bool) -> tuple[Array, Array]:
    boxes = (image.boxes.reshape(-1, 2, 2) @ matrix[:, :2].T + matrix[:, 2]).reshape(-1, 4)
    points = image.keypoints.copy()
    points[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    if flip:
        boxes = boxes[:, [2, 1, 0, 3]]
        points = points[:, list(MIRRORED)]
    return boxes, points


def _jitter(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return the photograph in another light and other clothes: gain, contrast and gamma by one table per channel, and
    now and then channels that change places or go grey: few people wear many colours."""
    gamma = np.exp(rng.normal(0, 0.15))
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    contrast = np.exp(rng.normal(0, 0.12))
    line = np.linspace(0, 1, 256)[:, None] ** gamma * gain
    table = np.clip(((line - 0.5) * contrast + 0.5) * 255, 0, 255).round().astype(np.uint8)
    pixels = cv2.LUT(pixels, table[None])  # type: ignore[assignment]
    other = rng.random()
    if other < CHANNELS_SWAPPED:
        return np.ascontiguousarray(pixels[..., rng.permutation(3)])
    if other < CHANNELS_SWAPPED + GREY:
        return np.repeat(pixels.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    return pixels
