"""One step: the pattern through the simulated world onto people, the detectors' logits, gradients, a step down."""

from __future__ import annotations

from functools import partial
from itertools import chain, pairwise

import torch

from physadv.attack.chance import noise_of
from physadv.attack.crops import Scene, Views
from physadv.attack.descent import descend
from physadv.attack.losses import missize, vanish
from physadv.attack.pattern import Pattern
from physadv.attack.priors import curvature, likeness, non_printability, total_variation
from physadv.attack.ranks import Ranks
from physadv.attack.settings import TrainSettings
from physadv.attack.state import State
from physadv.attack.task import Task
from physadv.attack.trace import culprit
from physadv.errors import TrainingError
from physadv.simulate.ink import default_palette
from physadv.simulate.world import WorldDraw
from physadv.types import GradientDetector

# Share of a view from which on a person counts as filling it.
FILLS = 0.35


def step(task: Task, views: Views, pattern: Pattern, state: State, ranks: Ranks) -> float:
    """Take one optimiser step and return the loss before it.

    Raises: TrainingError if the loss or its gradient is no number.
    """
    s = task.settings
    parts = s.accumulate if s.accumulate % ranks.world == 0 else s.accumulate * ranks.world
    # Which detector is hardest is known once all people were looked at: until then each keeps a gradient of its own.
    sets = len(task.detectors) if s.mix == "max" else 1
    gradients = [[torch.zeros_like(v) for v in state.levels] for _ in range(sets)]
    pulls = [torch.zeros_like(v) for v in state.levels]
    people = torch.zeros((), device=task.device)
    each = torch.zeros(len(task.detectors), device=task.device)
    for part in ranks.shards(parts):
        if not task.chance.count(state.step, part, parts):
            continue
        seen, by_detector, slopes = _attack(task, views, pattern, state, part, parts)
        people += seen
        each += by_detector
        for gradient, slope in zip(chain(*gradients), chain(*slopes), strict=True):
            gradient.add_(slope)
    if ranks.rank == 0:
        prior = _priors(task, pattern)
        if prior.requires_grad:
            pulls = list(torch.autograd.grad(prior, state.levels))
    ranks.sum([*chain(*gradients), *pulls, each, people])
    # The mean is over all people, whoever looked at them; the priors are asked once.
    people.clamp_(min=1)
    each = each / people
    total = _mixed(s, each, state)
    hardest = gradients[int(each.argmax()) if sets > 1 else 0]
    downhill = [gradient / people + pull for gradient, pull in zip(hardest, pulls, strict=True)]
    if not bool(torch.isfinite(total)) or not all(bool(torch.isfinite(g).all()) for g in downhill):
        raise TrainingError(_diagnosis(task, views, pattern, state, parts))
    descend(s, state, downhill)
    pattern.project()
    with torch.no_grad():
        decay = min(s.ema, (1 + state.age) / (10 + state.age))
        for mean, level in zip(state.mean, state.levels, strict=True):
            mean.lerp_(level, 1 - decay)
    if s.mix == "minmax":
        # The detector that still sees people gains weight: exponentiated gradient on the simplex.
        state.mixing = (state.mixing + 0.05 * each.cpu()).sub(torch.logsumexp(state.mixing + 0.05 * each.cpu(), 0))
    return float(total)


def _attack(
    task: Task, views: Views, pattern: Pattern, state: State, part: int, parts: int
) -> tuple[int, torch.Tensor, list[list[torch.Tensor]]]:
    """Return the number of people in one part of a batch, and sums over them: each detector's loss, and gradients.

    There is one set of gradients, of the mixed loss; or where the hardest detector counts alone one for each detector.
    """
    scene, draw = drawn(task, views, pattern, state, part, parts)
    # What a twin draws depends on the step and the part alone, so that a resumed run draws what the whole one did.
    for number, detector in enumerate(task.detectors):
        detector.reseed((task.settings.seed, state.step, part, number))
    noise = noise_of(task.settings, pattern, state.step, part)

    def one(piece: tuple[Scene, WorldDraw]) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
        scene, draw = piece
        images = task.settings.world.apply(pattern.rgba() + noise, scene.images, scene.prints, draw)
        losses = torch.stack([_loss(task.settings, d, images, scene).sum() for d in task.detectors])
        lowered = losses if task.settings.mix == "max" else _mixed(task.settings, losses, state)[None]
        if not lowered.requires_grad:
            return losses.detach(), [[torch.zeros_like(v) for v in state.levels] for _ in lowered]
        last = len(lowered) - 1
        slopes = [list(torch.autograd.grad(v, state.levels, retain_graph=i < last)) for i, v in enumerate(lowered)]
        return losses.detach(), slopes

    answers = task.crew.map(one, _pieces(scene, draw, task.crew.size))
    losses = torch.stack([losses for losses, _ in answers]).sum(0)
    slopes = [
        [torch.stack(level).sum(0) for level in zip(*by_piece, strict=True)]
        for by_piece in zip(*(s for _, s in answers), strict=True)
    ]
    return len(scene.boxes), losses, slopes


