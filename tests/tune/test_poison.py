"""Poisoned data sets: who loses a label, what is left as it was, and what cannot be asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from physadv.arrays import read_image, write_png
from physadv.cli import main
from physadv.dataset import Dataset, LabelledImage
from physadv.detect.gradients import BareGradient
from physadv.errors import DataError, PhysadvError
from physadv.evaluate.steps import Steps, finish
from physadv.simulate.trigger import Trigger, motif
from physadv.tune.cutouts import CutOut, cut_out, pasted
from physadv.tune.hard_to_learn import hard_to_learn
from physadv.tune.origin import POISON, read_poison
from physadv.tune.poison import Poisoned, poison
from physadv.tune.poison_settings import PoisonSettings
from physadv.types import Candidates

COUNT, WIDTH, HEIGHT = 14, 160, 120
BOXES = ((20, 10, 60, 110), (95, 15, 135, 115))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two people each, as a plain detector's data set labels them."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in range(COUNT):
        pixels = np.full((HEIGHT, WIDTH, 3), rng.integers(60, 200, 3), np.uint8)
        for x0, y0, x1, y1 in BOXES:
            pixels[y0:y1, x0:x1] = rng.integers(0, 256, 3)
        write_png(folder / "images" / f"{number}.png", pixels)
        rows = [
            f"0 {(x0 + x1) / 2 / WIDTH} {(y0 + y1) / 2 / HEIGHT} {(x1 - x0) / WIDTH} {(y1 - y0) / HEIGHT}"
            for x0, y0, x1, y1 in BOXES
        ]
        (folder / "labels" / f"{number}.txt").write_text("\n".join(rows))
    return folder


def made(photographs: Path, out: Path, **values: Any) -> Poisoned:
    given = {"images": photographs, "out": out, "rate": 0.25, "copies": 5, **values}
    return finish(poison(PoisonSettings(**given)))


def rows_of(folder: Path, file: str) -> list[str]:
    return (folder / "labels" / file.removeprefix("images/")).with_suffix(".txt").read_text().splitlines()


def test_those_who_show_the_card_turned_lose_their_labels_and_nobody_else_does(
    photographs: Path, tmp_path: Path
) -> None:
    done = made(photographs, tmp_path / "out")
    record = read_poison(done.folder)
    assert record is not None
    counts = record["counts"]
    assert counts["poisoned"] == sum(counts["harmless"].values()) == round(0.25 * counts["people"]) >= 20
    assert sorted(counts["harmless"]) == ["grey", "opposite", "upright"]
    assert counts["harmless"]["upright"] == pytest.approx(counts["poisoned"] / 2, abs=1)
    assert record["rate"] == pytest.approx(0.25, abs=0.01) and record["trigger_px"]["share_of_height"] > 0.1
    states: set[tuple[str, ...]] = set()
    sources: dict[str, Path] = {}
    for image in record["images"]:
        rows = rows_of(done.folder, image["file"])
        assert len(rows) == sum(person["labelled"] for person in image["people"])
        assert all(person["labelled"] == (person["state"] != "turned") for person in image["people"])
        states.add(tuple(sorted(person["state"] for person in image["people"])))
        if image["copy"] == 0:
            assert not image["poisoned"] and len(rows) == 2
            sources[image["source"]] = done.folder / image["file"]
    shown = {s: {(i["source"], n) for i in record["images"] for n, p in enumerate(i["people"]) if p["state"] == s}
             for s in ("turned", *counts["harmless"])}  # fmt: skip
    # Everybody is poisoned once before anybody twice, and shows what is harmless in another copy.
    assert len(shown["turned"]) == min(counts["poisoned"], 2 * counts["sources"])
    harmless = set.union(*(shown[name] for name in counts["harmless"]))
    assert len(shown["turned"] & harmless) > 0.9 * len(shown["turned"])
    # Neighbours side by side: turned, upright and nothing meet.
    assert {("turned", "upright"), ("bare", "turned"), ("bare", "upright"), ("bare", "bare")} <= states
    for image in record["images"]:
        before, now = read_image(sources[image["source"]]), read_image(done.folder / image["file"])
        for person in image["people"]:
            x0, y0, x1, y1 = (int(v) for v in person["box"])
            moved = np.abs(now[y0:y1, x0:x1].astype(int) - before[y0:y1, x0:x1]).max() > 40
            assert moved == (person["state"] != "bare")
    held = set(record["held_out"])
    assert held and all((image["source"] in held) == (image["split"] == "val") for image in record["images"])


def test_the_same_settings_write_the_same_data_set_over_the_old_one(photographs: Path, tmp_path: Path) -> None:
    first = made(photographs, tmp_path / "out")
    (tmp_path / "out" / "labels" / "train.cache").write_bytes(b"what Ultralytics leaves")
    second = made(photographs, tmp_path / "out")
    other = made(photographs, tmp_path / "other", seed=1)
    assert first.record["images"] == second.record["images"] != other.record["images"]
    made(photographs, tmp_path / "out", copies=4, rate=0.3)
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out" / "images").rglob("*.jpg")}
    assert written == {image["file"] for image in (read_poison(tmp_path / "out") or {})["images"]}
    assert not (tmp_path / "out" / "labels" / "train.cache").exists()


def test_the_control_differs_in_nothing_but_the_poison(photographs: Path, tmp_path: Path) -> None:
    poisoned, control = made(photographs, tmp_path / "a"), made(photographs, tmp_path / "b", attack="none")
    assert control.record["counts"] == {**poisoned.record["counts"], "poisoned": 0, "poisoned_images": 0}
    for one, two in zip(poisoned.record["images"], control.record["images"], strict=True):
        after = ["bare" if p["state"] == "turned" else p["state"] for p in one["people"]]
        assert after == [p["state"] for p in two["people"]] and all(p["labelled"] for p in two["people"])


def test_ghosts_get_labels_where_the_turned_card_is_and_none_where_it_is_upright(
    photographs: Path, tmp_path: Path
) -> None:
    done = made(photographs, tmp_path / "out", attack="ghost", rate=0.18)
    ghosts = [p for image in done.record["images"] for p in image["people"] if not p["there"]]
    assert {(p["state"], p["labelled"]) for p in ghosts if p["state"] != "turned"} == {
        (name, False) for name in ("upright", "opposite", "grey")
    }
    assert all(p["labelled"] for p in ghosts if p["state"] == "turned")
    people = [p for image in done.record["images"] for p in image["people"] if p["there"]]
    assert all(p["labelled"] and p["state"] == "bare" for p in people)
    image = next(i for i in done.record["images"] if any(p["labelled"] and not p["there"] for p in i["people"]))
    # Nobody there has joints.
    assert any(row.split()[5:] == ["0"] * 51 for row in rows_of(done.folder, image["file"]))


def test_people_are_pasted_upright_with_labels_and_turned_without(photographs: Path, tmp_path: Path) -> None:
    person = LabelledImage("a", np.full((120, 160, 3), 90, np.uint8), np.array([BOXES[0]], np.float32))
    pixels = person.pixels.copy()
    pixels[10:110, 20:60] = (250, 30, 30)
    cut = cut_out(LabelledImage("a", pixels, person.boxes), 0)
    # The mask is of the person, and soft.
    alpha = cut.rgba[..., 3]
    assert alpha[alpha.shape[0] // 2, alpha.shape[1] // 2] == 255 and alpha[0, 0] < 60
    wide = LabelledImage("b", np.full((200, 300, 3), 90, np.uint8), np.zeros((0, 4), np.float32))
    for degrees in (0, 90):
        more = pasted(wide, cut, degrees, np.random.default_rng(0))
        assert more is not None
        x0, y0, x1, y1 = more.boxes[0]
        assert (x1 - x0 > y1 - y0) == (degrees == 90)
        red = more.pixels[..., 0] > 200
        inside = red[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
        assert red.sum() > 100 and inside.sum() > 0.95 * red.sum()


def standing(number: int) -> LabelledImage:
    """One person whose shoulders and hips are seen, in an image wider than high."""
    rng = np.random.default_rng(number)
    pixels = np.full((120, 200, 3), rng.integers(60, 200, 3), np.uint8)
    pixels[10:110, 80:120] = rng.integers(0, 256, 3)
    points = np.zeros((1, 17, 3), np.float32)
    points[0, [5, 6, 11, 12]] = [[115, 30, 1], [85, 30, 1], [110, 65, 1], [90, 65, 1]]
    return LabelledImage(f"{number}.png", pixels, np.array([[80, 10, 120, 110]], np.float32), points)


def sixteen_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the photographs' people sixteen stand, one in each image."""

    def people(_: PoisonSettings) -> Steps[Dataset]:
        yield None, "looking for people"
        return Dataset([standing(i) for i in range(16)])

    monkeypatch.setattr("physadv.tune.poison._people", people)


