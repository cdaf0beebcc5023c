"""Data sets that fine-tune a model: read back as they were written, by us and by Ultralytics."""

from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import LeftOut, write_png
from physadv.dataset import LabelledImage, labelled_images, read_images
from physadv.errors import DataError
from physadv.tune.yolo_data import Parent, check_task, label_text, parent_of, write_yolo

POSE = Parent("p", "0" * 64, "pose", {0: "person"}, 0)
DETECT = Parent("d", "0" * 64, "detect", {0: "bicycle", 1: "person"}, 1)


def image(name: str = "a/ü.png") -> LabelledImage:
    points = np.zeros((2, 17, 3), np.float32)
    points[0, 0] = (30, 20, 0.9)
    points[0, 1] = (31, 20, 0.2)
    boxes = np.array([[10, 10, 60, 90], [-5, 50, 200, 120]], np.float32)
    return LabelledImage(name, np.full((100, 150, 3), 90, np.uint8), boxes, points)


@pytest.mark.parametrize("parent", [POSE, DETECT])
def test_people_come_back_from_a_data_set(tmp_path: Path, parent: Parent) -> None:
    write_yolo(tmp_path, [image(), image()], [image("b.jpg")], parent)
    left_out = LeftOut()
    found = list(read_images(labelled_images(tmp_path, left_out=left_out), left_out))
    assert len(found) == 3 and not left_out.lines()
    for file, pixels, people in found:
        assert file.person_class == parent.person and pixels.shape == (100, 150, 3)
        assert people is not None
        assert people == pytest.approx(np.array([[10, 10, 60, 90], [0, 50, 150, 100]]), abs=0.01)


def test_labels_have_keypoints_for_pose_models_alone() -> None:
    text = label_text(image(), np.array([True, True]), POSE).split("\n")
    words = text[0].split()
    assert len(words) == 5 + 51 and words[5:8] == ["0.200000", "0.200000", "2"] and words[8:11] == ["0", "0", "0"]
    assert label_text(image(), np.array([True, False]), DETECT) == "1 0.233333 0.500000 0.333333 0.800000\n"
    assert label_text(image(), np.array([False, False]), POSE) == ""


def test_ultralytics_reads_the_data_set(tmp_path: Path) -> None:
    from ultralytics.data.utils import check_det_dataset, verify_image_label

    config = write_yolo(tmp_path, [image()], [image()], POSE)
    data = check_det_dataset(str(config), autodownload=False)
    assert data["names"] == {0: "person"} and data["kpt_shape"] == [17, 3] and len(data["flip_idx"]) == 17
    (photo,) = Path(data["train"]).iterdir()
    label = str(photo).replace("/images/", "/labels/").replace(".jpg", ".txt")
    _, rows, shape, _, points, missing, _, _, corrupt, message = verify_image_label(
        (str(photo), label, "", True, 1, 17, 3, False)
    )
    assert (shape, missing, corrupt, message) == ((100, 150), 0, 0, "")
    assert rows.shape == (2, 5) and points.shape == (2, 17, 3)


@pytest.mark.parametrize("row, what", [
    ("0 .1 .1 .9 .1 .9 .9 .1 .9", "turned boxes"),
    ("0 .1 .1 .9 .1 .9 .9", "outlines"),
    ("0 .5 .5 .2 .2 " + "0.5 0.5 2 " * 5, "other keypoints"),
])  # fmt: skip
def test_labels_of_another_task_are_refused(tmp_path: Path, row: str, what: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    write_png(tmp_path / "images" / "a.png", np.zeros((9, 9, 3), np.uint8))
    label = tmp_path / "labels" / "a.txt"
    label.write_text("0 .5 .5 .2 .2\n3 .1 .1 .9 .1 .9 .9\n")
    check_task(labelled_images(tmp_path))
    label.write_text(f"0 .5 .5 .2 .2\n{row}\n")
    with pytest.raises(DataError, match=f"a.txt:2: labels of another task.*{what}"):
        check_task(labelled_images(tmp_path))


def test_a_parent_says_its_task_and_its_classes() -> None:
    parent = parent_of("yolo11n-pose")
    assert (parent.task, parent.names, parent.person) == ("pose", {0: "person"}, 0)
