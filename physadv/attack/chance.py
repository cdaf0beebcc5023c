"""All chance of a run: which views, which world, which noise. It comes from (seed, step, part) and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from physadv.attack.crops import Scene, Views
from physadv.attack.pattern import Pattern
from physadv.attack.settings import TrainSettings
from physadv.detect.gradients import imgsz_for
from physadv.simulate.world import WorldDraw
from physadv.types import GradientDetector

# Share of the main run after which patterns are no longer trained under noise.
NOISE_UNTIL = 0.8
NOISE_STREAM = 0x6E6F697365
Drawn = tuple[Scene, list[WorldDraw]]


class Chance:
    """The views and draws of every part of a step; those of the next step are prepared while this one is computed.

    As all chance comes from (seed, step, part), preparing ahead changes nothing.
    """

    def __init__(self, settings: TrainSettings, detectors: Sequence[GradientDetector], device: torch.device) -> None:
        self._settings, self._detectors, self._device = settings, detectors, device
        self._worker = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int, int], Future[Drawn]] = {}

    def count(self, at: int, part: int, parts: int) -> int:
        """Return how many views of step `at` are in one of its parts; there may be none."""
        count, more = divmod(self._settings.views(at)[0], parts)
        return count + (part < more)

    def of(self, views: Views, at: int, part: int, parts: int) -> Drawn:
        """Return the scene of one part of a step and the draws of the world that are tried on it."""
        waiting = self._ahead.pop((at, part, parts), None)
        ready = waiting.result() if waiting is not None else self._draw(views, at, part, parts)
        if at + 1 < self._settings.total_steps and self.count(at + 1, part, parts):
            self._ahead[(at + 1, part, parts)] = self._worker.submit(self._draw, views, at + 1, part, parts)
        return ready

    def _draw(self, views: Views, at: int, part: int, parts: int) -> Drawn:
        s = self._settings
        count, side = self.count(at, part, parts), imgsz_for(s.views(at)[1], *self._detectors)
        scene = views.batch(count, side, np.random.default_rng([s.seed, at, part])).to(self._device)
        generator = torch.Generator().manual_seed((s.seed * 1_000_003 + at) * 64 + part)
        draws = [s.world.sample(len(scene.prints), count, generator).to(self._device) for _ in range(s.worst_of)]
        return scene, draws


def noise_of(s: TrainSettings, pattern: Pattern, at: int, part: int) -> torch.Tensor:
    """Return what is added to the pattern (4, t, t) of one part of a step: noise on its colours that fades as it settles.

    The loss of one pattern is full of narrow valleys in which training ends; averaged over the pattern's neighbourhood it
    is smoother, and its valleys are those that hide more people. Source: Duchi, Bartlett & Wainwright 2012, Randomized
    Smoothing for Stochastic Optimization.
    """
    out = torch.zeros(4, s.texels, s.texels, device=pattern.mask.device)
    spread = s.noise * (1 - s.share(at) / NOISE_UNTIL)
    if spread > 0:
        # Another stream than the world's, whose draws it must not follow.
        generator = torch.Generator().manual_seed(((s.seed * 1_000_003 + at) * 64 + part) ^ NOISE_STREAM)
        out[:3] = spread * torch.randn(3, s.texels, s.texels, generator=generator)
    return out
