"""A frame as it is shown: the image, what was found in it, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from physadv.live.draw import drawn
from physadv.live.print_pose import ConditionNow, PrintPose
from physadv.live.settings import Controls
from physadv.live.wearers import Hiding, Wearer
from physadv.types import Detections, Frame, UInt8Array

# The answer that counts and two others: in a fourth pane nobody could be recognised.
MOST_PANES = 3


@dataclass(frozen=True, slots=True)
class Beside:
    """What another detector found in the same frame, shown in a pane of its own. name: as a viewer chooses it.

    people, top, wearers: as in `Shown`.
    """

    name: str
    people: Detections
    top: float
    wearers: tuple[Wearer, ...] | None = None

    @property
    def hiding(self) -> Hiding | None:
        """Return how many wearers are in which state; None where no pattern is on."""
        return None if self.wearers is None else Hiding.of(self.wearers)


@dataclass(frozen=True)
class Shown:
    """Everything about one frame as it is shown. Not slotted: `annotated` is drawn once, when first asked for.

    detector: the name of the one whose answer counts, as a viewer chooses it; "" where that is not known.
    frame: what the detectors were given, the pattern on. clean: the camera's own frame. cut: whether another scene begins
    with it. worn, worn_cm, worn_angle, worn_fold, worn_lit: the pattern that is on, its printed width, the degrees it is
    turned by, the share folded away and whether it takes the light of the cloth; or "" and None. turned, farther: degrees
    by which the whole image was turned, and times it was made smaller, clean too. worn_pose: how the nearest wearer's print
    lies, as software drew it. print_found: how a print lies that was found in the pixels lately, or None. condition: where
    the pattern's condition stands, the worn one's or the found one's, or None of one that acts always.
    people: those of the answer that counts who are drawn, defended if a defence is on. bare: those of the undefended
    answer beside it, or None. top: the highest person score before the threshold, of the answer that counts;
    bare_top: the same without the defence, or None.
    beside: the answers of other detectors, in the order of their panes.
    placed: the people found in the clean frame, who got the pattern, or None without one. wearers, bare_wearers:
    the state of each wearer by the answer that counts and by the bare one, or None. unworn: how many people in the clean
    frame show no chest, and wear nothing. sizes: each person's size and distance
    as text, with a camera profile. lines: written into the image. claims: what certifying defences say is proven. drawn:
    whether the image carries all marks already, of a recording; it then holds all panes.
    """

    number: int
    frame: Frame
    clean: Frame
    people: Detections
    bare: Detections | None
    top: float
    bare_top: float | None
    controls: Controls
    defences: tuple[str, ...]
    worn: str = ""
    worn_cm: float | None = None
    worn_angle: float | None = None
    worn_fold: float | None = None
    worn_lit: bool | None = None
    turned: float = 0.0
    farther: float = 1.0
    worn_pose: PrintPose | None = None
    print_found: PrintPose | None = None
    condition: ConditionNow | None = None
    detector: str = ""
    cut: bool = False
    placed: Detections | None = None
    wearers: tuple[Wearer, ...] | None = None
    bare_wearers: tuple[Wearer, ...] | None = None
    unworn: int = 0
    beside: tuple[Beside, ...] = ()
    stage_ms: dict[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    drawn: bool = False

    @property
    def hiding(self) -> Hiding | None:
        """Return how many wearers are in which state by the answer that counts; None where no pattern is on."""
        return None if self.wearers is None else Hiding.of(self.wearers)

    @property
    def bare_hiding(self) -> Hiding | None:
        """Return the same by the bare answer."""
        return None if self.bare_wearers is None else Hiding.of(self.bare_wearers)

    @property
    def pane_count(self) -> int:
        """Return how many panes there are: the bare answer, those of other detectors, and the one that counts."""
        return 1 + (self.bare is not None) + len(self.beside)

    @cached_property
    def annotated(self) -> UInt8Array:
        """Return what the page shows, (h, w, 3) uint8 RGB: everybody drawn in, all panes in a row, each of them w wide.

        The bare answer is on the left, the one that counts on the right, those of other detectors between.
        """
        return self.panes(self.lines)

    def panes(self, lines: Sequence[str]) -> UInt8Array:
        """Return the same with other lines in the pane of the answer that counts."""
        if self.drawn:
            return self.frame.pixels
        if self.beside:
            lines = [*lines, said_of(self.people)]
        out = [self._pane(self.people, self.wearers, lines, self.sizes)]
        for other in reversed(self.beside):
            out.insert(0, self._pane(other.people, other.wearers, (other.name, said_of(other.people))))
        if self.bare is not None:
            out.insert(0, self._pane(self.bare, self.bare_wearers, ("bare",)))
        return np.hstack(out) if len(out) > 1 else out[0]

    def _pane(
        self,
        people: Detections,
        wearers: Sequence[Wearer] | None,
        lines: Sequence[str],
        sizes: Sequence[str] = (),
    ) -> UInt8Array:
        skeleton, hidden = self.controls.skeleton, _hidden(wearers)
        return drawn(self.frame.pixels, people, skeleton=skeleton, lines=lines, sizes=sizes, hidden=hidden)


def said_of(people: Detections) -> str:
    """Return how many people there are, in words."""
    return "1 person" if len(people) == 1 else f"{len(people)} people"


def detector_line(name: str, backend: str, precision: str, conf: float) -> str:
    """Return the line of an image that says which detector at which threshold found the people."""
    return f"{name} {backend} {precision}  conf {conf:.2f}"


def _hidden(wearers: Sequence[Wearer] | None) -> list[tuple[float, float, float, float]]:
    """Return the boxes of those wearers that have no other mark."""
    return [w.xyxy for w in wearers or () if w.state == "hidden"]
