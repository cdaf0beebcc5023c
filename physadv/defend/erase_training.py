"""Training of `erase`: textures are pasted on photographs, and a head learns to find them.

Half of the textures are drawn at random, half are patterns trained here in seconds each (`hostile`). None is published or
shipped, for on those the defence is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.defend.erase_network import CELL, EraseHead, backbone_features
from physadv.defend.learned import draw_weights
from physadv.defend.textures import texture, varied
from physadv.errors import TrainingError
from physadv.settings import Settings
from physadv.types import Float32Array, UInt8Array

SIDE = 64
UNIT: Float32Array = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float32)
Photograph = tuple[UInt8Array, Float32Array]


class EraseTraining(Settings):
    """Settings of the eraser's training."""

    patterns: int = Field(default=160, ge=0, le=10_000, description="hostile patterns trained first; seconds each")
    hostile: float = Field(default=0.55, ge=0, le=1, description="share of the textures that are such patterns")
    scenes: int = Field(default=400, ge=8, le=100_000, description="random scenes; their features are kept in memory")
    side: int = Field(default=320, ge=96, le=1280, multiple_of=32, description="side of a scene in pixels")
    passes: int = Field(default=10, ge=1, le=1000, description="passes over the scenes")
    batch: int = Field(default=8, ge=1, le=256, description="scenes a step")
    rate: float = Field(default=3e-3, gt=0, le=0.1, description="highest learning rate")
    seed: int = Field(default=0, ge=0, description="of everything random")


@dataclass(frozen=True, slots=True)
class EraserProgress:
    """The state of a training: step counted from 1, mean loss and overlap (IoU of mask and truth) over the pass."""

    step: int
    steps: int
    loss: float
    overlap: float


def train_eraser(
    photographs: Sequence[Photograph],
    settings: EraseTraining,
    *,
    hostile: Sequence[UInt8Array] = (),
    report: Callable[[EraserProgress], None] | None = None,
) -> EraseHead:
    """Return a head trained on photographs, each (h, w, 3) uint8 RGB with its people (n, 4) xyxy (n may be 0).

    hostile: patterns of `hostile_textures`, (64, 64, 3) uint8 RGB each; without them all textures are random. report:
    called after each pass.

    Raises: TrainingError if there are no photographs.
    """
    if not photographs:
        raise TrainingError("the eraser needs photographs to paste textures on, got none")
    rng = np.random.default_rng(settings.seed)
    features, truth = _scenes(photographs, hostile, settings, rng)
    head = EraseHead().train()
    draw_weights(head, torch.Generator().manual_seed(settings.seed))
    with torch.no_grad():
        some = features[:64].float()
        head.get_buffer("centre").copy_(some.mean((0, 2, 3)))
        head.get_buffer("spread").copy_(some.std((0, 2, 3)).clamp(min=1e-3))
    optimiser = torch.optim.AdamW(head.parameters(), settings.rate, weight_decay=2e-2)
    per_pass = max(len(features) // settings.batch, 1)
    steps = settings.passes * per_pass
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, steps, pct_start=0.15)
    sums, counted = np.zeros(2), 0
    for step in range(steps):
        if step % per_pass == 0:
            order = torch.from_numpy(rng.permutation(len(features)))
            sums, counted = np.zeros(2), 0
        pick = order[step % per_pass * settings.batch :][: settings.batch]
        logits = head(features[pick].float())
        loss = _loss(logits, truth[pick])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            mask, there = logits > 0, truth[pick] > 0.5
            overlap = (mask & there).sum() / (mask | there).sum().clamp(min=1)
        sums += [float(loss.detach()), float(overlap)]
        counted += 1
        if report is not None and (step + 1) % per_pass == 0:
            report(EraserProgress(step + 1, steps, *(sums / counted)))
    return head.eval().requires_grad_(False)


