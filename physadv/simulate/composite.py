"""Compositing: the pixels that prints cover, looked up in their tiles and laid over images, a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from physadv.simulate.geometry import FLAT, folded_outlines, homography, sides_px, unfolded
from physadv.simulate.placement import Prints

# Weight of a transparent texel's colour beside that of an opaque one's.
FAINT = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Prints as tensors on the device of the images, each a layer over its image.

    fold: (m, 3) as of `geometry.unfolded`. The other fields are those of `Prints`.
    """

    owner: torch.Tensor
    quads: torch.Tensor
    rank: torch.Tensor
    bounds: torch.Tensor
    arms: torch.Tensor
    fold: torch.Tensor

    def __len__(self) -> int:
        return len(self.owner)

    @classmethod
    def of(cls, prints: Prints, device: torch.device) -> Layers:
        """Return the layers of some prints."""
        flat = np.tile(np.array(FLAT, np.float32), (len(prints), 1))
        arrays = (prints.owner, prints.quads, prints.rank, prints.bounds, prints.arms, flat)
        return cls(*(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays))

    @property
    def folded(self) -> bool:
        """Return whether any of them is folded."""
        return bool((self.fold[:, 0] < 1).any())

    def outlines(self) -> torch.Tensor:
        """Return (m, k, 2) points, in pixels, between which each of them lies."""
        return folded_outlines(self.quads, self.fold) if self.folded else self.quads


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """What some prints show, one tile a print, all padded to the size of the largest.

    index: (k,) which prints. texels: (k, 4, p, q) colour and opacity. shown: (k, 2) width and height in texels of what the
    print's corners enclose; a tile may hold a part of a texel more, never less.
    """

    index: torch.Tensor
    texels: torch.Tensor
    shown: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The pixels that some layers cover.

    layer: (k,) which. place: (k,) in the flattened batch (b h w). where: (k, 2) in the print, [-1, 1]. cover: (k,) opacity
    of the edge in [0, 1].
    """

    layer: torch.Tensor
    place: torch.Tensor
    where: torch.Tensor
    cover: torch.Tensor


def composite(images: torch.Tensor, layers: Layers, tiles: list[Tiles]) -> torch.Tensor:
    """Return images (b, 3, h, w) with prints on them, in channels_last order; differentiable in the texels."""
    b, _, h, w = images.shape
    if len(layers) == 0:
        return images
    pixels = covered_pixels(layers, (h, w))
    if len(pixels.place) == 0:
        return images
    looked = look_up(pixels, tiles, len(layers))
    colour = looked[:, :3].clamp(0, 1)
    cover = looked[:, 3:].detach() * pixels.cover[:, None]
    flat = images.permute(0, 2, 3, 1).reshape(-1, 3).clone()
    for seen in _passes(pixels, layers.rank, b * h * w):
        place = pixels.place[seen]
        under = flat.index_select(0, place)
        flat.index_copy_(0, place, (under + cover[seen] * (colour[seen] - under)).to(flat))
    return flat.reshape(b, h, w, 3).permute(0, 3, 1, 2)


def _passes(pixels: Pixels, rank: torch.Tensor, count: int) -> list[torch.Tensor]:
    """Return (j,) indices of pixels to be painted, pass after pass: no place twice in one pass, lower ranks first."""
    place = pixels.place
    crowd = torch.bincount(place, minlength=count)[place]
    alone = (crowd == 1).nonzero().squeeze(1)
    if len(alone) == len(place):
        return [alone]
    # Only where prints meet do they have to be put in order: a few pixels in a hundred.
    crowded = (crowd > 1).nonzero().squeeze(1)
    crowded = crowded[(place[crowded] * len(rank) + rank[pixels.layer[crowded]]).argsort()]
    here = place[crowded]
    depth = torch.arange(len(here), device=here.device) - torch.searchsorted(here, here)
    first, *others = (crowded[depth == d] for d in range(int(depth.max()) + 1))
    return [torch.cat([alone, first]), *others]


@torch.no_grad()
def covered_pixels(layers: Layers, size: tuple[int, int]) -> Pixels:
    """Return the pixels of images of (h, w) that layers cover, each layer's own list, overlaps not yet resolved."""
    h, w = size
    quads = layers.quads
    limit = torch.tensor([w, h], device=quads.device)
    outlines = layers.outlines()
    low = (outlines.amin(1).floor() - 1).maximum(layers.bounds[:, :2].floor()).clamp_min(0).minimum(limit - 1).long()
    high = (outlines.amax(1).ceil() + 1).minimum(layers.bounds[:, 2:].ceil()).clamp_min(0).minimum(limit).long()
    extent = (high - low).amax(1)
    inverse = torch.linalg.inv(homography(quads))
    half = sides_px(quads) / 2
    fold = layers.fold if layers.folded else None
    parts = [
        _within(index, low[index], high[index], inverse[index], half[index], None if fold is None else fold[index])
        for index in _of_like_extent(extent)
    ]
    which, x, y, where, cover = (torch.cat([p[i] for p in parts]) for i in range(5))
    place = layers.owner[which] * (h * w) + y * w + x
    return Pixels(which, place, where, _behind_arms(layers.arms, which, place, cover, size))


