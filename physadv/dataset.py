"""Labelled images on disk: folders of photographs with YOLO labels, and the split that is made before anything else."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from physadv.arrays import LeftOut, counted, images_in, look_of, read_image
from physadv.boxes import area
from physadv.errors import DataError, SettingsError, text_of
from physadv.files import Names, normal, parse_yaml, read_text, text_bytes
from physadv.types import BoolArray, Float32Array, UInt8Array

# Of a body, as COCO and its pose models count them.
KEYPOINTS = 17
NO_KEYPOINTS: Float32Array = np.zeros((0, KEYPOINTS, 3), np.float32)
# People below this share of their image are left as they are, and boxes on them are not counted.
MIN_AREA = 0.02
CONFIG = "data.yaml"
# What a data.yaml lists folders or lists of images under.
PARTS = ("train", "val", "test")
# Written by labelling programs beside the labels: the classes' names.
CLASSES = "classes.txt"
FORMATS = "looked for .jpg, .png, .webp, .bmp, .tif, .ppm, .heic, .avif"
# Of a path of another machine so many last parts are looked for.
DEEPEST = 32
CONFIG_SUFFIXES = frozenset({".yaml", ".yml"})
RECORDED = re.compile(r"(stretch\d+)-\d+\.jpg")
STRETCH = re.compile(r"(.+)#(?:stretch)?\d+")
# What Roboflow exports: several variants (turned, cropped, brightened) of one image, distinguished by a hash.
VARIANT = re.compile(r"(.+)\.rf\.[0-9a-f]{16,}\.\w+")
# Programs write 4 to 8 digits, so that equal boxes differ by up to half of this; it is less than a pixel.
SAME = 1e-4
# A box less wide or high than this part of the image has no area.
LEAST = 1e-6
# The way around an outline is 2 times its width and height together if it has no bays.
TANGLED = 3


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image and the people in it: what is trained on, scored and drawn.

    name: by which a split knows it; the frames of one stretch of a video share it. source: (h, w, 3) uint8 RGB, or the file
    that the pixels are read from each time. boxes: (n, 4) float32 xyxy of everybody. keypoints: (n, 17, 3), confidence 0
    where none are known. sha256: of the pixels as they are stored; "" for frames of videos, which are known by name.
    beside: the stretches of time that end or begin right next to it. labelled: whether the boxes are someone's labels.
    min_area: share of the image above which a person counts. size: (width, height); of an array its own. unworn: (n,) who
    cannot wear what is scored, nobody unless given: they do not count either.
    """

    name: str
    source: UInt8Array | Path
    boxes: Float32Array
    keypoints: Float32Array = field(default_factory=lambda: NO_KEYPOINTS)
    sha256: str = ""
    beside: tuple[str, ...] = ()
    labelled: bool = False
    min_area: float = MIN_AREA
    size: tuple[int, int] = (0, 0)
    unworn: BoolArray = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if not isinstance(self.source, Path):
            object.__setattr__(self, "size", self.source.shape[1::-1])
        if not len(self.keypoints):
            object.__setattr__(self, "keypoints", np.zeros((n, KEYPOINTS, 3), np.float32))
        if len(self.unworn) != n:
            object.__setattr__(self, "unworn", np.zeros(n, bool))
        if self.boxes.shape != (n, 4) or self.keypoints.shape != (n, KEYPOINTS, 3):
            raise ValueError(
                f"{self.name}: expected boxes (n, 4) and keypoints (n, {KEYPOINTS}, 3), got {self.boxes.shape} and "
                f"{self.keypoints.shape}"
            )

    @property
    def pixels(self) -> UInt8Array:
        """Return (h, w, 3) uint8 RGB.

        Raises: DataError if the file has gone since.
        """
        return read_image(self.source) if isinstance(self.source, Path) else self.source

    @property
    def counts(self) -> BoolArray:
        """Return an (n,) mask of the people who are large enough to wear a pattern and be scored, and can wear it."""
        return self.large & ~self.unworn

    @property
    def large(self) -> BoolArray:
        """Return an (n,) mask of the people who are large enough to be scored."""
        width, height = self.size
        return area(self.boxes) > self.min_area * height * width

    @property
    def targets(self) -> Float32Array:
        """Return (k, 4) boxes of the people who count."""
        return self.boxes[self.counts]

    @property
    def share(self) -> float:
        """Return the share of the image that the largest person takes; 0 without anybody."""
        width, height = self.size
        return float(area(self.boxes).max(initial=0)) / (height * width)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The labelled images that were read, and what was left out of them.

    left_out: files that were not used. empty: names of images that show nobody, where those are left out. own_labels: True
    where the clean detector labelled the people, since no one else has.
    """

    images: list[LabelledImage]
    left_out: LeftOut = field(default_factory=LeftOut)
    empty: list[str] = field(default_factory=list)
    own_labels: bool = False

    def add(self, images: Iterable[LabelledImage]) -> None:
        """Keep the images that show somebody, and the names of the others."""
        for image in images:
            if len(image.boxes):
                self.images.append(image)
            else:
                self.empty.append(image.name)

    @property
    def n_people(self) -> int:
        """Return how many people count."""
        return sum(int(image.counts.sum()) for image in self.images)

    @property
    def unworn(self) -> dict[str, int]:
        """Return how many people of each image are large enough, but cannot wear what is scored; images with some alone."""
        by_image = {image.name: int((image.large & image.unworn).sum()) for image in self.images}
        return {name: count for name, count in by_image.items() if count}

    @property
    def skipped(self) -> list[str]:
        """Return one line for each file that cannot be read."""
        return self.left_out.damaged

    def notes(self) -> list[str]:
        """Return the lines that say which files are left out, and the first names of the images without people."""
        out = self.left_out.lines()
        if self.empty:
            names = list(dict.fromkeys(self.empty))
            some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            out.append(f"{len(self.empty)} images show nobody and are left out ({some})")
        return out

    def split(self, held_out: float, seed: int) -> tuple[list[LabelledImage], list[LabelledImage]]:
        """Return (training, held-out) images, decided by name; those of the same pixels are on the same side.

        Raises: DataError if there are no people at all, or all of them in one image.
        """
        if not self.images:
            looked = len(self.skipped) + len(self.empty)
            raise DataError(
                field="images",
                expected="people to train on",
                got=f"none in {looked} images ({len(self.empty)} without people, {len(self.skipped)} unreadable)",
                hint="add images with people",
            )
        known = [(image.name, image.sha256) for image in self.images]
        return self.sides(*map(set, split_images(known, held_out=held_out, seed=seed)))

    def sides(self, train: set[str], held_out: set[str]) -> tuple[list[LabelledImage], list[LabelledImage]]:
        """Return (training, held-out) images by their names.

        Frames of a video that lie right beside a stretch held out are left out of training: they are near copies of it. A
        stretch of which nothing would be left keeps its frames: with so few of them none is a copy of the next.
        """
        apart = [image for image in self.images if image.name in train and held_out.isdisjoint(image.beside)]
        bare = train - {image.name for image in apart}
        chosen = [
            image
            for image in self.images
            if image.name in train and (image.name in bare or held_out.isdisjoint(image.beside))
        ]
        return chosen, [image for image in self.images if image.name in held_out]

    def hashes(self, names: Iterable[str]) -> dict[str, set[str]]:
        """Return each of these names with the hashes of the pixels of the images called so, as far as known.

        Those left out of training beside a stretch held out are listed too: they are near copies of what was trained on.
        """
        out: dict[str, set[str]] = {name: set() for name in names}
        for image in self.images:
            if image.name in out and image.sha256:
                out[image.name].add(image.sha256)
        return out

    def looks(self, names: Iterable[str]) -> set[str]:
        """Return what the images of these names look like, as `look_of` does; those without a look are left out."""
        wanted = set(names)
        return {look for i in self.images if i.name in wanted and i.sha256 and (look := look_of(i.pixels))}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file, where its YOLO label file is, and which class in it is a person.

    label: None if there is no such file. labelled: whether its set has labels: without a file of its own an image then
    shows nobody, as YOLO has it; in a set without any the people are not known yet.
    """

    path: Path
    label: Path | None
    labelled: bool = False
    person_class: int = 0

    def read(self) -> tuple[UInt8Array, Float32Array | None]:
        """Return pixels (h, w, 3) uint8 RGB and people (n, 4) float32 xyxy in pixels, or None if they are not known.

        Raises: DataError if the image or its label cannot be read.
        """
        pixels = read_image(self.path)
        return pixels, self.people(width=pixels.shape[1], height=pixels.shape[0])

    def people(self, *, width: int, height: int, left_out: LeftOut | None = None) -> Float32Array | None:
        """Return the people in the image, whose size in pixels is given, or None if they are not known.

        left_out: gets each row that repeats a box.

        Raises: DataError if the label cannot be read.
        """
        if self.label is None:
            return np.zeros((0, 4), np.float32) if self.labelled else None
        return read_yolo_label(
            self.label, width=width, height=height, person_class=self.person_class, left_out=left_out
        )


