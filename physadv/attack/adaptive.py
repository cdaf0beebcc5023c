"""The attacker who knows the defence, for `evaluate(..., adaptive=...)`: patterns trained through a defence's twin."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from physadv.attack.optimise import optimise
from physadv.attack.pattern import look_from
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.dataset import Dataset, LabelledImage
from physadv.defend import Pipeline
from physadv.errors import PatchError
from physadv.evaluate.own import FILLS, share_of_image
from physadv.evaluate.steps import Steps
from physadv.files import file_name, text_bytes
from physadv.lineage import split_record, start_record
from physadv.patch import Patch, Target, load_patch, save_patch
from physadv.settings import parse
from physadv.simulate.framing import SIZE_MM
from physadv.simulate.placement import Framing, Placement
from physadv.types import GradientDetector

# Steps that suit a pattern which is finished already: those that a random one needs would first take it apart.
REFINING = {"lr": 0.02, "spread": 1 / 48, "noise": 0.05}
# Sides that are trained, over the one that is scored: people move, and nobody measures to the millimetre.
AROUND = (0.86, 1.2)
# Characters of a defence's text in the name of a pattern that was trained through it.
LONGEST = 40


@dataclass(frozen=True, slots=True)
class ThroughDefence:
    """Trains patterns through a pipeline's twin (BPDA and EOT), by `physadv.evaluate.adaptive.AdaptiveAttack`.

    restarts: patterns of other seeds through each defence. steps: optimiser steps of each. views: of a step, of `view_px`
    pixels. folder: where each pattern is kept as soon as it is trained, by detector; one that is there already, trained
    alike (settings, people by their pixels, detector and defence by their weights), is not trained again, so that a table
    that was interrupted goes on where it stopped.
    """

    restarts: int = 3
    steps: int = 400
    views: int = 12
    view_px: int = 224
    folder: Path | None = None

    def train(
        self,
        pipeline: Pipeline,
        detector: GradientDetector,
        people: Sequence[LabelledImage],
        placement: Placement,
        *,
        restart: int,
        start: Patch | None,
        seed: int,
    ) -> Steps[Patch]:
        """Train one pattern on people that are not scored, worn as it is going to be scored."""
        images = [image for image in people if len(image.boxes)]
        known = Dataset(images)
        settings = self.settings(placement, people, seed=seed + restart, refining=start is not None)
        record = {
            "through": str(pipeline),
            "split": split_record(known.hashes(i.name for i in images), [], known.looks(i.name for i in images)),
            "start": None if start is None else start_record(start),
            "defence": pipeline.weights(),
            "detector": detector.fingerprint(),
            "people": _content(images),
        }
        name = _name(pipeline, restart)
        folder = None if self.folder is None else self.folder / detector.name.replace("/", "-")
        kept = None if folder is None else _kept(folder / f"{name}.safetensors", settings, record)
        if kept is not None:
            return kept
        begin = None if start is None else look_from(start.pixels, settings.grid)
        run = TrainRun(settings, TrainData(images, [pipeline.twin(detector)], record=record, begin=begin, name=name))
        for progress in optimise(run):
            yield progress.step / max(progress.steps, 1), f"step {progress.step}"
        patch = run.patch()
        if folder is not None:
            save_patch(patch, folder, stem=name)
        return patch

    def settings(
        self, placement: Placement, people: Sequence[LabelledImage], *, seed: int, refining: bool = False
    ) -> Recipe:
        """Return settings by which patterns are trained as they are going to be scored: as large, and at the same place.

        A print by the box trains as a poster, one by the keypoints as a chest print, cloth as its texture. People
        who mostly fill their images are trained on as before a webcam; for prints that follow the body, half of the views
        are such in any case. refining: a finished pattern is gone on from.
        """
        target: Target = placement.target
        framing: Framing = "street"
        if target != "poster":
            framing = "webcam" if share_of_image(people) > FILLS else "mixed"
        values: dict[str, Any] = {"target": target, "framing": framing, "batch": self.views, "crops": (self.view_px,)}
        values |= {"seed": seed, "steps": self.steps, "score_every": self.steps, "rule": placement.rule}
        if placement.scale is not None:
            sides = tuple(float(np.clip(placement.scale * f, 0.01, 2)) for f in AROUND)
            values |= {"scale": placement.scale, "webcam_scale": placement.scale}
            values |= {"side_street": sides, "side_webcam": sides}
            if placement.aspect != 1:
                # Its proportions alone decide anything: how large it is trained is said above.
                width, height = SIZE_MM["chest"]
                values["size_mm"] = (width * placement.aspect**0.5, height * placement.aspect**-0.5)
        if target == "poster":
            values["at"] = placement.at
        return parse(Recipe, values | (REFINING if refining else {}))


def _name(pipeline: Pipeline, restart: int) -> str:
    """Return what a pattern and its file are called: the defence's text may hold a path, or be long."""
    text = str(pipeline)
    name = file_name(text)
    if name != text or len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.sha256(text_bytes(text)).hexdigest()[:6]}"
    return f"adaptive-{name}-{restart}"


def _content(images: Sequence[LabelledImage]) -> str:
    """Return a hash of what is trained on: pixels, boxes and keypoints."""
    digest = hashlib.sha256()
    for image in images:
        for part in (image.pixels, image.boxes, image.keypoints):
            digest.update(text_bytes(f"{image.name}{part.shape}"))
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _kept(path: Path, settings: Recipe, record: dict[str, Any]) -> Patch | None:
    """Return the pattern in a file if it was trained with these settings on these people from the same beginning."""
    if not path.is_file():
        return None
    try:
        patch = load_patch(path)
    except PatchError:
        return None
    wanted = {"settings": settings.model_dump(mode="json"), **record}
    return patch if all(patch.record.get(key) == value for key, value in wanted.items()) else None
