"""Weights files of strangers: what runs code is not loaded, what is damaged is one line, what fits works."""

import functools
import operator
import pathlib
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import ClassificationModel, OBBModel, PoseModel, SegmentationModel, WorldModel
from ultralytics.utils.patches import torch_save

import physadv.detect.weights as weights_module
from physadv.cli import main
from physadv.detect import load_detector, load_gradient_detector
from physadv.detect.weights import find_weights, trust
from physadv.detect.yolo import load_net, person_class
from physadv.errors import PhysadvError, WeightsError
from tests.detect.models import mutated, repacked, save_small, small_model


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def writing(marker: Path) -> Calls:
    return Calls(exec, f"open({str(marker)!r}, 'w').close()")


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_net(find_weights(str(path)))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and message.startswith(str(path))
    return message


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_is_refused_by_what_it_asks_for(protocol: int, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    path.write_bytes(pickle.dumps(writing(marker), protocol=protocol))
    assert "builtins.exec" in refusal(path)
    assert not marker.exists()


def hooked(marker: Path) -> Any:
    model = small_model()
    model._forward_hooks[0] = functools.partial(torch_save, {}, str(marker))
    return {"model": model}


def criterion(marker: Path) -> Any:
    model = small_model()
    model.criterion = writing(marker)
    return {"model": model}


# Ways to have a function called when a file is loaded, or when the network in it is used.
EVIL: dict[str, Callable[[Path], Any]] = {
    "plain": lambda marker: {"model": small_model(), "more": writing(marker)},
    "within the network": criterion,
    "in place of it": lambda marker: {"model": writing(marker)},
    "hook": hooked,
    "caller": lambda marker: {"model": small_model(), "more": Calls(operator.methodcaller, "touch")},
    "torch": lambda marker: {"model": small_model(), "more": Calls(torch.jit.load, str(marker))},
    "hub": lambda marker: {"model": small_model(), "more": Calls(torch.hub.load, str(marker), "x")},
    "method": lambda marker: {"model": small_model(), "more": Calls(pathlib.Path.touch, Path(marker))},
    "nothing": lambda marker: writing(marker),
}
# The same with functions of modules whose data checkpoints hold beside the network: passed over, and never called.
PASSED_OVER: dict[str, Callable[[Path], Any]] = {
    "ultralytics": lambda marker: {"model": small_model(), "more": Calls(torch_save, {}, str(marker))},
    "getattr": lambda marker: {"model": small_model(), "more": Calls(getattr, Path(marker), "touch")},
}


@pytest.mark.parametrize("kind", [*EVIL, *PASSED_OVER])
def test_no_code_of_a_weights_file_runs(kind: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    torch.save((EVIL | PASSED_OVER)[kind](marker), path)
    marker.unlink(missing_ok=True)
    if kind in EVIL:
        refusal(path)
    else:
        load_net(find_weights(str(path))).raw(torch.zeros(1, 3, 64, 64))
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["plain", "ultralytics"])
def test_the_older_format_is_refused(kind: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    torch.save((EVIL | PASSED_OVER)[kind](marker), path, _use_new_zipfile_serialization=False)
    assert ("builtins.exec" if kind == "plain" else "since version 1.6") in refusal(path)
    assert not marker.exists()


def test_what_is_asked_for_and_the_way_out_are_named(tmp_path: Path) -> None:
    path = save_small(tmp_path / "evil.pt", more=writing(tmp_path / "marker"))
    assert "asks for 'builtins.exec'" in refusal(path) and "`trust`" in refusal(path)
    torch.save({"model": Calls(torch.hub.load, "a", "b")}, path)
    assert "torch.hub.load" in refusal(path)


@pytest.fixture
def nobody_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "_TRUSTED", set())


def test_trust_is_in_the_content_not_the_name(tmp_path: Path, nobody_trusted: None) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    save_small(path, more=writing(marker))
    trust(str(path))
    assert load_net(find_weights(str(path))).spec.strides == (8,)
    assert marker.exists()
    marker.unlink()
    save_small(path, more=writing(marker), other=1)
    refusal(path)
    assert not marker.exists()


def command_lines(detector: Path) -> dict[str, list[str]]:
    """Every command that takes a detector, on two labelled images."""
    lines = {
        "live": "live --source images/a.png --ui none --backend torch --imgsz 64",
        "evaluate": "evaluate webcam --images images --out out --imgsz 64 --resamples 20",
        "adaptive": "evaluate --adaptive --defend lgs --images images --out out",
        "train": "train --images images --out out --steps 1",
        "preview": "preview webcam --images images --out out.png",
        "advise": "advise webcam --measure --images images",
    }
    return {name: [*line.split(), "--detector", str(detector)] for name, line in lines.items()}


COMMANDS = list(command_lines(Path()))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `images` and `labels`: two images with one person each."""
    from physadv.arrays import write_png

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for grey, name in ((100, "a"), (150, "b")):
        write_png(tmp_path / "images" / f"{name}.png", np.full((96, 96, 3), grey, np.uint8))
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.6 0.8\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_and_trusts_alike(
    command: str, images: Path, nobody_trusted: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path, marker = images / "evil.pt", images / "marker"
    save_small(path, more=writing(marker))
    argv = command_lines(path)[command]
    assert main(argv) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "builtins.exec" in said[-1] and "--trust" in said[-1] and "Traceback" not in "".join(said)
    assert not marker.exists()
    if command == "adaptive":
        # Its attack takes minutes, and it trusts where evaluate does.
        return
    try:
        main([*argv, "--trust"])
    except Exception as error:  # noqa: BLE001 -- what a network of noise leads to later is not of interest here
        assert not isinstance(error, PhysadvError)
    assert "--trust: code that" in capsys.readouterr().err
    assert marker.exists()


@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "openvino"])
def test_every_backend_refuses(backend: Any, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    save_small(path, more=writing(marker))
    with pytest.raises(WeightsError, match=r"builtins\.exec"):
        load_detector(str(path), backend=backend)
    assert not marker.exists()


def test_a_file_cannot_trust(images: Path, nobody_trusted: None, capsys: pytest.CaptureFixture[str]) -> None:
    path, marker = images / "evil.pt", images / "marker"
    save_small(path, more=writing(marker))
    config = images / "settings.toml"
    config.write_text(f'detector = "{path}"\ntrust = true\n')
    assert main(["live", "--source", "images/a.png", "--ui", "none", "--config", str(config)]) == 2
    assert "--trust: expected on the command line alone" in capsys.readouterr().err
    run = images / "run"
    run.mkdir()
    (run / "flags.json").write_text(f'{{"images": ["images"], "detector": ["{path}"], "trust": true}}')
    assert main(["train", "--resume", "--out", str(run)]) == 2
    assert not marker.exists()


def test_a_real_checkpoint_with_all_that_training_leaves_in_it(tmp_path: Path) -> None:
    """Losses, optimisers, arguments and paths beside the network do no harm."""
    from ultralytics.utils import IterableSimpleNamespace
    from ultralytics.utils.loss import v8DetectionLoss

    model = small_model()
    model.args = IterableSimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    model.criterion = v8DetectionLoss(model)
    model.pt_path = tmp_path
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path / "last.pt"
    torch.save(
        {"epoch": 3, "best_fitness": np.float64(0.5), "model": None, "ema": model.half(), "optimizer": optimiser}, path
    )
    net = load_net(find_weights(str(path)))
    assert next(net.parameters()).dtype == torch.float32
    fused = small_model()
    fused.fuse(verbose=False)
    torch.save({"model": fused}, path)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    again = load_net(find_weights(str(path)))
    want = load_net(find_weights(str(save_small(tmp_path / "plain.pt"))))
    torch.testing.assert_close(again.raw(images)[0], want.raw(images)[0], atol=1e-2, rtol=1e-2)


def test_threads_load_side_by_side(tmp_path: Path) -> None:
    paths = [save_small(tmp_path / f"{i}.pt") for i in range(4)]
    nets: list[object] = []
    threads = [threading.Thread(target=lambda p=p: nets.append(load_net(find_weights(str(p))))) for p in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(nets) == 4


def test_five_hundred_mutations_are_loaded_or_one_line_each(tmp_path: Path) -> None:
    whole = save_small(tmp_path / "whole.pt").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "mutated.pt"
    refused = 0
    for number in range(500):
        data = mutated(whole, rng) if number % 3 == 0 else repacked(whole, lambda content: mutated(content, rng))
        path.write_bytes(data or b"x")
        try:
            load_net(find_weights(str(path)))
        except WeightsError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 500
    assert refused > 400


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    path = save_small(tmp_path / "a.pt")
    data = bytearray(path.read_bytes())
    place = data.index(b"data/2") + 200
    data[place] ^= 1
    path.write_bytes(data)
    assert "damaged in" in refusal(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut off or damaged" in refusal(path)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    model = small_model()
    next(model.parameters()).data.fill_(float("nan"))
    torch.save({"model": model}, tmp_path / "nan.pt")
    assert "NaN or infinity" in refusal(tmp_path / "nan.pt")


@pytest.mark.parametrize("channels", [1, 4, 6])
@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "openvino"])
def test_a_model_of_other_images_is_refused_at_once(channels: int, backend: Any, tmp_path: Path) -> None:
    path = save_small(tmp_path / "other.pt", channels=channels)
    expected = f"expects images of {channels} channel"
    with pytest.raises(WeightsError, match=expected):
        load_detector(str(path), backend=backend)
    with pytest.raises(WeightsError, match=expected):
        load_gradient_detector(str(path), device="cpu")


def test_models_of_other_tasks_and_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    makes: Any = (
        lambda: SegmentationModel("yolo11n-seg.yaml", verbose=False),  # type: ignore[no-untyped-call]
        lambda: OBBModel("yolo11n-obb.yaml", verbose=False),  # type: ignore[no-untyped-call]
        lambda: ClassificationModel("yolo11n-cls.yaml", verbose=False),  # type: ignore[no-untyped-call]
    )
    for make in makes:
        torch.save({"model": make()}, path)
        assert "expected a detection or pose model, got one whose head is" in refusal(path)
    world: Any = WorldModel
    torch.save({"model": world("yolov8n-world.yaml", verbose=False)}, path)
    assert "open-vocabulary" in refusal(path)


def test_exports_are_refused_with_what_to_name(tmp_path: Path) -> None:
    for name in ("yolo11n.torchscript", "yolo11n.engine", "yolo11n.xml"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(WeightsError, match=r"name the \.pt it was made from"):
            find_weights(str(tmp_path / name))
    (tmp_path / "yolo11n_openvino_model").mkdir()
    with pytest.raises(WeightsError, match=r"name the \.pt it was made from"):
        find_weights(str(tmp_path / "yolo11n_openvino_model"))
    script = torch.jit.script(torch.nn.Conv2d(3, 3, 1))
    torch.jit.save(script, tmp_path / "renamed.pt")
    assert "TorchScript" in refusal(tmp_path / "renamed.pt")


@pytest.mark.parametrize(
    ("names", "person"),
    [
        (["car", "person"], 1),
        (("person", "car"), 0),
        ({0: "car", 1: "person"}, 1),
        ({"0": "car", "1": "person"}, 1),
        ({0: " Person\n", 1: "car"}, 0),
        ({0: "PERSON"}, 0),
        ("{0: 'car', 1: 'person'}", 1),
        ("['car', 'person']", 1),
        ("person", 0),
    ],
)
def test_names_of_classes_in_every_form(names: object, person: int, tmp_path: Path) -> None:
    assert person_class(names) == person
    assert load_net(find_weights(str(save_small(tmp_path / "a.pt", names)))).person == person


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "not name its classes"),
        ({}, "not name its classes"),
        (7, "not name its classes"),
        (["cat", "dog"], "no class 'person'"),
        ({"person": 0, "car": 1}, "no class 'person'"),
        ({5: "person"}, "has number 5, but the model knows 2 classes"),
        ([None, 3], "no class 'person'"),
    ],
)
def test_names_that_do_not_serve_are_one_line(names: object, words: str, tmp_path: Path) -> None:
    assert words in refusal(save_small(tmp_path / "a.pt", names))


def test_a_model_without_names(tmp_path: Path) -> None:
    model = small_model()
    model.names = None
    torch.save({"model": model}, tmp_path / "a.pt")
    assert "not name its classes" in refusal(tmp_path / "a.pt")


def test_layers_that_are_not_here_are_named(tmp_path: Path) -> None:
    path = tmp_path / "newer.pt"
    data = save_small(path).read_bytes()
    path.write_bytes(repacked(data, lambda c: c.replace(b"conv\nConv\n", b"conv\nCnov\n")))
    assert "has no layer 'ultralytics.nn.modules.conv.Cnov'" in refusal(path)
    path.write_bytes(repacked(data, lambda c: c.replace(b"cultralytics.nn.tasks\n", b"cmodels.yolo\n")))
    assert "YOLOv5" in refusal(path)


def test_types_of_networks_are_what_they_were() -> None:
    assert type(load_net(find_weights()).model) is PoseModel
