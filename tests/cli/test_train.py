"""`physadv train` as typed: one line for every mistake, Ctrl-C saves, `--resume` needs no flag again."""

import json
import os
import signal
import sys
import time
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from tiny import BlobDetector, draw_person, tiny_detector, tiny_gradient

import physadv
from physadv.attack.optimise import Progress
from physadv.attack.recipe import Recipe
from physadv.attack.settings import TrainSettings
from physadv.attack.timing import made_up
from physadv.attack.training import Outcome
from physadv.cli import main
from physadv.cli.console import Terminal
from physadv.cli.edge import Stop, interruptible
from physadv.cli.progress import ProgressBar
from physadv.cli.train import SHOWN, ProgressLine, TrainVerb, anchored, given, report
from physadv.errors import SettingsError, TrainingError
from physadv.evaluate.images import LABEL_IMGSZ
from physadv.patch import Patch, load_patch
from physadv.types import Detector


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder, labels = tmp_path / "images", tmp_path / "labels"
    folder.mkdir()
    labels.mkdir()
    for i, image in enumerate(made_up(6)):
        cv2.imwrite(str(folder / f"{i}.jpg"), image.pixels[..., ::-1])
        x0, y0, x1, y1 = image.boxes[0] / np.array([640, 480, 640, 480])
        (labels / f"{i}.txt").write_text(f"0 {(x0 + x1) / 2:.4f} {(y0 + y1) / 2:.4f} {x1 - x0:.4f} {y1 - y0:.4f}\n")
    return folder


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "--images"),
        (["--images", "nowhere"], "nowhere"),
        (["--images", "{images}", "--crops", "100"], "multiples of 32"),
        (["--images", "{images}", "--crops", "224,foo"], "--crops: expected a valid integer, got 'foo'"),
        (["--images", "{images}", "--colours", "1"], "--colours: expected 2 or more, or 0"),
        (["--images", "{images}", "--width-mm", "5"], "--width-mm: expected at least 20"),
        (["--images", "{images}", "--device", "cuda:77"], "--device: expected auto, cpu, cuda or mps"),
        (["--images", "{images}", "--out", "{file}/x"], "--out: expected a folder that can be written"),
        (["--images", "{images}", "--out", "{images}/run"], "/run would lie among the images of"),
        (["--images", "{images}", "--look", "missing.png", "--steps", "1"], "--look: "),
        (["--images", "{images}", "--start", "missing", "--steps", "1"], "--start: missing"),
        (["--images", "{images}", "--through", "wishing"], "--through: expected one of"),
        (["--images", "{images}", "--through", "persistence"], "--through: persistence has no twin"),
        (["--images", "{images}", "--through", "erase:weights=none"], "--through: erase: "),
        (["--images", "{images}", "--detector", "none.pt"], "none.pt"),
        (["--images", "{images}", "--printer", "unknown"], "unknown"),
        (["--images", "{images}", "--held-out", "1.5"], "--held-out"),
        (["--images", "{images}", "--webcam-scale", ".6"], "--framing mixed"),
        (["--resume", "--out", "{empty}"], "--resume: no run here to go on with"),
        (["--images", "{images}", "--region", "{black}", "--steps", "1"], "--region: "),
        (["--images", "{images}", "--source", "0"], "--images: expected this or --source, not both"),
        (["--source", "0", "--labels", "{images}"], "--labels: expected --images"),
        (["--images", "{images}", "--seconds", "9"], "--seconds: expected a camera by --source"),
        (["--images", "{images}", "--look-weight", "3"], "--look-weight: expected an image by --look"),
        (["--resume", "--minutes", "5", "--out", "{empty}"], "--minutes: a run's steps are fixed"),
        (["--images", "{images}", "--detector", ","], "--detector: expected one name or path"),
        (["--images", "{images}", "--detector", "yolo11n-pose,yolo11n-pose.pt"], "--detector: yolo11n-pose is named"),
        (["--images", "{images}", "--tensorboard"], "--tensorboard: not installed"),
    ],
)
def test_a_mistake_is_one_line(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    says: str,
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("physadv.attack.data.gather", None)
    (tmp_path / "file").touch()
    black = tmp_path / "black.png"
    cv2.imwrite(str(black), np.zeros((8, 8, 3), np.uint8))
    places = {
        "images": str(images),
        "empty": str(tmp_path / "empty"),
        "black": str(black),
        "file": str(tmp_path / "file"),
    }
    words = [f.format(**places) for f in flags]
    if "--out" not in words:
        words += ["--out", str(tmp_path / "run")]
    assert main(["train", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("physadv train: ")
    assert says in line
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("tiny")
def test_what_of_a_pipeline_is_trained_through_and_what_changes_nothing_is_said(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--images", str(images), "--out", str(tmp_path / "run"), "--through", "fast", "--mix", "max"]
    assert main(["train", *flags, *TINY]) == 0
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert first == "--through fast: trained through lgs; persistence has no twin for single images"
    assert second == "--mix max weighs several detectors and changes nothing with one"


@pytest.mark.usefixtures("tiny")
def test_ctrl_c_saves_and_resume_ends_as_if_it_had_not_been(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole" / "run", tmp_path / "cut" / "run"
    flags = ["train", "--images", str(images), *TINY[2:], "--steps", "6"]
    assert main([*flags, "--out", str(whole)]) == 0
    real = ProgressLine.show

    def show(line: ProgressLine, at: Progress) -> None:
        real(line, at)
        if at.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as once:
        once.setattr(ProgressLine, "show", show)
        capsys.readouterr()
        assert main([*flags, "--out", str(cut)]) == 130
    assert "go on with: physadv train --resume --out" in capsys.readouterr().out
    begun = json.loads((cut / "flags.json").read_text())
    assert begun["start"] == "street"
    # By the time the run goes on another pattern is shipped by that name: its own is in the folder.
    (cut / "flags.json").write_text(json.dumps({**begun, "start": "chest-v1"}))
    assert main(["train", "--resume", "--out", str(cut)]) == 0
    assert (whole / "patch.safetensors").read_bytes() == (cut / "patch.safetensors").read_bytes()


def test_a_run_is_recorded_so_that_it_can_be_resumed_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.pt", "look.png", "mask.png", "start.png", "head.safetensors"):
        (tmp_path / name).touch()
    for kind in ("cameras", "printers"):
        (tmp_path / "calib" / kind).mkdir(parents=True)
        (tmp_path / "calib" / kind / "desk.json").touch()
    asked = TrainVerb.model_validate(
        {
            "images": ["photos"],
            "detector": ["net.pt", "yolo11n-pose"],
            "look": "look.png",
            "region": "mask.png",
            "start": "start.png",
            "camera": "desk",
            "printer": "calib/printers/desk.json",
            "through": "erase:weights=head.safetensors,persistence",
        }
    )
    recorded = given(anchored(asked))
    here = str(tmp_path)
    assert recorded == {
        "images": [f"{here}/photos"],
        "detector": [f"{here}/net.pt", "yolo11n-pose"],
        "look": f"{here}/look.png",
        "region": f"{here}/mask.png",
        "start": f"{here}/start.png",
        "camera": f"{here}/calib/cameras/desk.json",
        "printer": f"{here}/calib/printers/desk.json",
        "through": f"erase:weights={here}/head.safetensors,persistence",
    }
    monkeypatch.chdir("/")
    assert given(anchored(TrainVerb.model_validate(recorded))) == recorded
    plain = {"start": "webcam", "source": "0", "detector": ["yolo26n.pt"], "through": "balanced"}
    assert given(anchored(TrainVerb.model_validate(plain))) == plain


def test_paths_and_names_in_brackets_are_printed_as_they_are() -> None:
    out = StringIO()
    figures = dict.fromkeys(SHOWN.values(), 0.5) | {"n_people": 9, "n_images": 5}
    patch = Patch("a", np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8), (300, 300))
    label = "street nets/[b]/best"
    outcome = Outcome(
        patch, Path("runs/[a]"), False, 7, {label: figures}, {label: {"grey": {**figures, "recall25": 1.0}}}
    )
    report(outcome, Terminal(file=out, width=60))
    lines = out.getvalue().splitlines()
    assert [label in line for line in lines[:4]] == [True, True, False, False]
    assert lines[2] == "pattern: runs/[a]/patch.png"
    assert lines[3].endswith("go on with: physadv train --resume --out 'runs/[a]'")
    assert [line.split()[:3] for line in lines[4:]] == [
        ["next:"],
        ["physadv", "live", "--wear"],
        ["physadv", "evaluate", "'runs/[a]'"],
        ["physadv", "print", "'runs/[a]'"],
    ]
    out = StringIO()
    ProgressLine(ProgressBar("", console=Terminal(file=out, width=60))).show(
        Progress(1, 9, 1.0, 1.0, {label: {**figures}}, {})
    )
    assert label in out.getvalue()


def test_a_run_that_gained_nothing_says_so_and_what_to_type_next(tmp_path: Path) -> None:
    def said(kept: str, start: str | None, pattern: float, grey: float) -> str:
        def row(recall: float) -> dict[str, float]:
            return dict.fromkeys(SHOWN.values(), 0.5) | {"recall25": recall, "n_people": 9, "n_images": 5}

        patch = Patch("a", np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8), (300, 300))
        controls = {"street": {"grey": row(grey), "start": row(0.3)}}
        out = StringIO()
        report(
            Outcome(patch, Path("a"), True, 7, {"street": row(pattern)}, controls, kept, start),  # type: ignore[arg-type]
            Terminal(file=out, width=200),
            [str(tmp_path)],
        )
        return out.getvalue()

    assert "kept is street, from which the run began" in said("start", "street", 0.3, 0.8)
    assert "does better on those held out than street" in said("trained", "street", 0.2, 0.8)
    assert "hides as many of those held out as street, from which it began, and no more" in said(
        "trained", "street", 0.3, 0.8
    )
    patch = Patch("a", np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8), (300, 300))
    out = StringIO()
    report(Outcome(patch, Path("a"), True, 7, {}, {}, "trained", "street"), Terminal(file=out, width=200))
    assert "better than street, from which it began, is not known" in out.getvalue()
    assert "evaluate a --images PHOTOGRAPHS --held-out" in out.getvalue()
    assert f"evaluate a --images {tmp_path} --held-out" in said("trained", None, 0.8, 0.8)
    assert "no better than a grey square" in said("trained", None, 0.8, 0.8)
    assert "kept is" not in said("trained", None, 0.2, 0.8) and "grey square" not in said("trained", None, 0.2, 0.8)


def test_the_line_of_progress_tells_the_pattern_as_it_is_beside_the_best() -> None:
    out = StringIO()
    figures = [{"street": {"asr_strict25": asr, "recall25": 1 - asr}} for asr in (0.5, 0.25)]
    clock = iter(range(0, 10_000, 60))
    line = ProgressLine(ProgressBar("train", console=Terminal(file=out, width=200), clock=lambda: next(clock)))
    for step, (score, best) in enumerate(
        [(None, {}), (figures[0], figures[0]), (None, figures[0]), (figures[1], figures[0])]
    ):
        line.show(Progress(step, 9, 1.0, 1.0, score, best))
    lines = out.getvalue().splitlines()
    assert "held out: street asr 0.500 recall 0.500  best: street asr 0.500" in lines[1]
    assert "held out: street asr 0.250 recall 0.750  best: street asr 0.500" in lines[3]
    assert lines[3].startswith("train:  33%") and lines[3].endswith("about 6 min left")


def test_scale_is_that_of_the_framing_that_is_trained() -> None:
    def settings(**flags: object) -> Recipe:
        return Recipe.of(TrainSettings.model_validate(flags))

    webcam = settings(framing="webcam", scale=0.5)
    assert (settings(scale=0.5).scale, webcam.webcam_scale) == (0.5, 0.5)
    assert webcam.print_size() == pytest.approx((369.2, 369.2))
    assert settings(framing="webcam", width_mm=200).webcam_scale == pytest.approx(0.2708, abs=1e-4)


def test_detectors_are_separated_by_commas_as_in_an_evaluation(tmp_path: Path) -> None:
    odd = tmp_path / "a,b.pt"
    odd.touch()
    asked = TrainSettings.model_validate({"detector": ["yolo11n, x.pt", str(odd), "y.pt"]})
    assert asked.detector == ["yolo11n", "x.pt", str(odd), "y.pt"]


TINY = ["--steps", "3", "--batch", "1", "--crops", "64", "--texels", "16", "--margin", "1"]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every detector is a tiny net, and the people are those that a test draws."""
    # What is remembered of the drawn people must be what these detectors find, and stay in the test.
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "cache"))

    def detector(*_: object, imgsz: int = 640, **__: object) -> Detector:
        return BlobDetector() if imgsz == LABEL_IMGSZ else tiny_detector(imgsz=64)

    for module in ("physadv.attack.data", "physadv.evaluate.images"):
        monkeypatch.setattr(f"{module}.load_detector", detector)
    monkeypatch.setattr("physadv.attack.data.load_gradient_detector", lambda *_, **__: tiny_gradient())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for i in range(30):
        pixels = np.full((120, 160, 3), 90, np.uint8)
        draw_person(pixels, (20 + i, 10, 80 + i, 115))
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    return path


@pytest.mark.usefixtures("tiny")
def test_a_recorded_source_is_trained_on(tmp_path: Path, video: Path) -> None:
    out = tmp_path / "run"
    assert main(["train", "--source", str(video), "--seconds", "5", "--out", str(out), *TINY]) == 0
    patch = load_patch(out)
    assert len(list((out / "people").glob("stretch*.jpg"))) == 30
    split = patch.record["split"]
    assert all(n.startswith("camera#stretch") for n in (*split["train"], *split["held_out"]))
    assert set(split["pixels"]) == set(split["train"]) and patch.record["held_out"]["street"]["n_people"] > 0


@pytest.mark.usefixtures("tiny")
def test_a_notebook_trains_by_one_call(images: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"labels": images.parent / "labels", "batch": 1, "crops": (64,), "texels": 16}
    patch = physadv.train(images, tmp_path / "run", steps=3, **fields)
    assert patch.sha256 == load_patch(tmp_path / "run").sha256
    again = physadv.train(images, tmp_path / "run", steps=3, resume=True, **fields)
    assert again.sha256 == patch.sha256
    with pytest.raises(TrainingError, match=r"^out: .* holds a run already"):
        physadv.train(images, tmp_path / "run", steps=3, **fields)
    with pytest.raises(SettingsError) as caught:
        physadv.train(images, tmp_path / "other", step=3)
    assert caught.value.field == "step"


@pytest.mark.usefixtures("tiny")
def test_region_colours_and_a_defence_reach_the_pattern(images: Path, tmp_path: Path) -> None:
    half = np.zeros((32, 32, 3), np.uint8)
    half[:, 16:] = 255
    cv2.imwrite(str(tmp_path / "half.png"), half)
    flags = ["--region", str(tmp_path / "half.png"), "--colours", "3", "--through", "median"]
    assert main(["train", "--images", str(images), "--out", str(tmp_path / "run"), *flags, *TINY]) == 0
    patch = load_patch(tmp_path / "run")
    assert not patch.mask[:, : patch.mask.shape[1] // 2].any() and patch.mask[:, patch.mask.shape[1] // 2 :].all()
    assert 1 <= len(np.unique(patch.pixels[patch.mask == 255], axis=0)) <= 3
    assert patch.record["through"] == "median" and patch.record["settings"]["colours"] == 3


class Events:
    """Stands in for TensorBoard's writer, which need not be installed."""

    made: ClassVar[list["Events"]] = []

    def __init__(self, folder: str) -> None:
        self.folder, self.tags, self.closed = folder, list[tuple[str, int]](), False
        self.made.append(self)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        assert np.isfinite(value) and not self.closed
        self.tags.append((tag, step))

    def close(self) -> None:
        self.closed = True


@pytest.mark.usefixtures("tiny")
def test_tensorboard_gets_figures_and_its_file_is_closed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Events  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert main(["train", "--images", str(images), "--out", str(tmp_path / "run"), "--tensorboard", *TINY]) == 0
    events = Events.made[-1]
    assert events.folder == str(tmp_path / "run" / "tensorboard") and events.closed
    assert [step for tag, step in events.tags if tag == "loss"] == [1, 2, 3]
    assert ("street/recall25", 3) in events.tags
    monkeypatch.setattr("physadv.attack.training.prepare", interrupted)
    main(["train", "--images", str(images), "--out", str(tmp_path / "other"), "--tensorboard", *TINY])
    assert len(Events.made) == 2 and Events.made[-1].closed


def interrupted(*_: object, **__: object) -> Outcome:
    """Ctrl-C while people are looked for."""
    os.kill(os.getpid(), signal.SIGINT)
    # The signal is taken between two instructions, at the latest here.
    time.sleep(5)
    raise AssertionError("went on")


@pytest.mark.usefixtures("tiny")
def test_ctrl_c_before_the_first_step_ends_it_at_once(
    images: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("physadv.attack.data.gather", interrupted)
    assert main(["train", "--source", str(video), "--seconds", "5", "--out", str(out), *TINY]) == 130
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == f"stopped before the first checkpoint; who was recorded is kept: --images {out / 'people'}"
    assert len(list((out / "people").glob("*.jpg"))) == 30
    plain = ["train", "--images", str(images), "--out", str(out), *TINY]
    assert main(plain) == 130
    assert capsys.readouterr().err.strip().endswith("stopped before the first checkpoint; nothing was trained")
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_loop_after_its_step_and_a_second_one_at_once(number: signal.Signals) -> None:
    stop = Stop()
    with interruptible(stop):
        assert not stop.asked()
        os.kill(os.getpid(), number)
        assert stop.asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
