"""JPEG with gradients: the block transform, quantisation with a soft rounding, chroma at half resolution."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

# ITU-T T.81, tables K.1 and K.2.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def jpeg(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Return RGB images (b, 3, h, w) in [0, 1] after JPEG of each one's quality (b,), 1 to 100, chroma 4:2:0.

    Source: Shin & Song 2017: round(x) + (x - round(x))^3 in place of rounding, so that gradients pass.
    """
    h, w = images.shape[-2:]
    padded = F.pad(images, (0, -w % 16, 0, -h % 16), mode="replicate")
    ycc = to_ycc(padded * 255)
    scale = torch.where(quality < 50, 50 / quality.clamp_min(1), 2 - quality / 50).to(images)
    luma = _quantise(ycc[:, :1] - 128, scale, LUMINANCE) + 128
    small = _quantise(F.avg_pool2d(ycc[:, 1:], 2), scale, CHROMINANCE)
    chroma = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    return (to_rgb(torch.cat([luma, chroma], 1)) / 255)[..., :h, :w].clamp(0, 1)


def subsample_chroma(images: torch.Tensor) -> torch.Tensor:
    """Return RGB images (b, 3, h, w) whose colour is kept at half resolution (4:2:0), as most cameras store it."""
    h, w = images.shape[-2:]
    ycc = to_ycc(F.pad(images, (0, w % 2, 0, h % 2), mode="replicate"))
    chroma = F.interpolate(F.avg_pool2d(ycc[:, 1:], 2), scale_factor=2, mode="bilinear", align_corners=False)
    return to_rgb(torch.cat([ycc[:, :1], chroma], 1))[..., :h, :w]


def to_ycc(images: torch.Tensor) -> torch.Tensor:
    """Return YCbCr of RGB images (b, 3, h, w), chroma about 0."""
    return torch.einsum("dc,bchw->bdhw", TO_YCC.to(images), images)


def to_rgb(images: torch.Tensor) -> torch.Tensor:
    """Return RGB of YCbCr images (b, 3, h, w), chroma about 0."""
    return torch.einsum("dc,bchw->bdhw", torch.linalg.inv(TO_YCC.double()).to(images), images)


def _quantise(planes: torch.Tensor, scale: torch.Tensor, table: tuple[int, ...]) -> torch.Tensor:
    b, c, h, w = planes.shape
    steps = torch.tensor(table, device=planes.device, dtype=planes.dtype).view(1, 64)
    steps = (steps * scale[:, None]).clamp(1, 255).repeat_interleave(c, 0)
    blocks = F.unfold(planes.reshape(b * c, 1, h, w), 8, stride=8)
    basis = _dct().to(planes)
    level = torch.einsum("kp,npl->nkl", basis, blocks) / steps[..., None]
    whole = level.detach().round()
    level = whole + (level - whole) ** 3
    restored = torch.einsum("kp,nkl->npl", basis, level * steps[..., None])
    return F.fold(restored, (h, w), 8, stride=8).reshape(b, c, h, w)


@cache
@torch.inference_mode(False)
def _dct() -> torch.Tensor:
    """Return the (64, 64) orthonormal 8x8 cosine transform, rows = frequencies, columns = pixels."""
    k = torch.arange(8, dtype=torch.float64)
    one = torch.cos((2 * k[None] + 1) * k[:, None] * torch.pi / 16) * 0.5
    one[0] /= 2**0.5
    return torch.kron(one, one)