def read_images(
    images: Sequence[ImageFile], left_out: LeftOut
) -> Iterator[tuple[ImageFile, UInt8Array, Float32Array | None]]:
    """Yield each image with its pixels and people, as `ImageFile.read` gives them.

    left_out: gets each damaged image, and each row of a label that repeats a box.

    Raises: DataError if a label cannot be read: to pass over it would take people for background.
    """
    for image in images:
        try:
            pixels = read_image(image.path)
        except DataError as error:
            left_out.damaged.append(str(error))
            continue
        yield image, pixels, image.people(width=pixels.shape[1], height=pixels.shape[0], left_out=left_out)


def read_yolo_label(
    path: Path, *, width: int, height: int, person_class: int = 0, left_out: LeftOut | None = None
) -> Float32Array:
    """Return the people in a YOLO label file as (n, 4) float32 xyxy in pixels, clipped to the image.

    A line is `class cx cy w h`, fractions of the image, perhaps with a confidence or keypoints, which are passed over; or
    `class x1 y1 x2 y2 x3 y3 ...`, a polygon, perhaps with a confidence, which counts as the box around it. Rows of other
    classes are passed over unread. The same box twice is one person. left_out: gets each row that repeats one.

    Raises: DataError naming file and line for anything else that does not parse.
    """
    boxes = _Boxes()
    for number, line in enumerate(_text_of(path, "labels cannot be read").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        category = _numbers(words[:1])
        if category is not None and category[0].is_integer() and category[0] != person_class:
            continue
        values = _numbers(words)
        if values is None or len(values) < 5 or not values[0].is_integer():
            raise DataError(f"{path}:{number}: expected 'class cx cy w h' or a polygon, got {line.strip()[:60]!r}")
        box = _box(values[1:])
        if not (min(box[:2]) >= -1e-3 and max(box) <= 1.001 and min(box[2:]) > 0):
            raise DataError(f"{path}:{number}: expected fractions of the image from 0 to 1, got {line.strip()[:60]!r}")
        inside = _inside(box)
        if min(inside[2] - inside[0], inside[3] - inside[1]) < LEAST:
            raise DataError(f"{path}:{number}: expected a box with an area in the image, got {line.strip()[:60]!r}")
        if not boxes.add(box, inside) and left_out is not None:
            left_out.rows.append(f"{path}:{number}")
    return np.array(boxes.inside, np.float32).reshape(-1, 4) * np.array([width, height, width, height], np.float32)


class _Boxes:
    """The different boxes of a label file. inside: x1, y1, x2, y2 of each as fractions, within the image."""

    def __init__(self) -> None:
        self.inside: list[list[float]] = []
        self._near: dict[tuple[int, ...], list[list[float]]] = {}

    def add(self, box: list[float], inside: list[float]) -> bool:
        """Take a box (cx, cy, w, h) and return True, or return False if it is there already, but for rounding."""
        at = [v / SAME for v in box]
        # By their own step alone, two boxes on either side of its end would be parted.
        cells = product(*((math.floor(v - 0.5), math.floor(v + 0.5)) for v in at))
        near = (other for cell in cells for other in self._near.get(cell, ()))
        if any(max(abs(a - b) for a, b in zip(box, other, strict=True)) < SAME / 2 for other in near):
            return False
        self._near.setdefault(tuple(map(math.floor, at)), []).append(box)
        self.inside.append(inside)
        return True


def _inside(box: list[float]) -> list[float]:
    """Return x1, y1, x2, y2 of a box (cx, cy, w, h), clipped to the image; all fractions."""
    cx, cy, w, h = box
    return [min(max(v, 0.0), 1.0) for v in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)]


