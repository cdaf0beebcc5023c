"""Labelled images from folders, data sets and videos; people without labels are found by the clean detector.

Training and evaluation read by it, so that both are of the same people.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from physadv.arrays import IMAGE_SUFFIXES, LeftOut, identity_of, images_in
from physadv.camera.lens import Lens
from physadv.capture import open_source
from physadv.capture.reading import until_lost
from physadv.capture.settings import CaptureSettings
from physadv.dataset import (
    MIN_AREA,
    NO_KEYPOINTS,
    Dataset,
    ImageFile,
    LabelledImage,
    is_dataset_file,
    is_stretch,
    labelled_images,
    read_images,
    stretch_of,
)
from physadv.detect import load_detector
from physadv.detect.base import WrappedDetector
from physadv.detect.matching import LABEL_CONF, match_keypoints
from physadv.detect.weights import DEFAULT_DETECTOR, EMBEDDED_SHA256, cache_dir, find_weights
from physadv.errors import DataError, SourceError
from physadv.evaluate.steps import Steps
from physadv.files import atomic_write, sha256_of
from physadv.recording import recording_of
from physadv.types import Detections, Detector, Float32Array, Frame, Source, UInt8Array

Notes = Generator[str, None, Dataset]
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".mjpeg", ".ts"})
LABEL_IMGSZ = 640
# To train on, larger images cost memory and are shrunk anyway: no view shows more than a few hundred pixels of them.
LONG_SIDE = 960
# Bytes of pixels that an evaluation keeps; images beyond are read again each time, which a detector takes longer than.
HELD_BYTES = 2 * 2**30
VIDEO_FRAMES = 120
# Neighbouring frames are near copies of each other, so a split goes by stretches of time.
VIDEO_BLOCKS = 10
NOTED_EVERY_S = 10.0


class WithKeypoints(WrappedDetector):
    """A detector whose people have the keypoints that a pose model finds in their place, none elsewhere."""

    def __init__(self, detector: Detector, pose: Detector) -> None:
        super().__init__(detector)
        self._pose = pose

    def detect(self, frame: Frame) -> Detections:
        """Return the people of one image with keypoints, confidence 0 where the pose model finds nobody."""
        return self.detect_batch([frame.pixels])[0]

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people of each image with keypoints."""
        found, poses = self.inner.detect_batch(images), self._pose.detect_batch(images)
        return [
            replace(f, keypoints=match_keypoints(f.xyxy, p.above(LABEL_CONF)))
            for f, p in zip(found, poses, strict=True)
        ]


def labelling(name: str = DEFAULT_DETECTOR) -> Detector:
    """Return the clean detector that finds people, with the keypoints of the embedded pose model.

    A detector has none or its own idea of them; where a chest is must not depend on who is attacked.

    Raises: WeightsError if there are no such weights.
    """
    detector = load_detector(name, backend="reference", imgsz=LABEL_IMGSZ, device="cpu")
    if find_weights(name).sha256 == EMBEDDED_SHA256:
        return detector
    return WithKeypoints(detector, load_detector(backend="torch", imgsz=LABEL_IMGSZ, device="cpu"))


def labels_cache(name: str) -> Path:
    """Return the folder in which the people that `labelling` finds are remembered.

    Raises: WeightsError if there are no such weights.
    """
    digest = find_weights(name).sha256
    # Version 0.1 kept three digits, in `people`: prints placed by them are not those of an evaluation, to the last digit.
    return cache_dir() / "people-exact" / (digest[:16] if digest == EMBEDDED_SHA256 else f"{digest[:16]}-posed")


