"""The pattern: few texels that are optimised, and the smooth 8-bit image that is saved, printed and scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from physadv.arrays import to_image
from physadv.errors import DataError, TrainingError
from physadv.patch import TEXTURES, Patch, Target
from physadv.types import Float32Array, UInt8Array

# Saved images have this many pixels a texel, interpolated: a print shows no blocks, and whoever shrinks the image
# by sampling it meets no frequencies that were not trained.
ENLARGE = 4


# Rows and columns of texels.
Grid = tuple[int, int]


class Pattern:
    """A grid of texels (h, w) in [0, 1] with its mask.

    levels: the parameters, (3, k, l) each, coarse to fine; their interpolated sum is the pattern, so that coarse ones move
    all texels at once. mask: (1, h, w), 1 where there is ink. palette: (k, 3) digital colours to which it is held, or None.
    tiles: whether it repeats without a seam.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        generator: torch.Generator,
        pyramid: bool = False,
        mask: torch.Tensor | None = None,
        palette: torch.Tensor | None = None,
        tiles: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.grid, self.tiles, self.palette = grid, tiles, palette
        rows, columns = grid
        self.levels = [torch.zeros(3, rows // part, columns // part) for part in ((4, 2, 1) if pyramid else (1,))]
        # Nearly grey: a saturated start takes long to leave, and a constant one has no gradient to break its symmetry.
        self.levels[-1] = (0.5 + 0.1 * torch.randn(3, rows, columns, generator=generator)).clamp(0, 1)
        self.mask = torch.ones(1, rows, columns) if mask is None else mask
        if device is not None:
            self.levels, self.mask = [v.to(device) for v in self.levels], self.mask.to(device)
            self.palette = None if palette is None else palette.to(device)
        for level in self.levels:
            level.requires_grad_()

    def colours(self) -> torch.Tensor:
        """Return the pattern (3, h, w) in [0, 1], with gradients to its parameters."""
        whole = self.levels[-1]
        for level in self.levels[:-1]:
            whole = whole + enlarge(level, self.grid[1] // level.shape[-1], tiles=self.tiles)
        if len(self.levels) > 1:
            # Beyond the range the gradient is let through, or texels that several levels push would stick there.
            whole = whole + (whole.clamp(0, 1) - whole).detach()
        if self.palette is not None:
            # The nearest colours ahead, to the last bit; the identity back.
            whole = nearest(whole, self.palette).detach() + (whole - whole.detach())
        return whole

    def rgba(self) -> torch.Tensor:
        """Return the pattern with its mask, (4, h, w)."""
        return torch.cat([self.colours(), self.mask])

    @torch.no_grad()
    def project(self) -> None:
        """Put the parameters back into their range after a step."""
        if len(self.levels) == 1:
            self.levels[0].clamp_(0, 1)
        else:
            for level in self.levels:
                level.clamp_(-1, 1.5)

    @torch.no_grad()
    def load(self, levels: list[torch.Tensor]) -> None:
        """Take over parameters of the same shapes."""
        for own, other in zip(self.levels, levels, strict=True):
            own.copy_(other)


def enlarge(image: torch.Tensor, factor: int, *, tiles: bool) -> torch.Tensor:
    """Return image (c, h, w) enlarged bicubically; with `tiles` it goes on across the edges."""
    if factor == 1:
        return image
    if not tiles:
        return F.interpolate(image[None], scale_factor=factor, mode="bicubic", align_corners=False)[0]
    padded = F.pad(image[None], (2, 2, 2, 2), mode="circular")
    big = F.interpolate(padded, scale_factor=factor, mode="bicubic", align_corners=False)[0]
    return big[:, 2 * factor : -2 * factor, 2 * factor : -2 * factor]


def nearest(colours: torch.Tensor, palette: torch.Tensor) -> torch.Tensor:
    """Return colours (3, h, w), each replaced by the nearest of palette (k, 3)."""
    flat = colours.flatten(1).T
    return palette[torch.cdist(flat, palette.to(flat)).argmin(1)].T.reshape(colours.shape)


@torch.no_grad()
def to_patch(
    colours: torch.Tensor,
    mask: torch.Tensor,
    *,
    name: str,
    size_mm: tuple[float, float],
    target: Target,
    palette: bool = False,
    record: dict[str, Any] | None = None,
) -> Patch:
    """Return the 8-bit patch of texels (3, h, w) and mask (1, h, w): enlarged smoothly, or in blocks for a palette."""
    tiles = target in TEXTURES
    factor = max(min(ENLARGE, 2048 // max(colours.shape[-2:])), 1)
    if palette:
        big = colours.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    else:
        big = enlarge(colours, factor, tiles=tiles)
    ink = mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)[0]
    alpha = (ink.cpu() > 0.5).numpy().astype(np.uint8) * 255
    return Patch(name, to_image(big), alpha, size_mm, target, record or {})


def mask_from(image: UInt8Array, grid: Grid, *, aspect: float, name: str) -> torch.Tensor:
    """Return the (1, *grid) mask of an image (h, w, 4), 1 where ink goes.

    That is where it is opaque, or in an image that is opaque all over where it is bright. aspect: as in `look_from`.

    Raises: DataError if there is no such area.
    """
    drawn = bool((image[..., 3] < 255).any())
    plane = image[..., 3] if drawn else image[..., :3].mean(2)
    shares = look_from(np.asarray(plane, np.float32)[..., None], grid, aspect=aspect)
    mask = (shares > 0.5).float()
    if not bool(mask.any()):
        area, measure = ("an opaque", "opacity") if drawn else ("a white", "brightness")
        raise DataError(f"{name}: expected a mask with {area} area where ink goes, got none above half {measure}")
    return mask


def look_from(image: UInt8Array | Float32Array, grid: Grid, *, aspect: float | None = None) -> torch.Tensor:
    """Return an image (h, w, c) of values 0 to 255 as (c, *grid) in [0, 1].

    aspect: width over height of the print that the texels fill; of an image of another shape the middle is cut out, so
    that nothing is stretched. None takes the whole, whatever its shape.
    """
    h, w = image.shape[:2]
    if aspect is not None:
        high, wide = max(min(h, round(w / aspect)), 1), max(min(w, round(h * aspect)), 1)
        top, left = (h - high) // 2, (w - wide) // 2
        image = image[top : top + high, left : left + wide]
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy()).float().div_(255)
    return F.interpolate(tensor[None], size=grid, mode="area")[0]


def begun_from(patch: Patch, grid: Grid) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return all of a patch as texels (3, *grid) to begin from and its mask (1, *grid), None if there is ink everywhere."""
    mask = look_from(patch.mask[..., None], grid) > 0.5
    return look_from(patch.pixels, grid), None if bool(mask.all()) or not bool(mask.any()) else mask.float()


def pick_palette(count: int, printable: torch.Tensor, look: torch.Tensor | None) -> torch.Tensor:
    """Return (count, 3) of the digital colours `printable` (k, 3): those nearest to the look's main colours, or far apart.

    Raises: TrainingError if fewer colours are known than asked for.
    """
    if count > len(printable):
        raise TrainingError(field="colours", expected=f"at most {len(printable)} printable colours", got=str(count))
    if look is not None:
        flat = look.flatten(1).T
        distance = torch.cdist(printable, flat)
        votes = torch.bincount(distance.argmin(0), minlength=len(printable))
        return printable[votes.argsort(descending=True, stable=True)[:count]]
    chosen = [int(printable.sum(1).argmax())]
    distance = torch.cdist(printable, printable)
    while len(chosen) < count:
        chosen.append(int(distance[chosen].amin(0).argmax()))
    return printable[chosen]
