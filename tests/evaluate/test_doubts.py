"""Cheats, planted one by one: each is caught by a doubt of its own code."""

import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny import BlobDetector, tiny_detector
from torch import nn

from physadv.dataset import Dataset, LabelledImage
from physadv.defend import Pipeline, parse_pipeline
from physadv.detect import changed
from physadv.detect.base import WrappedDetector
from physadv.detect.weights import Weights
from physadv.evaluate import doubts, evaluation
from physadv.evaluate.answers import Answers
from physadv.evaluate.cell import Cell
from physadv.evaluate.doubt_codes import CODES, Doubt
from physadv.evaluate.pairs import Answered, Pairs, PairScorer
from physadv.evaluate.scorer import Scorer, entries, score_all
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.lineage import split_record
from physadv.patch import Patch, load_patch, save_patch
from physadv.types import Detections, Detector, UInt8Array
from tests.evaluate.conftest import patch_of, scene_of, worn

SETTINGS = EvaluateSettings(resamples=20)


def scenes(count: int = 4) -> list[LabelledImage]:
    return [scene_of((20 + 5 * i, 30, 80 + 5 * i, 200), (180, 40, 250, 210), name=f"{i}.png") for i in range(count)]


def codes(cells: Sequence[Cell], condition: str = "patch", defence: str = "none") -> set[str]:
    return {d.code for c in cells for d in c.doubts if (c.condition, c.defence) == (condition, defence)}


def evaluated(patch: Patch, detector: Detector | None = None, data: list[LabelledImage] | None = None) -> list[Cell]:
    results = None
    steps = evaluation(patch, data or scenes(), detector or BlobDetector(min_conf=0.001), settings=SETTINGS)
    for update in steps:
        results = update.results
    assert results is not None
    return results.cells


def test_a_doubt_is_a_sentence_that_keeps_its_code() -> None:
    doubt = Doubt("few-people", "only 3 people")
    assert doubt == "only 3 people" and doubt.code == "few-people"
    assert pickle.loads(pickle.dumps(doubt)).code == copy.deepcopy(doubt).code == "few-people"
    with pytest.raises(KeyError):
        Doubt("nonsense", "x")


def test_train_is_test() -> None:
    data = scenes()
    seen = replace(patch_of((200, 30, 30)), record={"split": split_record({"x": [data[1].sha256]}, [])})
    assert "trained-on" in codes(evaluated(seen, data=data))
    clean = replace(seen, record={"split": split_record({"x": ["other"]}, [])})
    assert not {"trained-on", "near-duplicates", "training-unknown"} & codes(evaluated(clean, data=data))


def test_so_is_an_image_that_was_scaled_and_saved_anew() -> None:
    rng = np.random.default_rng(0)
    first, other = (
        np.asarray(cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (640, 480)), np.uint8) for _ in range(2)
    )
    smaller = cv2.resize(first, (320, 240), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 60])
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    known = Dataset([LabelledImage("a.png", first, np.array([[9, 9, 99, 199]], np.float32), sha256="a")])
    split = split_record(known.hashes(["a.png"]), [], known.looks(["a.png"]))
    patch = replace(patch_of((1, 2, 3)), record={"split": split})

    def said(pixels: UInt8Array) -> list[str]:
        image = LabelledImage("b.jpg", pixels, np.array([[9, 9, 99, 180]], np.float32), sha256="b")
        return [d.code for d in doubts.of_patch(patch, Dataset([image]))]

    assert said(np.asarray(again, np.uint8)) == ["near-duplicates"] and said(other) == []
    assert said(np.full((90, 90, 3), 7, np.uint8)) == [], "what has no edges looks like nothing"


def test_a_float_patch_instead_of_its_saved_file() -> None:
    class Float(Patch):
        def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
            pixels, mask = Patch.tensors(self)
            return pixels + 0.3 / 255, mask

    saved = patch_of((200, 30, 30))
    floats = Float(saved.name, saved.pixels, saved.mask, saved.size_mm)
    assert "float-patch" in codes(evaluated(floats)) and "float-patch" not in codes(evaluated(saved))


