"""Attackers who know the defence: patterns trained through it are scored, and the attack itself is checked.

Training is left to who implements `AdaptiveAttack`: an evaluation needs no optimiser of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from physadv.arrays import to_image, to_tensor
from physadv.boxes import Letterbox
from physadv.dataset import LabelledImage
from physadv.defend import Pipeline
from physadv.detect.gradients import imgsz_for
from physadv.detect.matching import FOUND_CONF, STRICT_IOU, touched
from physadv.evaluate import doubts
from physadv.evaluate.cell import Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.scorer import Entry, Scorer
from physadv.evaluate.steps import Steps, part_of
from physadv.patch import Patch
from physadv.simulate.placement import Placement
from physadv.types import Detector, GradientDetector

MARGIN = 0.02
CHECKED = 4
CHECK_STEPS = 40
CHECK_STEP = 8 / 255
# Fewer restarts say little: the worst of three or more is wanted.
FEWEST_RESTARTS = 3


class AdaptiveAttack(Protocol):
    """Trains patterns through a defence (BPDA and EOT); `physadv.attack.adaptive.ThroughDefence` is one."""

    @property
    def restarts(self) -> int:
        """Return how many patterns are trained through each defence, of which the worst is reported."""
        ...

    @property
    def steps(self) -> int:
        """Return how many optimiser steps each takes."""
        ...

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
        """Train one pattern on people that are not scored, worn as it is going to be scored.

        start: the pattern to go on from; None for random colours. seed: with the number of the restart, of all chance.
        """
        ...


def score_adaptive(
    scorer: Scorer,
    pipelines: Sequence[Pipeline],
    attack: AdaptiveAttack,
    detector: GradientDetector,
    people: Sequence[LabelledImage],
    placement: Placement,
    known: Sequence[Patch] = (),
) -> Steps[list[Patch]]:
    """Score each defence against patterns trained through it and through the others; the worst of each are returned.

    people: those that patterns are trained on. known: finished patterns, scored already. The last restart of several begins
    at random. Those before it go on from the patterns that so far hurt this defence most, known ones and those trained
    through the defences before: an attack that knows the defence starts with at least what one that does not has. The
    restart with the lowest AP50 is reported, its cell carrying every restart's. A pattern trained through another defence
    is scored as transferred, the worst of them kept. Doubts are added where the attack was not a fair test.

    Source: Athalye et al. 2018 (BPDA, EOT); Carlini et al. 2019, on evaluating adversarial robustness.
    """
    worst: dict[str, Patch] = {}
    trained = placement.shaped(known[0]) if known else placement
    moved: dict[str, list[Cell]] = {}
    for number, pipeline in enumerate(pipelines):
        name = str(pipeline)
        moved[name] = []
        for patch in worst.values():
            moved[name].append((yield from scorer.scoring(_entry(patch, placement, "transferred"), pipeline)))
        starts = _starts(scorer, name, attack.restarts, [*known, *worst.values()])
        tried: list[Patch] = []
        cells: list[Cell] = []
        for restart, start in enumerate(starts):
            sized = pipeline.at_size(scorer.detector.imgsz)
            training = attack.train(
                sized, detector, people, trained, restart=restart, start=start, seed=scorer.settings.seed
            )
            done = number * attack.restarts + restart
            what = f"through {pipeline}, restart {restart + 1}"
            tried.append((yield from part_of(training, done, len(pipelines) * attack.restarts, what)))
            cells.append((yield from scorer.scoring(_entry(tried[-1], placement, "adaptive"), pipeline)))
        best, worst[name] = _keep_worst(scorer, cells, tried)
        best.extra |= {
            "restarts_ap50": [None if c["ap50"] is None else round(c["ap50"], 4) for c in cells],
            "restarts_from": [None if b is None else b.name for b in starts],
            "steps": attack.steps,
        }
        best.doubts += check(scorer, pipeline, best, detector, attack.restarts)
    names = list(worst)
    for number, pipeline in enumerate(pipelines):
        mine = moved[str(pipeline)]
        for name in names[number + 1 :]:
            mine.append((yield from scorer.scoring(_entry(worst[name], placement, "transferred"), pipeline)))
        for cell in sorted(mine, key=_ap)[1:]:
            scorer.cells.remove(cell)
    yield from _compare(scorer, pipelines, placement, {p.name: p for p in worst.values()})
    return list(worst.values())


def _starts(scorer: Scorer, defence: str, restarts: int, known: Sequence[Patch]) -> list[Patch | None]:
    """Return what each restart goes on from: the patterns that hurt the defence most so far, then random colours."""
    by_name = {p.name: p for p in known}
    cells = [c for c in scorer.cells if (c.defence, c.condition, c.transform) == (defence, "patch", "")]
    strongest = [by_name[c.patch] for c in sorted(cells, key=_ap) if c.patch in by_name]
    starts: list[Patch | None] = [*strongest[: max(restarts - 1, 1)]]
    return starts + [None] * (restarts - len(starts))


def _keep_worst(scorer: Scorer, cells: Sequence[Cell], tried: Sequence[Patch]) -> tuple[Cell, Patch]:
    """Return the cell and pattern of the restart with the lowest AP50; the others' cells are taken away."""
    order = sorted(range(len(cells)), key=lambda i: _ap(cells[i]))
    for i in order[1:]:
        scorer.cells.remove(cells[i])
    return cells[order[0]], tried[order[0]]


