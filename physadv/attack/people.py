"""People to train on: photographs, data sets and videos, labelled once by the clean detector where no one has."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from physadv.address import masked
from physadv.arrays import IMAGE_SUFFIXES, LeftOut, identity_of, images_in
from physadv.camera.lens import Lens
from physadv.camera.profile import CameraProfile
from physadv.capture import open_source
from physadv.capture.reading import until_lost
from physadv.capture.settings import CaptureSettings
from physadv.dataset import (
    Dataset,
    LabelledImage,
    is_dataset_file,
    is_stretch,
    labelled_images,
    read_images,
    stretch_of,
)
from physadv.detect.matching import LABEL_CONF, match_keypoints
from physadv.errors import DataError, SourceError
from physadv.files import atomic_write, sha256_of
from physadv.recording import recording_of
from physadv.types import Detections, Detector, Float32Array, Frame, Source, UInt8Array

Say = Callable[[str], None]
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".mjpeg", ".ts"})
# Larger images cost memory and are shrunk anyway: no view shows more than a few hundred pixels of them.
LONG_SIDE = 960
VIDEO_FRAMES = 120
# Neighbouring frames are near copies of each other, so a split goes by stretches of time.
VIDEO_BLOCKS = 10
REPORT_EVERY_S = 10.0


def content_of(images: Sequence[LabelledImage]) -> dict[str, str]:
    """Return, by name, a short hash of the images called so: their pixels, and the boxes that somebody labelled.

    What a detector found in them follows from the pixels and that detector.
    """
    digests: dict[str, Any] = {}
    for p in images:
        digest = digests.setdefault(p.name, hashlib.sha256())
        digest.update(f"{p.pixels.shape}".encode())
        digest.update(np.ascontiguousarray(p.pixels))
        if p.labelled:
            digest.update(np.ascontiguousarray(p.boxes))
    return {name: digest.hexdigest()[:12] for name, digest in digests.items()}


def gather(
    images: Sequence[str | Path],
    labels: Path | None,
    detector: Callable[[], Detector],
    *,
    cache: Path,
    say: Say = lambda _: None,
) -> Dataset:
    """Return the people in folders, data sets, images and videos.

    detector: gives the clean detector, asked for only where labels or keypoints are missing from `cache`. say: called
    with what is left out, unreadable videos in a folder too, and now and then with how many are done.

    Raises: DataError if a folder is missing or empty, or a label file does not parse. SourceError if a video that was
    named itself cannot be read.
    """
    labeller = Labeller(detector, cache)
    out = Dataset([])
    for where in map(Path, images):
        if where.is_file() and where.suffix.lower() not in IMAGE_SUFFIXES and not is_dataset_file(where):
            out.add(_video(recording_of(where), labeller, say))
            continue
        beside = LeftOut()
        found = images_in(where, beside) if where.is_dir() else []
        videos = [p for p in beside.other if p.suffix.lower() in VIDEO_SUFFIXES]
        for video in _untouched(videos, out.left_out):
            try:
                out.add(_video(video, labeller, say))
            except SourceError as error:
                out.left_out.damaged.append(str(error))
        if found or not videos:
            out.add(_photographs(where, labels, labeller, out.left_out, say))
        else:
            out.left_out.other += beside.other
        read = set(videos)
        out.left_out.other[:] = [p for p in out.left_out.other if p not in read]
    if not images:
        raise DataError(field="images", expected="a folder, data set or video with people", got="none")
    for line in out.notes():
        say(line)
    return out


class Labeller:
    """Finds people by the clean detector, and remembers them in a folder by the images' content."""

    def __init__(self, detector: Callable[[], Detector], cache: Path) -> None:
        self._make, self._cache = detector, cache
        self._detector: Detector | None = None

    def people(self, key: str, pixels: UInt8Array) -> Detections:
        """Return the people in an image; `key` names its content."""
        path = self._cache / f"{key[:40]}.json"
        try:
            table = json.loads(path.read_text())
            return _detections(table["xyxy"], table["score"], table["keypoints"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if self._detector is None:
            self._detector = self._make()
        found = self._detector.detect(Frame(pixels, 0, 0, 0.0)).above(LABEL_CONF)
        points = np.zeros((len(found), 17, 3), np.float32) if found.keypoints is None else found.keypoints
        table = {"xyxy": _plain(found.xyxy), "score": _plain(found.score), "keypoints": _plain(points)}
        with atomic_write(path) as stream:
            stream.write(json.dumps(table).encode())
        return _detections(table["xyxy"], table["score"], table["keypoints"])


def record(
    source: str, seconds: float, folder: Path, *, camera: CameraProfile | None = None, say: Say = lambda _: None
) -> None:
    """Record a camera for `seconds` into `folder`, as images whose names begin with their stretch of that time.

    camera: its profile; images are then asked for in the size it is for, and recorded without the lens's distortion. A
    camera that is lost meanwhile, or Ctrl-C, leaves what came. Images of an earlier recording in the folder are removed.

    Raises: SourceError if the camera cannot be opened, or sends nothing in that time. CalibrationError if its images
    have another size than the profile is for. OSError if the disk is full.
    """
    asked = CaptureSettings() if camera is None else CaptureSettings(width=camera.width, height=camera.height)
    light = open_source(source, asked, say)
    say(f"recording {light.name} for {seconds:g} s: walk about, turn, come near, as the pattern will be worn")
    kept: list[Frame] = []
    try:
        sampled(light, seconds, lens=None if camera is None else Lens(camera), say=say, into=kept)
    finally:
        light.close()
        if kept:
            _store(kept, folder)
    if not kept:
        raise SourceError(masked(source), field="source", expected=f"images for {seconds:g} s", got="none")


def _store(kept: list[Frame], folder: Path) -> None:
    # What an aborted run left would be taken for images of this one.
    for old in folder.glob("stretch*.jpg"):
        old.unlink()
    first, last = kept[0].captured_ns, kept[-1].captured_ns
    for number, frame in enumerate(kept):
        block = min((frame.captured_ns - first) * VIDEO_BLOCKS // max(last - first, 1), VIDEO_BLOCKS - 1)
        _, data = cv2.imencode(".jpg", frame.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        with atomic_write(folder / f"stretch{block}-{number:04d}.jpg") as stream:
            stream.write(data.tobytes())


def recorded(folder: Path, detector: Callable[[], Detector], *, cache: Path, say: Say = lambda _: None) -> Dataset:
    """Return the people in a folder that `record` wrote; the split goes by stretches of time.

    Raises: DataError if the folder is missing or empty.
    """
    out = Dataset([])
    out.add(_photographs(folder, None, Labeller(detector, cache), out.left_out, say))
    for line in out.notes():
        say(line)
    return out


def sampled(
    source: Source,
    seconds: float = math.inf,
    *,
    lens: Lens | None = None,
    say: Say = lambda _: None,
    into: list[Frame] | None = None,
) -> list[Frame]:
    """Return frames of a source, evenly over its time, their pixels shrunk to `LONG_SIDE`.

    Up to 240: all of them, or every 2nd, 4th, 8th and so on of a longer one. Ends after `seconds`, with the source, or
    where a camera is lost that gave images, which `say` reports. lens: taken out of each image before it is shrunk.
    into: the list that is filled and returned; it holds what came if this is interrupted.

    Raises: SourceError if the source cannot be read. CalibrationError if the lens is of images of another size.
    """
    kept = [] if into is None else into
    end = time.monotonic() + seconds
    stride = 1
    for count, frame in enumerate(until_lost(source, say)):
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
    where: Path, labels: Path | None, labeller: Labeller, left_out: LeftOut, say: Say
) -> Iterator[LabelledImage]:
    items = labelled_images(where, labels, left_out)

    def images() -> Iterator[LabelledImage]:
        for item, pixels, boxes in read_images(items, left_out):
            nobody = boxes is not None and not len(boxes)
            people = Detections.empty() if nobody else labeller.people(sha256_of(item.path), pixels)
            name = stretch_of(item.path.name) or item.path.name
            yield replace(_image(name, pixels, people, boxes), sha256=identity_of(item.path, pixels))

    return _counted(_bordered(images()), len(items), where, say)


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


def _counted(images: Iterable[LabelledImage], total: int, where: Path, say: Say) -> Iterator[LabelledImage]:
    """Yield images, and say how many of them are done whenever that has taken a while: detectors may take minutes."""
    reported = time.monotonic()
    for done, image in enumerate(images, 1):
        yield image
        if (now := time.monotonic()) - reported >= REPORT_EVERY_S and done < total:
            say(f"{where}: looked for people in {done} of {total} images")
            reported = now


def _untouched(videos: Sequence[Path], left_out: LeftOut) -> list[Path]:
    """Return a folder's videos, of a recording the one without boxes drawn in it, once."""
    out = []
    for video in videos:
        try:
            out.append(recording_of(video))
        except DataError as error:
            left_out.damaged.append(str(error))
    return list(dict.fromkeys(out))


def _video(where: Path, labeller: Labeller, say: Say) -> Iterator[LabelledImage]:
    source = open_source(str(where), CaptureSettings(), say)
    try:
        frames = sampled(source)
    finally:
        source.close()
    if not frames:
        raise SourceError(f"{where}: expected a video with images, got none")
    last = max(frames[-1].index, 1)
    digest = sha256_of(where)

    def images() -> Iterator[LabelledImage]:
        for frame in frames:
            block = min(frame.index * VIDEO_BLOCKS // (last + 1), VIDEO_BLOCKS - 1)
            people = labeller.people(f"{digest[:24]}-{LONG_SIDE}-{frame.index:08d}", frame.pixels)
            yield _image(f"{where.name}#{block}", frame.pixels, people, None)

    return _counted(_bordered(images()), len(frames), where, say)


def _image(name: str, pixels: UInt8Array, people: Detections, boxes: Float32Array | None) -> LabelledImage:
    """Return an image with the people labelled in `boxes`, or found where there are none, shrunk to `LONG_SIDE`."""
    points = people.keypoints if people.keypoints is not None else np.zeros((len(people), 17, 3), np.float32)
    labelled = boxes is not None
    if boxes is None:
        boxes = people.xyxy
    else:
        points = match_keypoints(boxes, people)
    scale = min(LONG_SIDE / max(pixels.shape[:2]), 1.0)
    boxes, points = boxes * scale, points * np.array([scale, scale, 1], np.float32)
    return LabelledImage(name, _shrunk(pixels), boxes.astype(np.float32), points.astype(np.float32), labelled=labelled)


def _shrunk(pixels: UInt8Array) -> UInt8Array:
    """Return an image whose longer side is no more than `LONG_SIDE`."""
    scale = LONG_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _detections(xyxy: list[list[float]], score: list[float], keypoints: list[list[list[float]]]) -> Detections:
    return Detections(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.array(score, np.float32),
        np.array(keypoints, np.float32).reshape(-1, 17, 3),
    )


def _plain(array: Float32Array) -> list[object]:
    return array.astype(np.float64).tolist()
