"""What is shown of a video: the film and not its cover, the right way up, with square pixels; and nothing of a wreck."""

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.stream
import numpy as np
import pytest

from physadv.capture import open_source
from physadv.capture.film import upright
from physadv.errors import EndOfStream, PhysadvError, SourceError
from physadv.types import UInt8Array
from tests.capture.test_files import everything
from tests.mutations import damaged

Codec = tuple[str, str]
H264: Codec = ("libx264", "yuv420p")
WIDTH, HEIGHT = 96, 64
# Top left, top right, bottom left, bottom right.
COLOURS = np.array([[(220, 30, 30), (30, 200, 30)], [(30, 30, 220), (220, 220, 220)]], np.uint8)


def corners(width: int = WIDTH, height: int = HEIGHT) -> UInt8Array:
    """An image whose four quarters differ, so that it tells how it was turned."""
    return COLOURS.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def quarters(pixels: UInt8Array) -> UInt8Array:
    """The colours (2, 2, 3) of an image's quarters."""
    h, w = pixels.shape[:2]
    return pixels[h // 4 :: h // 2, w // 4 :: w // 2][:2, :2]


def looks_like(pixels: UInt8Array, wanted: UInt8Array) -> bool:
    return bool((np.abs(quarters(pixels).astype(int) - quarters(wanted)).max() < 40).all())


def encode(
    path: Path,
    *,
    count: int = 4,
    image: UInt8Array | None = None,
    codec: Codec = H264,
    aspect: Fraction | None = None,
) -> Path:
    image = corners() if image is None else image
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec[0], rate=10)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = codec[1]
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(count):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        file.mux(stream.encode(None))
    return path


