"""Which images of a data set look poisoned: by labels that a clean detector contradicts, and by features of people.

Labelled people alone are not enough: where an attack deletes labels, the poisoned people are those without one. So the
people that a clean detector finds and the labels lack are looked at as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field

from physadv.arrays import LeftOut
from physadv.boxes import area, coverage, iou
from physadv.dataset import MIN_AREA, ImageFile, labelled_images, read_images
from physadv.detect.matching import LABEL_CONF, MATCH_IOU, STRICT_IOU
from physadv.detect.pytorch import TorchDetector
from physadv.errors import DataError
from physadv.evaluate.steps import Steps
from physadv.settings import Imgsz, Settings
from physadv.tune.features import region_features
from physadv.tune.origin import read_poison
from physadv.tune.signatures import FAR, FEWEST, Clusters, activation_clusters, spectral_scores
from physadv.types import BoolArray, Detections, Detector, Float32Array, Frame, UInt8Array

# missing: a clean detector finds somebody who has no label. unseen: it sees nothing at all where a label is. clusters: the
# smaller one of activation clustering. spectral: spectral signatures.
Method = Literal["missing", "unseen", "clusters", "spectral"]
METHODS: tuple[Method, ...] = get_args(Method)
# An image is suspicious by these. What the features say stands beside it: a smaller cluster there is in any data.
VERDICT: tuple[Method, ...] = ("missing", "unseen")
# A found box that lies so far within a labelled person is a part of that person.
WITHIN_LABEL = 0.7


class InspectSettings(Settings):
    """What decides which images are suspicious, besides the data and the detectors."""

    imgsz: Imgsz | None = Field(
        default=None,
        description="long side of the input of `detector`, rounded up to a multiple of 32; unless given that of its "
        "training, 640 where that is not known",
    )
    min_area: float = Field(
        default=MIN_AREA, ge=0, lt=1, description="people below this share of the image are not looked at"
    )
    turned: bool = Field(
        default=False,
        description="the clean detector looks at each image turned by quarters, too: finds poison by rotation, "
        "and more that is none; takes four times as long",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of k-means")
    device: str = Field(default="cpu", description="cpu, cuda, mps or auto")


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The people of a data set, labelled or found. image: (n,) number of the image. boxes: (n, 4) xyxy in its pixels.

    labelled: (n,) whether there is a label; the others a clean detector finds. unseen: (n,) whether a clean detector sees
    nothing where the label is. features: (n, d).
    """

    image: np.ndarray
    boxes: Float32Array
    labelled: BoolArray
    unseen: BoolArray
    features: Float32Array

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def joined(cls, parts: Sequence[Regions]) -> Regions:
        """Return the people of several images."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Judged:
    """How well one method finds poisoned images. flagged: how many it names. None where nothing can be counted."""

    flagged: int
    precision: float | None
    recall: float | None
    false_alarms: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What was found in a data set. suspects: (n,) regions that each method names. poisoned: by image, None if unknown."""

    files: list[ImageFile]
    regions: Regions
    suspects: dict[Method, BoolArray]
    clusters: Clusters
    poisoned: BoolArray | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def contradicted(self) -> BoolArray:
        """Return (n,) people whose label, or lack of one, a clean detector contradicts."""
        return np.asarray(np.any([self.suspects[method] for method in VERDICT], axis=0))

    def images(self, method: Method | None = None) -> BoolArray:
        """Return (m,) which images a method names; without one, which are suspicious: their labels are contradicted."""
        named = self.suspects[method] if method is not None else self.contradicted
        out = np.zeros(len(self.files), bool)
        out[self.regions.image[named]] = True
        return out

    def judged(self, method: Method | None = None) -> Judged:
        """Return how well a method, or the verdict, finds the images that are known to be poisoned."""
        named = self.images(method)
        if self.poisoned is None:
            return Judged(int(named.sum()), None, None, None)
        right = int((named & self.poisoned).sum())
        bad, good = int(self.poisoned.sum()), int((~self.poisoned).sum())
        return Judged(
            int(named.sum()),
            right / int(named.sum()) if named.any() else None,
            right / bad if bad else None,
            int((named & ~self.poisoned).sum()) / good if good else None,
        )


