"""The one loop: views of people, the pattern through the simulated world, logits, a step; now and then a score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch

from physadv.attack.chance import Chance, noise_of
from physadv.attack.crew import Crew
from physadv.attack.crops import Scene, Views
from physadv.attack.descent import descend
from physadv.attack.losses import missize, vanish
from physadv.attack.pattern import Pattern, to_patch
from physadv.attack.people import Picture
from physadv.attack.priors import curvature, likeness, non_printability, total_variation
from physadv.attack.ranks import Ranks
from physadv.attack.score import Score
from physadv.attack.settings import TrainSettings
from physadv.attack.state import State
from physadv.attack.trace import culprit
from physadv.detect.attacked import device_of, reseed
from physadv.errors import TrainingError
from physadv.patch import Patch, load_patch, save_patch
from physadv.simulate.ink import default_palette
from physadv.simulate.world import WorldDraw
from physadv.types import GradientDetector

CHECKPOINT = "checkpoint.safetensors"
LOSSES_KEPT = 200
# Share of a view from which on a person counts as filling it.
FILLS = 0.35


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run tells while it runs. seconds: since it (re)started. badness and best: figures on held-out people."""

    step: int
    steps: int
    loss: float
    seconds: float
    score: dict[str, Any] | None
    best: dict[str, Any]


@dataclass(slots=True)
class Task:
    """What is trained, on whom and against what.

    scorers: each gives a pattern's figures on held-out people. also: others by which a pattern is chosen and that are not
    reported, as they look at people trained on. Badness is averaged over all people. region: (1, t, t) mask. look:
    (3, t, t). printable: (k, 3) colours for the non-printability score. palette: (k, 3) colours to which the pattern is
    held. begin: (3, t, t) to start from, first. identity: what must not change between a run and its resumption. device:
    where all detectors are, and so the pattern too.
    """

    settings: TrainSettings
    people: list[Picture]
    detectors: Sequence[GradientDetector]
    scorers: dict[str, Callable[[Patch], Score]] = field(default_factory=dict)
    also: list[Callable[[Patch], Score]] = field(default_factory=list)
    region: torch.Tensor | None = None
    look: torch.Tensor | None = None
    printable: torch.Tensor | None = None
    palette: torch.Tensor | None = None
    begin: torch.Tensor | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    name: str = "patch"
    device: torch.device = field(init=False)
    crew: Crew = field(default_factory=Crew)
    chance: Chance = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.device = next(map(device_of, self.detectors), torch.device("cpu"))
        self.chance = Chance(self.settings, self.detectors, self.device)

    def pattern(self, start: int = 0) -> Pattern:
        """Return an untrained pattern; every random start has its own, and the first is `begin` where that is given."""
        s = self.settings
        generator = torch.Generator().manual_seed(s.seed * 1009 + start)
        out = Pattern(
            s.texels,
            generator=generator,
            pyramid=s.pyramid,
            mask=self.region,
            palette=self.palette,
            tiles=s.tiles,
            device=self.device,
        )
        if self.begin is not None and start == 0:
            with torch.no_grad():
                out.levels[-1].copy_(self.begin)
        return out

    def patch(self, texels: torch.Tensor, record: dict[str, Any]) -> Patch:
        """Return texels (3, t, t) as the 8-bit patch that is saved and scored."""
        s = self.settings
        mask = self.pattern().mask
        return to_patch(
            texels,
            mask,
            name=self.name,
            size_mm=s.print_size(),
            target=s.target,
            palette=self.palette is not None,
            record=record,
        )


def optimise(
    task: Task,
    *,
    folder: Path | None = None,
    resume: bool = False,
    ranks: Ranks | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Patch, State]:
    """Return the best pattern by held-out people and the run's last state.

    folder: where checkpoint, best patch and history go; nothing is written without it. resume: go on from its checkpoint.
    tell: called after every step of rank 0. stop: asked after every step; True saves a checkpoint and ends the run early.

    Raises: TrainingError if there is no one to train on, the loss is no number (naming the transform at fault), a
    detector's weights change, or the checkpoint does not fit. OSError if the disk is full; the last checkpoint stays.
    """
    ranks, s = ranks or Ranks(), task.settings
    views = Views(task.people, framing=s.framing, wear=s.wear)
    if not views.rows:
        raise TrainingError("expected people to train on, got none")
    before = [_fingerprint(d) for d in task.detectors]
    pattern = task.pattern()
    state = State.fresh(pattern.levels, s.texels, len(task.detectors))
    if resume and folder is not None:
        state.load(folder / CHECKPOINT, identity=task.identity)
    ranks.same([*state.levels, *state.mean])
    began = time.monotonic()
    while state.step < s.total_steps:
        _turn(task, state, ranks)
        loss = step(task, views, pattern, state, ranks)
        state.step += 1
        state.losses = [*state.losses, loss][-LOSSES_KEPT:]
        figures = _score(task, state, folder) if _due(s, state.step) and ranks.rank == 0 else None
        # One process that left by itself would let the others wait for it in the next sum.
        halt = ranks.any(stop())
        if folder is not None and ranks.rank == 0 and (halt or _keeps(s, state.step)):
            state.save(folder / CHECKPOINT, identity=task.identity)
        if ranks.rank == 0:
            tell(Progress(state.step, s.total_steps, loss, time.monotonic() - began, figures, state.best_score))
        if halt:
            break
    if [_fingerprint(d) for d in task.detectors] != before:
        raise TrainingError("a detector's weights or buffers changed while training; nothing it scored can be trusted")
    if not state.best_score:
        state.best = _mean_colours(task, state).cpu()
    return task.patch(state.best, _record(task, state)), state


