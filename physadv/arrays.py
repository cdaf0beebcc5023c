"""Read and write images: bounded decoding, sRGB, RGB order, upright, 8 bit; convert between arrays and tensors."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from physadv.decoding import decode, is_converted, size_of
from physadv.errors import DataError, PhysadvError, text_of
from physadv.files import atomic_write
from physadv.types import Float32Array, UInt8Array

if TYPE_CHECKING:
    import torch

# A 100-megapixel photograph is 300 MB decoded; beyond that a file is a mistake or an attack.
MAX_PIXELS = 100_000_000
# What is named of many; the file that a folder of results has.
NAMED = 3
RESULTS = "run.json"
# Signature and IHDR, which must come first.
PNG_HEADER = 33
# No camera's file is larger; a film or archive with an image's name is.
MAX_BYTES = 512 * 2**20
# The look of an image: so many rows and columns of differences. Two are one image up to so many of them: of 87 photographs
# no two are within 36, copies of half the size saved anew within 11, cut by 1 % within 22 (95th percentiles). An image with
# fewer edges than that looks like any other.
LOOK, ALIKE, EDGES = 16, 24, 40
KINDS = ("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "bmp", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
IMAGE_SUFFIXES = frozenset(f".{kind}" for kind in (*KINDS, "heic", "heif", "hif", "avif"))


def read_image(
    path: Path | str, *, max_pixels: int = MAX_PIXELS, upright: bool = True, error: type[PhysadvError] = DataError
) -> UInt8Array:
    """Return an image as (h, w, 3) uint8 RGB in sRGB, its embedded colour profile applied, transparency dropped.

    The kind is known by the content, not by the name. upright: turned as its EXIF tag says; otherwise as the sensor gave
    it, which is what calibrations are about.

    Raises: `error` (DataError unless given) if the file is missing, empty, no image, damaged, cut off, or larger
    than `max_pixels`; the size is read from the header, before decoding.
    """
    data = bytes_of(Path(path), error)
    return decode_image(data, name=str(path), max_pixels=max_pixels, upright=upright, error=error)


def read_image_rgba(path: Path, *, max_pixels: int = MAX_PIXELS, error: type[PhysadvError] = DataError) -> UInt8Array:
    """Return an image as (h, w, 4) uint8 RGBA, as `decode_image_rgba` does.

    Raises: `error` for what `read_image` refuses.
    """
    return decode_image_rgba(bytes_of(path, error), name=str(path), max_pixels=max_pixels, error=error)


def decode_image(
    data: bytes,
    *,
    name: str,
    max_pixels: int = MAX_PIXELS,
    upright: bool = True,
    error: type[PhysadvError] = DataError,
) -> UInt8Array:
    """Return encoded bytes as (h, w, 3) uint8 RGB, as `read_image` does.

    Raises: `error`, naming `name`.
    """
    return _decode(data, name, error, alpha=False, upright=upright, max_pixels=max_pixels)


def decode_image_rgba(
    data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, error: type[PhysadvError] = DataError
) -> UInt8Array:
    """Return encoded bytes as (h, w, 4) uint8 RGBA, upright and in sRGB; alpha is 255 where the file has none.

    Raises: `error`, naming `name`.
    """
    return _decode(data, name, error, alpha=True, upright=True, max_pixels=max_pixels)


def bytes_of(path: Path, error: type[PhysadvError], *, most: int = MAX_BYTES) -> bytes:
    """Return what is in a regular file.

    Raises: `error` if it cannot be read, is a device or pipe, or has more than `most` bytes.
    """
    try:
        if path.exists() and not path.is_file():
            raise error(f"{path}: expected a file, got a {'folder' if path.is_dir() else 'device or pipe'}")
        size = path.stat().st_size
        if size > most:
            raise error(f"{path}: {size:,} bytes is more than the {most:,} that are read")
        return path.read_bytes()
    except (OSError, ValueError) as cause:
        raise error(f"{path}: cannot be read: {text_of(cause)}") from cause


def _decode(
    data: bytes, name: str, error: type[PhysadvError], *, alpha: bool, upright: bool, max_pixels: int
) -> UInt8Array:
    try:
        return decode(data, alpha=alpha, upright=upright, max_pixels=max_pixels)
    except ValueError as cause:
        raise error(f"{name}: {cause}") from cause
    except MemoryError as cause:
        raise error(f"{name}: there is too little memory to decode it; make it smaller") from cause


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of an encoded image, as it is stored, from its header; None if it is none."""
    try:
        return size_of(data)
    except ValueError:
        return None


def pixels_sha256(pixels: UInt8Array) -> str:
    """Return the hash of an image's pixels (h, w, 3), the same whatever file they came from and however it is called."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def identity_of(path: Path, pixels: UInt8Array) -> str:
    """Return the hash by which an image file is known, "" if it cannot be read: that of its pixels as they are stored.

    pixels: as `read_image` gives them. Patterns' records list what they were trained on by this hash, so it must not
    depend on how colours are converted.
    """
    try:
        data = bytes_of(path, DataError)
        if is_converted(data):
            pixels = decode(data, alpha=False, upright=True, max_pixels=MAX_PIXELS, srgb=False)
    except (DataError, ValueError):
        return ""
    return pixels_sha256(pixels)


def write_png(path: Path, image: UInt8Array) -> None:
    """Write an (h, w, 3) RGB or (h, w, 4) RGBA uint8 image as PNG, atomically.

    Raises: OSError if it cannot be written.
    """
    code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    ok, data = cv2.imencode(".png", cv2.cvtColor(image, code))
    if not ok:
        raise OSError(f"{path}: PNG encoding failed")
    with atomic_write(path) as stream:
        stream.write(signed_png(data.tobytes()))


def signed_png(data: bytes) -> bytes:
    """Return a PNG file's bytes with a text chunk after its header that names physadv as the program that wrote it."""
    text = b"tEXtSoftware\0physadv"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:PNG_HEADER] + chunk + data[PNG_HEADER:]