def _text_of(path: Path, what: str) -> str:
    try:
        # A pipe would be waited for.
        if path.exists() and not path.is_file():
            raise ValueError("expected a file, got something else of this name")
        return read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {what}: {text_of(error)}") from error


def _numbers(words: list[str]) -> list[float] | None:
    """Return the numbers that words stand for, None where one of them is no finite number."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _box(values: list[float]) -> list[float]:
    """Return centre, width and height of a label's numbers: as they are, or of the box around a polygon."""
    if len(values) <= 5 or _has_keypoints(values):
        return values[:4]
    # The last of an odd count is a confidence.
    pairs = len(values) // 2 * 2
    xs, ys = values[:pairs:2], values[1:pairs:2]
    (x1, x2), (y1, y2) = (min(xs), max(xs)), (min(ys), max(ys))
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def _has_keypoints(values: list[float]) -> bool:
    """Return whether numbers are a box with keypoints, perhaps with a confidence behind them, rather than a polygon.

    Keypoints are `x y visibility`, or of a body's number `x y`. A visibility is 0, 1 or 2, or as networks write it a
    fraction. The points lie in the box; read as an outline such numbers jump to and fro.
    """
    for size in (len(values) - 4, len(values) - 5):
        points = values[4 : 4 + size]
        seen = points[2::3] if size % 3 == 0 else [math.nan]
        whole = all(v in (0, 1, 2) for v in seen)
        if whole and len(values) % 2 and size == len(values) - 4:
            return True
        # Of fewer numbers too many would be whole by chance, at the rim of the image. Even counts are mostly outlines'.
        usual = len(values) % 2 or size == 3 * KEYPOINTS
        if len(seen) > 3 and _about(values, points, 3) and (whole or (usual and _is_tangled(values))):
            return True
        # With a visibility each their count is odd.
        if size == 2 * KEYPOINTS and _about(values, points, 2):
            return True
    return False