def _compare(
    scorer: Scorer, pipelines: Sequence[Pipeline], placement: Placement, patches: dict[str, Patch]
) -> Steps[None]:
    """Score the controls of what was reported, and add the doubts that come from them."""
    reported = [c for c in scorer.cells if c.attack in ("transferred", "adaptive")]
    for pipeline in pipelines:
        for cell in [c for c in reported if c.defence == str(pipeline)]:
            yield from scorer.score_controls(patches[cell.patch or ""], placement, pipeline)
    doubts.compare(reported, scorer.cells)


def _entry(patch: Patch, placement: Placement, attack: str) -> Entry:
    return Entry("patch", patch.name, patch, placement, attack=attack, of=patch)


def _ap(cell: Cell) -> float:
    value = cell["ap50"]
    return 1.0 if value is None else value


def check(scorer: Scorer, pipeline: Pipeline, adaptive: Cell, detector: GradientDetector, restarts: int) -> list[Doubt]:
    """Return doubts about an adaptive result: too few restarts, weaker than oblivious, no gradient, a masked one."""
    out = []
    if restarts < FEWEST_RESTARTS:
        out.append(Doubt("few-restarts", f"only {restarts} restarts: the worst of three or more is wanted"))
    others = [
        c["ap50"]
        for c in scorer.cells
        if (c.defence, c.condition, c.transform) == (adaptive.defence, "patch", "") and c.attack != "adaptive"
    ]
    strongest = min((v for v in others if v is not None), default=None)
    own = adaptive["ap50"]
    if strongest is not None and own is not None and own > strongest + MARGIN:
        text = (
            f"the adaptive attack (AP {own:.2f}) is weaker than one that does not know it ({strongest:.2f}): "
            "give it more steps; the true figure is at most the lower one"
        )
        out.append(Doubt("weak-adaptive-attack", text))
    imgsz = scorer.detector.imgsz
    twin = pipeline.at_size(imgsz).twin(detector)
    chosen = [image for image in scorer.data.images if image.counts.any()][:CHECKED]
    silent = sum(gradient_share(image, twin, imgsz) < 0.01 for image in chosen)
    if silent:
        text = f"zero gradients through the defence on {silent} of {len(chosen)} images: the attack saw nothing"
        out.append(Doubt("zero-gradients", text))
    left = unbounded(chosen, twin, pipeline.guard(scorer.detector), imgsz)
    if left:
        text = f"an attack free to change every pixel leaves {left:.0%} of people visible: its gradients mislead"
        out.append(Doubt("masked-gradients", text))
    return out


def gradient_share(image: LabelledImage, twin: GradientDetector, imgsz: int) -> float:
    """Return the share of pixels of an image from which the strongest logits have a gradient."""
    pixels = network_input(image, imgsz, twin).requires_grad_()
    (gradient,) = torch.autograd.grad(twin.candidates(pixels).logit.topk(10, 1).values.sum(), pixels)
    return float((gradient.abs().sum(1) > 0).float().mean())


def unbounded(images: Sequence[LabelledImage], twin: GradientDetector, guarded: Detector, imgsz: int) -> float:
    """Return the share of people still touched by a box at .25 after signed steps on the whole image, no bound.

    With every pixel free any defence must fall; one that does not is holding the gradients back, not the attack.
    """
    seen = total = 0
    for image in images:
        pixels = network_input(image, imgsz, twin)
        least = len(image.targets)
        for step in range(CHECK_STEPS):
            pixels.requires_grad_()
            logit = twin.candidates(pixels).logit
            (gradient,) = torch.autograd.grad((logit + 4).clamp_min(0).sum(), pixels)
            pixels = (pixels.detach() - CHECK_STEP * gradient.sign()).clamp(0, 1)
            if step % 10 == 9 or step == CHECK_STEPS - 1:
                least = min(least, _touched(image, pixels, guarded, _letterbox(image, imgsz, twin)))
                if not least:
                    break
        seen, total = seen + least, total + len(image.targets)
    return seen / total if total else 0.0


def _touched(image: LabelledImage, pixels: torch.Tensor, guarded: Detector, box: Letterbox) -> int:
    guarded.reset()
    answer = guarded.detect_batch([to_image(pixels[0])])[0]
    shift = np.array([box.left, box.top] * 2, np.float32)
    people = image.targets * np.array(box.scale * 2, np.float32) + shift
    return int(touched(people.astype(np.float32), answer, conf=FOUND_CONF, iou_above=STRICT_IOU).sum())


def network_input(image: LabelledImage, imgsz: int, twin: GradientDetector) -> torch.Tensor:
    """Return an image as the network sees it: (1, 3, h, w) in [0, 1], letterboxed, on the twin's device."""
    return to_tensor(_letterbox(image, imgsz, twin).apply(image.pixels))[None].to(twin.device)


def _letterbox(image: LabelledImage, imgsz: int, twin: GradientDetector) -> Letterbox:
    width, height = image.size
    return Letterbox.fit(width, height, imgsz_for(imgsz, twin), stride=twin.stride)
