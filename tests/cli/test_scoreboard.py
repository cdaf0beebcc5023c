"""Tables of figures on a terminal: whatever words are in them."""

from io import StringIO

import numpy as np
from rich.console import Console

from physadv.cli.scoreboard import show_cells, show_video
from physadv.evaluate.cell import Cell
from physadv.evaluate.metrics import figures
from physadv.evaluate.report import VIDEO_COLUMNS


def console() -> Console:
    return Console(width=160, record=True, file=StringIO())


def row(detector: str, **changes: object) -> dict[str, object]:
    figures = dict.fromkeys((key for key, _ in VIDEO_COLUMNS), 0.5)
    plain = {"detector": detector, "imgsz": 320, "n_frames": 60, "condition": "none", "patch": None, "defence": "none"}
    return {**plain, **figures, "doubts": [], **changes}


def test_words_in_brackets_are_words() -> None:
    out, nothing = console(), figures([], ap50=None, resamples=20, rng=np.random.default_rng(0))
    show_cells([Cell("[/net]", 320, "patch", "p", "blocks:weights=[/mine]", 1, 1, nothing)], out)
    show_video([row("[/net]", defence="blocks:weights=[/mine]")], out)
    text = out.export_text()
    assert text.count("[/net]") == 2 and text.count("[/mine]") == 2


def test_a_video_seen_by_several_detectors_says_whose_each_row_is() -> None:
    out = console()
    show_video([row("first"), row("second", doubts=["it blinks"], defence="vote")], out)
    text = out.export_text()
    assert "detector" in text and "first" in text and "doubt: second, none behind vote: it blinks" in text
    out = console()
    show_video([row("alone")], out)
    assert "alone at 320 px" in out.export_text()
