"""The parts of cleansing methods, each on a small network."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from physadv.arrays import identity_of
from physadv.cli import main
from physadv.dataset import LabelledImage, labelled_images
from physadv.detect import load_detector
from physadv.detect.runs import LabRun
from physadv.detect.weights import find_weights
from physadv.errors import DataError, SettingsError, TrainingError
from physadv.evaluate.images import Labeller, gather
from physadv.evaluate.metrics import ap50
from physadv.evaluate.steps import finish
from physadv.files import write_json
from physadv.tune.cleanse.anp import NeuronMasks, learn_masks
from physadv.tune.cleanse.between import go_within
from physadv.tune.cleanse.clean import CleanFigures, CleanImages, clean_figures, labeller_of
from physadv.tune.cleanse.confoc import Style, bands_of, restyled, style_of, with_style
from physadv.tune.cleanse.fine_pruning import least_active_first, mean_activations
from physadv.tune.cleanse.job import CleanseJob
from physadv.tune.cleanse.nad import attention_loss
from physadv.tune.cleanse.prints import PrintsWorn
from physadv.tune.cleanse.pruning import Channels, PruningStep, block_channels, hold_silent, prune_within, silence
from physadv.tune.cleanse.run import METHODS, cleanse
from physadv.tune.cleanse.settings import CleanseSettings
from physadv.tune.cleanse.turning import Turning, turned_images, turned_labels
from physadv.tune.run import load_network, read_run, save_run
from physadv.tune.trainer import TuneStopped
from tests.tune.networks import batch_of, pyramid_network
from tests.tune.stand_in import BlueDetector, scene


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def outputs(network: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the output of every layer but the head."""
    found: list[torch.Tensor] = []
    handles = [m.register_forward_hook(lambda m, i, o: found.append(o)) for m in network.model[:-1]]
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("fused", [False, True])
def test_a_channel_of_a_block_is_silenced_at_its_output(images: torch.Tensor, fused: bool) -> None:
    network = pyramid_network().eval()
    if fused:
        network.fuse(verbose=False)
    layers = block_channels(network, images)
    # All blocks but the one that adds its input to what it returns, and the head.
    assert [layer.name.split(".")[1] for layer in layers] == ["0", "1", "2", "3", "4", "6"]
    before = outputs(network, images)
    silence([(layer, 2) for layer in layers])
    after = outputs(network, images)
    for number in (0, 1, 2, 3, 4, 6):
        assert before[number][:, 2].abs().max() > 0
        assert torch.equal(after[number][:, 2], torch.zeros_like(after[number][:, 2]))
    assert after[0][:, 3].abs().max() > 0


def test_the_least_active_channels_come_first(images: torch.Tensor) -> None:
    network = pyramid_network()
    layers = block_channels(network, images)
    silence([(layers[1], 5), (layers[3], 0)])
    assert layers[1].silent() == [(layers[1], 5)]
    means = mean_activations(network, layers, [images[:3], images[3:]])
    # The largest of each image: a person covers few places of it.
    assert torch.allclose(means[0], outputs(network, images)[0].abs().amax((2, 3)).mean(0), atol=1e-5)
    first = least_active_first(layers, means)
    assert {(layer.name, number) for layer, number in first[:2]} == {(layers[1].name, 5), (layers[3].name, 0)}
    assert len(first) == sum(map(len, layers))


def test_pruning_keeps_the_last_step_that_clean_images_allow() -> None:
    weights = torch.nn.Parameter(torch.ones(10))
    layer = Channels("only", (weights,))
    seen: list[PruningStep] = []
    steps = prune_within(
        [(layer, n) for n in range(10)],
        lambda: CleanFigures(0.9, 0.8 if weights.sum() >= 6 else 0.5),
        tolerance=0.02,
        step=0.2,
        each=seen.append,
    )
    assert [s.silent for s in steps] == [0, 2, 4]
    assert weights.tolist() == [0.0] * 4 + [1.0] * 6
    assert seen[-1] == PruningStep(6, CleanFigures(0.9, 0.5))


