"""Films through PyAV: which stream is shown, in which orientation and aspect ratio; opening, and errors as ours."""

from __future__ import annotations

import errno
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from typing import Any, cast

import av
import av.error
import av.stream
import numpy as np

from physadv.address import is_url
from physadv.capture.reading import Notify
from physadv.capture.settings import CaptureSettings
from physadv.errors import PhysadvError, SourceError
from physadv.types import UInt8Array

# 8K is 33 megapixels. A decoder holds up to 16 images and one a thread, so that more would take gigabytes.
MAX_PIXELS = 40_000_000
# Real pixels are .5 to 3 times as wide as high; beyond this a header is damaged.
_WIDEST = 10
# So many packets are read to distinguish a film from a cover; what headers say of the number of images is often wrong.
_LOOKED_AT = 100
# A stream with so many times fewer images than another is a cover or a row of previews.
_FEWER = 5
# Options that make the JPEG decoder refuse damaged images.
STRICT = {"err_detect": "explode"}
_COVER = av.stream.Disposition.attached_pic


def film_of(container: Any, name: str, again: Callable[[], Any] | None = None) -> Any:
    """Return the video stream that is the film, not a cover or preview image beside it.

    again: opens the same file once more, to count its images; None where that is not possible.
    Of several films the one marked as default is taken, then the largest, then the first.

    Raises: SourceError if there is none, or none that can be decoded.
    """
    videos = list(container.streams.video)
    if not videos:
        why = "sound only" if container.streams.audio else "no video, or one that is cut off"
        raise SourceError(f"{name}: has no images in it ({why})")
    flagged = [s for s in videos if s.disposition & _COVER]
    films = [s for s in videos if s not in flagged] or flagged
    if len(films) > 1 or films == flagged:
        counts = _counts(films, again)
        least = max(counts.values()) / _FEWER
        films = [s for s in films if counts[s.index] >= max(least, 2 if films == flagged else 0)]
    if not films:
        raise SourceError(f"{name}: expected a video, got sound with a cover image")
    decoded = [s for s in films if s.codec_context is not None]
    if not decoded:
        raise SourceError(f"{name}: its images are of a kind that cannot be decoded here; convert it to H.264")
    film = max(decoded, key=lambda s: (bool(s.disposition & av.stream.Disposition.default), _area(s), -s.index))
    if _area(film) > MAX_PIXELS:
        raise SourceError(f"{name}: {film.width} x {film.height} pixels is more than the {MAX_PIXELS:,} allowed")
    strict = STRICT if is_jpeg(film) else {}
    film.codec_context.options = {**film.codec_context.options, **strict, "max_pixels": str(MAX_PIXELS)}
    return film


def is_jpeg(stream: Any) -> bool:
    """Return whether a stream is one of JPEG images, each of which is decoded by itself."""
    return bool(stream.codec_context.name == "mjpeg")


def _area(stream: Any) -> int:
    return int(stream.codec_context.width * stream.codec_context.height)


def _counts(streams: list[Any], again: Callable[[], Any] | None) -> dict[int, int]:
    """Return how many images streams have: counted at the file's beginning, else as the header says."""
    if again is None:
        return {s.index: int(s.frames) for s in streams}
    seen = Counter({s.index: 0 for s in streams})
    with again() as container:
        packets = container.demux([container.streams[s.index] for s in streams])
        for packet in islice(packets, _LOOKED_AT):
            seen[packet.stream_index] += packet.size > 0
    return seen


def pixel_aspect(stream: Any) -> Fraction:
    """Return how wide a stream's pixels are for their height: what the container says, else the coded images.

    Raises: ValueError for what no camera has; such a header is damaged.
    """
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1
    aspect = Fraction(stated)
    if not Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        raise ValueError(f"pixels of {aspect.numerator}:{aspect.denominator}")
    return aspect


