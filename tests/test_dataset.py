"""Labels are read exactly or refused by line; an image never changes sides of the split."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physadv.arrays import LeftOut, images_in, read_image, write_png
from physadv.dataset import (
    check_outside,
    labelled_images,
    read_images,
    read_yolo_label,
    split_by_name,
    split_images,
)
from physadv.errors import DataError, SettingsError
from physadv.lineage import Seen


def a_dataset(root: Path) -> Path:
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for name in ("a", "b", "c"):
        write_png(root / "images" / f"{name}.png", np.zeros((20, 40, 3), np.uint8))
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 1.0\n2 0.5 0.5 0.1 0.1\n\n")
    return root


def test_results_are_not_written_among_the_images_read(tmp_path: Path) -> None:
    data, flat = a_dataset(tmp_path / "data"), tmp_path / "flat"
    write_png(flat / "a.png", np.zeros((20, 40, 3), np.uint8))
    (tmp_path / "link").symlink_to(flat)
    for inside, images in ((flat, flat), (flat / "run", flat), (data / "images" / "run", data), (flat / "r", "link")):
        with pytest.raises(SettingsError, match=r"^out: .* would lie among the images of"):
            check_outside("out", inside, [tmp_path / images])
    for outside in (data / "run", tmp_path / "flat-run"):
        check_outside("out", outside, [data, flat, flat / "a.png", "rtsp://camera/1", "x" * 5000])


@pytest.mark.parametrize("given_as", ["dataset", "images", "yaml"])
def test_the_forms_of_a_yolo_dataset(tmp_path: Path, given_as: str) -> None:
    root = a_dataset(tmp_path)
    if given_as == "yaml":
        (root / "data.yaml").write_text("train: images\nval: images\nnames: {0: person}\n")
    images = labelled_images(root / "images" if given_as == "images" else root)
    assert [p.path.stem for p in images] == ["a", "b", "c"]
    pixels, people = images[0].read()
    assert pixels.shape == (20, 40, 3)
    assert people is not None
    np.testing.assert_allclose(people, [[10, 0, 30, 20]])
    nobody = images[1].read()[1]
    assert nobody is not None and nobody.shape == (0, 4), "an image without a label in a labelled set shows nobody"


def test_without_any_label_the_people_are_not_known(tmp_path: Path) -> None:
    root = a_dataset(tmp_path)
    (root / "labels" / "a.txt").unlink()
    assert all(p.read()[1] is None for p in labelled_images(root))


NAMES = [
    ("names: [car, person]\n", [18, 9, 22, 11]),
    ("names: {0: car, 2: Person}\n", [18, 9, 22, 11]),
    ("names: {'0': person, '1': car}\n", [10, 0, 30, 20]),
    ("nc: 3\n", [10, 0, 30, 20]),
]


@pytest.mark.parametrize("given_as", ["dataset", "images", "image", "labels"])
@pytest.mark.parametrize(("names", "expected"), NAMES)
def test_the_person_is_the_class_called_so(tmp_path: Path, names: str, expected: list[int], given_as: str) -> None:
    root = a_dataset(tmp_path / "set")
    number = 1 if "[car" in names else 2
    (root / "labels" / "a.txt").write_text(f"0 0.5 0.5 0.5 1.0\n{number} 0.5 0.5 0.1 0.1\n")
    (root / "data.yaml").write_text(f"train: images\n{names}")
    where = {
        "dataset": root,
        "images": root / "images",
        "image": root / "images" / "a.png",
        "labels": tmp_path / "all",
    }
    if given_as == "labels":
        (root / "images").rename(tmp_path / "all")
    labels = root / "labels" if given_as == "labels" else None
    people = labelled_images(where[given_as], labels)[0].read()[1]
    assert people is not None
    np.testing.assert_allclose(people, [expected], atol=1e-4)


@pytest.mark.parametrize("names", ["[car, dog]", "{0: pedestrian}", "people", "{x: person}"])
def test_a_set_that_names_no_person_is_refused(tmp_path: Path, names: str) -> None:
    root = a_dataset(tmp_path)
    (root / "data.yaml").write_text(f"train: images\nnames: {names}\n")
    with pytest.raises(DataError, match=r"data\.yaml: names: expected"):
        labelled_images(root)


def parts_of(root: Path, *, roboflow: bool) -> Path:
    """Two images in train and one in val; the second one in train shows nobody and has no label."""
    for part, names in {"train": "ab", "val": "c"}.items():
        images, labels = (root / part / kind if roboflow else root / kind / part for kind in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for name in names:
            write_png(images / f"{name}.png", np.zeros((20, 40, 3), np.uint8))
        (labels / f"{names[0]}.txt").write_text("0 0.5 0.5 0.5 1.0\n")
    return root


def people_in(root: Path, labels: Path | None = None) -> list[int]:
    return [len(people) for p in labelled_images(root, labels) if (people := p.read()[1]) is not None]


@pytest.mark.parametrize(
    "path",
    ["", "path: /content/set\n", "path: ../elsewhere/set\n", "path: .\n", "path: {root}\n", f"path: /{'n' * 300}\n"],
)
def test_data_yaml_as_roboflow_and_others_write_it(tmp_path: Path, path: str) -> None:
    root = parts_of(tmp_path / "r", roboflow=True)
    entries = "train: ../train/images\nval: ../val/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{path.format(root=root)}{entries}names: [person]\n")
    assert people_in(root) == [1, 0, 1]
    root = parts_of(tmp_path / "y", roboflow=False)
    (root / "data.yaml").write_text(f"{path.format(root=root)}train: images/train\nval: images/val\nnames: [person]\n")
    assert people_in(root) == [1, 0, 1]
    (root / "data.yaml").write_text(f"{path.format(root=root)}train: images\nval: images/val\nnames: [person]\n")
    assert people_in(root) == [1, 0, 1], "no image twice"


def test_a_set_lies_where_its_absolute_path_says(tmp_path: Path) -> None:
    root = parts_of(tmp_path / "data", roboflow=False)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "data.yaml").write_text(f"path: {root}\ntrain: images/train\nval: images/val\n")
    assert people_in(tmp_path / "only") == [1, 0, 1]


@pytest.mark.parametrize("roboflow", [True, False])
def test_labels_lie_in_the_same_subfolders_as_the_images(tmp_path: Path, roboflow: bool) -> None:
    root, labels = parts_of(tmp_path / "set", roboflow=roboflow), tmp_path / "apart"
    labels.mkdir()
    for part in ("train", "val"):
        (root / part / "labels" if roboflow else root / "labels" / part).rename(labels / part)
    if roboflow:
        (root / "data.yaml").write_text("train: train/images\nval: val/images\n")
    assert people_in(root, labels) == [1, 0, 1]
    one = root / "train" / "images" if roboflow else root / "images" / "train"
    assert people_in(one, labels) == [1, 0]
    assert people_in(one / "a.png", labels / "train") == [1]


def test_labels_are_found_from_within_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(a_dataset(tmp_path) / "images")
    assert people_in(Path()) == [1, 0, 0]


def test_labels_that_fit_no_image_are_refused(tmp_path: Path) -> None:
    root = a_dataset(tmp_path)
    (root / "labels" / "a.txt").rename(root / "labels" / "other.txt")
    with pytest.raises(DataError, match=r"label files named as the images.*a\.txt"):
        labelled_images(root, root / "labels")


def test_damaged_images_are_passed_over_and_damaged_labels_are_not(tmp_path: Path) -> None:
    root = a_dataset(tmp_path)
    (root / "images" / "b.png").write_bytes(b"rubbish")
    left_out = LeftOut()
    assert [p.path.stem for p, _, _ in read_images(labelled_images(root), left_out)] == ["a", "c"]
    (line,) = left_out.lines()
    assert line.startswith("left out as unreadable: 1 file: ") and "b.png" in line
    (root / "labels" / "c.txt").write_text("0 nonsense\n")
    with pytest.raises(DataError, match=r"c\.txt:1"):
        list(read_images(labelled_images(root), left_out))


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


@pytest.mark.parametrize(
    "rest",
    [
        " 0.9",
        " .5 .5 2" * 17,
        " .45 .6" * 16 + " 0 0",
        " .5 .5 2" * 4,
        " .45 .6 1" * 8 + " 0 0 0" * 8,
        " .45 .6 .93" * 17 + " .8",
    ],
)
def test_confidence_and_keypoints_are_passed_over(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"0 .5 .5 .2 .4{rest}\n")
    np.testing.assert_allclose(read_yolo_label(path, width=100, height=100), [[40, 30, 60, 70]], atol=1e-4)


@pytest.mark.parametrize("corners", ["0 0 .5 0 .5 1 0 1 1", "0 0 .3 0 .5 0 .5 1 0 1", "0 0 .5 0 .5 1 0 1 .87"])
def test_a_polygon_at_the_rim_or_with_a_confidence_is_a_polygon(tmp_path: Path, corners: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"0 {corners}\n")
    np.testing.assert_allclose(read_yolo_label(path, width=100, height=100), [[0, 0, 50, 100]], atol=1e-4)


def test_boxes_that_differ_by_rounding_are_one_person_wherever_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("0 .50005 .5 .2 .2\n0 .5000499 .5 .2 .2\n0 .5001501 .5 .2 .2\n")
    left_out = LeftOut()
    assert len(read_yolo_label(path, width=100, height=100, left_out=left_out)) == 2
    assert left_out.rows == [f"{path}:2"]


@pytest.mark.parametrize("box", [".5 .5 1e-9 .2", "1.0005 .5 .0005 .2"])
def test_a_person_without_area_in_the_image_is_refused(tmp_path: Path, box: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"0 {box}\n")
    with pytest.raises(DataError, match=r"x\.txt:1: expected a box with an area"):
        read_yolo_label(path, width=100, height=100)


def test_a_polygon_of_as_many_numbers_as_a_pose_is_a_polygon(tmp_path: Path) -> None:
    path, turns = tmp_path / "x.txt", np.linspace(0, 2 * np.pi, 20)[:-1]
    around = np.stack([0.3 + 0.2 * np.cos(turns), 0.5 + 0.3 * np.sin(turns)], 1)
    path.write_text("0 " + " ".join(f"{v:.6f}" for v in around.ravel()))
    (box,) = read_yolo_label(path, width=100, height=100)
    np.testing.assert_allclose(box, [10, 20, 50, 80], atol=0.5)


def test_missing_and_empty_folders_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        labelled_images(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        labelled_images(tmp_path / "nowhere")


def test_damaged_images_are_refused_by_name(tmp_path: Path, bus: Path) -> None:
    zero, cut = tmp_path / "zero.jpg", tmp_path / "cut.png"
    zero.touch()
    cut.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    for path in (zero, cut, tmp_path / "none.jpg"):
        with pytest.raises(DataError, match=path.name):
            read_image(path)
    assert read_image(bus).shape == (1080, 810, 3)


names = st.lists(st.text("abcdefgh0123456789", min_size=1, max_size=8), min_size=2, max_size=40, unique=True)


@given(names, st.integers(0, 5), st.floats(0.05, 0.95))
def test_split_parts_are_disjoint_whole_and_never_empty(all_names: list[str], seed: int, share: float) -> None:
    train, held = split_by_name(all_names, held_out=share, seed=seed)
    assert sorted(train + held) == sorted(all_names)
    assert train
    assert held


def test_adding_images_moves_none_across() -> None:
    few = [f"{i}.jpg" for i in range(60)]
    train, held = split_by_name(few)
    more_train, more_held = split_by_name(few + [f"new{i}.jpg" for i in range(60)])
    assert set(train) <= set(more_train)
    assert set(held) <= set(more_held)


def test_one_image_cannot_be_split() -> None:
    with pytest.raises(DataError, match="two images"):
        split_by_name(["only.jpg"])


@pytest.mark.parametrize(("share", "expected"), [(0.25, 2), (0.3, 3), (0.01, 1), (0.99, 9)])
@pytest.mark.parametrize("seed", range(4))
def test_of_a_videos_stretches_the_share_held_out_is_exact(share: float, expected: int, seed: int) -> None:
    names = [f"{video}#{i}" for video in ("a.mp4", "camera") for i in range(10)]
    train, held = split_by_name([*names, "one.mp4#0", "b.jpg"], held_out=share, seed=seed)
    for video in ("a.mp4", "camera"):
        assert sum(n.startswith(f"{video}#") for n in held) == expected
    assert sorted([*train, *held]) == sorted([*names, "one.mp4#0", "b.jpg"])


@given(names, st.integers(0, 5), st.integers(1, 6))
def test_images_of_the_same_pixels_are_on_the_same_side(all_names: list[str], seed: int, kinds: int) -> None:
    images = [(name, str(i % (kinds + 1))) for i, name in enumerate(all_names)]
    train, held = split_images(images, held_out=0.4, seed=seed)
    sides = [{sha256 for name, sha256 in images if name in side} for side in (train, held)]
    assert sides[0].isdisjoint(sides[1]) and train and held
    assert sorted(train + held) == sorted(all_names)
    # Where all differ, or nothing is known, the split is that of the names.
    for each in ([(n, "") for n in all_names], [(n, n) for n in all_names]):
        alone = split_images(each, held_out=0.4, seed=seed)
        assert [set(side) for side in alone] == [
            set(side) for side in split_by_name(all_names, held_out=0.4, seed=seed)
        ]


@pytest.mark.parametrize("seed", range(5))
def test_variants_of_one_image_are_on_the_same_side(seed: int) -> None:
    images = [(f"{stem}_jpg.rf.{i:032x}.jpg", f"{stem}{i}") for stem in "abcdef" for i in range(3)]
    sides = split_images(images, held_out=0.4, seed=seed)
    train, held = ({name[0] for name in side} for side in sides)
    assert train.isdisjoint(held) and train and held
    assert sorted(sides[0] + sides[1]) == sorted(name for name, _ in images)


def test_stretches_are_apart_whatever_they_show() -> None:
    train, held = split_images([(f"camera#stretch{i}", "frozen") for i in range(10)], held_out=0.3)
    assert (len(train), len(held)) == (7, 3)


@pytest.mark.parametrize("called", ["data.yaml", "coco8.yml"])
def test_a_set_is_named_by_its_data_yaml_too(tmp_path: Path, called: str) -> None:
    root = parts_of(tmp_path / "set", roboflow=False)
    (root / called).write_text("train: images/train\nval: images/val\nnames: [car, person]\n")
    (root / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.5 1.0\n1 0.5 0.5 0.5 1.0\n1 0.2 0.5 0.2 1.0\n")
    assert people_in(root / called) == [2, 0, 0]


def test_a_part_of_a_set_may_be_a_list_of_images(tmp_path: Path) -> None:
    root = parts_of(tmp_path / "set", roboflow=False)
    lists = root / "lists"
    lists.mkdir()
    (root / "train.txt").write_text(f"./images/train/a.png\n\n{root / 'images' / 'train' / 'b.png'}\n")
    (lists / "val.txt").write_text("images/val/c.png\n../images/val/gone.png\r\n")
    (root / "data.yaml").write_text("train: train.txt\nval: lists/val.txt\ntest: images/val\nnames: [person]\n")
    found = labelled_images(root)
    assert [p.path.name for p in found] == ["a.png", "b.png", "c.png", "gone.png"], "no image twice"
    left_out = LeftOut()
    assert [len(people) for _, _, people in read_images(found, left_out) if people is not None] == [1, 0, 1]
    assert len(left_out.damaged) == 1 and "gone.png" in left_out.damaged[0]
    (root / "train.txt").write_text("/content/set/a.png\n")
    with pytest.raises(DataError, match=r"train\.txt: expected images that exist"):
        labelled_images(root)


def one_person(root: Path, name: str, *, rows: str = "0 .5 .5 .5 1\n", below: str = "") -> Path:
    """An image of one person with its label, perhaps in a subfolder."""
    image, label = root / "images" / below / f"{name}.png", root / "labels" / below / f"{name}.txt"
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_png(image, np.zeros((20, 40, 3), np.uint8))
    label.write_text(rows)
    return image


def people_and_lines(where: Path, labels: Path | None = None) -> tuple[list[int], list[str]]:
    left_out = LeftOut()
    found = read_images(labelled_images(where, labels, left_out), left_out)
    return [len(people) for _, _, people in found if people is not None], left_out.lines()


@pytest.mark.parametrize("given_as", ["root", "images", "yaml", "plain"])
def test_subfolders_of_any_depth_are_read(tmp_path: Path, given_as: str) -> None:
    root = tmp_path / "set"
    for name, below in {"a": "", "b": "site", "c": "site/cam1", "d": "site/cam1/x/y"}.items():
        one_person(root, name, below=below)
    if given_as == "yaml":
        (root / "data.yaml").write_text("train: images/site\nval: images\n")
    if given_as == "plain":
        (root / "images").rename(tmp_path / "photos")
        (root / "labels").rename(tmp_path / "all")
        assert len(labelled_images(tmp_path / "photos")) == 4
    else:
        assert people_and_lines(root / "images" if given_as == "images" else root) == ([1, 1, 1, 1], [])


def test_links_in_circles_and_folders_named_twice_are_read_once(tmp_path: Path) -> None:
    one_person(tmp_path, "a", below="train")
    (tmp_path / "images" / "train" / "again").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "z").symlink_to(tmp_path / "images" / "train")
    assert people_and_lines(tmp_path) == ([1], [])


def test_whatever_is_not_read_is_counted_by_its_ending(tmp_path: Path) -> None:
    one_person(tmp_path, "a", below="x")
    for name in ("b.gif", "x/c.GIF", "x/film.mp4", "x/notes", ".DS_Store"):
        (tmp_path / "images" / name).touch()
    (tmp_path / "images" / "x" / ".d.png").touch()
    (tmp_path / "images" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    write_png(tmp_path / "beside.png", np.zeros((4, 4, 3), np.uint8))
    old = tmp_path / "images" / "evaluation"
    old.mkdir()
    (old / "run.json").touch()
    write_png(old / "example.png", np.zeros((4, 4, 3), np.uint8))
    people, lines = people_and_lines(tmp_path)
    assert people == [1]
    assert [line.split(": ")[0] for line in lines] == [
        "left out as unreadable",
        "left out as no images",
        f"left out as outside {tmp_path / 'images'}",
        "left out as results of physadv",
        "left out as hidden",
    ]
    assert lines[1].endswith("4 files: 2 .gif, 1 .mp4, 1 without an ending")
    assert all(len(line) < 500 for line in lines)


def test_many_damaged_images_are_named_up_to_a_few() -> None:
    lines = LeftOut(damaged=[f"{'long/' * 60}{i}.jpg: damaged" for i in range(1000)]).lines()
    assert len(lines) == 1 and "1,000 files" in lines[0] and lines[0].endswith("and 997 more") and len(lines[0]) < 500


def test_labels_beside_the_images_that_nobody_reads_are_counted(tmp_path: Path) -> None:
    one_person(tmp_path, "a")
    (tmp_path / "labels" / "a.txt").rename(tmp_path / "images" / "a.txt")
    assert people_and_lines(tmp_path)[1] == ["left out as no images: 1 file: 1 .txt"]
    assert people_and_lines(tmp_path, tmp_path / "images") == ([1], []), "unless they are named as the labels"


def test_the_same_box_twice_is_one_person(tmp_path: Path) -> None:
    rows = "0 .5 .5 .5 1\n0 .5 .5 .2 .4\n0 0.500000 .50001 .5 1.0\n1 .5 .5 .5 1\n0 .4 .3 .6 .3 .6 .7 .4 .7\n0 .51 .5 .5 1\n"
    one_person(tmp_path, "a", rows=rows)
    assert people_and_lines(tmp_path) == (
        [3],
        [
            "left out as repeated: 2 labels with the box of another in the same file; the first: "
            f"{tmp_path / 'labels' / 'a.txt'}:3"
        ],
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_as_editors_write_it(tmp_path: Path, encoding: str) -> None:
    def write(path: Path, text: str) -> None:
        mark = "\ufeff" if encoding.endswith(("-le", "-be")) else ""
        path.write_bytes(f"{mark}{text}".replace("\n", "\r\n").encode(encoding))

    image = one_person(tmp_path, "é")
    write(tmp_path / "labels" / "é.txt", "1 .5 .5 .5 1\n1 .2 .5 .1 1\n")
    write(tmp_path / "data.yaml", "train: train.txt\nnames: [car, person]\n")
    write(tmp_path / "train.txt", f"images/{image.name}\n")
    assert people_and_lines(tmp_path) == ([2], [])


def test_text_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path) -> None:
    one_person(tmp_path, "a")
    (tmp_path / "labels" / "a.txt").write_bytes("0 .5 .5 .5 1 # é".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.txt: labels cannot be read: not UTF-8 text.*save it as UTF-8"):
        people_and_lines(tmp_path)


@pytest.mark.parametrize("composed", [True, False])
def test_names_are_compared_in_one_form_of_unicode(tmp_path: Path, composed: bool) -> None:
    """As a Mac archives names: an accent is a character of its own, in labels, lists and folders."""

    def here(text: str) -> str:
        return unicodedata.normalize("NFC" if composed else "NFD", text)

    def there(text: str) -> str:
        return unicodedata.normalize("NFD" if composed else "NFC", text)

    root = tmp_path / "set"
    image = one_person(root, here("Café 1"), below=here("Prüfung"))
    (root / "labels" / here("Prüfung") / here("Café 1.txt")).rename(
        root / "labels" / here("Prüfung") / there("Café 1.txt")
    )
    (root / "labels" / here("Prüfung")).rename(root / "labels" / there("Prüfung"))
    assert people_and_lines(root) == ([1], [])
    assert people_and_lines(image) == ([1], [])
    (root / "data.yaml").write_text(there("train: images/Prüfung\n"))
    assert people_and_lines(root) == ([1], [])
    (root / "data.yaml").write_text("train: train.txt\n")
    (root / "train.txt").write_text(there("images/Prüfung/Café 1.png\n"))
    assert people_and_lines(root) == ([1], [])
    # A name stays on its side of a split, and is known again, in either form.
    many = [f"é{i}.jpg" for i in range(30)]
    sides = [split_by_name([form(name) for name in many])[0] for form in (here, there)]
    assert set(map(here, sides[0])) == set(map(here, sides[1]))
    assert Seen([(here("é.jpg"), ())]).saw(there("é.jpg"))
    assert not Seen([(here("é.jpg"), ("1",))]).saw(there("é.jpg"), "2"), "of other pixels"


@pytest.mark.parametrize(
    "text",
    [
        "path: C:\\Users\\me\\set\ntrain: .\\images\\a\nval: images\\b\n",
        "path: ..\\set\ntrain: images\\a\nval: .\\images/b\n",
        "train: ..\\images\\a\nval: ..\\..\\images\\b\n",
        "path: C:\\Users\\me\\set\ntrain: c:\\users\\ME\\set\\images\\a\nval: images\\b\n",
        "train: D:\\data\\set\\images\\a\nval: \\\\server\\share\\images\\b\n",
        "train: /content/set/images/a\nval: /content/set/images/b\n",
        "train: lists\\all.txt\n",
    ],
)
def test_paths_of_windows_and_of_other_machines(tmp_path: Path, text: str) -> None:
    root = tmp_path / "set"
    one_person(root, "1", below="a")
    one_person(root, "2", below="b")
    (root / "lists").mkdir()
    (root / "lists" / "all.txt").write_bytes(b"images\\a\\1.png\r\nC:\\Users\\me\\set\\images\\b\\2.png\r\n")
    (root / "data.yaml").write_bytes(text.replace("\n", "\r\n").encode())
    people, lines = people_and_lines(root)
    assert people == [1, 1]
    guessed = sum("of another machine" in line for line in lines)
    expected = any(part in text for part in ("D:", "ME", "content", "lists"))
    assert len(lines) == guessed and bool(guessed) == expected


def test_a_backslash_may_be_part_of_a_name(tmp_path: Path) -> None:
    image = one_person(tmp_path, "we\\ird")
    assert people_and_lines(tmp_path) == ([1], [])
    (tmp_path / "data.yaml").write_text("train: train.txt\n")
    (tmp_path / "train.txt").write_text("images/we\\ird.png\n")
    assert [p.path for p in labelled_images(tmp_path)] == [image]


def test_what_a_data_yaml_names_and_is_not_here_is_said(tmp_path: Path) -> None:
    one_person(tmp_path, "a", below="train")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\ntest: ''\n")
    people, (line,) = people_and_lines(tmp_path)
    assert people == [1] and line.startswith("left out as not here: images/val of ")
    (tmp_path / "data.yaml").write_text("train: train.txt\n")
    (tmp_path / "train.txt").write_text("images/train/a.png\n./images/train/a.png\n")
    assert people_and_lines(tmp_path) == ([1], [f"left out as repeated: 1 line of {tmp_path / 'train.txt'}"])


@pytest.mark.parametrize("row", ["27 .5 .5 0 .1", "1 .5 .5 -1 2", "5 7 7 7 7", "3", "2 .1 .2 .3 x"])
def test_what_is_not_used_is_not_judged(tmp_path: Path, row: str) -> None:
    one_person(tmp_path, "a", rows=f"0 .5 .5 .5 1\n{row}\n")
    assert people_and_lines(tmp_path) == ([1], [])
    for mine in ("0 .5 .5 0 .1", "0,0.5,0.5,0.5,1", "0 .5 .5 .5"):
        (tmp_path / "labels" / "a.txt").write_text(f"{row}\n{mine}\n")
        with pytest.raises(DataError, match=r"a\.txt:2: expected"):
            people_and_lines(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["train: {a: b}", "train: [images, [x]]", "train: true", "path: [a, b]\ntrain: images", "- train", "train: *a",
     "[" * 5000, "train: images\nnames: {? [a] : b}", "train: 2026-13-45", "train: " + "1" * 5000, "a: &a [*a]"],
)  # fmt: skip
def test_a_data_yaml_that_says_nothing_sensible_is_refused(tmp_path: Path, text: str) -> None:
    one_person(tmp_path, "a")
    (tmp_path / "data.yaml").write_text(f"{text}\n")
    with pytest.raises(DataError, match=r"data\.yaml: ") as error:
        people_and_lines(tmp_path)
    assert len(str(error.value)) < 500


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_person(tmp_path, "a")
    locked = tmp_path / "images" / "locked"
    locked.mkdir()
    listed = Path.iterdir

    def refuse(self: Path) -> object:
        if self == locked:
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert people_and_lines(tmp_path) == ([1], [f"left out as unreadable: the folder {locked}: Permission denied"])


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    image = Path(os.fsdecode(os.fsencode(tmp_path / "images") + b"/caf\xe9.png"))
    one_person(tmp_path, "a")
    (tmp_path / "images" / "a.png").rename(image)
    (tmp_path / "labels" / "a.txt").rename(Path(os.fsdecode(os.fsencode(tmp_path / "labels") + b"/caf\xe9.txt")))
    assert people_and_lines(tmp_path) == ([1], [])
    assert images_in(tmp_path / "images") == [image]
    split_by_name([image.name, "b.png"])


def one_label(root: Path, image: str = "a.jpg", label: str = "a.txt") -> Path:
    (root / "images").mkdir()
    (root / "labels").mkdir()
    write_png(root / "images" / image, np.full((8, 8, 3), 90, np.uint8))
    (root / "labels" / label).write_text("1 .5 .5 .2 .2\n")
    return root


@pytest.mark.parametrize("label", ["a.TXT", "a.jpg.txt", "A.txt", "b.txt"])
def test_labels_that_fit_no_image_are_counted(tmp_path: Path, label: str) -> None:
    left_out = LeftOut()
    labelled_images(one_label(tmp_path, label=label), left_out=left_out)
    assert left_out.lines() == [
        f"left out as unused: 1 label file that fits no image by name; the first: {tmp_path}/labels/{label}"
    ]


def test_labels_of_images_that_are_not_asked_for_are_not_missed(tmp_path: Path) -> None:
    one_label(tmp_path)
    write_png(tmp_path / "images" / "b.jpg", np.full((8, 8, 3), 90, np.uint8))
    (tmp_path / "labels" / "b.txt").write_text("")
    left_out = LeftOut()
    labelled_images(tmp_path / "images" / "b.jpg", left_out=left_out)
    assert left_out.lines() == []


def test_a_label_that_is_no_file_is_not_taken_for_an_image_without_people(tmp_path: Path) -> None:
    label = one_label(tmp_path) / "labels" / "a.txt"
    label.unlink()
    os.mkfifo(label)
    with pytest.raises(DataError, match=r"a\.txt: labels cannot be read"):
        labelled_images(tmp_path)[0].people(width=8, height=8)
    label.unlink()
    label.symlink_to("nowhere.txt")
    with pytest.raises(DataError, match=r"a\.txt: labels cannot be read: a link"):
        labelled_images(tmp_path)


def test_a_data_set_file_under_another_name_says_who_is_a_person(tmp_path: Path) -> None:
    (one_label(tmp_path) / "coco8.yml").write_text("names: [car, person]\ntrain: images\n")
    (tmp_path / "args.yaml").write_text("names: [a]\n")
    for images in (tmp_path, tmp_path / "images"):
        (found,) = labelled_images(images)
        assert found.person_class == 1
    (tmp_path / "other.yaml").write_text("names: [person]\nval: images\n")
    with pytest.raises(DataError, match=r"expected one file of a data set, got coco8\.yml, other\.yaml"):
        labelled_images(tmp_path)


@pytest.mark.parametrize("text", ["names: [person, Person]", "names: [person]\nnames: [car, person]"])
def test_a_class_or_key_that_is_there_twice_is_refused(tmp_path: Path, text: str) -> None:
    (one_label(tmp_path) / "data.yaml").write_text(f"{text}\ntrain: images\n")
    with pytest.raises(DataError, match=r"one class called person, got 0 and 1|'names' is there twice"):
        labelled_images(tmp_path)