def test_silenced_channels_stay_silent_while_the_rest_is_trained(images: torch.Tensor) -> None:
    network = pyramid_network()
    layers = block_channels(network, images)
    silent = [(layer, n) for layer in layers for n in (0, 3)]
    silence(silent)
    hold_silent(silent)
    kept = layers[2].parameters[0].detach().clone()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        network.train()(batch_of(images))[0].sum().backward()
        optimiser.step()
    assert all(p[n].item() == 0 for layer, n in silent for p in layer.parameters)
    assert not torch.equal(kept, layers[2].parameters[0])


def test_masks_fall_for_channels_that_a_push_turns_and_weights_stay(images: torch.Tensor) -> None:
    network = pyramid_network()
    # A channel that nothing looks at.
    network.model[1].conv.weight.data[:, 4] = 0
    before = copy.deepcopy(network.state_dict())
    masks = NeuronMasks.whole(network)
    # Those of the blocks: a head that is pruned scores lower.
    assert {name.split(".")[1] for name in masks.norms} == {"0", "1", "2", "3", "4", "5", "6"}
    losses = list(learn_masks(masks, network, [batch_of(images)] * 4, push=0.3, seed=0))
    assert all(pushed > clean for clean, pushed in losses)
    first = masks.masks[0].tolist()
    assert first[4] == 1
    assert min(first) < 0.98
    assert all(0 <= value <= 1 for mask in masks.masks for value in mask.tolist())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    ranked = masks.lowest_first()
    values = [masks.masks[list(masks.norms).index(layer.name)][n].item() for layer, n in ranked]
    assert values == sorted(values)


def test_attention_is_where_a_network_looks_however_strongly(images: torch.Tensor) -> None:
    with torch.no_grad():
        levels = pyramid_network().eval()(images)[1]["feats"]
    assert [tuple(level.shape) for level in levels] == [(4, 8, 8, 8), (4, 16, 4, 4), (4, 16, 2, 2)]
    # The strength of a level is no attention, a shuffled channel neither; another place is.
    assert float(attention_loss(levels, [level.flip(1) * 3 for level in levels])) == pytest.approx(0, abs=1e-5)
    assert float(attention_loss(levels, [level.flip(3) for level in levels])) > 1e-3
    corner, other = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    corner[..., 0, 0], other[..., 3, 3] = 1, 1
    assert float(attention_loss([corner] * 3, [other] * 3)) == pytest.approx(6)