def _about(box: list[float], points: list[float], step: int) -> bool:
    """Return whether points, one in each `step` numbers, lie in a box or at its rim, but for those that are zero."""
    cx, cy, w, h = box[:4]
    return all(
        abs(x - cx) <= w / 2 + 0.01 and abs(y - cy) <= h / 2 + 0.01
        for x, y in zip(points[::step], points[1::step], strict=True)
        if x or y
    )


def _is_tangled(values: list[float]) -> bool:
    """Return whether numbers, taken as the corners of an outline, go to and fro as no outline does."""
    pairs = len(values) // 2 * 2
    around = [(v, v[1:] + v[:1]) for v in (values[:pairs:2], values[1:pairs:2])]
    way = sum(abs(a - b) for here, there in around for a, b in zip(here, there, strict=True))
    return way > TANGLED * sum(max(here) - min(here) for here, _ in around)


def labelled_images(
    images: Path, labels: Path | None = None, left_out: LeftOut | None = None, *, parts: Sequence[str] = PARTS
) -> list[ImageFile]:
    """Return the images of a folder with their label files, each folder's sorted by name.

    images: an image, a folder of them, or a YOLO dataset (a folder with `images/` and `labels/`, or `data.yaml` or the
    folder it is in; the folders or lists of images of its `parts` are taken), each with its subfolders of any depth.
    labels: the folder of label files, perhaps in the same subfolders as the images; without it, a `labels` folder beside
    `images` is used where there is one. The person is the class that `data.yaml` calls so, class 0 where none is found.
    Names are compared in one normal form of Unicode, and paths may be those of Windows. left_out: gets what is found and
    not used.

    Raises: DataError if a folder is missing or holds no images, `labels` fits none of them, or data.yaml does not parse
    or names no person.
    """
    left_out = LeftOut() if left_out is None else left_out
    names = Names()
    if labels is not None and not _is(Path.is_dir, labels):
        raise DataError(f"{labels}: no such folder of labels")
    given = config_of(images)
    if given == images:
        files = _dataset_files(images.parent, given, names, left_out, parts)
    elif _is(Path.is_file, images):
        files = [images]
    elif _is(Path.is_dir, images):
        files = _dataset_files(images, given, names, left_out, parts)
    else:
        raise DataError(f"{images}: no such folder or image")
    if not files:
        raise DataError("; ".join([f"{images}: no images in this folder ({FORMATS})", *left_out.lines()]))
    found = [_label_of(p, labels, names) for p in files]
    first = next((label for label in found if label is not None), None)
    if labels is not None and first is None:
        raise DataError(
            f"{labels}: expected label files named as the images of {images}, got none among {len(files)}; "
            f"{files[0].name} needs a {files[0].stem}.txt"
        )
    if first is None:
        _note_unused(files, [folder for p in files for folder in _label_folders(p, None)], set(), left_out)
        return [ImageFile(p, None) for p in files]
    person, config = _person_class(given, images, first)
    used = {*found, config}
    left_out.other[:] = [p for p in left_out.other if p not in used]
    _note_unused(files, [label.parent for label in found if label is not None], used, left_out)
    return [ImageFile(p, label, True, person) for p, label in zip(files, found, strict=True)]


