"""Runs as a user starts them: real processes, killed and resumed, two at once, and images that cannot be used."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny import BlobDetector, draw_person, tiny_detector, tiny_gradient

from physadv.arrays import pixels_sha256, read_image, write_png
from physadv.attack import data as module
from physadv.attack.data import split
from physadv.attack.people import record
from physadv.attack.recipe import Recipe
from physadv.attack.score import HeldOutPeople, Score
from physadv.attack.timing import made_up
from physadv.camera.lens import Undistorter
from physadv.camera.profile import CameraProfile
from physadv.dataset import Dataset, LabelledImage
from physadv.defend import parse_pipeline
from physadv.detect.weights import DEFAULT_DETECTOR, Weights, find_weights
from physadv.errors import CalibrationError, CameraLost, DataError, EndOfStream, SourceError, TrainingError
from physadv.evaluate import images as images_module
from physadv.evaluate.images import Labeller, WithKeypoints, content_of, gather, labelling, labels_cache, sampled
from physadv.evaluate.steps import finish
from physadv.lineage import seen_by
from physadv.patch import Patch, load_patch, save_patch
from physadv.types import Detections, Frame, UInt8Array
from tests.attack.running import folder_run, inputs, tiny_run
from tests.detectors import FakeDetector

ROOT = Path(__file__).parents[2]
# What `tiny_run` does, in a process of its own or, started by torchrun, in several.
RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import physadv.attack.data as data
from physadv.attack.parallel import Processes
from tests.attack.running import tiny_run
from tiny import tiny_detector
data.load_detector = lambda *a, **k: tiny_detector(imgsz=64)
processes = Processes.join()
steps, accumulate = map(int, sys.argv[4:])
for step in tiny_run(*map(Path, sys.argv[1:4]), steps=steps, accumulate=accumulate, processes=processes):
    print(step, flush=True)
processes.leave()
"""


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of images with labels."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for i, image in enumerate(made_up(8)):
        cv2.imwrite(str(images / f"{i}.png"), image.pixels[::2, ::2, ::-1])
        x0, y0, x1, y1 = image.boxes[0] / np.array([640, 480, 640, 480])
        (labels / f"{i}.txt").write_text(f"0 {(x0 + x1) / 2:.4f} {(y0 + y1) / 2:.4f} {x1 - x0:.4f} {y1 - y0:.4f}\n")
    return images, labels


def command(folder: Path, data: tuple[Path, Path], *, steps: int = 30, accumulate: int = 1) -> list[str]:
    return ["-c", RUN, str(folder), str(data[0]), str(data[1]), str(steps), str(accumulate)]


