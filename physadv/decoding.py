"""Image files decoded: the size is known and bounded before any pixel is, and every fault is one error."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from physadv.colour_profiles import (
    Chromaticities,
    changes_colours,
    image_to_srgb,
    profile_of_code,
    profile_of_interoperability,
    profile_of_png,
    to_srgb,
)
from physadv.types import UInt8Array

NO_IMAGE = "not an image that can be decoded (damaged, cut off or of another kind)"
CUT_OFF = "the image is cut off: its end is missing"
# A decoder may hold the coefficients of a progressive JPEG, or a file's own pixels, beside those that it returns.
MOST_BYTES = 750_000_000
# libjpeg takes up to 100 ns for a block of 64 pixels in each scan, however few bytes that has: this bounds it to 8 s.
MOST_SCANNED = 5_000_000_000
USUAL_SCANS = 50
# Kinds whose decoders hold several copies in the course, and how many times the usual memory that is.
HEAVY = {"HEIF": 2, "AVIF": 2, "WEBP": 3}
# Pixels that are brought from Pillow into an array at a time.
PIECE = 4_000_000
ORIENTATION = 0x0112
# What an orientation's reverse is; the others are their own.
REVERSE = {6: 8, 8: 6}

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
T = TypeVar("T")
# Sizes are checked here, against what the caller allows; damaged tags that change nothing are not worth a line.
warnings.filterwarnings("ignore", module=r"PIL\.")
# What OpenCV cannot decode or open is said in an error of ours.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Kinds whose pixels Pillow takes minutes to decode: it reads the header, OpenCV the pixels.
SLOW = ("BMP", "PPM")
JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB})
PROGRESSIVE = frozenset({0xC2, 0xCA})


class UndecodableError(ValueError):
    """Why bytes are no image that is decoded, in words for people, without the file's name."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG file says before its pixels.

    kept: bytes of coefficients that its decoder keeps until all scans are read. scans: where the first one begins.
    """

    width: int
    height: int
    channels: int
    progressive: bool
    kept: int
    scans: int
    profile: bytes | None
    exif: bytes


def size_of(data: bytes) -> tuple[int, int]:
    """Return (width, height) of an encoded image as it is stored, read from its header.

    Raises: UndecodableError if it is none.
    """
    if data[:2] == b"\xff\xd8":
        head = jpeg_header(data)
        return head.width, head.height
    return _opened(data).size


def decode(data: bytes, *, alpha: bool, upright: bool, max_pixels: int, srgb: bool = True) -> UInt8Array:
    """Return an encoded image as (h, w, 3) uint8 RGB, or with `alpha` as (h, w, 4) RGBA, in sRGB.

    upright: turned as the file's orientation says; otherwise as the sensor gave it. srgb: False for colours as they are
    stored. Of an animation the first image.

    Raises: UndecodableError, without the file's name, if it is no image, damaged, cut off, larger than `max_pixels`, or of
    more than 16 bits a channel.
    """

    def work(_: BytesIO) -> UInt8Array:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data, alpha=alpha, upright=upright, max_pixels=max_pixels, srgb=srgb)
        return _other(data, alpha=alpha, upright=upright, max_pixels=max_pixels, srgb=srgb)

    return _plugin(work, data)


def _other(data: bytes, *, alpha: bool, upright: bool, max_pixels: int, srgb: bool) -> UInt8Array:
    """Return an image of any kind but JPEG, as `decode` does."""
    image = _opened(data)
    still_webp = image.format == "WEBP" and not getattr(image, "is_animated", False)
    fast = still_webp or (not alpha and image.format == "PNG" and _is_whole_png(data))
    _check_size(*image.size, max_pixels, heavy=1 if fast else HEAVY.get(image.format or "", 1))
    if image.format in SLOW:
        out = _by_opencv(data, cv2.IMREAD_COLOR_RGB)
        return _opaque(out) if alpha else out
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image)
    turn, profile = _orientation(image, data), _profile(image, data) if srgb else None
    out = _unturned(data, alpha=alpha) if fast else _by_pillow(image, profile, alpha=alpha)
    if profile is not None and image.mode not in ("CMYK", "LAB"):
        to_srgb(out[..., :3], profile)
    turned_already = image.format in ("TIFF", "HEIF")
    if turned_already != upright:
        out = _turned(out, REVERSE.get(turn, turn) if turned_already else turn)
    return np.ascontiguousarray(out)


def is_converted(data: bytes) -> bool:
    """Return whether `decode` changes the colours of an encoded image by its profile.

    Raises: UndecodableError if it is no image.
    """
    if data[:2] == b"\xff\xd8":
        head = jpeg_header(data)
        profile = head.profile or profile_of_interoperability(head.exif)
        return profile is not None and (head.channels == 4 or changes_colours(profile))
    profile = _profile(_opened(data), data)
    return profile is not None and changes_colours(profile)


def frames_in(data: bytes) -> int:
    """Return how many images a file holds: the frames of an animation, the pages of a TIFF. A JPEG's others are previews.

    Raises: ValueError if it is no image.
    """
    if data[:2] == b"\xff\xd8":
        return 1
    image = _opened(data)
    return _plugin(lambda _: int(getattr(image, "n_frames", 1)), b"")


def png_text(data: bytes, key: str) -> str:
    """Return the text that a PNG file has under a key before its pixels, "" if it has none or is no PNG.

    Raises: UndecodableError if its header is damaged.
    """
    if data[:8] != PNG_MAGIC:
        return ""
    text = _plugin(PngImagePlugin.PngImageFile, data).info.get(key, "")
    return text if isinstance(text, str) else ""


def jpeg_header(data: bytes) -> JpegHeader:
    """Return what stands before the first scan of a JPEG file, read marker by marker exactly as libjpeg does.

    Another reading of stray bytes would check the size of one frame and decode another.

    Raises: UndecodableError if there is no frame and scan.
    """
    at, exif = 2, b""
    frame: tuple[int, bytes] | None = None
    profile: list[bytes] = []
    while (found := JPEG_MARKER.search(data, at)) is not None:
        marker, at = found[1][0], found.end()
        if 0xD0 <= marker <= 0xD7 or marker == 0x01:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        part = data[at + 2 : at + length]
        if marker in (0xD8, 0xD9) or length < 2 or len(part) < length - 2:
            break
        if marker in FRAMES:
            if frame is not None or length < 8 or length != 8 + 3 * part[5]:
                break
            frame = (marker, part)
        elif marker == 0xDA:
            if frame is None or not part:
                break
            return _frame_of(*frame, first=part, scans=at + length, profile=b"".join(profile) or None, exif=exif)
        elif marker == 0xE1 and part.startswith(b"Exif\0\0"):
            exif = exif or part
        elif marker == 0xE2 and part.startswith(b"ICC_PROFILE\0"):
            profile.append(part[14:])
        at += length
    raise UndecodableError(NO_IMAGE if found is not None else CUT_OFF)


def _frame_of(marker: int, frame: bytes, *, first: bytes, scans: int, profile: bytes | None, exif: bytes) -> JpegHeader:
    _, height, width, channels = struct.unpack(">BHHB", frame[:6])
    sampling = [(byte >> 4, byte & 15) for byte in frame[7::3]]
    most = max((h for h, _ in sampling), default=1) * max((v for _, v in sampling), default=1)
    # Of all channels unless one scan holds them all, 2 bytes each.
    several = marker in PROGRESSIVE or first[0] < channels
    kept = 2 * width * height * sum(h * v for h, v in sampling) // max(most, 1) if several else 0
    return JpegHeader(width, height, channels, marker in PROGRESSIVE, kept, scans, profile, exif)


def _jpeg(data: bytes, *, alpha: bool, upright: bool, max_pixels: int, srgb: bool) -> UInt8Array:
    head = jpeg_header(data)
    _check_size(head.width, head.height, max_pixels, beside=head.kept)
    if data.rfind(b"\xff\xd9", head.scans) < 0:
        raise UndecodableError(CUT_OFF)
    if head.progressive:
        _check_scans(data, head)
    if srgb and head.channels == 4 and head.profile is not None:
        image = _plugin(lambda stream: Image.open(stream, formats=["JPEG"]), data)
        out, turn = _by_pillow(image, head.profile, alpha=alpha), _orientation(image, data)
        return np.ascontiguousarray(_turned(out, turn) if upright else out)
    out = _by_opencv(data, cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION))
    profile = head.profile or profile_of_interoperability(head.exif)
    if srgb and profile is not None:
        to_srgb(out, profile)
    return _opaque(out) if alpha else out


def _opaque(pixels: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA), np.uint8)


def _check_scans(data: bytes, head: JpegHeader) -> None:
    """Refuse a JPEG whose scans are so many that they would take minutes."""
    scans = 1
    for found in JPEG_MARKER.finditer(data, head.scans):
        if found[1] == b"\xd9":
            break
        scans += found[1] == b"\xda"
    if scans > max(USUAL_SCANS, MOST_SCANNED // max(head.width * head.height, 1)):
        raise UndecodableError(
            f"{scans} scans of {head.width} x {head.height} pixels would take too long to decode; save it anew"
        )


def _check_size(width: int, height: int, max_pixels: int, *, heavy: int = 1, beside: int = 0) -> None:
    """Refuse an image larger than allowed. heavy: how many times the usual memory its decoder takes. beside: more bytes."""
    if width < 1 or height < 1:
        raise UndecodableError(f"{width} x {height} pixels: expected 1 x 1 or more")
    if width * height > max_pixels:
        raise UndecodableError(f"{width} x {height} pixels is more than the {max_pixels:,} allowed; make it smaller")
    if 7 * width * height * heavy > MOST_BYTES or 3 * width * height + beside > MOST_BYTES:
        raise UndecodableError(
            f"{width} x {height} pixels of this kind take too much memory to decode; make it smaller, or a JPEG"
        )


def _by_opencv(data: bytes, flags: int) -> UInt8Array:
    try:
        out = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as cause:
        raise UndecodableError(NO_IMAGE) from cause
    if out is None:
        raise UndecodableError(NO_IMAGE)
    return np.asarray(out, np.uint8)


def _unturned(data: bytes, *, alpha: bool) -> UInt8Array:
    """Return a WebP or PNG image by OpenCV, as it lies in the file.

    Pillow takes a sixth to a quarter more time, and changes the colours of what is transparent in a WebP.
    """
    if not alpha:
        return _by_opencv(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    out = _by_opencv(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(out, cv2.COLOR_BGRA2RGBA if out.shape[2] == 4 else cv2.COLOR_BGR2RGBA), np.uint8)


def _is_whole_png(data: bytes) -> bool:
    """Return whether the chunks of a PNG file follow each other to its end, and are of a single image.

    OpenCV takes the memory that a chunk claims, and prints of damaged ones on the terminal; Pillow reads them, or not.
    """
    at = len(PNG_MAGIC)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"acTL", b"fcTL"):
            return False
        at += 12 + length
        if kind == b"IEND":
            return at <= len(data)
    return False


def _by_pillow(image: Image.Image, profile: bytes | None, *, alpha: bool) -> UInt8Array:
    """Return a Pillow image's pixels as (h, w, 3) RGB or (h, w, 4) RGBA, as they lie in the file."""
    _plugin(lambda _: image.load(), b"")
    if image.mode in ("CMYK", "LAB"):
        image = image_to_srgb(image, profile)
    width, height = image.size
    rows = max(PIECE // width, 1)
    out = np.empty((height, width, 4 if alpha else 3), np.uint8)
    for top in range(0, height, rows):
        part = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        out[top : top + rows] = _eight_bit(part, "RGBA" if alpha else "RGB")
    return out


def _eight_bit(image: Image.Image, mode: str) -> UInt8Array:
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image)
        if deep.size and (deep.min() < 0 or deep.max() > 65535):
            raise UndecodableError("expected 8 or 16 bits a channel, got 32")
        image = Image.fromarray((deep // 257).astype(np.uint8))
    if image.mode == "F":
        raise UndecodableError("expected 8 or 16 bits a channel, got floating-point numbers")
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _opened(data: bytes) -> Image.Image:
    """Return an image of any kind but JPEG of which Pillow has read the header alone."""
    if not data:
        raise UndecodableError("the file is empty (0 bytes); expected an image")
    opener = _opener(data[:64])
    if opener is None:
        raise UndecodableError(NO_IMAGE)
    return _plugin(opener, data)


def _plugin(work: Callable[[BytesIO], T], data: bytes) -> T:
    """Return what a part of Pillow makes of bytes; its plugins raise whatever their parsing stumbles over."""
    try:
        return work(BytesIO(data))
    except (UndecodableError, MemoryError):
        raise
    except Exception as cause:
        raise UndecodableError(CUT_OFF if "truncated" in str(cause) else NO_IMAGE) from cause


def _opener(head: bytes) -> Callable[[BytesIO], Image.Image] | None:
    """Return what opens the kind of image that begins so; what a file is called does not count."""
    if head[4:8] == b"ftyp":
        return AvifImagePlugin.AvifImageFile if b"avif" in head or b"avis" in head else _heif
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    kinds: dict[bytes, Callable[[BytesIO], Image.Image]] = {
        PNG_MAGIC: PngImagePlugin.PngImageFile,
        b"II*\0": TiffImagePlugin.TiffImageFile,
        b"MM\0*": TiffImagePlugin.TiffImageFile,
        b"GIF8": GifImagePlugin.GifImageFile,
        b"BM": BmpImagePlugin.BmpImageFile,
        **{b"P%d" % kind: PpmImagePlugin.PpmImageFile for kind in range(1, 7)},
    }
    return next((opener for magic, opener in kinds.items() if head.startswith(magic)), None)


def _heif(stream: BytesIO) -> Image.Image:
    # 27 MB of libraries, which few need.
    from pillow_heif import HeifImageFile

    return HeifImageFile(stream)  # type: ignore[no-untyped-call]


def _check_tiff(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a TIFF whose tiles or strips are larger than its image: libtiff would take the memory they claim."""
    tags = image.tag_v2
    across, down = tags.get(TiffImagePlugin.TILEWIDTH, 0), tags.get(TiffImagePlugin.TILELENGTH, 0)
    if not (isinstance(across, int) and isinstance(down, int)) or across * down > 4 * (
        image.width * image.height + 2**20
    ):
        raise UndecodableError(NO_IMAGE)


def _orientation(image: Image.Image, data: bytes) -> int:
    """Return how an image is to be turned, 1 to 8 as EXIF counts; of HEIC, how it was when it was opened."""
    if image.format == "HEIF":
        # Its own boxes say how it is turned; what EXIF says is the same, or left over and not meant.
        turn = image.info.get("original_orientation") if b"irot" in data or b"imir" in data else 1
    elif image.format == "PNG" and b"eXIf" not in data:
        # Pillow would look for it behind the pixels, and decode them.
        turn = 1
    else:
        turn = _plugin(lambda _: image.getexif().get(ORIENTATION), b"")
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _turned(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """Return a stored image as its orientation means it to be seen."""
    if orientation > 4:
        pixels = pixels.transpose(1, 0, 2)
    down, across = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(orientation, (1, 1))
    return pixels[::down, ::across]


def _profile(image: Image.Image, data: bytes) -> bytes | None:
    """Return the ICC profile of an image's colours, whatever its file says them by; None for sRGB."""
    info = image.info
    if image.format == "PNG":
        coded = data.find(b"cICP", 8, max(data.find(b"IDAT"), 0))
        if coded > 0 and data[coded - 4 : coded] == b"\0\0\0\4":
            return profile_of_code(data[coded + 4], data[coded + 5])
    if isinstance(info.get("icc_profile"), bytes) and info["icc_profile"]:
        return info["icc_profile"]
    if image.format == "PNG" and "srgb" not in info:
        return profile_of_png(info.get("gamma"), _eight(info.get("chromaticity")))
    if image.format in ("AVIF", "HEIF") and (at := data.find(b"colrnclx")) > 0:
        return profile_of_code(*struct.unpack(">HH", data[at + 8 : at + 12].ljust(4, b"\0")))
    return None


def _eight(value: object) -> Chromaticities | None:
    return value if isinstance(value, tuple) and len(value) == 8 else None
