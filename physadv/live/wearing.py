"""Which pattern people wear: chosen or recommended, from when on, and off for a moment so that a defence starts warm."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from physadv.defend.persistence import WARM_UP_S
from physadv.live.library import PatchLibrary
from physadv.live.overlay import Overlay
from physadv.live.shown import Shown
from physadv.patch import Patch
from physadv.simulate.joints import CUT_OFF
from physadv.simulate.placement import wears
from physadv.types import Detections

# How people stand in the image: small and whole; whole and filling it; cut off by its edge.
ViewKind = Literal["street", "whole", "webcam"]
# Below this share of the image's height people are small. The built-in sample's street shows them at .38.
SMALL = 0.55
# The view is that of the last seconds: one who sits down or comes near for a moment changes nothing.
OVER_S = 2.0
# A warm start ends after so long even if nobody came: an empty scene would hold it for ever.
LONGEST_S = 20.0
NEVER_SEEN = (
    "Persistence keeps people that it saw without the pattern, for some seconds and until the scene changes. It never saw "
    "who is hidden here."
)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to wear. width_cm: None for the pattern's own. framing: "street" or "webcam". why: one sentence."""

    name: str
    width_cm: float | None
    framing: str
    why: str


# Measured on the sample at 640 px, images in which more than half of the wearers are hidden: street at 48 cm 12 of 12
# in the street (36 cm: none), webcam at its 48 cm 10 of 12 where people are cut off.
BEST: dict[ViewKind, Recommendation] = {
    "street": Recommendation(
        "street", 48.0, "street", "People are small here, as in the street that it was trained for."
    ),
    "whole": Recommendation(
        "webcam", 60.0, "webcam", "People fill the image from head to foot: a wide print is needed."
    ),
    "webcam": Recommendation("webcam", 48.0, "webcam", "People fill the image and are cut off, as before a webcam."),
}


class Viewpoint:
    """How the camera sees people, from frame to frame. The loop adds; any thread reads."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float, bool]] = deque(maxlen=300)

    def cut(self) -> None:
        """Forget the scene before."""
        self._recent.clear()

    def see(self, people: Detections, size: tuple[int, int], at_s: float) -> None:
        """Add the people of an image of (width, height) without a pattern, taken at a time in seconds."""
        boxes = people.xyxy[wears(people)]
        if not len(boxes):
            return
        height, width = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
        self._recent.append((at_s, float(np.median(height)) / size[1], bool(np.median(height / width) > CUT_OFF)))
        while not 0 <= at_s - self._recent[0][0] <= OVER_S:
            self._recent.popleft()

    @property
    def view(self) -> ViewKind | None:
        """Return how people are seen; None before anybody was."""
        # A copy: the loop goes on while a screen asks.
        recent = list(self._recent)
        if not recent:
            return None
        if float(np.median([share for _, share, _ in recent])) < SMALL:
            return "street"
        return "whole" if 2 * sum(whole for _, _, whole in recent) > len(recent) else "webcam"


def objection(patch: Patch, view: ViewKind | None) -> str:
    """Return one sentence where a pattern is made for another framing than the camera sees; "" where it is not."""
    if view is None:
        return ""
    best = BEST[view]
    if patch.framing in ("", "mixed", best.framing):
        return ""
    made = "people in the street, small and whole" if patch.framing == "street" else "one who fills the image"
    seen = "people are small" if best.framing == "street" else "people fill the image"
    return f"{patch.name} is made for {made}; here {seen}, and {best.name} does more."


def overlay_of(patch: Patch, size_cm: float | None) -> Overlay:
    """Return what puts a pattern on people, `size_cm` wide; None is its own size.

    A texture keeps the period it was trained with: clothes are as large as their wearer.
    """
    return Overlay(patch, size_cm=None if patch.tiles else size_cm)


class WarmStart:
    """Takes the pattern off until a defence with a memory has seen the wearers, then puts it on again.

    text: what is waited for, or "" where nothing is.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._began: float | None = None
        self._wanted = False
        self.text = ""

    @property
    def running(self) -> bool:
        """Return whether the pattern is off for now."""
        return self._wanted

    def begin(self) -> None:
        """Take the pattern off with the next frame."""
        self._wanted, self._since, self._began = True, None, None
        self.text = "The pattern is off until the defence has seen people without it."

    def cancel(self) -> None:
        """Put it on again at once."""
        self._wanted, self.text = False, ""

    def is_off(self, at_s: float, *, cut: bool) -> bool:
        """Return whether the pattern is off in the frame of that time. cut: whether another scene begins with it."""
        if not self._wanted:
            return False
        # The clock of another source may restart.
        self._began = at_s if self._began is None or at_s < self._began else self._began
        if cut:
            # The defence forgot everybody.
            self._since = None
        if at_s - self._began > LONGEST_S or (self._since is not None and at_s - self._since >= WARM_UP_S):
            self.cancel()
        return self._wanted

    def saw(self, people: int, at_s: float) -> None:
        """Add how many people were seen in that frame."""
        if not self._wanted:
            return
        if not people:
            self._since = None
        elif self._since is None:
            self._since = at_s
        left = WARM_UP_S if self._since is None else WARM_UP_S - (at_s - self._since)
        self.text = f"The pattern is off until the defence has seen people without it: {max(left, 0):.1f} s more."


