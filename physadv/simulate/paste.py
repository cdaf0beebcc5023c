"""Paste: prints onto people, antialiased, all of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

from physadv.simulate.geometry import homography, sides_px


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """Where prints lie in a batch of images.

    owner: (m,) the image each is in. quads: (m, 4, 2) corners in pixels. rank: (m,) which lies on top where two meet,
    higher over lower, all different. arms: (m, 2, 5) forearms that hide it: x0, y0, x1, y1 and radius in pixels or 0.
    window: (m, 4) the part of the pattern shown: left, top, width, height in patterns; (0, 0, 1, 1) is all of it, once, and
    beyond 1 it repeats.
    """

    owner: torch.Tensor
    quads: torch.Tensor
    rank: torch.Tensor
    arms: torch.Tensor
    window: torch.Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def pick(self, index: torch.Tensor) -> Prints:
        """Return the prints at `index`, (k,) integers."""
        return Prints(self.owner[index], self.quads[index], self.rank[index], self.arms[index], self.window[index])


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The pixels that some prints cover.

    print: (k,) which. place: (k,) in the flattened batch (b h w). where: (k, 2) in the print, [-1, 1]. cover: (k,) opacity
    of the edge in [0, 1].
    """

    print: torch.Tensor
    place: torch.Tensor
    where: torch.Tensor
    cover: torch.Tensor


def levels(quads: torch.Tensor, texels: torch.Tensor, *, smallest: int = 8) -> torch.Tensor:
    """Return (m,) halvings after which a pattern has about one texel a pixel.

    texels: (m,) along the pattern's shown side. Sampling a large pattern bilinearly onto few pixels touches a few of its
    texels and leaves the others without a gradient; a halving averages all of them.
    """
    ratio = texels / sides_px(quads).prod(1).sqrt().clamp_min(1)
    most = (texels / smallest).clamp_min(1).log2().floor()
    return ratio.clamp_min(1e-3).log2().round().clamp_min(0).minimum(most).long()


