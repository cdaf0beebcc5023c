"""One batch: people wear the pattern in the simulated world, the detectors look, and the loss gets a gradient."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise

import numpy as np
import torch

from physadv.attack.crops import Batch, BatchState, CropSampler
from physadv.attack.losses import (
    curvature,
    fitting,
    likeness,
    missize,
    mixed,
    non_printability,
    stays_seen,
    total_variation,
    vanish,
)
from physadv.attack.pattern import Pattern
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData, TrainRun
from physadv.detect.gradients import imgsz_for
from physadv.errors import TrainingError
from physadv.simulate.activation import Activation
from physadv.simulate.ink import default_palette
from physadv.simulate.states import put
from physadv.simulate.world import World, WorldDraw
from physadv.types import Candidates, Float32Array, GradientDetector

# Share of a view from which on a person counts as filling it.
FILLS = 0.35
NOISE_STREAM, STATE_STREAM = 0x6E6F697365, 0x7374617465
# As of the control of that name.
GREY = 128 / 255
Drawn = tuple[Batch, list[WorldDraw]]


class Batches:
    """The views and worlds of every part of a step; those of the next step are prepared while this one is computed.

    All chance comes from (seed, step, part) and from nothing else, so that preparing ahead changes nothing, and a resumed
    run draws what the whole one did.
    """

    def __init__(self, recipe: Recipe, data: TrainData) -> None:
        """Raises: TrainingError if there are no people."""
        self._recipe, self._data = recipe, data
        self._views = CropSampler(
            list(data.people), framing=recipe.framing, placements=recipe.placement_range, large=recipe.large
        )
        if not self._views.rows:
            raise TrainingError(field="images", expected="people to train on", got="none")
        self._worker = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int, int], Future[Drawn]] = {}

    def count(self, step: int, part: int, parts: int) -> int:
        """Return how many views of a step are in one of its parts; there may be none."""
        count, more = divmod(self._recipe.views(step)[0], parts)
        return count + (part < more)

    def of(self, step: int, part: int, parts: int) -> Drawn:
        """Return the views of one part of a step and the draws of the world that are tried on it."""
        waiting = self._ahead.pop((step, part, parts), None)
        ready = waiting.result() if waiting is not None else self._draw(step, part, parts)
        if step + 1 < self._recipe.total_steps and self.count(step + 1, part, parts):
            self._ahead[(step + 1, part, parts)] = self._worker.submit(self._draw, step + 1, part, parts)
        return ready

    def _draw(self, step: int, part: int, parts: int) -> Drawn:
        recipe, device = self._recipe, self._data.device
        count, size = self.count(step, part, parts), imgsz_for(recipe.views(step)[1], *self._data.detectors)
        rng = np.random.default_rng([recipe.seed, step, part])
        values = self._values(step, part, count)
        batch = self._views.batch(count, size, rng, metres=values.get("distance"))
        generator = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * 64 + part)
        draws = [recipe.world.sample(len(batch.prints), count, generator) for _ in range(recipe.worst_of)]
        if recipe.activation is not None:
            batch, draws = in_state(recipe.activation, values, batch, draws, aspect=self._views.placements.aspect)
        return batch.to(device), [draw.to(device) for draw in draws]

    def _values(self, step: int, part: int, count: int) -> dict[str, Float32Array]:
        """Return (count,) values of what a pattern's condition is about; in every second view it acts."""
        activation = self._recipe.activation
        if activation is None:
            return {}
        # Another stream than the views', which are then those of a run without a condition.
        rng = np.random.default_rng([self._recipe.seed, step, part, STATE_STREAM])
        return activation.draw((np.arange(count) + rng.integers(2)) % 2 == 0, rng)


def in_state(
    activation: Activation, values: dict[str, Float32Array], batch: Batch, draws: list[WorldDraw], *, aspect: float
) -> Drawn:
    """Return views whose people are in the state of (b,) values, and the draws of the world that go with them.

    Which side of the condition each person is on is read from what the view shows: a photograph may be too small for the
    distance that was asked for, and others in it stand nearer or farther. aspect: width over height of the print.
    """
    shown = [put(values, batch.prints, draw, aspect=aspect) for draw in draws]
    owner = batch.owner.numpy()
    each = {name: batch.metres if name == "distance" else value[owner] for name, value in values.items()}
    state = BatchState(torch.from_numpy(activation.sides(each)), torch.from_numpy(shown[0].gain))
    return replace(batch, prints=shown[0].prints, state=state), [one.draw for one in shown]


