"""Several detectors under the same patterns: what is scored once is kept, and what transfers where is told from grey."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import BlobDetector, BlobGradient, tiny_gradient

from physadv.cli import main
from physadv.dataset import Dataset, LabelledImage
from physadv.defend import Pipeline
from physadv.detect.facts import facts_of
from physadv.errors import DataError, PluginError, SettingsError
from physadv.evaluate import study_run
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import Steps, finish
from physadv.evaluate.study import SizedDetector, Studied, StudyCell, StudyResults, tau
from physadv.evaluate.study_report import detectors_table, matrix_table, pareto, write_study
from physadv.evaluate.study_run import Study, names_of
from physadv.patch import Patch
from physadv.simulate.placement import Placement
from physadv.types import Detections, GradientDetector, UInt8Array
from tests.evaluate.conftest import patch_of, scene_of

RED, BLUE = (200, 30, 30), (30, 30, 200)
SETTINGS = EvaluateSettings(resamples=20, scale=0.5, at=0.42)


class Fooled(BlobDetector):
    """Finds nobody in an image with much of one colour in it."""

    def __init__(self, colour: str) -> None:
        super().__init__(min_conf=0.001)
        self.sha256 = {"reds": "2", "blues": "3", "none": "4"}[colour] * 64
        self._channel = {"reds": 0, "blues": 2}.get(colour)
        self.asked, self.imgsz = 0, 320

    def fingerprint(self) -> str:
        return str(self.sha256)

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        self.asked += len(images)
        return [self._look(image) for image in images]

    def _look(self, image: UInt8Array) -> Detections:
        if self._channel is not None and (image[..., self._channel] > 180).mean() > 0.02:
            return Detections.empty()
        return super().detect_batch([image])[0]


class Painter:
    """Makes for each detector the colour that fools it."""

    restarts, steps = 1, 7

    def train(
        self,
        pipeline: Pipeline,
        detector: GradientDetector,
        people: Sequence[LabelledImage],
        placement: Placement,
        *,
        restart: int,
        start: Patch | None,
        seed: int,
    ) -> Steps[Patch]:
        yield 0.5, "painting"
        return patch_of(RED if detector.name == "reds" else BLUE, "made")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fooled]:
    detectors = {name: Fooled(name) for name in ("reds", "blues", "none")}

    def attackable(name: str) -> None:
        if name == "none":
            raise PluginError("no gradients")

    monkeypatch.setattr(study_run, "load_detector", lambda name, **_: detectors[name])
    monkeypatch.setattr(study_run, "load_gradient_detector", lambda *_, **__: BlobGradient())
    monkeypatch.setattr(study_run, "check_attackable", attackable)
    monkeypatch.setattr(study_run, "changed", lambda _: {})
    return detectors


def studied(folder: Path, names: Sequence[str] = ("reds", "blues", "none")) -> StudyResults:
    images = [scene_of((20 + 9 * i, 30, 80 + 9 * i, 200), (180, 40, 250, 210), name=f"{i}.png") for i in range(4)]
    public = [replace(patch_of((120, 120, 120), "plain"), record={"split": {"train": []}})]
    subjects = [SizedDetector.of(name) for name in names]
    return finish(Study(subjects, public, Dataset(images), images, SETTINGS, Painter(), folder).running())


def test_who_is_fooled_by_what_and_what_grey_does_too(made: dict[str, Fooled], tmp_path: Path) -> None:
    out = studied(tmp_path)
    reds, _, none = out.studied
    assert (reds.strongest("white-box"), none.strongest("white-box")) == (reds.cell("made for reds"), None)
    best = reds.strongest("transferred")
    assert best is not None and best.pattern == "made for blues" and best.ap50 > 0.5 > reds.cell("made for reds").ap50
    own = reds.above_grey(reds.cell("made for reds"), out.greys, seed=0)
    assert (own.value, own.n, own.units) == (1.0, 8, 4)
    assert reds.above_grey(reds.cell("plain"), out.greys, seed=0).value == 0
    table = matrix_table(out)
    assert [row[0] for row in table.rows] == ["plain", "made for reds", "made for blues"]
    assert str(table.rows[1][2]).startswith("1.000") and str(table.rows[1][3]).startswith("0.000")
    assert detectors_table(out).rows[0][9] == "made for reds"
    assert {"few-people", "few-detectors", "one-training", "chosen-on-test"} <= {d.code for d in out.doubts}
    report = write_study(tmp_path, out)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<circle") == 3 and "made for blues" in page and "http" not in page.replace("http-equiv", "")
    kept = json.loads((tmp_path / "study.json").read_text())
    cell = next(c for c in kept["detectors"][0]["cells"] if c["pattern"] == "made for reds")
    assert cell["hidden_above_grey"] == 1 and kept["detectors"][0]["doubts"] == [] and report.is_file()
    assert "Kendall" in report.read_text() and [t.n for t in out.taus()] == [3]
    assert "</svg>" in pareto(out)


def test_two_trainings_that_give_one_pattern_are_two_rows(
    made: dict[str, Fooled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Painter.train

    def same(self: Painter, defence: Any, detector: Any, *rest: Any, **more: Any) -> Any:
        detector.name = "reds"
        return train(self, defence, detector, *rest, **more)

    monkeypatch.setattr(Painter, "train", same)
    out = studied(tmp_path)
    rows = matrix_table(out).rows
    assert [row[0] for row in rows] == ["plain", "made for reds", "made for blues"] and rows[1][2:] == rows[2][2:]


def test_what_was_scored_is_not_scored_again(made: dict[str, Fooled], tmp_path: Path) -> None:
    first = studied(tmp_path, ("reds", "blues"))
    asked = made["reds"].asked
    assert (first.reused, first.asked) == (0, 10) and asked > 0
    again = studied(tmp_path, ("reds", "blues"))
    assert (again.reused, again.asked, made["reds"].asked) == (10, 0, asked)
    assert [s.cells for s in again.studied] == [s.cells for s in first.studied]
    assert studied(tmp_path).asked == 5, "of a further detector its own cells alone"
    path = tmp_path / "detectors" / "blues.json"
    path.write_text(path.read_text()[:200])
    assert studied(tmp_path, ("reds", "blues")).asked == 5, "a damaged record is made anew"
    made["reds"].sha256 = "9" * 64
    assert studied(tmp_path, ("reds", "blues")).asked == 5, "other weights are another detector"


def row(name: str, clean: float, left: float, spread: float = 0.0) -> Studied:
    rng = np.random.default_rng(len(name))

    def cell(kind: str, value: float) -> StudyCell:
        drawn = tuple(float(v) for v in value + spread * rng.standard_normal(200))
        return StudyCell(kind, kind, value, None, value, drawn, {})

    return Studied(
        name, 640, "", facts_of(name, BlobDetector(), None, 640), (cell("none", clean), cell("public", left))
    )


def test_kendalls_tau_is_honest_about_few_detectors() -> None:
    def tau_of(rows: list[Studied]) -> tuple[float | None, tuple[float, float] | None]:
        one = tau("x", [(s, np.array(s.clean.ap50_drawn), s.clean.ap50) for s in rows], seed=0)
        return one.value, one.ci95

    rising = [row("x" * i, 0.5 + i / 20, i / 10) for i in range(1, 9)]
    assert tau_of(rising)[0] == 1
    value, ends = tau_of([row("x" * i, 0.5 + i / 20, abs(i - 3) / 10, 0.05) for i in range(1, 5)])
    assert ends is not None and ends[0] < 0 < ends[1] and value is not None and abs(value) < 1
    assert (
        facts_of("yolo11n-pose", BlobDetector(), None, 640).year == 2024
        and facts_of("mine", BlobDetector(), None, 640, parent="yolov8n").year == 2023
    )


def test_what_a_detector_costs_is_counted() -> None:
    facts = facts_of("tiny", BlobDetector(), tiny_gradient(), 64)
    assert facts.parameters and 10_000 < facts.parameters < 40_000
    assert facts.gflops and 0 < facts.gflops < 1 and facts.year is None


def test_what_is_no_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert SizedDetector.of("a.pt@416") == SizedDetector("a.pt", 416) and SizedDetector.of(
        "me@home.pt"
    ) == SizedDetector("me@home.pt", None)
    with pytest.raises(SettingsError, match="32 to 4096"):
        SizedDetector.of("a.pt@7")
    assert SizedDetector.of("a.pt@³") == SizedDetector("a.pt@³", None)
    with pytest.raises(DataError, match="two detectors are called"):
        names_of([SizedDetector("a/x.pt", None), SizedDetector("b/x.pt", None)])
    images = ["--images", str(tmp_path)]
    for words, said in (
        (["study", "yolo11n-pose", *images], "two detectors or more"),
        (["study", "yolo11n-pose@320", "yolo11n-pose@640", *images], "patterns"),
        (["study", "yolo11n-pose", "no.pt", *images, "--patterns", "street"], "no.pt"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_a_white_box_pattern_that_others_beat_is_doubted() -> None:
    def said(own: float) -> set[str]:
        one = row("net", 0.9, 0.3)
        made = replace(one.clean, pattern="made for net", kind="made", source="net", ap50=own)
        results = StudyResults(SETTINGS, [replace(one, cells=(*one.cells, made))])
        return {doubt.code for doubt in study_run.of_study(results, Painter())}

    assert "weak-adaptive-attack" in said(0.6) and "weak-adaptive-attack" not in said(0.31)
