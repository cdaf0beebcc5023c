"""Speed and memory of the live demo, as one JSON line.

    python scripts/bench_live.py [--quick] [--only ratios,...,cuts] [--video FILE] [--rounds 3]

ratios: images a second over those of the bare detector, asked for one image after the other that was decoded before. All
turns are interleaved in rounds, so that what else the machine does falls on all of them; figures are medians of the rounds.
`file`: the whole headless loop on a video, with a sidecar recorded. `live`: the same from a camera that is faster than the
detector and whose images are decoded already; its latency is from the camera's image to the result. `fast`: behind this
defence. `worn`: a pattern is put on, for which each image is looked at twice. `balanced`: behind this defence too.
`page_`...: the same side by side on a page that a Chromium on this machine shows. vs_ultralytics: the loop on a
file over `YOLO(...).predict(source, stream=True)` as it comes.
age: latency from the camera's frame to the page, from a camera of 30 frames a second. memory: resident memory over many
images, recorded to a video, with a tiny network. page: milliseconds from the start of encoding to the page's word that it
has painted, 1280 x 720 at 30 a second, in a real Chromium. busy: how many times longer `live --defend balanced`
takes for an image, and `evaluate` for 20, while another program takes one core, interleaved too. cuts: milliseconds
that an image of 1280 x 720 takes to be compared with the one before, the best of 40. A figure's `ok` says whether
it reaches what is aimed at on an idle machine of two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
from tiny import tiny_detector

from physadv.arrays import write_png
from physadv.capture import open_source
from physadv.capture.cuts import Cuts
from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.cli.edge import exit_code
from physadv.detect import load_detector
from physadv.detect.weights import find_weights
from physadv.errors import EndOfStream
from physadv.live.camera_demo import open_demo
from physadv.live.demo import Demo
from physadv.live.recorder import Recorder, RecordSettings, VideoWriter
from physadv.live.settings import LiveSettings
from physadv.live.shown import Shown
from physadv.provenance import provenance
from physadv.types import Detector, Frame
from physadv.web.serve import Listener, PageServer


def sample_video(path: Path, *, size: tuple[int, int], count: int) -> Path:
    """Write the built-in camera's first images as a video of 30 a second."""
    camera = SampleSource(CaptureSettings(width=size[0], height=size[1]))
    writer = VideoWriter(path, size, crf=21)
    for i in range(count):
        writer.write(camera.image(i), i / 30)
    writer.close()
    return path


def decoded(video: str, count: int) -> list[Frame]:
    """Return the first images of a video."""
    source = open_source(video, CaptureSettings())
    out: list[Frame] = []
    try:
        while len(out) < count:
            out.append(source.read())
    except EndOfStream:
        pass
    finally:
        source.close()
    return out


def bare_fps(detector: Detector, frames: list[Frame]) -> float:
    """Return images a second of the detector alone."""
    start = time.perf_counter()
    for frame in frames:
        detector.detect(frame)
    return len(frames) / (time.perf_counter() - start)


class FastCamera:
    """A live source of images that are decoded already, in turn, `fps` a second."""

    live = True
    name = "camera of the benchmark"

    def __init__(self, frames: list[Frame], fps: float) -> None:
        self._frames, self._fps = frames, fps
        self._began, self._given = time.perf_counter(), 0
        self._closed = threading.Event()

    def read(self) -> Frame:
        """Return the next image when its time has come."""
        self._given += 1
        if self._closed.wait(max(self._began + self._given / self._fps - time.perf_counter(), 0)):
            raise EndOfStream("closed")
        pixels = self._frames[self._given % len(self._frames)].pixels
        return Frame(pixels, self._given, time.monotonic_ns(), self._given / self._fps)

    def close(self) -> None:
        """End at once."""
        self._closed.set()


def file_fps(detector: Detector, video: str, frames: int, folder: Path) -> float:
    """Return images a second of the whole headless loop on a video: decode, detect, sidecar; no video is encoded."""
    settings = LiveSettings(source=video, ui="none", frames=frames, record=folder / "loop.jsonl", overwrite=True)
    demo = open_demo(settings, detector=detector)
    run(demo)
    assert demo.figures.frames == frames and not demo.recording_failed
    return float(demo.stats()["fps"])


def rate(demo: Demo, seconds: float) -> float:
    """Return the images a second of a demo that runs, after half of the time again for warming up."""
    time.sleep(seconds / 2)
    frames, start = demo.figures.frames, time.perf_counter()
    time.sleep(seconds)
    if demo.error is not None:
        raise demo.error
    return (demo.figures.frames - frames) / (time.perf_counter() - start)


