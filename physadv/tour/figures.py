"""The live figures of a stop, as `static/tour.js` has them on the page: shares over the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from physadv.live.shown import Shown
from physadv.tour.stops import percent
from physadv.types import Detections

# Seconds. A figure of one frame flickers.
OVER_S = 3.0


class _Counted(NamedTuple):
    """What is counted in one frame; None for what is not there."""

    at_s: float
    people: int
    hidden: tuple[int, int] | None
    bare: tuple[int, int] | None
    certified: int


class TourFigures:
    """Counts of the last seconds. score: of the nearest person by itself, where a map is shown, or None."""

    def __init__(self) -> None:
        self.score: float | None = None
        self._recent: deque[_Counted] = deque(maxlen=300)

    def clear(self) -> None:
        """Forget all: something else is shown."""
        self.score = None
        self._recent.clear()

    def add(self, shown: Shown) -> None:
        """Count a frame."""
        at_s = shown.clean.pts_s
        hiding, bare = shown.hiding, shown.bare_hiding
        self._recent.append(
            _Counted(
                at_s,
                len(shown.people),
                None if hiding is None else (hiding.hidden, hiding.count),
                None if bare is None else (bare.hidden, bare.count),
                certified_in(shown.people),
            )
        )
        while not 0 <= at_s - self._recent[0].at_s <= OVER_S:
            self._recent.popleft()

    def lines(
        self, names: Sequence[str], words: Mapping[str, str], cost_ms: float | None, *, certifies: bool
    ) -> list[str]:
        """Return the lines of those names that there is something to be said in.

        words: `live` of the texts. cost_ms: what the defence adds to an image, None without one. certifies: whether it
        gives certificates.
        """
        recent = list(self._recent)
        if not recent:
            return [words["waiting"]]
        if not any(one.people or (one.hidden and one.hidden[1]) for one in recent):
            # No share is of nobody.
            return [words["people"].format(people=0)]
        hidden, bare = _share([one.hidden for one in recent]), _share([one.bare for one in recent])
        there = {
            "people": hidden is None and not certifies,
            "score": self.score is not None,
            "hidden": hidden is not None and bare is None,
            "both": hidden is not None and bare is not None,
            "cost": cost_ms is not None,
            "certified": certifies,
        }
        values = {
            "people": round(sum(one.people for one in recent) / len(recent)),
            "score": "" if self.score is None else f"{self.score:.2f}",
            "hidden": "" if hidden is None else percent(hidden),
            "bare": "" if bare is None else percent(bare),
            "cost": "" if cost_ms is None else f"{cost_ms:.0f}",
            "certified": round(sum(one.certified for one in recent) / len(recent)),
        }
        return [words[name].format_map(values) for name in names if there[name]]


def certified_in(people: Detections) -> int:
    """Return how many people have a certificate."""
    return 0 if people.certified is None else int(people.certified.sum())


def _share(parts: Sequence[tuple[int, int] | None]) -> float | None:
    """Return the share of all wearers; None where nobody wears anything in the newest frame."""
    if parts[-1] is None:
        return None
    counted = [part for part in parts if part is not None]
    return sum(hidden for hidden, _ in counted) / max(sum(count for _, count in counted), 1)