def _scenes(
    photographs: Sequence[Photograph],
    hostile: Sequence[UInt8Array],
    settings: EraseTraining,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return half-precision features (n, 320, s / 8, s / 8) of random scenes, and the pasted share of each cell."""
    images = [p for p, _ in photographs] + [c for p, boxes in photographs for c in _cut(p, boxes)]

    def ink() -> UInt8Array:
        if hostile and rng.random() < settings.hostile:
            return varied(hostile[int(rng.integers(len(hostile)))], rng)
        return texture(SIDE, rng, images)

    features, shares = [], []
    for _ in range(settings.scenes):
        photograph = photographs[int(rng.integers(len(photographs)))]
        image, covered = scene(photograph, ink, settings.side, rng)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float().div_(255)
        with torch.inference_mode():
            features.append(backbone_features(tensor.contiguous(memory_format=torch.channels_last)).half())
        shares.append(F.avg_pool2d(torch.from_numpy(covered)[None, None], CELL))
    return torch.cat(features).clone(), torch.cat(shares)


def _cut(image: UInt8Array, boxes: Float32Array) -> list[UInt8Array]:
    """Return the crop of each person of 24 pixels or more: trained patterns often look like people."""
    whole = [np.round(b).astype(int) for b in boxes if min(b[2] - b[0], b[3] - b[1]) >= 24]
    return [image[max(y1, 0) : y2, max(x1, 0) : x2] for x1, y1, x2, y2 in whole]


def scene(
    photograph: Photograph, ink: Callable[[], UInt8Array], side: int, rng: np.random.Generator
) -> tuple[UInt8Array, Float32Array]:
    """Return a (side, side, 3) uint8 crop with up to six textures pasted, and (side, side) coverage in [0, 1].

    ink: returns a (64, 64, 3) uint8 RGB texture.
    """
    crop, people = _crop(*photograph, side, rng)
    image = crop.astype(np.float32)
    covered = np.zeros((side, side), np.float32)
    for _ in range(int(rng.choice([0, 1, 2, 3, 4, 6], p=[0.25, 0.2, 0.2, 0.15, 0.1, 0.1]))):
        quad = _quad(people, side, rng)
        image, inside = _pasted(image, ink(), quad, rng)
        covered = np.maximum(covered, inside)
    return _photographed(image, rng), covered


def _crop(
    image: UInt8Array, boxes: Float32Array, side: int, rng: np.random.Generator
) -> tuple[UInt8Array, Float32Array]:
    """Return a square crop at a random scale, mirrored half of the time, and the boxes whose centre is in it."""
    height, width = image.shape[:2]
    scale = float(np.exp(rng.uniform(np.log(0.6), np.log(1.7)))) * 500 / max(height, width)
    scale = max(scale, side / min(height, width))
    size = max(round(width * scale), side), max(round(height * scale), side)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    x, y = (int(rng.integers(0, size[k] - side + 1)) for k in (0, 1))
    crop = small[y : y + side, x : x + side]
    moved = boxes * scale - np.array([x, y, x, y], np.float32)
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    moved = moved[np.all((centre > 0) & (centre < side), axis=1)]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
        moved = moved[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1]) + np.array([side, 0, side, 0])
    return np.ascontiguousarray(crop), moved.astype(np.float32)


def _quad(people: Float32Array, side: int, rng: np.random.Generator) -> Float32Array:
    """Return (4, 2) corners of a texture: mostly on a person's body, else anywhere; turned, sheared, in perspective."""
    if len(people) and rng.random() < 0.75:
        box = people[int(rng.integers(len(people)))]
        w, h = box[2] - box[0], box[3] - box[1]
        size = float(np.clip(np.sqrt(w * h) * rng.uniform(0.22, 0.7), 8, side * 0.8))
        centre = np.array([(box[0] + box[2]) / 2 + rng.normal(0, 0.07) * w, box[1] + rng.uniform(0.25, 0.6) * h])
    else:
        size = float(np.exp(rng.uniform(np.log(8), np.log(side * 0.6))))
        centre = rng.random(2) * side
    ratio = float(np.exp(rng.normal(0, 0.15)))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * size * np.array([ratio, 1 / ratio])
    angle = rng.normal(0, 0.12)
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(corners @ np.array([[c, s], [-s, c]]) + rng.normal(0, 0.03, (4, 2)) * size + centre, np.float32)


def _pasted(
    image: Float32Array, ink: UInt8Array, quad: Float32Array, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Return the image with a texture in the quad under its own light, and the (h, w) share covered."""
    height, width = image.shape[:2]
    size = float(np.sqrt(max(cv2.contourArea(quad), 1.0)))
    texels = int(np.clip(round(size), 4, SIDE))
    # Shrunk by area to the pixels that it covers, so that sampling does not alias.
    small = cv2.resize(ink, (texels, texels), interpolation=cv2.INTER_AREA).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(UNIT * (texels / SIDE) - 0.5, quad - 0.5)
    light = rng.uniform(0.6, 1.1) * np.exp(rng.normal(0, 0.05, 3))
    placed = cv2.warpPerspective(
        small * light + rng.normal(0, 8), matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    inside = cv2.warpPerspective(np.ones((texels, texels), np.float32), matrix, (width, height))
    out = image * (1 - inside[..., None]) + np.clip(placed, 0, 255) * inside[..., None]
    return out.astype(np.float32), np.asarray(inside, np.float32)


def _photographed(image: Float32Array, rng: np.random.Generator) -> UInt8Array:
    """Return the image as another camera takes it in other light: gain, tint, blur, noise and JPEG."""
    out = image * np.exp(rng.normal(0, 0.18) + rng.normal(0, 0.05, 3)) + rng.normal(0, 8)
    if rng.random() < 0.4:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.2)))
    if rng.random() < 0.6:
        out = out + rng.standard_normal(out.shape, dtype=np.float32) * rng.uniform(0, 7)
    coded = np.clip(out, 0, 255).round().astype(np.uint8)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", coded, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])
        coded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return coded


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return cross entropy (half-covered cells count less) plus soft Dice over the batch."""
    target = (truth > 0.5).float()
    sure = (2 * truth - 1).abs().clamp(min=0.1)
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=sure)
    share = logits.sigmoid()
    dice = 1 - (2 * (share * target).sum() + 1) / (share.sum() + target.sum() + 1)
    return entropy + 0.3 * dice