def run(demo: Demo) -> float:
    """Let a demo run to its end, and return when its loop was started, in `perf_counter` seconds."""
    start = time.perf_counter()
    demo.start()
    demo.wait()
    demo.stop()
    if demo.error is not None:
        raise demo.error
    return start


def ultralytics_fps(video: str, frames: int) -> float:
    """Return images a second of ultralytics' own loop, as its documentation gives it."""
    from ultralytics.models import YOLO

    model = YOLO(str(find_weights().path))
    results = iter(model.predict(source=video, stream=True, verbose=False))
    next(results)
    start = time.perf_counter()
    for _ in range(frames - 1):
        next(results)
    return (frames - 1) / (time.perf_counter() - start)


# What is measured from the camera: name, whether a pattern is worn, defence.
LOOPS = (("live", False, ""), ("fast", False, "fast"), ("worn", True, ""), ("balanced", True, "balanced"))
AIMS = {"file": 1.0, "live": 0.95}
AIMS_FPS = {"balanced": 20.0, "page_balanced": 12.0}


class Ratios:
    """The turns of `ratios`: each returns images a second."""

    def __init__(self, args: argparse.Namespace, folder: Path, browser: Any) -> None:
        """browser: of playwright; None where there is none, and nothing is measured with a page."""
        self.detector = load_detector()
        self.frames = decoded(args.video, 60 if args.quick else 150)
        self.age_ms: dict[str, list[float]] = {}
        self._args, self._folder, self._browser = args, folder, browser
        self._seconds = 1.0 if args.quick else 2.5
        # Faster than the detector, but not so fast that images which nobody takes cost as much as those that are taken.
        self._camera_fps = 1.3 * bare_fps(self.detector, self.frames[:30])

    def turns(self) -> dict[str, Callable[[], float]]:
        """Return what is measured in a round, by name."""
        video, count = self._args.video, len(self.frames)
        out: dict[str, Callable[[], float]] = {
            "bare": lambda: bare_fps(self.detector, self.frames),
            "file": lambda: file_fps(self.detector, video, count, self._folder),
        }
        if "vs_ultralytics" in self._args.only:
            out["ultralytics"] = lambda: ultralytics_fps(video, count)
        if "ratios" in self._args.only:
            out |= {name: partial(self.camera, name, worn, defend) for name, worn, defend in LOOPS}
            if self._browser is not None:
                out |= {f"page_{name}": partial(self.page, worn, defend) for name, worn, defend in LOOPS}
        return out

    def _demo(self, ui: Literal["web", "none"], worn: bool, defend: str) -> Demo:
        settings = LiveSettings(ui=ui, wear=["street"] if worn else [], defend=defend, port=0)
        return open_demo(settings, source=FastCamera(self.frames, self._camera_fps), detector=self.detector)

    def camera(self, name: str, worn: bool, defend: str) -> float:
        """Return images a second of the headless loop from the camera."""
        demo = self._demo("none", worn, defend)
        demo.start()
        try:
            out = rate(demo, self._seconds)
            self.age_ms.setdefault(name, []).append(demo.stats()["age_ms"]["p50"])
            return out
        finally:
            demo.stop()

    def page(self, worn: bool, defend: str) -> float:
        """Return images a second while a page shows them side by side."""
        demo = self._demo("web", worn, defend)
        server = PageServer(Listener(port=0), demo)
        demo.start()
        server.start()
        page = self._browser.new_page()
        try:
            page.goto(server.url)
            return rate(demo, self._seconds)
        finally:
            page.close()
            demo.stop()
            server.close()


