"""Recordings: whole files, agreement with the sidecar, kills, full disks, odd sizes, reading back."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from physadv.capture.video_file import VideoFile
from physadv.errors import EndOfStream, OutputError, RecordingError
from physadv.live import recorder as record
from physadv.live.recorder import Recorder, RecordSettings, VideoWriter
from physadv.live.replay import ReplaySource
from physadv.live.session import Session
from physadv.live.sidecar import detections_of, read_lines
from physadv.recording import Paths
from physadv.types import Alert, Detections, Frame, UInt8Array

ROOT = Path(__file__).parent.parent.parent


def image(number: int, size: tuple[int, int] = (64, 48)) -> UInt8Array:
    """An image that tells its number by its brightness."""
    out = np.zeros((size[1], size[0], 3), np.uint8)
    out[...] = 20 + number % 20 * 10
    return out


def frame(number: int, *, pts_s: float | None = None, size: tuple[int, int] = (64, 48)) -> Frame:
    at = number / 25 if pts_s is None else pts_s
    return Frame(image(number, size), number, 1_000_000 + number * 40_000_000, at)


def people(number: int) -> Detections:
    return Detections(
        np.array([[1, 2, 30.123, 40 + number]], np.float32),
        np.array([0.9], np.float32),
        np.full((1, 17, 3), 0.5, np.float32),
        alerts=(Alert("vanished", "gone without leaving", (1.0, 2.0, 3.0, 4.0)),),
        held=np.array([True]),
    )


INFO: dict[str, Any] = {
    "defences": ["lgs"],
    "worn": "webcam",
    "worn_lit": True,
    "stage_ms": {"detect": 3.25},
    "conf": 0.25,
}


def brightness(path: Path) -> list[tuple[float, float]]:
    with av.open(str(path)) as container:
        return [
            (float(f.pts * f.time_base), float(f.to_ndarray(format="rgb24").mean()))
            for f in container.decode(video=0)
            if f.pts is not None and f.time_base is not None
        ]


def record_some(
    path: Path, count: int, *, clean: bool = True, size: tuple[int, int] = (64, 48), overwrite: bool = False
) -> Recorder:
    recorder = Recorder(path, RecordSettings(clean=clean, overwrite=overwrite), {"source": "test"})
    for i in range(count):
        annotated = 255 - image(i, size)
        assert recorder.write(frame(i, size=size), annotated, people(i), INFO, wait=True)
    recorder.close()
    recorder.close()
    assert recorder.error is None
    return recorder


def test_a_whole_recording(tmp_path: Path) -> None:
    recorder = record_some(tmp_path / "v.mp4", 30)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "v.clean.mp4", "v.jsonl", "v.mp4", "v.parquet", "v.session.json",
    ]  # fmt: skip
    shown, clean = brightness(tmp_path / "v.mp4"), brightness(tmp_path / "v.clean.mp4")
    assert [t for t, _ in shown] == pytest.approx([i / 25 for i in range(30)], abs=1e-4)
    assert [b for _, b in clean] == pytest.approx([image(i).mean() for i in range(30)], abs=4)
    assert [b for _, b in shown] == pytest.approx([255 - image(i).mean() for i in range(30)], abs=4)
    lines = list(read_lines(tmp_path / "v.jsonl"))
    assert [line["index"] for line in lines] == list(range(30))
    assert lines[3]["video_s"] == pytest.approx(0.12)
    assert lines[3]["persons"][0]["xyxy"] == pytest.approx([1, 2, 30.12, 43])
    assert (lines[3]["defences"], lines[3]["worn"], lines[3]["stage_ms"], lines[3]["conf"]) == (
        ["lgs"], "webcam", {"detect": 3.25}, 0.25,
    )  # fmt: skip
    session = json.loads((tmp_path / "v.session.json").read_text())
    assert (session["pictures"], session["dropped"], session["error"]) == (30, 0, None)
    assert session["session"] == {"source": "test"}
    assert session["versions"]["physadv"]
    assert set(session["sha256"]) == {"v.mp4", "v.clean.mp4", "v.jsonl", "v.parquet"}
    assert recorder.written == 30


def test_parquet_says_what_the_lines_say(tmp_path: Path) -> None:
    record_some(tmp_path / "v.mp4", 5, clean=False)
    rows = pq.read_table(tmp_path / "v.parquet").to_pylist()
    lines = list(read_lines(tmp_path / "v.jsonl"))
    assert [r["index"] for r in rows] == [line["index"] for line in lines]
    assert rows[2]["persons"][0]["xyxy"] == pytest.approx(lines[2]["persons"][0]["xyxy"])
    assert len(rows[2]["persons"][0]["keypoints"]) == 17
    assert rows[2]["alerts"][0]["kind"] == "vanished"
    assert dict(rows[2]["stage_ms"]) == {"detect": 3.25}
    assert (rows[2]["worn"], rows[2]["worn_lit"]) == ("webcam", True)
    assert json.loads(rows[2]["more"]) == {"conf": 0.25}
    assert not (tmp_path / "v.clean.mp4").exists()


def test_a_line_gives_back_the_detections() -> None:
    found = people(1)
    from physadv.live.sidecar import row

    back = detections_of(json.loads(json.dumps(row(frame(1), found, INFO))))
    assert back.xyxy == pytest.approx(found.xyxy, abs=0.01)
    assert back.keypoints is not None and back.keypoints.shape == (1, 17, 3)
    assert back.held is not None and back.held.tolist() == [True]
    assert back.alerts == found.alerts
    assert back.track is None
    nobody = detections_of(json.loads(json.dumps(row(frame(1), Detections.empty(keypoints=True), {}))))
    assert len(nobody) == 0


def test_numbers_that_json_lacks_do_not_end_a_recording(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "v.jsonl")
    odd = Detections(np.array([[np.nan, 0, np.inf, 1]], np.float32), np.array([0.5], np.float32))
    recorder.write(frame(0), image(0), odd, {})
    recorder.close()
    assert recorder.error is None
    assert len(list(read_lines(tmp_path / "v.jsonl"))) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.jsonl", "v.parquet", "v.session.json"]


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.033, 0.5, 0.501, 2.75]
    recorder = Recorder(tmp_path / "v.mp4")
    for i, at in enumerate(times):
        recorder.write(frame(i, pts_s=at + 7), image(i), people(i), {}, wait=True)
    recorder.close()
    assert [t for t, _ in brightness(tmp_path / "v.mp4")] == pytest.approx(times, abs=1e-4)


def test_a_source_changed_on_the_way_goes_on_in_real_time(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "v.mp4")
    for i, at in enumerate([10.0, 10.04, 0.0, 0.04]):
        recorder.write(frame(i, pts_s=at), image(i), people(i), {}, wait=True)
    recorder.close()
    assert [t for t, _ in brightness(tmp_path / "v.mp4")] == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-3)


@pytest.mark.parametrize("size", [(65, 47), (64, 47), (33, 48)])
def test_odd_sizes_are_padded_and_read_back_as_they_were(tmp_path: Path, size: tuple[int, int]) -> None:
    recorder = record_some(tmp_path / "v.mp4", 4, size=size)
    assert any("odd" in note for note in recorder.notes)
    items = list(Session(tmp_path / "v.mp4"))
    assert len(items) == 4
    assert items[0].frame.size == size


def test_another_size_is_fitted_into_the_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "v.mp4", RecordSettings(clean=True))
    recorder.write(frame(0), image(0), people(0), {}, wait=True)
    recorder.write(frame(1, size=(128, 48)), image(1, (128, 48)), people(1), {}, wait=True)
    recorder.close()
    assert recorder.error is None
    items = list(Session(tmp_path / "v.mp4"))
    assert items[1].frame.size == (64, 48)
    assert items[1].line["video_fit"] == [0.5, 0, 12]
    assert items[1].detections.xyxy[0] == pytest.approx([0.5, 13, 15.06, 32.5], abs=0.01)


@pytest.mark.alone
def test_a_slow_encoder_loses_images_of_the_recording_not_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = VideoWriter.write

    def slow(self: VideoWriter, pixels: UInt8Array, at_s: float) -> list[float] | None:
        time.sleep(0.03)
        return whole(self, pixels, at_s)

    monkeypatch.setattr(VideoWriter, "write", slow)
    recorder = Recorder(tmp_path / "v.mp4")
    start = time.monotonic()
    taken = sum(recorder.write(frame(i), image(i), people(i), {}) for i in range(60))
    assert time.monotonic() - start < 0.5
    recorder.close()
    assert recorder.dropped == 60 - taken > 0
    assert len(brightness(tmp_path / "v.mp4")) == len(list(read_lines(tmp_path / "v.jsonl"))) == taken
    assert json.loads((tmp_path / "v.session.json").read_text())["dropped"] == recorder.dropped


def test_a_video_cut_anywhere_gives_every_image_that_was_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    writer, sizes = VideoWriter(path, (64, 48), crf=21), []
    noise = np.random.default_rng(0)
    for i in range(20):
        writer.write(noise.integers(0, 40, (48, 64, 3), np.uint8), i / 25)
        sizes.append(path.stat().st_size)
    data = path.read_bytes()
    # The head of a fragment, 108 bytes, is written at once; a kill can only cut what follows.
    heads = [data.index(b"moof", size) - 4 for size in sizes[-4:-1]]
    for cut in (at for at in range(sizes[-4], sizes[-1], 41) if not any(head < at < head + 108 for head in heads)):
        (tmp_path / "cut.mp4").write_bytes(data[:cut])
        source = VideoFile(str(tmp_path / "cut.mp4"))
        count = 0
        with pytest.raises(EndOfStream):
            while True:
                source.read()
                count += 1
        # Writing one image is what completes the one before it.
        assert count == sum(size <= cut for size in sizes) - 1, cut
        assert source.damaged <= 1


KILLED = """
import sys, time
from pathlib import Path
from physadv.live.recorder import Recorder, RecordSettings
from tests.live.test_recorder import frame, people, image
import numpy as np
rng = np.random.default_rng(0)
recorder = Recorder(Path(sys.argv[1]), RecordSettings(clean=True))
for i in range(100_000):
    f = frame(i, size=(320, 240))
    noisy = f.with_pixels(rng.integers(0, 40, (240, 320, 3), np.uint8))
    recorder.write(noisy, noisy.pixels, people(i), {})
    print(i, flush=True)
    time.sleep(1 / 25)