def batch_gradient(run: TrainRun, batches: Batches) -> tuple[float, torch.Tensor, list[torch.Tensor]]:
    """Return the loss of the next step's batch, each detector's part of it (d,), and the gradient of each level.

    The batch is computed in parts, for less memory or by several processes; sums over parts are those of the whole.

    Raises: TrainingError that names the transform at fault if the loss or its gradient is not finite.
    """
    recipe, data, at, processes = run.recipe, run.data, run.checkpoint, run.processes
    parts = recipe.accumulate if recipe.accumulate % processes.world == 0 else recipe.accumulate * processes.world
    # Which detector is hardest is known once all people were looked at: until then each keeps a gradient of its own.
    sets = len(data.detectors) if recipe.mix == "max" else 1
    gradients = [[torch.zeros_like(v) for v in at.levels] for _ in range(sets)]
    pulls = [torch.zeros_like(v) for v in at.levels]
    people = torch.zeros((), device=data.device)
    each = torch.zeros(len(data.detectors), device=data.device)
    for part in processes.shards(parts):
        if not batches.count(at.step, part, parts):
            continue
        count, losses, slopes = _part(run, batches, part, parts)
        people += count
        each += losses
        for gradient, slope in zip(chain(*gradients), chain(*slopes), strict=True):
            gradient.add_(slope)
    if processes.first:
        prior = _priors(run)
        if prior.requires_grad:
            pulls = list(torch.autograd.grad(prior, at.levels))
    processes.sum([*chain(*gradients), *pulls, each, people])
    # The mean is over all people, whoever looked at them; the priors are asked once.
    people.clamp_(min=1)
    each = each / people
    total = mixed(recipe.mix, each, at.mixing)
    hardest = gradients[int(each.argmax()) if sets > 1 else 0]
    out = [gradient / people + pull for gradient, pull in zip(hardest, pulls, strict=True)]
    if not bool(torch.isfinite(total)) or not all(bool(torch.isfinite(g).all()) for g in out):
        raise TrainingError(_diagnosis(run, batches, parts))
    return float(total), each, out