def test_a_trained_network_is_moved_back_as_far_as_clean_images_ask() -> None:
    old, new = pyramid_network(0), pyramid_network(1)
    before, after = old.state_dict(), copy.deepcopy(new.state_dict())
    figures = iter([CleanFigures(0.6, 0.9), CleanFigures(0.9, 0.6), CleanFigures(0.88, 0.88)])
    steps = go_within(
        new, before, lambda: next(figures), lambda clean: clean.keeps(CleanFigures(0.9, 0.9), tolerance=0.03)
    )
    assert [step.share for step in steps] == [1.0, 0.9, 0.8]
    assert steps[-1].record() == {"share": 0.8, "clean_ap50": 0.88, "clean_recall25": 0.88}
    for name, values in new.state_dict().items():
        if values.is_floating_point():
            assert torch.allclose(values, before[name] + 0.8 * (after[name] - before[name]), atol=1e-6)
    # Nothing is enough: the least that was learnt is kept.
    assert go_within(new, before, lambda: CleanFigures(0, 0), lambda _: False)[-1].share == 0.1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_labels_turn_with_their_image(quarters: int) -> None:
    image = torch.zeros(2, 3, 64, 64)
    image[:, :, 20:50, 10:20] = 1
    batch = {
        "img": image,
        "cls": torch.zeros(2, 1),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "bboxes": torch.tensor([[15.0, 35, 10, 30]] * 2) / 64,
        "keypoints": torch.tensor([[[10.5 / 64, 20.5 / 64, 2.0], [0, 0, 0]]] * 2),
    }
    angles = torch.tensor([0, quarters * torch.pi / 2])
    shown = turned_images(image, angles, angles != 0)
    labels = turned_labels(batch, angles)
    assert torch.equal(shown[0], image[0]) and torch.equal(labels["bboxes"][0], batch["bboxes"][0])
    assert torch.equal(labels["keypoints"][0], batch["keypoints"][0])
    y, x = torch.where(shown[1, 0] > 0.9)
    box = torch.stack(
        [(x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2, x.max() + 1 - x.min(), y.max() + 1 - y.min()]
    )
    assert torch.allclose(labels["bboxes"][1] * 64, box, atol=1.1)
    # The joint in the upper left corner stays in the corner that it was turned to.
    joint = labels["keypoints"][1, 0, :2] * 64
    assert shown[1, 0, int(joint[1]), int(joint[0])] > 0.9
    assert labels["keypoints"][1, 1].tolist() == [0, 0, 0]


def test_a_slanted_person_s_box_is_that_of_the_ellipse_and_who_is_turned_out_is_dropped() -> None:
    batch = {
        "cls": torch.zeros(2, 1),
        "batch_idx": torch.zeros(2),
        # In the middle, 8 by 24 of 64 pixels; and in a corner, which a turn by 45 degrees leaves outside.
        "bboxes": torch.tensor([[32.0, 32, 8, 24], [5, 5, 8, 8]]) / 64,
    }
    labels = turned_labels(batch, torch.tensor([torch.pi / 4]))
    side = ((8**2 + 24**2) / 2) ** 0.5
    assert (labels["bboxes"] * 64).tolist() == [pytest.approx([32, 32, side, side], abs=1e-3)]
    assert len(labels["cls"]) == len(labels["batch_idx"]) == 1


def test_a_share_of_the_images_is_turned_and_the_seed_says_which(images: torch.Tensor) -> None:
    def turned(share: float) -> torch.Tensor:
        batch = batch_of(images.repeat(4, 1, 1, 1))
        torch.manual_seed(0)
        Turning(share).batch(torch.nn.Identity(), batch)
        return batch["img"]

    plain = images.repeat(4, 1, 1, 1)
    assert torch.equal(turned(0), plain)
    assert 4 <= int((turned(0.5) != plain).any(3).any(2).any(1).sum()) <= 12
    assert torch.equal(turned(0.5), turned(0.5))


def smooth(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(images, 5, 1, 2) * 0.5 + 0.25


def test_a_swapped_style_is_the_other_image_s_and_the_content_stays(images: torch.Tensor) -> None:
    plain = smooth(images)
    assert torch.allclose(sum(bands_of(plain), torch.zeros(())), plain, atol=1e-6)
    assert torch.allclose(with_style(plain, style_of(plain)), plain, atol=1e-5)
    target = style_of((plain[2:3] * 0.7 + 0.1).flip(1))
    swapped = with_style(plain[:1], target)
    got = style_of(swapped)
    assert torch.allclose(got.mean, target.mean, atol=0.01)
    assert torch.allclose(got.deviations[:, 0], target.deviations[:, 0], rtol=0.15)
    edges = [bands_of(i)[1][0, 0].flatten() for i in (plain[:1], swapped)]
    assert float(torch.corrcoef(torch.stack(edges))[0, 1]) > 0.9


def _restyled(images: torch.Tensor, styles: Style) -> torch.Tensor:
    torch.manual_seed(3)
    return restyled(images, styles)


def test_a_restyled_batch_holds_plain_and_changed_images_and_is_the_seed_s(images: torch.Tensor) -> None:
    plain = smooth(images).repeat(6, 1, 1, 1)
    styles = style_of(plain[:4] * 0.5)
    first, again = (_restyled(plain, styles) for _ in range(2))
    assert torch.equal(first, again)
    changed = (first - plain).abs().amax((1, 2, 3)) > 0
    assert 8 <= int(changed.sum()) <= 22
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a YOLO data set of 14 images of 64 px, each with one bright person."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    for number in range(14):
        image = rng.integers(0, 90, (64, 64, 3), np.uint8)
        x = int(rng.integers(10, 30))
        image[16:56, x : x + 20] += 140
        cv2.imwrite(str(root / "images" / f"{number}.png"), image)
        (root / "labels" / f"{number}.txt").write_text(f"0 {(x + 10) / 64} {36 / 64} {20 / 64} {40 / 64}\n")
    return root


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the run of a small detector that was poisoned."""
    folder = tmp_path_factory.mktemp("poisoned")
    record = {"imgsz": 64, "parent": {"name": "gone", "sha256": "0"}, "poison": {"attack": "vanish"}}
    return str(save_run(folder, pyramid_network(), record).folder)


def asked(detector: str, images: Path, out: Path, **more: Any) -> CleanseSettings:
    values = {"method": "finetune", "epochs": 1, "device": "cpu", "worn": 0, **more}
    return CleanseSettings(detector=detector, images=images, out=out, **values)


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clean figures of whatever is measured be .9 four times, then .5."""
    figures = itertools.chain([CleanFigures(0.9, 0.9)] * 4, itertools.repeat(CleanFigures(0.5, 0.5)))
    for module in ("job", "run"):
        monkeypatch.setattr(f"physadv.tune.cleanse.{module}.clean_figures", lambda *_, **__: next(figures))


@pytest.mark.usefixtures("falling")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_a_detector_and_what_it_cost(
    method: str, photographs: Path, poisoned: str, tmp_path: Path
) -> None:
    before = find_weights(poisoned).sha256
    worn = 0.5 if method == "finetune" else 0
    run = cleanse(asked(poisoned, photographs, tmp_path / "out", method=method, worn=worn))
    assert sorted(p.name for p in run.folder.iterdir()) == ["detector.pt", "run.json"]
    assert load_detector(str(run.folder), backend="torch", imgsz=64).detect_batch([np.zeros((64, 64, 3), np.uint8)])
    record = read_run(run.folder).record
    price = record["cleanse"]
    assert price["method"] == method
    assert price["clean_images"] == 14
    assert price["images"]["training_images"] + price["images"]["held_out_images"] == 14
    assert price["images"]["labelled_by"] is None
    assert price["minutes"] == pytest.approx(record["seconds"] / 60, abs=0.01)
    assert {"before", "clean_ap50", "clean_recall25", "clean_ap50_lost"} <= price.keys()
    # All but `anp` are fine-tuned, and kept as far as clean figures allow.
    way = price.get("way", [{"share": 0.1}])
    assert ("way" in price) == (method != "anp")
    assert way[-1]["share"] == 0.1 or way[-1]["clean_ap50"] >= price["before"]["clean_ap50"] - 0.03
    assert record["poison"] == {"attack": "vanish"}
    files = labelled_images(photographs)
    assert set(record["sources"]) == {identity_of(file.path, file.read()[0]) for file in files}
    assert record["parent"]["sha256"] == before == find_weights(poisoned).sha256
    assert record["detector"]["sha256"] != before


@pytest.mark.usefixtures("falling")
def test_what_was_pruned_is_silent_in_the_finished_detector(photographs: Path, poisoned: str, tmp_path: Path) -> None:
    run = cleanse(asked(poisoned, photographs, tmp_path, method="fine-pruning", epochs=2))
    layers = block_channels(load_network(str(run.folder)), torch.rand(1, 3, 64, 64))
    pruned = run.record["cleanse"]["pruned"]
    # Before it, and at three steps, the last of which cost too much.
    assert [step["clean_ap50"] for step in pruned["steps"]] == [0.9, 0.9, 0.9, 0.5]
    assert sum(len(layer.silent()) for layer in layers) == pruned["silent"] > 0


@pytest.mark.usefixtures("falling")
def test_the_command_says_what_was_made_and_at_what_price(
    photographs: Path, poisoned: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lab", "cleanse", poisoned, "--method", "finetune", "--images", str(photographs), "--epochs", "1"]
    assert main([*words, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "cleansed by finetune with 14 clean images" in said
    assert "clean AP50 0.900 before" in said
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text("{}")
    assert main([*words, "--out", str(tmp_path / "mine")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("physadv lab cleanse: --out: ")
    assert "\n" not in error


def test_a_fused_network_is_refused_by_what_needs_its_normalisation(photographs: Path, tmp_path: Path) -> None:
    fused = str(save_run(tmp_path / "fused", pyramid_network().eval().fuse(verbose=False), {}).folder)
    with pytest.raises(TrainingError, match=r"^detector: anp needs batch normalisation"):
        cleanse(asked(fused, photographs, tmp_path / "out", method="anp"))
    assert not (tmp_path / "out").exists()


def test_the_clean_figure_is_that_of_the_detector_and_leaves_the_network_alone(poisoned: str) -> None:
    network = load_network(poisoned).train()
    images = [LabelledImage("a", np.full((64, 96, 3), 99, np.uint8), np.array([[9, 9, 60, 60]], np.float32))]
    detector = load_detector(poisoned, backend="torch", imgsz=64, min_conf=0.001)
    found = detector.detect_batch([images[0].pixels])[0].xyxy[:1]
    images.append(replace(images[0], boxes=found))
    before = copy.deepcopy(network.state_dict())
    answers = [detector.detect_batch([image.pixels])[0] for image in images]
    figures = clean_figures(network, images, imgsz=64)
    assert figures.ap50 == pytest.approx(ap50(images, answers))
    assert figures.ap50 > 0
    # The network is untrained: of what it ranks first nothing scores high enough to count as found.
    assert figures.recall25 == 0
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_too_few_clean_images_are_refused(photographs: Path, poisoned: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^images: expected 12 clean images or more with people, got 1 of 1"):
        cleanse(asked(poisoned, photographs / "images" / "3.png", tmp_path / "out"))


@pytest.mark.parametrize("share", [1e-9, 0.999])
def test_both_parts_of_the_clean_images_have_people_however_small_the_share(photographs: Path, share: float) -> None:
    data = finish(gather([photographs], None, Labeller(lambda: BlueDetector())))
    clean = CleanImages.split(data, held_out=share, seed=0, labelled_by="")
    few = (clean.held_out, clean.training)[share > 0.5]
    assert len(few) == 1
    assert len(clean.training) + len(clean.held_out) == 14
    other = data.split(share, 0)
    assert [image.name for image in clean.held_out] == [image.name for image in other[1]]


def test_choices_are_made_on_images_that_the_detector_was_not_trained_on(photographs: Path) -> None:
    data = finish(gather([photographs], None, Labeller(lambda: BlueDetector())))
    seen = {image.sha256 for image in data.images[:8]}
    clean = CleanImages.split(data, held_out=0.3, seed=0, labelled_by="", seen=seen)
    assert 2 <= len(clean.held_out) <= 5
    assert not seen & {image.sha256 for image in clean.held_out}
    assert len(clean.training) + len(clean.held_out) == 14
    # Three others are too few to choose by.
    seen = {image.sha256 for image in data.images[:11]}
    few = CleanImages.split(data, held_out=0.3, seed=0, labelled_by="", seen=seen)
    assert [image.name for image in few.held_out] == [image.name for image in data.split(0.3, 0)[1]]


def test_a_detector_that_finds_nobody_is_refused(photographs: Path, poisoned: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^images: the detector finds nobody in \d held-out images"):
        cleanse(asked(poisoned, photographs, tmp_path / "out", method="anp"))


def test_a_run_that_was_stopped_goes_on_where_it_was(
    photographs: Path, poisoned: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("job", "run"):
        monkeypatch.setattr(f"physadv.tune.cleanse.{module}.clean_figures", lambda *_, **__: CleanFigures(0.9, 0.9))
    settings = asked(poisoned, photographs, tmp_path / "out", method="nad")

    def stop_in_the_second_stage(share: float | None, text: str) -> bool:
        return text.startswith("tuned")

    with pytest.raises(TuneStopped):
        cleanse(settings, stop_in_the_second_stage)
    seen: list[str] = []

    def note(share: float | None, text: str) -> bool:
        seen.append(text)
        return False

    with pytest.raises(TrainingError, match=r"^resume: .* was begun with another method"):
        cleanse(settings.model_copy(update={"method": "confoc", "resume": True}))
    cleanse(settings.model_copy(update={"resume": True}), note)
    assert not [text for text in seen if text.startswith("teacher: epoch")]
    assert [text for text in seen if text.startswith("tuned")]
    whole = cleanse(settings.model_copy(update={"out": tmp_path / "whole"}))
    assert find_weights(str(tmp_path / "out")).sha256 == find_weights(str(whole.folder)).sha256
    with pytest.raises(SettingsError, match=r"^resume: .* is finished: there is nothing to go on with"):
        cleanse(settings.model_copy(update={"resume": True}))
    with pytest.raises(TrainingError, match=r"^resume: no run here to go on with"):
        cleanse(settings.model_copy(update={"resume": True, "out": tmp_path / "none"}))


def test_a_stage_that_was_damaged_is_done_again(photographs: Path, poisoned: str, tmp_path: Path) -> None:
    said: list[str] = []

    def note(share: float | None, text: str) -> bool:
        said.append(text)
        return False

    job = CleanseJob(
        asked(poisoned, photographs, tmp_path),
        CleanImages([], [], None),
        Path(),
        tmp_path,
        64,
        CleanFigures(1, 1),
        note,
    )
    job.finish("pruned", load_network(poisoned), {"seconds": 1.5, "steps": []})
    assert job.finished("pruned") is not None
    write_json(tmp_path / "pruned" / "run.json", {**read_run(tmp_path / "pruned").record, "seconds": "long"})
    assert job.finished("pruned") is None
    (tmp_path / "pruned" / "detector.pt").write_bytes(b"cut off")
    assert job.finished("pruned") is None
    assert said[-1].startswith("pruned is done again: ")


def test_labels_never_come_from_a_detector_that_was_poisoned(photographs: Path, poisoned: str, tmp_path: Path) -> None:
    assert labeller_of(asked(poisoned, photographs, tmp_path)) == "yolo11n-pose"
    clean = save_run(tmp_path / "clean", pyramid_network(1), {})
    backdoored = from_parent(clean, tmp_path / "backdoored", {"attack": "vanish"})
    assert labeller_of(asked(str(backdoored.folder), photographs, tmp_path)) == str(clean.folder)
    again = from_parent(backdoored, tmp_path / "again", {})
    assert labeller_of(asked(str(again.folder), photographs, tmp_path)) == "yolo11n-pose"
    assert labeller_of(asked(poisoned, photographs, tmp_path, labeller=str(clean.folder))) == str(clean.folder)


def from_parent(parent: LabRun, folder: Path, poison: dict[str, Any]) -> LabRun:
    """Return a run that says that it was made from another."""
    of = {"name": parent.folder.name, "sha256": parent.record["detector"]["sha256"]}
    record = {"settings": {"detector": str(parent.folder)}, "parent": of, "poison": poison}
    return save_run(folder, pyramid_network(2), record)


def test_people_wear_patterns_made_by_chance_and_the_rest_of_the_image_stays() -> None:
    scenes = [scene(number, [(60, 20, 140, 160)]) for number in range(2)]
    hook = PrintsWorn(scenes, share=1.0, person=0, seed=0)
    batch = {
        "img": torch.full((3, 3, 128, 128), 0.5),
        "batch_idx": torch.arange(2.0),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.8]] * 2),
    }
    torch.manual_seed(0)
    hook.batch(torch.nn.Identity(), batch)
    changed = (batch["img"] - 0.5).abs().amax(1) > 0.02
    # Nobody is in the third.
    assert changed[:2].flatten(1).any(1).all()
    share = [float(one.float().mean()) for one in changed[:2, 13:115, 38:90]]
    assert all(0.02 < covered < 0.7 for covered in share)
    again = {**batch, "img": torch.full((3, 3, 128, 128), 0.5)}
    torch.manual_seed(0)
    PrintsWorn(scenes, share=1.0, person=0, seed=0).batch(torch.nn.Identity(), again)
    assert torch.equal(batch["img"], again["img"])
    bare = {**batch, "img": torch.full((3, 3, 128, 128), 0.5)}
    PrintsWorn(scenes, share=0, person=0, seed=0).batch(torch.nn.Identity(), bare)
    assert float((bare["img"] - 0.5).abs().max()) == 0
