"""One cell of an evaluation: a detector, a defence, a pattern and a condition, with every figure and every doubt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from physadv.arrays import listed
from physadv.evaluate.doubt_codes import Doubt, codes_of
from physadv.evaluate.metrics import Figures
from physadv.evaluate.own import in_words
from physadv.simulate.placement import Placement

NO_DEFENCE = "none"


class Case(NamedTuple):
    """What became of one person in one image, in a second of a recording, or of one frame of a video.

    unit: what is drawn again as a whole for an interval: the image, the clip and second, the block of frames. case: the
    person in it, by box, number or frame. weight: how many frames it stands for, 1 in an image. found: share of them with a
    right box. hidden: share of them with no box at all, None where the clean detector finds nobody either. confidence: the
    highest of a box on the person. height_px: of their box in an image, as the network sees it. covered: share of the box
    that a print covers. None of recordings, and where nothing is worn.
    """

    unit: str
    case: str
    weight: int
    found: float
    hidden: float | None
    confidence: float
    height_px: float | None = None
    covered: float | None = None


@dataclass(slots=True)
class Cell:
    """A row of results.json: of images, of a video, of a certificate or of an adaptive attack.

    condition: none, grey, white, noise, shuffled, patch or certificate. patch: the pattern's name, or None. counted: how
    many images and people, or frames, the figures are of. transform: the condition of the robust grid, or a certificate's
    patch size; "" for the plain image. attack: how the pattern relates to the defence: "" without a defence, else
    oblivious, transferred or adaptive. stands_for: of a control, the patterns whose size and shape it has. placement: how
    large and where a pattern or control is worn, None where nothing is. ms: median and 95th percentile of the detector's
    time an image, where measured. extra: what else the row says. cases: each person
    that the figures are of, for comparisons with other cells.
    """

    detector: str
    imgsz: int
    condition: str
    patch: str | None
    defence: str
    counted: dict[str, int]
    figures: Figures
    transform: str = ""
    attack: str = ""
    stands_for: tuple[str, ...] = ()
    placement: Placement | None = None
    ms: tuple[float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    doubts: list[Doubt] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    def __getitem__(self, metric: str) -> float | None:
        return self.figures.value.get(metric)

    @property
    def label(self) -> str:
        """Return what a table calls the cell: a pattern by its name, a control with the patterns it stands for."""
        if self.condition == "patch":
            return str(self.patch)
        if self.patch is None:
            return self.condition
        return f"{self.condition} ({listed(self.stands_for or (self.patch,), most=3)})"

    @property
    def worn(self) -> str:
        """Return how large and where a pattern is worn, "" where none is."""
        return "" if self.placement is None else in_words(self.placement)

    def about(self, *, sizes: bool) -> str:
        """Return what a doubt calls the cell. sizes: also at which long side the detector looks."""
        behind = "" if self.defence == NO_DEFENCE else f"behind {self.defence}"
        at = f"at {self.imgsz} px" if sizes else ""
        return " ".join(filter(None, [self.label, self.transform, behind, at]))

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
            **self.counted,
        }
        if self.stands_for:
            out["control_of"] = list(self.stands_for)
        if self.placement is not None:
            out |= {"rule": self.placement.rule, "scale": self.placement.scale, "at": self.placement.where}
        out |= {name: None if value is None else round(value, 4) for name, value in self.figures.value.items()}
        out["ci95"] = {n: None if c is None else list(c) for n, c in self.figures.ci95.items()}
        if self.ms is not None:
            out["ms_median"], out["ms_p95"] = self.ms
        return out | self.extra | {"doubts": self.doubts, "doubt_codes": codes_of(self.doubts)}
