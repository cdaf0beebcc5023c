"""What a run says of the people it holds out is what an evaluation of the run says of them, to the last digit."""

import json
from pathlib import Path

from physadv.cli import main

SHARED = ("n_images", "n_people", "recall25", "ap50", "asr_strict25", "mean_max_conf")


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