def quiet() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`tiny_run` does the same in this process."""
    monkeypatch.setattr(module, "load_detector", lambda *_, **__: tiny_detector(imgsz=64))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("here")
def test_killed_at_any_moment_and_resumed_it_ends_in_the_same_bytes(tmp_path: Path, data: tuple[Path, Path]) -> None:
    list(tiny_run(tmp_path / "whole" / "run", *data))
    cut = tmp_path / "cut" / "run"
    victim = subprocess.Popen([sys.executable, *command(cut, data)], stdout=subprocess.PIPE, text=True, env=quiet())
    assert victim.stdout is not None
    after = random.Random(time.time_ns()).randint(4, 16)
    for line in victim.stdout:
        if int(line) >= after:
            break
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (cut / "run.json").exists(), "it was killed before its end"
    steps = list(tiny_run(cut, *data, resume=True))
    assert steps[0] > after - 3 - 3, "no more than a checkpoint's interval is lost"
    for name in ("patch.png", "patch.safetensors", "run.json", "split.json"):
        assert (cut / name).read_bytes() == (tmp_path / "whole" / "run" / name).read_bytes(), (name, after)


@pytest.mark.usefixtures("here")
def test_two_gloo_processes_agree_with_one(tmp_path: Path, data: tuple[Path, Path]) -> None:
    list(tiny_run(tmp_path / "one", *data, steps=10, accumulate=2))
    script = tmp_path / "train.py"
    script.write_text(RUN)
    words = command(tmp_path / "two", data, steps=10, accumulate=2)[2:]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    subprocess.run([*torchrun, str(script), *words], check=True, capture_output=True, env=quiet(), timeout=120)
    histories = [json.loads((tmp_path / n / "run.json").read_text())["history"] for n in ("one", "two")]
    assert [h["step"] for h in histories[0]] == [h["step"] for h in histories[1]]
    for a, b in zip(*histories, strict=True):
        assert abs(a["loss"] - b["loss"]) < 1e-3, "the same samples give the same curve, up to the order of sums"
    pixels = [load_patch(tmp_path / n).pixels.astype(int) for n in ("one", "two")]
    assert np.abs(pixels[0] - pixels[1]).mean() < 1


@pytest.mark.usefixtures("here")
def test_a_second_run_does_not_overwrite_the_first(tmp_path: Path, data: tuple[Path, Path]) -> None:
    list(tiny_run(tmp_path / "a", *data, steps=3))
    with pytest.raises(TrainingError, match="holds a run already"):
        list(tiny_run(tmp_path / "a", *data, steps=3))


def gathered(folder: Path, labels: Path | None, tmp_path: Path) -> tuple[Dataset, list[str]]:
    said: list[str] = []
    out = finish(gather([folder], labels, Labeller(lambda: tiny_detector(imgsz=64), tmp_path / "cache")), said.append)
    return out, said


def test_corrupt_images_are_named_and_skipped(tmp_path: Path, data: tuple[Path, Path]) -> None:
    (data[0] / "bad.jpg").write_bytes(b"\xff\xd8 not an image")
    (data[0] / "empty.png").write_bytes(b"")
    out, said = gathered(*data, tmp_path)
    assert len(out.images) == 8
    assert len(out.skipped) == 2
    assert any("bad.jpg" in line for line in said)
    assert any("empty.png" in line for line in said)


def test_images_without_people_are_reported(tmp_path: Path, data: tuple[Path, Path]) -> None:
    (data[1] / "3.txt").write_text("")
    (data[1] / "4.txt").unlink()
    (data[0] / "5.png").write_bytes(b"")
    out, said = gathered(*data, tmp_path)
    assert out.empty == ["3.png", "4.png"]
    assert len(out.images) == 5
    assert said[-2].startswith("left out as unreadable: 1 file: ") and "5.png: the file is empty" in said[-2]
    assert said[-1] == "2 images show nobody and are left out (3.png, 4.png)"
    for i in range(8):
        (data[1] / f"{i}.txt").write_text("0 .5 .5 .5 .5" if i == 0 else "")
    assert gathered(*data, tmp_path)[1][-1] == "6 images show nobody and are left out (1.png, 2.png, 3.png, ...)"


def test_a_recording_without_people_is_reported(tmp_path: Path) -> None:
    write_png(tmp_path / "stretch0-0000.jpg", np.full((48, 64, 3), 90, np.uint8))
    said: list[str] = []
    finish(gather([tmp_path], None, Labeller(BlobDetector, tmp_path / "cache")), said.append)
    assert said == ["1 images show nobody and are left out (camera#stretch0)"]


def test_labels_that_do_not_parse_are_an_error(tmp_path: Path, data: tuple[Path, Path]) -> None:
    (data[1] / "2.txt").write_text("person 1 2 3 4\n")
    with pytest.raises(DataError, match=r"2\.txt:1"):
        gathered(*data, tmp_path)


def test_nobody_at_all_and_one_image_are_errors(tmp_path: Path, data: tuple[Path, Path]) -> None:
    for path in data[1].glob("*.txt"):
        path.write_text("")
    out, _ = gathered(*data, tmp_path)
    with pytest.raises(DataError, match="none in 8 images"):
        out.split(0.2, 0)
    alone = Dataset(made_up(1))
    with pytest.raises(DataError, match="two images"):
        alone.split(0.2, 0)


def test_labels_are_found_once_and_remembered(tmp_path: Path) -> None:
    asked = [0]

    def make() -> object:
        asked[0] += 1
        return tiny_detector(imgsz=64)

    pixels = made_up(1)[0].pixels
    first = Labeller(make, tmp_path).people("key", pixels)  # type: ignore[arg-type]
    again = Labeller(make, tmp_path).people("key", pixels)  # type: ignore[arg-type]
    assert asked[0] == 1
    assert np.array_equal(first.xyxy, again.xyxy)


def test_the_split_never_shares_a_image_and_stays_on_resume(tmp_path: Path) -> None:
    settings = Recipe(held_out=0.3)
    found = Dataset(made_up(20))
    train, out = split(found, settings, tmp_path, resume=False)
    assert {p.name for p in train}.isdisjoint({p.name for p in out})
    assert out
    more = Dataset([*found.images, *(p for p in made_up(40)[20:])])
    again = split(more, settings, tmp_path, resume=True)
    assert [p.name for p in again[1]] == [p.name for p in out]
    assert {p.name for p in again[0]} == {p.name for p in train}
    fewer = Dataset(found.images[:-2])
    with pytest.raises(TrainingError, match="missing"):
        split(fewer, settings, tmp_path, resume=True)


def test_a_video_is_split_by_stretches_of_time(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for image in made_up(30):
        writer.write(np.ascontiguousarray(image.pixels[::4, ::4]))
    writer.release()
    out = finish(gather([path], None, Labeller(lambda: tiny_detector(imgsz=64), tmp_path / "cache")))
    names = [p.name for p in out.images]
    assert all(name.startswith("clip.avi#") for name in names)
    assert names == sorted(names), "a stretch is one piece of time"
    train, held = out.split(0.3, 0)
    assert {p.name for p in train}.isdisjoint({p.name for p in held})


def test_of_a_recording_the_untouched_video_is_trained_on_once(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.clean.mp4", "b.mp4"):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 120))
        for image in made_up(12):
            writer.write(np.ascontiguousarray(image.pixels[::4, ::4]))
        writer.release()
        (tmp_path / f"{name[0]}.jsonl").touch()
    said: list[str] = []
    for where in (tmp_path, tmp_path / "a.mp4"):
        out = finish(gather([where], None, Labeller(lambda: tiny_detector(imgsz=64), tmp_path / "cache")), said.append)
        looked = {n.partition("#")[0] for n in (*[p.name for p in out.images], *out.empty)}
        assert looked == {"a.clean.mp4"} and len(out.images) + len(out.empty) == 12
    assert any("b.mp4: this recording kept no untouched video" in line for line in said)
    with pytest.raises(DataError, match="record_clean"):
        finish(gather([tmp_path / "b.mp4"], None, Labeller(lambda: tiny_detector(imgsz=64), tmp_path / "cache")))


def clip(path: Path, frames: int = 30) -> Path:
    """A video of noise in which `tiny_detector` finds people."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for image in made_up(frames):
        writer.write(np.ascontiguousarray(image.pixels[::4, ::4]))
    writer.release()
    return path


