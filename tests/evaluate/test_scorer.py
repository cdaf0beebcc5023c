"""Whole evaluations with detectors that tests can predict: cells, controls, doubts, defences, files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cv2 import contourArea
from pydantic import ValidationError
from tiny import BlobDetector, BlobGradient, standing, tiny_detector, tiny_gradient

from physadv.attack.adaptive import ThroughDefence
from physadv.cli.advise import held_out
from physadv.cli.evaluate import run
from physadv.cli.evaluate_flags import EvaluateVerb
from physadv.dataset import Dataset, LabelledImage, labelled_images
from physadv.defend import Pipeline, parse_pipeline
from physadv.defend.blocks import BlockNet
from physadv.defend.learned import save_weights
from physadv.errors import DataError, SettingsError
from physadv.evaluate import doubts
from physadv.evaluate.adaptive import check, score_adaptive
from physadv.evaluate.cell import Cell
from physadv.evaluate.images import Labeller, gather, read_dataset
from physadv.evaluate.own import own_fit
from physadv.evaluate.results import Examples, Results, cells_table
from physadv.evaluate.scorer import Entry, Scorer, entries, score_all
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import Steps, finish
from physadv.files import checked_name
from physadv.patch import Patch, load_patch
from physadv.settings import fault
from physadv.simulate.conditions import ROBUST, Condition
from physadv.simulate.garment import torso_quads
from physadv.simulate.placement import Placement, people_of
from physadv.types import Detections, Detector, Frame, GradientDetector
from tests.evaluate.conftest import PLACED, patch_of, scene_of, worn, write

SETTINGS = EvaluateSettings(resamples=40)
# Wider than the people: what is left of them is two pieces, neither of which fits.
HIDING = Placement.of(0.42, "area", 0.9)


def scored(
    scorer: Scorer,
    patches: Sequence[Patch],
    *,
    pipelines: Sequence[Pipeline] = (),
    grid: Sequence[Condition] = (),
    placement: Placement = PLACED,
) -> list[Cell]:
    listed = entries(patches, worn(patches, placement), grid=grid)
    return finish(score_all(scorer, listed, pipelines))


def scenes_of(folder: Path) -> Dataset:
    return finish(read_dataset(folder, None, Labeller(BlobDetector), keypoints=False))


def test_every_cell_has_what_it_promises(folder: Path) -> None:
    scenes = scenes_of(folder)
    assert (len(scenes.images), scenes.n_people) == (6, 12)
    scorer = Scorer(scenes, BlobDetector(min_conf=0.001), SETTINGS)
    patches = [patch_of((200, 30, 30), "red"), patch_of((30, 30, 200), "blue")]
    cells = [c.plain() for c in scored(scorer, patches)]
    assert [(c["condition"], c["patch"]) for c in cells] == [
        ("none", None), ("grey", None), ("white", None), ("noise", None), ("shuffled", "red"), ("patch", "red"),
        ("shuffled", "blue"), ("patch", "blue"),
    ]  # fmt: skip
    assert json.loads(json.dumps(cells, allow_nan=False)) == cells
    clean, red = cells[0], cells[5]
    assert clean["ap50"] == 1.0 and clean["recall25"] == 1.0 and clean["false_boxes_per_image"] == 0.0
    assert set(clean["ci95"]) == {
        "ap50", "recall25", "asr_strict25", "asr_strict50", "asr_lenient50", "false_boxes_per_image", "mean_max_conf",
        "mean_max_conf_within", "hidden25",
    }  # fmt: skip
    # A plain square hides as much as any other of its size, and says so itself.
    assert red["mean_max_conf"] < clean["mean_max_conf"]
    assert any("a grey square does as well" in d for d in red["doubts"])
    assert any("only 12 people" in d for d in clean["doubts"])
    assert any("does not say what it was trained on" in d for d in red["doubts"])


def test_a_cell_says_the_size_that_the_detector_looks_at(folder: Path) -> None:
    scorer = Scorer(Dataset(scenes_of(folder).images[:1]), tiny_detector(imgsz=100), SETTINGS)
    assert scorer.score(Entry("none", None, None)).plain()["imgsz"] == 128


def test_people_shared_by_training_and_test_are_found(folder: Path) -> None:
    scenes = scenes_of(folder)
    pixels = np.full((8, 8, 3), 7, np.uint8)
    record = {"split": {"train": ["0.png", scenes.images[1].sha256, "elsewhere.png"]}}
    seen = Patch("seen", pixels, np.full((8, 8), 255, np.uint8), (1, 1), record=record)
    assert doubts.of_patch(seen, scenes) == ["2 of 6 images were trained on (0.png, 1.png)"]
    clean = Patch("clean", pixels, np.full((8, 8), 255, np.uint8), (1, 1), record={"split": {"train": ["x.png"]}})
    assert doubts.of_patch(clean, scenes) == []


def test_so_are_those_that_a_pattern_it_began_from_was_trained_on(folder: Path) -> None:
    scenes = scenes_of(folder)
    before = {"train": ["elsewhere.png", "3.png"], "pixels": {"elsewhere.png": [scenes.images[2].sha256]}}
    record = {
        "split": {"train": ["0.png"], "pixels": {"0.png": ["other pixels"]}, "held_out": ["1.png"]},
        "start": before,
    }
    patch = replace(patch_of((1, 2, 3)), record=record)
    assert doubts.of_patch(patch, scenes) == ["2 of 6 images were trained on (2.png, 3.png)"]
    unknown = replace(patch, record={**record, "start": {"train": None}})
    assert doubts.of_patch(unknown, scenes) == doubts.of_video(unknown, Path("a.mp4")) == [doubts.UNKNOWN_START]
    film = replace(patch, record={**record, "start": {"train": ["a.mp4#1"]}})
    assert doubts.of_video(film, Path("a.mp4")) == ["it was trained on 1 stretches of this video (a.mp4#1)"]


def test_a_recording_that_was_trained_on_is_known_by_its_stretches(folder: Path) -> None:
    for i, name in enumerate(["stretch0-0000", "stretch0-0001", "stretch1-0002", "stretch10-0003"]):
        (folder / "images" / f"{i}.png").rename(folder / "images" / f"{name}.jpg")
        (folder / "labels" / f"{i}.txt").rename(folder / "labels" / f"{name}.txt")
    seen = replace(patch_of((1, 2, 3)), record={"split": {"train": ["camera#stretch0", "camera#stretch2"]}})
    (doubt,) = doubts.of_patch(seen, scenes_of(folder))
    assert doubt == "2 of 6 images were trained on (stretch0-0000.jpg, stretch0-0001.jpg)"
    kept = held_out(labelled_images(folder), seen)
    assert [p.path.stem for p in kept] == ["4", "5", "stretch1-0002", "stretch10-0003"]


def test_a_detector_whose_buffers_move_is_caught(folder: Path) -> None:
    detector = tiny_detector()
    scenes = scenes_of(folder)
    scenes = Dataset(scenes.images[:1])

    class Drifting(Scorer):
        def scoring(self, entry: Entry, pipeline: Pipeline | None = None) -> Steps[Cell]:
            with torch.no_grad():
                next(detector.net.parameters()).add_(1e-3)
            return super().scoring(entry, pipeline)

    with pytest.raises(DataError, match="weights or buffers changed"):
        scored(Drifting(scenes, detector, SETTINGS), [])


def test_the_robust_grid_has_a_row_for_each_condition(folder: Path) -> None:
    listed = entries([patch_of((1, 2, 3))], {"plain": PLACED}, grid=ROBUST)
    assert sum(bool(e.transform.name) for e in listed) == 16 * 6
    scorer = Scorer(Dataset(scenes_of(folder).images[:1]), BlobDetector(min_conf=0.001), SETTINGS)
    cells = scored(scorer, [patch_of((200, 30, 30))], grid=ROBUST)
    assert len({c.transform for c in cells}) == 17


def test_defences_are_scored_clean_and_oblivious_on_the_same_people(folder: Path) -> None:
    scorer = Scorer(scenes_of(folder), BlobDetector(min_conf=0.001), SETTINGS)
    cells = scored(scorer, [patch_of((200, 30, 30), "red")], pipelines=[parse_pipeline("median")])
    behind = [c for c in cells if c.defence != "none"]
    assert behind[0]["ap50"] == 1.0 and behind[0].ms is not None and "defence_ms_p95" in behind[0].extra
    controls = [(kind, "") for kind in ("grey", "white", "noise", "shuffled")]
    assert [(c.condition, c.attack) for c in behind] == [("none", ""), *controls, ("patch", "oblivious")]
    assert behind[0].extra["ap50_lost"] == 0.0 and not any("ap50_lost" in c.extra for c in cells if c is not behind[0])
    assert any("a grey square does as well" in d for d in behind[-1].doubts)
    text = cells_table(cells).markdown()
    assert "clean AP lost" in text.splitlines()[0] and "| 0.000 |" in text
    doubts.unattacked(cells)
    assert [c.condition for c in cells if doubts.UNATTACKED in c.doubts] == ["none", "patch"]
    scorer.score(Entry("patch", "p", patch_of((1, 2, 3), "p"), PLACED, attack="adaptive"), parse_pipeline("median"))
    behind[0].doubts.clear()
    doubts.unattacked(cells)
    assert doubts.UNATTACKED not in behind[0].doubts


def test_patterns_of_one_shape_share_their_controls_and_others_have_their_own(folder: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[4:28, 4:28] = 255
    round_ones = [replace(patch_of(c, n), mask=mask.copy()) for c, n in (((9, 9, 9), "a"), ((8, 8, 200), "b"))]
    patches = [*round_ones, patch_of((1, 2, 3), "square")]
    listed = entries(patches, worn(patches))
    assert [(e.condition, e.name, e.stands_for) for e in listed if e.condition in ("grey", "shuffled")] == [
        ("grey", "a", ("a", "b")), ("shuffled", "a", ("a",)), ("shuffled", "b", ("b",)),
        ("grey", "square", ("square",)), ("shuffled", "square", ("square",)),
    ]  # fmt: skip
    cells = scored(Scorer(scenes_of(folder), BlobDetector(min_conf=0.001), SETTINGS), round_ones)
    second = next(c for c in cells if c.patch == "b" and c.condition == "patch")
    assert any("a grey square does as well" in d for d in second.doubts)
    assert next(c for c in cells if c.condition == "grey").plain()["control_of"] == ["a", "b"]


def test_it_says_who_wears_no_trousers_and_where_no_joints_are_known(folder: Path) -> None:
    cloth = replace(patch_of((9, 9, 9), "cloth"), target="outfit")
    bare = scored(
        Scorer(scenes_of(folder), BlobDetector(min_conf=0.001), SETTINGS), [cloth], placement=Placement("outfit")
    )
    said = next(c.doubts for c in bare if c.condition == "patch")
    assert "nobody's joints are known: it is worn by the boxes" in said
    whole, half = scene_of((40, 20, 120, 220)), scene_of((40, 20, 120, 220), name="cut")
    points = standing(half.boxes)
    points[:, 13:, 2] = 0
    data = Dataset([replace(whole, keypoints=standing(whole.boxes)), replace(half, keypoints=points)])
    assert doubts.of_joints(Placement("outfit"), data) == [
        "1 of 2 people are seen below the hips: the others wear the shirt alone"
    ]
    assert doubts.of_joints(Placement("poster", scale=0.35), scenes_of(folder)) == []


def test_controls_of_a_tall_print_are_as_tall_and_worn_in_the_same_place() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    tall = Patch("tall", pixels, np.full((64, 32), 255, np.uint8), (360.0, 720.0), "portrait")
    place = own_fit(tall, filling=False).placement
    boxes = people_of(np.array([[10, 20, 90, 220]], np.float32))
    listed = [e for e in entries([tall], {"tall": place}) if e.patch is not None]
    assert [e.condition for e in listed] == ["grey", "white", "noise", "shuffled", "patch"]
    for entry in listed:
        assert entry.patch is not None and entry.placement == place
        assert (entry.patch.pixels.shape, entry.patch.size_mm) == (pixels.shape, tall.size_mm)
        (quad,) = place.shaped(entry.patch).prints(boxes).quads
        assert np.ptp(quad, 0).tolist() == pytest.approx([0.35 * 16000**0.5, 0.7 * 16000**0.5], rel=1e-3)
    shuffled = next(e.patch for e in listed if e.condition == "shuffled")
    assert shuffled is not None and (shuffled.pixels != pixels).any()
    assert sorted(shuffled.pixels.reshape(-1, 3).tolist()) == sorted(pixels.reshape(-1, 3).tolist())


def test_the_worst_restart_is_the_one_reported(folder: Path) -> None:
    scorer = Scorer(scenes_of(folder), BlobDetector(min_conf=0.001), SETTINGS)
    pipelines = [parse_pipeline("median"), parse_pipeline("bit-depth")]
    scored(scorer, [patch_of((30, 30, 200), "blue")], pipelines=pipelines, placement=HIDING)

    class Painter:
        restarts, steps = 3, 1

        def train(self, pipeline: Pipeline, *_: object, restart: int, start: Patch | None, seed: int) -> Steps[Patch]:
            begun.append(None if start is None else start.name)
            yield 0.5, "painting"
            # The second restart wears grey, the others the person's own green, which hides nothing.
            return patch_of((128, 128, 128) if restart == 1 else (30, 200, 40), f"a-{pipeline}-{restart}")

    begun: list[str | None] = []
    known = [patch_of((30, 30, 200), "blue")]
    kept = finish(score_adaptive(scorer, pipelines, Painter(), BlobGradient(), [], HIDING, known))
    assert begun[:3] == ["blue", None, None] and begun[5] is None, "the last of several begins at random"
    assert set(begun[3:5]) == {"blue", "a-median-1"}, "those before it at the strongest known"
    assert [p.name for p in kept] == ["a-median-1", "a-bit-depth-1"]
    cells = [c for c in scorer.cells if c.attack in ("adaptive", "transferred")]
    assert sorted((c.defence, c.attack, c.patch) for c in cells) == [
        ("bit-depth", "adaptive", "a-bit-depth-1"), ("bit-depth", "transferred", "a-median-1"),
        ("median", "adaptive", "a-median-1"), ("median", "transferred", "a-bit-depth-1"),
    ]  # fmt: skip
    worst = next(c for c in cells if (c.defence, c.attack) == ("median", "adaptive"))
    assert any("grey square does as well" in d for d in worst.doubts), worst.doubts
    behind = [c for c in scorer.cells if c.defence == "median" and "a-median-1" in c.stands_for]
    assert sorted(c.condition for c in behind) == ["grey", "noise", "shuffled", "white"]
    assert sum(c.defence == "median" and c.condition == "grey" for c in scorer.cells) == 1, "what is equal is shared"
    assert len(cells[0].extra["restarts_ap50"]) == 3
    assert cells[0].extra["restarts_ap50"][1] == min(cells[0].extra["restarts_ap50"])


def trained(
    attack: ThroughDefence,
    through: str,
    people: Sequence[LabelledImage],
    *,
    restart: int = 0,
    start: Patch | None = None,
    detector: GradientDetector | None = None,
) -> tuple[Patch, int]:
    """A pattern trained through a defence, and how many steps that took."""
    steps: list[str] = []
    work = attack.train(
        parse_pipeline(through), detector or tiny_gradient(), people, PLACED, restart=restart, start=start, seed=0
    )
    return finish(work, lambda step: steps.append(step[1])), len(steps)


def test_patterns_are_trained_through_the_defence_on_people_who_are_not_scored(folder: Path, tmp_path: Path) -> None:
    scenes = scenes_of(folder).images
    people = scenes[:3]
    attack = ThroughDefence(2, 3, views=2, view_px=64, folder=tmp_path)
    strong = patch_of((10, 20, 30), "strong")
    (begun, some), (fresh, more) = (
        trained(attack, "median", people, start=strong),
        trained(attack, "median", people, restart=1),
    )
    assert (some, more) == (3, 3)
    assert begun.record["through"] == "median" and begun.record["split"]["train"] == ["0.png", "1.png", "2.png"]
    assert begun.record["split"]["pixels"]["0.png"] == [scenes[0].sha256]
    assert begun.record["start"]["sha256"] == strong.sha256 and fresh.record["start"] is None
    assert doubts.of_patch(begun, Dataset(scenes))[0] == doubts.UNKNOWN_START, "strong has no record"
    assert np.abs(begun.pixels.astype(int) - (10, 20, 30)).max() < 60, "the first goes on from the pattern given"
    assert np.abs(fresh.pixels.astype(int) - begun.pixels.astype(int)).max() > 60
    again, none = trained(attack, "median", people, start=strong)
    assert none == 0 and again.sha256 == begun.sha256, "what is there already is not trained again"
    assert trained(replace(attack, steps=4), "median", people, start=strong)[1] == 4, "what was trained otherwise is"
    assert trained(attack, "median", people, restart=1, start=strong)[1] == 3
    (tmp_path / "tiny" / "adaptive-median-1.safetensors").write_bytes(b"half a file")
    assert trained(attack, "median", people, restart=1, start=strong)[1] == 3, "and so is what was damaged since"


def test_a_pattern_is_trained_anew_for_other_pixels_detectors_and_weights(folder: Path, tmp_path: Path) -> None:
    scenes = scenes_of(folder).images[:2]
    other = [replace(scenes[0], source=scenes[0].pixels[::-1].copy()), scenes[1]]
    weights = tmp_path / "mine[1].safetensors"
    save_weights(weights, BlockNet(), kind="blocks", record={})
    attack = ThroughDefence(1, 2, views=2, view_px=64, folder=tmp_path / "kept")

    def steps(people: list[LabelledImage], detector: GradientDetector) -> int:
        patch, count = trained(attack, f"blocks:weights={weights}", people, detector=detector)
        assert checked_name(patch.name)
        assert load_patch(tmp_path / "kept" / detector.name / f"{patch.name}.safetensors")
        return count

    assert [steps(scenes, tiny_gradient(0)) for _ in range(2)] == [2, 0]
    assert steps(scenes, tiny_gradient(1)) == 2, "another detector of that name"
    assert [steps(other, tiny_gradient(1)) for _ in range(2)] == [2, 0], "other images of that name"
    # The defence keeps the network it read; what is in the file now is another one.
    save_weights(weights, BlockNet(), kind="blocks", record={"again": 1})
    assert steps(other, tiny_gradient(1)) == 2, "other weights in the same file"


@pytest.mark.parametrize(
    ("at", "target"), [("chest", "chest"), ("shirt", "tshirt"), ("outfit", "outfit"), (0.3, "poster")]
)
@pytest.mark.parametrize("rule", ["area", "height"])
def test_an_adaptive_pattern_is_trained_where_and_as_large_as_it_is_scored(
    at: float | str, target: str, rule: str
) -> None:
    scene = scene_of((40, 20, 120, 220))
    scene = replace(scene, keypoints=standing(scene.boxes))
    wanted = Placement.of(at, rule, 0.65)  # type: ignore[arg-type]
    settings = ThroughDefence(views=4).settings(wanted, [scene], seed=0)
    assert (settings.target, settings.framing) == (target, "street" if at == 0.3 else "mixed")
    image = LabelledImage(scene.name, scene.pixels, scene.boxes, standing(scene.boxes))
    people = people_of(image.boxes, image.keypoints)
    prints = settings.placement_range.prints(people, np.zeros(1, np.int64), np.array([True]), np.random.default_rng(0))
    quad = prints.quads[0]
    if wanted.cloth:
        np.testing.assert_allclose(quad, torso_quads(image.keypoints)[0], atol=1e-3)
        return
    (asked,) = wanted.prints(people).quads
    assert 0.85 < np.sqrt(contourArea(quad) / contourArea(asked)) < 1.21
    assert abs(quad[:, 0].mean() - asked[:, 0].mean()) < 2 and abs(quad[0, 1] - asked[0, 1]) < 0.2 * 200
    tall = ThroughDefence(views=4).settings(replace(wanted, aspect=0.5), [scene], seed=0)
    assert tall.print_size()[0] / tall.print_size()[1] == pytest.approx(0.5)
    filling = [replace(scene, source=scene.pixels[:, :160])]
    framing = ThroughDefence(views=4).settings(wanted, filling, seed=0).framing
    assert framing == ("street" if at == 0.3 else "webcam")


def test_an_attack_that_is_no_test_is_doubted(folder: Path) -> None:
    class Blind(BlobGradient):
        def candidates(self, images: torch.Tensor):  # type: ignore[no-untyped-def]
            out = super().candidates(images)
            return type(out)(out.logit * 0, out.xyxy)

    scenes = Dataset(scenes_of(folder).images[:2])
    detector = BlobDetector(min_conf=0.001)
    detector.imgsz = 320
    scorer = Scorer(scenes, detector, SETTINGS)
    pipeline = parse_pipeline("median")
    scored(scorer, [patch_of((30, 30, 200))], pipelines=[pipeline])
    weak = scorer.score(Entry("patch", "weak", patch_of((30, 200, 40), "weak"), PLACED, attack="adaptive"), pipeline)
    said = " / ".join(check(scorer, pipeline, weak, Blind(), 1))
    assert "zero gradients" in said and "only 1 restarts" in said
    assert "leaves 100% of people visible" in said
    fair = check(scorer, pipeline, weak, BlobGradient(), 3)
    assert not any("gradients" in d for d in fair), fair


def test_the_report_can_be_read_and_its_images_seen(folder: Path, tmp_path: Path) -> None:
    examples = Examples((0, 1))
    patches = [patch_of((200, 30, 30), "red")]
    scenes = Dataset(scenes_of(folder).images[:2])
    scorer = Scorer(scenes, BlobDetector(min_conf=0.001), SETTINGS, shown=examples)
    cells = scored(scorer, patches, grid=ROBUST)
    part = [cell for cell in cells if cell.transform in ("", ROBUST[0].name)]
    means = Results(SETTINGS, tuple(patches), part, {"detectors": []}).grid_means()
    assert len(set(means)) == 6 and all(line.startswith("conditions, mean AP50") for line in means), "not of all 16"
    out = tmp_path / "out"
    results = Results(SETTINGS, tuple(patches), cells, {"detectors": []}, examples=[examples])
    assert results.report(out) == out / "report.md"
    text = (out / "report.md").read_text()
    assert "| red |" in text and "Robust grid" in text and "## Doubts" in text and "examples/red.png" in text
    assert isinstance(json.loads((out / "results.json").read_text()), list)
    assert "commit" in json.loads((out / "run.json").read_text())
    assert (out / "examples" / "red.png").stat().st_size > 1000


def test_damaged_images_are_named_and_left_out(folder: Path) -> None:
    (folder / "images" / "0.png").write_bytes(b"")
    scenes = scenes_of(folder)
    assert len(scenes.images) == 5 and "0.png" in scenes.skipped[0]
    assert scenes.notes()[0].startswith("left out as unreadable: 1 file: ")
    (folder / "labels" / "1.txt").write_text("0 nonsense\n")
    with pytest.raises(DataError, match=r"1\.txt:1"):
        scenes_of(folder)


def test_a_image_without_a_label_shows_nobody_in_training_and_test_alike(folder: Path, tmp_path: Path) -> None:
    (folder / "labels" / "0.txt").unlink()
    scenes = scenes_of(folder)
    trained = finish(gather([folder], None, Labeller(BlobDetector, tmp_path / "cache")))
    assert not scenes.own_labels and len(scenes.images[0].boxes) == 0 and scenes.n_people == 10
    assert trained.empty == ["0.png"] and len(trained.images) == 5


def test_without_labels_the_clean_detector_labels_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "a.png", scene_of((20, 30, 80, 200)).pixels)
    scenes = finish(read_dataset(tmp_path, None, Labeller(BlobDetector), keypoints=True))
    assert scenes.n_people == 1 and scenes.own_labels
    assert scenes.images[0].keypoints is not None and scenes.images[0].keypoints[0, 5, 2] == 1
    doubtful = BlobDetector.detect(BlobDetector(), Frame(scenes.images[0].pixels, 0, 0, 0.0))

    class Unsure(BlobDetector):
        def detect(self, frame: Frame) -> Detections:
            return replace(doubtful, score=np.full(len(doubtful), 0.39, np.float32))

    (tmp_path / "a.txt").write_text("0 0.15625 0.479167 0.1875 0.708333")
    (unsure,) = finish(read_dataset(tmp_path, tmp_path, Labeller(Unsure), keypoints=True)).images
    assert unsure.keypoints is not None and unsure.keypoints[0, 5, 2] == 0, "as in training, from .4 on"
    assert any("nobody by hand" in d for d in doubts.of_data(scenes))
    write(tmp_path / "b.png", np.full((50, 50, 3), 9, np.uint8))
    with pytest.raises(DataError, match=r"people larger than .* left out as no images: 1 file: 1 \.txt"):
        finish(read_dataset(tmp_path, None, Labeller(BlobDetector), keypoints=False, min_area=0.9))


def blobs(*args: object, **kwargs: object) -> Detector:
    return BlobDetector(min_conf=0.001)


def test_the_command_from_end_to_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("physadv.evaluate.run.load_detector", blobs)
    monkeypatch.setattr("physadv.evaluate.run.labelling", blobs)
    pattern = tmp_path / "p.png"
    write(pattern, patch_of((200, 30, 30)).pixels)
    out = tmp_path / "o"
    command = EvaluateVerb(patches=[str(pattern)], images=folder, imgsz=320, resamples=20, out=out, defend=["median"])
    assert run(command) == 0
    assert "only 12 people" in capsys.readouterr().out
    cells = json.loads((out / "results.json").read_text())
    assert {c["defence"] for c in cells} == {"none", "median"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "--images FOLDER, --video FILE, --pair ARM=VIDEO or --manifest FILE"),
        ({"images": Path("x"), "video": Path("y")}, "one of the four"),
        ({"images": Path("x"), "at": "belly"}, "at: expected a fraction"),
        ({"images": Path("x"), "adaptive": True}, "name one or more with `defend`"),
        ({"images": Path("x"), "detector": " , "}, "detector: expected one name"),
        ({"images": Path("x"), "scale": -1.0}, "scale"),
        ({"images": Path("x"), "at": "shirt", "patches": ["tshirt", "webcam"]}, "at=shirt: .* got webcam"),
        ({"video": Path("x"), "at": "shirt", "patches": ["webcam"]}, "at=shirt: expected textures of cloth"),
        ({"video": Path("x"), "certify": True}, "certify: expected `images`"),
        ({"video": Path("x"), "adaptive": True, "defend": ["fast"]}, "`adaptive`: expected `images`"),
        ({"video": Path("x"), "held_out": True, "grid": "robust"}, "`held_out`, `grid`: expected `images`"),
        ({"video": Path("x"), "clean_video": Path("y"), "min_area": 0.1}, "`clean_video`, `min_area`: expected"),
        ({"images": Path("x"), "every": 5}, "`every`: expected `video`"),
        ({"images": Path("x"), "grid": "folds", "patches": ["webcam"]}, "grid: .*expected a portrait pattern"),
        ({"images": Path("x"), "wear_from": 2}, "`wear_from`: expected `video`"),
        ({"video": Path("x.mp4"), "wear_from": 2}, "wear_from: expected a pattern"),
        (
            {"images": Path("x"), "restarts": 5, "attack_steps": 9, "attack_views": 2, "score_share": 0.5},
            "`restarts`, `attack_steps`, `attack_views`, `score_share`: expected `adaptive`",
        ),
        ({"video": Path("x"), "labels": Path("y")}, "`labels`: expected `images`"),
    ],
)
def test_bad_flags_are_one_line(values: dict[str, object], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected) as caught:
        try:
            settings = EvaluateVerb(**values)  # type: ignore[arg-type]
        except ValidationError as error:
            raise fault(error) from error
        run(settings)
    assert "\n" not in str(caught.value)