def shown(frame: av.VideoFrame, aspect: Fraction = Fraction(1)) -> UInt8Array:
    """Return a decoded image as (h, w, 3) uint8 RGB of square pixels, turned and mirrored as its display matrix says.

    Its longer sides grow: an image of wide pixels becomes wider, one of high pixels higher, and no line is lost.

    Raises: ValueError if it would be larger than `MAX_PIXELS`.
    """
    width = round(frame.width * max(aspect, Fraction(1)))
    height = round(frame.height / min(aspect, Fraction(1)))
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels is more than the {MAX_PIXELS:,} allowed")
    if (width, height) != (frame.width, frame.height):
        frame = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC", threads=1)
    # On one thread: to share out an image of 640 x 480 costs .2 ms more of CPU, which the detector needs.
    pixels = cast(UInt8Array, frame.to_ndarray(format="rgb24", threads=1))
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return pixels if matrix is None else upright(pixels, bytes(matrix))


def upright(pixels: UInt8Array, matrix: bytes) -> UInt8Array:
    """Return an image (h, w, 3) as a display matrix shows it: one of the four turns, mirrored or not.

    matrix: nine 32-bit numbers of the machine's order; a stored point (p, q) is shown at (ap + cq, bp + dq). Turns that
    are no quarter ones are taken as the nearest.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels = pixels.transpose(1, 0, 2)
        across, down = c, b
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


class JpegDecoder:
    """Decodes JPEG images one by one and rejects those that are not whole.

    FFmpeg's decoder in strict mode finds what libjpeg fills with grey: images that are cut off, also those with
    an end mark after the cut, and damaged ones. It takes those that lack the end mark alone, or the Huffman tables.
    """

    def __init__(self) -> None:
        self._codec: Any = av.CodecContext.create("mjpeg", "r")
        self._codec.options = {**STRICT, "max_pixels": str(MAX_PIXELS)}
        self._codec.thread_count = 1

    def decode(self, jpeg: bytes) -> UInt8Array | None:
        """Return (h, w, 3) uint8 RGB, turned upright by its EXIF tag, or None if it is no whole JPEG image."""
        try:
            frames = self._codec.decode(av.Packet(jpeg))
            return shown(frames[-1]) if frames else None
        except (av.error.FFmpegError, ValueError, MemoryError):
            return None


def open_container(where: str, settings: CaptureSettings, options: dict[str, str]) -> Any:
    """Return an open container.

    Raises: PyAV's errors if it cannot be opened in time.
    """
    timeout = (settings.open_timeout, settings.read_timeout) if is_url(where) else None
    # Tags in other alphabets' encodings are no reason to refuse a film.
    return av.open(where, timeout=timeout, options=options, metadata_errors="replace")


def aspect_of(stream: Any, name: str, notify: Notify) -> Fraction:
    """Return `pixel_aspect`, or 1 where a damaged header says what no camera has: then `notify` gets a line."""
    try:
        return pixel_aspect(stream)
    except ValueError as error:
        notify(f"{name}: {error} are taken as square ones: the file's header is damaged")
        return Fraction(1)


@contextmanager
def as_source_error(name: str, what: str, cause: Callable[[], str] = str) -> Iterator[None]:
    """Turn every error of PyAV, of which there are many kinds, into one of ours; ours pass unchanged.

    Raises: SourceError with the name and what `cause` returns, or what cannot be done and the error's own reason.
    """
    try:
        yield
    except PhysadvError:
        raise
    except Exception as error:
        raise SourceError(f"{name}: {cause() or f'{what}: {reason(error)}'}") from error


def timed_out(error: Exception) -> bool:
    """Return whether an error of PyAV or the system says that time ran out."""
    return isinstance(error, av.error.ExitError | TimeoutError)


def reason(error: Exception) -> str:
    """Return an error of PyAV or the system without its number and file name."""
    if timed_out(error):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return "the connection broke off"
    if isinstance(error, av.error.EOFError):
        return "it ends before its first image"
    if isinstance(error, OSError | ValueError | PhysadvError | av.error.FFmpegError):
        return str(getattr(error, "strerror", None) or error)
    return f"{type(error).__name__}: {error}"
