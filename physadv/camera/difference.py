"""Colour as a standard observer sees it: sRGB to CIE L*a*b*, and the CIEDE2000 difference between two colours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from kornia.color import linear_rgb_to_rgb, rgb_to_lab, rgb_to_linear_rgb

FloatArray = npt.NDArray[np.floating]


def srgb_to_linear(rgb: torch.Tensor) -> torch.Tensor:
    """Return linear light for (..., 3) sRGB values in [0, 1]; values outside are clamped to the range."""
    return _by_kornia(rgb_to_linear_rgb, rgb.clamp(0, 1))


def linear_to_srgb(light: torch.Tensor) -> torch.Tensor:
    """Return (..., 3) sRGB values in [0, 1] for linear light; values outside are clamped to the range."""
    return _by_kornia(linear_rgb_to_rgb, light.clamp(0, 1))


def srgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """Return (..., 3) CIE L*a*b* (D65 white) for (..., 3) sRGB values in [0, 1]. Differentiable."""
    return _by_kornia(rgb_to_lab, rgb.clamp(0, 1))


def _by_kornia(convert: Callable[[torch.Tensor], torch.Tensor], colours: torch.Tensor) -> torch.Tensor:
    """Return (..., 3) colours as kornia converts them, which takes images (b, 3, h, w)."""
    image = colours.reshape(-1, 3).T[None, :, :, None]
    return convert(image)[0, :, :, 0].T.reshape(colours.shape)


def ciede2000(one: FloatArray, two: FloatArray) -> npt.NDArray[np.float64]:
    """Return the CIEDE2000 difference of (..., 3) CIE L*a*b* colours, with kL = kC = kH = 1.

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", Color Research and Application 30 (2005),
    equations 2 to 22.
    """
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    l1, a1, b1 = np.moveaxis(one, -1, 0)
    l2, a2, b2 = np.moveaxis(two, -1, 0)
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(c7 / (c7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = c1 * c2 == 0
    turn = h2 - h1
    turn = np.where(turn > 180, turn - 360, np.where(turn < -180, turn + 360, turn))
    turn = np.where(grey, 0.0, turn)
    d_l, d_c = l2 - l1, c2 - c1
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    total = h1 + h2
    mean_h = np.where(np.abs(h1 - h2) <= 180, total / 2, np.where(total < 360, total / 2 + 180, total / 2 - 180))
    mean_h = np.where(grey, total, mean_h)
    rad = np.radians(mean_h)
    t = (
        1
        - 0.17 * np.cos(rad - np.radians(30))
        + 0.24 * np.cos(2 * rad)
        + 0.32 * np.cos(3 * rad + np.radians(6))
        - 0.20 * np.cos(4 * rad - np.radians(63))
    )
    bend = 30 * np.exp(-(((mean_h - 275) / 25) ** 2))
    m7 = mean_c**7
    rotation = -2 * np.sqrt(m7 / (m7 + 25.0**7)) * np.sin(np.radians(2 * bend))
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    l_term, c_term, h_term = d_l / s_l, d_c / s_c, d_h / s_h
    return np.sqrt(np.maximum(l_term**2 + c_term**2 + h_term**2 + rotation * c_term * h_term, 0))


def srgb_difference(one: FloatArray, two: FloatArray) -> npt.NDArray[np.float64]:
    """Return the CIEDE2000 difference of (..., 3) sRGB colours in [0, 1]."""
    lab = [srgb_to_lab(torch.from_numpy(np.asarray(c, np.float64))).numpy() for c in (one, two)]
    return ciede2000(lab[0], lab[1])
