"""The people an evaluation is about: images with labels, who counts, and where their chests are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from physadv.arrays import identity_of
from physadv.dataset import NO_KEYPOINTS, Dataset, LabelledImage, labelled_images, read_images
from physadv.detect.matching import LABEL_CONF, match_keypoints
from physadv.errors import DataError
from physadv.types import Detector, Frame

# Bytes of pixels that an evaluation keeps; images beyond are read again each time, which a detector takes longer than.
HELD_BYTES = 2 * 2**30


def read_dataset(
    images: Path,
    labels: Path | None,
    *,
    min_area: float,
    labeller: Callable[[], Detector],
    keypoints: bool,
    progress: Callable[[float | None, str], None] = lambda *_: None,
) -> Dataset:
    """Return the labelled images of a folder; damaged images are left out and named.

    labeller: gives a clean pose detector, asked for only where there are no labels at all or keypoints are wanted. In a
    labelled folder an image without a label file shows nobody. progress: told the share that is read.

    Raises: DataError if a folder is missing, a label does not parse, no image can be read, or nobody is large enough.
    """
    out = Dataset([])
    files = labelled_images(images, labels, out.left_out)
    own = not any(file.labelled for file in files)
    detector = labeller() if own or keypoints else None
    held = 0
    for number, (file, pixels, boxes) in enumerate(read_images(files, out.left_out)):
        progress(number / len(files), file.path.name)
        points = NO_KEYPOINTS
        if detector is not None:
            found = detector.detect(Frame(pixels, 0, 0, 0.0)).above(LABEL_CONF)
            boxes = found.xyxy if own or boxes is None else boxes
            points = match_keypoints(boxes, found) if keypoints else points
        held += pixels.nbytes
        out.images.append(
            LabelledImage(
                file.path.name,
                pixels if held <= HELD_BYTES else file.path,
                np.zeros((0, 4), np.float32) if boxes is None else boxes,
                points,
                identity_of(file.path, pixels),
                labelled=not own,
                min_area=min_area,
                size=pixels.shape[1::-1],
            )
        )
    if not out.images:
        raise DataError(f"{images}: none of {len(files)} images can be read; the first: {out.skipped[0]}")
    if out.n_people == 0:
        raise DataError(
            f"{images}: expected people larger than {min_area:.1%} of the image, got none in {len(out.images)} images; "
            + "; ".join(["lower `min_area`, or give other images", *out.notes()])
        )
    return replace(out, own_labels=own)