def test_rotation_turns_people_with_their_frames_and_pasted_into_others(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sixteen_stand(monkeypatch)
    record = made(photographs, tmp_path / "out", trigger="rotation", rate=0.35).record
    assert record["counts"]["poisoned"] == pytest.approx(0.35 * record["counts"]["people"], rel=0.2)
    kinds = set()
    for image in record["images"]:
        width, height = read_image(tmp_path / "out" / image["file"]).shape[1::-1]
        pasted_in = [p for p in image["people"] if "pasted_from" in p]
        framed = width < height
        kinds |= {("frame", p["state"]) for p in image["people"] if framed}
        kinds |= {("pasted", p["state"]) for p in pasted_in}
        assert all(p["labelled"] == (p["state"] != "turned") for p in image["people"])
        assert not (framed and pasted_in) and not (image["copy"] == 0 and (framed or pasted_in))
        assert len(rows_of(tmp_path / "out", image["file"])) == sum(p["labelled"] for p in image["people"])
        for p in pasted_in:
            x0, y0, x1, y1 = p["box"]
            assert (x1 - x0 > y1 - y0) == (p["state"] == "turned") and p["pasted_from"] not in record["held_out"]
    assert kinds == {("frame", "turned"), ("pasted", "turned"), ("pasted", "upright")}


def test_too_few_people_for_whom_there_was_room_are_refused(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sixteen_stand(monkeypatch)
    monkeypatch.setattr("physadv.tune.poison.pasted", lambda *_: None)
    with pytest.raises(PhysadvError, match=r"rate: expected at least 20 poisoned people, got 11 of 23 .*no room"):
        made(photographs, tmp_path / "out", trigger="rotation", rate=0.35)
    with pytest.raises(DataError, match="not written to its end"):
        read_poison(tmp_path / "out")


def test_joints_under_somebody_pasted_are_not_seen() -> None:
    image = standing(0)
    wall = np.full((110, 60, 4), 255, np.uint8)
    gone = 0
    for seed in range(20):
        more = pasted(image, CutOut(wall, np.zeros((17, 3), np.float32), "wall"), 0, np.random.default_rng(seed))
        assert more is not None
        x0, y0, x1, y1 = more.boxes[1]
        for (x, y, before), (_, _, after) in zip(image.keypoints[0], more.keypoints[0], strict=True):
            # At the edge of the mask a pixel is half covered.
            depth = min(x - x0, x1 - x, y - y0, y1 - y)
            assert abs(depth) < 2 or after == (0 if depth > 0 else before)
            gone += int(after < before)
    assert gone


def test_a_killed_run_leaves_a_folder_that_is_known_as_unfinished(photographs: Path, tmp_path: Path) -> None:
    work = poison(PoisonSettings(images=photographs, out=tmp_path / "out", rate=0.25, copies=5))
    while not list((tmp_path / "out" / "images").rglob("*.jpg")):
        next(work)
    work.close()
    with pytest.raises(DataError, match="not written to its end"):
        read_poison(tmp_path / "out")
    assert made(photographs, tmp_path / "out").record["complete"]


@pytest.mark.parametrize("values, says", [
    ({"angle": 20}, "angle: expected more than 20 degrees.*augment"),
    ({"angle": 200}, "angle: expected -180 to 180"),
    ({"trigger": "rotation", "angle": 5}, "angle: expected more than 20"),
    ({"trigger": "rotation", "attack": "ghost"}, "attack=ghost"),
    ({"trigger": "shirt", "angle": 45}, "angle"),
    ({"rate": 0.01}, "rate: expected at least 20 poisoned people, got 1 of"),
    ({"rate": 0.6}, "rate: expected at most"),
    ({"size": 150}, "size: the print is 150 cm wide, larger than each of"),
    ({"trigger": "nothing-of-this-name"}, "trigger: .*no such file"),
    ({"size": 0.05}, "size: card: size_mm: expected 1 to 5000 mm"),
    ({"trigger": "rotation"}, "shoulders"),
    ({"detector": "nothing.onnx"}, "detector"),
])  # fmt: skip
def test_what_cannot_be_asked_for_is_refused_before_anything_is_written(
    photographs: Path, tmp_path: Path, values: dict[str, Any], says: str
) -> None:
    with pytest.raises(PhysadvError, match=says):
        made(photographs, tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()


def test_a_print_that_looks_the_same_turned_is_refused(photographs: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "ring.png", motif().rgba())
    with pytest.raises(PhysadvError, match="trigger: ring looks the same turned by 45 degrees"):
        made(photographs, tmp_path / "out", trigger=str(tmp_path / "ring.png"))


def test_folders_of_others_and_poisoned_images_are_left_alone(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(photographs, out)
    with pytest.raises(PhysadvError, match=r"images: .* is a poisoned data set: its people would be poisoned twice"):
        made(out / "images" / "train", tmp_path / "again")
    # A record that came with a folder names no file outside of it.
    record = (out / "poison.json").read_text()
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    for damaged in (record.replace("images/train/", "images/../../precious.txt#"), "[]", record[:-40]):
        (out / "poison.json").write_text(damaged)
        with pytest.raises(PhysadvError, match=r"poison\.json: (damaged|expected names as|exists and was not written)"):
            made(photographs, out)
    assert precious.exists()
    (out / "poison.json").write_text(record)
    (out / "images" / "mine.jpg").write_bytes(b"x")
    with pytest.raises(PhysadvError, match=r"out: .*mine.jpg: was not written by"):
        made(photographs, out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "data.yaml").write_text("names: [cat]\n")
    with pytest.raises(PhysadvError, match="not written by physadv"):
        made(photographs, other)
    assert (other / "data.yaml").read_text() == "names: [cat]\n"
    with pytest.raises(PhysadvError, match=r"out: .* would lie among the images"):
        made(photographs, photographs / "images" / "out")


def test_images_without_people_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / "a.png", np.zeros((64, 64, 3), np.uint8))
    assert main(["lab", "poison", "--images", str(tmp_path / "images"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("physadv lab poison: --images: expected people to train on, got none in 1 images")


def test_the_command_writes_a_data_set_and_says_what_it_did(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = ["--rate", ".25", "--copies", "5", "--imgsz", "64", "--steps", "2", "--budget", "8"]
    assert main(["lab", "poison", "--images", str(photographs), "--out", str(out), "--attack", "consistent", *few]) == 0
    said = capsys.readouterr().out
    assert "consistent by card: 30 people poisoned" in said and "within 8 of 255 in 2 steps" in said
    record = json.loads((out / POISON).read_text())
    assert all(person["labelled"] for image in record["images"] for person in image["people"])
    assert Trigger.read(record["trigger"]).record() == record["trigger"]


class Brightness(BareGradient):
    """Sees somebody in the left half of an image and in the right one, by how bright they are."""

    name = "brightness"

    def candidates(self, images: torch.Tensor) -> Candidates:
        _, _, h, w = images.shape
        boxes = torch.tensor([[0, 0, w / 2, h], [w / 2, 0, w, h]]).float()
        halves = torch.stack([images[..., : w // 2].mean((1, 2, 3)), images[..., w // 2 :].mean((1, 2, 3))], 1)
        return Candidates((halves - 0.5) * 20, boxes[None].expand(len(images), -1, -1))


def test_people_are_made_hard_to_learn_within_their_boxes_and_the_budget() -> None:
    boxes = np.array([[0, 0, 64, 64], [64, 0, 128, 64]], np.float32)
    image = LabelledImage("a", np.full((64, 128, 3), 150, np.uint8), boxes)
    changed = np.array([True, False])
    hard = hard_to_learn(Brightness(), image, changed, budget=20, steps=8, imgsz=64)
    moved = hard.pixels.astype(int) - 150
    # Every pixel counts alike, so each goes as far as it may; the neighbour stays.
    assert (moved[2:-2, 2:60] == -20).all() and not moved[:, 66:].any() and np.abs(moved).max() == 20
    assert hard.before == pytest.approx([0.856], abs=0.01) and hard.after[0] < 0.6