def test_a_video_that_cannot_be_read_is_skipped_in_a_folder_and_refused_by_itself(tmp_path: Path) -> None:
    clip(tmp_path / "good.avi", 12)
    cut = clip(tmp_path / "cut.avi", 12)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "no.mp4").write_bytes(b"not a video")
    out, said = gathered(tmp_path, None, tmp_path)
    assert {n.partition("#")[0] for n in (*[p.name for p in out.images], *out.empty)} == {"good.avi"}
    assert len(out.skipped) == 2 and any(line.startswith("left out as unreadable: 2 files") for line in said)
    assert all(any(name in line for line in said) for name in ("cut.avi", "no.mp4"))
    with pytest.raises(SourceError, match=r"no\.mp4"):
        gathered(tmp_path / "no.mp4", None, tmp_path)


@pytest.mark.parametrize("as_recorded", [False, True])
def test_frames_right_beside_a_stretch_held_out_are_not_trained_on(tmp_path: Path, as_recorded: bool) -> None:
    if as_recorded:
        for i, image in enumerate(made_up(40)):
            write_png(tmp_path / "people" / f"stretch{i // 4}-{i:04d}.jpg", image.pixels[::4, ::4])
        found = finish(gather([tmp_path / "people"], None, Labeller(Everyone, tmp_path / "cache")))
    else:
        found = finish(gather([clip(tmp_path / "clip.avi", 40)], None, Labeller(Everyone, tmp_path / "cache")))
    train, held = found.split(0.3, 0)
    assert len({p.name for p in held}) == 3 and len({p.name for p in train}) == 7
    names = [p.name for p in found.images]
    away = {id(p) for p in train}
    bordering = 0
    for i, p in enumerate(found.images):
        around = {names[j] for j in (i - 1, i + 1) if 0 <= j < len(names)}
        beside = bool(around & {h.name for h in held}) and p.name not in {h.name for h in held}
        assert (id(p) in away) == (not beside and p.name not in {h.name for h in held})
        bordering += beside
    assert bordering >= 2
    # The rest of a stretch that is left out there is known as trained on: its frames are near copies.
    if as_recorded:
        assert sum(map(len, found.hashes({p.name for p in train}).values())) == len(train) + bordering


