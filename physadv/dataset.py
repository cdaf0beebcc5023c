"""Labelled pictures on disk: folders of photographs with YOLO labels, and the split that is made before anything else."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from physadv.arrays import pictures_in, read_picture
from physadv.errors import DataError
from physadv.files import text_bytes
from physadv.types import Float32Array, UInt8Array

# Of a body, as COCO and its pose models count them.
KEYPOINTS = 17
CONFIG = "data.yaml"
CONFIG_SUFFIXES = frozenset({".yaml", ".yml"})
RECORDED = re.compile(r"(stretch\d+)-\d+\.jpg")
STRETCH = re.compile(r"(.+)#(?:stretch)?\d+")
# What Roboflow exports: several variants (turned, cropped, brightened) of one picture, told apart by a hash.
VARIANT = re.compile(r"(.+)\.rf\.[0-9a-f]{16,}\.\w+")


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture file, where its YOLO label file is, and which class in it is a person.

    label: None if there is no such file. labelled: whether its set has labels: without a file of its own a picture then
    shows nobody, as YOLO has it; in a set without any the people are not known yet.
    """

    path: Path
    label: Path | None
    labelled: bool = False
    person_class: int = 0

    def read(self) -> tuple[UInt8Array, Float32Array | None]:
        """Return pixels (h, w, 3) uint8 RGB and people (n, 4) float32 xyxy in pixels, or None if they are not known.

        Raises: DataError if the picture or its label cannot be read.
        """
        pixels = read_picture(self.path)
        return pixels, self.people(width=pixels.shape[1], height=pixels.shape[0])

    def people(self, *, width: int, height: int) -> Float32Array | None:
        """Return the people in the picture, whose size in pixels is given, or None if they are not known.

        Raises: DataError if the label cannot be read.
        """
        if self.label is not None:
            return read_yolo_label(self.label, width=width, height=height, person_class=self.person_class)
        return np.zeros((0, 4), np.float32) if self.labelled else None