def set_matrix(path: Path, turn: tuple[int, int, int, int]) -> None:
    """Write the display matrix a, b, c, d into an MP4's track header."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    a, b, c, d = (part << 16 for part in turn)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


TURNS: dict[tuple[int, int, int, int], Callable[[UInt8Array], UInt8Array]] = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p),
    (0, 1, 1, 0): lambda p: p.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda p: p[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_every_turn_and_mirror_of_a_display_matrix(tmp_path: Path, turn: tuple[int, int, int, int]) -> None:
    set_matrix(encode(tmp_path / "v.mp4"), turn)
    wanted = TURNS[turn](corners())
    frames = everything(open_source(str(tmp_path / "v.mp4")))
    assert len(frames) == 4
    for frame in frames:
        assert frame.pixels.shape == wanted.shape
        assert looks_like(frame.pixels, wanted)
    # What a point's place becomes by the matrix is where `upright` puts it.
    a, b, c, d = turn
    seen = upright(corners(), struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1))
    h, w = seen.shape[:2]
    for p, q in ((5, 3), (90, 3), (5, 60)):
        assert (seen[(b * p + d * q - (b + d < 0)) % h, (a * p + c * q - (a + c < 0)) % w] == corners()[q, p]).all()


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2), Fraction(4, 3), Fraction(16, 11)], ids=str)
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, ending: str) -> None:
    frames = everything(open_source(str(encode(tmp_path / f"v.{ending}", aspect=aspect))))
    width, height = (round(WIDTH * aspect), HEIGHT) if aspect > 1 else (WIDTH, round(HEIGHT / aspect))
    assert [f.size for f in frames] == [(width, height)] * 4
    assert looks_like(frames[0].pixels, corners())


def test_a_turned_video_of_wide_pixels(tmp_path: Path) -> None:
    set_matrix(encode(tmp_path / "v.mp4", aspect=Fraction(2)), (0, 1, -1, 0))
    assert everything(open_source(str(tmp_path / "v.mp4")))[0].size == (HEIGHT, 2 * WIDTH)


def test_absurd_pixels_are_taken_as_square_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    data = bytearray(encode(tmp_path / "v.mp4", aspect=Fraction(2)).read_bytes())
    at = data.index(b"pasp") + 4
    data[at : at + 8] = struct.pack(">2I", 200, 1)
    (tmp_path / "v.mp4").write_bytes(data)
    frames = everything(open_source(str(tmp_path / "v.mp4"), notify=said.append))
    assert frames[0].size == (WIDTH, HEIGHT)
    assert any("200:1" in text for text in said)


def with_cover(path: Path, *, flagged: bool, first: bool, covers: int = 1) -> Path:
    """A film of ten images and a larger cover image beside it, whose stream is the first or the second."""
    with av.open(str(path), "w") as file:
        added: list[Any] = [None, None]
        for place in (0, 1) if first else (1, 0):
            added[place] = file.add_stream(*(("mjpeg", 10), ("libx264", 10))[place])
        cover, film = added
        cover.width, cover.height, cover.pix_fmt = 160, 120, "yuvj420p"
        film.width, film.height, film.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if flagged:
            cover.disposition = av.stream.Disposition.attached_pic.value
        for index in range(covers):
            still = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 128, np.uint8), format="rgb24")
            still = still.reformat(format="yuvj420p")
            still.pts = index
            file.mux(cover.encode(still))
        file.mux(cover.encode(None))
        for _ in range(10 if covers else 0):
            file.mux(film.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        file.mux(film.encode(None))
    return path


@pytest.mark.parametrize("first", [True, False], ids=["cover first", "film first"])
@pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "not flagged"])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi"])
def test_the_film_is_taken_and_not_its_cover(tmp_path: Path, ending: str, flagged: bool, first: bool) -> None:
    frames = everything(open_source(str(with_cover(tmp_path / f"v.{ending}", flagged=flagged, first=first))))
    assert [f.size for f in frames] == [(WIDTH, HEIGHT)] * 10
    assert looks_like(frames[-1].pixels, corners())


def test_sound_with_a_cover_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as file:
        sound: Any = file.add_stream("aac", rate=16000)
        cover: Any = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        still = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24").reformat(format="yuvj420p")
        still.pts = 0
        file.mux([*cover.encode(still), *cover.encode(None), *sound.encode(frame), *sound.encode(None)])
    with pytest.raises(SourceError, match="sound with a cover"):
        open_source(str(tmp_path / "song.mp4"))


def test_a_video_of_one_image_is_a_video(tmp_path: Path) -> None:
    assert len(everything(open_source(str(encode(tmp_path / "v.mp4", count=1))))) == 1


def test_tags_in_another_encoding_are_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "UMLAUT-HERE"
        stream: Any = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        file.mux(stream.encode(None))
    data = path.read_bytes()
    assert b"UMLAUT-HERE" in data
    path.write_bytes(data.replace(b"UMLAUT-HERE", b"G\xfc\xdfe \xff\xfe 2020"[:11]))
    assert len(everything(open_source(str(path)))) == 1


def test_damaged_images_of_a_file_are_counted_and_said(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.avi", count=10, codec=("mjpeg", "yuvj420p"))
    data = bytearray(path.read_bytes())
    # The first is in the header.
    third = [i for i in range(len(data)) if data[i : i + 4] == b"00dc"][3]
    size = struct.unpack("<I", data[third + 4 : third + 8])[0]
    data[third + 8 + size // 2 : third + 8 + size] = bytes(size - size // 2)
    path.write_bytes(data)
    said: list[str] = []
    frames = everything(open_source(str(path), notify=said.append))
    assert [f.index for f in frames] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert any("left out 1 of 10" in text for text in said)


def test_a_image_larger_than_any_camera_gives_is_refused_by_its_header(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mkv", codec=("rawvideo", "gray"), image=corners(), count=1)
    data = path.read_bytes()
    width = data.index(b"\xb0\x81" + bytes([WIDTH]))
    path.write_bytes(data[:width] + b"\xb0\x84\x00\x00\xff\xf0" + data[width + 3 :])
    with pytest.raises(SourceError):
        open_source(str(path)).read()


def test_no_wreck_of_a_video_ends_in_anything_but_one_line(tmp_path: Path) -> None:
    whole = [
        encode(tmp_path / "a.mp4", count=3).read_bytes(),
        with_cover(tmp_path / "b.mp4", flagged=True, first=True).read_bytes(),
        encode(tmp_path / "c.mkv", count=3).read_bytes(),
        encode(tmp_path / "d.avi", count=3, codec=("mjpeg", "yuvj420p")).read_bytes(),
        encode(tmp_path / "e.ts", count=3, codec=("mpeg2video", "yuv420p")).read_bytes(),
    ]
    ends = set[int | str]()
    path = tmp_path / "wreck.mp4"
    words = [bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"]
    for data in (wreck for seed, film in enumerate(whole) for wreck in damaged(film, 100, seed, words)):
        path.write_bytes(data or b"x")
        try:
            ends.add(len(list(_all_of(path))))
        except PhysadvError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
            ends.add(type(error).__name__)
    assert "SourceError" in ends and 3 in ends


def _all_of(path: Path) -> Iterator[UInt8Array]:
    source = open_source(str(path))
    try:
        while True:
            yield source.read().pixels
    except EndOfStream:
        return
    finally:
        source.close()
