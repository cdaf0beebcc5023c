"""How the weights of `erase` are made: random textures pasted on photographs, and textures that fight back.

The patterns a defence is tested on are never used here. Half of the bank are random textures left as they are; the other
half are sparring partners, pushed at every use to escape the network and, where people are pasted over, to lower the
detector's logits, so that the network also meets textures that look like attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.defend.erase_net import CELL, EraseNet
from physadv.defend.textures import texture
from physadv.errors import TrainingError
from physadv.settings import Settings
from physadv.types import Float32Array, GradientDetector, UInt8Array

SIDE = 64
Photograph = tuple[UInt8Array, Float32Array]


class EraseTraining(Settings):
    """How long and on what the eraser is trained."""

    steps: int = Field(default=3000, ge=1, le=200_000, description="optimiser steps")
    batch: int = Field(default=16, ge=2, le=256, description="crops a step")
    crop: int = Field(default=160, ge=96, le=640, multiple_of=32, description="side of a crop in pixels")
    bank: int = Field(default=768, ge=8, le=20_000, description="textures, half of which fight back")
    rate: float = Field(default=4e-3, gt=0, le=0.1, description="highest learning rate")
    push: float = Field(default=0.02, ge=0, le=0.5, description="step of a sparring texture, 1 is white")
    spar_every: int = Field(default=2, ge=1, le=1000, description="the detector joins in every so many steps")
    seed: int = Field(default=0, ge=0, description="of everything random")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: step counted from 1, mean loss and overlap (IoU of mask and truth) since the last report."""

    step: int
    steps: int
    loss: float
    overlap: float


def train_eraser(
    photographs: Sequence[Photograph],
    settings: EraseTraining,
    *,
    detector: GradientDetector | None = None,
    report: Callable[[Progress], None] | None = None,
) -> EraseNet:
    """Return a network trained on photographs, each (h, w, 3) uint8 RGB with its people (n, 4) xyxy (n may be 0).

    detector: the network that sparring textures learn to fool; without it they learn to escape the eraser alone.

    Raises: TrainingError if there are no photographs.
    """
    if not photographs:
        raise TrainingError("the eraser needs photographs to paste textures on, got none")
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    pictures = [p for p, _ in photographs]
    bank = torch.from_numpy(np.stack([texture(SIDE, rng, pictures) for _ in range(settings.bank)]))
    bank = bank.permute(0, 3, 1, 2).float().div_(255)
    net = EraseNet().to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(net.parameters(), settings.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, settings.steps, pct_start=0.1)
    sums = np.zeros(2)
    counted = 0
    for step in range(1, settings.steps + 1):
        batch = _batch(photographs, settings, rng)
        pick = torch.from_numpy(rng.integers(0, settings.bank, (2, settings.batch)))
        worn = bank[pick].requires_grad_()
        images, truth = _paste(batch, worn, rng)
        logits = net(images)
        loss = _loss(logits, truth)
        spar = loss
        if detector is not None and step % settings.spar_every == 0:
            spar = loss - 0.05 * _person_score(detector, images, batch.people)
        optimiser.zero_grad()
        # One backward for both sides: what raises the loss helps the textures, what lowers it helps the network.
        spar.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _push(bank, pick, worn, settings)
        with torch.no_grad():
            mask = logits > 0
            both, either = (mask & (truth > 0.5)).sum(), (mask | (truth > 0.5)).sum()
        sums += [float(loss.detach()), float(both / either.clamp(min=1))]
        counted += 1
        if report is not None and (step % 50 == 0 or step == settings.steps):
            report(Progress(step, settings.steps, *(sums / counted)))
            sums, counted = np.zeros(2), 0
    return net.eval()


@dataclass(frozen=True, slots=True, eq=False)
class _Crops:
    """images: (b, 3, s, s). people: (n, 4) boxes in each crop. quads: (2, b, 4, 2) where textures go, NaN for nowhere."""

    images: torch.Tensor
    people: list[Float32Array]
    quads: Float32Array


