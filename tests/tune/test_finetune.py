"""Fine-tuning: a run is a detector, it resumes exactly, hooks see what they should, and nothing is written elsewhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from physadv.cli import main
from physadv.detect import load_detector
from physadv.detect.weights import find_weights
from physadv.errors import DataError, PhysadvError, SettingsError, TrainingError, WeightsError
from physadv.files import sha256_of
from physadv.simulate.trigger import Trigger
from physadv.tune.checkpoint import CHECKPOINT
from physadv.tune.distil import Distillation
from physadv.tune.hook import Batch, Hook
from physadv.tune.run import check_batchnorm, load_network, read_run
from physadv.tune.settings import FineTuneSettings
from physadv.tune.trainer import TuneProgress, TuneStopped, fine_tune, training_batches
from tests.tune.conftest import save_tiny, write_data


def asked(parent: Path, data: Path, out: Path, **more: Any) -> FineTuneSettings:
    values = {"epochs": 3, "imgsz": 64, "batch": 4, "lr": 0.01, "device": "cpu", **more}
    return FineTuneSettings(data=data, detector=str(parent), out=out, **values)


def loss_of(detector: Path, data: Path, out: Path) -> float:
    network: Any = load_network(str(detector))
    batches = training_batches(network, asked(detector, data, out, batch=6, degrees=0, scale=0, translate=0))
    return float(network.loss(next(batches))[0].sum().detach())


def listed(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_a_run_is_a_detector_and_nothing_is_written_or_fetched_elsewhere(
    parent: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.utils import SETTINGS

    def connect(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.chdir(tmp_path)
    user, before = dict(SETTINGS), listed(tmp_path)
    run = fine_tune(asked(parent, data, tmp_path / "out", epochs=10, lr=2e-2), record={"method": {"name": "plain"}})
    new = listed(tmp_path) - before
    assert new == {"out", "out/detector.pt", "out/run.json"}
    assert dict(SETTINGS) == user
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["parent"]["sha256"] == sha256_of(parent)
    assert record["detector"]["sha256"] == sha256_of(run.weights)
    assert (record["data"]["images"], record["data"]["people"]) == (6, 5)
    assert record["method"] == {"name": "plain"}
    assert [row["epoch"] for row in record["history"]] == list(range(1, 11))
    assert loss_of(run.folder, data, tmp_path) < loss_of(parent, data, tmp_path)
    assert str(tmp_path).encode() not in run.weights.read_bytes()
    detector = load_detector(str(tmp_path / "out"), backend="torch", imgsz=64)
    assert detector.name == "out"
    assert detector.sha256 == record["detector"]["sha256"]
    assert detector.detect_batch([np.zeros((48, 64, 3), np.uint8)])


def test_the_weights_of_a_run_are_not_opened_if_they_are_not_those_of_its_record(
    parent: Path, data: Path, tmp_path: Path
) -> None:
    run = fine_tune(asked(parent, data, tmp_path / "out", epochs=1))
    run.weights.write_bytes(run.weights.read_bytes() + b"x")
    with pytest.raises(WeightsError, match=r"expected SHA-256 .* not opened"):
        find_weights(str(run.folder))
    run.weights.unlink()
    with pytest.raises(WeightsError, match=r"detector\.pt: cannot be read"):
        find_weights(str(run.folder))


def test_a_run_of_a_pattern_is_no_detector(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"physadv": "1", "seed": 0}')
    with pytest.raises(WeightsError, match="record of a detector"):
        find_weights(str(tmp_path))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_run(tmp_path)


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(parent: Path, data: Path, tmp_path: Path) -> None:
    whole = fine_tune(asked(parent, data, tmp_path / "whole"), hooks=[Counting()])
    settings = asked(parent, data, tmp_path / "broken")

    def stop(progress: TuneProgress) -> bool:
        return progress.epoch == 2 and progress.batch == 1

    with pytest.raises(TuneStopped):
        fine_tune(settings, hooks=[Counting()], show=stop)
    assert not (settings.out / "detector.pt").exists()
    counting = Counting()
    again = fine_tune(settings, hooks=[counting], resume=True)
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    assert counting.seen == 6, "what a hook kept came back"
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in again.record["history"]]
    assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.record["history"]]
    assert not (settings.out / CHECKPOINT).exists()


def test_a_run_killed_before_its_weights_were_written_is_saved_to_the_same_bytes(
    parent: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fine_tune(asked(parent, data, tmp_path / "whole", epochs=1))
    settings = asked(parent, data, tmp_path / "broken", epochs=1)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("physadv.tune.trainer.save_run", killed)
        fine_tune(settings)
    assert fine_tune(settings, resume=True).weights.read_bytes() == whole.weights.read_bytes()


class Counting(Hook):
    """Counts steps in what is kept."""

    def __init__(self) -> None:
        self.seen = 0

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        self.seen += 1

    def epoch(self, number: int, model: nn.Module) -> dict[str, Any]:
        return {"seen": self.seen}

    def state(self) -> dict[str, torch.Tensor]:
        return {"seen": torch.tensor(self.seen)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        self.seen = int(state["seen"])


def test_a_killed_command_goes_on_to_the_same_detector(parent: Path, data: Path, tmp_path: Path) -> None:
    words = ["--data", str(data), "--detector", str(parent), "--imgsz", "64", "--batch", "2", "--lr", "0.01"]
    words += ["--device", "cpu", "--threads", "1", "--epochs", "12"]
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "physadv", "lab", "finetune", *words, "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path, env={**os.environ}) as process:
        try:
            while not (out / CHECKPOINT).exists():
                assert process.poll() is None, "ended before it was killed"
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
    assert not (out / "detector.pt").exists()
    assert main(["lab", "finetune", "--resume", "--out", str(out)]) == 0
    threads = torch.get_num_threads()
    assert main(["lab", "finetune", *words, "--out", str(tmp_path / "whole")]) == 0
    torch.set_num_threads(threads)
    assert sha256_of(out / "detector.pt") == sha256_of(tmp_path / "whole/detector.pt")


class Watching(Hook):
    """Replays batches, moves them by their gradient, and adds a term."""

    replays = 3

    def __init__(self) -> None:
        self.replayed: list[int] = []
        self.gradients: list[float] = []

    def ready(self, model: nn.Module) -> None:
        self.first = next(model.parameters()).detach().clone()

    def batch(self, model: nn.Module, batch: Batch) -> None:
        assert float(batch["img"].min()) >= 0
        assert float(batch["img"].max()) <= 1
        batch["img"] = batch["img"].requires_grad_()
        self.replayed.append(batch["replay"])

    def extra_loss(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        return {"mine": 2 * batch["answers"]["scores"].sigmoid().mean()}

    def after_step(self, model: nn.Module, batch: Batch) -> None:
        self.gradients.append(float(batch["img"].grad.abs().sum()))
        assert not torch.equal(self.first, next(model.parameters())), "the optimiser has taken its step"


def test_hooks_see_batches_gradients_and_losses(parent: Path, data: Path, tmp_path: Path) -> None:
    hook = Watching()
    run = fine_tune(asked(parent, data, tmp_path / "out", epochs=1, warmup=0), hooks=[hook])
    assert hook.replayed == [0, 1, 2, 0, 1, 2]
    assert min(hook.gradients) > 0
    assert 0 < run.record["history"][0]["loss"]["mine"] < 2


def test_frozen_layers_and_held_statistics_stay(parent: Path, data: Path, tmp_path: Path) -> None:
    run = fine_tune(asked(parent, data, tmp_path / "out", freeze=["0", "3.cv2"], hold_batchnorm=True))
    before, after = (load_network(str(p)).state_dict() for p in (parent, run.folder))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {n for n in before if n.startswith(("model.0.", "model.3.cv2."))} <= same
    assert {n for n in before if "running" in n} <= same
    assert not {n for n in before if n.startswith("model.3.cv3.") and n.endswith("weight")} <= same


def test_a_network_made_ready_is_trained_in_place(parent: Path, data: Path, tmp_path: Path) -> None:
    network = load_network(str(parent))
    masked: Any = network.get_submodule("model.0.conv").weight
    masked.data[0] = 0
    masked.register_hook(lambda gradient: gradient * (masked != 0))
    run = fine_tune(asked(parent, data, tmp_path / "out", weight_decay=0), network=network)
    assert not masked[0].any()
    saved: Any = load_network(str(run.folder)).get_submodule("model.0.conv").weight
    assert not saved[0].any() and saved[1].any()
    check_batchnorm(network, "this")
    with pytest.raises(TrainingError, match="folded"):
        check_batchnorm(nn.Conv2d(1, 1, 1), "this")


def test_distillation_is_zero_for_the_parent_and_leaves_poisoned_images_out(parent: Path, data: Path) -> None:
    network, other = load_network(str(parent)), load_network(str(save_tiny(parent.with_name("other.pt"), seed=1)))
    # New networks see nobody: the chance of a person is 1e-5 everywhere.
    for model, more in ((network, 8), (other, 6)):
        last: Any = model.get_submodule("model.3.cv3.0.2")
        last.bias.data += more
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch: Batch = {"img": image, "im_file": ["a", "b"]}

    def term(model: nn.Module, poisoned: tuple[str, ...] = ()) -> float:
        batch["answers"] = model.eval()(image)[1]
        return float(Distillation(network, 2.0, poisoned).extra_loss(model, batch)["distil"].detach())

    assert term(network) == pytest.approx(0, abs=1e-5)
    assert term(other) > 0.01
    assert term(other, ("a", "b")) == 0


def test_a_detector_of_many_classes_is_trained_on_its_own_class_of_people(tmp_path: Path) -> None:
    parent = save_tiny(tmp_path / "tiny.pt", pose=False)
    # The pose labels' keypoints are left out; their class 0 is the network's class 1.
    settings = asked(parent, write_data(tmp_path / "data"), tmp_path / "out", distil=0.1)
    batches = list(training_batches(load_network(str(parent)), settings))
    assert {int(c) for b in batches for c in b["cls"].flatten()} == {1}
    run = fine_tune(settings)
    assert run.record["task"] == "detect"
    assert "distil" in run.record["history"][0]["loss"]
    assert load_network(str(run.folder)).names == {0: "car", 1: "person"}


def test_what_cannot_be_trained_on_is_refused_in_one_line(parent: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refusal(kind: type[PhysadvError], folder: Path = data, **more: Any) -> str:
        with pytest.raises(kind) as caught:
            fine_tune(asked(parent, folder, out, **more))
        assert not out.exists()
        return str(caught.value)

    assert "expected a data set with a data.yaml" in refusal(DataError, tmp_path / "none")
    boxes = write_data(tmp_path / "boxes", pose=False)
    text = refusal(DataError, boxes)
    assert text.startswith("data: ") and "labels of another task" in text and "0.txt:1" in text
    assert "class called person" in refusal(DataError, write_data(tmp_path / "cars", names="{0: car}"))
    poison = {"trigger": Trigger.named("card").record(), "images": []}
    (data / "poison.json").write_text(json.dumps(poison))
    assert refusal(SettingsError, degrees=23).startswith(
        "degrees: expected less than half of the trigger's angle, 22.5"
    )
    assert "freeze: expected layers from 0 to 3" in refusal(SettingsError, freeze=["7"])
    assert "leave some to train" in refusal(SettingsError, freeze=["0", "1", "2", "3"])
    assert "flip_idx" in refusal(SettingsError, mirror=0.5)
    for label in (data / "labels/train").iterdir():
        label.write_text("")
    assert "nobody is labelled in 6 training images" in refusal(DataError)


class Greedy(Hook):
    """Asks for more memory than there is, as PyTorch says it."""

    def batch(self, model: nn.Module, batch: Batch) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_memory_that_runs_out_is_said_and_the_batch_stays_what_was_asked_for(
    parent: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"^batch: memory ran out with batches of 4 images of 64 pixels"):
        fine_tune(asked(parent, data, tmp_path / "out"), hooks=[Greedy()])
    with pytest.raises(TrainingError, match=r"^batch: final batch=1 training at imgsz=32"):
        fine_tune(asked(parent, data, tmp_path / "out", batch=5, imgsz=32))


def test_a_data_set_is_read_by_the_one_rule_for_them(parent: Path, data: Path, tmp_path: Path) -> None:
    (data / "data.yaml").rename(data / "people.yaml")
    elsewhere = "path: C:\\someone\\data\ntrain: [C:\\someone\\data\\images\\train, images/gone]\n"
    (data / "people.yaml").write_text(elsewhere + "val: images/train\nnames: {0: person}\nkpt_shape: [17, 3]\n")
    record = fine_tune(asked(parent, data, tmp_path / "out", epochs=1)).record
    assert record["data"]["images"] == 6
    assert len(record["sources"]) == 6
    left = "; ".join(record["data"]["left_out"])
    assert "images/gone" in left and "is a path of another machine" in left


def test_a_run_is_not_resumed_with_other_settings_or_from_a_damaged_checkpoint(
    parent: Path, data: Path, tmp_path: Path
) -> None:
    settings = asked(parent, data, tmp_path / "out")
    with pytest.raises(TrainingError, match="no run here"):
        fine_tune(settings, resume=True)
    with pytest.raises(TuneStopped):
        fine_tune(settings, show=lambda p: p.epoch == 2)
    with pytest.raises(TrainingError, match=r"lr: was 0\.01, now 0\.02"):
        fine_tune(settings.model_copy(update={"lr": 0.02}), resume=True)
    checkpoint = settings.out / CHECKPOINT
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:])
    with pytest.raises(TrainingError, match="its tensors are not those that were written"):
        fine_tune(settings, resume=True)
    checkpoint.write_bytes(whole[:-100])
    with pytest.raises(TrainingError, match="not a checkpoint that can be resumed"):
        fine_tune(settings, resume=True)


def test_a_training_that_diverges_leaves_no_detector(parent: Path, data: Path, tmp_path: Path) -> None:
    class Breaking(Hook):
        def batch(self, model: nn.Module, batch: Batch) -> None:
            batch["img"] = batch["img"] * float("nan")

    with pytest.raises(TrainingError, match="no number"):
        fine_tune(asked(parent, data, tmp_path / "out"), hooks=[Breaking()])
    assert not (tmp_path / "out/detector.pt").exists()


def test_the_command_says_what_is_wrong(
    parent: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["lab", "finetune", "--data", str(data), "--detector", str(parent), "--out", str(out), "--imgsz", "64"]
    assert main([*words, "--epochs", "1", "--device", "cpu", "--batch", "4"]) == 0
    said = capsys.readouterr()
    assert "fine-tuned on 6 images with 5 labelled people, 1 epochs" in said.out
    assert f"physadv live --detector {out}" in said.out
    assert main(["lab", "finetune", "--resume", "--out", str(out)]) == 2
    assert "is finished" in capsys.readouterr().err
    assert main(["lab", "finetune", "--resume", "--out", str(tmp_path / "other")]) == 2
    assert "no run here to go on with" in capsys.readouterr().err
    assert main([*words[:2], "--data", str(tmp_path / "no"), "--out", str(tmp_path / "new")]) == 2
    assert "--data: " in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    # A run that was killed is not lost by a typo, nor a detector by being named as the folder of what comes of it.
    (out / CHECKPOINT).write_bytes(b"of a killed run")
    assert main([*words[:2], "--data", str(tmp_path / "no"), "--out", str(out)]) == 2
    assert (out / CHECKPOINT).read_bytes() == b"of a killed run"
    capsys.readouterr()
    weights = sha256_of(out / "detector.pt")
    assert main([*words[:4], "--detector", str(out), "--out", str(out)]) == 2
    refused = capsys.readouterr().err
    assert "--out: " in refused and "which this run is made from" in refused
    assert sha256_of(out / "detector.pt") == weights
