"""Block autoencoder: blocks that a network trained on clean images cannot reconstruct are removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from physadv.defend.learned import draw_weights, load_weights, weights_file
from physadv.defend.removal import RemovalDefence
from physadv.errors import TrainingError
from physadv.settings import Settings
from physadv.types import Detector, Float32Array, UInt8Array

CPU = torch.device("cpu")
SIDE = 16
# Tiles held out while training: their width in pixels, and most of them along an axis of the image.
TILE, MOST_TILES = 48, 8
KIND = "blocks"


class BlockNet(nn.Module):
    """An autoencoder of 16 x 16 blocks through a bottleneck of 20 numbers: (n, 768) in [0, 1] to the same."""

    def __init__(self) -> None:
        super().__init__()
        size = 3 * SIDE * SIDE
        self.down = nn.Sequential(nn.Linear(size, 48), nn.GELU(), nn.Linear(48, 20))
        self.up = nn.Sequential(nn.Linear(20, 48), nn.GELU(), nn.Linear(48, size))
        # Squared error that 99.9 % of clean blocks stay below, measured when the network was made.
        self.register_buffer("usual", torch.ones(1))

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return the blocks as the network reconstructs them."""
        centred = blocks - 0.5
        return cast(torch.Tensor, self.up(self.down(centred))) + 0.5

    def surprise(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return (n,) squared errors relative to `usual`: clean blocks hardly ever reach 1."""
        return (self(blocks) - blocks).square().mean(1) / cast(torch.Tensor, self.usual)


class BlockAutoencoder(RemovalDefence):
    """Badly reconstructed blocks, on a grid and on one shifted by half a block, are removed where enough of them meet."""

    name = "blocks"
    title = "what an autoencoder of blocks never saw in clean images is removed"
    cost = "no more passes; about 10 ms a frame"
    paper = "after Lin et al., 'I don't know you, but I can catch you: NutNet' (CCS 2024)"
    threshold: float = Field(
        default=1.0, ge=0.05, le=5, description="surprise of a block, 1: hardly ever in clean images"
    )
    neighbours: int = Field(
        default=3, ge=1, le=9, description="blocks around it that must be surprising, itself included"
    )
    weights: str = Field(default="", description="a file made by `physadv learn blocks`; empty: the shipped one")

    def guard(self, detector: Detector) -> Detector:
        """Return the defended detector.

        Raises: DefenceError if the weights cannot be read.
        """
        self._net()
        return super().guard(detector)

    def weights_path(self) -> Path:
        """Return the file named by `weights`, or the shipped one."""
        return weights_file(KIND, self.weights)

    def _net(self) -> BlockNet:
        return load_block_net(self.weights)

    def locate(self, image: UInt8Array) -> UInt8Array:
        """Return the mask of blocks that surprise the network."""
        value = surprise_map(self._net(), image)
        hot = (value >= self.threshold).astype(np.float32)
        near = np.asarray(cv2.boxFilter(hot, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT))
        marked = ((hot > 0) & (near >= self.neighbours)).astype(np.uint8)
        return _upright(marked, image.shape[1], image.shape[0])

    def suspicion(self, images: torch.Tensor) -> torch.Tensor:
        """Return the log of each block's surprise over the threshold, which has a slope at any distance."""
        net = load_block_net(self.weights, images.device)
        height, width = images.shape[2:]
        rows, columns = 2 * (height // SIDE) - 1, 2 * (width // SIDE) - 1
        blocks = F.unfold(images, SIDE, stride=SIDE // 2)
        value = net.surprise(blocks.transpose(1, 2).reshape(-1, blocks.shape[1])).reshape(len(images), 1, rows, -1)
        return 4 * (value[..., :columns] / self.threshold).clamp_min(1e-4).log()

    @property
    def reason(self) -> str:
        """Return why a region was removed."""
        return "a network trained on clean images cannot redraw it"


def surprise_map(net: BlockNet, image: UInt8Array) -> Float32Array:
    """Return the surprise of each 16 x 16 block at steps of 8 pixels: (2 h / 16 - 1, 2 w / 16 - 1), edges cropped.

    The same as `net.surprise(blocks_of(image)[0])` without reconstructing a block: with up = U h + c the squared error is
    |x - c|^2 - 2 h . U^T (x - c) + h . U^T U h, and terms linear in x are summed over quarters that four blocks share. On
    one core this takes 10 ms a frame at 416 px instead of 33.
    """
    half = SIDE // 2
    rows, columns = (2 * (s // SIDE) for s in image.shape[:2])
    cells = image[: rows * half, : columns * half].reshape(rows, half, columns, half, 3).transpose(0, 2, 4, 1, 3)
    with torch.inference_mode():
        flat = torch.from_numpy(np.ascontiguousarray(cells)).reshape(rows * columns, -1).float()
        first, second, last = (cast(nn.Linear, layer) for layer in (net.down[0], net.down[2], net.up[2]))
        middle = cast(nn.Linear, net.up[0])
        centre = last.bias + 0.5
        linear = torch.cat([first.weight, last.weight.T, centre[None]]) / 255
        width = len(first.weight)
        quarters = linear.reshape(-1, 3, 2, half, 2, half).permute(2, 4, 0, 1, 3, 5).reshape(-1, flat.shape[1])
        seen = (flat @ quarters.T).reshape(rows, columns, 2, 2, -1)
        x = (seen[:-1, :-1, 0, 0] + seen[:-1, 1:, 0, 1] + seen[1:, :-1, 1, 0] + seen[1:, 1:, 1, 1]).flatten(0, 1)
        square = flat.square().sum(1).reshape(rows, columns) / 255**2
        square = (square[:-1, :-1] + square[:-1, 1:] + square[1:, :-1] + square[1:, 1:]).flatten()
        code = second(F.gelu(x[:, :width] + first.bias - first.weight.sum(1) / 2))
        hidden = F.gelu(middle(code))
        along = x[:, width:-1] - centre @ last.weight
        redrawn = (hidden @ (last.weight.T @ last.weight) - 2 * along) * hidden
        error = square - 2 * x[:, -1] + centre.square().sum() + redrawn.sum(1)
        value = error.clamp(min=0) / len(centre) / cast(torch.Tensor, net.usual)
        return value.reshape(rows - 1, columns - 1).numpy()


def blocks_of(image: UInt8Array) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return (n, 768) float32 blocks in [0, 1], channel by channel, and their grid (rows, columns)."""
    height, width = (s // SIDE * SIDE for s in image.shape[:2])
    planes = np.ascontiguousarray(image[:height, :width].transpose(2, 0, 1))
    windows = np.lib.stride_tricks.sliding_window_view(planes, (SIDE, SIDE), axis=(1, 2))[:, :: SIDE // 2, :: SIDE // 2]
    rows, columns = windows.shape[1:3]
    flat = np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(rows * columns, -1)
    return torch.from_numpy(flat).float().div_(255), (rows, columns)


def _upright(hot: UInt8Array, width: int, height: int) -> UInt8Array:
    """Return the (height, width) mask of a grid of blocks at steps of half a block."""
    step = SIDE // 2
    mask = np.zeros((height, width), np.uint8)
    for row, column in np.argwhere(hot):
        mask[row * step : row * step + SIDE, column * step : column * step + SIDE] = 255
    return mask


@lru_cache(maxsize=4)
def load_block_net(path: str = "", device: torch.device = CPU) -> BlockNet:
    """Return the network in a weights file on a device, frozen; the shipped one for an empty path.

    Raises: DefenceError if it cannot be read.
    """
    net = BlockNet()
    load_weights(weights_file(KIND, path), net, kind=KIND)
    return net.to(device)


class BlockTraining(Settings):
    """Settings of the block autoencoder's training on clean images."""

    steps: int = Field(default=3000, ge=1, le=200_000, description="optimiser steps")
    batch: int = Field(default=1024, ge=16, le=65_536, description="blocks a step")
    rate: float = Field(default=3e-3, gt=0, le=0.1, description="highest learning rate")
    imgsz: int = Field(default=416, ge=32, le=4096, description="long side to which images are scaled before cutting")
    seed: int = Field(default=0, ge=0, description="of everything random")


def train_blocks(
    images: Sequence[UInt8Array],
    settings: BlockTraining,
    *,
    report: Callable[[int, float], None] | None = None,
) -> BlockNet:
    """Return an autoencoder trained on blocks of clean images; `usual` is measured on blocks held out.

    About a tenth of the blocks is held out: whole tiles, the same at both scales and in all images of one shape, such
    as the frames of a video, so that no training block shows a pixel of them. report: called with the step and its mean
    squared error every 100 steps.

    Raises: TrainingError if the images hold fewer than 1,000 blocks, or are too narrow to hold any out.
    """
    found, where = [torch.zeros(0, 3 * SIDE * SIDE)], [np.zeros((0, 2), bool)]
    for image in images:
        aside = None
        for size in (settings.imgsz, round(settings.imgsz * 0.6)):
            ratio = size / max(image.shape[:2])
            to = (max(round(image.shape[1] * ratio), SIDE), max(round(image.shape[0] * ratio), SIDE))
            aside = _aside(to, settings.seed) if aside is None else aside
            scaled = np.asarray(cv2.resize(image, to, interpolation=cv2.INTER_LINEAR), np.uint8)
            found.append(blocks_of(scaled)[0])
            where.append(_where(aside, to))
    every, places = torch.cat(found), np.concatenate(where)
    if len(every) < 1000:
        raise TrainingError(f"expected clean images with 1,000 blocks of 16 x 16 or more, got {len(every)}; give more")
    kept, blocks = (every[torch.from_numpy(chosen)] for chosen in places.T)
    if not len(kept) or not len(blocks):
        raise TrainingError("expected clean images of 64 x 64 or more, got strips too narrow to keep any part aside")
    generator = torch.Generator().manual_seed(settings.seed)
    net = BlockNet().train()
    draw_weights(net, generator)
    optimiser = torch.optim.AdamW(net.parameters(), settings.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, settings.steps, pct_start=0.1)
    for step in range(1, settings.steps + 1):
        some = blocks[torch.randint(len(blocks), (settings.batch,), generator=generator)]
        light = torch.empty(len(some), 1).uniform_(0.6, 1.3, generator=generator)
        some = (some * light).clamp(0, 1)
        loss = F.mse_loss(net(some), some)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if report is not None and (step % 100 == 0 or step == settings.steps):
            report(step, float(loss.detach()))
    net.eval().requires_grad_(False)
    with torch.inference_mode():
        error = (net(kept) - kept).square().mean(1)
    cast(torch.Tensor, net.usual).copy_(
        error.quantile(0.999) if len(error) < 1_000_000 else error.kthvalue(int(len(error) * 0.999)).values
    )
    return net


def _aside(size: tuple[int, int], seed: int) -> UInt8Array:
    """Return which tiles (rows, columns) of an image (width, height) are held out: a sixth, of some 50 pixels each."""
    columns, rows = (min(max(side // TILE, 2), MOST_TILES) for side in size)
    out = np.zeros(rows * columns, np.uint8)
    out[np.random.default_rng([seed, rows, columns]).permutation(len(out))[: max(len(out) // 6, 1)]] = 1
    return out.reshape(rows, columns)


def _where(aside: UInt8Array, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return (n, 2) whether each block of an image (width, height) lies wholly inside or wholly outside the held-out tiles.

    A block across their edge is neither.
    """
    width, height = (s // SIDE * SIDE for s in size)
    mask = np.asarray(cv2.resize(aside, size, interpolation=cv2.INTER_NEAREST), bool)[:height, :width]
    windows = np.lib.stride_tricks.sliding_window_view(mask, (SIDE, SIDE))[:: SIDE // 2, :: SIDE // 2]
    return np.stack([windows.all((2, 3)), ~windows.any((2, 3))], -1).reshape(-1, 2)
