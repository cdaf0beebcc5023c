"""Speed and memory of training, as one JSON line: the whole step against the bare detector, and against the textbook loop.

    python scripts/bench_train.py [--rounds 6] [--threads 2] [--images DIR --labels DIR]

Views have the sizes of `--preset quick`, each as often as a whole run has it. to_limit: images a second of the whole
training step (views, simulated world, loss, optimiser) over bare forward and backward of the same detector on images of
the same sizes and precision, as torch runs them by itself: a whole batch on threads that share every layer, keypoints and
all. to_limit_in_pieces: the same over forward and backward in the step's own pieces on the same threads, without the
keypoints that it leaves out: what the detector alone could do here. vs_naive: the step over the loop that most public
code has: whole image at 640, float32, unfused, one person at a time, one image a step. All four are interleaved, so
that what else the machine does falls on all of them; figures are medians of the rounds' ratios. peak_memory_gb: the most
that `physadv train --preset quick` holds in a process of its own, which labels, takes steps on views of every size, and
scores.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from physadv.arrays import write_png
from physadv.attack.data import attacked_detectors
from physadv.attack.optimise import optimise
from physadv.attack.parallel import ThreadPool
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.attack.settings import TrainSettings, preset
from physadv.attack.timing import made_up
from physadv.cli.edge import exit_code
from physadv.dataset import LabelledImage
from physadv.detect import load_detector
from physadv.detect.weights import DEFAULT_DETECTOR, cache_dir, find_weights
from physadv.detect.yolo import YoloGradient
from physadv.errors import TrainingError
from physadv.evaluate.images import Labeller, gather
from physadv.evaluate.steps import finish

# Steps of the run whose memory is measured: every size of view, several times over.
STEPS = 9


def bare(detector: YoloGradient, settings: Recipe, *, shared: bool) -> Callable[[], None]:
    """Return forward and backward on noise of the next step's shape, and nothing else.

    shared: the whole batch as torch runs it by itself, with keypoints; else in the training step's own pieces, one for
    each thread, without.
    """
    pool = ThreadPool() if shared else ThreadPool.for_detectors([detector])
    batches = []
    for step in range(len(settings.crops)):
        count, side = settings.views(step)
        batch = torch.rand(count, 3, side, side)
        pieces = batch.tensor_split(min(pool.size, count))
        batches.append([p.to(memory_format=torch.channels_last) for p in pieces])
    state = {"step": 0}

    def one(images: torch.Tensor) -> None:
        images = images.requires_grad_()
        with torch.autocast(detector.device.type, torch.bfloat16, enabled=detector.precision == "bf16"):
            heads = detector.net.heads(images, keypoints=shared).values()
        torch.autograd.grad(torch.stack([h["scores"][:, 0].float().logsumexp(1).sum() for h in heads]).sum(), images)

    def take() -> None:
        pieces = batches[state["step"] % len(batches)]
        state["step"] += 1
        pool.map(one, pieces)

    return take


def in_proportion(settings: Recipe) -> Recipe:
    """Return settings without a warm-up whose steps, in turn, see views of each size as often as the whole run does."""
    often = Counter(settings.views(step)[1] for step in range(settings.total_steps))
    crops = [size for size in settings.crops for _ in range(round(often[size] / min(often.values())))]
    return settings.model_copy(update={"crops": tuple(crops), "warm": 0.0, "starts": 1})


def peak_memory_gb(words: argparse.Namespace) -> float:
    """Return the most memory that a short run of the preset holds, in GB; to be asked before this process has grown."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        images, labels = words.images, words.labels
        if images is None:
            images, labels = folder / "images", folder / "labels"
            labels.mkdir()
            for image in made_up(24):
                write_png(images / f"{image.name}.png", image.pixels)
                height, width = image.pixels.shape[:2]
                x0, y0, x1, y1 = (float(v) for v in image.boxes[0])
                row = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
                (labels / f"{image.name}.txt").write_text("0 " + " ".join(f"{v:.5f}" for v in row))
        flags = ["--preset", "quick", "--steps", str(STEPS), "--warm", "0", "--device", "cpu"]
        flags += ["--images", str(images)] + (["--labels", str(labels)] if labels is not None else [])
        flags += ["--threads", str(words.threads)] if words.threads else []
        # An empty cache, so that the run labels its people itself.
        environment = {**os.environ, "PHYSADV_CACHE": str(folder / "cache")}
        command = [sys.executable, "-m", "physadv", "train", *flags, "--out", str(folder / "run")]
        ran = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if ran.returncode:
            raise TrainingError(ran.stderr.strip() or f"the run whose memory is measured ended with {ran.returncode}")
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit


