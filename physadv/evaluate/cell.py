"""One cell of an evaluation: a detector, a defence, a pattern and a condition, with every figure and every doubt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from physadv.evaluate.metrics import METRICS, Figures
from physadv.simulate.placement import Placement


@dataclass(slots=True)
class Cell:
    """A row of results.json.

    condition: none, grey, white, noise, shuffled or patch. patch: the pattern's name, or None. transform: the robust grid's
    condition, empty for the plain image. attack: how the pattern relates to the defence: "" without a defence, else
    oblivious, transferred or adaptive. stands_for: of a control, the patterns whose size and shape it has. worn: how large
    and where a pattern or control is worn, None where nothing is. ms: median and 95th percentile of the detector's time an
    image, where measured.
    """

    detector: str
    imgsz: int
    condition: str
    patch: str | None
    defence: str
    n_images: int
    n_people: int
    figures: Figures
    transform: str = ""
    attack: str = ""
    stands_for: tuple[str, ...] = ()
    worn: Placement | None = None
    ms: tuple[float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def __getitem__(self, metric: str) -> float | None:
        return self.figures.value[metric]

    def plain(self) -> dict[str, Any]:
        """Return the cell as plain values for JSON."""
        out: dict[str, Any] = {
            "detector": self.detector,
            "imgsz": self.imgsz,
            "condition": self.condition,
            "transform": self.transform,
            "patch": self.patch,
            "defence": self.defence,
            "attack": self.attack,
            "n_images": self.n_images,
            "n_people": self.n_people,
        }
        if self.stands_for:
            out["control_of"] = list(self.stands_for)
        if self.worn is not None:
            out |= {"rule": self.worn.rule, "scale": self.worn.scale, "at": self.worn.where}
        out |= {name: self.figures.value[name] for name in METRICS}
        out["ci95"] = {n: None if c is None else list(c) for n, c in self.figures.ci95.items()}
        if self.ms is not None:
            out["ms_median"], out["ms_p95"] = self.ms
        return out | self.extra | {"doubts": self.doubts}
