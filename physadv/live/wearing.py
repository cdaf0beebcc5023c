"""Which pattern people wear: chosen or recommended, from when on, and off for a moment so that a defence starts warm."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Any

from physadv.defend.persistence import WARM_UP_S
from physadv.live.library import PatchLibrary
from physadv.live.overlay import Overlay
from physadv.live.recommend import Recommendation, View, recommend, view_of
from physadv.live.shown import Shown
from physadv.patch import Patch, shipped_names
from physadv.simulate.trigger import Trigger
from physadv.types import Detections, Frame

# The view is that of the last seconds: one who sits down or comes near for a moment changes nothing.
OVER_S = 2.0
# A warm start ends after so long even if nobody came: an empty scene would hold it for ever.
LONGEST_S = 20.0
# Between two recommendations within a scene; each takes a millisecond.
ADVISE_S = 0.5
NEVER_SEEN = (
    "Persistence keeps people that it saw without the pattern, for some seconds and until the scene changes. It never saw "
    "who is hidden here."
)


class Viewpoint:
    """How the camera sees people, from frame to frame. The loop adds; any thread reads."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, View]] = deque(maxlen=300)

    def cut(self) -> None:
        """Forget the scene before."""
        self._recent.clear()

    def see(self, view: View, at_s: float) -> None:
        """Add how an image without a pattern shows people, taken at a time in seconds."""
        self._recent.append((at_s, view))
        while not 0 <= at_s - self._recent[0][0] <= OVER_S:
            self._recent.popleft()

    @property
    def view(self) -> View | None:
        """Return how people are seen; None before anybody was."""
        # A copy: the loop goes on while a screen asks.
        recent = list(self._recent)
        return View.median(view for _, view in recent) if recent else None


def objection(patch: Patch, view: View | None, best: Recommendation | None) -> str:
    """Return one sentence where a pattern is made for another framing than the camera sees; "" where it is not.

    Nothing speaks against the recommended one: it is the best that there is for this view.
    """
    if view is None or patch.framing in ("", "mixed", view.framing) or (best is not None and best.name == patch.name):
        return ""
    made = "people in the street, small and whole" if patch.framing == "street" else "one who fills the image"
    seen = "people are small" if view.framing == "street" else "people fill the image"
    more = "" if best is None else f", and {best.name} does more"
    return f"{patch.name} is made for {made}; here {seen}{more}."


def overlay_of(
    patch: Patch, size_cm: float | None, *, angle: float = 0.0, fold: float = 0.0, lit: bool = True
) -> Overlay:
    """Return what puts a pattern on people, `size_cm` wide; None is its own size.

    A texture keeps the period it was trained with, and its place: clothes are as large as their wearer. angle, fold,
    lit: see `Overlay`.
    """
    if patch.tiles:
        return Overlay(patch, lit=lit)
    return Overlay(patch, size_cm=size_cm, angle=angle, fold=fold, lit=lit)


def trigger_said(trigger: Trigger, print_name: str) -> dict[str, Any]:
    """Return what screens and recordings hold of a trigger. print_name: what its print is called here, or ""."""
    return {"name": print_name or trigger.name, "kind": trigger.kind, "angle": trigger.angle}


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

    worn: what draws it, or None where none is chosen. recommended: what fits the people in view, or None. from_s: seconds
    into the frames of a source before it is on.
    """

    def __init__(self, library: PatchLibrary, *, from_s: float) -> None:
        self.worn: Overlay | None = None
        self.viewpoint = Viewpoint()
        self.recommended: Recommendation | None = None
        self.warm_start = WarmStart()
        self._library, self._from_s = library, from_s
        self._chosen: tuple[str, float | None, float, float, bool] | None = None
        self._first_s: float | None = None
        self._advised_s: float | None = None
        self._begun = False

    def choose(self, name: str, size_cm: float | None, *, angle: float, fold: float, lit: bool) -> bool:
        """Put on the pattern of that name from the next frame on, "" for none; return whether that is a change.

        size_cm: see `overlay_of`. angle, fold, lit: see `Overlay`.

        Raises: PatchError if there is no such pattern.
        """
        chosen = (name, size_cm, angle, fold, lit) if name else None
        if chosen == self._chosen:
            return False
        patch = self._library.get(name) if name else None
        self.worn = None if patch is None else overlay_of(patch, size_cm, angle=angle, fold=fold, lit=lit)
        self._chosen = chosen
        return True

    def new_source(self) -> None:
        """Count `from_s` from the next frame on, unless the pattern has been on."""
        self._first_s = None

    def see(self, people: Detections, frame: Frame, imgsz: int) -> None:
        """Look at the people of a frame without a pattern; recommend one anew where it is time.

        imgsz: long side of the detector's input.
        """
        view, at_s = view_of(people, frame.size, imgsz), frame.pts_s
        if view is None:
            return
        self.viewpoint.see(view, at_s)
        if self._advised_s is None or not 0 <= at_s - self._advised_s < ADVISE_S:
            self._advised_s = at_s
            over = self.viewpoint.view or view
            # A file that was named at the start may bear a shipped name: whoever named it chooses it.
            choices = (self._library.get(name) for name in shipped_names() if not self._library.own(name))
            self.recommended = recommend(over, choices, now=self.recommended.name if self.recommended else "")

    def cut(self) -> None:
        """Forget the people of the scene before, and what was recommended for them."""
        self.viewpoint.cut()
        self.recommended, self._advised_s = None, None
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

        And how people are seen (`View.framing`, "" before anybody was), and the trigger that the detector waits for, or the
        poisoned one that ran before it.

        name: the chosen pattern, or "". shown: the frame shown last.
        """
        best, view = self.recommended, self.viewpoint.view
        # A defence with a memory has nothing to remember of somebody who was never seen without the pattern.
        blind = (
            shown is not None
            and "persistence" in shown.defences
            and any(w.state == "hidden" for w in shown.wearers or ())
        )
        warm, trigger = self.warm_start, self._library.trigger
        return {
            "trigger": None if trigger is None else trigger_said(trigger, self._library.trigger_print),
            "framing": "" if view is None else view.framing,
            "recommended": None if best is None else asdict(best),
            "wear_notice": objection(self._library.get(name), view, best) if name else "",
            "warm_start": {
                "offer": blind and not warm.running,
                "running": warm.running,
                "text": warm.text or (NEVER_SEEN if blind else ""),
            },
        }