def _batch(photographs: Sequence[Photograph], settings: EraseTraining, rng: np.random.Generator) -> _Crops:
    images, people = [], []
    quads = np.full((2, settings.batch, 4, 2), np.nan, np.float32)
    for i in range(settings.batch):
        picture, boxes = photographs[int(rng.integers(len(photographs)))]
        crop, inside = _crop(picture, boxes, settings.crop, rng)
        images.append(crop)
        people.append(inside)
        if rng.random() < 0.72:
            quads[0, i] = _quad(inside, settings.crop, rng)
            if rng.random() < 0.4:
                quads[1, i] = _quad(inside, settings.crop, rng)
    stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
    return _Crops(stack, people, quads)


def _crop(
    picture: UInt8Array, boxes: Float32Array, side: int, rng: np.random.Generator
) -> tuple[UInt8Array, Float32Array]:
    """Return a square crop at a random scale, mirrored half of the time, and the people whose centre is in it."""
    height, width = picture.shape[:2]
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(1.7)))) * 520 / max(height, width)
    scale = max(scale, side / min(height, width))
    size = max(round(width * scale), side), max(round(height * scale), side)
    how = cv2.INTER_AREA if scale < 1 and rng.random() < 0.5 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
    if len(boxes) and rng.random() < 0.7:
        box = boxes[rng.integers(len(boxes))] * scale
        at = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.15, 2) * side
    else:
        at = rng.random(2) * np.array(size)
    x, y = (int(np.clip(at[k] - side / 2, 0, size[k] - side)) for k in (0, 1))
    crop = small[y : y + side, x : x + side]
    moved = boxes * scale - np.array([x, y, x, y], np.float32)
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    moved = moved[np.all((centre > 0) & (centre < side), axis=1)]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
        moved = moved[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1]) + np.array([side, 0, side, 0])
    return np.ascontiguousarray(crop), moved.astype(np.float32)


def _quad(people: Float32Array, side: int, rng: np.random.Generator) -> Float32Array:
    """Return (4, 2) corners of a texture: mostly on somebody's body, else anywhere; turned, sheared, in perspective."""
    if len(people) and rng.random() < 0.75:
        box = people[rng.integers(len(people))]
        w, h = box[2] - box[0], box[3] - box[1]
        size = float(np.clip(np.sqrt(w * h) * rng.uniform(0.2, 0.7), 7, side * 0.8))
        centre = np.array([(box[0] + box[2]) / 2 + rng.normal(0, 0.07) * w, box[1] + rng.uniform(0.25, 0.6) * h])
    else:
        size = float(np.exp(rng.uniform(np.log(7), np.log(side * 0.6))))
        centre = rng.random(2) * side
    ratio = float(np.exp(rng.normal(0, 0.2)))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * size * np.array([ratio, 1 / ratio])
    angle = rng.normal(0, 0.12)
    c, s = np.cos(angle), np.sin(angle)
    corners = corners @ np.array([[c, s], [-s, c]]) + rng.normal(0, 0.04, (4, 2)) * size
    return (corners + centre).astype(np.float32)