class Labeller:
    """Finds people by the clean detector, and remembers them in a folder by the images' content.

    detector: makes it, the first time that somebody has to be found. cache: None to remember nothing.
    """

    def __init__(self, detector: Callable[[], Detector], cache: Path | None = None) -> None:
        self._make, self._cache = detector, cache
        self._detector: Detector | None = None

    def people(self, content: str | Path, pixels: UInt8Array) -> Detections:
        """Return the people in an image. content: names it, or the file that holds it."""
        if self._cache is None:
            return _from_table(self._found(pixels))
        key = sha256_of(content) if isinstance(content, Path) else content
        path = self._cache / f"{key[:40]}.json"
        try:
            return _from_table(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            table = self._found(pixels)
        with atomic_write(path) as stream:
            stream.write(json.dumps(table).encode())
        return _from_table(table)

    def _found(self, pixels: UInt8Array) -> dict[str, Any]:
        if self._detector is None:
            self._detector = self._make()
        found = self._detector.detect(Frame(pixels, 0, 0, 0.0)).above(LABEL_CONF)
        points = np.zeros((len(found), 17, 3), np.float32) if found.keypoints is None else found.keypoints
        return {"xyxy": _plain(found.xyxy), "score": _plain(found.score), "keypoints": _plain(points)}


def read_dataset(
    images: Path, labels: Path | None, labeller: Labeller, *, keypoints: bool, min_area: float = MIN_AREA
) -> Steps[Dataset]:
    """Return the labelled images of a folder as they are, to be scored; damaged images are left out and named.

    labeller: asked only where there are no labels at all or keypoints are wanted. In a labelled folder an image without a
    label file shows nobody.

    Raises: DataError if a folder is missing, a label does not parse, no image can be read, or nobody is large enough.
    """
    out = Dataset([])
    files = labelled_images(images, labels, out.left_out)
    own = not any(file.labelled for file in files)
    held = 0
    for image, file in _photographs(files, labeller, out.left_out, keypoints=keypoints):
        yield len(out.images) / len(files), file.path.name
        held += image.pixels.nbytes
        source = image.source if held <= HELD_BYTES else file.path
        out.images.append(replace(image, name=file.path.name, source=source, min_area=min_area))
    if not out.images:
        raise DataError(f"{images}: none of {len(files)} images can be read; the first: {out.skipped[0]}")
    if out.n_people == 0:
        raise DataError(
            f"{images}: expected people larger than {min_area:.1%} of the image, got none in {len(out.images)} images; "
            + "; ".join(["lower `min_area` or give other images", *out.notes()])
        )
    return replace(out, own_labels=own)


def in_stretches(data: Dataset) -> Dataset:
    """Return images named as a split knows them: those that were recorded of a camera by their stretch of time."""
    named = [replace(image, name=stretch_of(image.name) or image.name) for image in data.images]
    return replace(data, images=list(_bordered(named)))


def gather(images: Sequence[str | Path], labels: Path | None, labeller: Labeller) -> Notes:
    """Return the people in folders, data sets, images and videos, shrunk to `LONG_SIDE`, to be trained on.

    Yields lines: what is left out, unreadable videos in a folder too, and now and then how many images are done.

    Raises: DataError if a folder is missing or empty, or a label file does not parse. SourceError if a video that was
    named itself cannot be read.
    """
    out = Dataset([])
    for where in map(Path, images):
        if where.is_file() and where.suffix.lower() not in IMAGE_SUFFIXES and not is_dataset_file(where):
            yield from _add_video(out, recording_of(where), labeller)
            continue
        beside = LeftOut()
        found = images_in(where, beside) if where.is_dir() else []
        videos = [p for p in beside.other if p.suffix.lower() in VIDEO_SUFFIXES]
        for video in _untouched(videos, out.left_out):
            try:
                yield from _add_video(out, video, labeller)
            except SourceError as error:
                out.left_out.damaged.append(str(error))
        if found or not videos:
            files = labelled_images(where, labels, out.left_out)
            read = (_shrunk_image(image) for image, _ in _photographs(files, labeller, out.left_out, keypoints=True))
            yield from _add(out, _bordered(read), where, total=len(files))
        else:
            out.left_out.other += beside.other
        seen = set(videos)
        out.left_out.other[:] = [p for p in out.left_out.other if p not in seen]
    if not images:
        raise DataError(field="images", expected="a folder, data set or video with people", got="none")
    yield from out.notes()
    return out


def content_of(images: Sequence[LabelledImage]) -> dict[str, str]:
    """Return, by name, a short hash of the images called so: their pixels, and the boxes that somebody labelled.

    What a detector found in them follows from the pixels and that detector.
    """
    digests: dict[str, Any] = {}
    for image in images:
        digest = digests.setdefault(image.name, hashlib.sha256())
        digest.update(f"{image.pixels.shape}".encode())
        digest.update(np.ascontiguousarray(image.pixels))
        if image.labelled:
            digest.update(np.ascontiguousarray(image.boxes))
    return {name: digest.hexdigest()[:12] for name, digest in digests.items()}


def sampled(
    source: Source,
    seconds: float = math.inf,
    *,
    notes: list[str],
    lens: Lens | None = None,
    into: list[Frame] | None = None,
) -> list[Frame]:
    """Return frames of a source, evenly over its time, their pixels shrunk to `LONG_SIDE`.

    Up to 240: all of them, or every 2nd, 4th, 8th and so on of a longer one. Ends after `seconds`, with the source, or
    where a camera is lost that gave images, of which `notes` takes a line. lens: taken out of each image before it is
    shrunk. into: the list that is filled and returned; it holds what came if this is interrupted.

    Raises: SourceError if the source cannot be read. CalibrationError if the lens is of images of another size.
    """
    kept = [] if into is None else into
    end = time.monotonic() + seconds
    stride = 1
    for count, frame in enumerate(until_lost(source, notes.append)):
        if count % stride == 0:
            # Thinned and shrunk as it is read, so that a film of hours takes no more memory than one of seconds.
            if len(kept) == 2 * VIDEO_FRAMES:
                del kept[1::2]
                stride *= 2
            frame = frame if lens is None else lens.flat(frame)
            kept.append(frame.with_pixels(_shrunk(frame.pixels)))
        if time.monotonic() >= end:
            break
    return kept


def _photographs(
    files: Sequence[ImageFile], labeller: Labeller, left_out: LeftOut, *, keypoints: bool
) -> Iterator[tuple[LabelledImage, ImageFile]]:
    """Yield each image file as it is, named as a split knows it, with its people labelled or found."""
    for file, pixels, boxes in read_images(files, left_out):
        unknown = boxes is None or (keypoints and len(boxes))
        people = labeller.people(file.path, pixels) if unknown else Detections.empty()
        image = _labelled(
            stretch_of(file.path.name) or file.path.name, pixels, people, boxes, sha256=identity_of(file.path, pixels)
        )
        yield image, file


def _labelled(
    name: str, pixels: UInt8Array, people: Detections, boxes: Float32Array | None, *, sha256: str = ""
) -> LabelledImage:
    """Return an image with the people labelled in `boxes`, or found where there are none."""
    if boxes is None:
        points = NO_KEYPOINTS if people.keypoints is None else people.keypoints
        return LabelledImage(name, pixels, people.xyxy, points, sha256)
    return LabelledImage(name, pixels, boxes, match_keypoints(boxes, people), sha256, labelled=True)


def _shrunk_image(image: LabelledImage) -> LabelledImage:
    """Return an image whose longer side is no more than `LONG_SIDE`."""
    scale = min(LONG_SIDE / max(image.size), 1.0)
    boxes = (image.boxes * scale).astype(np.float32)
    points = (image.keypoints * np.array([scale, scale, 1], np.float32)).astype(np.float32)
    return replace(image, source=_shrunk(image.pixels), boxes=boxes, keypoints=points)


def _shrunk(pixels: UInt8Array) -> UInt8Array:
    scale = LONG_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _bordered(images: Iterable[LabelledImage]) -> Iterator[LabelledImage]:
    """Yield images in order of time, frames of a stretch with the names of the stretches that they are right beside."""
    before: LabelledImage | None = None
    for each in images:
        image = each
        if before is not None:
            if before.name != image.name and is_stretch(before.name) and is_stretch(image.name):
                image = replace(image, beside=(before.name,))
                before = replace(before, beside=(*before.beside, image.name))
            yield before
        before = image
    if before is not None:
        yield before


def _add(out: Dataset, images: Iterable[LabelledImage], where: Path, *, total: int) -> Generator[str, None, None]:
    """Add the images that show somebody; yield how many are done whenever that has taken a while."""
    noted = time.monotonic()
    for done, image in enumerate(images, 1):
        out.add([image])
        if (now := time.monotonic()) - noted >= NOTED_EVERY_S and done != total:
            yield f"{where}: looked for people in {done} of {total} images"
            noted = now


def _untouched(videos: Sequence[Path], left_out: LeftOut) -> list[Path]:
    """Return a folder's videos, of a recording the one without boxes drawn in it, once."""
    out = []
    for video in videos:
        try:
            out.append(recording_of(video))
        except DataError as error:
            left_out.damaged.append(str(error))
    return list(dict.fromkeys(out))


def _add_video(out: Dataset, where: Path, labeller: Labeller) -> Generator[str, None, None]:
    """Add frames of a video, evenly over its time, each named by its stretch of that time; yield lines to be shown."""
    notes: list[str] = []
    source = open_source(str(where), CaptureSettings(), notes.append)
    try:
        frames = sampled(source, notes=notes)
    finally:
        source.close()
    yield from notes
    if not frames:
        raise SourceError(f"{where}: expected a video with images, got none")
    last = max(frames[-1].index, 1)
    digest = sha256_of(where)

    def labelled(frame: Frame) -> LabelledImage:
        block = min(frame.index * VIDEO_BLOCKS // (last + 1), VIDEO_BLOCKS - 1)
        people = labeller.people(f"{digest[:24]}-{LONG_SIDE}-{frame.index:08d}", frame.pixels)
        return _labelled(f"{where.name}#{block}", frame.pixels, people, None)

    yield from _add(out, _bordered(map(labelled, frames)), where, total=len(frames))


def _from_table(table: dict[str, Any]) -> Detections:
    return Detections(
        np.array(table["xyxy"], np.float32).reshape(-1, 4),
        np.array(table["score"], np.float32),
        np.array(table["keypoints"], np.float32).reshape(-1, 17, 3),
    )


def _plain(array: Float32Array) -> list[object]:
    return array.astype(np.float64).tolist()