def test_a_stretch_of_a_single_frame_is_kept() -> None:
    frames = [
        LabelledImage(f"a.mp4#{i}", *_rest(), beside=tuple(f"a.mp4#{j}" for j in (i - 1, i + 1))) for i in range(10)
    ]
    train, held = Dataset(frames).split(0.3, 0)
    assert len(train) == 7 and len(held) == 3


def _rest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(getattr(made_up(1)[0], n) for n in ("pixels", "boxes", "keypoints"))


def test_the_same_image_twice_is_on_one_side(tmp_path: Path, data: tuple[Path, Path]) -> None:
    for i in range(8):
        for copy in (f"copy-of-{i}", f"{i}.rf.{i * 7919:06x}"):
            shutil.copy(data[0] / f"{i}.png", data[0] / f"{copy}.png")
            shutil.copy(data[1] / f"{i}.txt", data[1] / f"{copy}.txt")
    out, _ = gathered(*data, tmp_path)
    for seed in range(5):
        train, held = out.split(0.4, seed)
        assert len(train) + len(held) == 24 and train and held
        assert {p.sha256 for p in train}.isdisjoint({p.sha256 for p in held})


def test_how_many_are_done_is_said_now_and_then(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("looked for people" in line for line in gathered(*data, tmp_path)[1])
    monkeypatch.setattr(images_module, "NOTED_EVERY_S", 0.0)
    said = gathered(*data, tmp_path)[1]
    assert f"{data[0]}: looked for people in 3 of 8 images" in said
    assert "looked for people in 5 of 12 images" in "".join(gathered(clip(tmp_path / "a.avi", 12), None, tmp_path)[1])


class Everyone(FakeDetector):
    """A detector that finds one person in every image."""

    name = "everyone"

    def detect(self, frame: Frame) -> Detections:
        h, w = frame.pixels.shape[:2]
        return Detections(np.array([[1, 1, w - 1, h - 1]], np.float32), np.ones(1, np.float32))

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [self.detect(Frame(p, 0, 0, 0.0)) for p in images]


class Film:
    """A source of so many frames, all of one image; `most` of them were held at once as they were read."""

    name, live = "film", False

    def __init__(self, frames: int, *, width: int, height: int) -> None:
        self._left, self._index, self._size = frames, 0, (height, width, 3)
        self.most, self._refs = 0, list[weakref.ref[np.ndarray]]()

    def read(self) -> Frame:
        if self._index == self._left:
            raise EndOfStream("film: that was the last")
        pixels = np.full(self._size, self._index % 251, np.uint8)
        self._refs = [*(r for r in self._refs if r() is not None), weakref.ref(pixels)]
        self.most = max(self.most, len(self._refs))
        self._index += 1
        return Frame(pixels, self._index - 1, self._index * 10**6, self._index / 25)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("length", [1, 100, 240, 241, 480, 1000, 5003])
def test_a_long_film_is_sampled_evenly_to_its_end(length: int) -> None:
    frames = sampled(Film(length, width=16, height=12), notes=[])
    steps = set(np.diff([f.index for f in frames]).tolist())
    stride = max(steps, default=1)
    assert steps in (set(), {stride}) and frames[0].index == 0 and length - frames[-1].index <= stride
    assert min(length, 120) <= len(frames) <= 240


def test_frames_are_kept_small_and_few() -> None:
    film = Film(500, width=1280, height=720)
    frames = sampled(film, notes=[])
    assert {f.pixels.shape for f in frames} == {(540, 960, 3)}
    assert all(int(f.pixels[0, 0, 0]) == f.index % 251 for f in frames)
    assert film.most <= 3, "none is held as large as it was read"


def test_people_in_a_large_video_are_where_they_are_in_the_images_kept(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (1280, 720))
    for i in range(4):
        pixels = np.full((720, 1280, 3), 90, np.uint8)
        draw_person(pixels, (200 + 100 * i, 160, 360 + 100 * i, 640))
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    out = finish(gather([path], None, Labeller(BlobDetector, tmp_path / "cache")))
    assert [p.pixels.shape for p in out.images] == [(540, 960, 3)] * 4
    for i, image in enumerate(out.images):
        expected = np.array([[200 + 100 * i, 160, 360 + 100 * i, 640]]) * 0.75
        np.testing.assert_allclose(image.boxes, expected, atol=2)


def test_a_camera_is_recorded_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for image in made_up(20):
        writer.write(np.ascontiguousarray(image.pixels[::4, ::4]))
    writer.release()
    finish(record(str(path), 5, tmp_path / "people"))
    first = finish(gather([tmp_path / "people"], None, Labeller(lambda: tiny_detector(imgsz=64), tmp_path / "cache")))
    again = finish(gather([tmp_path / "people"], None, Labeller(lambda: tiny_detector(imgsz=64), tmp_path / "cache")))
    assert len(first.images) + len(first.empty) == 20
    assert all(p.name.startswith("camera#stretch") for p in first.images)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first.images, again.images, strict=True))