def _of_like_extent(extent: torch.Tensor) -> list[torch.Tensor]:
    """Return indices in groups of nearly one extent: each group is computed on squares as large as its largest print."""
    order = extent.argsort(stable=True)
    groups, begin, sizes = [], 0, extent[order].tolist()
    for i, size in enumerate(sizes):
        if size > 1.25 * max(sizes[begin], 8):
            groups.append(order[begin:i])
            begin = i
    return [*groups, order[begin:]]


def _within(
    index: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    inverse: torch.Tensor,
    half: torch.Tensor,
    fold: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return layer, x, y, place in the print, and cover of the pixels between corners low and high (m, 2)."""
    extent = max(int((high - low).max()), 1)
    step = torch.arange(extent, device=low.device)
    x, y = low[:, :1] + step, low[:, 1:] + step
    # The homography's numerators and denominator are sums of a term in x and one in y.
    m, by_x, by_y = inverse[..., None, None], (x + 0.5)[:, None], (y + 0.5)[:, :, None]
    u, v, depth = (m[:, i, 0] * by_x + (m[:, i, 1] * by_y + m[:, i, 2]) for i in range(3))
    u, v = u / depth, v / depth
    wide, tall = half[:, :1, None], half[:, 1:, None]
    if fold is not None:
        u, v, length = unfolded(u, v, fold)
        tall = tall * length
    # Distance to the print's edge in pixels, half a pixel inside = fully covered.
    edge = ((1 - u.abs()) * wide + 0.5).clamp_(0, 1)
    edge = edge * ((1 - v.abs()) * tall + 0.5).clamp_(0, 1)
    edge = edge * (x < high[:, :1])[:, None] * (y < high[:, 1:])[:, :, None]
    flat = edge.flatten()
    tile = flat.nonzero().squeeze(1)
    which = tile // (extent * extent)
    row, column = tile // extent % extent, tile % extent
    where = torch.stack([u.flatten()[tile], v.flatten()[tile]], 1)
    return index[which], x[which, column], y[which, row], where, flat[tile]


def _behind_arms(
    arms: torch.Tensor, which: torch.Tensor, place: torch.Tensor, cover: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Return `cover` with what forearms (m, 2, 5) hide taken out."""
    if not bool((arms[..., 4] > 0).any()):
        return cover
    h, w = size
    point = torch.stack([place % w, place // w % h], -1) + 0.5
    for arm in arms.unbind(1):
        start, stop, radius = arm[which, :2], arm[which, 2:4], arm[which, 4]
        along = stop - start
        share = ((point - start) * along).sum(-1) / (along**2).sum(-1).clamp_min(1e-6)
        distance = (point - start - share.clamp(0, 1)[:, None] * along).norm(dim=-1)
        cover = cover * torch.where(radius > 0, (distance - radius + 0.5).clamp(0, 1), 1.0)
    return cover


def look_up(pixels: Pixels, tiles: list[Tiles], count: int) -> torch.Tensor:
    """Return (k, 4) bilinear colours and opacities of the pixels in their prints' tiles; borders go on outwards.

    Only the covered pixels are looked up, in one weighted gather over all tiles: `grid_sample` would do so on the whole
    square around each print, and took three times as long.
    """
    device = pixels.place.device
    first = torch.zeros(count, dtype=torch.long, device=device)
    stride = torch.ones(count, dtype=torch.long, device=device)
    shown = torch.ones(count, 2, device=device)
    tables, total = [], 0
    for part in tiles:
        p, q = part.texels.shape[-2:]
        first[part.index] = total + torch.arange(len(part.index), device=device) * (p * q)
        stride[part.index] = q
        shown[part.index] = part.shown
        tables.append(part.texels.permute(0, 2, 3, 1).reshape(-1, 4))
        total += tables[-1].shape[0]
    size = shown[pixels.layer]
    last = size.ceil() - 1
    texel = ((pixels.where + 1) / 2 * size - 0.5).clamp_min(0).minimum(last)
    low = texel.floor().minimum((last - 1).clamp_min(0))
    x, y = (texel - low).unbind(1)
    step = (last > 0).long()
    width, low = stride[pixels.layer], low.long()
    begin = first[pixels.layer] + low[:, 1] * width + low[:, 0]
    right, down = step[:, 0], step[:, 1] * width
    corners = torch.stack([begin, begin + right, begin + down, begin + right + down], 1)
    weights = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1)
    table = torch.cat(tables)
    return cast(torch.Tensor, _Gather.apply(table, corners, weights.to(table)))


class _Gather(torch.autograd.Function):
    """Weighted sums of a table's rows. Its backward adds up by `bincount`, ten times as fast as embedding_bag's."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.shape = table.shape
        out = table.index_select(0, rows[:, 0]) * weights[:, :1]
        for corner in range(1, rows.shape[1]):
            out.addcmul_(table.index_select(0, rows[:, corner]), weights[:, corner, None])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        count, channels = ctx.shape
        flat = rows.flatten()
        each = [
            torch.bincount(flat, weights=(gradients[0][:, c, None] * weights).flatten(), minlength=count)
            for c in range(channels)
        ]
        return torch.stack(each, 1).to(gradients[0]), None, None


def cut(pattern: torch.Tensor, begin: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return (m, 4, h, w) pieces of an endless pattern (4, p, q), cut from whole texels `begin` (m, 2), x first.

    Whole texels: cloth is cut, not resampled, and half a texel of offset would blur every piece differently.
    """
    p, q = pattern.shape[-2:]
    (h, w), places = size, (begin % torch.tensor([q, p], device=begin.device)).tolist()
    if size == (p, q) and not any(map(any, places)):
        return pattern.expand(len(places), -1, -1, -1)
    # Slices of a repeated pattern: ten times as fast as an index for each texel.
    far_x, far_y = (max(place[axis] for place in places) + n for axis, n in ((0, w), (1, h)))
    cloth = pattern.repeat(1, -(-far_y // p), -(-far_x // q))
    return torch.stack([cloth[:, y : y + h, x : x + w] for x, y in places])


def averaged(texels: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """Return patterns (m, 4, p, q), colour and opacity, as (m, 4, h, w): means by weights (m, h, p), (m, w, q).

    Colours are weighted by their opacity: what is outside a mask was never trained and is not printed, and must not tint
    the edge. Where nothing is opaque the colours' plain mean stays.
    """
    return _by_opacity(texels, lambda whole: down[:, None] @ whole @ across[:, None].transpose(2, 3))


def _by_opacity(texels: torch.Tensor, mean: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    sums = mean(torch.cat([texels[:, :3] * (texels[:, 3:] + FAINT), texels[:, 3:]], 1))
    # Nothing but zeros pads a tile that is smaller than the largest of its group.
    return torch.cat([sums[:, :3] / (sums[:, 3:] + FAINT), sums[:, 3:]], 1)


def halved(pattern: torch.Tensor) -> torch.Tensor:
    """Return patterns (m, 4, p, q) at half the size: each texel the mean of those it stands for."""
    p, q = pattern.shape[-2:]
    if p % 2 == q % 2 == 0:
        return _by_opacity(pattern, partial(F.avg_pool2d, kernel_size=2))
    down, across = (areas(n, 0, max(n // 2, 1), max(n // 2, 1), n)[None].to(pattern) for n in (p, q))
    return averaged(pattern, down, across)


@lru_cache(maxsize=4096)
def areas(period: int, halvings: int, kept: int, count: int, texels: int) -> torch.Tensor:
    """Return the (count, texels) weights that average the texels of a line, exactly by area, rows summing up to 1.

    The line repeats every `period` texels, which become `kept`, by so many halvings and a last step of less than one more.
    A cascade and not one step, as a mip pyramid gives it: `fast_render` keeps one, and must come to the same.
    """
    # Kept for gradients that are asked for later, whoever asks first.
    with torch.inference_mode(False):
        one, size = torch.eye(period, dtype=torch.float64), period
        for _ in range(halvings):
            one, size = _boxes(size, size // 2) @ one, size // 2
        one = _boxes(size, kept) @ one
        repeats = -(-count // kept)
        out = torch.kron(torch.eye(repeats, dtype=torch.float64), one)[:count, :texels]
        return (out / out.sum(1, keepdim=True).clamp_min(1e-9)).float()


def _boxes(size: int, kept: int) -> torch.Tensor:
    """Return (kept, size) float64: shares of `size` cells in `kept` larger ones over the same line."""
    ends = torch.arange(kept + 1, dtype=torch.float64) * size / kept
    cells = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(ends[1:, None], cells + 1) - torch.maximum(ends[:-1, None], cells)
    return overlap.clamp_min(0) * kept / size