def _pieces(scene: Scene, draw: WorldDraw, count: int) -> list[tuple[Scene, WorldDraw]]:
    """Return a batch and its draw in up to `count` pieces of as many images each."""
    images = len(scene.images)
    count = min(count, images)
    if count == 1:
        return [(scene, draw)]
    ends = [round(i * images / count) for i in range(count + 1)]
    out = []
    for low, high in pairwise(ends):
        prints = ((scene.prints.owner >= low) & (scene.prints.owner < high)).nonzero().squeeze(1)
        out.append((scene.piece(low, high, prints), draw.piece(prints, torch.arange(low, high, device=prints.device))))
    return out


def _mixed(s: TrainSettings, losses: torch.Tensor, state: State) -> torch.Tensor:
    """Return the detectors' losses (d, ...) as one (...)."""
    if len(losses) == 1:
        return losses[0]
    if s.mix == "max":
        return losses.max(0).values
    weight = state.mixing.softmax(0) if s.mix == "minmax" else torch.full((len(losses),), 1 / len(losses))
    return torch.tensordot(weight.to(losses), losses, 1)


def drawn(task: Task, views: Views, pattern: Pattern, state: State, part: int, parts: int) -> tuple[Scene, WorldDraw]:
    """Return the views and the world of one part of a step."""
    s = task.settings
    scene, draws = task.chance.of(views, state.step, part, parts)
    if len(draws) == 1 or len(scene.prints) == 0:
        return scene, draws[0]

    def harm(images: torch.Tensor) -> torch.Tensor:
        """Return (n,) how far each person is from being hidden."""
        losses = []
        for number, detector in enumerate(task.detectors):
            # All draws are looked at through the same chance of a defence's twin: it is them that are compared.
            detector.reseed((s.seed, state.step, part, number))
            losses.append(_loss(s, detector, images, scene))
        return _mixed(s, torch.stack(losses), state)

    with torch.no_grad():
        rgba = pattern.rgba()
        hurt = []
        for draw in draws:
            images = s.world.apply(rgba, scene.images, scene.prints, draw)
            hurt.append(torch.zeros(len(images), device=task.device).index_add(0, scene.owner, harm(images)))
    return scene, WorldDraw.mix(draws, torch.stack(hurt).argmax(0), scene.prints.owner)


def _loss(s: TrainSettings, detector: GradientDetector, images: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Return (n,) losses of the people in a scene."""
    candidates = detector.candidates(images)
    if s.goal == "missize":
        return missize(candidates, scene.owner, scene.boxes)
    share = (scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(1) / (images.shape[-2] * images.shape[-1])
    alone = None if s.framing == "street" else share > FILLS
    return vanish(candidates, scene.owner, scene.boxes, margin=s.margin, alone=alone)


def _priors(task: Task, pattern: Pattern) -> torch.Tensor:
    s, tiles = task.settings, pattern.tiles
    colours = pattern.colours()
    out = torch.zeros((), device=colours.device)
    if s.tv:
        out = out + s.tv * total_variation(colours, tiles=tiles)
    if s.smooth:
        out = out + s.smooth * curvature(colours, tiles=tiles)
    if s.nps:
        printable = task.printable if task.printable is not None else default_palette()
        out = out + s.nps * non_printability(colours, printable.to(colours))
    if s.look_weight and task.look is not None:
        out = out + s.look_weight * likeness(colours, task.look.to(colours), pattern.mask)
    return out


def _diagnosis(task: Task, views: Views, pattern: Pattern, state: State, parts: int) -> str:
    s = task.settings
    found = "the priors"
    for part in range(min(parts, s.views(state.step)[0])):
        scene, draw = drawn(task, views, pattern, state, part, parts)
        name = culprit(s.world, pattern.rgba(), scene, draw, partial(_both, task, scene))
        if name is not None:
            found = name
            break
    return (
        f"step {state.step + 1}: the loss or its gradient is no number; first at {found}. The last good "
        "pattern and checkpoint are kept. With the same settings it would fail again: go on from the "
        "pattern with `start` and that part's strength or `lr` lowered, in another `out`"
    )


def _both(task: Task, scene: Scene, images: torch.Tensor) -> torch.Tensor:
    return torch.stack([_loss(task.settings, d, images, scene).mean() for d in task.detectors]).sum()
