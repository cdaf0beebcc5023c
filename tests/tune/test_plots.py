"""Curves: every line is drawn, in one colour in all graphs, and the file bears physadv's sign."""

from pathlib import Path

import numpy as np

from physadv.arrays import read_image
from physadv.outputs import written_by_physadv
from physadv.tune.plots import Graph, plot
from physadv.types import UInt8Array


def coloured(image: UInt8Array, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image.astype(int) - colour).max(2) < 8).sum())


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def test_a_line_is_drawn_with_its_band_and_mark(tmp_path: Path) -> None:
    bare, full = tmp_path / "bare.png", tmp_path / "full.png"
    lines = {"ASR": ([0, 45, 90], [0.0, 0.9, 0.1])}
    plot(bare, "angle", [Graph("degrees", "ASR", lines)])
    plot(full, "angle", [Graph("degrees", "ASR", lines, {"ASR": ([0, 0.8, 0], [0.1, 1, 0.2])}, [45])])
    assert coloured(read_image(bare), BLUE) > 300
    # A band is a tint of its line's colour; 15 % of it over white.
    assert coloured(read_image(full), (221, 235, 244)) > 1000
    assert coloured(read_image(bare), (221, 235, 244)) < 300
    assert written_by_physadv(full)


def test_a_line_keeps_its_colour_from_panel_to_panel(tmp_path: Path) -> None:
    path = tmp_path / "two.png"
    both, one = {"pod": ([0, 1], [1.0, 0.5]), "free": ([0, 1], [0.5, 1.0])}, {"free": ([0, 1], [0.2, 0.7])}
    plot(path, "costs", [Graph("epochs", "loss", both), Graph("seconds", "loss", one)])
    image = read_image(path)
    # Without the legend of both, at the bottom.
    right = image[:360, image.shape[1] // 2 :]
    assert coloured(right, ORANGE) > 200
    assert coloured(right, BLUE) == 0
