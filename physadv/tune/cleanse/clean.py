"""The clean images that a detector is cleansed with: a part to train on and a part on which every choice is made."""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from physadv.dataset import Dataset, LabelledImage
from physadv.detect.matching import AP_CONF, FOUND_CONF, MATCH_IOU, found
from physadv.detect.pytorch import TorchDetector
from physadv.detect.weights import DEFAULT_DETECTOR, Weights, find_weights
from physadv.detect.yolo import person_net
from physadv.errors import DataError, naming
from physadv.evaluate.images import Labeller, gather, labelling, labels_cache
from physadv.evaluate.metrics import ap50
from physadv.tune.cleanse.settings import CleanseSettings
from physadv.tune.origin import origin_of
from physadv.types import Frame

# Fewer say too little: on 4 images one person more or less moves AP50 by more than a tolerance.
FEW, FEWEST = 5, 12
# Of the images that a detector was not trained on, the share that is held out at most.
MOST_OF_FRESH = 0.8


@dataclass(frozen=True, slots=True)
class CleanImages:
    """Clean images with people, in two parts; thresholds are chosen on the held-out part and on nothing else.

    labelled_by: the detector that found the people, or None where labels were given.
    """

    training: list[LabelledImage]
    held_out: list[LabelledImage]
    labelled_by: str | None

    @classmethod
    def split(
        cls, data: Dataset, *, held_out: float, seed: int, labelled_by: str, seen: Container[str] = ()
    ) -> CleanImages:
        """Return the images of a data set that show people who count in two parts, by `Dataset.split`.

        held_out: share of the images. labelled_by: the detector that was asked about images without labels. seen: hashes of
        the pixels of images that the detector was trained on. Where enough others are there, these alone are held out: in
        what it knows by heart a detector finds everybody (recall 1.0 in place of .88), and every change is a loss.

        Raises: DataError if there are fewer than `FEWEST` such images, or all of one stretch of time.
        """
        useful = [image for image in data.images if image.counts.any()]
        if len(useful) < FEWEST:
            raise DataError(
                field="images",
                expected=f"{FEWEST} clean images or more with people",
                got=f"{len(useful)} of {len(data.images) + len(data.empty)}",
                hint="give more images, 40 to 60 are a good number",
            )
        known, fresh = ([image for image in useful if (image.sha256 in seen) == is_seen] for is_seen in (True, False))
        if len(fresh) < FEW:
            known, fresh = [], useful
        share = min(held_out * len(useful) / len(fresh), max(held_out, MOST_OF_FRESH))
        with naming("images"):
            training, kept = replace(data, images=fresh).split(share, seed)
        return cls(known + training, kept, None if all(image.labelled for image in useful) else labelled_by)

    def record(self) -> dict[str, object]:
        """Return what a run remembers: how many images and people are in each part, and where labels come from."""
        return {
            "training_images": len(self.training),
            "held_out_images": len(self.held_out),
            "held_out_people": sum(int(image.counts.sum()) for image in self.held_out),
            "held_out": sorted({image.name for image in self.held_out}),
            "labelled_by": self.labelled_by,
        }

    def sources(self) -> set[str]:
        """Return the hashes of the pixels of all of them; frames of videos have none."""
        return {image.sha256 for image in (*self.training, *self.held_out)} - {""}


def labeller_of(settings: CleanseSettings) -> str:
    """Return the detector that labels images without labels: the clean parent of the one to be cleansed, if it is here.

    The detector itself is never asked, nor a parent that was poisoned: people that they hide would have no label.

    Raises: WeightsError if there is no such detector. DataError if a run's trigger cannot be read.
    """
    if settings.labeller is None:
        parent = origin_of(settings.detector).parent
        return parent if parent is not None and origin_of(parent).attack == "none" else DEFAULT_DETECTOR
    find_weights(settings.labeller)
    return settings.labeller


def clean_images(settings: CleanseSettings, labeller: str) -> Generator[str, None, CleanImages]:
    """Return the clean images; yield lines to be shown. labeller: finds the people where there are no labels.

    Raises: DataError if they cannot be used.
    """
    asked = Labeller(lambda: labelling(labeller), labels_cache(labeller))
    with naming("images"):
        data = yield from gather([settings.images], settings.labels, asked)
    seen = origin_of(settings.detector).sources
    clean = CleanImages.split(data, held_out=settings.held_out, seed=settings.seed, labelled_by=labeller, seen=seen)
    if clean.labelled_by is not None:
        yield f"people in images without labels are those that {labeller} finds"
    yield f"{len(clean.training)} images to train on, {len(clean.held_out)} on which choices are made"
    if len(clean.held_out) < FEW:
        yield f"doubt: choices by so few images are chance: raise `held_out` ({settings.held_out:g}) or give more images"
    known = sum(image.sha256 in seen for image in clean.held_out)
    if known:
        yield f"doubt: the detector was trained on {known} of them: they make a cleansing look dearer than it is"
    return clean


@dataclass(frozen=True, slots=True)
class CleanFigures:
    """What a detector finds in clean images: AP50, and recall at IoU .5 of boxes with a score of .25 or more.

    AP50 looks at the order of scores alone: pruning took it from .93 to .88 while the scores fell so far that only .28 of
    the people instead of .77 were found.
    """

    ap50: float
    recall25: float

    def keeps(self, before: CleanFigures, tolerance: float) -> bool:
        """Return whether neither figure has fallen by more than a tolerance."""
        return self.ap50 >= before.ap50 - tolerance and self.recall25 >= before.recall25 - tolerance

    def chance(self, people: int) -> float:
        """Return the standard error of the recall among so many people: a fall by less than that may be none.

        On 20 people clean AP50 fell by .118 where it fell by .027 on 84 others.
        """
        return math.sqrt(self.recall25 * (1 - self.recall25) / max(people, 1))

    def record(self) -> dict[str, float]:
        """Return the figures as a run remembers them."""
        return {"clean_ap50": round(self.ap50, 4), "clean_recall25": round(self.recall25, 4)}


def clean_figures(network: nn.Module, images: Sequence[LabelledImage], *, imgsz: int) -> CleanFigures:
    """Return what an Ultralytics network finds in images; the network is left as it is."""
    detector = TorchDetector(
        # Fused, a third faster; a copy, as what is trained needs its normalisations.
        person_net(copy.deepcopy(network), name="candidate"),
        Weights("candidate", Path(), ""),
        imgsz=imgsz,
        min_conf=AP_CONF,
    )
    answers = [detector.detect(Frame(image.pixels, 0, 0, 0.0)) for image in images]
    seen = [
        found(image.boxes, answer, conf=FOUND_CONF, iou_at_least=MATCH_IOU)[image.counts]
        for image, answer in zip(images, answers, strict=True)
    ]
    return CleanFigures(ap50(images, answers) or 0.0, float(np.concatenate(seen).mean()))
