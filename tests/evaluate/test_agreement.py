"""A run's figures on held-out people are those that an evaluation of the same people finds, to the last digit."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import BlobDetector, tiny_gradient

import physadv.evaluate
from physadv.attack.recipe import Recipe
from physadv.errors import PhysadvError
from physadv.evaluate import evaluate, evaluation
from physadv.evaluate.cell import Cell
from tests.attack.running import folder_run, inputs
from tests.evaluate.conftest import scene_of

FIGURES = ("recall25", "ap50", "asr_strict25", "mean_max_conf", "mean_max_conf_within", "hidden25")


def blobs(*_: object, imgsz: int = 640, **__: object) -> BlobDetector:
    detector = BlobDetector(min_conf=0.001)
    detector.imgsz = imgsz
    return detector


@pytest.fixture
def detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("physadv.attack.data", "physadv.evaluate.run"):
        for name in ("load_detector", "labelling"):
            monkeypatch.setattr(f"{module}.{name}", blobs)


def same(cell: Cell, figures: dict[str, Any]) -> bool:
    plain = cell.plain()
    return {name: plain[name] for name in (*FIGURES, "n_images", "n_people")} == figures


@pytest.mark.usefixtures("detectors")
@pytest.mark.parametrize(("target", "framing"), [("chest", "street"), ("chest", "webcam"), ("tshirt", "street")])
def test_an_evaluation_finds_the_figures_of_the_run(folder: Path, tmp_path: Path, target: str, framing: str) -> None:
    recipe = Recipe.model_validate({
        "target": target, "framing": framing, "steps": 2, "batch": 1, "crops": (64,), "texels": 16, "held_out": 0.5,
    })  # fmt: skip
    out = tmp_path / "run"
    given = inputs(recipe, images=[str(folder)], labels=folder / "labels", cache=tmp_path / "cache")
    folder_run(given, [tiny_gradient()], out)
    run = json.loads((out / "run.json").read_text())
    results = evaluate(out, folder, held_out=True)
    assert results.done and len(run["held_out"]) == (2 if framing == "webcam" else 1)
    for label, figures in run["held_out"].items():
        size = int(label.split()[1]) if " " in label else 416
        cells = {c.condition: c for c in results.cells if c.imgsz == size}
        assert figures["n_images"] > 1 and figures["mean_max_conf"] not in (0, 1)
        assert same(cells["patch"], figures), (cells["patch"].plain(), figures)
        assert same(cells["none"], run["controls"][label]["none"])
        assert same(cells["grey"], run["controls"][label]["grey"])


@pytest.mark.usefixtures("detectors")
def test_a_notebook_evaluates_by_one_call_or_step_by_step(folder: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    results = physadv.evaluate(
        "webcam", folder, defences=["jpeg"], progress=lambda u: seen.append(len(u.results.cells))
    )
    assert (
        {c.defence for c in results.cells} == {"none", "jpeg"}
        and seen == sorted(seen)
        and seen[-1] == len(results.cells)
    )
    assert results.report(tmp_path / "report").read_text().startswith("# Evaluation")
    for update in evaluation("webcam", folder, blobs()):
        if update.results.cells:
            break
    assert [c.condition for c in update.results.cells] == ["none"] and not update.results.done


def test_one_detector_at_two_sizes_and_one_defence_by_its_name() -> None:
    results = physadv.evaluate(
        data=[scene_of((20, 30, 80, 200))], detectors=[blobs(imgsz=320), blobs(imgsz=640)], defences="median"
    )
    assert [(c.detector, c.imgsz, c.defence) for c in results.cells] == [
        ("blobs", size, defence) for size in (320, 640) for defence in ("none", "median")
    ]
    with pytest.raises(PhysadvError, match="named twice"):
        physadv.evaluate(data=[scene_of()], detectors=[blobs(), blobs()])


def test_what_is_no_condition_and_no_image_is_refused() -> None:
    for conditions in ("robusto", ["robust"]):
        with pytest.raises(PhysadvError, match=r"conditions: expected robust, folds or .*, got 'robust"):
            physadv.evaluate(data=[scene_of()], detectors=blobs(), conditions=conditions)  # type: ignore[arg-type]
    with pytest.raises(PhysadvError, match=r"data: expected .* labelled image"):
        physadv.evaluate(data=[], detectors=blobs())
