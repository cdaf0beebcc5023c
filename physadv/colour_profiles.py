"""Colour profiles of image files: what an embedded profile says is converted to sRGB, the only colours used inside."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from physadv.types import Float32Array, UInt8Array

Chromaticities = tuple[float, float, float, float, float, float, float, float]

# White and red, green, blue primaries in x, y: of sRGB and BT.709, Adobe RGB (1998), Display P3, BT.2020.
D65 = (0.3127, 0.329)
SRGB: Chromaticities = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Chromaticities = (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# By the numbers of ITU-T H.273, which PNG's cICP, HEIC and AVIF use.
PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
# 13 is the curve of sRGB; the camera curve of BT.709 (1, 6, 14, 15) is shown by software as that, too. PQ and HLG (16, 18)
# are of scenes brighter than paper white and have no one answer in sRGB; such images stay as they are.
GAMMAS: dict[int, float | None] = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
ADOBE_GAMMA = 563 / 256
# Programs that mean sRGB write PNG's gamma as 1/2.2; taken by the letter dark colours would change by 6 of 255.
SRGB_GAMMA = (1 / 2.2, 0.002)
# Profiles of sRGB differ by the rounding of their curves; images with one keep their pixels exactly.
SAME_COLOUR = 2
# CIE XYZ of the D50 white that profiles are relative to, and the Bradford transform to cone responses.
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# Rows are converted in pieces of as many pixels: a whole image of 100 megapixels would be in memory twice.
PIECE = 4_000_000


def to_srgb(pixels: UInt8Array, profile: bytes) -> None:
    """Convert (h, w, 3) uint8 RGB pixels in place from the colours of an ICC profile to sRGB.

    A profile that is damaged, or of something else than RGB or grey, changes nothing, as in browsers.
    """
    transform = _rgb_transform(profile)
    if transform is None:
        return
    grey = transform.input_mode == "L"
    rows = max(PIECE // pixels.shape[1], 1)
    for top in range(0, len(pixels), rows):
        part = pixels[top : top + rows]
        given = Image.fromarray(np.ascontiguousarray(part[..., 0] if grey else part))
        part[...] = np.asarray(transform.apply(given))


def changes_colours(profile: bytes) -> bool:
    """Return whether `to_srgb` changes anything."""
    return _rgb_transform(profile) is not None


def _rgb_transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    return _transform(profile, "RGB") or _transform(profile, "L")


def image_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a CMYK or LAB image as RGB in sRGB; without a profile that fits, as Pillow converts it."""
    if image.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    transform = None if profile is None else _transform(profile, image.mode)
    return image.convert("RGB") if transform is None else transform.apply(image)


def profile_of_code(primaries: int, curve: int) -> bytes | None:
    """Return the ICC profile of colours coded as in ITU-T H.273, None for sRGB and for codes that have no equal in it."""
    if primaries not in PRIMARIES or curve not in GAMMAS:
        return None
    return profile_of(PRIMARIES[primaries], GAMMAS[curve])


def profile_of_png(gamma: float | None, chromaticities: Chromaticities | None) -> bytes | None:
    """Return the ICC profile of what PNG's gAMA and cHRM chunks say, None for sRGB. gamma: as written, such as 0.45455."""
    if gamma is None or abs(gamma - SRGB_GAMMA[0]) < SRGB_GAMMA[1]:
        # Other primaries with this gamma are those of Adobe RGB and its kin, which mean the power curve.
        power = None if gamma is None or chromaticities is None or _close(chromaticities, SRGB) else 1 / gamma
    elif 0.1 <= gamma <= 1.5:
        power = 1 / gamma
    else:
        return None
    return profile_of(chromaticities or SRGB, power)


@lru_cache(maxsize=64)
def profile_of(chromaticities: Chromaticities, gamma: float | None) -> bytes | None:
    """Return an ICC profile of an RGB space, None if that is sRGB or its chromaticities make no space of colours.

    chromaticities: x, y of white, red, green, blue. gamma: None for the curve of sRGB.
    """
    if gamma is None and _close(chromaticities, SRGB):
        return None
    xy = np.array(chromaticities, np.float64).reshape(4, 2)
    if not (np.isfinite(xy).all() and (xy[:, 1] > 0.01).all() and (np.abs(xy) < 1.5).all()):
        return None
    white, *colours = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in xy]
    columns = np.stack(colours, 1)
    if abs(np.linalg.det(columns)) < 1e-3:
        return None
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD
    return _icc(adapt @ (columns * np.linalg.solve(columns, white)), gamma)


def _close(one: Chromaticities, other: Chromaticities) -> bool:
    return bool(np.allclose(one, other, atol=0.002))


def _icc(matrix: Float32Array, gamma: float | None) -> bytes:
    """Return an ICC profile of three primaries, the columns of a matrix (3, 3) in XYZ of D50, and one curve."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    if gamma is None:
        # Of kind 3: ((x + .055) / 1.055) ** 2.4 above .04045, x / 12.92 below.
        curve = b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    else:
        curve = b"para\0\0\0\0\0\0\0\0" + fixed(gamma)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50)}
    for name, column in zip((b"r", b"g", b"b"), matrix.T, strict=True):
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*column)
        tags[name + b"TRC"] = curve
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB for images of a mode; None if it does not fit, or is sRGB itself."""
    try:
        transform = ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode in ("RGB", "L"):
            steps = np.linspace(0, 255, 9 if mode == "RGB" else 256).round().astype(np.uint8)
            grid = np.stack(np.meshgrid(*[steps] * 3), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
            there = np.asarray(transform.apply(Image.fromarray(grid)), np.int16)
            if np.abs(there - (grid if mode == "RGB" else grid[..., None])).max() <= SAME_COLOUR:
                return None
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    return transform


def profile_of_interoperability(exif: bytes) -> bytes | None:
    """Return the profile of Adobe RGB if the EXIF data of a camera's file says so, as DCF has it: `R03`."""
    if re.search(rb"R03\0", exif) is None:
        return None
    tags = Image.Exif()
    try:
        tags.load(exif)
        name = tags.get_ifd(0xA005).get(1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return None
    return profile_of(ADOBE_RGB, ADOBE_GAMMA) if str(name).rstrip("\0") == "R03" else None
