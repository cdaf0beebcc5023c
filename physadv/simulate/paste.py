"""Paste: prints onto people, antialiased, all of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from physadv.simulate.geometry import homography, project


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """Where prints lie in a batch of pictures.

    owner: (m,) the picture each is in. quads: (m, 4, 2) corners in pixels. rank: (m,) which lies on top where two meet,
    higher over lower, all different. arms: (m, 2, 5) forearms that may hide it: x0, y0, x1, y1 and radius in pixels, 0 for
    none. window: (m, 4) the part of the pattern shown: left, top, width, height in patterns; (0, 0, 1, 1) is all of it,
    once, and beyond 1 it repeats.
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

    print: (k,) which. place: (k,) in the flattened batch (b h w). tile: (k,) in the flattened tiles (m t t). cover: (k,)
    opacity of the edge in [0, 1]. grid: (m, t, t, 2) where each tile pixel looks in its print, [-1, 1].
    """

    print: torch.Tensor
    place: torch.Tensor
    tile: torch.Tensor
    cover: torch.Tensor
    grid: torch.Tensor


def sides_px(quads: torch.Tensor) -> torch.Tensor:
    """Return (m, 2) mean width and height of quads (m, 4, 2) in pixels."""
    a, b, c, d = quads.unbind(1)
    width = ((b - a).norm(dim=1) + (c - d).norm(dim=1)) / 2
    height = ((d - a).norm(dim=1) + (c - b).norm(dim=1)) / 2
    return torch.stack([width, height], 1)


def levels(quads: torch.Tensor, texels: torch.Tensor, *, smallest: int = 8) -> torch.Tensor:
    """Return (m,) halvings after which a pattern has about one texel a pixel.

    texels: (m,) along the pattern's shown side. Sampling a large pattern bilinearly onto few pixels touches a few of its
    texels and leaves the others without a gradient; a halving averages all of them.
    """
    ratio = texels / sides_px(quads).prod(1).sqrt().clamp_min(1)
    most = (texels / smallest).clamp_min(1).log2().floor()
    return ratio.clamp_min(1e-3).log2().round().clamp_min(0).minimum(most).long()


@torch.no_grad()
def covered(prints: Prints, size: tuple[int, int]) -> Pixels:
    """Return the pixels of pictures of (h, w) that prints cover, each print's own list, overlaps not yet resolved."""
    h, w = size
    quads = prints.quads
    limit = torch.tensor([w, h], device=quads.device)
    low = (quads.amin(1).floor() - 1).clamp_min(0).minimum(limit - 1).long()
    high = (quads.amax(1).ceil() + 1).clamp_min(0).minimum(limit).long()
    extent = max(int((high - low).max()), 1)
    step = torch.arange(extent, device=quads.device)
    x, y = low[:, :1] + step, low[:, 1:] + step
    centres = torch.stack([(x + 0.5)[:, None].expand(-1, extent, -1), (y + 0.5)[:, :, None].expand(-1, -1, extent)], -1)
    grid = project(torch.linalg.inv(homography(quads)), centres.reshape(len(quads), -1, 2))
    grid = grid.reshape(len(quads), extent, extent, 2)
    # Distance to the print's edge in pixels, half a pixel inside = fully covered.
    half = (sides_px(quads) / 2)[:, None, None]
    edge = ((1 - grid.abs()) * half + 0.5).clamp(0, 1).prod(-1)
    inside = (edge > 0) & (x < high[:, :1])[:, None] & (y < high[:, 1:])[:, :, None]
    tile = inside.flatten().nonzero().squeeze(1)
    which = tile // (extent * extent)
    row, column = tile // extent % extent, tile % extent
    place = prints.owner[which] * (h * w) + y[which, row] * w + x[which, column]
    cover = edge.flatten()[tile]
    return Pixels(which, place, tile, _behind_arms(prints, which, place, cover, size), grid.clamp(-1.5, 1.5))


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


def composite(images: torch.Tensor, groups: list[tuple[Prints, torch.Tensor]]) -> torch.Tensor:
    """Return pictures (b, 3, h, w) with prints on them, in channels_last order.

    groups: prints with their tiles (m, 4, t, t): colour and opacity, each group of one tile size.
    """
    b, _, h, w = images.shape
    flat = images.permute(0, 2, 3, 1).reshape(-1, 3)
    places, colours, covers, ranks = [], [], [], []
    for prints, tiles in groups:
        pixels = covered(prints, (h, w))
        looked = F.grid_sample(tiles, pixels.grid.to(tiles), padding_mode="border", align_corners=False)
        looked = looked.permute(0, 2, 3, 1).reshape(-1, 4)[pixels.tile]
        places.append(pixels.place)
        colours.append(looked[:, :3])
        covers.append(looked[:, 3:].detach() * pixels.cover[:, None])
        ranks.append(prints.rank[pixels.print])
    if not places or sum(len(p) for p in places) == 0:
        return images
    place, rank = torch.cat(places), torch.cat(ranks)
    colour, cover = torch.cat(colours), torch.cat(covers)
    top = torch.full((b * h * w,), -1, dtype=rank.dtype, device=rank.device)
    top = top.scatter_reduce(0, place, torch.where(cover[:, 0] > 0.5, rank, -1), "amax")
    # Of several prints over one pixel the highest is seen; the faint edge of another is dropped, not blended.
    seen = (rank == top[place]) | ((top[place] == -1) & _first(place, rank, b * h * w))
    place, colour, cover = place[seen], colour[seen], cover[seen]
    under = flat[place]
    out = flat.index_copy(0, place, (under + cover * (colour - under)).to(flat))
    return out.reshape(b, h, w, 3).permute(0, 3, 1, 2)


def _first(place: torch.Tensor, rank: torch.Tensor, count: int) -> torch.Tensor:
    """Return the mask of the highest-ranked entry at each place."""
    best = torch.full((count,), -1, dtype=rank.dtype, device=rank.device).scatter_reduce(0, place, rank, "amax")
    return rank == best[place]
