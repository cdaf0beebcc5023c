"""Speed and memory of the live demo, as one JSON line.

    python scripts/bench_live.py [--quick] [--only overhead,...,cuts] [--video FILE] [--rounds 5]

overhead: fps of the whole headless loop on a video (decode, detect, draw, sidecar) over the bare detector on images
decoded before. vs_ultralytics: the same loop over `YOLO(...).predict(source, stream=True)` as it comes. Both are
interleaved in rounds, so that what else the machine does falls on all of them; figures are medians of the rounds' ratios.
age: latency from the camera's frame to the page, from a camera of 30 frames a second. memory: resident memory over many
images, recorded to a video, with a tiny network. page: milliseconds from the start of encoding to the page's word that it
has painted, 1280 x 720 at 30 a second, in a real Chromium. busy: how many times longer `live --defend balanced`
takes for an image, and `evaluate` for 20, while another program takes one core, interleaved too. cuts: milliseconds
that an image of 1280 x 720 takes to be compared with the one before, the best of 40. A figure's `ok` says whether
it reaches what is aimed at.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def loop_fps(detector: Detector, video: str, frames: int, folder: Path) -> float:
    """Return images a second of the whole headless loop: decode, detect, draw, sidecar; no video is encoded."""
    demo = open_demo(LiveSettings(source=video, ui="none", frames=frames), detector=detector)
    recorder = Recorder(folder / "loop.jsonl", RecordSettings(overwrite=True))

    def take(shown: Shown) -> None:
        info: dict[str, Any] = {"defences": [], "worn": None, "stage_ms": shown.stage_ms}
        recorder.write(shown.clean, shown.annotated, shown.people, info, wait=True)

    demo.subscribe(take)
    start = run(demo)
    seconds = time.perf_counter() - start
    recorder.close()
    assert recorder.error is None and demo.figures.frames == frames == recorder.written
    return frames / seconds


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


def bench_speed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return `overhead` and `vs_ultralytics`, measured turn by turn."""
    detector = load_detector()
    frames = decoded(args.video, 60 if args.quick else 150)
    bare_fps(detector, frames[:10])
    rounds: list[tuple[float, float, float]] = []
    for number in range(args.rounds):
        turns: list[Callable[[], float]] = [
            lambda: bare_fps(detector, frames),
            lambda: loop_fps(detector, args.video, len(frames), folder),
            lambda: ultralytics_fps(args.video, len(frames)) if "vs_ultralytics" in args.only else float("nan"),
        ]
        # Whoever comes first in a round changes, so that warming up favours nobody.
        order = [(i + number) % 3 for i in range(3)]
        fps = {i: turns[i]() for i in order}
        rounds.append((fps[0], fps[1], fps[2]))
    common = {"frames": len(frames), "rounds": args.rounds, "size": list(frames[0].size)}
    common |= {"backend": detector.backend, "precision": detector.precision}
    out: dict[str, Any] = {}
    if "overhead" in args.only:
        ratio = statistics.median(loop / bare for bare, loop, _ in rounds)
        out["overhead"] = {
            **common, "ratio": round(ratio, 3), "aim": 0.9, "ok": ratio >= 0.9,
            "bare_fps": middle(r[0] for r in rounds), "loop_fps": middle(r[1] for r in rounds),
        }  # fmt: skip
    if "vs_ultralytics" in args.only:
        ratio = statistics.median(loop / theirs for _, loop, theirs in rounds)
        out["vs_ultralytics"] = {
            **common, "ratio": round(ratio, 3), "aim": 2.5, "ok": ratio >= 2.5,
            "loop_fps": middle(r[1] for r in rounds), "ultralytics_fps": middle(r[2] for r in rounds),
        }  # fmt: skip
    return out


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


def bench_page(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return milliseconds from the start of encoding to the page's word that it has painted."""
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
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
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.on("websocket", lambda socket: socket.on("framereceived", state))
            page.goto(server.url)
            page.wait_for_timeout(6_000 if args.quick else 15_000)
            browser.close()
    finally:
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


PARTS = ("overhead", "vs_ultralytics", "age", "memory", "page", "busy", "cuts")


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
    parser.add_argument("--rounds", type=int, default=0, help="interleaved rounds; 5, or 2 with --quick")
    parser.add_argument("--images", type=int, default=0, help="of `memory`; 20,000, or 2,000 with --quick; at least 80")
    args = parser.parse_args()
    args.only = [name for name in args.only.split(",") if name]
    unknown = set(args.only) - set(PARTS)
    if unknown:
        parser.error(f"--only: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    args.rounds = args.rounds or (2 if args.quick else 5)
    args.images = max(args.images or (2_000 if args.quick else 20_000), 80)
    out: dict[str, Any] = {"quick": args.quick}
    with tempfile.TemporaryDirectory(prefix="bench_live") as name:
        folder = Path(name)
        args.video = args.video or str(sample_video(folder / "sample.mp4", size=(640, 480), count=240))
        if {"overhead", "vs_ultralytics"} & set(args.only):
            out |= bench_speed(args, folder)
        if "age" in args.only:
            out["age"] = bench_age(args)
        if "memory" in args.only:
            out["memory"] = bench_memory(args, folder)
        if "page" in args.only:
            out["page"] = bench_page(args, folder)
        if "busy" in args.only:
            out["busy"] = bench_busy(args, folder)
        if "cuts" in args.only:
            out["cuts"] = bench_cuts()
    print(json.dumps(out | provenance()))
    return 0 if all(out[part]["ok"] is not False for part in args.only) else 1


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/bench_live.py", main))