def _part(run: TrainRun, batches: Batches, part: int, parts: int) -> tuple[int, torch.Tensor, list[list[torch.Tensor]]]:
    """Return the number of people in one part of a batch, and sums over them: each detector's loss, and gradients.

    There is one set of gradients, of the mixed loss; or where the hardest detector counts alone one for each detector.
    """
    recipe, at, pattern = run.recipe, run.checkpoint, run.pattern
    batch, draw = drawn(run, batches, part, parts)
    _reseed(run, part)
    rgba = pattern.rgba()
    noisy = rgba.detach() + noise_of(recipe, pattern, at.step, part)

    def one(piece: tuple[Batch, WorldDraw]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        batch, draw = piece
        # A leaf of its own: torch locks a leaf to record who uses it, and may ask for Python's lock meanwhile, so that two
        # threads with one leaf between them can wait for each other for ever.
        worn = noisy.clone().requires_grad_()
        losses = torch.stack([each.sum() for each in _losses(run, worn, batch, draw, part)])
        lowered = losses if recipe.mix == "max" else mixed(recipe.mix, losses, at.mixing)[None]
        if not lowered.requires_grad:
            return losses.detach(), [torch.zeros_like(worn) for _ in lowered]
        last = len(lowered) - 1
        return losses.detach(), [torch.autograd.grad(v, worn, retain_graph=i < last)[0] for i, v in enumerate(lowered)]

    answers = run.threads.map(one, _pieces(batch, draw, run.threads.size))
    losses = torch.stack([losses for losses, _ in answers]).sum(0)
    sums = [torch.stack(by_piece).sum(0) for by_piece in zip(*(s for _, s in answers), strict=True)]
    slopes = [list(torch.autograd.grad(rgba, at.levels, s, retain_graph=True)) for s in sums]
    return len(batch.boxes), losses, slopes


def _pieces(batch: Batch, draw: WorldDraw, count: int) -> list[tuple[Batch, WorldDraw]]:
    """Return a batch and its draw in up to `count` pieces of as many images each."""
    images = len(batch.images)
    count = min(count, images)
    if count == 1:
        return [(batch, draw)]
    ends = [round(i * images / count) for i in range(count + 1)]
    out = []
    for low, high in pairwise(ends):
        prints = np.flatnonzero((batch.prints.owner >= low) & (batch.prints.owner < high))
        device = batch.images.device
        part = draw.piece(torch.from_numpy(prints).to(device), torch.arange(low, high, device=device))
        out.append((batch.piece(low, high, prints), part))
    return out


def drawn(run: TrainRun, batches: Batches, part: int, parts: int) -> tuple[Batch, WorldDraw]:
    """Return the views of one part of a step, and for each view the world of `worst_of` that hurts the pattern most."""
    recipe, data = run.recipe, run.data
    batch, draws = batches.of(run.checkpoint.step, part, parts)
    if len(draws) == 1 or len(batch.prints) == 0:
        return batch, draws[0]
    hurt = []
    with torch.no_grad():
        rgba = run.pattern.rgba()
        for draw in draws:
            # Every draw is looked at through the same chance of a defence's twin: it is the draws that are compared.
            _reseed(run, part)
            losses = torch.stack(_losses(run, rgba, batch, draw, part))
            harm = mixed(recipe.mix, losses, run.checkpoint.mixing)
            hurt.append(torch.zeros(len(batch.images), device=data.device).index_add(0, batch.owner, harm))
    owner = torch.from_numpy(batch.prints.owner).to(batch.images.device)
    return batch, WorldDraw.mix(draws, torch.stack(hurt).argmax(0), owner)


def noise_of(recipe: Recipe, pattern: Pattern, step: int, part: int) -> torch.Tensor:
    """Return what is added to the pattern (4, h, w) of one part of a step: noise on its colours that fades as it settles.

    The loss of one pattern is full of narrow valleys in which training ends; averaged over the pattern's neighbourhood it
    is smoother, and its valleys are those that hide more people. Source: Duchi, Bartlett & Wainwright 2012, Randomized
    Smoothing for Stochastic Optimization.
    """
    out = torch.zeros(4, *recipe.grid, device=pattern.mask.device)
    deviation = recipe.noise_at(step)
    if deviation > 0:
        # Another stream than the world's, whose draws it must not follow.
        generator = torch.Generator().manual_seed(((recipe.seed * 1_000_003 + step) * 64 + part) ^ NOISE_STREAM)
        out[:3] = deviation * torch.randn(3, *recipe.grid, generator=generator)
    return out


def _reseed(run: TrainRun, part: int) -> None:
    """Start the chance of every defence's twin anew from the step and the part, so that a resumed run draws the same."""
    for number, detector in enumerate(run.data.detectors):
        detector.reseed((run.recipe.seed, run.checkpoint.step, part, number))


def _losses(run: TrainRun, worn: torch.Tensor, batch: Batch, draw: WorldDraw, part: int) -> list[torch.Tensor]:
    """Return each detector's (n,) losses of the people in a batch who wear a pattern (4, h, w)."""
    grey = _under_grey(run, batch, draw, part)
    images = photographed(run.recipe.world, worn, batch, draw)
    return [_loss(run.recipe, d, images, batch, g) for d, g in zip(run.data.detectors, grey, strict=True)]


def photographed(world: World, worn: torch.Tensor, batch: Batch, draw: WorldDraw) -> torch.Tensor:
    """Return the views (b, 3, h, w) of a batch whose people wear a pattern (4, h, w), in the light of their state."""
    images = world.apply(worn, batch.images, batch.prints, draw)
    if batch.state is None or bool((batch.state.gain == 1).all()):
        return images
    return (images * batch.state.gain[..., None, None]).clamp(0, 1)


@torch.no_grad()
def _under_grey(run: TrainRun, batch: Batch, draw: WorldDraw, part: int) -> list[torch.Tensor | None]:
    """Return for each detector (h, n) of `fitting` under a grey print of the same shape in the same views.

    None where nobody has to stay seen.
    """
    if batch.state is None or not bool((batch.state.sides < 0).any()):
        return [None] * len(run.data.detectors)
    mask = run.pattern.mask
    grey = torch.cat([torch.full_like(mask.expand(3, -1, -1), GREY), mask])
    images = photographed(run.recipe.world, grey, batch, draw)
    out: list[torch.Tensor | None] = [
        fitting(d.candidates(images), batch.owner, batch.boxes) for d in run.data.detectors
    ]
    # A defence's twin shows the pattern through the same chance as grey.
    _reseed(run, part)
    return out


def _loss(
    recipe: Recipe, detector: GradientDetector, images: torch.Tensor, batch: Batch, grey: torch.Tensor | None
) -> torch.Tensor:
    """Return (n,) losses of the people in a batch: of those to be hidden, and of those who must stay seen as under grey."""
    candidates = detector.candidates(images)
    if batch.state is None:
        return _hidden(recipe, candidates, images, batch)
    sides = batch.state.sides
    out = _hidden(recipe, candidates, images, batch) * (sides > 0)
    if grey is not None:
        seen = stays_seen(fitting(candidates, batch.owner, batch.boxes), grey)
        out = out + recipe.stay_seen * seen * (sides < 0)
    return out


def _hidden(recipe: Recipe, candidates: Candidates, images: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return (n,) losses of people who are to be hidden, or boxed wrongly."""
    if recipe.goal == "missize":
        return missize(candidates, batch.owner, batch.boxes)
    share = (batch.boxes[:, 2:] - batch.boxes[:, :2]).prod(1) / (images.shape[-2] * images.shape[-1])
    alone = None if recipe.framing == "street" else share > FILLS
    return vanish(candidates, batch.owner, batch.boxes, margin=recipe.margin, parts=recipe.parts, alone=alone)


def _priors(run: TrainRun) -> torch.Tensor:
    """Return the weighted sum of what is asked of the pattern besides its effect."""
    recipe, data, pattern = run.recipe, run.data, run.pattern
    colours = pattern.colours()
    out = torch.zeros((), device=colours.device)
    if recipe.tv:
        out = out + recipe.tv * total_variation(colours, tiles=pattern.tiles)
    if recipe.smooth:
        out = out + recipe.smooth * curvature(colours, tiles=pattern.tiles)
    if recipe.nps:
        printable = data.printable if data.printable is not None else default_palette()
        out = out + recipe.nps * non_printability(colours, printable.to(colours))
    if recipe.look_weight and data.look is not None:
        out = out + recipe.look_weight * likeness(colours, data.look.to(colours), pattern.mask)
    return out


def _diagnosis(run: TrainRun, batches: Batches, parts: int) -> str:
    """Return what to say of a loss that is not finite: the first stage whose output or gradient is not."""
    recipe, step = run.recipe, run.checkpoint.step
    found = "the priors"
    for part in range(min(parts, recipe.views(step)[0])):
        batch, draw = drawn(run, batches, part, parts)
        lost = partial(_mean_loss, run, batch, draw, part)
        name = non_finite_stage(recipe.world, run.pattern.rgba(), batch, draw, lost)
        if name is not None:
            found = name
            break
    return (
        f"step {step + 1}: the loss or its gradient is no number; first at {found}. "
        "The last good pattern and checkpoint are kept. With the same settings it would fail again: go on from the pattern "
        "with `start` and that part's strength or `lr` lowered, in another `out`"
    )


def _mean_loss(run: TrainRun, batch: Batch, draw: WorldDraw, part: int, images: torch.Tensor) -> torch.Tensor:
    grey = _under_grey(run, batch, draw, part)
    each = [_loss(run.recipe, d, images, batch, g).mean() for d, g in zip(run.data.detectors, grey, strict=True)]
    return torch.stack(each).sum()


def non_finite_stage(
    world: World,
    pattern: torch.Tensor,
    batch: Batch,
    draw: WorldDraw,
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> str | None:
    """Return the name of the first transform whose output or gradient is not finite, or None.

    It may also be "the pattern", "the photographs", "paste" or "the detector". Each stage is tried by itself, in the order
    of the world: its output first, then the gradient through it.
    """
    if not _finite(pattern):
        return "the pattern"
    if not _finite(batch.images):
        return "the photographs"
    if not _finite(world.geometry.quads(torch.from_numpy(batch.prints.quads).to(pattern), draw.geometry)):
        return "geometry"
    colour = pattern.detach()[None, :3].expand(len(batch.prints), -1, -1, -1)
    backward = None
    for name in ("ink", "cloth", "light"):
        entered = colour.detach().clone().requires_grad_()
        colour = getattr(world, name).apply(entered, getattr(draw, name))
        if not _finite(colour):
            return name
        (gradient,) = torch.autograd.grad(colour.sum(), entered)
        backward = backward or (None if _finite(gradient) else name)
    flat = world.model_copy(update={"sensor": type(world.sensor)(strength=0)})
    pasted = flat.apply(pattern.detach(), batch.images, batch.prints, draw).detach().requires_grad_()
    if not _finite(pasted):
        return "paste"
    images = world.sensor.apply(pasted, draw.sensor)
    if not _finite(images):
        return "sensor"
    seen = images.detach().requires_grad_()
    value = loss(seen)
    (gradient,) = torch.autograd.grad(value, seen, allow_unused=True)
    if not _finite(value) or (gradient is not None and not _finite(gradient)):
        return "the detector"
    (gradient,) = torch.autograd.grad(images.sum(), pasted)
    return "sensor" if not _finite(gradient) else backward


def _finite(value: torch.Tensor) -> bool:
    """Return whether every number of a tensor is finite."""
    return bool(torch.isfinite(value).all())