@torch.no_grad()
def covered_pixels(prints: Prints, size: tuple[int, int]) -> Pixels:
    """Return the pixels of images of (h, w) that prints cover, each print's own list, overlaps not yet resolved."""
    h, w = size
    quads = prints.quads
    limit = torch.tensor([w, h], device=quads.device)
    low = (quads.amin(1).floor() - 1).clamp_min(0).minimum(limit - 1).long()
    high = (quads.amax(1).ceil() + 1).clamp_min(0).minimum(limit).long()
    extent = (high - low).amax(1)
    inverse = torch.linalg.inv(homography(quads))
    half = sides_px(quads) / 2
    parts = [_within(index, low[index], high[index], inverse[index], half[index]) for index in _of_like_extent(extent)]
    which, x, y, where, cover = (torch.cat([p[i] for p in parts]) for i in range(5))
    place = prints.owner[which] * (h * w) + y * w + x
    return Pixels(which, place, where, _behind_arms(prints, which, place, cover, size))


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
    index: torch.Tensor, low: torch.Tensor, high: torch.Tensor, inverse: torch.Tensor, half: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return print, x, y, place in the print, and cover of the pixels between corners low and high (m, 2)."""
    extent = max(int((high - low).max()), 1)
    step = torch.arange(extent, device=low.device)
    x, y = low[:, :1] + step, low[:, 1:] + step
    # The homography's numerators and denominator are sums of a term in x and one in y.
    m, by_x, by_y = inverse[..., None, None], (x + 0.5)[:, None], (y + 0.5)[:, :, None]
    u, v, depth = (m[:, i, 0] * by_x + (m[:, i, 1] * by_y + m[:, i, 2]) for i in range(3))
    u, v = u / depth, v / depth
    # Distance to the print's edge in pixels, half a pixel inside = fully covered.
    edge = ((1 - u.abs()) * half[:, :1, None] + 0.5).clamp_(0, 1)
    edge = edge * ((1 - v.abs()) * half[:, 1:, None] + 0.5).clamp_(0, 1)
    edge = edge * (x < high[:, :1])[:, None] * (y < high[:, 1:])[:, :, None]
    flat = edge.flatten()
    tile = flat.nonzero().squeeze(1)
    which = tile // (extent * extent)
    row, column = tile // extent % extent, tile % extent
    where = torch.stack([u.flatten()[tile], v.flatten()[tile]], 1)
    return index[which], x[which, column], y[which, row], where, flat[tile]


def _behind_arms(
    prints: Prints, which: torch.Tensor, place: torch.Tensor, cover: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Return `cover` with what forearms hide taken out."""
    if not bool((prints.arms[..., 4] > 0).any()):
        return cover
    h, w = size
    point = torch.stack([place % w, place // w % h], -1) + 0.5
    for arm in prints.arms.unbind(1):
        start, stop, radius = arm[which, :2], arm[which, 2:4], arm[which, 4]
        along = stop - start
        share = ((point - start) * along).sum(-1) / (along**2).sum(-1).clamp_min(1e-6)
        distance = (point - start - share.clamp(0, 1)[:, None] * along).norm(dim=-1)
        cover = cover * torch.where(radius > 0, (distance - radius + 0.5).clamp(0, 1), 1.0)
    return cover


def composite(images: torch.Tensor, prints: Prints, groups: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Return images (b, 3, h, w) with prints on them, in channels_last order.

    groups: indices (k,) of prints and their tiles (k, 4, p, q): colour and opacity, each group of one tile size.
    """
    b, _, h, w = images.shape
    if len(prints) == 0:
        return images
    pixels = covered_pixels(prints, (h, w))
    if len(pixels.place) == 0:
        return images
    looked = look_up(pixels, groups, len(prints))
    cover = looked[:, 3:].detach() * pixels.cover[:, None]
    # Of several prints over one pixel the highest that covers most of it is seen; the faint edge of another is dropped.
    key = (prints.rank[pixels.print] + len(prints) * (cover[:, 0] > 0.5)).int()
    top = torch.full((b * h * w,), -1, dtype=torch.int32, device=key.device)
    top = top.scatter_reduce_(0, pixels.place, key, "amax")
    seen = (key == top[pixels.place]).nonzero().squeeze(1)
    place, colour, cover = pixels.place[seen], looked[seen, :3].clamp(0, 1), cover[seen]
    flat = images.permute(0, 2, 3, 1).reshape(-1, 3)
    under = flat[place]
    out = flat.index_copy(0, place, (under + cover * (colour - under)).to(flat))
    return out.reshape(b, h, w, 3).permute(0, 3, 1, 2)


def look_up(pixels: Pixels, groups: list[tuple[torch.Tensor, torch.Tensor]], count: int) -> torch.Tensor:
    """Return (k, 4) bilinear colours and opacities of the pixels in their prints' tiles; borders go on outwards.

    Only the covered pixels are looked up, in one weighted gather over all tiles: `grid_sample` would do so on the whole
    square around each print, and took three times as long.
    """
    device = pixels.place.device
    first, sizes = torch.zeros(count, dtype=torch.long, device=device), torch.ones(count, 2, device=device)
    tables, total = [], 0
    for index, tiles in groups:
        p, q = tiles.shape[-2:]
        first[index] = total + torch.arange(len(index), device=device) * (p * q)
        sizes[index] = torch.tensor([q, p], dtype=sizes.dtype, device=device)
        tables.append(tiles.permute(0, 2, 3, 1).reshape(-1, 4))
        total += tables[-1].shape[0]
    size = sizes[pixels.print]
    texel = ((pixels.where + 1) / 2 * size - 0.5).clamp_min(0).minimum(size - 1)
    low = texel.floor().minimum((size - 2).clamp_min(0))
    share = texel - low
    step = (size > 1).long()
    width, low = size[:, 0].long(), low.long()
    begin = first[pixels.print] + low[:, 1] * width + low[:, 0]
    right, down = step[:, 0], step[:, 1] * width
    corners = torch.stack([begin, begin + right, begin + down, begin + right + down], 1)
    x, y = share.unbind(1)
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
