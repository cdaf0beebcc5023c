"""`physadv live` from the outside: what it writes, and one clear line with exit code 2 for everything that cannot be."""

import errno
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import pytest
from PIL import Image
from tiny import BlobDetector

from physadv.cli import main
from physadv.detect import weights
from physadv.live import recorder as record
from tests.live.scene import image

FAST = ["--backend", "torch", "--imgsz", "64"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), image(i))
    return folder


def refused(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    """Check for exit code 2, one line on stderr with these words, and no traceback."""
    assert main(["live", "--ui", "none", *FAST, *argv]) == 2
    printed = capsys.readouterr().err.strip()
    assert len(printed.splitlines()) == 1, printed
    assert printed.startswith("physadv live: ")
    for word in words:
        assert word in printed


def huge_png(path: Path) -> Path:
    """A small file whose header promises 20,000 x 20,000 pixels."""
    out = BytesIO()
    Image.new("RGB", (16, 16)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(bytes(data))
    return path


def test_a_folder_of_images_headless(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, stats = tmp_path / "out" / "v.mp4", tmp_path / "out" / "v.json"
    argv = ["--source", str(photos), "--loop", "2", "--record", str(video), "--record-clean", "--stats", str(stats)]
    assert main(["live", "--ui", "none", *FAST, *argv, "--defend", "median"]) == 0
    figures = json.loads(stats.read_text())
    assert figures["frames_processed"] == 8
    assert (figures["backend"], figures["precision"], figures["detector"]) == ("torch", "fp32", "yolo11n-pose")
    lines = [json.loads(line) for line in video.with_suffix(".jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(8))
    assert all(line["defences"] == ["median"] for line in lines)
    for name in ("v.mp4", "v.clean.mp4", "v.parquet", "v.session.json"):
        assert (video.parent / name).stat().st_size > 0
    assert "token" not in json.loads((video.parent / "v.session.json").read_text())["session"]["settings"]
    assert "8 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--source", "nonsense"], ["nonsense"]),
        (["--source", "/nowhere/film.mp4"], ["/nowhere/film.mp4"]),
        (["--source", "/dev/video99"], ["video99"]),
        (["--conf", "nan"], ["--conf"]),
        (["--conf", "1.5"], ["--conf"]),
        (["--imgsz", "20"], ["--imgsz"]),
        (["--frames", "0"], ["--frames"]),
        (["--seconds", "-1"], ["--seconds"]),
        (["--port", "70000"], ["--port"]),
        (["--wear-size", "0"], ["--wear-size"]),
        (["--wear", "/nowhere.png"], ["/nowhere.png"]),
        (["--wear", "street-portrait", "--wear-size", "80"], ["--wear-size: a print 160 cm high is longer than"]),
        (["--defend", "nonsense"], ["nonsense"]),
        (["--defend", "median,median"], ["median"]),
        (["--defend", "median:size=banana"], ["size"]),
        (["--record", "film.avi"], ["--record", ".mp4"]),
        (["--backend", "abacus"], ["--backend"]),
        (["--detector", "/nowhere/model.pt"], ["model.pt"]),
        (["--source", "browser"], ["--source browser: expected --ui web"]),
        (["--record-clean"], ["--record-clean: expected a video by --record"]),
        (["--record-clean", "--record", "v.jsonl"], ["--record-clean: expected a video by --record"]),
        (["--overwrite"], ["--overwrite: expected a file by --record"]),
        (["--wear-size", "40"], ["--wear-size: expected a pattern by --wear"]),
        (["--wear", "tshirt", "--wear-size", "40"], ["--wear-size: tshirt is a texture that repeats every 20 cm"]),
        (["--wear-from", "2"], ["--wear-from: expected a pattern by --wear"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_impossible_flags(argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    source = [] if "--source" in argv else ["--source", "sample", "--frames", "1"]
    argv = [*(w for w in source if not (w in ("--frames", "1") and "--frames" in argv)), *argv]
    refused(capsys, argv, *words)


def test_a_recording_is_not_recorded_over(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is the clean video that one left, whatever the new one keeps; said before a model is loaded."""
    argv = ["--source", str(photos), "--detector", "/nowhere/model.pt", "--record", str(tmp_path / "v.mp4")]
    (tmp_path / "v.clean.mp4").write_bytes(b"dear")
    refused(capsys, argv, "--record: ", "v.clean.mp4 exists; name another file, or give --overwrite")
    refused(capsys, [*argv, "--overwrite"], "model.pt")
    assert (tmp_path / "v.clean.mp4").read_bytes() == b"dear"


def test_a_recording_that_fails_is_said_and_the_exit_code_tells(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record.VideoWriter, "write", full)
    out, stats = tmp_path / "v.mp4", tmp_path / "s.json"
    argv = ["live", "--ui", "none", *FAST, "--source", str(photos), "--record", str(out), "--stats", str(stats)]
    assert main(argv) == 1
    assert "recording ended: the disk is full" in capsys.readouterr().err
    session = json.loads((tmp_path / "v.session.json").read_text())
    assert session["ended"] is not None and "the disk is full" in session["error"]
    assert json.loads(stats.read_text())["frames_processed"] > 0


def test_recordings_that_cannot_be_kept_are_said_at_the_start(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["live", "--source", str(photos), "--recordings", str(tmp_path / "file" / "y"), "--port", "0"]) == 2
    assert "--recordings: expected a folder that can be written" in capsys.readouterr().err


def test_a_stream_that_never_answers_is_said_and_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("physadv.capture.latest.FIRST_TRIES", 2)
    monkeypatch.setattr("physadv.detect.load_detector", lambda *_, **__: BlobDetector())
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        assert main(["live", "--ui", "none", "--source", url, "--frames", "2", "--open-timeout", "0.3"]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first == f"physadv live: {url}: no answer for 0.3 s (--open-timeout); trying again"
    assert last.startswith(f"physadv live: --source: {url}: no answer for 0.3 s (--open-timeout); no image in 2 tries")


def test_files_that_are_no_images(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(capsys, ["--source", str(empty)], "no images")
    (photos / "2.png").write_bytes(b"")
    refused(capsys, ["--source", str(photos / "2.png")], "2.png", "empty")
    garbage = tmp_path / "film.mp4"
    garbage.write_bytes(b"this is no film" * 1000)
    refused(capsys, ["--source", str(garbage)], "film.mp4")


def test_a_patch_of_20000_pixels(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["--source", str(photos), "--wear", str(huge_png(tmp_path / "huge.png"))], "20000 x 20000")


def test_weights_with_another_hash(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "EMBEDDED_SHA256", "0" * 64)
    refused(capsys, ["--source", str(photos)], "SHA-256")


def test_results_that_cannot_be_written(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["--source", str(photos), "--stats", str(tmp_path)], "--stats")
    (tmp_path / "file").write_text("")
    refused(capsys, ["--source", str(photos), "--record", str(tmp_path / "file" / "v.mp4")], "--record", "is a file")


def test_a_port_in_use(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["live", "--source", str(photos), "--port", port]) == 2
    printed = capsys.readouterr().err.strip()
    assert port in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="displays are asked about on Linux alone")
@pytest.mark.parametrize("display", ["", ":93", "nowhere.invalid:0", "rubbish"])
def test_a_closed_display(
    display: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    assert main(["live", "--source", str(photos), "--ui", "window"]) == 2
    assert re.search("display", capsys.readouterr().err)


def test_ctrl_c_ends_it_cleanly_with_everything_written(tmp_path: Path) -> None:
    video, stats, lines = tmp_path / "v.mp4", tmp_path / "v.json", tmp_path / "v.jsonl"
    argv = ["--source", "sample", "--ui", "web", "--port", "0", "--record", str(video), "--stats", str(stats)]
    process = subprocess.Popen(
        [sys.executable, "-m", "physadv", "live", *FAST, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        # A test run in the background may itself ignore Ctrl-C, which would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("physadv live: http://127.0.0.1:")
        deadline = time.monotonic() + 60
        while not lines.exists() or lines.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    assert "Traceback" not in printed
    assert json.loads(stats.read_text())["frames_processed"] > 3
    assert (tmp_path / "v.parquet").stat().st_size > 0
