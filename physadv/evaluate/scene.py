"""The people an evaluation is about: images with labels, who counts, and where their chests are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from physadv.arrays import LeftOut, identity_of, read_image
from physadv.dataset import labelled_images, read_images
from physadv.detect.boxes import area
from physadv.detect.matching import LABEL_CONF, match_keypoints
from physadv.detect.tally import Tally, tally
from physadv.errors import DataError
from physadv.types import BoolArray, Detections, Detector, Float32Array, Frame, UInt8Array

# Bytes of pixels that an evaluation keeps; images beyond are read again each time, which a detector takes longer than.
HELD_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Unheld:
    """An image that stays on disk. shape: its (height, width)."""

    path: Path
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One image of an evaluation.

    source: (h, w, 3) uint8 RGB, or where that is to be read each time. people: (n, 4) everybody labelled. counts: (n,)
    those large enough to wear a pattern and be scored. keypoints: (n, 17, 3), confidence 0 for people whom the pose model
    did not find; None if none was asked. sha256: of the pixels as they are stored.
    """

    name: str
    source: UInt8Array | Unheld
    people: Float32Array
    counts: BoolArray
    keypoints: Float32Array | None
    sha256: str

    @property
    def pixels(self) -> UInt8Array:
        """Return (h, w, 3) uint8 RGB.

        Raises: DataError if the file has gone since.
        """
        return read_image(self.source.path) if isinstance(self.source, Unheld) else self.source

    @property
    def shape(self) -> tuple[int, int]:
        """Return the image's (height, width)."""
        height, width = self.source.shape[:2]
        return height, width

    @property
    def targets(self) -> Float32Array:
        """Return (k, 4) the people who count."""
        return self.people[self.counts]

    @property
    def ignored(self) -> Float32Array:
        """Return (n - k, 4) the people too small to count; a box on them is neither right nor wrong."""
        return self.people[~self.counts]

    def tally(self, clean: Detections, answer: Detections) -> Tally:
        """Return the image's part in every figure. clean: what the undefended detector says of it as it is."""
        return tally(self.people, self.counts, clean, answer)


@dataclass(frozen=True, slots=True)
class Scenes:
    """The images of an evaluation. skipped: one line for each image that cannot be read. own_labels: True where the
    clean detector labelled them, since no one else has. left_out: what is to be said of all that was not used."""

    scenes: list[Scene]
    skipped: tuple[str, ...] = ()
    own_labels: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def n_people(self) -> int:
        """Return how many people count."""
        return sum(int(s.counts.sum()) for s in self.scenes)


def read_scenes(
    images: Path,
    labels: Path | None,
    *,
    min_area: float,
    labeller: Callable[[], Detector],
    keypoints: bool,
    progress: Callable[[float | None, str], None] = lambda *_: None,
) -> Scenes:
    """Return the labelled images of a folder; damaged images are left out and named.

    labeller: gives a clean pose detector, asked for only where there are no labels at all or keypoints are wanted. In a
    labelled folder an image without a label file shows nobody. progress: told the share that is read.

    Raises: DataError if a folder is missing, a label does not parse, no image can be read, or nobody is large enough.
    """
    left_out = LeftOut()
    labelled = labelled_images(images, labels, left_out)
    own = not any(p.labelled for p in labelled)
    detector = labeller() if own or keypoints else None
    scenes: list[Scene] = []
    held = 0
    for number, (image, pixels, people) in enumerate(read_images(labelled, left_out)):
        progress(number / len(labelled), image.path.name)
        answer = detector.detect(Frame(pixels, 0, 0, 0.0)) if detector is not None else None
        if own and answer is not None:
            people = answer.above(LABEL_CONF).xyxy
        held += pixels.nbytes
        wanted = answer if keypoints else None
        scenes.append(_scene(image.path, pixels, people, wanted, min_area, keep=held <= HELD_BYTES))
    if not scenes:
        raise DataError(f"{images}: none of {len(labelled)} images can be read; the first: {left_out.damaged[0]}")
    out = Scenes(scenes, tuple(left_out.damaged), own, tuple(left_out.lines()))
    if out.n_people == 0:
        raise DataError(
            f"{images}: expected people larger than {min_area:.1%} of the image, got none in {len(scenes)} images; "
            + "; ".join(["lower --min-area or give other images", *out.left_out])
        )
    return out


def _scene(
    path: Path,
    pixels: UInt8Array,
    people: Float32Array | None,
    answer: Detections | None,
    min_area: float,
    *,
    keep: bool,
) -> Scene:
    """Return one image; keep: its pixels, which are read each time otherwise."""
    everyone = np.zeros((0, 4), np.float32) if people is None else people
    h, w = pixels.shape[:2]
    points = None if answer is None else match_keypoints(everyone, answer.above(LABEL_CONF))
    source = pixels if keep else Unheld(path, (h, w))
    return Scene(path.name, source, everyone, area(everyone) > min_area * h * w, points, identity_of(path, pixels))