@dataclass(slots=True)
class LeftOut:
    """The files that a command leaves out, reported in one line for each kind.

    damaged: a line for each image that cannot be read. other: files that are no images, as far as none uses them. rows:
    `file:line` of each label that repeats another of its file. notes: lines on anything else.
    """

    damaged: list[str] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return one line for each kind; damaged images by name up to a few, then a count."""
        out = []
        if self.damaged:
            some = "; ".join(_short(line) for line in self.damaged[:NAMED])
            more = f"; and {len(self.damaged) - NAMED} more" if len(self.damaged) > NAMED else ""
            out.append(f"left out as unreadable: {counted(len(self.damaged), 'file')}: {some}{more}")
        if self.other:
            kinds = Counter(p.suffix.lower()[:20] or "without an ending" for p in self.other).most_common()
            some = ", ".join(f"{count} {kind}" for kind, count in kinds[:12])
            more = f", {sum(count for _, count in kinds[12:])} of other endings" if kinds[12:] else ""
            out.append(f"left out as no images: {counted(len(self.other), 'file')}: {some}{more}")
        if self.rows:
            what = counted(len(self.rows), "label")
            out.append(
                f"left out as repeated: {what} with the box of another in the same file; the first: {self.rows[0]}"
            )
        return out + self.notes


def _short(line: str) -> str:
    """Return `PATH: why` in 150 characters, the most telling part of both."""
    path, _, why = line.partition(": ")
    return f"{path if len(path) <= 70 else '…' + path[-70:]}: {why if len(why) <= 76 else why[:76] + '…'}"


def counted(number: int, what: str) -> str:
    """Return a number of things in words: `1 file`, `2 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], *, most: int = 4) -> str:
    """Return names for one line: the first few, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def images_in(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """Return the image files in `folder` and its subfolders of any depth, each folder's sorted by name.

    Hidden files and folders are passed over, and folders in which physadv has left results. left_out: gets every file
    that is not returned.

    Raises: OSError if `folder` cannot be listed.
    """
    left_out = LeftOut() if left_out is None else left_out
    files: list[Path] = []
    hidden: list[Path] = []
    waiting, seen = [folder], set[tuple[int, int]]()
    while waiting:
        place = waiting.pop()
        try:
            status = place.stat()
            inside = sorted(place.iterdir())
        except OSError as error:
            if place == folder:
                raise
            left_out.notes.append(f"left out as unreadable: the folder {place}: {error.strerror}")
            continue
        # A link to a folder above would go on without end.
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if place != folder and (place / RESULTS).is_file():
            left_out.notes.append(f"left out as results of physadv: the folder {place}")
            continue
        folders = []
        for path in inside:
            if path.is_dir():
                if not (path.name.startswith(".") or path.name == "__MACOSX"):
                    folders.append(path)
            elif path.name.startswith("."):
                hidden += [path] if path.suffix.lower() in IMAGE_SUFFIXES else []
            elif _is_image_file(path, left_out):
                files.append(path)
        waiting += reversed(folders)
    if hidden:
        left_out.notes.append(f"left out as hidden: {counted(len(hidden), 'image')}; the first: {hidden[0]}")
    return files


def _is_image_file(path: Path, left_out: LeftOut) -> bool:
    """Return whether a name is that of an image file; what is none goes to `left_out`."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        left_out.other.append(path)
        return False
    if not path.is_file():
        left_out.damaged.append(f"{path}: no file, or a link to none")
        return False
    return True


def to_tensor(image: UInt8Array) -> torch.Tensor:
    """Return an (h, w, c) uint8 image as a (c, h, w) float32 tensor in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)


def to_image(image: torch.Tensor) -> UInt8Array:
    """Return a (c, h, w) tensor in [0, 1] as an (h, w, c) uint8 image, rounded to nearest."""
    array: Float32Array = image.detach().float().clamp(0, 1).mul(255).round().cpu().numpy()
    return np.ascontiguousarray(array.astype(np.uint8).transpose(1, 2, 0))


def look_of(pixels: UInt8Array) -> str:
    """Return what an image looks like in 64 hex digits, near those of a scaled copy or one saved anew; "" without edges.

    pixels: (h, w, 3) uint8 RGB. Each bit says whether a cell is brighter than the one left of it by more than noise.

    Source: Krawetz 2013, "Kind of like that" (difference hash), with 16 x 16 cells for 8 x 8.
    """
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (LOOK + 1, LOOK), interpolation=cv2.INTER_AREA)
    bits = np.diff(grey.astype(np.int16), axis=1) > 2
    return np.packbits(bits).tobytes().hex() if EDGES <= bits.sum() <= bits.size - EDGES else ""


def alike(look: str, others: Iterable[str]) -> bool:
    """Return whether a look is one of others, up to a few cells. look: as `look_of` gives it; "" is like none."""
    try:
        mine = int(look, 16)
        return any((mine ^ int(other, 16)).bit_count() <= ALIKE for other in others)
    except ValueError:
        return False