def bench_ratios(args: argparse.Namespace, folder: Path, browser: Any) -> dict[str, Any]:
    """Return `ratios` and `vs_ultralytics`, measured turn by turn."""
    ratios = Ratios(args, folder, browser)
    turns = ratios.turns()
    fps: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(args.rounds):
        # Whoever comes first in a round changes, so that warming up favours nobody.
        names = [*list(turns)[number % len(turns) :], *list(turns)[: number % len(turns)]]
        for name in names:
            fps[name].append(turns[name]())

    def over(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(fps[name], fps[other], strict=True))

    detector = ratios.detector
    common = {"frames": len(ratios.frames), "rounds": args.rounds, "size": list(ratios.frames[0].size)}
    common |= {"backend": detector.backend, "precision": detector.precision}
    out: dict[str, Any] = {}
    if "ratios" in args.only:
        cells: dict[str, Any] = {"bare": {"fps": middle(fps["bare"])}}
        for name in (n for n in turns if n not in ("bare", "ultralytics")):
            cell: dict[str, Any] = {"fps": middle(fps[name]), "ratio": round(over(name, "bare"), 3)}
            if name in ratios.age_ms:
                cell["age_ms"] = middle(ratios.age_ms[name])
            if name in AIMS:
                cell |= {"aim": AIMS[name], "ok": cell["ratio"] >= AIMS[name]}
            if name in AIMS_FPS:
                cell |= {"aim_fps": AIMS_FPS[name], "ok": cell["fps"] >= AIMS_FPS[name]}
            cells[name] = cell
        # A defence is judged by the loop that it is in.
        cells["fast"] |= {"of_live": round(of := over("fast", "live"), 3), "aim": 0.9, "ok": of >= 0.9}
        if browser is None:
            cells["page"] = "needs playwright (pip install -e '.[dev]') and chromium"
        ok = all(cell.get("ok") is not False for cell in cells.values() if isinstance(cell, dict))
        out["ratios"] = {**common, **cells, "ok": ok}
    if "vs_ultralytics" in args.only:
        ratio = over("file", "ultralytics")
        out["vs_ultralytics"] = {
            **common, "ratio": round(ratio, 3), "aim": 2.5, "ok": ratio >= 2.5,
            "loop_fps": middle(fps["file"]), "ultralytics_fps": middle(fps["ultralytics"]),
        }  # fmt: skip
    return out


@contextmanager
def chromium() -> Iterator[Any]:
    """Give a headless Chromium through playwright; None where either is missing."""
    path = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def middle(values: Any) -> float:
    """Return the median, rounded."""
    return round(statistics.median(values), 2)


def bench_age(args: argparse.Namespace) -> dict[str, Any]:
    """Return the latency from a frame's arrival to its being shown, from the built-in camera."""
    demo = open_demo(LiveSettings(source="sample", ui="none", seconds=8 if args.quick else 30))
    run(demo)
    stats = demo.stats()
    detector_ms, age = stats["stage_ms"]["detect"], stats["age_ms"]
    limit = 1.5 * detector_ms + 40
    return {
        "age_ms": age, "detector_ms": detector_ms, "limit_ms": round(limit, 1), "ok": age["p95"] <= limit,
        "frames": stats["frames_processed"], "dropped": stats["dropped"], "fps": stats["fps"],
        "backend": stats["backend"], "precision": stats["precision"],
    }  # fmt: skip


