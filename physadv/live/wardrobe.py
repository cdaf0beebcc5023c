"""The patterns that can be worn: shipped, named at the start, uploaded; each loaded when it is first asked for."""

from __future__ import annotations

import threading
from pathlib import Path

from physadv.errors import PatchError
from physadv.patch import Patch, load_patch, patch_from_picture, shipped_names

MAX_UPLOADS = 24


class Wardrobe:
    """Patterns by name, in the order in which a viewer is offered them. Safe to use from several threads."""

    def __init__(self, named: list[str]) -> None:
        """named: files or shipped names, loaded at once so that a wrong one is said at the start.

        Raises: PatchError.
        """
        self._lock = threading.Lock()
        self._patches: dict[str, Patch] = {}
        self._uploads: list[str] = []
        self.first = [self._add(load_patch(where), prefer=where if _bare(where) else "") for where in named]

    def names(self) -> list[str]:
        """Return every name: those given at the start, uploads, then what is shipped."""
        with self._lock:
            return [*self._patches, *(n for n in shipped_names() if n not in self._patches)]

    def get(self, name: str) -> Patch:
        """Return the pattern of that name.

        Raises: PatchError if there is none.
        """
        with self._lock:
            if name in self._patches:
                return self._patches[name]
        if name not in shipped_names():
            raise PatchError(f"no pattern named {name!r} here; there are: {', '.join(self.names()) or 'none'}")
        patch = load_patch(name)
        with self._lock:
            self._patches.setdefault(name, patch)
        return patch

    def upload(self, data: bytes, *, name: str) -> str:
        """Take the bytes of a PNG or JPEG in and return the name it got; the oldest upload makes room for the newest.

        Raises: PatchError if it is not a picture that can be a pattern.
        """
        patch = patch_from_picture(data, name=name[:60] or "upload")
        with self._lock:
            if len(self._uploads) >= MAX_UPLOADS:
                self._patches.pop(self._uploads.pop(0), None)
        key = self._add(patch)
        with self._lock:
            self._uploads.append(key)
        return key

    def _add(self, patch: Patch, *, prefer: str = "") -> str:
        base = prefer or patch.name or "pattern"
        with self._lock:
            key, count = base, 2
            while key in self._patches and self._patches[key].sha256 != patch.sha256:
                key, count = f"{base} ({count})", count + 1
            self._patches[key] = patch
        return key


def _bare(where: str) -> bool:
    """Return whether `where` is a shipped name rather than a path."""
    return Path(where).name == where and not Path(where).exists()