def _paste(batch: _Crops, worn: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return photographed images with textures pasted, and the share (b, 1, s / 4, s / 4) of each cell that is pasted."""
    images = batch.images
    b, _, side, _ = images.shape
    covered = torch.zeros(b, 1, side, side)
    for slot in range(2):
        grid, inside = _grid(batch.quads[slot], side)
        ink = _blurred(worn[slot], batch.quads[slot])
        light = torch.from_numpy(rng.uniform(0.55, 1.15, (b, 1, 1, 1))).float()
        shade = torch.from_numpy(rng.normal(0, 0.08, (b, 3, 1, 1))).float()
        ink = F.grid_sample(ink, grid, mode="bilinear", padding_mode="border", align_corners=False)
        images = images * (1 - inside) + (ink * light + shade).clamp(0, 1) * inside
        covered = torch.maximum(covered, inside)
    return _photographed(images, rng), F.avg_pool2d(covered, CELL)


def _grid(quads: Float32Array, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sampling grids (b, s, s, 2) into unit textures and coverage (b, 1, s, s), soft over one pixel."""
    line = (torch.arange(side) + 0.5).float()
    x, y = line[None].expand(side, side), line[:, None].expand(side, side)
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    grids, masks = [], []
    for quad in quads:
        if np.isnan(quad).any():
            grids.append(torch.zeros(side, side, 2))
            masks.append(torch.zeros(side, side))
            continue
        m = torch.from_numpy(cv2.getPerspectiveTransform(quad, unit)).float()
        w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
        w = torch.where(w.abs() < 1e-3, torch.full_like(w, 1e-3), w)
        grid = torch.stack([(m[k, 0] * x + m[k, 1] * y + m[k, 2]) / w for k in (0, 1)], -1)
        half = float(np.sqrt(max(cv2.contourArea(quad), 1.0))) / 2
        masks.append(((1 - grid.abs().amax(-1)) * half + 0.5).clamp(0, 1) * (w > 0))
        grids.append(grid)
    return torch.stack(grids), torch.stack(masks)[:, None]


def _blurred(textures: torch.Tensor, quads: Float32Array) -> torch.Tensor:
    """Return textures (b, 3, n, n) shrunk to about the pixels they will cover and back, so that sampling does not alias."""
    out = []
    for image, quad in zip(textures, quads, strict=True):
        size = 0.0 if np.isnan(quad).any() else float(np.sqrt(max(cv2.contourArea(quad), 1.0)))
        n = int(np.clip(round(size), 4, SIDE))
        small = image[None] if n >= SIDE else F.adaptive_avg_pool2d(image[None], n)
        out.append(F.interpolate(small, SIDE, mode="bilinear", align_corners=False))
    return torch.cat(out)


def _photographed(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return images under another light, through another lens: gain, tint, blur, noise and JPEG."""
    b = len(images)
    gain = torch.from_numpy(
        np.exp(rng.normal(0, 0.18, (b, 1, 1, 1))) * np.exp(rng.normal(0, 0.06, (b, 3, 1, 1)))
    ).float()
    out = (images * gain + torch.from_numpy(rng.normal(0, 0.04, (b, 1, 1, 1))).float()).clamp(0, 1)
    soft = F.avg_pool2d(F.pad(out, (1,) * 4, mode="replicate"), 3, 1)
    share = torch.from_numpy(np.maximum(rng.uniform(-0.6, 1.0, (b, 1, 1, 1)), 0)).float()
    out = out * (1 - share) + soft * share
    grain = torch.from_numpy(rng.standard_normal(tuple(out.shape), dtype=np.float32))
    out = (out + grain * torch.from_numpy(rng.uniform(0, 0.03, (b, 1, 1, 1))).float()).clamp(0, 1)
    coded = out.detach().mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    for i in range(b):
        if rng.random() < 0.4:
            _, data = cv2.imencode(".jpg", coded[i], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])
            coded[i] = cv2.imdecode(data, cv2.IMREAD_COLOR)
    jpeg = torch.from_numpy(coded).permute(0, 3, 1, 2).float().div_(255)
    return (out + (jpeg - out).detach()).contiguous(memory_format=torch.channels_last)


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return cross entropy (half-covered cells count less) plus soft Dice over the batch."""
    target = (truth > 0.5).float()
    sure = (2 * truth - 1).abs().clamp(min=0.1)
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=sure * (1 + 2 * target))
    share = logits.sigmoid()
    dice = 1 - (2 * (share * target).sum() + 1) / (share.sum() + target.sum() + 1)
    return entropy + 0.5 * dice


def _person_score(detector: GradientDetector, images: torch.Tensor, people: Sequence[Float32Array]) -> torch.Tensor:
    """Return the mean over half of the crops of the highest person logits near somebody, for textures to lower."""
    half = max(len(images) // 2, 1)
    found = detector.candidates(images[:half].contiguous())
    top = found.logit.topk(min(20, found.logit.shape[1]), dim=1).values
    has = torch.tensor([float(len(p) > 0) for p in people[:half]])
    return (F.softplus(top).mean(1) * has).sum() / has.sum().clamp(min=1)


def _push(bank: torch.Tensor, pick: torch.Tensor, worn: torch.Tensor, settings: EraseTraining) -> None:
    """Move the sparring half of the bank up the gradient that it was used with."""
    if worn.grad is None or settings.push == 0:
        return
    with torch.no_grad():
        step = settings.push * worn.grad.sign()
        for slot in range(2):
            for i, k in enumerate(pick[slot].tolist()):
                if k >= len(bank) // 2:
                    bank[k] = (bank[k] + step[slot, i]).clamp_(0, 1)
