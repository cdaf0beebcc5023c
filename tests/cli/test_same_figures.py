"""What a run says of the people it holds out is what an evaluation of the run says of them, to the last digit."""

import json
from pathlib import Path

import pytest

from physadv.arrays import write_png
from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings
from physadv.cli import main
from physadv.detect import load_detector
from physadv.types import Frame

SHARED = ("n_images", "n_people", "recall25", "ap50", "asr_strict25", "mean_max_conf")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A labelled data set of four images of the built-in sample, as options: two with people near, two of a street."""
    folder = tmp_path_factory.mktemp("people")
    detector, camera = load_detector(backend="torch", imgsz=320), SampleSource(CaptureSettings())
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number in (0, 300, 500, 600):
        pixels = camera.image(number)
        write_png(folder / "images" / f"{number}.png", pixels)
        boxes = detector.detect(Frame(pixels, 0, 0, 0.0)).above(0.4).xyxy / (640, 480, 640, 480)
        rows = [f"0 {(a + c) / 2:.6f} {(b + d) / 2:.6f} {c - a:.6f} {d - b:.6f}" for a, b, c, d in boxes]
        (folder / "labels" / f"{number}.txt").write_text("\n".join(rows))
    return ["--images", str(folder / "images"), "--labels", str(folder / "labels")]


def test_held_out_figures_are_those_of_an_evaluation(people: list[str], tmp_path: Path) -> None:
    """By the real detector and the command line, on the chest by the joints that a pose model finds."""
    run, report = tmp_path / "run", tmp_path / "report"
    steps = ["--steps", "2", "--crops", "64", "--batch", "2", "--start", "none", "--held-out", "0.5"]
    assert main(["train", *people, "--framing", "webcam", *steps, "--out", str(run)]) == 0
    assert main(["evaluate", str(run), *people, "--held-out", "--resamples", "20", "--out", str(report)]) == 0
    held_out = json.loads((run / "run.json").read_text())["held_out"]
    rows = json.loads((report / "results.json").read_text())
    cells = {row["imgsz"]: row for row in rows if row["condition"] == "patch"}
    assert len(held_out) == len(cells) == 2
    for label, scored in held_out.items():
        imgsz = int(label.split()[-1])
        assert {name: cells[imgsz][name] for name in SHARED} == {name: scored[name] for name in SHARED}
        assert scored["n_people"] > 0 and 0 < scored["mean_max_conf"] < 1