def check_outside(field: str, result: Path, images: Iterable[str | Path]) -> None:
    """Raise SettingsError if a result would lie among the images that are read: the next reading would take it for one.

    field: the result's. images: folders, data sets and files that are read; of a data set its `images` folder, or what its
    data.yaml lists.
    """
    for named in map(Path, images):
        read = named / "images" if _is(Path.is_dir, named / "images") else named
        if not _is(Path.is_dir, read) or (read == named and _is(Path.is_file, read / CONFIG)):
            continue
        if result.resolve().is_relative_to(read.resolve()):
            raise SettingsError(
                f"{result} would lie among the images of {read}, and be read as one of them the next time",
                field=field,
                hint="name another place",
            )


def config_of(images: Path) -> Path:
    """Return where the data.yaml of images lies: the one that is named, or the one in the folder that is.

    Raises: DataError if a folder has several.
    """
    return images if is_dataset_file(images) else _config_in(images)


def is_dataset_file(path: Path) -> bool:
    """Return whether a path is that of a data.yaml, whatever it is called, rather than of images or a video."""
    return path.suffix.lower() in CONFIG_SUFFIXES and _is(Path.is_file, path)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    """Return whether a path leads to a file or folder; one that is too long, or may not be looked at, does not."""
    try:
        return kind(path)
    except OSError:
        return False


def _dataset_files(root: Path, config: Path, names: Names, left_out: LeftOut, parts: Sequence[str]) -> list[Path]:
    """Return the images of a folder with or without a data.yaml, each once."""
    table = _config(config) if _is(Path.is_file, config) else {}
    entries = [name for key in parts for name in _texts(config, key, table)]
    if entries:
        base, *more = _texts(config, "path", table) or ["."]
        if more:
            raise DataError(f"{config}: path: expected one folder, got {len(more) + 1}")
        found = [_place_of(root, base, name, names, left_out) for name in entries]
        places = [p for p in found if p is not None]
        if not places:
            raise DataError(f"{config}: none of its {', '.join(parts)} folders exists here: {', '.join(entries)[:200]}")
        missing = [name for name, p in zip(entries, found, strict=True) if p is None]
        if missing:
            left_out.notes.append(f"left out as not here: {', '.join(missing)[:200]} of {config}")
    else:
        places = [root / "images" if (root / "images").is_dir() else root]
        if places[0] != root:
            _note_beside(root, places[0], left_out)
    files: list[Path] = []
    for place in dict.fromkeys(places):
        if place.is_dir():
            files += images_in(place, left_out)
        else:
            files += _listed_in(place, root, names, left_out)
    left_out.other[:] = [p for p in dict.fromkeys(left_out.other) if p != config and p not in places]
    return list(dict.fromkeys(files))