class Lost(Film):
    """A camera that is lost after its frames."""

    name, live = "webcam 0", True

    def read(self) -> Frame:
        try:
            return super().read()
        except EndOfStream as error:
            raise CameraLost("webcam 0: gives no image any more") from error


def test_a_camera_that_is_lost_leaves_what_it_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("physadv.attack.people.open_source", lambda *_: Lost(40, width=16, height=12))
    finish(record("0", 60, tmp_path), said.append)
    assert len(list(tmp_path.glob("stretch*.jpg"))) == 40
    assert "gives no image any more" in said[-1] and "40 images" in said[-1]
    monkeypatch.setattr("physadv.attack.people.open_source", lambda *_: Lost(0, width=16, height=12))
    with pytest.raises(CameraLost):
        finish(record("0", 60, tmp_path / "nothing"), said.append)


class Interrupted(Film):
    """A camera during which somebody presses Ctrl-C."""

    def read(self) -> Frame:
        try:
            return super().read()
        except EndOfStream:
            raise KeyboardInterrupt from None


def test_ctrl_c_leaves_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.attack.people.open_source", lambda *_: Interrupted(25, width=16, height=12))
    with pytest.raises(KeyboardInterrupt):
        finish(record("0", 60, tmp_path))
    assert len(list(tmp_path.glob("stretch*.jpg"))) == 25


def test_a_recording_holds_nothing_of_an_aborted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for frames in (40, 12):
        monkeypatch.setattr("physadv.attack.people.open_source", lambda *_, n=frames: Film(n, width=16, height=12))
        finish(record("0", 60, tmp_path))
        assert len(list(tmp_path.iterdir())) == frames
    monkeypatch.setattr("physadv.attack.people.open_source", lambda *_: Lost(0, width=16, height=12))
    with pytest.raises(CameraLost):
        finish(record("0", 60, tmp_path))
    assert len(list(tmp_path.iterdir())) == 12, "a camera that gives nothing costs nothing"


