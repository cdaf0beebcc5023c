"""Training, evaluating and the live demo on a GPU. Where there is none this says so aloud."""

import json
from pathlib import Path

import pytest
import torch

from physadv.cli import main
from physadv.detect.pytorch import TorchDetector
from physadv.live.camera_demo import open_demo
from physadv.live.settings import LiveSettings

DEVICE = "cuda"
MISSING = "LOUD SKIP: no CUDA GPU here, so training, evaluating and the live demo are not tested on one"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason=MISSING)]


def test_a_pattern_is_trained_resumed_and_scored_on_a_gpu_as_on_a_cpu(people: list[str], tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    steps = ["--steps", "4", "--crops", "64", "--batch", "2", "--accumulate", "2", "--start", "street"]
    asked = ["train", *people, "--target", "portrait", "--held-out", "0.5", "--device", DEVICE, "--out", run]
    assert main([*asked, *steps]) == 0
    assert main(["train", "--resume", "--out", run]) == 0
    made = json.loads((tmp_path / "run" / "run.json").read_text())
    assert made["done"] and made["held_out"]["street"]["n_people"] > 0
    found = {}
    for device in (DEVICE, "cpu"):
        out = tmp_path / device
        flags = ["--held-out", "--resamples", "20", "--defend", "lgs", "--device", device, "--out", str(out)]
        assert main(["evaluate", run, *people, *flags]) == 0
        found[device] = [row["mean_max_conf"] for row in json.loads((out / "results.json").read_text())]
    assert found[DEVICE] == pytest.approx(found["cpu"], abs=0.02)


def test_a_defence_is_attacked_on_a_gpu(people: list[str], tmp_path: Path) -> None:
    attack = ["--adaptive", "--defend", "erase", "--restarts", "1", "--attack-steps", "2", "--attack-views", "2"]
    flags = ["--resamples", "20", "--imgsz", "160", "--device", DEVICE, "--out", str(tmp_path / "out")]
    assert main(["evaluate", *people, *attack, *flags]) == 0
    assert "adaptive" in {row["attack"] for row in json.loads((tmp_path / "out" / "results.json").read_text())}


def test_the_live_demo_looks_by_a_gpu_where_there_is_one() -> None:
    asked = {
        "source": "sample",
        "backend": "torch",
        "ui": "none",
        "defend": "balanced",
        "wear": ["street"],
        "frames": 8,
    }
    demo = open_demo(LiveSettings.model_validate(asked))
    try:
        detector = demo._live.inference.detector
        assert isinstance(detector, TorchDetector) and detector.device.type == DEVICE
        demo.start()
        assert demo.wait(60) and demo.error is None and demo.figures.frames == 8
    finally:
        demo.stop()
