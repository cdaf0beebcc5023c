"""`lab harden`: a run is a detector, costs and history agree, free spends no more passes, a killed run goes on alike."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics.cfg import get_cfg

from physadv.arrays import write_png
from physadv.cli import main
from physadv.detect import load_detector
from physadv.detect.network import weights_hash
from physadv.errors import DataError, SettingsError, TrainingError
from physadv.evaluate.steps import finish
from physadv.tune.harden.costs import Costs
from physadv.tune.harden.run import Hardened, harden, with_patch_class
from physadv.tune.harden.settings import HardenSettings
from physadv.tune.harden.validation import Validation
from physadv.tune.run import load_network
from physadv.tune.trainer import TuneProgress, TuneStopped
from physadv.types import Frame
from tests.tune.conftest import save_tiny
from tests.tune.people import SIDE, people_image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(6):
        image = people_image(f"{number}.png", number)
        write_png(folder / "images" / image.name, image.pixels)
        rows = [(np.r_[b[:2] + b[2:], b[2:] - b[:2]] / [2, 2, 1, 1] / SIDE).tolist() for b in image.boxes]
        (folder / "labels" / f"{number}.txt").write_text("".join(f"0 {' '.join(map(str, row))}\n" for row in rows))
    return folder


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny.pt")


def settings(images: Path, parent: Path, out: Path, **more: Any) -> HardenSettings:
    values = {
        "images": images, "detector": str(parent), "labeller": str(parent), "out": out, "imgsz": 96, "batch": 2,
        "epochs": 4, "held_out": 0.35, "bank": 6, "moving": 2, "device": "cpu", "seed": 1, "threads": 1, **more,
    }  # fmt: skip
    return HardenSettings.model_validate(values)


def hardened(asked: HardenSettings, **more: Any) -> Hardened:
    return finish(harden(asked, **more))


def test_free_trains_as_many_updates_as_natural_training_in_as_many_passes(
    images: Path, parent: Path, tmp_path: Path
) -> None:
    natural = hardened(settings(images, parent, tmp_path / "natural", method="natural"))
    free = hardened(settings(images, parent, tmp_path / "free", method="free", beside=[tmp_path / "natural"]))
    assert [run.method for run in free.costs] == ["free", "natural"]
    plain, own = natural.costs[0].last, free.costs[0].last
    assert own.steps == plain.steps > 4
    assert own.passes == own.steps and plain.passes == plain.steps
    assert (own.epoch, plain.epoch) == (1, 4)
    first = natural.costs[0].rows[0], free.costs[0].rows[0]
    assert first[0] == first[1], "both are judged before the first step as their parent is"
    assert own.attacked_loss is not None and own.clean_loss != first[1].clean_loss
    history = free.run.record["history"]
    assert [row["costs"]["steps"] for row in history] == [own.steps]
    assert free.run.record["harden"]["method"] == "free"
    held = set(free.run.record["harden"]["images"]["held_out"])
    assert held and held.isdisjoint(free.run.record["harden"]["images"]["train"])
    for name in ("costs.json", "costs.md", "costs.png", "detector.pt", "run.json"):
        assert (tmp_path / "free" / name).stat().st_size > 0
    assert not (tmp_path / "free" / "training-data").exists()
    assert "free" in (tmp_path / "free" / "costs.md").read_text()
    assert Costs.read(tmp_path / "free") == free.costs[0]
    detector = load_detector(str(tmp_path / "free"), backend="torch", imgsz=96, device="cpu")
    assert detector.sha256 == free.run.record["detector"]["sha256"]


def test_the_class_term_weighs_what_is_asked_for(images: Path, parent: Path, tmp_path: Path) -> None:
    asked = {"method": "natural", "epochs": 1}
    first = settings(images, parent, tmp_path / "weak", class_gain=0.5, **asked)
    beside = {"beside": [first.out], "score_with": ["webcam"]}
    weak = hardened(first).run.record["history"][0]
    notes: list[Any] = []
    steps = harden(settings(images, parent, tmp_path / "strong", class_gain=5.0, **asked, **beside))
    strong = finish(steps, notes.append).run.record["history"][0]
    assert [text for share, text in notes if share is None] == [
        f"doubt: {first.out} was judged at another size, on other images or patterns: it does not compare"
    ]
    # A new learning rate rises from 0, so that in one epoch both networks are nearly the same.
    assert strong["loss"]["cls"] == pytest.approx(10 * weak["loss"]["cls"], rel=0.2)
    assert strong["loss"]["box"] == pytest.approx(weak["loss"]["box"], rel=0.2)


def test_a_stopped_hardening_goes_on_to_the_same_weights_and_rows(images: Path, parent: Path, tmp_path: Path) -> None:
    whole = settings(images, parent, tmp_path / "whole", method="free", replays=2, noise=0.02)
    broken = settings(images, parent, tmp_path / "broken", method="free", replays=2, noise=0.02)
    hardened(whole)
    shown: list[TuneProgress] = []

    def show(progress: TuneProgress) -> bool:
        shown.append(progress)
        return progress.epoch == 2 and progress.batch == 2

    with pytest.raises(TuneStopped):
        hardened(broken, show=show)
    with pytest.raises(DataError, match="finished runs"):
        hardened(settings(images, parent, tmp_path / "third", beside=[tmp_path / "broken"]))
    with pytest.raises(TrainingError, match=r"begun with other settings: class_gain: was 2\.0, now 5\.0"):
        hardened(broken.model_copy(update={"class_gain": 5.0}), resume=True)
    again = hardened(broken, resume=True)
    rows = [
        [(row.epoch, row.steps, row.passes, row.clean_loss) for row in Costs.read(tmp_path / n).rows]
        for n in ("whole", "broken")
    ]
    assert rows[0] == rows[1]
    assert [row.epoch for row in again.costs[0].rows] == [0, 1, 2]
    one, other = (weights_hash(load_network(str(tmp_path / name))) for name in ("whole", "broken"))
    assert one == other


def test_a_hardening_killed_in_its_first_epoch_begins_again_and_a_finished_one_does_not(
    parent: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "recorded"
    photos.mkdir()
    for number in range(9):
        name = f"stretch{number // 3}-{number % 3:04d}.jpg"
        cv2.imwrite(str(photos / name), people_image(name, number).pixels)
    (tmp_path / "labels").mkdir()
    for path in photos.iterdir():
        (tmp_path / "labels" / f"{path.stem}.txt").write_text("0 .5 .5 .3 .6\n")
    asked = settings(photos, parent, tmp_path / "out", method="natural", epochs=1, labels=tmp_path / "labels")
    with pytest.raises(TuneStopped):
        hardened(asked, show=lambda _: True)
    run = hardened(asked, resume=True).run
    # Neighbours in time are near copies: of three stretches one is held out, and its frames are all on that side.
    sides = run.record["harden"]["images"]
    assert sorted(sides["train"] + sides["held_out"]) == [f"camera#stretch{n}" for n in range(3)]
    assert len(run.record["sources"]) == 5, "the frame right beside the held-out stretch is left out"
    with pytest.raises(SettingsError, match="is finished: there is nothing to go on with"):
        hardened(asked, resume=True)


def test_a_doubtful_keypoint_is_none_to_the_validation_as_to_the_training(parent: Path) -> None:
    image, network = people_image("a", 0, people=1), load_network(str(parent))
    network.args = get_cfg()  # type: ignore[assignment]

    def loss(sure: float) -> float:
        points = np.zeros((1, 17, 3), np.float32)
        points[0, 0] = (40, 40, sure)
        return Validation([replace(image, keypoints=points)], [], imgsz=96, seed=0).measure(network, 0).clean_loss

    assert loss(0.2) == loss(0.0) != loss(0.9)


def test_a_class_of_its_own_leaves_the_answers_for_people_as_they_were(parent: Path) -> None:
    images = torch.rand(1, 3, 96, 96)
    network = load_network(str(parent)).eval()
    with torch.no_grad():
        before = network(images)[1]["scores"]
        number = with_patch_class(network)
        after = network(images)[1]["scores"]
    assert number == 1 and after.shape[1] == 2
    assert torch.allclose(after[:, :1], before)
    assert (after[:, 1].sigmoid() < 0.01).all()
    with pytest.raises(SettingsError, match="patch_class"):
        with_patch_class(network)


def test_a_run_with_a_patch_class_is_a_detector_of_people(images: Path, parent: Path, tmp_path: Path) -> None:
    hardened(settings(images, parent, tmp_path / "out", method="pod", epochs=1, patch_class=True))
    found = load_detector(str(tmp_path / "out"), backend="torch", imgsz=96, device="cpu")
    assert found.detect(Frame(np.zeros((96, 96, 3), np.uint8), 0, 0, 0.0)).keypoints is not None


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--method", "patches"], "--patterns: expected pattern files or names, got none"),
        (["--method", "pod", "--patterns", "street"], "--patterns: expected none with the method pod"),
        (["--method", "patches", "--patterns", "street"], "--score-with: expected patterns that are not trained with"),
        (["--print-scale", "0.5,0.2"], "--print-scale: expected the least size and then the largest"),
        (["--beside", "nowhere"], "--beside: expected the folder of a run"),
        (["--resume"], "--resume: expected the folder of a run"),
        (["--replays", "0"], "--replays: expected at least 1"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    images: Path, parent: Path, tmp_path: Path, more: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--images", str(images), "--detector", str(parent), "--out", str(tmp_path / "out"), *more]
    assert main(["lab", "harden", *flags]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "detector.pt").exists()


def test_a_folder_without_people_is_refused(parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "empty" / "noise.png", np.zeros((64, 64, 3), np.uint8))
    flags = ["--images", str(tmp_path / "empty"), "--labeller", str(parent), "--detector", str(parent)]
    assert main(["lab", "harden", *flags, "--out", str(tmp_path / "out")]) == 2
    assert "people" in capsys.readouterr().err


def test_the_command_writes_what_it_came_to(
    images: Path, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = [
        "--images",
        str(images),
        "--detector",
        str(parent),
        "--labeller",
        str(parent),
        "--imgsz",
        "96",
        "--epochs",
        "1",
    ]
    assert main(["lab", "harden", *flags, "--bank", "4", "--device", "cpu", "--threads", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "pod" in said and f"--detector {out}" in said
    rows = json.loads((out / "costs.json").read_text())["rows"]
    assert [row["epoch"] for row in rows] == [0, 1]
