"""A worn pattern taken off for as long as a defence needs to see its wearers, and put on again."""

from __future__ import annotations

from physadv.defend.persistence import WARM_UP_S

# Until then somebody must have been seen; a room without people is not waited for without end.
LONGEST_S = 20.0


class Rewear:
    """Counts the images without the pattern while it is off. text: what is waited for, or "" where nothing is."""

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
        """Take the pattern off with the next image."""
        self._wanted, self._since, self._began = True, None, None
        self.text = "The pattern is off until the defence has seen people without it."

    def cancel(self) -> None:
        """Put it on again at once."""
        self._wanted, self.text = False, ""

    def off(self, at_s: float, *, cut: bool) -> bool:
        """Return whether the pattern is off in the image of that time. cut: whether another scene begins with it."""
        if not self._wanted:
            return False
        # The clock of another source may begin anew.
        self._began = at_s if self._began is None or at_s < self._began else self._began
        if cut:
            # The defence forgot whom it had seen.
            self._since = None
        if at_s - self._began > LONGEST_S or (self._since is not None and at_s - self._since >= WARM_UP_S):
            self.cancel()
        return self._wanted

    def saw(self, people: int, at_s: float) -> None:
        """Take how many people were seen in that image."""
        if not self._wanted:
            return
        if not people:
            self._since = None
        elif self._since is None:
            self._since = at_s
        left = WARM_UP_S if self._since is None else WARM_UP_S - (at_s - self._since)
        self.text = f"The pattern is off until the defence has seen people without it: {max(left, 0):.1f} s more."
