"""Speed of training, as one JSON line: the whole step against the bare detector, and against the textbook loop.

    python scripts/bench_train.py [--rounds 6] [--threads 2] [--images DIR --labels DIR]

to_limit: pictures a second of the whole training step (views, simulated world, loss, optimiser) over bare forward and
backward of the same detector on pictures of the same sizes and precision. vs_naive: the same over the loop that most public
code has: whole picture at 640, float32, unfused, one person at a time, one picture a step. All three are interleaved, so
that what else the machine does falls on all of them; figures are medians of the rounds' ratios.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from physadv.attack.people import Picture, gather
from physadv.attack.settings import PRESETS, TrainSettings
from physadv.attack.timing import made_up, stepper
from physadv.cli.train import attacked_detectors
from physadv.detect import load_detector
from physadv.detect.weights import DEFAULT_DETECTOR, cache_dir, find_weights
from physadv.detect.yolo import YoloGradient


def bare(detector: YoloGradient, settings: TrainSettings) -> Callable[[], None]:
    """Return forward and backward on noise of the next step's shape, and nothing else."""
    batches = {}
    for step in range(len(settings.crops)):
        count, side = settings.views(step)
        batch = torch.rand(count, 3, side, side).to(memory_format=torch.channels_last)
        batches[step] = batch.requires_grad_()
    state = {"step": 0}

    def take() -> None:
        images = batches[state["step"] % len(batches)]
        images.grad = None
        # The detector as it is: with its boxes and keypoints, which the training step may leave out.
        heads = detector.net.heads(images).values()
        sum(h["scores"][:, 0].logsumexp(1).mean() for h in heads).backward()  # type: ignore[union-attr]
        state["step"] += 1

    return take


def naive(pictures: list[Picture]) -> Callable[[], None]:
    """Return the textbook step: one whole picture at 640, one affine warp per person, unfused float32."""
    from ultralytics.models import YOLO

    model = cast(Any, YOLO(str(find_weights(DEFAULT_DETECTOR).path)).model).float().eval()
    for parameter in cast(nn.Module, model).parameters():
        parameter.requires_grad_(False)
    patch = torch.rand(3, 300, 300, requires_grad=True)
    optimiser = torch.optim.Adam([patch], lr=0.03)
    state = {"step": 0}

    def take() -> None:
        picture = pictures[state["step"] % len(pictures)]
        state["step"] += 1
        image = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1).float()[None] / 255
        scale = 640 / max(image.shape[2:])
        image = F.interpolate(image, scale_factor=scale, mode="bilinear")
        image = F.pad(image, (0, 640 - image.shape[3], 0, 640 - image.shape[2]), value=0.45)
        for x0, y0, x1, y1 in (picture.boxes * scale).tolist():
            side = 0.35 * ((x1 - x0) * (y1 - y0)) ** 0.5
            zoom = 640 / max(side, 1)
            where = [(x0 + x1) / 640 - 1, (y0 + 0.42 * (y1 - y0)) / 320 - 1]
            theta = torch.tensor([[[zoom, 0, -zoom * where[0]], [0, zoom, -zoom * where[1]]]])
            grid = F.affine_grid(theta, [1, 3, 640, 640], align_corners=False)
            warped = F.grid_sample(patch[None], grid, align_corners=False)
            cover = F.grid_sample(torch.ones(1, 1, 300, 300), grid, align_corners=False)
            image = image * (1 - cover) + warped * cover
        scores = model(image)[1]["scores"]
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
    if words.threads:
        torch.set_num_threads(words.threads)
    people = made_up(24)
    if words.images:
        cache = cache_dir() / "people" / find_weights().sha256[:16]
        people = gather([words.images], words.labels, lambda: load_detector(backend="torch"), cache=cache).pictures
    settings = TrainSettings(**PRESETS["quick"])
    detector = cast(YoloGradient, attacked_detectors([DEFAULT_DETECTOR], None)[0])
    whole, limit, slow = stepper(settings, [detector], people), bare(detector, settings), naive(people)
    cycle = len(settings.crops)
    views = sum(settings.views(step)[0] for step in range(cycle))
    for take in (whole, limit, slow):
        take()
    ratios: list[tuple[float, float]] = []
    rates: list[tuple[float, float, float]] = []
    for _ in range(words.rounds):
        times = []
        for take, turns in ((whole, cycle), (limit, cycle), (slow, 3)):
            began = time.perf_counter()
            for _ in range(turns):
                take()
            times.append(time.perf_counter() - began)
        rate = (views / times[0], views / times[1], 3 / times[2])
        rates.append(rate)
        ratios.append((rate[0] / rate[1], rate[0] / rate[2]))
    middle = [round(statistics.median(r[i] for r in rates), 2) for i in range(3)]
    print(
        json.dumps(
            {
                "to_limit": round(statistics.median(r[0] for r in ratios), 3),
                "vs_naive": round(statistics.median(r[1] for r in ratios), 1),
                "images_per_second": {"step": middle[0], "bare": middle[1], "naive": middle[2]},
                "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "views": [list(settings.views(step)) for step in range(cycle)],
                "precision": detector.precision,
                "threads": torch.get_num_threads(),
                "rounds": words.rounds,
                "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
                "machine": platform.processor() or platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