def read_pictures(
    pictures: Sequence[LabelledPicture], skip: Callable[[str], None]
) -> Iterator[tuple[LabelledPicture, UInt8Array, Float32Array | None]]:
    """Yield each picture with its pixels and people, as `LabelledPicture.read` gives them.

    skip: told of each picture that is damaged and left out, in one line that names it.

    Raises: DataError if a label cannot be read: to pass over it would take people for background.
    """
    for picture in pictures:
        try:
            pixels = read_picture(picture.path)
        except DataError as error:
            skip(str(error))
            continue
        yield picture, pixels, picture.people(width=pixels.shape[1], height=pixels.shape[0])


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

    images: a picture, a folder of them, or a YOLO dataset (a folder with `images/` and `labels/`, or `data.yaml` or the
    folder it is in; its train, val and test folders or lists of pictures are all taken). labels: the folder of label files,
    perhaps in the same subfolders as the pictures; without it, a `labels` folder beside `images` is used where there is
    one. The person is the class that `data.yaml` calls so, class 0 where none is found.

    Raises: DataError if a folder is missing or holds no pictures, `labels` fits none of them, or data.yaml does not parse
    or names no person.
    """
    if labels is not None and not labels.is_dir():
        raise DataError(f"{labels}: no such folder of labels")
    if is_dataset_file(images):
        files = _dataset_files(images.parent, images)
    elif images.is_file():
        files = [images]
    elif images.is_dir():
        files = _dataset_files(images, images / CONFIG)
    else:
        raise DataError(f"{images}: no such folder or picture")
    if not files:
        raise DataError(f"{images}: no pictures in this folder (looked for .jpg, .png, .webp, .bmp, .tif)")
    found = [_label_of(p, labels) for p in files]
    first = next((label for label in found if label is not None), None)
    if labels is not None and first is None:
        raise DataError(
            f"{labels}: expected label files named as the pictures of {images}, got none among {len(files)}; "
            f"{files[0].name} needs a {files[0].stem}.txt"
        )
    if first is None:
        return [LabelledPicture(p, None) for p in files]
    person = _person_class(images, first)
    return [LabelledPicture(p, label, True, person) for p, label in zip(files, found, strict=True)]


def is_dataset_file(path: Path) -> bool:
    """Return whether a path is that of a data.yaml, whatever it is called, rather than of pictures or a video."""
    return path.suffix.lower() in CONFIG_SUFFIXES and path.is_file()


def _dataset_files(root: Path, config: Path) -> list[Path]:
    """Return the pictures of a folder with or without a data.yaml, each once."""
    table = _config(config) if config.is_file() else {}
    entries = [table[key] for key in ("train", "val", "test") if table.get(key)]
    if entries:
        names = [str(n) for entry in entries for n in (entry if isinstance(entry, list) else [entry])]
        base = str(table.get("path") or ".")
        places = [p for name in names if (p := _place_of(root, base, name)) is not None]
        if not places:
            raise DataError(f"{config}: none of its train, val or test folders exists here: {', '.join(names)}")
    else:
        places = [root / "images" if (root / "images").is_dir() else root]
        if places == [root] and (root.absolute().name != "images" or pictures_in(root)):
            return pictures_in(root)
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            folders = [place, *sorted(p for p in place.iterdir() if p.is_dir())]
            files += [p for folder in folders for p in pictures_in(folder)]
        else:
            files += _listed_in(place, root)
    return list(dict.fromkeys(files))


def _place_of(root: Path, base: str, name: str) -> Path | None:
    """Return the folder or list of pictures that data.yaml in `root` means by a name below its `path:`, None if not there.

    A `path:` of another machine is passed over. Roboflow writes `../train/images` for what lies beside its data.yaml.
    """
    inside = name
    while inside.startswith("../"):
        inside = inside.removeprefix("../")
    places = (where / part for part in (name, inside) for where in (root / Path(base).expanduser(), root))
    # Two names of one folder are to be equal, and links to stay: labels lie beside the folder that is named.
    return next((Path(os.path.normpath(p)) for p in places if _is_place(p)), None)


def _is_place(path: Path) -> bool:
    try:
        return path.is_dir() or (path.suffix.lower() == ".txt" and path.is_file())
    except OSError:
        # A path of another machine may be one that nobody may look into here.
        return False


def _listed_in(path: Path, root: Path) -> list[Path]:
    """Return the pictures that a list names, one a line: absolute, or below the list's folder or that of data.yaml.

    Those that are missing are in it too, for who reads them to name them.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a list of pictures, one a line: {error}") from error
    files = []
    for line in filter(None, map(str.strip, lines)):
        places = [Path(os.path.normpath(folder / line)) for folder in (path.parent, root)]
        files.append(next((p for p in places if p.is_file()), places[0]))
    if not any(p.is_file() for p in files):
        first = f" (the first: {files[0]})" if files else ""
        raise DataError(f"{path}: expected pictures that exist, one a line, got {len(files)} that do not{first}")
    return files


def _config(path: Path) -> dict[str, Any]:
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: does not parse as a YOLO data.yaml: {error}") from error
    if not isinstance(table, dict):
        raise DataError(f"{path}: does not parse as a YOLO data.yaml: expected a table, got {type(table).__name__}")
    return table


def _person_class(images: Path, label: Path) -> int:
    """Return the number of the class called person in the data.yaml of a set with this label file; 0 if it names none."""
    given = images if is_dataset_file(images) else images / CONFIG
    places = [given, *_configs_above(label.parent), *_configs_above(images)]
    config = next((p for p in places if p.is_file()), None)
    names = _config(config).get("names") if config is not None else None
    if not names:
        return 0
    if not isinstance(names, list | dict):
        raise DataError(f"{config}: names: expected a list or table of classes, got {str(names)[:60]!r}")
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    called = {str(name).strip().casefold(): str(number) for number, name in pairs}
    if not called.get("person", "").isdecimal():
        some = ", ".join(list(called)[:8]) + (", ..." if len(called) > 8 else "")
        raise DataError(f"{config}: names: expected a class called person, got {some}; rename there the one that is")
    return int(called["person"])


def _configs_above(folder: Path) -> list[Path]:
    """Return where data.yaml may lie beside the last `images` or `labels` in a path, or one further up (`train/images`)."""
    parts = folder.absolute().parts
    at = _last(parts, "images", "labels")
    return [] if at is None else [Path(*parts[:at], CONFIG), Path(*parts[: max(at - 1, 1)], CONFIG)]