def naive(images: list[LabelledImage]) -> Callable[[], None]:
    """Return the textbook step: one whole image at 640, one affine warp per person, unfused float32."""
    from ultralytics.models import YOLO

    model = cast(Any, YOLO(str(find_weights(DEFAULT_DETECTOR).path)).model).float().eval()
    for parameter in cast(nn.Module, model).parameters():
        parameter.requires_grad_(False)
    patch = torch.rand(3, 300, 300, requires_grad=True)
    optimiser = torch.optim.Adam([patch], lr=0.03)
    state = {"step": 0}

    def take() -> None:
        image = images[state["step"] % len(images)]
        state["step"] += 1
        tensor = torch.from_numpy(image.pixels.copy()).permute(2, 0, 1).float()[None] / 255
        scale = 640 / max(tensor.shape[2:])
        tensor = F.interpolate(tensor, scale_factor=scale, mode="bilinear")
        tensor = F.pad(tensor, (0, 640 - tensor.shape[3], 0, 640 - tensor.shape[2]), value=0.45)
        for x0, y0, x1, y1 in (image.boxes * scale).tolist():
            side = 0.35 * ((x1 - x0) * (y1 - y0)) ** 0.5
            zoom = 640 / max(side, 1)
            where = [(x0 + x1) / 640 - 1, (y0 + 0.42 * (y1 - y0)) / 320 - 1]
            theta = torch.tensor([[[zoom, 0, -zoom * where[0]], [0, zoom, -zoom * where[1]]]])
            grid = F.affine_grid(theta, [1, 3, 640, 640], align_corners=False)
            warped = F.grid_sample(patch[None], grid, align_corners=False)
            cover = F.grid_sample(torch.ones(1, 1, 300, 300), grid, align_corners=False)
            tensor = tensor * (1 - cover) + warped * cover
        scores = model(tensor)[1]["scores"]
        loss = scores.sigmoid().amax((1, 2)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        patch.data.clamp_(0, 1)

    return take


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="speed of training as one JSON line")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--labels", type=Path)
    words = parser.parse_args()
    memory = peak_memory_gb(words)
    if words.threads:
        torch.set_num_threads(words.threads)
    people = made_up(24)
    if words.images:
        cache = cache_dir() / "people-exact" / find_weights().sha256[:16]
        people = finish(
            gather([words.images], words.labels, Labeller(lambda: load_detector(backend="torch"), cache))
        ).images
    settings = in_proportion(Recipe(**preset("quick", "street")))
    detector = cast(YoloGradient, attacked_detectors(TrainSettings(), device="cpu")[0])
    cycle = len(settings.crops)
    shapes = [settings.views(step) for step in range(cycle)]
    views = sum(count for count, _ in shapes)
    takes: dict[str, tuple[Callable[[], Any], int, int]] = {
        "step": (partial(next, optimise(TrainRun(settings, TrainData(people, [detector])))), cycle, views),
        "bare": (bare(detector, settings, shared=True), cycle, views),
        "bare_in_pieces": (bare(detector, settings, shared=False), cycle, views),
        "naive": (naive(people), 3, 3),
    }
    rounds = [_rates(takes) for _ in range(words.rounds + 1)][1:]

    def ratio(other: str) -> float:
        return statistics.median(rates["step"] / rates[other] for rates in rounds)

    print(
        json.dumps(
            {
                "to_limit": round(ratio("bare"), 3),
                "to_limit_in_pieces": round(ratio("bare_in_pieces"), 3),
                "vs_naive": round(ratio("naive"), 1),
                "images_per_second": {n: round(statistics.median(r[n] for r in rounds), 2) for n in takes},
                "peak_memory_gb": round(memory, 2),
                "views": [list(shape) for shape in shapes],
                "precision": detector.precision,
                "threads": torch.get_num_threads(),
                "rounds": words.rounds,
                "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
                "machine": platform.processor() or platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


def _rates(takes: dict[str, tuple[Callable[[], Any], int, int]]) -> dict[str, float]:
    """Return images a second of each, one after the other."""
    out = {}
    for name, (take, turns, images) in takes.items():
        began = time.perf_counter()
        for _ in range(turns):
            take()
        out[name] = images / (time.perf_counter() - began)
    return out


if __name__ == "__main__":
    raise SystemExit(exit_code("scripts/bench_train.py", main))
