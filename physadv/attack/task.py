"""What a run trains: settings, people, detectors, and the pattern that these begin with and end in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from physadv.attack.chance import Chance
from physadv.attack.crew import Crew
from physadv.attack.pattern import Pattern, to_patch
from physadv.attack.score import Score
from physadv.attack.settings import TrainSettings
from physadv.dataset import LabelledImage
from physadv.patch import Patch
from physadv.types import GradientDetector


@dataclass(slots=True)
class Task:
    """What is trained, on whom and against what.

    scorers: each gives a pattern's figures on held-out people. also: others by which a pattern is chosen and that are not
    reported, as they look at people trained on. Badness is averaged over all people. region: (1, t, t) mask. look:
    (3, t, t). printable: (k, 3) colours for the non-printability score. palette: (k, 3) colours to which the pattern is
    held. begin: (3, t, t) to start from, first. start: the pattern that the run begins from as it would be saved, kept
    unless a trained one does better on those held out; None where nobody is scored. start_scores: its scores, by scorer.
    identity: what must not change between a run and its resumption. device: where all detectors are, and so the pattern
    too.
    """

    settings: TrainSettings
    people: list[LabelledImage]
    detectors: Sequence[GradientDetector]
    scorers: dict[str, Callable[[Patch], Score]] = field(default_factory=dict)
    also: list[Callable[[Patch], Score]] = field(default_factory=list)
    region: torch.Tensor | None = None
    look: torch.Tensor | None = None
    printable: torch.Tensor | None = None
    palette: torch.Tensor | None = None
    begin: torch.Tensor | None = None
    start: Patch | None = None
    start_scores: dict[str, Score] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    name: str = "patch"
    device: torch.device = field(init=False)
    crew: Crew = field(default_factory=Crew)
    chance: Chance = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.device = next((d.device for d in self.detectors), torch.device("cpu"))
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
