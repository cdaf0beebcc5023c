"""Train printable patterns against person detectors (EOT): images of people in, a pattern out.

train(images, out, ...) -> Patch                  a whole run in a folder, from images on disk
attack(detector, images, boxes, ...) -> Patch     in memory, e.g. against a defence's twin
training.prepare, trained, conclude               a run in a folder, step by step
optimise.optimise(run)                            the loop itself: yields where it stands after every step
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from physadv.attack.recipe import Recipe
    from physadv.attack.settings import Preset
    from physadv.patch import Patch, Target
    from physadv.simulate.placement import Framing
    from physadv.types import Float32Array, GradientDetector, UInt8Array

__all__ = ["attack", "train"]


def train(
    images: str | Path | Sequence[str | Path] = (),
    out: str | Path = "run",
    *,
    minutes: float | None = None,
    preset: Preset = "quick",
    target: Target = "chest",
    framing: Framing = "street",
    resume: bool = False,
    **settings: Any,
) -> Patch:
    """Return a pattern trained on the people in images, and scored on people held out; all of it is kept in `out`.

    images: folders of images or videos, YOLO data sets, or videos. out: gets patch.png, patch.safetensors, run.json with
    all figures, and a checkpoint. minutes: time instead of the preset's steps. preset: quick, standard or strong. target:
    poster, chest, portrait, tshirt or outfit. framing: street, webcam or mixed. resume: go on with the run in `out`, given
    the same settings. settings: any other field of `attack.settings.TrainSettings`, as `physadv train --help` lists them
    (labels, detector, through, start, seed ...). Nothing is printed; to follow a run, use `attack.training`.

    Raises: PhysadvError of some kind, naming the field, if there is nothing to train on or a setting cannot be used.
    """
    from physadv.attack.data import read_inputs
    from physadv.attack.settings import TrainSettings
    from physadv.attack.training import conclude, finished, prepare, trained
    from physadv.settings import parse

    listed = [images] if isinstance(images, (str, Path)) else list(images)
    fields: dict[str, Any] = {"images": [str(image) for image in listed], "out": out, "preset": preset}
    fields |= {"target": target, "framing": framing, "resume": resume}
    fields |= {} if minutes is None else {"minutes": minutes}
    prepared = finished(prepare(read_inputs(parse(TrainSettings, {**fields, **settings}))))
    for _ in trained(prepared):
        pass
    return conclude(prepared).patch


def attack(
    detector: GradientDetector | Sequence[GradientDetector],
    images: Sequence[UInt8Array],
    boxes: Sequence[Float32Array],
    *,
    keypoints: Sequence[Float32Array] | None = None,
    recipe: Recipe | None = None,
    steps: int = 300,
    seed: int = 0,
    start: Patch | None = None,
    name: str = "adaptive",
) -> Patch:
    """Return a pattern trained against `detector` (a defence's twin, for an adaptive attack) on the people given.

    images: (h, w, 3) uint8 RGB each. boxes: (n, 4) float32 xyxy pixels of each image's people. keypoints: (n, 17, 3)
    each, where they are known. recipe: all else; `steps` and `seed` override its own. start: a pattern from which to go
    on, its shape kept. Nothing is held out here and nothing is written: the last average is returned, and it is the caller
    who scores it.

    Raises: TrainingError if there is no one to train on, the loss is no number, or weights change. PatchError if `start`
    does not fit the recipe's print.
    """
    import numpy as np

    from physadv.attack.optimise import optimise
    from physadv.attack.pattern import begun_from
    from physadv.attack.recipe import Recipe
    from physadv.attack.run import TrainData, TrainRun
    from physadv.attack.start import fitted
    from physadv.dataset import LabelledImage

    base = recipe or Recipe()
    chosen = base.model_copy(update={"steps": steps, "seed": seed, "starts": 1})
    points = keypoints or [np.zeros((len(b), 17, 3), np.float32) for b in boxes]
    people = [
        LabelledImage(str(i), p, b.astype(np.float32), k)
        for i, (p, b, k) in enumerate(zip(images, boxes, points, strict=True))
    ]
    detectors = [detector] if not isinstance(detector, Sequence) else list(detector)
    begin, region = (None, None) if start is None else begun_from(fitted(start, chosen), chosen.grid)
    run = TrainRun(chosen, TrainData(people, detectors, begin=begin, region=region, name=name))
    for _ in optimise(run):
        pass
    return run.patch()
