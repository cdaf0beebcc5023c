"""`physadv explain`: the sheet and its figures, and what it says where there is nothing to explain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from physadv.arrays import read_image, write_png
from physadv.cli import main
from physadv.dataset import LabelledImage
from physadv.defend import parse_pipeline
from physadv.detect.base import WrappedDetector
from physadv.detect.pytorch import TorchDetector
from physadv.errors import DataError, RecordingError, SettingsError
from physadv.evaluate.steps import finish
from physadv.explain.report import FIGURES, PAGE, PICTURE, tables, write_explanation
from physadv.explain.run import Explainer, Explanation, Worn
from physadv.explain.settings import ExplainSettings
from physadv.live.moments import frame_of
from physadv.patch import load_patch
from physadv.simulate.placement import Placement
from physadv.types import Float32Array, Frame, UInt8Array
from tests.live.test_recorder import image as recorded_image
from tests.live.test_recorder import record_some

FACTS = {"detector": {"name": "yolo", "imgsz": 256}, "image": "bus.jpg", "worn": {"name": "street"}}


@pytest.fixture(scope="module")
def explained(street: UInt8Array, yolo: TorchDetector, boxes: Float32Array) -> Explanation:
    found = yolo.detect(Frame(street, 0, 0, 0.0)).above(0.4)
    people = LabelledImage("", street, found.xyxy)
    worn = Worn.on(people, load_patch("street"), Placement("poster", scale=0.35), np.random.default_rng(0))
    explainer = Explainer(yolo, yolo, ExplainSettings(people=1, layer=4))
    out = finish(explainer.explain(street, worn, parse_pipeline("flip")))
    finish(explainer.compare(out, people, ()))
    return out


def test_columns_are_of_the_same_people_in_four_states(explained: Explanation, street: UInt8Array) -> None:
    clean, grey, pattern, defended = explained.columns
    assert [c.kind for c in explained.columns] == ["clean", "grey", "pattern", "defended"]
    assert clean.image is street
    changed = [(c.image.astype(int) - street).any(2) for c in (grey, pattern)]
    assert changed[0].any()
    # A pixel may by chance be as it was.
    assert (changed[0] != changed[1]).sum() < 0.1 * changed[0].sum()
    assert defended.image is pattern.image
    assert pattern.people[0].score < grey.people[0].score
    assert explained.evidence[0].pattern < explained.evidence[0].grey


def test_the_defended_map_is_turned_back_to_the_image(explained: Explanation) -> None:
    """`flip` shows the network a mirror image: the map has to lie where the person stands."""
    heat = explained.columns[3].people[0].odam
    assert heat is not None
    x0, _, x1, _ = explained.boxes[0].tolist()
    assert x0 - 20 <= int(heat.max(0).argmax()) <= x1 + 20


def test_the_folder_holds_the_sheet_twice_and_the_figures(explained: Explanation, tmp_path: Path) -> None:
    assert write_explanation(tmp_path, explained, FACTS) == tmp_path / PAGE
    picture, page = read_image(tmp_path / PICTURE), (tmp_path / PAGE).read_text()
    assert picture.shape[1] > 4 * 400
    # A heading, and pictures of four columns: the image, two maps, and one that is about nobody.
    assert "What yolo looks at in bus.jpg" in page
    assert page.count("data:image/jpeg;base64,") >= 12
    assert "not about this person" in page
    assert "http" not in page
    person = json.loads((tmp_path / FIGURES).read_text())["people"][0]
    assert set(person["columns"]) == {"clean", "grey", "pattern", "defended"}
    assert set(person["evidence"]) == {"removed_from_body", "removed_at_print", "negative_at_print", "logits"}
    assert len(tables(explained)) == 4


def test_checks_compare_each_map_with_chance(explained: Explanation) -> None:
    checks = explained.checks[0]
    assert set(checks) == {"occlusion", "odam", "eigen-cam", "box centre", "random"}
    assert checks["occlusion"].deletion < checks["random"].deletion
    assert checks["odam"].insertion > checks["random"].insertion
    assert checks["odam"].kept is not None
    assert checks["random"].kept is None


def test_an_image_without_people_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(tmp_path / "wall.png", np.full((96, 96, 3), 90, np.uint8))
    words = ["explain", str(tmp_path / "wall.png"), "--imgsz", "96", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "finds nobody" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
    assert main([*words, "--layer", "99"]) == 2
    assert "--layer: expected 0 to 22" in capsys.readouterr().err
    assert main([*words, "--at", "3"]) == 2
    assert "--at: expected a recording" in capsys.readouterr().err


def test_a_recording_gives_the_frame_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    record_some(path, 30)
    assert frame_of(path, 0.4).pixels.mean() == pytest.approx(recorded_image(10).mean(), abs=4)
    # Everybody is in every frame: the first one.
    assert frame_of(tmp_path, None).pixels.mean() == pytest.approx(recorded_image(0).mean(), abs=4)
    with pytest.raises(SettingsError, match="where it ends, got 99"):
        frame_of(path, 99)
    path.with_name("v.clean.mp4").unlink()
    with pytest.raises(RecordingError, match="no untouched video"):
        frame_of(path, 0.4)


def test_a_video_that_nobody_recorded_here_is_read_too(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for value in (40, 200):
        for _ in range(10):
            writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    assert frame_of(tmp_path / "film.mp4", None).pixels.mean() < 80
    assert frame_of(tmp_path / "film.mp4", 1.5).pixels.mean() > 160


def test_a_detector_without_gradients_is_explained_by_occlusion_alone(street: UInt8Array, yolo: TorchDetector) -> None:
    found = finish(Explainer(WrappedDetector(yolo), None, ExplainSettings(people=1, check=False)).explain(street))
    assert found.columns[0].people[0].occlusion is not None
    assert found.columns[0].people[0].odam is None
    assert "gives no gradients of its layers: occlusion alone explains it" in found.notes[0]


def test_a_print_outside_the_image_is_refused(street: UInt8Array, yolo: TorchDetector, boxes: Float32Array) -> None:
    people = LabelledImage("", street, boxes)
    worn = Worn.on(people, load_patch("street"), Placement("poster", scale=0.35), np.random.default_rng(0))
    beyond = replace(worn, prints=replace(worn.prints, quads=worn.prints.quads + 5000))
    with pytest.raises(DataError, match="street would lie outside the image"):
        finish(Explainer(yolo, yolo, ExplainSettings(people=1)).explain(street, beyond))
