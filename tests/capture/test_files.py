"""Video files, folders of images and pacing."""

import itertools
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from physadv.capture import open_source
from physadv.capture.settings import CaptureSettings
from physadv.capture.video_file import VideoFile
from physadv.errors import EndOfStream, SourceError
from physadv.types import Frame, Source
from tests.capture.server import image


def write_video(path: Path, pts: list[int], *, codec: str = "mpeg4") -> Path:
    """A video of numbered images at the given times in hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=100)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.max_b_frames = 0
        for number, at in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(image(number), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def everything(source: Source) -> list[Frame]:
    out = []
    try:
        while True:
            out.append(source.read())
    except EndOfStream:
        return out
    finally:
        source.close()


def square_at(frame: Frame) -> int:
    """The left side of the white square: it tells which image this is."""
    return int(np.argmax(frame.pixels[60].mean(1) > 150))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "v.mkv", [0, 4, 8, 20, 24, 60])


def test_every_image_in_order_at_its_true_time(video: Path) -> None:
    frames = everything(open_source(str(video)))
    assert [f.index for f in frames] == list(range(6))
    assert [f.pts_s for f in frames] == pytest.approx([0, 0.04, 0.08, 0.2, 0.24, 0.6], abs=2e-3)
    assert [square_at(f) for f in frames] == pytest.approx([n * 5 for n in range(6)], abs=2)
    assert all(a.captured_ns < b.captured_ns for a, b in itertools.pairwise(frames))


def test_loops_go_on_in_index_and_time(video: Path) -> None:
    frames = everything(open_source(str(video), CaptureSettings(loop=3)))
    assert [f.index for f in frames] == list(range(18))
    steps = np.diff([f.pts_s for f in frames])
    assert (steps > 0).all()
    assert [square_at(f) for f in frames[6:12]] == [square_at(f) for f in frames[:6]]


def test_endless_loop_until_closed(video: Path) -> None:
    source = open_source(str(video), CaptureSettings(loop=0))
    assert [source.read().index for _ in range(40)] == list(range(40))
    source.close()
    source.close()
    with pytest.raises(EndOfStream):
        source.read()


def test_realtime_paces_and_is_live(video: Path) -> None:
    source = open_source(str(video), CaptureSettings(realtime=True))
    assert source.live
    start = time.monotonic()
    frames = everything(source)
    assert len(frames) == 6
    assert time.monotonic() - start >= 0.59
    gaps = np.diff([f.captured_ns for f in frames]) / 1e9
    assert gaps[2] >= 0.1
    assert gaps[4] >= 0.3


def test_a_file_cut_off_gives_what_is_there_and_then_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "v.avi", [i * 4 for i in range(100)])
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_source(str(cut))
    seen = 0
    with pytest.raises(SourceError, match=r"cut off: [\d.]+ of 4.0 s are there"):
        while True:
            frame = source.read()
            assert square_at(frame) == pytest.approx(frame.index * 5 % 140, abs=2)
            seen += 1
    assert 30 < seen < 70


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.avi", "mpeg4"), ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mov", "mpeg4"), ("a.ts", "libx264")],
)
def test_a_whole_file_is_not_called_cut_off(tmp_path: Path, name: str, codec: str) -> None:
    video = write_video(tmp_path / name, [i * 4 for i in range(50)], codec=codec)
    assert len(everything(open_source(str(video)))) == 50


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.mp4", b"", "0 bytes"),
        ("text.mp4", b"hello there, this is no video" * 50, "cannot be opened as a video"),
        ("empty.jpg", b"", "0 bytes"),
        ("torn.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "torn.png"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=says) as caught:
        open_source(str(tmp_path / name)).read()
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_moov_less_mp4_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "v.mp4", [i * 4 for i in range(50)], codec="libx264").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="cut off: the index"):
        open_source(str(tmp_path / "cut.mp4"))


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "s.wav"), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(SourceError, match="sound only"):
        open_source(str(tmp_path / "s.wav"))


@pytest.mark.parametrize("spec", ["nosuch.mp4", "nosuch", "/nowhere/*.jpg", ""])
def test_unknown_sources(spec: str) -> None:
    with pytest.raises(SourceError):
        open_source(spec)


def test_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image(number))
    (tmp_path / "notes.txt").write_text("no image")
    for spec in (str(tmp_path), str(tmp_path / "*")):
        frames = everything(open_source(spec, CaptureSettings(loop=2, fps=10)))
        assert [square_at(f) for f in frames] == [5, 10, 15, 5, 10, 15]
        assert [f.index for f in frames] == list(range(6))
        assert [f.pts_s for f in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert len(everything(open_source(str(tmp_path / "1.png")))) == 1


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no images there"):
        open_source(str(tmp_path))


def test_a_damaged_image_is_left_out_of_many(tmp_path: Path) -> None:
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), image(number))
    for number in (0, 3):
        data = (tmp_path / f"{number}.jpg").read_bytes()
        (tmp_path / f"{number}.jpg").write_bytes(data[: len(data) // 2])
    said: list[str] = []
    frames = everything(open_source(str(tmp_path), CaptureSettings(loop=2), said.append))
    assert [f.index for f in frames] == [1, 2, 4, 6, 7, 9]
    assert [square_at(f) for f in frames[:3]] == pytest.approx([5, 10, 20], abs=2)
    assert len(said) == 3, "each once, and how many at the end of the first round"
    assert "0.jpg" in said[0] and "3.jpg" in said[1] and "2 files" in said[2]
    with pytest.raises(SourceError, match=r"3\.jpg"):
        open_source(str(tmp_path / "3.jpg")).read()
    for number in (1, 2, 4):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match=r"not one image can be read.*0\.jpg"):
        open_source(str(tmp_path)).read()


def test_what_is_no_image_is_counted_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "a.png"), image(1))
    cv2.imwrite(str(tmp_path / "deep" / "er" / "b.png"), image(2))
    for name in ("notes.txt", "raw1.dng", "deep/raw2.DNG"):
        (tmp_path / name).write_text("x")
    said: list[str] = []
    assert len(everything(open_source(str(tmp_path), notify=said.append))) == 2
    assert any("2 .dng" in text and "1 .txt" in text for text in said)
    said.clear()
    assert len(everything(open_source(f"{tmp_path}/*", notify=said.append))) == 1
    assert any("1 .dng" in text and "1 .txt" in text for text in said)


def test_what_is_no_path_is_said_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for spec in (
        "",
        "  ",
        "a\0b",
        "a\0b.mp4",
        "x" * 5000,
        "*" + "x" * 5000,
        str(tmp_path / "pipe.mp4"),
        "~nobody-here/x",
    ):
        with pytest.raises(SourceError) as raised:
            open_source(spec)
        assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a[1].png"), image(4))
    assert square_at(open_source(str(tmp_path / "a[1].png")).read()) == 20


@pytest.mark.shared
def test_vtest_is_whole(shared_dir: Path) -> None:
    source = VideoFile(str(shared_dir / "data" / "video" / "vtest.avi"))
    frames = [(f.index, round(f.pts_s, 3)) for f in everything(source)]
    assert frames == [(i, round(i / 10, 3)) for i in range(795)]


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "avif"])
def test_further_images_of_a_file_are_counted_once(tmp_path: Path, ending: str) -> None:
    first, *more = (Image.fromarray(np.full((16, 16, 3), shade, np.uint8)) for shade in (10, 100, 200))
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=more)
    said: list[str] = []
    source = open_source(str(tmp_path), CaptureSettings(loop=2), said.append)
    for _ in range(2):
        assert abs(int(source.read().pixels.mean()) - 10) < 8
    assert said == [f"left out 2 images of {tmp_path}/a.{ending}, as the first alone is read; a GIF or video plays"]