def inspect(data: Path, detector: TorchDetector, clean: Detector, settings: InspectSettings) -> Steps[Inspection]:
    """Look for poisoned images in a labelled data set; what was found is returned.

    data: a YOLO data set, poisoned or not; where its poison.json is there, it is used to judge the result and for nothing
    else. detector: gives the features; best the one that was trained on the data. clean: finds people that labels lack.

    Raises: DataError if there is no such data set, it has no labels, or too few people.
    """
    left_out = LeftOut()
    files = labelled_images(data, None, left_out)
    if not any(file.labelled for file in files):
        raise DataError(
            f"{data}: expected a data set with labels, got images alone", hint="what nobody labelled cannot be poisoned"
        )
    read: list[ImageFile] = []
    found: list[Regions] = []
    for number, (file, pixels, boxes) in enumerate(read_images(files, left_out)):
        yield number / len(files), file.path.name
        labels = np.zeros((0, 4), np.float32) if boxes is None else boxes
        answer = _look(clean, pixels, turned=settings.turned)
        one = _regions(len(read), labels, answer, pixels.shape, settings.min_area)
        found.append(replace(one, features=region_features(detector, pixels, one.boxes)))
        read.append(file)
    if not read:
        raise DataError(
            f"{data}: none of {len(files)} images can be read; the first: {left_out.damaged[0]}", field="data"
        )
    regions = Regions.joined(found)
    if len(regions) < FEWEST:
        raise DataError(
            field="data",
            expected=f"{FEWEST} people or more, each larger than {settings.min_area:.1%} of the image",
            got=f"{len(regions)} in {len(read)} images",
            hint="lower `min_area` or give more images",
        )
    yield None, "clusters"
    clusters = activation_clusters(regions.features, seed=settings.seed)
    suspects: dict[Method, BoolArray] = {
        "missing": ~regions.labelled,
        "unseen": regions.unseen,
        "clusters": clusters.small,
        "spectral": spectral_scores(regions.features) > FAR,
    }
    return Inspection(read, regions, suspects, clusters, _poisoned(data, read), left_out)


def _look(clean: Detector, pixels: UInt8Array, *, turned: bool) -> Detections:
    """Return everybody that a clean detector finds in an image, best first, each once.

    turned: in the image turned by quarters as well; of somebody found in several views the best box is kept.
    """
    found = [clean.detect(Frame(pixels, 0, 0, 0.0))]
    if not turned:
        return found[0]
    height, width = pixels.shape[:2]
    for quarters in (1, 2, 3):
        view = clean.detect(Frame(np.ascontiguousarray(np.rot90(pixels, quarters)), 0, 0, 0.0))
        found.append(Detections(_turned_back(view.xyxy, quarters, width, height), view.score))
    boxes, scores = np.concatenate([f.xyxy for f in found]), np.concatenate([f.score for f in found])
    kept: list[int] = []
    for number in np.argsort(-scores, kind="stable").tolist():
        if iou(boxes[number : number + 1], boxes[kept]).max(initial=0) < MATCH_IOU:
            kept.append(number)
    return Detections(boxes[kept].astype(np.float32), scores[kept].astype(np.float32))


def _turned_back(boxes: Float32Array, quarters: int, width: int, height: int) -> Float32Array:
    """Return (n, 4) boxes of an image that `rot90` turned, as they lie in the image before. width, height: of that one."""
    x1, y1, x2, y2 = boxes.T
    if quarters == 1:
        return np.stack([width - y2, x1, width - y1, x2], 1)
    if quarters == 2:
        return np.stack([width - x2, height - y2, width - x1, height - y1], 1)
    return np.stack([y1, height - x2, y2, height - x1], 1)


def _regions(number: int, labels: Float32Array, answer: Detections, shape: tuple[int, ...], min_area: float) -> Regions:
    """Return the people of one image who are large enough, labelled ones first. answer: of the clean detector."""
    least = min_area * shape[0] * shape[1]
    sure = answer.above(LABEL_CONF)
    known = iou(sure.xyxy, labels).max(1, initial=0) >= MATCH_IOU
    known |= coverage(sure.xyxy, labels).max(1, initial=0) >= WITHIN_LABEL
    extra = sure.xyxy[~known & (area(sure.xyxy) > least)]
    mine = labels[area(labels) > least]
    boxes = np.concatenate([mine, extra]).astype(np.float32)
    labelled = np.arange(len(boxes)) < len(mine)
    seen = iou(boxes, answer.xyxy).max(1, initial=0) > STRICT_IOU
    return Regions(
        np.full(len(boxes), number), boxes, labelled, labelled & ~seen, np.zeros((len(boxes), 0), np.float32)
    )


def _poisoned(data: Path, files: Sequence[ImageFile]) -> BoolArray | None:
    """Return (m,) which images a data set's record says are poisoned; None without a record.

    Raises: DataError if the record is damaged, or knows none of the images.
    """
    folder = data.parent if data.is_file() else data
    record = read_poison(folder)
    if record is None:
        return None
    known: dict[Path, Any] = {(folder / i["file"]).resolve(): i.get("poisoned") for i in record["images"]}
    out = [known.get(file.path.resolve()) for file in files]
    if not any(one is not None for one in out):
        raise DataError(f"{folder}: its poison.json knows none of its images: it is that of another data set")
    return np.array([bool(one) for one in out])
