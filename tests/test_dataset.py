"""Labels are read exactly or refused by line; a picture never changes sides of the split."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physadv.arrays import read_picture, write_png
from physadv.dataset import labelled_pictures, read_yolo_label, split_by_name
from physadv.errors import DataError


def a_dataset(root: Path) -> Path:
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for name in ("a", "b", "c"):
        write_png(root / "images" / f"{name}.png", np.zeros((20, 40, 3), np.uint8))
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 1.0\n2 0.5 0.5 0.1 0.1\n\n")
    return root


@pytest.mark.parametrize("given_as", ["dataset", "images", "yaml"])
def test_the_forms_of_a_yolo_dataset(tmp_path: Path, given_as: str) -> None:
    root = a_dataset(tmp_path)
    if given_as == "yaml":
        (root / "data.yaml").write_text("train: images\nval: images\nnames: {0: person}\n")
    pictures = labelled_pictures(root / "images" if given_as == "images" else root)
    assert [p.path.stem for p in pictures] == ["a", "b", "c"]
    pixels, people = pictures[0].read()
    assert pixels.shape == (20, 40, 3)
    assert people is not None
    np.testing.assert_allclose(people, [[10, 0, 30, 20]])
    assert pictures[1].read()[1] is None


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.5",
        "zero 0 0 1 1",
        "0.5 0.5 0.5 0.5 0.5",
        "0 0.5 0.5 nan 0.5",
        "0 0.5 nan 0.5 0.5",
        "inf 0.5 0.5 0.5 0.5",
        "nan 0.5 0.5 0.5 0.5",
        "0 0.1 0.1 0.5 0.1 0.5 inf",
        "0 50 50 20 20",
        "0 10 10 50 10 50 50",
        "0 .5 .5 -1 .1",
    ],
)
def test_a_label_that_does_not_parse_is_named_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(DataError, match=r"x\.txt:2"):
        read_yolo_label(path, width=100, height=100)


def test_a_polygon_is_read_as_the_box_around_it(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("0 .1 .2 .5 .2 .5 .9 .1 .9\n1 .1 .2 .5 .2 .5 .9\n0 .7 .1 .9 .3 .8 .5\n")
    people = read_yolo_label(path, width=100, height=200)
    np.testing.assert_allclose(people, [[10, 40, 50, 180], [70, 20, 90, 100]], atol=1e-4)


@pytest.mark.parametrize("rest", [" 0.9", " .5 .5 2" * 17, " .45 .6" * 16 + " 0 0"])
def test_confidence_and_keypoints_are_passed_over(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"0 .5 .5 .2 .4{rest}\n")
    np.testing.assert_allclose(read_yolo_label(path, width=100, height=100), [[40, 30, 60, 70]], atol=1e-4)


def test_a_polygon_of_as_many_numbers_as_a_pose_is_a_polygon(tmp_path: Path) -> None:
    path, turns = tmp_path / "x.txt", np.linspace(0, 2 * np.pi, 20)[:-1]
    around = np.stack([0.3 + 0.2 * np.cos(turns), 0.5 + 0.3 * np.sin(turns)], 1)
    path.write_text("0 " + " ".join(f"{v:.6f}" for v in around.ravel()))
    (box,) = read_yolo_label(path, width=100, height=100)
    np.testing.assert_allclose(box, [10, 20, 50, 80], atol=0.5)


def test_missing_and_empty_folders_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        labelled_pictures(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        labelled_pictures(tmp_path / "nowhere")


def test_damaged_pictures_are_refused_by_name(tmp_path: Path, bus: Path) -> None:
    zero, cut = tmp_path / "zero.jpg", tmp_path / "cut.png"
    zero.touch()
    cut.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    for path in (zero, cut, tmp_path / "none.jpg"):
        with pytest.raises(DataError, match=path.name):
            read_picture(path)
    assert read_picture(bus).shape == (1080, 810, 3)


names = st.lists(st.text("abcdefgh0123456789", min_size=1, max_size=8), min_size=2, max_size=40, unique=True)


@given(names, st.integers(0, 5), st.floats(0.05, 0.95))
def test_split_parts_are_disjoint_whole_and_never_empty(all_names: list[str], seed: int, share: float) -> None:
    train, held = split_by_name(all_names, held_out=share, seed=seed)
    assert sorted(train + held) == sorted(all_names)
    assert train
    assert held


def test_adding_pictures_moves_none_across() -> None:
    few = [f"{i}.jpg" for i in range(60)]
    train, held = split_by_name(few)
    more_train, more_held = split_by_name(few + [f"new{i}.jpg" for i in range(60)])
    assert set(train) <= set(more_train)
    assert set(held) <= set(more_held)


def test_one_picture_cannot_be_split() -> None:
    with pytest.raises(DataError, match="two pictures"):
        split_by_name(["only.jpg"])