def _turn(task: Task, state: State, ranks: Ranks) -> None:
    """Begin the next random start, or the main run from the best of them."""
    s = task.settings
    if s.starts == 1 or state.step % s.start_steps or state.step > s.starts * s.start_steps or state.step == 0:
        return
    if len(state.starts) < state.step // s.start_steps:
        scored = state.history[-1]["badness"] if state.history else None
        badness = state.losses[-1] if scored is None else scored
        state.starts.append(
            (badness, [v.detach().clone() for v in state.levels], [v.detach().clone() for v in state.mean])
        )
    number = state.step // s.start_steps
    if number < s.starts:
        fresh = task.pattern(number)
        state.restart(fresh.levels, fresh.levels)
    else:
        _, levels, mean = min(state.starts, key=lambda start: start[0])
        state.restart(levels, mean)
    # Rank 0 alone has scored the starts on held-out people: which was best is for it to say.
    ranks.same([*state.levels, *state.mean])


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
    scene, draw = _draw(task, views, pattern, state, part, parts)
    # What a twin draws depends on the step and the part alone, so that a resumed run draws what the whole one did.
    for number, detector in enumerate(task.detectors):
        reseed(detector, (task.settings.seed, state.step, part, number))
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
    """Return a batch and its draw in up to `count` pieces of as many pictures each."""
    pictures = len(scene.images)
    count = min(count, pictures)
    if count == 1:
        return [(scene, draw)]
    ends = [round(i * pictures / count) for i in range(count + 1)]
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


def _draw(task: Task, views: Views, pattern: Pattern, state: State, part: int, parts: int) -> tuple[Scene, WorldDraw]:
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
            reseed(detector, (s.seed, state.step, part, number))
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


def _due(s: TrainSettings, step: int) -> bool:
    ends_start = s.starts > 1 and step <= s.starts * s.start_steps and step % s.start_steps == 0
    return step % s.score_every == 0 or step == s.total_steps or ends_start


def _keeps(s: TrainSettings, step: int) -> bool:
    return step % s.checkpoint_every == 0 or _due(s, step)


@torch.no_grad()
def _mean_colours(task: Task, state: State) -> torch.Tensor:
    average = task.pattern()
    average.load(state.mean)
    average.project()
    return average.colours().detach()


def _score(task: Task, state: State, folder: Path | None) -> dict[str, Any] | None:
    """Return held-out figures of the average pattern as it would be saved; keep it if it is the best so far."""
    texels = _mean_colours(task, state).cpu()
    if not task.scorers:
        return None
    patch = task.patch(texels, {})
    if folder is not None:
        # What is scored is what was saved and read back: eight bits, not the floats.
        save_patch(patch, folder, stem="latest")
        patch = load_patch(folder / "latest.safetensors")
    scores = {name: scorer(patch) for name, scorer in task.scorers.items()}
    every = [*scores.values(), *(scorer(patch) for scorer in task.also)]
    bad = [(b, v.n_people) for v in every if math.isfinite(b := v.badness(task.settings.goal))]
    figures = {name: v.plain() for name, v in scores.items()}
    badness = sum(b * n for b, n in bad) / sum(n for _, n in bad) if bad else float("inf")
    loss = sum(state.losses[-50:]) / max(len(state.losses[-50:]), 1)
    state.history.append(
        {"step": state.step, "loss": round(loss, 4), "badness": round(badness, 4) if bad else None, **figures}
    )
    if badness <= state.best_badness:
        state.best, state.best_badness, state.best_score = texels, badness, figures
        state.best_step = state.step
        if folder is not None:
            save_patch(task.patch(texels, _record(task, state)), folder)
    return figures


def _record(task: Task, state: State) -> dict[str, Any]:
    """Return the patch's record: nothing in it depends on when or how fast it was made."""
    return {
        "settings": task.settings.model_dump(mode="json"),
        "seed": task.settings.seed,
        **task.record,
        "held_out": state.best_score,
        "step": state.best_step,
        "steps": task.settings.total_steps,
    }


def _diagnosis(task: Task, views: Views, pattern: Pattern, state: State, parts: int) -> str:
    s = task.settings
    found = "the priors"
    for part in range(min(parts, s.views(state.step)[0])):
        scene, draw = _draw(task, views, pattern, state, part, parts)
        name = culprit(s.world, pattern.rgba(), scene, draw, partial(_both, task, scene))
        if name is not None:
            found = name
            break
    return (
        f"step {state.step + 1}: the loss or its gradient is no number; first at {found}. "
        "The last good pattern and checkpoint are kept. With the same settings it would fail again: go on from the pattern "
        "with --start and that part's strength or --lr lowered, in another --out"
    )


def _both(task: Task, scene: Scene, images: torch.Tensor) -> torch.Tensor:
    return torch.stack([_loss(task.settings, d, images, scene).mean() for d in task.detectors]).sum()


def _fingerprint(detector: GradientDetector) -> str:
    """Return a hash of the weights behind a detector, also behind a defence's twin; "" where there are none to hash."""
    seen: set[int] = set()
    queue: list[Any] = [detector]
    while queue:
        item = queue.pop()
        if id(item) in seen or len(seen) > 50:
            continue
        seen.add(id(item))
        if callable(getattr(item, "fingerprint", None)):
            return str(item.fingerprint())
        queue += [v for v in getattr(item, "__dict__", {}).values() if hasattr(v, "__dict__")]
    return ""