class Wearing:
    """The pattern that is put on people, from frame to frame. The loop's thread changes it; any thread reads `state`.

    worn: what draws it, or None where none is chosen. from_s: seconds into the frames of a source before it is on.
    """

    def __init__(self, library: PatchLibrary, *, from_s: float) -> None:
        self.worn: Overlay | None = None
        self.viewpoint = Viewpoint()
        self.warm_start = WarmStart()
        self._library, self._from_s = library, from_s
        self._chosen: tuple[str, float | None] | None = None
        self._first_s: float | None = None
        self._begun = False

    def choose(self, name: str, size_cm: float | None) -> bool:
        """Put on the pattern of that name from the next frame on, "" for none; return whether that is a change.

        size_cm: see `overlay_of`.

        Raises: PatchError if there is no such pattern.
        """
        chosen = (name, size_cm) if name else None
        if chosen == self._chosen:
            return False
        patch = self._library.get(name) if name else None
        self.worn = None if patch is None else overlay_of(patch, size_cm)
        self._chosen = chosen
        return True

    def new_source(self) -> None:
        """Count `from_s` from the next frame on, unless the pattern has been on."""
        self._first_s = None

    def cut(self) -> None:
        """Forget the people of the scene before."""
        self.viewpoint.cut()
        self.blank()

    def blank(self) -> None:
        """Forget the wearers but not the view: after a black image the same people may be there again."""
        if self.worn is not None:
            self.worn.reset()

    def is_on(self, at_s: float, *, cut: bool) -> bool:
        """Return whether the pattern is on in the frame of that time. cut: whether another scene begins with it."""
        if self._first_s is None:
            self._first_s = at_s
        self._begun = self._begun or at_s - self._first_s >= self._from_s
        return self._begun and not self.warm_start.is_off(at_s, cut=cut) and self.worn is not None

    def state(self, name: str, shown: Shown | None) -> dict[str, Any]:
        """Return what a screen says of the pattern: what is recommended, what speaks against the chosen one, a warm start.

        name: the chosen pattern, or "". shown: the frame shown last.
        """
        view = self.viewpoint.view
        # A defence with a memory has nothing to remember of somebody who was never seen without the pattern.
        blind = (
            shown is not None
            and "persistence" in shown.defences
            and any(w.state == "hidden" for w in shown.wearers or ())
        )
        warm = self.warm_start
        return {
            "recommended": None if view is None else asdict(BEST[view]),
            "wear_notice": objection(self._library.get(name), view) if name else "",
            "warm_start": {
                "offer": blind and not warm.running,
                "running": warm.running,
                "text": warm.text or (NEVER_SEEN if blind else ""),
            },
        }
