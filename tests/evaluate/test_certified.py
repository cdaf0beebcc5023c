"""Certified recall counts by location class, and a search for patches finds what a wrong certificate would let through."""

import json
from pathlib import Path

import numpy as np
import pytest
from patch_search import _place, search

from physadv.arrays import read_image
from physadv.dataset import Dataset, LabelledImage
from physadv.defend import parse_pipeline
from physadv.defend.masks import FILL, PLACES, Where, positions_hidden, region
from physadv.defend.objectseeker import ObjectSeeker
from physadv.errors import DefenceError
from physadv.evaluate.cell import Cell
from physadv.evaluate.certified import certify, record, seekers, table, write_certified
from physadv.evaluate.steps import finish
from physadv.types import Float32Array, UInt8Array
from tests.defend.adversaries import Pure

PERSON = np.array([[60, 20, 100, 110]], np.float32)


def seen(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    """The part of one person that no mask hides, unless any other pixel of the image is not black."""
    x0, y0, x1, y1 = PERSON[0].astype(int)
    masked = (image == FILL).all(2)
    free = ~masked[y0:y1, x0:x1]
    if (image[~masked] > 0).any() or free.sum() < 200:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    ys, xs = np.nonzero(free)
    return np.array([[x0 + xs.min(), y0 + ys.min(), x0 + xs.max() + 1, y0 + ys.max() + 1]], np.float32), np.array([0.8])


def blind(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    found = seen(image)
    return (found[0][:0], found[1][:0]) if (image == FILL).any() else found


def certified(detector: Pure, text: str, people: Float32Array = PERSON) -> list[Cell]:
    image = LabelledImage("a", np.zeros((120, 160, 3), np.uint8), people)
    return finish(certify(Dataset([image]), detector, [parse_pipeline(text)]))


def test_recall_is_counted_by_class_and_a_blind_detector_has_none() -> None:
    people = np.concatenate([PERSON, [[0, 0, 4, 4]]]).astype(np.float32)
    good = certified(Pure(seen), "objectseeker:lines=7", people)
    assert good[0].counted == {"n_images": 1, "n_people": 1}, "the tiny one is passed over"
    assert (good[0]["recall"], good[0]["recall_defended"]) == (1, 1)
    assert [good[0][f"certified_{where}"] for where in PLACES] == [1, 1, 1, 1]
    bad = certified(Pure(blind), "objectseeker:lines=7", people)
    assert bad[0]["recall"] == 1 and not any(cell[f"certified_{where}"] for cell in bad for where in PLACES)
    text = table([*good, *bad]).markdown()
    assert "| 7 lines each way | 1 % of the image | 1 | 1.000 | 1.000 |" in text
    assert record(good)["certified"]["20 % of the box"]["far"]["n"] == 1
    assert good[0].plain()["condition"] == "certificate" and good[0].plain()["defence"] == "objectseeker:lines=7"


def test_a_class_in_which_no_patch_has_a_place_is_left_open(tmp_path: Path) -> None:
    fills = np.array([[0, 0, 160, 120], [0, 0, 16, 24]], np.float32)
    cells = certified(Pure(seen), "objectseeker:lines=3", fills)
    assert cells[0].counted["n_people"] == 1, "who has no more than the least share of the image does not count"
    write_certified(tmp_path, cells)
    (row,) = json.loads((tmp_path / "certified.json").read_text())
    # The names in the file are those of version 0.1.
    assert row["certified"]["1 % of the picture"]["far"] == {"n": 0, "recall": None} and row["pictures"] == 1
    assert "| - (n 0) |" in table(cells).markdown()


def test_certificates_are_asked_of_each_pipeline_that_gives_any(tmp_path: Path) -> None:
    bare = Pure(seen)
    ((name, detector, defence),) = seekers(bare, [parse_pipeline("persistence")])
    assert (name, detector, defence.lines) == ("objectseeker", bare, ObjectSeeker().lines)
    ((_, within, defence),) = seekers(bare, [parse_pipeline("median,objectseeker:lines=3"), parse_pipeline("lgs")])
    assert defence.lines == 3 and within is not bare
    with pytest.raises(DefenceError, match="noise"):
        seekers(bare, [parse_pipeline("noise,objectseeker")])
    cells = certified(bare, "persistence")
    write_certified(tmp_path, cells)
    (row,) = json.loads((tmp_path / "certified.json").read_text())
    assert row["people"] == 1 and row["certified"]["1 % of the picture"]["far"] == {"n": 1, "recall": 1.0}
    assert table(cells).markdown() in (tmp_path / "certified.md").read_text()


def test_the_search_fools_the_bare_detector_and_not_the_certificate() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    tried = search(Pure(seen), ObjectSeeker(lines=7), image, PERSON, np.random.default_rng(0), tries=60)
    assert len(tried) == 1 and tried[0].fooled and not tried[0].hidden


def test_the_search_would_find_a_certificate_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    monkeypatch.setattr(ObjectSeeker, "certify", lambda self, people, *rest: np.ones(len(people), bool))
    tried = search(Pure(seen), ObjectSeeker(lines=1), image, PERSON, np.random.default_rng(0), tries=100)
    assert tried[0].hidden


@pytest.mark.parametrize("where", PLACES)
def test_patches_are_tried_only_where_the_certificate_speaks(where: Where) -> None:
    image, rng = np.zeros((120, 160, 3), np.uint8), np.random.default_rng(0)
    defence = ObjectSeeker(where=where)
    size = defence.patch_for(160, 120, PERSON[0])
    whole, without = region(PERSON[0], size, 160, 120, where)
    covers = positions_hidden(defence.masks(160, 120), size, 160, 120)
    places = np.array([_place(image, PERSON[0], size, defence, covers, rng) for _ in range(200)])
    assert (places >= whole[:2]).all() and (places < whole[2:]).all()
    assert without is None or not ((places >= without[:2]) & (places < without[2:])).all(1).any()


def test_no_patch_found_breaks_a_certificate_of_the_real_detector(bus: Path) -> None:
    from physadv.detect import load_detector

    detector = load_detector(backend="torch", imgsz=256)
    image = read_image(bus)[::3, ::3]
    people = detector.detect_batch([image])[0].above(0.5).xyxy
    defence = ObjectSeeker(lines=11, conf=0.4, patch=0.005, per_frame=0)
    starts = [np.random.default_rng(2).integers(0, 256, (9, 9, 3), np.uint8)]
    tried = search(detector, defence, image, people, np.random.default_rng(0), tries=6, starts=starts)
    assert tried, "somebody is certified"
    assert not any(t.hidden for t in tried)
    # The answer for a view does not depend on what else is in its batch, which the proof takes for granted.
    other = np.random.default_rng(1).integers(0, 256, image.shape, np.uint8)
    alone, beside = detector.detect_batch([image, image])[1], detector.detect_batch([other, image])[1]
    assert np.array_equal(alone.xyxy, beside.xyxy) and np.array_equal(alone.score, beside.score)