def test_a_saved_pattern_that_was_changed_afterwards(tmp_path: Path) -> None:
    path = save_patch(patch_of((200, 30, 30)), tmp_path)[0]
    assert doubts.of_print(load_patch(path)) == [] and not load_patch(path).record
    image = Image.open(path)
    pixels = image.copy()
    pixels.putpixel((3, 3), (0, 255, 0))
    kept = Image.open(path)
    kept.paste(pixels)
    info = PngInfo()
    info.add_text("physadv", image.info["physadv"])
    kept.save(path, pnginfo=info)
    assert [d.code for d in doubts.of_print(load_patch(path))] == ["saved-differs"]


class Lower(WrappedDetector):
    """A defence that only takes a lower threshold: all scores are raised."""

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [
            replace(a, score=np.minimum(a.score + 0.15, 1).astype(np.float32)) for a in self.inner.detect_batch(images)
        ]


class Half(BlobDetector):
    """As unsure as detectors are."""

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [replace(a, score=a.score * np.float32(0.6)) for a in super().detect_batch(images)]


def test_a_defence_with_a_lower_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = parse_pipeline("jpeg")

    def guarded_by(kind: type[WrappedDetector]) -> set[str]:
        monkeypatch.setattr(Pipeline, "guard", lambda _, detector: kind(detector))
        scorer = Scorer(Dataset(scenes(6)), Half(min_conf=0.001), SETTINGS)
        patch = patch_of((200, 30, 30))
        return codes(finish(score_all(scorer, entries([patch], worn([patch])), [pipeline])), "none", "jpeg")

    class Holding(WrappedDetector):
        def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
            found = [replace(a, score=a.score * np.float32(0.3)) for a in self.inner.detect_batch(images)]
            return [replace(a, held=np.ones(len(a), bool)) for a in found]

    class Deeper(WrappedDetector):
        def __init__(self, inner: Detector) -> None:
            super().__init__(inner)
            self.min_conf = 0.0

    assert all("threshold-differs" in guarded_by(kind) for kind in (Lower, Holding, Deeper))
    assert "threshold-differs" not in guarded_by(WrappedDetector)
    assert "threshold-differs" in {d.code for d in doubts.of_lowest(BlobDetector(min_conf=0.3))}


def test_dropped_frames(tmp_path: Path) -> None:
    found = tuple(BlobDetector().detect_batch([scenes(1)[0].pixels])) * 60
    chests = (np.ones(len(found[0]), bool),) * 60
    whole = Answers(np.arange(60) / 10, np.full(60, 90.0), np.zeros(60, bool), found, chests, (), "a")
    keep = np.array([i % 10 < 8 for i in range(60)])
    dropped = replace(
        whole,
        pts_s=whole.pts_s[keep],
        light=whole.light[keep],
        same=whole.same[keep],
        found=found[:48],
        chests=chests[:48],
        sha256="b",
    )

    known = Answered("blobs", 320, ("none",), {("none", 0, "none"): whole, ("pattern", 0, "none"): dropped})
    pairs = Pairs({"none": (tmp_path / "a.mp4",), "pattern": (tmp_path / "b.mp4",)})
    cells = finish(PairScorer(pairs, known, SETTINGS).scoring())
    assert "frames-lost" in codes(cells, "pattern") and "frames-lost" not in codes(cells, "none")
    assert {"control-missing", "order-unknown", "not-shown"} <= codes(cells, "pattern")


def test_a_pattern_no_better_than_its_shuffle() -> None:
    cells = evaluated(patch_of((200, 30, 30)))
    said = [d for c in cells for d in c.doubts if d.code == "control-as-good"]
    assert any("shuffled" in d for d in said)


