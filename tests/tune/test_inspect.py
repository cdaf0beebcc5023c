"""Inspection of data sets: labels that are gone or of nobody, clusters, outliers, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import read_image, write_png
from physadv.cli import main
from physadv.detect.pytorch import TorchDetector
from physadv.detect.weights import find_weights
from physadv.detect.yolo import load_net
from physadv.errors import DataError
from physadv.evaluate.steps import finish
from physadv.files import sha256_of, write_json
from physadv.tune.features import region_features
from physadv.tune.inspect import Inspection, InspectSettings, inspect
from physadv.tune.signatures import FAR, activation_clusters, spectral_scores
from physadv.tune.suspects import LIST, NAMES, ROWS, SHEET, suspicious, tables, write_inspection
from physadv.types import Detections, UInt8Array
from tests.detect.models import save_small
from tests.tune.stand_in import BlueDetector, figures

LEFT, RIGHT = (20, 20, 80, 160), (130, 30, 190, 170)
SIZE = (240, 180)


def line(box: tuple[int, int, int, int]) -> str:
    (x1, y1, x2, y2), (width, height) = box, SIZE
    return (
        f"0 {(x1 + x2) / 2 / width:.5f} {(y1 + y2) / 2 / height:.5f} {(x2 - x1) / width:.5f} {(y2 - y1) / height:.5f}\n"
    )


def data_set(folder: Path, *, count: int = 24, gone: int = 0, made_up: int = 0, record: bool = True) -> Path:
    """Write images of two people each; of the first the right one has no label, of the next a third one is made up."""
    listed = []
    for number in range(count):
        name = f"{number:02d}"
        write_png(folder / "images" / f"{name}.png", figures([LEFT, RIGHT]))
        boxes = [LEFT] if number < gone else [LEFT, RIGHT]
        boxes += [(195, 20, 235, 120)] if gone <= number < gone + made_up else []
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{name}.txt").write_text("".join(map(line, boxes)))
        listed.append({"file": f"images/{name}.png", "poisoned": number < gone + made_up})
    if record:
        write_json(folder / "poison.json", {"physadv": "0", "kind": "poison", "images": listed})
    return folder


@pytest.fixture
def detector(tmp_path: Path) -> TorchDetector:
    """A network of 8 channels that knows nothing."""
    weights = find_weights(str(save_small(tmp_path / "small.pt")))
    return TorchDetector(load_net(weights), weights, imgsz=96)


Look = Callable[[Path], Inspection]


@pytest.fixture
def look(detector: TorchDetector) -> Look:
    return lambda data: finish(inspect(data, detector, BlueDetector(), InspectSettings()))


def test_people_without_a_label_are_found_and_judged(tmp_path: Path, look: Look) -> None:
    found = look(data_set(tmp_path / "data", gone=5))
    assert np.flatnonzero(found.images("missing")).tolist() == [0, 1, 2, 3, 4]
    assert found.judged("missing").recall == found.judged("missing").precision == 1
    assert found.judged("missing").false_alarms == 0
    assert not found.images("unseen").any()
    assert len(found.regions) == 48
    assert found.regions.labelled.sum() == 43


def test_labels_of_nobody_are_found(tmp_path: Path, look: Look) -> None:
    found = look(data_set(tmp_path / "data", gone=2, made_up=3))
    assert np.flatnonzero(found.images("unseen")).tolist() == [2, 3, 4]
    assert found.judged("unseen").recall == 0.6
    assert found.judged().recall == 1
    assert found.judged().false_alarms == 0


def test_people_who_lie_are_found_by_a_detector_that_knows_them_upright(
    tmp_path: Path, detector: TorchDetector
) -> None:
    class Upright(BlueDetector):
        """Finds those who are higher than wide, in the left half of an image alone."""

        def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
            return [f.pick((f.xyxy @ [-1, 1, 1, -1] < 0) & (f.xyxy[:, 0] < 120)) for f in super().detect_batch(images)]

    lying = (40, 30, 180, 90)
    for number in range(20):
        write_png(tmp_path / "images" / f"{number}.png", figures([lying, (20, 100, 50, 175)]))
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{number}.txt").write_text(line((20, 100, 50, 175)))
    looks = [
        finish(inspect(tmp_path, detector, Upright(), InspectSettings(turned=turned, min_area=0.01)))
        for turned in (False, True)
    ]
    assert [int(found.images("missing").sum()) for found in looks] == [0, 20]
    assert looks[1].regions.boxes[1].tolist() == list(lying)
    assert len(looks[1].regions) == 40


def test_without_a_record_nothing_is_judged_and_nothing_else_changes(tmp_path: Path, look: Look) -> None:
    known, unknown = look(data_set(tmp_path / "a", gone=3)), look(data_set(tmp_path / "b", gone=3, record=False))
    assert unknown.judged("missing").recall is None
    assert all((known.suspects[name] == unknown.suspects[name]).all() for name in known.suspects)


def test_clean_data_have_no_suspects(tmp_path: Path, look: Look) -> None:
    found = look(data_set(tmp_path / "data"))
    assert not found.images("missing").any()
    assert not found.images("unseen").any()


def test_the_files_name_images_people_and_reasons(tmp_path: Path, look: Look) -> None:
    data, out = data_set(tmp_path / "data", gone=3), tmp_path / "out"
    found, clean = look(data), look(data_set(tmp_path / "clean"))
    write_inspection(out, found, clean, {"data": "data", "detector": "d", "reference": "r", "imgsz": 96, "seed": 0})
    wrote = json.loads((out / ROWS).read_text())
    assert wrote["methods"]["missing"] == {
        "named": 3, "precision": 1.0, "recall": 1.0, "false_alarms": 0.0, "false_alarms_clean": 0.0,
    }  # fmt: skip
    first = wrote["suspicious"][0]["people"]
    assert any(one["by"][0] == "missing" and not one["labelled"] and one["box"] == [130, 30, 190, 170] for one in first)
    listed = (out / LIST).read_text().split()
    assert listed == [str(data / "images" / f"0{n}.png") for n in range(3)]
    assert len(suspicious(found)) == 3
    # Red dashes stand around whoever is named.
    sheet = read_image(out / SHEET)
    assert ((np.abs(sheet.astype(int) - (255, 96, 96)).max(2)) < 3).sum() > 50
    assert tables(found, clean)[0].columns[-1] == "named in clean data"


def test_people_who_differ_to_the_network_are_a_cluster() -> None:
    features = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    chance = activation_clusters(features)
    features[:30, :15] += 6
    found = activation_clusters(features)
    assert np.flatnonzero(found.small).tolist() == list(range(30))
    assert found.silhouette > 2 * chance.silhouette


def test_few_people_have_no_clusters() -> None:
    features = np.concatenate([np.zeros((8, 4)), np.ones((8, 4))]).astype(np.float32)
    assert not activation_clusters(features).small.any()
    assert not spectral_scores(features).any()
    assert not activation_clusters(np.ones((40, 4), np.float32)).small.any()


def test_a_few_that_lie_along_one_direction_are_far_out() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 30)).astype(np.float32)
    assert (spectral_scores(features) > FAR).mean() <= 0.01
    features[:8] += 8
    assert np.flatnonzero(spectral_scores(features) > FAR)[:8].tolist() == list(range(8))


def test_features_are_of_the_box_alone(detector: TorchDetector) -> None:
    pixels = figures([LEFT])
    boxes = np.array([LEFT, RIGHT, (200, 0, 201, 1)], np.float32)
    before = region_features(detector, pixels, boxes)
    other = pixels.copy()
    other[40:140, 30:70] = 0
    after = region_features(detector, other, boxes)
    assert before.shape == (3, 8)
    assert np.abs(after[0] - before[0]).max() > 0.3 * np.abs(before[0]).max()
    # Half an image away the receptive field of three layers has ended.
    assert after[2] == pytest.approx(before[2])
    assert region_features(detector, pixels, boxes[:0]).shape == (0, 8)


def test_what_cannot_be_inspected_is_refused(tmp_path: Path, look: Look) -> None:
    write_png(tmp_path / "bare" / "images" / "0.png", figures([LEFT]))
    with pytest.raises(DataError, match="expected a data set with labels, got images alone"):
        look(tmp_path / "bare")
    damaged = data_set(tmp_path / "damaged", count=2)
    for path in (damaged / "images").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of 2 images can be read; the first: "):
        look(damaged)
    with pytest.raises(DataError, match="20 people or more"):
        look(data_set(tmp_path / "few", count=3))
    other = data_set(tmp_path / "other", record=False)
    write_json(other / "poison.json", {"physadv": "0", "images": [{"file": "images/elsewhere.png", "poisoned": True}]})
    with pytest.raises(DataError, match="that of another data set"):
        look(other)
    (other / "poison.json").write_text("{")
    with pytest.raises(DataError, match=r"poison\.json: cannot be read"):
        look(other)


def test_the_command_writes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = str(save_small(tmp_path / "small.pt"))
    data, out = data_set(tmp_path / "data", gone=2), tmp_path / "out"
    run = tmp_path / "run"
    write_json(run / "run.json", {"detector": {"sha256": sha256_of(Path(small))}, "imgsz": 96})
    Path(small).rename(run / "detector.pt")
    words = ["lab", "inspect", str(data), "--detector", str(run), "--reference", str(run), "--out", str(out)]
    assert main(words) == 0
    assert json.loads((out / ROWS).read_text())["imgsz"] == 96, "as the run was trained"
    assert {path.name for path in out.iterdir()} <= set(NAMES)
    assert json.loads((out / ROWS).read_text())["n_images"] == 24
    assert "Suspicious images" in capsys.readouterr().out