def _note_beside(root: Path, images: Path, left_out: LeftOut) -> None:
    """Say which images of a data set without a data.yaml lie outside its `images` folder."""
    beside = [p for p in images_in(root) if images not in p.parents]
    if beside:
        left_out.notes.append(
            f"left out as outside {images}: {counted(len(beside), 'image')}; the first: {beside[0]}; name their folder to "
            "read them"
        )


def _texts(config: Path, key: str, table: dict[str, Any]) -> list[str]:
    """Return what data.yaml says under a key, a text or a list of them; numbers name folders too (`train: 2017`)."""
    value = table.get(key)
    parts = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
        raise DataError(f"{config}: {key}: expected a folder, a list of images, or several, got {str(value)[:60]!r}")
    return [text for text in map(str, parts) if text.strip()]


def _place_of(root: Path, base: str, name: str, names: Names, left_out: LeftOut) -> Path | None:
    """Return the folder or list of images that data.yaml in `root` means by a name below its `path:`, None if not there.

    A `path:` of another machine is passed over. Roboflow writes `../train/images` for what lies beside its data.yaml.
    """
    for spelled in _spellings(name):
        inside = spelled
        while inside.startswith("../"):
            inside = inside.removeprefix("../")
        bases = [root / os.path.expanduser(text) for text in _spellings(base)]  # noqa: PTH111 -- Path's own may raise
        for place in (where / part for part in (spelled, inside) for where in (*bases, root)):
            # Two names of one folder are to be equal, and links to stay: labels lie beside the folder that is named.
            found = names.find(Path(os.path.normpath(place)))
            if found is not None and _is_place(found):
                return found
    found = _elsewhere(root, name, base, names, _is_place)
    if found is not None:
        left_out.notes.append(f"{name} is a path of another machine; {found} is taken for it")
    return found


def _spellings(name: str) -> list[str]:
    """Return how a path may be meant: as it is written, or written on Windows."""
    return [name, name.replace("\\", "/")] if "\\" in name else [name]


def _elsewhere(root: Path, name: str, base: str, names: Names, fits: Callable[[Path], bool]) -> Path | None:
    """Return what in `root` a path of another machine leads to: by what is below its `path:`, or the longest end of it."""
    spelled = name.replace("\\", "/")
    if not re.match(r"[A-Za-z]:/|/", spelled):
        return None
    home = base.replace("\\", "/").rstrip("/") + "/"
    parts = [part for part in spelled.split("/") if part]
    ends = [spelled[len(home) :]] if spelled.casefold().startswith(home.casefold()) else []
    ends += ["/".join(parts[at:]) for at in range(1, min(len(parts), DEEPEST))]
    found = (names.find(Path(os.path.normpath(root / end))) for end in ends if ".." not in end.split("/"))
    return next((p for p in found if p is not None and fits(p)), None)


def _is_place(path: Path) -> bool:
    return _is(Path.is_dir, path) or (path.suffix.lower() == ".txt" and _is(Path.is_file, path))


def _is_file(path: Path) -> bool:
    return _is(Path.is_file, path)


def _listed_in(path: Path, root: Path, names: Names, left_out: LeftOut) -> list[Path]:
    """Return the images that a list names, one a line: absolute, or below the list's folder or that of data.yaml.

    Those that are missing are in it too, for who reads them to name them.
    """
    lines = re.split(r"\r\n|\r|\n", _text_of(path, "expected a list of images, one a line"))
    files = []
    moved = 0
    for line in filter(None, map(str.strip, lines)):
        places = [Path(os.path.normpath(folder / text)) for text in _spellings(line) for folder in (path.parent, root)]
        found = next((p for place in places if (p := names.find(place)) is not None and _is_file(p)), None)
        if found is None:
            found = _elsewhere(root, line, ".", names, _is_file)
            moved += found is not None
        files.append(places[0] if found is None else found)
    if not any(map(_is_file, files)):
        first = f" (the first: {files[0]})" if files else ""
        raise DataError(f"{path}: expected images that exist, one a line, got {len(files)} that do not{first}")
    if moved:
        left_out.notes.append(f"{path}: {counted(moved, 'path')} of another machine taken for what is below {root}")
    if (again := len(files) - len(set(files))) > 0:
        left_out.notes.append(f"left out as repeated: {counted(again, 'line')} of {path}")
    return files


