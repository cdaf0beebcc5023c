"""Colours for the printer: sRGB as it is, or converted by the user's CMYK profile, with a proof of what that loses."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from physadv.errors import FabricationError
from physadv.patch import srgb_profile
from physadv.types import UInt8Array

INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


@dataclass(frozen=True, slots=True)
class Inks:
    """The colour space of a print: its ICC profile, and how sRGB images get there.

    name: for the sheet's small print. profile: ICC bytes. channels: 3 or 4.
    """

    name: str
    profile: bytes
    channels: int
    _transform: Any = None
    _proof: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def convert(self, pixels: UInt8Array) -> UInt8Array:
        """Return an (h, w, 3) sRGB image as (h, w, channels) uint8 in this space; CMYK 255 is full ink."""
        if self._transform is None:
            return pixels
        with self._lock:
            out = ImageCms.applyTransform(Image.fromarray(pixels), self._transform)
        assert out is not None
        return np.asarray(out)

    def proof(self, pixels: UInt8Array) -> UInt8Array:
        """Return an (h, w, 3) sRGB image as it will look in print, again in sRGB."""
        if self._proof is None:
            return pixels
        with self._lock:
            out = ImageCms.applyTransform(Image.fromarray(pixels), self._proof)
        assert out is not None
        return np.asarray(out)


def srgb() -> Inks:
    """Return sRGB, in which patterns are made."""
    return Inks("sRGB", srgb_profile(), 3)


def cmyk(path: Path, *, called: str = "") -> Inks:
    """Return the CMYK space of a printer's or print shop's ICC profile.

    Conversion is relative colorimetric with black point compensation, the usual choice for images. called: what its
    owner calls the file, where that is not `path`.

    Raises: FabricationError if the file is no ICC profile of a CMYK printer that works in both directions.
    """
    called = called or str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FabricationError(f"{called} cannot be read: {error.strerror}", field="cmyk") from error
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
    except (OSError, ImageCms.PyCMSError) as error:
        raise FabricationError(
            f"{called} is not an ICC profile", field="cmyk", hint="ask the print shop for its .icc file"
        ) from error
    space = profile.profile.xcolor_space.strip()
    if space != "CMYK":
        raise FabricationError(f"{called} is a profile for {space}", field="cmyk", expected="one for CMYK")
    source = ImageCms.ImageCmsProfile(BytesIO(srgb_profile()))
    try:
        to_ink = ImageCms.buildTransform(source, profile, "RGB", "CMYK", INTENT, FLAGS)
        proof = ImageCms.buildProofTransform(
            source, source, profile, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, INTENT,
            ImageCms.Flags.SOFTPROOFING | FLAGS,
        )  # fmt: skip
    except ImageCms.PyCMSError as error:
        raise FabricationError(f"{called} cannot convert from sRGB and back: {error}", field="cmyk") from error
    name = (profile.profile.profile_description or path.stem).strip()
    return Inks(f"CMYK, {name}", data, 4, to_ink, proof)