def test_changed_batchnorm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()

    first, second, third = net(), net(), net()
    second.train()(torch.rand(2, 3, 8, 8))
    with torch.no_grad():
        next(third.parameters()).add_(1)
    assert changed.difference(first.state_dict(), net().state_dict()) == (0, 0)
    weights, statistics = changed.difference(second.state_dict(), first.state_dict())
    assert (weights, statistics) == (0, 3) and changed.difference(third.state_dict(), first.state_dict()) == (1, 0)
    nets = {"before.pt": first, "yolo11n-pose.pt": second, "trained.pt": third}
    own = Weights("yolo11n-pose", Path("before.pt"), "1" * 64)
    files = {
        str(tmp_path / name): Weights("yolo11n-pose", Path(name), str(i) * 64) for i, name in enumerate(nets, start=2)
    }
    monkeypatch.setattr(changed, "find_weights", lambda name: files.get(name, own))
    monkeypatch.setattr(changed, "_state", lambda weights: nets[weights.path.name].state_dict())
    assert set(changed.changed(str(tmp_path / "yolo11n-pose.pt"))) == {"batchnorm-changed"}
    assert set(changed.changed(str(tmp_path / "trained.pt"))) == {"detector-changed"}
    assert changed.changed(str(tmp_path / "before.pt")) == changed.changed("yolo11n-pose") == {}
    # Of a run of the lab other weights are what it was made for; other statistics alone are not.
    monkeypatch.setattr(changed, "record_of", lambda _: {"parent": {"name": "yolo11n-pose", "sha256": "1" * 64}})
    assert set(changed.changed(str(tmp_path / "yolo11n-pose.pt"))) == {"batchnorm-changed"}
    assert changed.changed(str(tmp_path / "trained.pt")) == {}


def test_a_network_changed_in_memory_is_not_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, detector = tiny_detector(), tiny_detector()
    monkeypatch.setattr(changed, "find_weights", lambda _: Weights("tiny", Path("tiny"), "0" * 64))
    monkeypatch.setattr(changed, "load_detector", lambda *_, **__: fresh)
    monkeypatch.setattr(changed, "known_detectors", lambda: ["tiny.pt"])
    assert changed.changed(detector) == {}
    with torch.no_grad():
        next(detector.net.parameters()).add_(1e-3)
    found = doubts.of_detector("tiny", detector.sha256, [], changed.changed(detector))
    assert [d.code for d in found] == ["detector-changed"]


def test_another_detector_of_the_name_in_a_patterns_record() -> None:
    record = {"detectors": [{"name": "blobs", "sha256": "2" * 64}]}
    assert "detector-changed" in codes(evaluated(replace(patch_of((9, 9, 200)), record=record)), "none")
    record["detectors"][0]["sha256"] = "1" * 64
    assert "detector-changed" not in codes(evaluated(replace(patch_of((9, 9, 200)), record=record)), "none")


def test_a_detector_that_was_trained_on_the_images() -> None:
    data = Dataset(scenes())
    assert [d.code for d in doubts.of_making({"sources": [data.images[0].sha256]}, data)] == ["trained-on"]
    assert doubts.of_making({}, data) == []


def test_arms_in_fixed_order() -> None:
    arms = ["none", "grey", "shuffled", "pattern"]
    rng = np.random.default_rng(1)
    fixed = [arms] * 6
    first = [["none", *rng.permutation(arms[1:]).tolist()] for _ in range(8)]
    behind = [arms[i % 4 :] + arms[: i % 4] for i in range(8)]
    for blocks, said in ((fixed, "in every block"), (first, "in place 1 of 8"), (behind, "right behind")):
        found = doubts.of_order(blocks)
        assert [d.code for d in found] and {d.code for d in found} == {"order-not-random"}
        assert any(said in d for d in found)
    assert "none came in place 1 of 3 of 3 blocks" in doubts.of_order(first[:3])[0]
    assert "only once" in doubts.of_order([arms])[0]
    assert doubts.of_order([list(p) for p in permutations(arms)][::2]) == []
    drawn = [[rng.permutation(arms).tolist() for _ in range(8)] for _ in range(20)]
    assert sum(bool(doubts.of_order(blocks)) for blocks in drawn) <= 1
    assert doubts.of_order([]) == doubts.of_order([["none"]]) == []


def test_every_code_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "results_schema.md").read_text(encoding="utf-8")
    assert [code for code in CODES if f"`{code}`" not in text] == []
