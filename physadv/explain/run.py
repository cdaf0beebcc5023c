"""One image explained: the same people bare, in a grey print, in the pattern and behind a defence."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import cv2
import numpy as np

from physadv.boxes import area
from physadv.controls import control
from physadv.dataset import LabelledImage
from physadv.defend import Pipeline
from physadv.defend.geometry import Affine, boxes_through, compose, inverse, shift
from physadv.detect.matching import FOUND_CONF
from physadv.detect.pytorch import TorchDetector
from physadv.detect.yolo import PersonNet
from physadv.errors import DataError
from physadv.explain.cells import CellGrid
from physadv.explain.channels import LayerView, layer_view
from physadv.explain.evidence import Evidence, evidence
from physadv.explain.faithful import auc, curves, ranked
from physadv.explain.occlusion import occlusion_map, passes
from physadv.explain.odam import Odam, eigen_map
from physadv.explain.outline import ChangedView, UnderChange, changed_views, texture_or_outline
from physadv.explain.random_weights import WeightsCheck, closeness, kept_by_random_weights
from physadv.explain.score import logit, person_scores
from physadv.explain.settings import ExplainSettings
from physadv.patch import Patch
from physadv.simulate.placement import Placement, Prints, people_of
from physadv.simulate.render import render
from physadv.types import Detections, Detector, Float32Array, Frame, UInt8Array

# Seconds that one occlusion map may take behind a defence: certificates look a hundred times at each image.
LONGEST_S = 60.0
# Each map of an image is as large as it; the networks see fewer pixels of it.
LONG_SIDE = 1280
# Of a folder: more take minutes.
MOST_IMAGES = 40
# Orders of cells by chance that deletion is compared with.
RANDOM = 2
Kind = Literal["clean", "grey", "pattern", "defended"]
OCCLUSION, ODAM, EIGEN, PLACE, CHANCE = "occlusion", "odam", "eigen-cam", "box centre", "random"


@dataclass(frozen=True, slots=True, eq=False)
class Worn:
    """What people wear in the columns of a sheet. prints: of everybody, where patch and its control lie."""

    patch: Patch
    prints: Prints

    @classmethod
    def on(cls, people: LabelledImage, patch: Patch, placement: Placement, rng: np.random.Generator) -> Worn:
        """Return the prints of a pattern on everybody in an image who is large enough, worn as the placement says.

        Raises: DataError if nobody is.
        """
        prints = placement.shaped(patch).prints(_wearers(people), rng, image=people.size)
        if not len(prints):
            raise DataError("the print has no place on anybody here", hint="give an image with larger people")
        return cls(patch, prints)

    def drawn(self, image: UInt8Array, *, grey: bool, seed: int) -> UInt8Array:
        """Return the image (h, w, 3) with the pattern on everybody, or its grey control."""
        patch = control(self.patch, "grey", np.random.default_rng(seed)) if grey else self.patch
        return render(image, patch, self.prints)


@dataclass(slots=True, eq=False)
class PersonMaps:
    """One person in one column. occlusion, odam: (h, w), None where there is none, which `notes` explains."""

    score: float
    occlusion: Float32Array | None = None
    odam: Float32Array | None = None
    odam_logit: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class SheetColumn:
    """One way in which the image is looked at. found: everybody at .25; people: one for each who is explained."""

    kind: Kind
    title: str
    image: UInt8Array
    detector: Detector
    found: Detections
    people: list[PersonMaps] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MapCheck:
    """How true a map is of one person. kept: None for what has no weights, or is asked of the detector itself."""

    deletion: float
    insertion: float
    kept: WeightsCheck | None = None


@dataclass(slots=True, eq=False)
class Explanation:
    """Everything that is found of one image. boxes: (n, 4) of the people explained, the largest first."""

    boxes: Float32Array
    columns: list[SheetColumn] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    checks: list[dict[str, MapCheck]] = field(default_factory=list)
    eigen: Float32Array | None = None
    outline: list[UnderChange] = field(default_factory=list)
    changed: list[ChangedView] = field(default_factory=list)
    layer: LayerView | None = None
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the figures as plain values for results.json."""
        return {
            "people": [
                {
                    "box": [round(v, 1) for v in box],
                    "columns": {c.kind: _plain_maps(c.people[n]) for c in self.columns},
                    "evidence": _plain_evidence(self.evidence[n]) if self.evidence else None,
                    "checks": {name: _plain_check(one) for name, one in self.checks[n].items()}
                    if self.checks
                    else None,
                }
                for n, box in enumerate(self.boxes.tolist())
            ],
            "texture_or_outline": [
                {"change": one.change, "recall25": one.recall, "people": len(one.scores), "images": one.images}
                for one in self.outline
            ],
            "layer": None if self.layer is None else self.layer.plain(),
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Explainer:
    """Explains images by one detector. answers: what is asked, of any backend; kind of detector, or plug-in.

    torch: the same YOLO with its layers and their gradients; None for what has none, of which occlusion alone is shown.
    """

    answers: Detector
    torch: TorchDetector | None
    settings: ExplainSettings

    def explain(
        self, image: UInt8Array, worn: Worn | None = None, pipeline: Pipeline | None = None
    ) -> Generator[tuple[float, str], None, Explanation]:
        """Yield the share of the work that is done and what is done now; the explanation of (h, w, 3) RGB is returned.

        Raises: DataError if the detector finds nobody in the image, or the pattern would lie outside it.
        """
        out = Explanation(self._chosen(image))
        out.columns = self._columns(image, worn, pipeline, out.notes)
        total = (len(out.columns) + self.settings.check) * len(out.boxes)
        done = 0
        for column in out.columns:
            for number, box in enumerate(out.boxes):
                yield done / total, f"person {number + 1}, {column.title}"
                column.people.append(self._maps(column, box))
                done += 1
        odam = self._odam()
        if odam is None:
            out.notes.append(f"{self.answers.name} gives no gradients of its layers: occlusion alone explains it")
        else:
            out.eigen = _eigen(odam, image)
            if worn is not None:
                pixels = {column.kind: column.image for column in out.columns}
                out.evidence = evidence(odam, pixels["grey"], pixels["pattern"], out.boxes, worn.prints)
        for number, box in enumerate(out.boxes if self.settings.check else ()):
            yield done / total, f"person {number + 1}, checks"
            out.checks.append(self._checks(image, box, out.columns[0].people[number]))
            done += 1
        return out

    def compare(
        self, explained: Explanation, people: LabelledImage, others: Sequence[LabelledImage]
    ) -> Generator[tuple[float, str], None, None]:
        """Add to an explanation what needs other images: texture against outline, and the layer that is asked for.

        people: the image that is explained with everybody in it. others: further photographs; none for that image alone.
        """
        image, box, seed = people.pixels, explained.boxes[0], self.settings.seed
        data = [(one.pixels, _wearers(one)) for one in others or [people]]
        explained.outline = yield from texture_or_outline(self.answers, data, seed=seed)
        explained.changed = changed_views(self.answers, self._odam(), image, _wearers(people), box, seed=seed)
        if self.settings.layer is not None and self.torch is not None:
            pixels = [shrunk(one.pixels) for one in others]
            net, imgsz = self.torch.net, self.torch.imgsz
            explained.layer = yield from layer_view(net, self.settings.layer, image, box, pixels, imgsz=imgsz)

    def _odam(self) -> Odam | None:
        return None if self.torch is None else Odam.of(self.torch)

    def _chosen(self, image: UInt8Array) -> Float32Array:
        """Return (n, 4) boxes of the people to explain, the largest first."""
        found = self.answers.detect(Frame(image, 0, 0, 0.0)).above(FOUND_CONF)
        if not len(found):
            raise DataError(
                f"{self.answers.name} finds nobody in this image at confidence {FOUND_CONF:g}, so there is no score to "
                "explain",
                hint="give an image with people, or another `detector`",
            )
        return found.xyxy[np.argsort(-area(found.xyxy), kind="stable")[: self.settings.people]]

    def _columns(
        self, image: UInt8Array, worn: Worn | None, pipeline: Pipeline | None, notes: list[str]
    ) -> list[SheetColumn]:
        looked: list[tuple[Kind, str, UInt8Array, Detector]] = [("clean", "clean", image, self.answers)]
        if worn is not None:
            seed = self.settings.seed
            grey = worn.drawn(image, grey=True, seed=seed)
            if np.array_equal(grey, image):
                raise DataError(
                    f"{worn.patch.name} would lie outside the image: where it is worn, nobody is seen",
                    hint="give an image that shows more of the people",
                )
            looked.append(("grey", "grey print", grey, self.answers))
            looked.append(("pattern", worn.patch.name, worn.drawn(image, grey=False, seed=seed), self.answers))
        if pipeline is not None and pipeline.defences:
            guarded = pipeline.guard(self.answers)
            looked.append(("defended", f"defended: {pipeline}", looked[-1][2], guarded))
            if pipeline.over_time:
                notes.append(
                    f"{', '.join(pipeline.over_time)} needs a sequence of frames: of one image it does nothing"
                )
            if not guarded.deterministic:
                notes.append(f"{pipeline} draws at random: the defended maps hold its noise")
        out = []
        for kind, title, pixels, detector in looked:
            detector.reset()
            out.append(SheetColumn(kind, title, pixels, detector, detector.detect(Frame(pixels, 0, 0, 0.0))))
        return out

    def _maps(self, column: SheetColumn, box: Float32Array) -> PersonMaps:
        column.detector.reset()
        start = perf_counter()
        out = PersonMaps(float(person_scores(column.detector, [column.image], box)[0]))
        takes_s = (perf_counter() - start) * passes(column.image, box)
        if takes_s > LONGEST_S:
            out.notes.append(f"no occlusion map: {column.title} would take {takes_s:.0f} s for it")
        else:
            out.occlusion = occlusion_map(column.detector, column.image, box)
        odam = self._odam()
        if odam is None:
            return out
        seen, forward = _seen(column)
        found = odam.attribute(seen, box[None] if forward is None else boxes_through(forward, box[None]))[0]
        if found is None:
            out.notes.append("no proposal of the network fits this person any more")
        else:
            out.odam_logit = found.logit
            out.odam = _back(odam.summed(found, seen), forward, column.image)
        return out

    def _checks(self, image: UInt8Array, box: Float32Array, clean: PersonMaps) -> dict[str, MapCheck]:
        """Return what deletion, insertion and random weights say of each map of one person on the clean image."""
        region = CellGrid.around(box, (image.shape[1], image.shape[0]))
        heats = {} if clean.occlusion is None else {OCCLUSION: clean.occlusion}
        heats[PLACE] = closeness(image.shape, box)
        kept: dict[str, WeightsCheck] = {}
        for name, make in _of_networks(self._odam(), image, box).items():
            assert self.torch is not None, "there is a map of the network where there is one"
            heats[name] = make(self.torch.net)
            kept[name] = kept_by_random_weights(self.torch.net, make, region, box)
        rng = np.random.default_rng(self.settings.seed)
        orders = [ranked(region, heat) for heat in heats.values()]
        orders += [rng.permutation(region.cells) for _ in range(RANDOM)]
        both = curves(self.answers, image, box, region, orders)
        areas = [(auc(gone, clean.score), auc(back, clean.score)) for gone, back in both]
        out = {name: MapCheck(*one, kept.get(name)) for name, one in zip(heats, areas, strict=False)}
        chance = np.mean(areas[len(heats) :], 0).tolist()
        return out | {CHANCE: MapCheck(*chance)}


def _wearers(people: LabelledImage) -> Detections:
    """Return the people of an image who count, as evaluations dress them."""
    return people_of(people.targets, people.keypoints[people.counts])


def shrunk(image: UInt8Array) -> UInt8Array:
    """Return an image (h, w, 3) whose longer side is no more than `LONG_SIDE`."""
    scale = LONG_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _of_networks(
    odam: Odam | None, image: UInt8Array, box: Float32Array
) -> dict[str, Callable[[PersonNet], Float32Array]]:
    """Return what makes each map (h, w) of a person by a network: the trained one, or one with random weights."""
    if odam is None:
        return {}
    imgsz = odam.imgsz
    out: dict[str, Callable[[PersonNet], Float32Array]] = {EIGEN: lambda net: _eigen(Odam(net, imgsz=imgsz), image)}
    found = odam.attribute(image, box[None])[0]
    if found is not None:
        number = found.candidate

        def by(net: PersonNet) -> Float32Array:
            other = Odam(net, imgsz=imgsz)
            # The same proposal: with random weights none fits the person.
            again = other.attribute(image, box[None], candidates=[number])[0]
            return np.zeros(image.shape[:2], np.float32) if again is None else other.summed(again, image)

        out[ODAM] = by
    return out


def _eigen(odam: Odam, image: UInt8Array) -> Float32Array:
    """Return (h, w): the first principal components of P3, P4 and P5, each at its largest 1, added."""
    out = np.zeros(image.shape[:2], np.float32)
    for level in odam.features(image):
        heat = eigen_map(level)
        out += odam.on_image(heat / max(float(heat.max()), 1e-12), image)
    return out


def _seen(column: SheetColumn) -> tuple[UInt8Array, Affine | None]:
    """Return the image that the network itself was given, and the affine to its pixels; None where they are the same."""
    if column.found.seen is None:
        return column.image, None
    return column.found.seen, column.found.to_seen


def _back(heat: Float32Array, forward: Affine | None, image: UInt8Array) -> Float32Array:
    """Return a map (h, w) of what a defence gave to the network as one of the (h, w, 3) image itself."""
    if forward is None:
        return heat
    # OpenCV counts pixel centres, half a pixel from the edges that boxes count.
    undo = compose(shift(-0.5, -0.5), compose(inverse(forward), shift(0.5, 0.5)))
    return np.asarray(cv2.warpAffine(heat, undo, image.shape[1::-1], flags=cv2.INTER_LINEAR), np.float32)


def _plain_maps(one: PersonMaps) -> dict[str, Any]:
    return {
        "score": round(one.score, 4),
        "logit": round(float(logit(np.array([one.score], np.float32))[0]), 3),
        "notes": one.notes,
    }


def _plain_evidence(one: Evidence) -> dict[str, Any]:
    shares = {"removed_from_body": one.from_body, "removed_at_print": one.at_print, "negative_at_print": one.negative}
    return {
        **{name: None if value is None else round(value, 3) for name, value in shares.items()},
        "logits": {name: round(getattr(one, name), 3) for name in one.__slots__},
    }


def _plain_check(one: MapCheck) -> dict[str, Any]:
    out: dict[str, Any] = {"deletion_auc": round(one.deletion, 4), "insertion_auc": round(one.insertion, 4)}
    if one.kept is not None:
        kept = one.kept
        out["random_weights"] = {
            "head": round(kept.head, 3),
            "half": round(kept.half, 3),
            "all": round(kept.all, 3),
            "place": round(kept.place, 3),
            "refused": kept.refused,
        }
    return out
