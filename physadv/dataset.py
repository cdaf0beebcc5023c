"""Labelled pictures on disk: folders of photographs with YOLO labels, and the split that is made before anything else."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from physadv.arrays import pictures_in, read_picture
from physadv.errors import DataError
from physadv.types import Float32Array, UInt8Array

# Of a body, as COCO and its pose models count them.
KEYPOINTS = 17


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture file and where its YOLO label file is, or None if the people in it are not known yet."""

    path: Path
    label: Path | None

    def read(self) -> tuple[UInt8Array, Float32Array | None]:
        """Return pixels (h, w, 3) uint8 RGB and people (n, 4) float32 xyxy in pixels, or None without a label file.

        Raises: DataError if the picture or its label cannot be read.
        """
        pixels = read_picture(self.path)
        if self.label is None:
            return pixels, None
        return pixels, read_yolo_label(self.label, width=pixels.shape[1], height=pixels.shape[0])


def read_yolo_label(path: Path, *, width: int, height: int, person_class: int = 0) -> Float32Array:
    """Return the people in a YOLO label file as (n, 4) float32 xyxy in pixels, clipped to the picture.

    A line is `class cx cy w h`, fractions of the picture, perhaps with a confidence or keypoints, which are passed over; or
    `class x1 y1 x2 y2 x3 y3 ...`, a polygon, which counts as the box around it. Other classes are left out.

    Raises: DataError naming file and line for anything that does not parse.
    """
    boxes = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: labels cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        values = _numbers(words)
        if values is None:
            raise DataError(f"{path}:{number}: expected 'class cx cy w h' or a polygon, got {line.strip()[:60]!r}")
        category, cx, cy, w, h = values[0], *_box(values[1:])
        if not (min(cx, cy) >= -1e-3 and max(cx, cy, w, h) <= 1.001 and min(w, h) > 0):
            raise DataError(
                f"{path}:{number}: expected fractions of the picture from 0 to 1, got {line.strip()[:60]!r}"
            )
        if category == person_class:
            boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    out = np.array(boxes, np.float32).reshape(-1, 4) * np.array([width, height, width, height], np.float32)
    return np.clip(out, 0, np.array([width, height, width, height], np.float32))


def _numbers(words: list[str]) -> list[float] | None:
    """Return the numbers of a label's line, or None where they are no class with a box or polygon."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return values if len(values) >= 5 and all(map(math.isfinite, values)) and values[0].is_integer() else None


def _box(values: list[float]) -> list[float]:
    """Return centre, width and height of a label's numbers: as they are, or of the box around a polygon."""
    if len(values) == 4 or len(values) % 2 or _has_keypoints(values):
        return values[:4]
    xs, ys = values[::2], values[1::2]
    (x1, x2), (y1, y2) = (min(xs), max(xs)), (min(ys), max(ys))
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def _has_keypoints(values: list[float]) -> bool:
    """Return whether an even count of numbers is a box with keypoints x, y: a body's number of them, within the box."""
    # With a visibility each their count is odd.
    if len(values) != 4 + 2 * KEYPOINTS:
        return False
    cx, cy, w, h = values[:4]
    points = zip(values[4::2], values[5::2], strict=True)
    return all(abs(x - cx) <= w / 2 + 0.01 and abs(y - cy) <= h / 2 + 0.01 for x, y in points if x or y)


def labelled_pictures(images: Path, labels: Path | None = None) -> list[LabelledPicture]:
    """Return the pictures of a folder with their label files, sorted by name.

    images: a folder of pictures, or a YOLO dataset (a folder with `images/` and `labels/`, or one with `data.yaml`, whose
    train and val folders are both taken). labels: the folder of label files; without it, a `labels` folder beside
    `images` is used where there is one. A picture without a label file has none, which in a labelled set means nobody.

    Raises: DataError if a folder is missing or holds no pictures, or data.yaml does not parse.
    """
    if images.is_file():
        return [LabelledPicture(images, _label_of(images, labels))]
    if not images.is_dir():
        raise DataError(f"{images}: no such folder or picture")
    folders = _dataset_folders(images)
    if labels is not None and not labels.is_dir():
        raise DataError(f"{labels}: no such folder of labels")
    found = [LabelledPicture(p, _label_of(p, labels)) for folder in folders for p in pictures_in(folder)]
    if not found:
        raise DataError(f"{images}: no pictures in this folder (looked for .jpg, .png, .webp, .bmp, .tif)")
    return found


def _dataset_folders(root: Path) -> list[Path]:
    config = root / "data.yaml"
    if config.is_file():
        try:
            table: Any = yaml.safe_load(config.read_text(encoding="utf-8"))
            base = (root / str(table.get("path", "."))) if not Path(str(table.get("path", "."))).is_absolute() else root
            entries = [table[key] for key in ("train", "val", "test") if table.get(key)]
        except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
            raise DataError(f"{config}: does not parse as a YOLO data.yaml: {error}") from error
        names = [str(n) for entry in entries for n in (entry if isinstance(entry, list) else [entry])]
        folders = [base / n for n in dict.fromkeys(names) if (base / n).is_dir()]
        if not folders:
            raise DataError(
                f"{config}: none of its train, val or test folders exists here: {', '.join(names) or 'none named'}"
            )
        return folders
    nested = root / "images"
    if nested.is_dir():
        below = sorted(p for p in nested.iterdir() if p.is_dir())
        return [nested, *below]
    return [root]


def _label_of(picture: Path, labels: Path | None) -> Path | None:
    """Return the label file of a picture by the YOLO convention (`images` becomes `labels` in its path), or None."""
    if labels is None:
        parts = list(picture.parent.parts)
        if "images" not in parts:
            return None
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        labels = Path(*parts)
    path = labels / f"{picture.stem}.txt"
    return path if path.is_file() else None


def split_by_name(names: list[str], *, held_out: float = 0.2, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return (training, held-out) names, decided by the hash of each name alone.

    A picture stays on its side whatever else is in the folder, so a run resumed with more pictures, or an evaluation
    beside a training, never mixes them. At least one name is on each side when there are two or more.

    Raises: DataError if `held_out` is not within (0, 1) or there are fewer than two names.
    """
    if not 0 < held_out < 1:
        raise DataError(f"held_out: expected a fraction between 0 and 1, got {held_out}")
    if len(set(names)) < 2:
        raise DataError(f"expected two pictures or more, to train on some and hold out others, got {len(set(names))}")

    def chance(name: str) -> float:
        return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2**64

    ranked = sorted(set(names), key=lambda n: (chance(n), n))
    out = {n for n in ranked if chance(n) < held_out} or {ranked[0]}
    if len(out) == len(ranked):
        out.discard(ranked[-1])
    return [n for n in ranked if n not in out], [n for n in ranked if n in out]
