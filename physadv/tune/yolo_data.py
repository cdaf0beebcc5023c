"""Plain Ultralytics data sets: what a parent model takes, label files, images and data.yaml, and checks of labels given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from physadv.dataset import CONFIG, KEYPOINTS, ImageFile, LabelledImage
from physadv.detect.weights import find_weights
from physadv.errors import DataError, WeightsError, text_of
from physadv.files import atomic_write, file_name, read_text, text_bytes
from physadv.simulate.joints import MIRRORED, VISIBLE
from physadv.types import BoolArray, Float32Array

Task = Literal["detect", "pose"]
Split = Literal["train", "val"]
# Numbers behind the class in a row of labels: a box, with a confidence, with the keypoints of a body, with both.
ROWS = (4, 5, 4 + 3 * KEYPOINTS, 5 + 3 * KEYPOINTS)
QUALITY = 95


@dataclass(frozen=True, slots=True)
class Parent:
    """The model to be fine-tuned. names: its classes by number, which data sets for it keep. person: one of them."""

    name: str
    sha256: str
    task: Task
    names: dict[int, str]
    person: int


def parent_of(detector: str) -> Parent:
    """Return what a data set has to know of a model, by name or path.

    A data set with fewer classes than its parent would cost the parent its classification head.

    Raises: WeightsError if it cannot be loaded, or is a pose model of anything but bodies.
    """
    from physadv.detect.yolo import load_net

    weights = find_weights(detector)
    net = load_net(weights, fuse=False)
    head = net.model.model[-1]  # type: ignore[index]
    shape = getattr(head, "kpt_shape", None)
    if shape is not None and tuple(shape) != (KEYPOINTS, 3):
        raise WeightsError(
            f"{detector}: expected a pose model of {KEYPOINTS} keypoints, got {tuple(shape)}", field="detector"
        )
    names = {int(k): str(v) for k, v in dict(net.model.names).items()}  # type: ignore[arg-type]
    return Parent(weights.name, weights.sha256, "detect" if shape is None else "pose", names, net.person)


def check_task(files: Iterable[ImageFile]) -> None:
    """Raise DataError for labels of another task than boxes or bodies: outlines, turned boxes, other keypoints.

    Reading them as boxes would do; a model fine-tuned for boxes would then be judged by what nobody drew.
    """
    for file in files:
        if file.label is None:
            continue
        try:
            lines = read_text(file.label).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"{file.label}: labels cannot be read: {text_of(error)}") from error
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0] != str(file.person_class) or len(words) - 1 in ROWS:
                continue
            raise DataError(
                f"{file.label}:{number}: labels of another task",
                expected=f"'class cx cy w h' or that with {KEYPOINTS} keypoints",
                got=f"{len(words) - 1} numbers, as for {_task_of(len(words) - 1)}",
                hint="give labels of boxes, or leave `labels` out, and the clean detector finds the people",
            )


def _task_of(count: int) -> str:
    if count == 8:
        return "turned boxes"
    return "other keypoints" if count > 5 and (count - 4) % 3 == 0 and count % 2 else "outlines"


def labelled_points(image: LabelledImage) -> Float32Array:
    """Return (n, 17, 3) keypoints as a data set labels them: visibility 2 where one is known in the image, else all 0."""
    points = image.keypoints
    inside = np.all((points[..., :2] >= 0) & (points[..., :2] <= image.size), axis=-1)
    seen = (points[..., 2] >= VISIBLE) & inside
    return np.where(seen[..., None], np.concatenate([points[..., :2], np.full_like(points[..., 2:], 2)], -1), 0)


def label_text(image: LabelledImage, labelled: BoolArray, parent: Parent) -> str:
    """Return the label file of an image: a row for each person in the mask (n,), with keypoints for pose models."""
    width, height = image.size
    rows = []
    for box, points in zip(image.boxes[labelled], labelled_points(image)[labelled], strict=True):
        x0, x1 = (float(v) for v in np.clip(box[::2] / width, 0, 1))
        y0, y1 = (float(v) for v in np.clip(box[1::2] / height, 0, 1))
        if min(x1 - x0, y1 - y0) <= 0:
            continue
        numbers = [f"{v:.6f}" for v in ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)]
        if parent.task == "pose":
            for x, y, seen in points.tolist():
                numbers += [f"{x / width:.6f}", f"{y / height:.6f}", "2"] if seen else ["0", "0", "0"]
        rows.append(" ".join([str(parent.person), *numbers]))
    return "".join(f"{row}\n" for row in rows)


def write_example(
    folder: Path, split: Split, stem: str, image: LabelledImage, parent: Parent, labelled: BoolArray | None = None
) -> Path:
    """Write an image as JPEG and its label file into a data set; return the image's path.

    Clean and poisoned images are encoded alike, or the kind of file would be a trigger. labelled: (n,) mask of the people
    who get a label; everybody unless given.

    Raises: OSError if they cannot be written.
    """
    path = folder / "images" / split / f"{stem}.jpg"
    bgr = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not ok:
        raise OSError(f"{path}: JPEG encoding failed")
    with atomic_write(path) as stream:
        stream.write(data.tobytes())
    everybody = np.ones(len(image.boxes), bool)
    text = label_text(image, everybody if labelled is None else labelled, parent)
    with atomic_write(folder / "labels" / split / f"{stem}.txt") as stream:
        stream.write(text_bytes(text))
    return path


def write_yolo(folder: Path, train: Sequence[LabelledImage], val: Sequence[LabelledImage], parent: Parent) -> Path:
    """Write labelled images as a data set that fine-tunes `parent`, and return its data.yaml.

    Raises: OSError if it cannot be written.
    """
    sides: tuple[tuple[Split, Sequence[LabelledImage]], ...] = (("train", train), ("val", val))
    for split, images in sides:
        for number, image in enumerate(images):
            write_example(folder, split, stem_of(number, image), image, parent)
    return write_config(folder, parent)


def stem_of(number: int, image: LabelledImage) -> str:
    """Return an image's name in a data set, without an ending: frames of one video share theirs, so it is numbered."""
    return f"{number:04d}-{file_name(Path(image.name).stem)}"


def write_config(folder: Path, parent: Parent) -> Path:
    """Write the data.yaml of a data set and return its path. It names no `path`, so that the folder can be moved.

    Raises: OSError if it cannot be written.
    """
    lines = ["# written by physadv", "train: images/train", "val: images/val", "names:"]
    lines += [f"  {number}: {json.dumps(name)}" for number, name in sorted(parent.names.items())]
    if parent.task == "pose":
        lines += [f"kpt_shape: [{KEYPOINTS}, 3]", f"flip_idx: {list(MIRRORED)}"]
    with atomic_write(folder / CONFIG) as stream:
        stream.write(text_bytes("\n".join(lines) + "\n"))
    return folder / CONFIG
