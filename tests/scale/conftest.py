"""Clips of a person who walks, and what a worker that dies leaves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from physadv.patch import save_patch
from tests.evaluate.conftest import patch_of, scene_of, write

DETECTOR = "tests.scale.blobs:Blobs"


def film(path: Path, *, frames: int = 30, at: int = 10, hidden: float = 0.0, people: bool = True) -> Path:
    """A clip of 96 x 72 pixels at 10 frames a second. hidden: share of the frames in which a print covers the person."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 72))
    for i in range(frames):
        x = at + i // 4
        pixels = scene_of(*([(x, 8, x + 24, 64)] if people else []), size=(96, 72)).pixels
        if (i * 7) % 30 < hidden * 30:
            pixels[8:64, x : x + 24] = (200, 30, 30)
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A manifest of twelve clips."""
    (tmp_path / "clips").mkdir()
    names = [film(tmp_path / "clips" / f"{i:02d}.avi", frames=5 + i % 3, at=8 + 2 * i).name for i in range(12)]
    (tmp_path / "clips.csv").write_text("path\n" + "".join(f"clips/{name}\n" for name in names))
    return tmp_path / "clips.csv"


@pytest.fixture
def pattern(tmp_path: Path) -> Path:
    """A print that covers about half of the person."""
    save_patch(patch_of((200, 30, 30), "cover", side=16), tmp_path / "cover")
    return tmp_path / "cover"


@pytest.fixture
def words(clips: Path, pattern: Path) -> Callable[..., list[str]]:
    """What is typed to evaluate the clips into a folder."""

    def typed(out: Path, *more: str) -> list[str]:
        flags = ["--detector", DETECTOR, "--imgsz", "96", "--scale", "1", "--at", ".5", "--resamples", "40"]
        return ["evaluate", str(pattern), "--manifest", str(clips), "--out", str(out), *flags, *more]

    return typed


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Eight photographs of a person each, with labels."""
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for i in range(8):
        x = 20 + 8 * i
        write(tmp_path / "data" / "images" / f"{i}.png", scene_of((x, 20, x + 50, 110), size=(160, 120)).pixels)
        (tmp_path / "data" / "labels" / f"{i}.txt").write_text(f"0 {(x + 25) / 160} {65 / 120} {50 / 160} {90 / 120}")
    return tmp_path / "data"


@pytest.fixture
def sweep_words(photographs: Path) -> Callable[..., list[str]]:
    """What is typed to sweep a training of a few steps into a folder."""

    def typed(out: Path, *more: str) -> list[str]:
        flags = [
            "--detector",
            DETECTOR,
            "--start",
            "none",
            "--steps",
            "2",
            "--batch",
            "2",
            "--crops",
            "64",
            "--texels",
            "8",
        ]
        return ["sweep", "--images", str(photographs), "--starts", "1", "--out", str(out), *flags, *more]

    return typed


def results_of(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())