def _config(path: Path) -> dict[str, Any]:
    try:
        table = parse_yaml(_text_of(path, "does not parse as a YOLO data.yaml"))
    except ValueError as error:
        raise DataError(f"{path}: does not parse as a YOLO data.yaml: {error}") from error
    if not isinstance(table, dict):
        raise DataError(f"{path}: does not parse as a YOLO data.yaml: expected a table, got {type(table).__name__}")
    return table


def _person_class(given: Path, images: Path, label: Path) -> tuple[int, Path | None]:
    """Return the number of the class called person in the data.yaml of a set with this label file, and that file.

    given: where data.yaml lies if it was named, or lies in the folder that was. 0 if there is none, or it names no classes.
    """
    places = [given, *_configs_above(label.parent), *_configs_above(images)]
    config = next((p for p in places if _is(Path.is_file, p)), None)
    names = _config(config).get("names") if config is not None else None
    if not names:
        return 0, config
    if not isinstance(names, list | dict):
        raise DataError(f"{config}: names: expected a list or table of classes, got {str(names)[:60]!r}")
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    called: dict[str, str] = {}
    for number, name in pairs:
        plain = str(name).strip().casefold()
        if plain == "person" and plain in called:
            raise DataError(f"{config}: names: expected one class called person, got {called[plain]} and {number}")
        called[plain] = str(number)
    if not re.fullmatch(r"[0-9]{1,9}", called.get("person", "")):
        some = ", ".join(name[:30] for name in list(called)[:8]) + (", ..." if len(called) > 8 else "")
        raise DataError(f"{config}: names: expected a class called person, got {some}; rename there the one that is")
    return int(called["person"]), config


def _configs_above(folder: Path) -> list[Path]:
    """Return where data.yaml may lie beside the last `images` or `labels` in a path, or one further up (`train/images`)."""
    parts = folder.absolute().parts
    at = _last(parts, "images", "labels")
    return [] if at is None else [_config_in(Path(*parts[:at])), Path(*parts[: max(at - 1, 1)], CONFIG)]


def _config_in(folder: Path) -> Path:
    """Return where a folder's data.yaml lies, or the one file in it that is such a one under another name.

    Raises: DataError if there are several.
    """
    plain = folder / CONFIG
    if _is(Path.is_file, plain):
        return plain
    others = [p for p in _inside_of(folder) if is_dataset_file(p) and _names_classes(p)]
    if len(others) > 1:
        raise DataError(
            f"{folder}: expected one file of a data set, got {', '.join(p.name for p in others[:5])}; "
            "name the one that is meant"
        )
    return others[0] if others else plain


def _names_classes(path: Path) -> bool:
    try:
        table = parse_yaml(read_text(path))
    except (OSError, ValueError):
        return False
    return isinstance(table, dict) and "names" in table and bool({"train", "val", "test", "path"} & table.keys())


def _label_of(image: Path, labels: Path | None, names: Names) -> Path | None:
    """Return the label file of an image by the YOLO convention (`images` becomes `labels` in its path), or None.

    Below a given folder of labels it lies in the subfolder that the image is in (`images/train` or `train/images`), or
    in the folder itself.
    """
    places = (names.find(place / f"{image.stem}.txt") for place in _label_folders(image, labels))
    return next((p for p in places if p is not None), None)


def _label_folders(image: Path, labels: Path | None) -> list[Path]:
    folder = image.parent if "images" in image.parent.parts else image.parent.absolute()
    parts, at = folder.parts, _last(folder.parts, "images")
    if labels is not None:
        below = () if at is None else parts[at + 1 :] or parts[max(at - 1, 0) : at]
        return [labels.joinpath(*below), labels]
    return [] if at is None else [Path(*parts[:at], "labels", *parts[at + 1 :])]