def bench_memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return how resident memory grows over many images, recorded, from a small video played over and over."""
    count = args.images
    video = sample_video(folder / "small.mp4", size=(160, 120), count=100)
    settings = LiveSettings(source=str(video), ui="none", loop=0, frames=count)
    demo = open_demo(settings, detector=tiny_detector())
    recorder = Recorder(folder / "long.mp4", RecordSettings(clean=True))
    process, marks = psutil.Process(), list[float]()

    def take(shown: Shown) -> None:
        info: dict[str, Any] = {"defences": [], "worn": None, "stage_ms": shown.stage_ms}
        recorder.write(shown.clean, shown.annotated, shown.people, info, wait=True)
        if shown.number % (count // 40) == 0:
            marks.append(process.memory_info().rss / 1e6)

    demo.subscribe(take)
    run(demo)
    recorder.close()
    # The first tenth warms up: allocators, encoders, caches.
    first, last = statistics.median(marks[4:12]), statistics.median(marks[-8:])
    growth = last / first - 1
    return {
        "frames": count, "first_mb": round(first, 1), "last_mb": round(last, 1), "growth": round(growth, 4),
        "aim": 0.05, "ok": growth <= 0.05 and recorder.error is None and recorder.written == count,
    }  # fmt: skip


def bench_page(args: argparse.Namespace, folder: Path, browser: Any) -> dict[str, Any]:
    """Return milliseconds from the start of encoding to the page's word that it has painted."""
    if browser is None:
        return {"skipped": "needs playwright (pip install -e '.[dev]') and chromium", "ok": None}
    video = sample_video(folder / "hd.mp4", size=(1280, 720), count=150)
    settings = LiveSettings(source=str(video), realtime=True, loop=0, port=0)
    demo = open_demo(settings, detector=tiny_detector(imgsz=64))
    server = PageServer(Listener(port=0), demo)
    seen: list[float] = []

    def state(payload: str | bytes) -> None:
        if isinstance(payload, str) and (ms := json.loads(payload).get("figures", {}).get("paint_ms")):
            seen.append(ms)

    demo.start()
    server.start()
    page = browser.new_page()
    try:
        page.on("websocket", lambda socket: socket.on("framereceived", state))
        page.goto(server.url)
        page.wait_for_timeout(6_000 if args.quick else 15_000)
    finally:
        page.close()
        demo.stop()
        server.close()
    if not seen:
        return {"skipped": "the page painted nothing", "ok": False}
    ms = statistics.median(seen[len(seen) // 3 :])
    return {"median_ms": round(ms, 1), "aim": 20, "ok": ms <= 20, "size": [1280, 720], "fps": demo.stats()["fps"]}


def slowdown(command: list[str], rounds: int, cost: Callable[[float], float]) -> dict[str, Any]:
    """Return how many times more a command costs while another program takes one core. cost: of its wall seconds."""
    idle, busy = list[float](), list[float]()
    for _ in range(rounds):
        for costs in (idle, busy):
            hog = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if costs is busy else None
            try:
                start = time.perf_counter()
                subprocess.run([sys.executable, "-m", "physadv", *command], check=True, capture_output=True)
                costs.append(cost(time.perf_counter() - start))
            finally:
                if hog is not None:
                    hog.kill()
                    hog.wait()
    ratio = statistics.median(busy) / statistics.median(idle)
    found = {"idle": middle(idle), "busy": middle(busy), "rounds": rounds}
    return {"ratio": round(ratio, 2), "aim": 2.5, "ok": ratio <= 2.5, **found}


def bench_busy(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the slowdown of the demo behind a defence, in seconds an image, and of an evaluation, in seconds."""
    stats, images = folder / "stats.json", folder / "images"
    camera = SampleSource(CaptureSettings(width=640, height=480))
    images.mkdir()
    for number in range(20):
        write_png(images / f"{number}.png", camera.image(number * 20))
    live = ["live", "--source", "sample", "--defend", "balanced", "--ui", "none"]
    live += ["--seconds", "8" if args.quick else "20", "--stats", str(stats), "--overwrite"]
    scored = ["evaluate", "webcam", "--images", str(images), "--imgsz", "416", "--resamples", "20", "--overwrite"]
    out = {
        "live": slowdown(live, args.rounds, lambda _: 1 / float(json.loads(stats.read_text())["fps"])),
        "evaluate": slowdown([*scored, "--out", str(folder / "report")], args.rounds, lambda seconds: seconds),
    }
    return {**out, "ok": all(part["ok"] for part in out.values())}


PARTS = ("ratios", "vs_ultralytics", "age", "memory", "page", "busy", "cuts")


def bench_cuts() -> dict[str, Any]:
    """Return what finding cuts costs an image; of many times the best, as what else the machine does is not counted."""
    cuts, pixels = Cuts(), SampleSource(CaptureSettings(width=1280, height=720)).image(0)
    taken = []
    for _ in range(40):
        start = time.perf_counter()
        cuts.step(pixels)
        taken.append((time.perf_counter() - start) * 1000)
    return {"best_ms": round(min(taken), 3), "aim": 0.5, "ok": min(taken) < 0.5, "size": [1280, 720]}


def main() -> int:
    """Print one JSON line; return 0 if every figure measured reaches its aim, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images: a look, not a figure to publish")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--video", default="", help="a video; without it, one made from the built-in sample, 640 x 480")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved rounds; 3, or 1 with --quick")
    parser.add_argument("--images", type=int, default=0, help="of `memory`; 20,000, or 2,000 with --quick; at least 80")
    args = parser.parse_args()
    args.only = [name for name in args.only.split(",") if name]
    unknown = set(args.only) - set(PARTS)
    if unknown:
        parser.error(f"--only: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.images = max(args.images or (2_000 if args.quick else 20_000), 80)
    out: dict[str, Any] = {"quick": args.quick}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench_live")))
        browser = stack.enter_context(chromium()) if {"ratios", "page"} & set(args.only) else None
        args.video = args.video or str(sample_video(folder / "sample.mp4", size=(640, 480), count=240))
        if {"ratios", "vs_ultralytics"} & set(args.only):
            out |= bench_ratios(args, folder, browser)
        if "age" in args.only:
            out["age"] = bench_age(args)
        if "memory" in args.only:
            out["memory"] = bench_memory(args, folder)
        if "page" in args.only:
            out["page"] = bench_page(args, folder, browser)
        if "busy" in args.only:
            out["busy"] = bench_busy(args, folder)
        if "cuts" in args.only:
            out["cuts"] = bench_cuts()
    print(json.dumps(out | provenance()))
    return 0 if all(out[part]["ok"] is not False for part in args.only) else 1


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/bench_live.py", main))
