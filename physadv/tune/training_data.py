"""What a detector is fine-tuned on: images and labels in Ultralytics' format, read and checked before the first step.

Ultralytics' own reader unpickles a cache that lies beside the images, writes one there, repairs photographs in place and
may fetch fonts and data sets. This one only reads.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from physadv.arrays import LeftOut, identity_of, read_image
from physadv.dataset import CONFIG, ImageFile, config_of, labelled_images
from physadv.errors import DataError, text_of
from physadv.files import parse_yaml, read_text, sha256_of
from physadv.tune.origin import read_poison
from physadv.types import Float32Array

BOX = 5
# Left out of what a run keeps of a data set's poison: thousands of lines, which stay with the data set.
LONG = ("images", "people")


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImage:
    """An image to train on. rows: (n, 5 + 3 k) float32, class number of the network, cx, cy, w, h, then k keypoints
    (x, y, visibility), all fractions of the image. poisoned: whether the data set's record says so. source: hash of the
    photograph that it was made from, by that record, "" without one."""

    path: Path
    rows: Float32Array
    poisoned: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """The training part of a data set. sha256: of names, images and labels. poison: its record without single images.

    left_out: lines about what is listed in it and not used.
    """

    config: Path
    images: list[TrainingImage]
    sha256: str
    poison: dict[str, Any] | None = None
    flip_idx: list[int] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def n_people(self) -> int:
        """Return how many people are labelled."""
        return sum(len(image.rows) for image in self.images)

    def sources(self) -> set[str]:
        """Return the hashes of the photographs that the images are, or were made from.

        Raises: DataError if an image has gone since.
        """
        return {i.source or identity_of(i.path, read_image(i.path)) for i in self.images} - {""}

    def record(self) -> dict[str, Any]:
        """Return what a run says of its data."""
        return {
            "path": str(self.config),
            "sha256": self.sha256,
            "images": len(self.images),
            "poisoned_images": sum(image.poisoned for image in self.images),
            "people": self.n_people,
            "left_out": self.left_out,
        }


def read_training_data(data: Path, *, person: int, keypoints: int) -> TrainingData:
    """Return the training part of a data set: the people in it, as a network numbers and describes them.

    data: its folder, or its data.yaml. person: the network's number of that class. keypoints: of its head, 0 for one that
    detects alone.

    Raises: DataError, naming `data`, if there is no such data set, it has no training images or nobody in them, its labels
    are of another task, or one of them cannot be read.
    """
    try:
        config = Path(os.path.normpath(config_of(data)))
        table = _table(config)
        manifest = read_poison(config.parent)
        listed = {str(i["file"]): i for i in (manifest or {}).get("images", [])}
        images = []
        digest = hashlib.sha256()
        left_out = LeftOut()
        for file in labelled_images(config, None, left_out, parts=("train",)):
            rows = _rows(file, person, keypoints, table)
            name = file.path.relative_to(config.parent) if config.parent in file.path.parents else file.path
            known = listed.get(name.as_posix(), {})
            source = known.get("source_sha256")
            poisoned = bool(known.get("poisoned"))
            images.append(TrainingImage(file.path, rows, poisoned, source if isinstance(source, str) else ""))
            digest.update(f"{name.as_posix()}\0{sha256_of(file.path)}\0".encode("utf-8", "surrogateescape"))
            digest.update(rows.tobytes())
        out = TrainingData(
            config,
            images,
            digest.hexdigest(),
            manifest and {key: value for key, value in manifest.items() if key not in LONG},
            _flip_idx(config, table, keypoints),
            left_out.lines(),
        )
    except DataError as error:
        raise error.at("data") from error
    except (OSError, ValueError, TypeError) as error:
        named = getattr(error, "filename", None) or data
        raise DataError(f"{named}: cannot be read: {text_of(error)}", field="data") from error
    if not out.n_people:
        raise DataError(f"{config}: nobody is labelled in {len(images)} training images", field="data")
    return out


def _table(config: Path) -> dict[str, Any]:
    """Return the content of a data.yaml.

    Raises: DataError if there is none, or it does not parse.
    """
    if not config.is_file():
        raise DataError(
            f"{config.parent}: expected a data set with a {CONFIG}, got none", hint="`physadv lab poison` writes one"
        )
    try:
        table = parse_yaml(read_text(config))
    except (OSError, ValueError) as error:
        raise DataError(f"{config}: {text_of(error)}") from error
    if not isinstance(table, dict) or not table.get("train"):
        raise DataError(f"{config}: train: expected a folder of images, got none")
    return table


def _rows(file: ImageFile, person: int, keypoints: int, table: dict[str, Any]) -> Float32Array:
    """Return the rows of the people in a label file, with the network's number for their class.

    Raises: DataError if it cannot be read, or is of another task.
    """
    width = BOX + 3 * keypoints
    if file.label is None:
        return np.zeros((0, width), np.float32)
    # A pose data set serves a network without keypoints: its boxes are taken.
    own = int(np.prod(table.get("kpt_shape") or [0])) if not keypoints else 3 * keypoints
    out = []
    try:
        lines = read_text(file.label).splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{file.label}: labels cannot be read: {text_of(error)}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            values = np.array([float(word) for word in words], np.float32)
        except ValueError:
            values = np.zeros(0, np.float32)
        if len(values) not in (BOX, BOX + own) or (keypoints and len(values) == BOX):
            want = f"class, box and {keypoints} keypoints" if keypoints else "class and box"
            raise DataError(
                f"{file.label}:{number}: expected {width} numbers ({want}), got {len(words)}: labels of another task",
                hint="make the data set with `physadv lab poison` and the `detector` that is to be trained",
            )
        if not np.isfinite(values).all() or values[1:BOX].min() < 0 or values[1:BOX].max() > 1:
            raise DataError(f"{file.label}:{number}: expected fractions of the image from 0 to 1, got {line[:60]!r}")
        if values[0] == file.person_class:
            values[0] = person
            out.append(values[:width])
    return np.array(out, np.float32).reshape(-1, width)


def _flip_idx(config: Path, table: dict[str, Any], keypoints: int) -> list[int]:
    """Return which keypoint each becomes in a mirror image, [] where the data set does not say.

    Raises: DataError if it is no order of all keypoints.
    """
    order = table.get("flip_idx") or []
    if keypoints and order and (not isinstance(order, list) or sorted(order) != list(range(keypoints))):
        raise DataError(f"{config}: flip_idx: expected an order of {keypoints} keypoints, got {str(order)[:60]!r}")
    return order if keypoints else []