def _label_of(picture: Path, labels: Path | None) -> Path | None:
    """Return the label file of a picture by the YOLO convention (`images` becomes `labels` in its path), or None.

    Below a given folder of labels it lies in the subfolder that the picture is in (`images/train` or `train/images`), or
    in the folder itself.
    """
    folder = picture.parent if "images" in picture.parent.parts else picture.parent.absolute()
    parts, at = folder.parts, _last(folder.parts, "images")
    if labels is not None:
        below = () if at is None else parts[at + 1 :] or parts[max(at - 1, 0) : at]
        places = [labels.joinpath(*below), labels]
    else:
        places = [] if at is None else [Path(*parts[:at], "labels", *parts[at + 1 :])]
    return next((p for place in places if (p := place / f"{picture.stem}.txt").is_file()), None)


def _last(parts: Sequence[str], *names: str) -> int | None:
    return max((i for i, part in enumerate(parts) if part in names), default=None)


def stretch_of(name: str) -> str | None:
    """Return under which name a split knows a picture that was recorded of a camera, or None for any other picture.

    `stretch3-0041.jpg` is of `camera#stretch3`: neighbours in time are near copies, so a whole stretch is on one side.
    """
    match = RECORDED.fullmatch(name)
    return None if match is None else f"camera#{match[1]}"


def is_stretch(name: str) -> bool:
    """Return whether a split's name is that of a stretch of a video or recording rather than of a picture."""
    return STRETCH.fullmatch(name) is not None


def known_as(name: str) -> set[str]:
    """Return the names under which a split may list a picture file: with or without its ending, or as its stretch.

    A stretch of a video has one name alone: without its ending it would be any stretch of that video.
    """
    if is_stretch(name):
        return {name}
    return {name, name.rsplit(".", 1)[0]} | {s for s in [stretch_of(name)] if s is not None}


def split_by_name(names: list[str], *, held_out: float = 0.2, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return (training, held-out) names, decided by the hash of each name alone.

    A picture stays on its side whatever else is in the folder, so a run resumed with more pictures, or an evaluation
    beside a training, never mixes them. Of a video's stretches (`film.mp4#3`) the share held out is exact, in an order
    decided by their names' hashes. At least one name is on each side when there are two or more, also of each video.

    Raises: DataError if `held_out` is not within (0, 1) or there are fewer than two names.
    """
    if not 0 < held_out < 1:
        raise DataError(f"held_out: expected a fraction between 0 and 1, got {held_out}")
    if len(set(names)) < 2:
        raise DataError(f"expected two pictures or more, to train on some and hold out others, got {len(set(names))}")

    def chance(name: str) -> float:
        return int.from_bytes(hashlib.sha256(text_bytes(f"{seed}:{name}")).digest()[:8], "big") / 2**64

    ranked = sorted(set(names), key=lambda n: (chance(n), n))
    videos: dict[str, list[str]] = {}
    for name in ranked:
        if (match := STRETCH.fullmatch(name)) is not None:
            videos.setdefault(match[1], []).append(name)
    videos = {video: stretches for video, stretches in videos.items() if len(stretches) > 1}
    whole = {n for stretches in videos.values() for n in stretches}
    out = {n for n in ranked if n not in whole and chance(n) < held_out}
    for stretches in videos.values():
        out.update(stretches[: min(max(round(held_out * len(stretches)), 1), len(stretches) - 1)])
    out = out or {ranked[0]}
    if len(out) == len(ranked):
        out.discard(ranked[-1])
    return [n for n in ranked if n not in out], [n for n in ranked if n in out]


def split_pictures(
    pictures: Sequence[tuple[str, str]], *, held_out: float = 0.2, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Return the (training, held-out) names of pictures given as (name, hash of their pixels or "" if unknown).

    As `split_by_name`, but pictures of the same pixels, and variants that Roboflow made of one picture, are on the same
    side, that of the first name among them.

    Raises: DataError as `split_by_name` does.
    """
    first: dict[str, str] = {}

    def leader(name: str) -> str:
        while (other := first.setdefault(name, name)) != name:
            name = other
        return name

    owner: dict[str, str] = {}
    for name, sha256 in pictures:
        leader(name)
        # Stretches are apart already, and a camera that freezes gives the same picture in several.
        alike = [sha256] if sha256 and not is_stretch(name) else []
        if (variant := VARIANT.fullmatch(name)) is not None:
            alike.append(f"variants of {variant[1]}")
        for shared in alike:
            low, high = sorted((leader(name), leader(owner.setdefault(shared, name))))
            first[high] = low
    chosen = set(split_by_name([n for n in first if leader(n) == n], held_out=held_out, seed=seed)[0])
    sides: tuple[list[str], list[str]] = ([], [])
    for name in sorted(first):
        sides[leader(name) not in chosen].append(name)
    return sides