def _note_unused(files: Sequence[Path], folders: Iterable[Path], used: set[Path | None], left_out: LeftOut) -> None:
    """Say which files in the folders of labels belong to no image: their image is missing, or called otherwise.

    used: labels that belong to one.

    Raises: DataError for a link in place of a label that leads nowhere.
    """
    beside = (p for folder in dict.fromkeys(p.parent for p in files) for p in _inside_of(folder))
    stems = {normal(p.stem) for p in beside}
    unused = []
    for path in (p for folder in dict.fromkeys(folders) for p in _inside_of(folder)):
        if path.suffix.lower() != ".txt" or path in used or path.name.lower() == CLASSES:
            continue
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path}: labels cannot be read: a link to a file that is not there")
        # An image may be there and not be asked for, of a list for instance.
        if path.is_file() and (path.suffix != ".txt" or normal(path.stem) not in stems):
            unused.append(path)
    if unused:
        what = "1 label file that fits" if len(unused) == 1 else f"{len(unused):,} label files that fit"
        left_out.notes.append(f"left out as unused: {what} no image by name; the first: {unused[0]}")


def _inside_of(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (OSError, ValueError):
        # A name from a data set's file that no folder can have, with a NUL character for example.
        return []


def _last(parts: Sequence[str], *names: str) -> int | None:
    return max((i for i, part in enumerate(parts) if part in names), default=None)


def stretch_of(name: str) -> str | None:
    """Return under which name a split knows an image that was recorded of a camera, or None for any other image.

    `stretch3-0041.jpg` is of `camera#stretch3`: neighbours in time are near copies, so a whole stretch is on one side.
    """
    match = RECORDED.fullmatch(name)
    return None if match is None else f"camera#{match[1]}"


def is_stretch(name: str) -> bool:
    """Return whether a split's name is that of a stretch of a video or recording rather than of an image."""
    return STRETCH.fullmatch(name) is not None


def known_as(name: str) -> set[str]:
    """Return the names under which a split may list an image file: with or without its ending, or as its stretch.

    A stretch of a video has one name alone: without its ending it would be any stretch of that video.
    """
    name = normal(name)
    if is_stretch(name):
        return {name}
    return {name, name.rsplit(".", 1)[0]} | {s for s in [stretch_of(name)] if s is not None}


def split_by_name(names: list[str], *, held_out: float = 0.2, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return (training, held-out) names, decided by the hash of each name alone.

    An image stays on its side whatever else is in the folder, so a run resumed with more images, or an evaluation
    beside a training, never mixes them. Of a video's stretches (`film.mp4#3`) the share held out is exact, in an order
    decided by their names' hashes. At least one name is on each side when there are two or more, also of each video.

    Raises: DataError if `held_out` is not within (0, 1) or there are fewer than two names.
    """
    if not 0 < held_out < 1:
        raise DataError(field="held_out", expected="a fraction between 0 and 1", got=str(held_out))
    if len(set(names)) < 2:
        raise DataError(f"expected two images or more, to train on some and hold out others, got {len(set(names))}")

    def chance(name: str) -> float:
        return int.from_bytes(hashlib.sha256(text_bytes(f"{seed}:{normal(name)}")).digest()[:8], "big") / 2**64

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


def split_images(
    images: Sequence[tuple[str, str]], *, held_out: float = 0.2, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Return the (training, held-out) names of images given as (name, hash of their pixels or "" if unknown).

    As `split_by_name`, but images of the same pixels, and variants that Roboflow made of one image, are on the same
    side, that of the first name among them.

    Raises: DataError as `split_by_name` does.
    """
    first: dict[str, str] = {}

    def leader(name: str) -> str:
        while (other := first.setdefault(name, name)) != name:
            name = other
        return name

    owner: dict[str, str] = {}
    for name, sha256 in images:
        leader(name)
        # Stretches are apart already, and a camera that freezes gives the same image in several.
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
