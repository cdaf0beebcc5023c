"""Pictures in and out: bounded decoding, RGB order, upright, 8 bit; and the step between arrays and tensors."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from physadv.errors import DataError, PhysadvError
from physadv.files import atomic_write
from physadv.types import Float32Array, UInt8Array

if TYPE_CHECKING:
    import torch

# A 100-megapixel photograph is 300 MB decoded; beyond that a file is a mistake or an attack.
MAX_PIXELS = 100_000_000
# Signature and IHDR, which must come first.
PNG_HEADER = 33
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS, error: type[PhysadvError] = DataError) -> UInt8Array:
    """Return a picture as (h, w, 3) uint8 RGB, turned upright by its EXIF tag, transparency dropped.

    Raises: `error` (DataError unless told otherwise) if the file is missing, empty, not a picture, or larger than
    `max_pixels`; the size is read from the header, before decoding.
    """
    return decode_picture(_bytes_of(path, error), name=str(path), max_pixels=max_pixels, error=error)


def read_picture_rgba(path: Path, *, max_pixels: int = MAX_PIXELS, error: type[PhysadvError] = DataError) -> UInt8Array:
    """Return a picture as (h, w, 4) uint8 RGBA, as `decode_picture_rgba` does.

    Raises: `error` for what `read_picture` refuses.
    """
    return decode_picture_rgba(_bytes_of(path, error), name=str(path), max_pixels=max_pixels, error=error)


def decode_picture(
    data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, error: type[PhysadvError] = DataError
) -> UInt8Array:
    """Return encoded bytes as (h, w, 3) uint8 RGB, as `read_picture` does.

    Raises: `error`, naming `name`.
    """
    return np.ascontiguousarray(_decode(data, cv2.IMREAD_COLOR_RGB, name, max_pixels, error))


def decode_picture_rgba(
    data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, error: type[PhysadvError] = DataError
) -> UInt8Array:
    """Return encoded bytes as (h, w, 4) uint8 RGBA; alpha is 255 where the file has none, which is then turned upright.

    Raises: `error`, naming `name`.
    """
    picture = _decode(data, cv2.IMREAD_UNCHANGED, name, max_pixels, error)
    if picture.ndim == 2 or picture.shape[2] == 3:
        # Unchanged also means as it lies in the file: photographs are turned by their EXIF tag only if told otherwise.
        picture = _decode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH, name, max_pixels, error)
    if picture.dtype == np.uint16:
        picture = (picture // 257).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise error(f"{name}: expected 8 or 16 bits a channel, got {picture.dtype}")
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGBA)  # type: ignore[return-value]
    code = cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGBA
    return cv2.cvtColor(picture, code)  # type: ignore[return-value]


def _bytes_of(path: Path, error: type[PhysadvError]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from cause


def _decode(data: bytes, flags: int, name: str, max_pixels: int, error: type[PhysadvError]) -> UInt8Array:
    if not data:
        raise error(f"{name}: the file is empty (0 bytes); expected a picture")
    size = picture_size(data)
    if size is not None and size[0] * size[1] > max_pixels:
        raise error(f"{name}: {size[0]} x {size[1]} pixels is more than the {max_pixels:,} allowed; make it smaller")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as cause:
        raise error(f"{name}: cannot be decoded as a picture") from cause
    if picture is None:
        raise error(f"{name}: not a picture that can be decoded (damaged, cut off or of another kind)")
    if picture.shape[0] * picture.shape[1] > max_pixels:
        raise error(f"{name}: {picture.shape[1]} x {picture.shape[0]} pixels is more than the {max_pixels:,} allowed")
    return picture  # type: ignore[return-value]


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from a PNG or JPEG header without decoding, or None for other formats."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def pixels_sha256(pixels: UInt8Array) -> str:
    """Return the hash of a picture's pixels (h, w, 3), the same whatever file they came from and however it is called."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def write_png(path: Path, picture: UInt8Array) -> None:
    """Write an (h, w, 3) RGB or (h, w, 4) RGBA uint8 picture as PNG, atomically.

    Raises: OSError if it cannot be written.
    """
    code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, code))
    if not ok:
        raise OSError(f"{path}: PNG encoding failed")
    with atomic_write(path) as stream:
        stream.write(signed_png(data.tobytes()))


def signed_png(data: bytes) -> bytes:
    """Return a PNG file's bytes with a text chunk after its header that names physadv as the program that wrote it."""
    text = b"tEXtSoftware\0physadv"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:PNG_HEADER] + chunk + data[PNG_HEADER:]


def pictures_in(folder: Path) -> list[Path]:
    """Return the picture files directly in `folder`, sorted by name, hidden files left out."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file() and not p.name.startswith(".")
    )


def to_tensor(picture: UInt8Array) -> torch.Tensor:
    """Return an (h, w, c) uint8 picture as a (c, h, w) float32 tensor in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float().div_(255)


def to_picture(image: torch.Tensor) -> UInt8Array:
    """Return a (c, h, w) tensor in [0, 1] as an (h, w, c) uint8 picture, rounded to nearest."""
    array: Float32Array = image.detach().float().clamp(0, 1).mul(255).round().cpu().numpy()
    return np.ascontiguousarray(array.astype(np.uint8).transpose(1, 2, 0))