"""


def test_kill_9_leaves_a_video_and_a_sidecar_that_agree(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 60:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    source = VideoFile(str(path))
    count = 0
    with pytest.raises(EndOfStream):
        while True:
            last = source.read()
            count += 1
    lines = list(read_lines(tmp_path / "v.jsonl"))
    assert last.pts_s > 60 / 25 - 1, "plays to within a second of the kill"
    assert 0 <= count - len(lines) <= 2
    assert [line["index"] for line in lines] == list(range(len(lines)))
    assert 0 <= len(brightness(tmp_path / "v.clean.mp4")) - len(lines) <= 2
    session = Session(path)
    assert session.info["ended"] is None
    assert len(list(session)) == len(lines)


def test_a_full_disk_ends_the_recording_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = VideoWriter._mux
    muxed = 0

    def full(self: VideoWriter, packets: Any) -> None:
        nonlocal muxed
        muxed += 1
        if muxed > 10:
            with self.path.open("ab") as stream:
                stream.write(b"\0\0\4\0mdat, and a part of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(self, packets)

    monkeypatch.setattr(VideoWriter, "_mux", full)
    recorder = Recorder(tmp_path / "v.mp4")
    for i in range(40):
        recorder.write(frame(i), image(i), people(i), {}, wait=True)
    recorder.close()
    assert recorder.error is not None and "the disk is full" in recorder.error
    kept = brightness(tmp_path / "v.mp4")
    assert 9 <= len(kept) <= 10
    assert len(list(read_lines(tmp_path / "v.jsonl"))) in (9, 10)
    assert not recorder.write(frame(99), image(99), people(99), {}, wait=True)
    assert "disk is full" in json.loads((tmp_path / "v.session.json").read_text())["error"]
    assert not (tmp_path / "v.parquet").exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Any:
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("LOUD SKIP: a real full disk needs root and tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path) -> None:
    rng = np.random.default_rng(0)
    recorder = Recorder(tiny_disk / "v.mp4", RecordSettings(clean=True))
    for i in range(200):
        noisy = frame(i).with_pixels(rng.integers(0, 255, (48, 64, 3), np.uint8))
        recorder.write(noisy, noisy.pixels, people(i), {}, wait=True)
    recorder.close()
    assert recorder.error is not None and "the disk is full" in recorder.error
    kept, lines = brightness(tiny_disk / "v.mp4"), list(read_lines(tiny_disk / "v.jsonl"))
    assert len(kept) > 20
    assert abs(len(kept) - len(lines)) <= 2
    fill(tiny_disk / "rest")
    with pytest.raises(RecordingError, match="disk is full"):
        Recorder(tiny_disk / "w.mp4")


def test_the_session_of_a_recording_on_a_full_disk_says_how_it_ended(tiny_disk: Path) -> None:
    recorder = Recorder(tiny_disk / "v.jsonl")
    for i in range(20):
        assert recorder.write(frame(i), image(i), people(i), {}, wait=True)
    while recorder.written < 10:
        time.sleep(0.01)
    fill(tiny_disk / "rest")
    for i in range(20, 200):
        recorder.write(frame(i), image(i), people(i), {}, wait=True)
    recorder.close()
    lines = list(read_lines(tiny_disk / "v.jsonl"))
    session = json.loads((tiny_disk / "v.session.json").read_text())
    assert session["pictures"] == recorder.written == len(lines) > 0
    assert session["ended"] is not None and "the disk is full" in session["error"]
    assert set(session["sha256"]) == {"v.jsonl"}


def test_a_second_recorder_of_the_same_files_is_refused(tmp_path: Path) -> None:
    first = Recorder(tmp_path / "v.jsonl")
    try:
        with pytest.raises(OutputError, match="another physadv is writing there"):
            Recorder(tmp_path / "v.jsonl", RecordSettings(overwrite=True))
    finally:
        first.close()
    Recorder(tmp_path / "v.jsonl", RecordSettings(overwrite=True)).close()


def test_a_recording_to_a_link_is_kept_where_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "v.mp4").symlink_to(tmp_path / "disk" / "v.mp4")
    record_some(tmp_path / "v.mp4", 3, clean=False)
    assert (tmp_path / "v.mp4").is_symlink()
    assert len(brightness(tmp_path / "disk" / "v.mp4")) == 3


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"\0" * 4096):
                pass
        except OSError:
            return


def test_a_failing_encoder_ends_the_recording_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(pixels: UInt8Array) -> UInt8Array:
        if pixels.mean() > 100:
            raise MemoryError("no more")
        return pixels

    monkeypatch.setattr(record, "_even", broken)
    recorder = Recorder(tmp_path / "v.mp4")
    for i in range(20):
        recorder.write(frame(i), image(i), people(i), {}, wait=True)
    recorder.close()
    assert recorder.error is not None and "MemoryError: no more" in recorder.error
    assert len(brightness(tmp_path / "v.mp4")) == len(list(read_lines(tmp_path / "v.jsonl"))) == 9


@pytest.mark.parametrize("left", ["v.mp4", "v.clean.mp4", "v.jsonl"])
def test_an_earlier_recording_is_kept(left: str, tmp_path: Path) -> None:
    (tmp_path / left).write_bytes(b"dear")
    with pytest.raises(RecordingError, match=rf"record: .*{left} exists; name another file, or give `overwrite`"):
        Recorder(tmp_path / "v.mp4")
    with pytest.raises(RecordingError, match="exists"):
        Recorder(tmp_path / "v.jsonl")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(left, b"dear")]


def test_a_sidecar_alone_does_not_take_the_place_of_a_videos(tmp_path: Path) -> None:
    record_some(tmp_path / "v.mp4", 2)
    with pytest.raises(RecordingError, match=r"v\.jsonl belongs to .*v\.mp4"):
        Recorder(tmp_path / "v.jsonl", RecordSettings(overwrite=True))
    assert (tmp_path / "v.clean.mp4").exists()


def test_with_overwrite_an_earlier_recording_of_the_name_is_replaced_whole(tmp_path: Path) -> None:
    record_some(tmp_path / "v.mp4", 5, clean=True)
    record_some(tmp_path / "v.mp4", 3, clean=False, overwrite=True)
    assert not (tmp_path / "v.clean.mp4").exists()
    assert len(brightness(tmp_path / "v.mp4")) == 3


def test_what_is_being_played_is_not_recorded_over(tmp_path: Path) -> None:
    record_some(tmp_path / "v.mp4", 5)
    for source in ("v.mp4", "v.clean.mp4"):
        with pytest.raises(RecordingError, match="being played"):
            Recorder(tmp_path / "v.mp4", session={"source": str(tmp_path / source)})
    assert len(brightness(tmp_path / "v.mp4")) == 5


@pytest.mark.parametrize("name", ["v.avi", "v", ".mp4"])
def test_names_of_another_kind(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match=r"ending in \.mp4"):
        Recorder(tmp_path / name)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot be recorded to"):
        Recorder(tmp_path / "file" / "v.mp4")


def test_a_recording_without_a_image_closes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "v.mp4")
    recorder.close()
    assert recorder.error is None
    with pytest.raises(RecordingError, match="no video"):
        Session(tmp_path / "v.mp4")


def test_all_names_lead_to_the_same_files() -> None:
    names = ["a.b.mp4", "a.b.clean.mp4", "a.b.jsonl", "a.b.parquet", "a.b.session.json"]
    assert {Paths.of(Path(n)).jsonl.name for n in names} == {"a.b.jsonl"}


def test_replay_is_paced_and_knows_what_was_seen(tmp_path: Path) -> None:
    record_some(tmp_path / "v.mp4", 10)
    session = Session(tmp_path / "v.session.json")
    assert not session.annotated
    source = ReplaySource(session, loop=2)
    start = time.monotonic()
    frames = []
    with pytest.raises(EndOfStream):
        while True:
            f = source.read()
            frames.append(f)
            assert source.recorded(f).detections.xyxy[0, 3] == pytest.approx(40 + f.index % 10)
    assert [f.index for f in frames] == list(range(20))
    assert time.monotonic() - start > 0.7
    assert all(b.pts_s > a.pts_s for a, b in itertools.pairwise(frames))
    with pytest.raises(RecordingError):
        source.recorded(frame(77))


def test_replay_closes_at_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "v.mp4")
    for i, at in enumerate([0.0, 30.0]):
        recorder.write(frame(i, pts_s=at), image(i), people(i), {}, wait=True)
    recorder.close()
    source = ReplaySource(Session(tmp_path / "v.mp4"))
    source.read()
    threading.Timer(0.2, source.close).start()
    with pytest.raises(EndOfStream):
        source.read()


@pytest.mark.parametrize("text", ["{broken\n", "[1, 2]\n", '{"index": 0}\n'])
def test_a_damaged_sidecar_is_named(tmp_path: Path, text: str) -> None:
    record_some(tmp_path / "v.mp4", 3)
    (tmp_path / "v.jsonl").write_text(text)
    with pytest.raises(RecordingError):
        list(Session(tmp_path / "v.mp4"))


def test_images_are_drawn_on_the_recorders_thread_and_only_for_a_video(tmp_path: Path) -> None:
    drawn: list[str] = []

    def draw() -> UInt8Array:
        drawn.append(threading.current_thread().name)
        return image(len(drawn))

    for name, expected in (("v.mp4", ["record v.mp4"] * 3), ("w.jsonl", [])):
        drawn.clear()
        recorder = Recorder(tmp_path / name)
        for i in range(3):
            recorder.write(frame(i), draw, people(i), {}, wait=True)
        recorder.close()
        assert recorder.error is None and recorder.written == 3
        assert drawn == expected
