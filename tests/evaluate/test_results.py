"""What an evaluation leaves: tables whatever words are in them, files that notebooks read."""

from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from physadv.cli.console import on_terminal
from physadv.evaluate.cell import Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.metrics import Figures, figures
from physadv.evaluate.results import Results, cells_table
from physadv.evaluate.settings import EvaluateSettings


def frames_of(detector: str, *, defence: str = "none", doubts: tuple[Doubt, ...] = ()) -> Cell:
    value: dict[str, float | None] = {"share_below": 0.5, "mean_best_conf": None, "alarms_per_1000": 2.0}
    counted = {"n_frames": 60, "n_scored": 40}
    return Cell(detector, 320, "none", None, defence, counted, Figures(value, {}), doubts=list(doubts))


def shown(*cells: Cell) -> str:
    console = Console(width=160, record=True, file=StringIO())
    for table in Results(EvaluateSettings(), cells=list(cells)).tables(brief=True):
        console.print(on_terminal(table))
    return console.export_text()


def test_words_in_brackets_are_words() -> None:
    nothing = figures([], ap50=None, resamples=20, rng=np.random.default_rng(0))
    counted = {"n_images": 1, "n_people": 1}
    text = shown(Cell("[/net]", 320, "patch", "p", "blocks:weights=[/mine]", counted, nothing))
    text += shown(frames_of("[/net]", defence="blocks:weights=[/mine]"))
    assert text.count("[/net]") == 2 and text.count("[/mine]") == 2


def test_a_video_seen_by_several_detectors_says_whose_each_row_is() -> None:
    cells = [frames_of("first"), frames_of("second", defence="vote", doubts=(Doubt("no-effect", "it blinks"),))]
    text = shown(*cells)
    assert "first at 320 px, 60 frames" in text and "second at 320 px, 60 frames" in text and "2.000" in text
    assert Results(EvaluateSettings(), cells=cells).doubts() == ["second, none behind vote: it blinks [no-effect]"]
    assert "alone at 320 px" in shown(frames_of("alone"))


def test_a_notebook_reads_the_cells_of_images_and_videos_alike(tmp_path: Path) -> None:
    value = {"ap50": 0.12345, "recall25": None}
    counted = {"n_images": 3, "n_people": 5}
    image = Cell("net", 640, "patch", "p", "jpeg", counted, Figures(value, {"ap50": (0.1, 0.2)}), attack="oblivious")
    results = Results(EvaluateSettings(), cells=[image, frames_of("net")])
    results.to_parquet(tmp_path / "cells.parquet")
    first, second = pq.read_table(tmp_path / "cells.parquet").to_pylist()
    assert (first["ap50"], first["ap50_low"], first["ap50_high"], first["n_people"]) == (0.12345, 0.1, 0.2, 5)
    assert first["recall25"] is None and first["share_below"] is None and second["share_below"] == 0.5
    assert results.table(full=True).csv().splitlines()[0].startswith("detector,imgsz,condition")
    assert results.table().columns == ("imgsz", "condition", "defence", "attack", "AP50", "recall .25")
    assert results.table().rows[0] == (640, "p", "jpeg", "oblivious", "0.123 [0.10, 0.20]", None)
    proof = Cell("net", 640, "certificate", None, "objectseeker", counted, Figures({"certified_anywhere": 0.5}, {}))
    assert Results(EvaluateSettings(), cells=[image, proof]).table().rows[1][-1] == 0.5
    assert Results(EvaluateSettings(), cells=[frames_of("net")]).table().columns[:2] == ("condition", "frames below")
    assert "oblivious" in cells_table([image]).markdown() and "<table>" in results._repr_html_()


def test_the_page_to_hand_in_is_whole_and_escapes_what_it_is_told(tmp_path: Path) -> None:
    value: dict[str, float | None] = {"ap50": 0.25, "recall25": 0.5}
    counted = {"n_images": 1, "n_people": 5}
    ends: dict[str, tuple[float, float] | None] = {"ap50": (0.1, 0.4)}
    cells = [
        Cell(
            "<net>", 640, condition, patch, "none", counted, Figures(value, ends), doubts=[Doubt("no-effect", "a < b")]
        )
        for condition, patch in (("none", None), ("patch", "<p>"))
    ]
    Results(EvaluateSettings(), cells=cells, skipped=["<one> left out"]).report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<net>" not in page and "<p>:" not in page and "a &lt; b" in page and "&lt;one&gt; left out" in page
    assert page.count("<rect") == 1 and page.count("<circle") == 1 and "1 image, 5 people" in page
    assert "http" not in page.replace("http-equiv", "") and '"physadv"' in page
