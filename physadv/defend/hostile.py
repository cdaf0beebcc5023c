"""Patterns trained in seconds each against the embedded detector, for the eraser to learn from.

None is published. They differ in aim, in the people they are trained on, in grain and smoothness and in their start, so
that a network learns from them what such patterns have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from physadv.defend.erase_network import CPU, backbone
from physadv.detect.yolo import PersonNet
from physadv.errors import TrainingError
from physadv.types import Float32Array, UInt8Array

VIEW = 160
TOGETHER = 8
# Smaller people are too coarse to train on once enlarged.
LEAST_AREA = 24 * 48
# Cells across the grids whose sum is a pattern, coarse ones first: they make it look like things and not like noise.
GRIDS = (2, 4, 8, 16, 32, 48)
Aim = Literal["one", "anyone", "crowd", "dream"]
# one: hides one person; anyone: hides everybody who wears it; crowd: shows people who are not there; dream: excites two
# channels of a layer. The numbers are shares of the rounds. A round of "anyone" gives two patterns, any other `TOGETHER`.
AIMS: dict[Aim, float] = {"one": 0.25, "anyone": 0.45, "crowd": 0.25, "dream": 0.05}
# A pattern for anyone meets other people at every step and needs this many times the steps.
LONGER = 4
DREAMT = (4, 6, 8)

Person = tuple[UInt8Array, Float32Array]


def hostile_textures(
    photographs: Sequence[tuple[UInt8Array, Float32Array]],
    count: int,
    rng: np.random.Generator,
    *,
    side: int = 64,
    steps: int = 60,
    report: Callable[[int], None] | None = None,
) -> list[UInt8Array]:
    """Return `count` patterns, (side, side, 3) uint8 RGB each, trained on the people of photographs.

    photographs: (h, w, 3) uint8 RGB, each with its people (n, 4) xyxy. report: called with the number of patterns so far.

    Raises: TrainingError if no person is large enough.
    """
    people = [(p, b) for p, boxes in photographs for b in boxes if (b[2] - b[0]) * (b[3] - b[1]) >= LEAST_AREA]
    if not people:
        raise TrainingError(f"patterns are trained on people of at least {LEAST_AREA} pixels; the images show none")
    natural = _colours([p for p, _ in photographs])
    net = backbone(CPU)
    out: list[UInt8Array] = []
    while len(out) < count:
        aim = list(AIMS)[int(rng.choice(len(AIMS), p=list(AIMS.values())))]
        patterns = PatternGrids(2 if aim == "anyone" else TOGETHER, people, natural, rng)
        _train(net, patterns, aim, people, rng, LONGER * steps if aim == "anyone" else steps)
        with torch.no_grad():
            large = F.interpolate(patterns.ink(), (side, side), mode="bilinear").permute(0, 2, 3, 1)
        out.extend((large * 255).round().byte().numpy())
        if report is not None:
            report(min(len(out), count))
    return out[:count]


class PatternGrids:
    """Patterns as sums of coarse and fine grids, in the colours of photographs, some over a piece of one.

    Source: the decorrelated colours and spectra of Olah, Mordvintsev, Schubert, "Feature visualization" (2017).
    """

    def __init__(self, number: int, people: Sequence[Person], natural: torch.Tensor, rng: np.random.Generator) -> None:
        def normal(*shape: int, spread: float) -> torch.Tensor:
            return torch.from_numpy(rng.normal(0, spread, shape).astype(np.float32))

        self.grids = [
            normal(number, 3, n, n, spread=0.3).requires_grad_() for n in GRIDS[: int(rng.integers(4, len(GRIDS) + 1))]
        ]
        fall = rng.uniform(0, 0.8)
        self.weights = [2.0 * (GRIDS[0] / n) ** fall for n in GRIDS]
        free = float(rng.choice([0, 0.15, 0.4, 1]))
        self.colours = natural * (1 - free) + normal(3, 3, spread=0.6) * free
        self.under = normal(number, 1, 1, 1, spread=0.5) + normal(number, 3, 1, 1, spread=0.2)
        self.strength = 1.0
        if rng.random() < 0.4:
            pieces = np.stack([_piece(*people[int(rng.integers(len(people)))], rng) for _ in range(number)])
            share = torch.from_numpy(pieces).permute(0, 3, 1, 2).float() / 255
            self.under = 0.8 * torch.logit(share.clamp(0.05, 0.95))
            self.strength = 0.6

    def ink(self) -> torch.Tensor:
        """Return the patterns (n, 3, 48, 48) in [0, 1], with gradients to the grids."""
        size = (GRIDS[-1], GRIDS[-1])
        parts = [F.interpolate(g, size, mode="bicubic") * w for g, w in zip(self.grids, self.weights, strict=False)]
        coloured = torch.einsum("dc,bchw->bdhw", self.colours, torch.stack(parts).sum(0))
        return (self.under + coloured * self.strength).sigmoid()


def _train(
    net: PersonNet, patterns: PatternGrids, aim: Aim, people: Sequence[Person], rng: np.random.Generator, steps: int
) -> None:
    """Train patterns for an aim: on eight people, or for "anyone" on eight others at every step."""
    wearers = _Wearers.draw(people, rng)
    optimiser = torch.optim.Adam(patterns.grids, lr=float(rng.choice([0.1, 0.2])))
    layer = int(rng.choice(DREAMT))
    channels = torch.from_numpy(rng.integers(0, 1 << 16, (TOGETHER, 2)))
    for step in range(steps):
        if aim == "anyone" and step:
            wearers = _Wearers.draw(people, rng)
        ink = patterns.ink()
        if aim == "dream":
            moved = torch.roll(F.interpolate(ink, (96, 96), mode="bilinear"), rng.integers(0, 16, 2).tolist(), (2, 3))
            answer = net.early(moved, (layer,))[0].mean((2, 3))
            loss = -3 * answer.gather(1, channels[: len(answer)] % answer.shape[1]).mean(1).sum()
        else:
            views = wearers.wear(ink.repeat_interleave(TOGETHER // len(ink), 0), rng)
            logit, _ = net.decode(next(iter(net.heads(views, every=False, keypoints=False).values())), VIEW, VIEW)
            if aim == "crowd":
                loss = F.softplus(1 - logit.topk(30, 1).values).mean(1).sum()
            else:
                loss = F.softplus(3 + logit.topk(12, 1).values).mean(1).sum()
        for grid, slope in zip(patterns.grids, torch.autograd.grad(loss, patterns.grids), strict=True):
            grid.grad = slope
        optimiser.step()


@dataclass(frozen=True, slots=True)
class _Wearers:
    """Views (n, 3, VIEW, VIEW) in [0, 1] of n people, and where each wears a pattern: sides and centres in pixels."""

    crops: torch.Tensor
    sides: npt.NDArray[np.float64]
    centres: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, people: Sequence[Person], rng: np.random.Generator) -> _Wearers:
        drawn = [_someone(*people[int(rng.integers(len(people)))], rng) for _ in range(TOGETHER)]
        boxes = np.stack([b for _, b in drawn])
        size = boxes[:, 2:] - boxes[:, :2]
        return cls(
            torch.from_numpy(np.stack([c for c, _ in drawn])).permute(0, 3, 1, 2).float() / 255,
            np.sqrt(size.prod(1)) * rng.uniform(0.4, 0.6, TOGETHER),
            boxes[:, :2] + size * np.array([0.5, 0.42]),
        )

    def wear(self, worn: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        moves = self.centres + rng.normal(0, 0.05, (TOGETHER, 2)) * self.sides[:, None]
        return _wearing(self.crops, worn, self.sides * rng.uniform(0.6, 1.25, TOGETHER), moves, rng)


def _colours(images: Sequence[UInt8Array]) -> torch.Tensor:
    """Return the (3, 3) matrix that turns independent noise into colours correlated as those of the images."""
    pixels = np.concatenate([p[::7, ::7].reshape(-1, 3) for p in images]).astype(np.float64) / 255
    spread, axes = np.linalg.eigh(np.cov(pixels.T))
    return torch.from_numpy((axes * np.sqrt(np.maximum(spread, 1e-9) / spread.max())).astype(np.float32))


def _piece(image: UInt8Array, box: Float32Array, rng: np.random.Generator) -> UInt8Array:
    """Return a square piece of a person, (48, 48, 3), mostly of the upper half."""
    height, width = image.shape[:2]
    side = int(min(max(min(box[2] - box[0], box[3] - box[1]), 16) * rng.uniform(0.5, 1.2), height, width))
    spare = np.maximum(box[2:] - box[:2] - side, 1) * rng.random(2) * np.array([1, 0.5])
    x, y = np.clip(box[:2] + spare, 0, np.array([width - side, height - side])).astype(int)
    piece = image[y : y + side, x : x + side]
    return np.asarray(cv2.resize(piece, (GRIDS[-1], GRIDS[-1]), interpolation=cv2.INTER_AREA), np.uint8)


def _someone(image: UInt8Array, box: Float32Array, rng: np.random.Generator) -> tuple[UInt8Array, Float32Array]:
    """Return a square view of VIEW pixels around a person, and the box in it."""
    around = max(box[2] - box[0], box[3] - box[1]) * rng.uniform(1.1, 1.6)
    zoom = VIEW / around
    # Shrunk by area first, so that warping does not alias.
    ratio = min(2 * zoom, 1.0)
    small = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA) if ratio < 1 else image
    zoom_x, zoom_y = zoom * image.shape[1] / small.shape[1], zoom * image.shape[0] / small.shape[0]
    corner = VIEW / 2 - (box[:2] + box[2:]) / 2 * zoom
    matrix = np.array([[zoom_x, 0, corner[0]], [0, zoom_y, corner[1]]])
    view = cv2.warpAffine(small, matrix, (VIEW, VIEW), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8), (box * zoom + np.tile(corner, 2)).astype(np.float32)


def _wearing(
    crops: torch.Tensor, worn: torch.Tensor, sides: np.ndarray, centres: np.ndarray, rng: np.random.Generator
) -> torch.Tensor:
    """Return the crops with a pattern at each centre, of the given size in pixels, turned a little, in its own light."""
    count = len(crops)
    angle = rng.normal(0, 0.08, count)
    zoom = VIEW / sides
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    turned = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], 1)
    move = -(turned @ (centres * 2 / VIEW - 1)[..., None])
    matrix = torch.from_numpy(np.concatenate([turned, move], 2).astype(np.float32))
    grid = F.affine_grid(matrix, [count, 3, VIEW, VIEW], align_corners=False)
    inside = (grid.abs().amax(3) < 1)[:, None].float()
    light = torch.from_numpy(rng.uniform(0.7, 1.05, (count, 1, 1, 1)).astype(np.float32))
    placed = F.grid_sample(worn, grid, align_corners=False, padding_mode="border") * light
    return crops * (1 - inside) + placed * inside
