"""One road for every detector: attacked, evaluated, defended and shown live, whoever made it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from physadv.attack.adaptive import ThroughDefence
from physadv.attack.optimise import optimise
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.attack.timing import made_up
from physadv.cli import main
from physadv.defend import parse_pipeline
from physadv.detect import load_gradient_detector
from physadv.errors import PluginError
from physadv.evaluate import evaluate
from physadv.evaluate.settings import EvaluateSettings
from physadv.patch import load_patch
from physadv.simulate.world import World
from tests.detect.test_onnx_file import constant
from tests.detect.test_rtdetr import save_rtdetr
from tests.detect.torchvision_small import lively_ssdlite
from tests.test_plugins import FOLDER

KINDS = ("torchvision", "rtdetr", "plug-in")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("any")
    torch.save(lively_ssdlite().state_dict(), folder / "w.pth")
    blind = constant(folder / "c.onnx", (1, 2, 6), [[16, 8, 40, 60, 0.9, 0], [0, 0, 9, 9, 0.8, 3]])
    return {
        "torchvision": f"torchvision:ssdlite320_mobilenet_v3_large={folder / 'w.pth'}",
        "rtdetr": str(save_rtdetr(folder / "r.pt")),
        "plug-in": "green",
        "onnx": f"{blind}=yolo-nms",
    }


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_attacked_also_through_a_defence(kind: str, files: dict[str, str]) -> None:
    recipe = Recipe(steps=3, batch=2, crops=(96, 96), texels=16, seed=3, lr=0.05, world=World.of(0.2), tv=0.0, nps=0.0)
    for defence in ("none", "blur"):
        attacked = parse_pipeline(defence).twin(load_gradient_detector(files[kind], device="cpu"))
        before = attacked.fingerprint()
        run = TrainRun(recipe, TrainData(made_up(3), [attacked]))
        first = run.pattern.rgba().detach().clone()
        losses = [progress.loss for progress in optimise(run)]
        assert np.isfinite(losses).all() and losses[0] > 0
        assert not torch.equal(run.pattern.rgba(), first), "no gradient reached the pattern"
        assert attacked.fingerprint() == before


@pytest.mark.parametrize("kind", [*KINDS, "onnx"])
def test_it_is_evaluated_and_defended(kind: str, files: dict[str, str]) -> None:
    people = made_up(2)
    # Trained for 320 and 640 pixels; what looks at a size of its own is scored once.
    patch = load_patch("webcam")
    settings = EvaluateSettings(resamples=20, imgsz=96 if kind == "rtdetr" else None)
    results = evaluate(patch, people, files[kind], "blur:sigma=4", settings=settings)
    assert results.done
    seen = {(c.condition, c.defence, c.imgsz) for c in results.cells}
    size = {"torchvision": 320, "rtdetr": 96, "plug-in": 640, "onnx": 64}[kind]
    assert seen >= {(c, d, size) for c in ("none", "grey", "patch") for d in ("none", "blur:sigma=4.0")}
    assert {c.imgsz for c in results.cells} == {size}
    name = {"torchvision": "ssdlite320_mobilenet_v3_large", "rtdetr": "r", "plug-in": "green", "onnx": "c"}[kind]
    (about,) = results.facts["detectors"]
    assert about["name"] == name and len(about["sha256"]) == 64


def test_what_has_no_gradients_says_so_before_anything_is_trained(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [replace(image, name=f"{i}.png") for i, image in enumerate(made_up(3))]
    attack: Any = ThroughDefence(1, 1, 1)
    with pytest.raises(PluginError, match=r"c\.onnx=yolo-nms gives no gradients"):
        evaluate((), images, files["onnx"], "median", adaptive=attack)
    for i, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image.pixels)
    argv = ["train", "--images", str(tmp_path), "--detector", files["onnx"], "--out", str(tmp_path / "out")]
    assert main(argv) == 2
    said = capsys.readouterr().err.strip()
    assert "--detector: " in said and "evaluated, defended and shown live" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("kind", ["torchvision", "plug-in", "onnx"])
def test_it_is_shown_live(kind: str, files: dict[str, str], tmp_path: Path) -> None:
    np.save(tmp_path / "film.npy", np.stack([image.pixels for image in made_up(3)]))
    argv = ["live", "--ui", "none", "--source", f"stack:{tmp_path / 'film.npy'}", "--detector", files[kind]]
    assert main([*argv, "--defend", "blur", "--stats", str(tmp_path / "s.json")]) == 0
    figures = json.loads((tmp_path / "s.json").read_text())
    assert figures["frames_processed"] == 3
    assert figures["backend"] == {"torchvision": "torch", "plug-in": "plug-in", "onnx": "onnxruntime"}[kind]


def test_a_layout_is_declared_by_a_flag_too(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "film.npy", made_up(1)[0].pixels[None])
    argv = ["live", "--ui", "none", "--source", f"stack:{tmp_path / 'film.npy'}", "--detector"]
    file = files["onnx"].removesuffix("=yolo-nms")
    assert main([*argv, file, "--layout", "yolo-nms"]) == 0
    capsys.readouterr()
    assert main([*argv, file]) == 2
    assert "--layout: " in capsys.readouterr().err
    assert main([*argv, "green", "--layout", "ssd"]) == 2
    assert "--layout: expected an .onnx file" in capsys.readouterr().err
