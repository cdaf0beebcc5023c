"""What is behind the figures: precision over recall, confidences, who is found by height and cover; and how it is shown."""

import csv
import json
import mmap
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.dataset import Dataset
from physadv.defend import parse_pipeline
from physadv.evaluate.breakdown import bands, covered_by, precision_of
from physadv.evaluate.cell import Case
from physadv.evaluate.memory import peak_memory, used_memory
from physadv.evaluate.results import Results
from physadv.evaluate.scorer import Scorer, entries, score_all
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.simulate.placement import Placement
from physadv.table import Table
from tests.evaluate.conftest import patch_of, scene_of, worn

SETTINGS = EvaluateSettings(resamples=20)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    people = [[(20 + 5 * i, 30, 80 + 5 * i, 200), (180, 100, 210, 190)] for i in range(4)]
    data = Dataset([scene_of(*two, name=f"{i}.png") for i, two in enumerate(people)])
    out = Scorer(data, BlobDetector(min_conf=0.001), SETTINGS)
    patch = patch_of((200, 30, 30), "red")
    listed = entries([patch], worn([patch], Placement.of(0.42, "area", 0.4)))
    finish(score_all(out, listed, [parse_pipeline("median")]))
    return out


def test_the_mean_of_precision_over_recall_is_ap50(scorer: Scorer) -> None:
    assert len(scorer.cells) == len(scorer.matches)
    for cell, matches in zip(scorer.cells, scorer.matches, strict=True):
        assert len(cell.extra["precision"]) == 101 and sum(cell.extra["confidence_histogram"]) == 8
        assert precision_of(matches).mean() == pytest.approx(cell["ap50"], abs=0.01)
    assert precision_of([]).sum() == 0


def test_people_are_told_by_height_and_by_cover(scorer: Scorer) -> None:
    patch = next(c for c in scorer.cells if (c.condition, c.defence) == ("patch", "none"))
    clean = scorer.cells[0]
    # Of 320 x 240 pixels at 640: twice as high; a person of 60 x 170 and one of 30 x 90 in each of four images.
    assert [(b.low, b.n, b.images) for b in bands(patch.cases, "height_px")] == [(128, 4, 4), (256, 4, 4)]
    assert [(b["low"], b["high"]) for b in patch.extra["by_height_px"]] == [(128, 192), (256, None)]
    assert patch.extra["print_share"] == pytest.approx(0.16, abs=0.03) and "print_share" not in clean.extra
    assert [b["n"] for b in patch.extra["by_covered"]] == [8]
    assert clean.extra["by_height_px"][0]["recall25"] == 1 and clean.extra["by_height_px"][0]["ci95"][1] == 1


def test_bands_say_what_is_not_known() -> None:
    cases = [Case("a", "1", 1, 1.0, None, 0.9, 70, 0.0), Case("b", "2", 1, 0.0, 1.0, 0.1, 70, 1.0)]
    cases.append(Case("c", "3", 1, 1, 0, 1))
    (band,) = bands(cases, "height_px")
    assert (band.n, band.recall25, band.hidden, band.n_hidden) == (2, 0.5, 1.0, 1)
    assert [b.low for b in bands(cases, "covered")] == [0.0, 0.5]


def test_cover_is_counted_in_pixels() -> None:
    before = np.zeros((40, 40, 3), np.uint8)
    after = before.copy()
    after[10:20, 0:20, 1] = 9
    boxes = np.array([[0, 0, 20, 40], [20, 0, 40, 40], [-9, -9, -1, -1]], np.float32)
    assert covered_by(before, after, boxes) == [0.25, 0.0, 0.0]


def test_the_report_shows_it_and_so_do_the_files(scorer: Scorer, tmp_path: Path) -> None:
    results = Results(SETTINGS, (patch_of((200, 30, 30), "red"),), scorer.cells, {"detectors": []})
    results.report(tmp_path, latex=True)
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="panel"') == 4 and "by height" in page and "print / person" in page
    bands_kept = list(csv.DictReader((tmp_path / "breakdown.csv").open()))
    wanted = ("red", "none", "256 or more")
    (row,) = [r for r in bands_kept if (r["condition"], r["defence"], r["band"]) == wanted]
    assert (row["people"], row["images"]) == ("4", "4")
    figures = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert len(figures) == len(scorer.cells) and figures[-1]["print_share"]
    people = list(csv.DictReader((tmp_path / "people.csv").open()))
    assert {float(p["height_px"]) for p in people} == {340.0, 180.0}
    rows = json.loads((tmp_path / "results.json").read_text())
    guarded = next(r for r in rows if r["defence"] == "median")
    assert guarded["defence_ms_median"] >= 0
    if used_memory() is not None:
        assert guarded["defence_memory_mb"] >= 0
    text = (tmp_path / "table.tex").read_text()
    assert r"\toprule" in text and text.count(r"\\") == 1 + len(rows) and r"17.4\%" in text


def test_latex_reads_no_name_as_a_command() -> None:
    text = Table.of("50% & more", ["a_b", "n"], [["\\input{x}\n$1^2$", 0.5]], numbers=["n"]).latex()
    assert r"\caption{50\% \& more}" in text and r"\begin{tabular}{lr}" in text
    assert r"\textbackslash{}input\{x\} \$1\textasciicircum{}2\$ & 0.500 \\" in text


def test_the_peak_of_memory_is_that_since_it_was_asked() -> None:
    before = used_memory()
    if before is None:
        pytest.skip("this system does not say it")
    # Mapped by hand: what malloc takes back it may keep for itself.
    with mmap.mmap(-1, 64 * 2**20) as block:
        for _ in range(64):
            block.write(bytes(range(256)) * 4096)
    peak = peak_memory()
    assert peak is not None and peak - before > 48 * 2**20
    again = used_memory()
    assert again is not None and (peak_memory() or 0) < peak