def test_a_calibrated_camera_is_recorded_without_its_lens(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for _ in range(3):
        writer.write(cv2.GaussianBlur(made_up(1)[0].pixels[::4, ::4], (0, 0), 3))
    writer.release()
    camera = CameraProfile.model_validate(
        {
            "name": "desk", "created": "2026-01-01T00:00:00Z", "width": 160, "height": 120, "rms_px": 0.2,
            "matrix": [[120, 0, 80], [0, 120, 60], [0, 0, 1]], "distortion": [-0.4, 0.1, 0, 0, 0],
            "focal_error_px": 0.1, "views": 9, "coverage": 0.9,
        }
    )  # fmt: skip
    finish(record(str(path), 5, tmp_path / "plain"))
    finish(record(str(path), 5, tmp_path / "flat", camera=camera))
    plain, flat = (read_image(sorted((tmp_path / n).iterdir())[0]) for n in ("plain", "flat"))
    wanted = Undistorter(camera, (160, 120)).apply(plain)
    assert np.abs(flat.astype(int) - wanted).mean() < 4 < np.abs(plain.astype(int) - wanted).mean()
    other = camera.model_copy(update={"width": 320})
    with pytest.raises(CalibrationError, match="320 x 120"):
        finish(record(str(path), 5, tmp_path / "other", camera=other))


def shaded(folder: Path, name: str, image: np.ndarray) -> Path:
    """A file of an image given as (h, w) grey values."""
    cv2.imwrite(str(folder / name), np.repeat(image[..., None], 3, 2).astype(np.uint8))
    return folder / name


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_detector", lambda *_, **__: tiny_detector(imgsz=64))


@pytest.mark.usefixtures("tiny")
def test_another_mask_look_or_start_is_another_run(tmp_path: Path, data: tuple[Path, Path]) -> None:
    """As large, or as bright, is not the same."""
    half = np.zeros((32, 32))
    half[:, :16] = 255
    files = [shaded(tmp_path, f"{i}.png", p) for i, p in enumerate((half, half[:, ::-1]))]
    recipe = Recipe(steps=2, batch=1, crops=(64,), texels=16)
    common = {"images": [str(data[0])], "labels": data[1], "cache": tmp_path / "cache"}
    for name in ("region", "look", "start"):
        given = [f if name != "start" else str(f) for f in files]
        out = tmp_path / name
        folder_run(inputs(recipe, **common, **{name: given[0]}), [tiny_gradient()], out)  # type: ignore[arg-type]
        say = r".*give the pattern that it began from by `start`, as a file" if name == "start" else ""
        with pytest.raises(TrainingError, match=f"other settings: {name}: was{say}"):
            folder_run(inputs(recipe, **common, **{name: given[1]}), [tiny_gradient()], out, resume=True)  # type: ignore[arg-type]


SHORT = Recipe(steps=2, batch=1, crops=(64,), texels=16)


def begun(data: tuple[Path, Path], folder: Path, **more: object) -> dict[str, Any]:
    """Train for two steps and return the pattern's record."""
    recipe = SHORT.model_copy(update={n: more.pop(n) for n in ("seed", "held_out") if n in more})
    resume, attacked = bool(more.pop("resume", False)), more.pop("attacked", None) or tiny_gradient()
    notes = more.pop("notes", None)
    asked = inputs(recipe, images=[str(data[0])], labels=data[1], cache=folder.parent / "cache", **more)  # type: ignore[arg-type]
    folder_run(asked, [attacked], folder, resume=resume, notes=notes)  # type: ignore[list-item, arg-type]
    return load_patch(folder).record


@pytest.mark.usefixtures("tiny")
def test_a_pattern_remembers_what_those_it_began_from_were_trained_on(tmp_path: Path, data: tuple[Path, Path]) -> None:
    first = begun(data, tmp_path / "first", held_out=0.3)
    pixels = first["split"]["pixels"]
    assert list(pixels) == first["split"]["train"] and first["start"] is None
    assert pixels["0.png"] == [pixels_sha256(read_image(data[0] / "0.png"))]
    said: list[str] = []
    # Another split: some held out now were trained on before. The image alone, without a record, tells it too.
    start = str(tmp_path / "first" / "patch.png")
    second = begun(data, tmp_path / "second", held_out=0.4, seed=1, start=start, notes=said)
    unseen, out = second["split"]["held_out"], json.loads((tmp_path / "second" / "split.json").read_text())["held_out"]
    assert set(unseen) == set(out) - set(first["split"]["train"]) and len(unseen) < len(out)
    assert any(f"trained on {len(out) - len(unseen)} of the {len(out)} held-out images" in line for line in said)
    assert second["start"]["name"] == "first" and second["start"]["train"] == first["split"]["train"]
    assert second["start"]["sha256"] == load_patch(tmp_path / "first").sha256
    third = begun(data, tmp_path / "third", held_out=0.4, seed=1, start=str(tmp_path / "second"))
    assert third["start"]["start"] == second["start"]
    seen = seen_by(load_patch(tmp_path / "third"))
    assert seen is not None and seen.complete
    assert seen.names == {*first["split"]["train"], *second["split"]["train"]}
    run = json.loads((tmp_path / "second" / "run.json").read_text())
    assert run["held_out"]["street"]["n_images"] == len(unseen), "nobody that it has seen is scored"


@pytest.mark.usefixtures("tiny")
def test_nobody_left_by_a_pattern_to_begin_from_is_an_error(tmp_path: Path, data: tuple[Path, Path]) -> None:
    begun(data, tmp_path / "first")
    patch = load_patch(tmp_path / "first")
    names = [f"{i}.png" for i in range(8)]
    save_patch(replace(patch, record={"split": {"train": names}}), tmp_path / "all")
    with pytest.raises(DataError, match=r"^start: .*was trained on everybody held out"):
        begun(data, tmp_path / "second", start=str(tmp_path / "all"))
    save_patch(replace(patch, record={}), tmp_path / "unknown")
    said: list[str] = []
    record = begun(data, tmp_path / "third", start=str(tmp_path / "unknown"), notes=said)
    assert any("does not say all that it was trained on" in line for line in said) and record["start"]["train"] is None
    seen = seen_by(load_patch(tmp_path / "third"))
    assert seen is not None and not seen.complete


@pytest.mark.usefixtures("tiny")
def test_what_decides_the_result_is_recorded(tmp_path: Path, data: tuple[Path, Path]) -> None:
    mask = shaded(tmp_path, "mask.png", np.pad(np.full((32, 16), 255), ((0, 0), (0, 16))))
    record = begun(data, tmp_path / "run", region=mask, look=mask)
    assert (record["precision"], record["processes"]) == (["fp32"], 1) and record["threads"] == torch.get_num_threads()
    assert len(record["region"]) == len(record["look"]) == 64
    assert begun(data, tmp_path / "plain")["region"] is None


@pytest.mark.usefixtures("tiny")
def test_a_run_goes_on_with_the_same_people_and_precision_alone(tmp_path: Path, data: tuple[Path, Path]) -> None:
    first = begun(data, tmp_path / "run")
    shutil.copy(data[0] / "3.png", data[0] / "new.png")
    shutil.copy(data[1] / "3.txt", data[1] / "new.txt")
    assert begun(data, tmp_path / "run", resume=True)["split"] == first["split"], "what was added since is on no side"
    rough = tiny_gradient()
    rough.precision = "bf16"
    with pytest.raises(TrainingError, match=r'precision: was \["fp32"\], now \["bf16"\]'):
        begun(data, tmp_path / "run", resume=True, attacked=rough)
    with pytest.raises(TrainingError, match="precision: was"):
        begun(data, tmp_path / "run", resume=True, attacked=parse_pipeline("median").twin(rough))
    for name in (first["split"]["train"][0], first["split"]["held_out"][0]):
        label = data[1] / Path(name).with_suffix(".txt")
        before = label.read_text()
        label.write_text("0 .5 .5 .4 .4\n")
        with pytest.raises(TrainingError, match=rf"pixels and labels\.(train|held_out)\.{name}: was"):
            begun(data, tmp_path / "run", resume=True)
        label.write_text(before)
    cv2.imwrite(str(data[0] / "3.png"), made_up(9)[8].pixels[::2, ::2])
    with pytest.raises(TrainingError, match=r"pixels and labels.*3\.png: was"):
        begun(data, tmp_path / "run", resume=True)


def test_what_a_detector_found_is_no_part_of_the_content() -> None:
    (image,) = made_up(1)
    moved = replace(image, boxes=image.boxes + 1)
    assert content_of([image]) == content_of([moved])
    assert content_of([replace(image, labelled=True)]) != content_of([replace(moved, labelled=True)])


@pytest.mark.usefixtures("tiny")
def test_other_threads_are_reported(tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    begun(data, tmp_path / "run")
    said: list[str] = []
    begun(data, tmp_path / "run", resume=True, notes=said)
    assert not any("bit for bit" in line for line in said)
    count = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: count + 1)
    begun(data, tmp_path / "run", resume=True, notes=said)
    warning = (
        f"`resume`: {count} threads in 1 processes before, {count + 1} in 1 now: the result will not be bit for bit"
    )
    assert any(line.startswith(warning) for line in said)


@pytest.mark.usefixtures("tiny")
def test_a_pattern_is_called_as_its_folder(tmp_path: Path, data: tuple[Path, Path]) -> None:
    recipe = Recipe(steps=1, batch=1, crops=(64,), texels=16)
    asked = inputs(recipe, images=[str(data[0])], labels=data[1], cache=tmp_path / "cache")
    names = []
    for folder in ("first run", "zweite Übung?"):
        folder_run(asked, [tiny_gradient()], tmp_path / folder)
        names.append(load_patch(tmp_path / folder).name)
    assert names == ["first run", "zweite -bung"]


@dataclass
class Dark:
    """A printer that prints everything in half its brightness."""

    sha256: str = "0" * 64

    def colour_map(self) -> "Dark":
        return self

    def image(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels // 2).astype(np.uint8)

    def printable_digital(self) -> torch.Tensor:
        return torch.rand(8, 3)


@pytest.mark.usefixtures("tiny")
def test_grey_is_as_large_as_the_pattern_and_printed_alike(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Patch | None] = []

    class Watched(HeldOutPeople):
        def score(self, patch: Patch | None) -> Score:
            scored.append(patch)
            return super().score(patch)

    monkeypatch.setattr(module, "HeldOutPeople", Watched)
    half = np.zeros((16, 16))
    half[:, :8] = 255
    recipe = Recipe(steps=1, batch=1, crops=(64,), texels=16, size_mm=(200, 300))
    asked = inputs(
        recipe, images=[str(data[0])], labels=data[1], cache=tmp_path / "cache",
        region=shaded(tmp_path, "region.png", half), printer=Dark(),  # type: ignore[arg-type]
    )  # fmt: skip
    out = folder_run(asked, [tiny_gradient()], tmp_path / "run")
    grey, pattern = [patch for patch in scored if patch is not None][:2]
    assert np.array_equal(grey.mask, pattern.mask) and 0 < grey.mask.mean() < 255
    assert grey.size_mm == pattern.size_mm == (200.0, 300.0)
    assert np.unique(grey.pixels).tolist() == [64]
    assert set(out.controls["street"]) == {"none", "grey"}


@pytest.mark.usefixtures("tiny")
def test_detectors_of_one_name_are_scored_apart(people: list[LabelledImage]) -> None:
    settings = Recipe()
    scorers = module.scorers_of(settings, ["a/best.pt", "b/best.pt"], people)
    assert list(scorers) == ["street a/best", "street b/best"]
    assert list(module.scorers_of(settings, ["a/one.pt", "a/two.pt"], people)) == [
        "street one",
        "street two",
    ]
    assert list(module.scorers_of(settings, ["a/one.pt"], people)) == ["street"]


class Finds(FakeDetector):
    """A detector that finds one person, with keypoints all at one place or none."""

    name = "finds"

    def __init__(self, box: tuple[float, float, float, float], at: float | None) -> None:
        points = None if at is None else np.full((1, 17, 3), at, np.float32)
        self.answer = Detections(np.array([box], np.float32), np.ones(1, np.float32), points)

    def detect(self, frame: Frame) -> Detections:
        return self.answer

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [self.answer for _ in images]


def test_keypoints_are_the_pose_models_whoever_is_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector without keypoints would have every T-shirt trained on a guess from the box."""
    victim, pose = Finds((10, 10, 50, 90), None), Finds((12, 10, 50, 92), 30.0)
    other = Weights("victim", Path("victim.pt"), "5" * 64)
    known = find_weights()
    monkeypatch.setattr(images_module, "load_detector", lambda name=None, **_: victim if name == "victim.pt" else pose)
    monkeypatch.setattr(images_module, "find_weights", lambda name=None: other if name == "victim.pt" else known)
    answer = labelling("victim.pt").detect(Frame(np.zeros((100, 100, 3), np.uint8), 0, 0, 0.0))
    assert answer.keypoints is not None
    assert answer.xyxy.tolist() == [[10, 10, 50, 90]] and float(answer.keypoints.max()) == 30
    assert labelling(DEFAULT_DETECTOR) is pose
    # What was remembered of such a detector without keypoints is not read again.
    assert labels_cache("victim.pt").name == f"{'5' * 16}-posed"
    away = WithKeypoints(victim, Finds((200, 10, 250, 90), 30.0)).detect_batch([np.zeros((100, 100, 3), np.uint8)])[0]
    assert away.keypoints is not None and not away.keypoints.any()
    # From half an overlap on it is the same person, in training as in evaluations.
    half = WithKeypoints(victim, Finds((10, 10, 50, 50), 30.0)).detect_batch([np.zeros((100, 100, 3), np.uint8)])[0]
    assert half.keypoints is not None and half.keypoints.any()
