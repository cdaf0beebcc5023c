"""The addresses of sources: the whole ones are kept here alone, everybody else is given what may be shown of them."""

from __future__ import annotations

from physadv.address import covered, masked


class Addresses:
    """Whole addresses by what is shown of them, so that one can be opened again by what a screen says.

    Of two that look alike the one that was opened last counts. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._opened: dict[str, str] = {}

    def shown(self, spec: str) -> str:
        """Return what may be shown of a source's address; from now on `without_secrets` knows it."""
        shown = masked(spec)
        if shown != spec:
            self._shown[spec] = shown
        return shown

    def opened(self, spec: str) -> None:
        """Remember a source that could be opened, for `whole`. A mistyped one must not take the place of a good one."""
        self._opened[self.shown(spec)] = spec

    def whole(self, spec: str) -> str:
        """Return the whole address that was opened and is shown as `spec`, else `spec` itself."""
        return self._opened.get(spec, spec)

    def without_secrets(self, text: str) -> str:
        """Return a text in which every address that was ever shown here stands as it may be shown."""
        return covered(text, self._shown)
