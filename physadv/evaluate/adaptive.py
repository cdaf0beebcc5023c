"""Attackers who know the defence: patterns trained through it, and checks that the attack itself was a fair one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from physadv.arrays import to_image, to_tensor
from physadv.attack.optimise import Progress as Step
from physadv.attack.optimise import optimise
from physadv.attack.pattern import look_from
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.boxes import Letterbox
from physadv.dataset import Dataset, LabelledImage
from physadv.defend import Pipeline
from physadv.detect.gradients import imgsz_for
from physadv.detect.matching import FOUND_CONF, STRICT_IOU, touched
from physadv.errors import PatchError
from physadv.evaluate import doubts
from physadv.evaluate.cell import Cell
from physadv.evaluate.own import FILLS, share_of_image
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.trial import Entry, Trial
from physadv.files import file_name, text_bytes
from physadv.lineage import split_record, start_record
from physadv.patch import Patch, Target, load_patch, save_patch
from physadv.settings import parse
from physadv.simulate.placement import Framing
from physadv.types import Detector, GradientDetector

# Trains one pattern through a defence: pipeline, number of the restart and the pattern to begin from (or None) in, pattern
# out.
Attack = Callable[[Pipeline, int, Patch | None], Patch]
# Steps that suit a pattern which is finished already: those that a random one needs would first take it apart.
REFINING = {"lr": 0.02, "spread": 1 / 48, "noise": 0.05}
# Sides that are trained, over the one that is scored: people move, and a tape measure is not exact.
AROUND = (0.86, 1.2)
# Characters of a defence's text in the name of a pattern that was trained through it.
LONGEST = 40
MARGIN = 0.02
CHECKED = 4
CHECK_STEPS = 40
CHECK_STEP = 8 / 255


@dataclass(frozen=True, slots=True)
class Budget:
    """How hard the adaptive attacker tries: restarts with other seeds, and optimiser steps of each."""

    restarts: int = 3
    steps: int = 400


def attacker(
    people: Sequence[LabelledImage],
    detector: GradientDetector,
    budget: Budget,
    settings: Recipe,
    tell: Callable[[Pipeline, int, Step], None] = lambda *_: None,
    folder: Path | None = None,
) -> Attack:
    """Return what trains patterns on `people`, none of whom is scored, through a pipeline's twin (BPDA and EOT).

    folder: where each pattern is kept as soon as it is trained; one that is there already, trained alike (settings, people
    by their pixels, detector and defence by their weights), is not trained again, so that a table that was interrupted goes
    on where it stopped.
    """
    images = [image for image in people if len(image.boxes)]
    known = {"detector": detector.fingerprint(), "people": _content(images)}
    trained_on = split_record(Dataset(images).hashes(p.name for p in images), [])

    def train(pipeline: Pipeline, restart: int, begin: Patch | None) -> Patch:
        seeded = settings.model_copy(
            update={"seed": settings.seed + restart, "steps": budget.steps, "score_every": budget.steps}
            | (REFINING if begin is not None else {})
        )
        record = {
            "through": str(pipeline),
            "split": trained_on,
            "start": None if begin is None else start_record(begin),
            "defence": pipeline.weights(),
            **known,
        }
        data = TrainData(
            images,
            [pipeline.twin(detector)],
            record=record,
            begin=None if begin is None else look_from(begin.pixels, seeded.texels),
            name=_name(pipeline, restart),
        )
        kept = None if folder is None else _kept(folder / f"{data.name}.safetensors", seeded, record)
        if kept is not None:
            return kept
        run = TrainRun(seeded, data)
        for progress in optimise(run):
            tell(pipeline, restart, progress)
        patch = run.patch()
        if folder is not None:
            save_patch(patch, folder, stem=data.name)
        return patch

    return train


def training(settings: EvaluateSettings, people: Sequence[LabelledImage], *, views: int, side: int = 224) -> Recipe:
    """Return settings by which patterns are trained as they are going to be scored: as large, and at the same place.

    A square by the box trains as a poster, one by the keypoints as a chest print, cloth as a T-shirt texture. views, side:
    of a step's views, in pixels. People who mostly fill their images are trained on as before a webcam; for prints that
    follow the body, half of the views are such in any case.
    """
    target: Target = "chest" if settings.at == "chest" else "tshirt" if settings.at == "shirt" else "poster"
    framing: Framing = "street"
    if target != "poster":
        framing = "webcam" if share_of_image(people) > FILLS else "mixed"
    sides = tuple(float(np.clip(settings.scale * f, 0.01, 2)) for f in AROUND)
    values: dict[str, Any] = {"target": target, "framing": framing, "batch": views, "crops": (side,)}
    values |= {"seed": settings.seed, "rule": settings.rule, "scale": settings.scale, "webcam_scale": settings.scale}
    values |= {"side_street": sides, "side_webcam": sides}
    values |= {"at": settings.at} if isinstance(settings.at, float) else {}
    return parse(Recipe, values, what="adaptive attack")


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
    for p in images:
        for part in (p.pixels, p.boxes, p.keypoints):
            digest.update(text_bytes(f"{p.name}{part.shape}"))
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


def score_adaptive(
    trial: Trial,
    pipelines: Sequence[Pipeline],
    attack: Attack,
    budget: Budget,
    detector: GradientDetector,
    known: Sequence[Patch] = (),
) -> list[Patch]:
    """Score each defence against patterns trained through it and through the others; return the worst of each.

    known: finished patterns, scored already. The last restart of several begins at random; those before it go on from the
    patterns that so far hurt this defence most, known ones and those trained through the defences before, so that an
    attacker who knows the defence has at least what one who does not has. The restart with the lowest AP50 is reported, its
    cell carrying every restart's. A pattern trained through another defence is scored as transferred, the worst of them
    kept. Doubts are added where the attack was not a fair test.

    Source: Athalye et al. 2018 (BPDA, EOT); Carlini et al. 2019, on evaluating adversarial robustness.
    """
    worst: dict[str, Patch] = {}
    moved: dict[str, list[Cell]] = {}
    for pipeline in pipelines:
        name = str(pipeline)
        moved[name] = [_cell(trial, patch, pipeline, "transferred") for patch in worst.values()]
        by_name = {p.name: p for p in (*known, *worst.values())}
        cells = [c for c in trial.cells if (c.defence, c.condition, c.transform) == (name, "patch", "")]
        strongest = [by_name[c.patch] for c in sorted(cells, key=_ap) if c.patch in by_name]
        begins: list[Patch | None] = [*strongest[: max(budget.restarts - 1, 1)]]
        begins += [None] * (budget.restarts - len(begins))
        tried, cells = [], []
        for restart, begin in enumerate(begins):
            tried.append(attack(pipeline, restart, begin))
            cells.append(_cell(trial, tried[-1], pipeline, "adaptive"))
        order = sorted(range(len(cells)), key=lambda i: _ap(cells[i]))
        best = cells[order[0]]
        best.extra |= {
            "restarts_ap50": [c["ap50"] for c in cells],
            "restarts_from": [None if b is None else b.name for b in begins],
            "steps": budget.steps,
        }
        for i in order[1:]:
            trial.cells.remove(cells[i])
        worst[name] = tried[order[0]]
        best.doubts += check(trial, pipeline, best, detector, budget)
        trial.tell()
    names = list(worst)
    for number, pipeline in enumerate(pipelines):
        mine = moved[str(pipeline)]
        mine += [_cell(trial, worst[name], pipeline, "transferred") for name in names[number + 1 :]]
        for cell in sorted(mine, key=_ap)[1:]:
            trial.cells.remove(cell)
        trial.tell()
    _compare(trial, pipelines, list(worst.values()))
    return list(worst.values())


def _compare(trial: Trial, pipelines: Sequence[Pipeline], patches: Sequence[Patch]) -> None:
    """Score the controls of what was reported, and add the doubts that come from them."""
    reported = [c for c in trial.cells if c.attack in ("transferred", "adaptive")]
    by_name = {p.name: p for p in patches}
    for pipeline in pipelines:
        for cell in [c for c in reported if c.defence == str(pipeline)]:
            trial.controls(by_name[cell.patch or ""], pipeline)
    doubts.compare(reported, trial.cells)


def _cell(trial: Trial, patch: Patch, pipeline: Pipeline, attack: str) -> Cell:
    return trial.score(Entry("patch", patch.name, patch, attack=attack, of=patch), pipeline)


def _ap(cell: Cell) -> float:
    value = cell["ap50"]
    return 1.0 if value is None else value


def check(trial: Trial, pipeline: Pipeline, adaptive: Cell, detector: GradientDetector, budget: Budget) -> list[str]:
    """Return doubts about an adaptive result: too few restarts, weaker than oblivious, no gradient, a masked one."""
    out = []
    if budget.restarts < 3:
        out.append(f"only {budget.restarts} restarts: the worst of three or more is wanted")
    others = [
        c["ap50"]
        for c in trial.cells
        if (c.defence, c.condition, c.transform) == (adaptive.defence, "patch", "") and c.attack != "adaptive"
    ]
    strongest = min((v for v in others if v is not None), default=None)
    if strongest is not None and adaptive["ap50"] is not None and adaptive["ap50"] > strongest + MARGIN:
        out.append(
            f"the adaptive attack (AP {adaptive['ap50']:.2f}) is weaker than one that does not know it ({strongest:.2f}): "
            "give it more steps; the true figure is at most the lower one"
        )
    twin = pipeline.twin(detector)
    chosen = [s for s in trial.data.images if s.counts.any()][:CHECKED]
    silent = sum(gradient_share(s, twin, trial.settings.imgsz) < 0.01 for s in chosen)
    if silent:
        out.append(f"zero gradients through the defence on {silent} of {len(chosen)} images: the attack saw nothing")
    left = unbounded(chosen, twin, pipeline.guard(trial.detector), trial.settings.imgsz)
    if left:
        out.append(f"an attack free to change every pixel leaves {left:.0%} of people visible: its gradients mislead")
    return out


def gradient_share(scene: LabelledImage, twin: GradientDetector, imgsz: int) -> float:
    """Return the share of pixels of an image from which the strongest logits have a gradient."""
    image = network_image(scene, imgsz, twin).requires_grad_()
    (gradient,) = torch.autograd.grad(twin.candidates(image).logit.topk(10, 1).values.sum(), image)
    return float((gradient.abs().sum(1) > 0).float().mean())


def unbounded(images: Sequence[LabelledImage], twin: GradientDetector, guarded: Detector, imgsz: int) -> float:
    """Return the share of people still touched by a box at .25 after signed steps on the whole image, no bound.

    With every pixel free any defence must fall; one that does not is holding the gradients back, not the attack.
    """
    seen = total = 0
    for scene in images:
        image = network_image(scene, imgsz, twin)
        least = len(scene.targets)
        for step in range(CHECK_STEPS):
            image.requires_grad_()
            logit = twin.candidates(image).logit
            (gradient,) = torch.autograd.grad((logit + 4).clamp_min(0).sum(), image)
            image = (image.detach() - CHECK_STEP * gradient.sign()).clamp(0, 1)
            if step % 10 == 9 or step == CHECK_STEPS - 1:
                least = min(least, _touched(scene, image, guarded, _letterbox(scene, imgsz, twin)))
                if not least:
                    break
        seen, total = seen + least, total + len(scene.targets)
    return seen / total if total else 0.0


def _touched(scene: LabelledImage, image: torch.Tensor, guarded: Detector, box: Letterbox) -> int:
    pixels = to_image(image[0])
    guarded.reset()
    answer = guarded.detect_batch([pixels])[0]
    shift = np.array([box.left, box.top] * 2, np.float32)
    people = scene.targets * np.array(box.scale * 2, np.float32) + shift
    return int(touched(people.astype(np.float32), answer, conf=FOUND_CONF, iou_above=STRICT_IOU).sum())


def network_image(scene: LabelledImage, imgsz: int, twin: GradientDetector) -> torch.Tensor:
    """Return an image as the network sees it: (1, 3, h, w) in [0, 1], letterboxed, on the twin's device."""
    return to_tensor(_letterbox(scene, imgsz, twin).apply(scene.pixels))[None].to(twin.device)


def _letterbox(scene: LabelledImage, imgsz: int, twin: GradientDetector) -> Letterbox:
    w, h = scene.size
    return Letterbox.fit(w, h, imgsz_for(imgsz, twin), stride=twin.stride)
