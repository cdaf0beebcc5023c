"""The library of patches: shipped, named at the start or uploaded; each loaded when it is first asked for."""

from __future__ import annotations

import threading
from typing import Protocol

from physadv.errors import PatchError, SettingsError
from physadv.patch import REPLACED, Patch, load_patch, patch_from_image, shipped_names
from physadv.simulate.trigger import Trigger

MAX_UPLOADS = 24
# What the trigger's print is called, whatever its own name, where patterns are named at the start.
TRIGGER = "trigger"


class Reader(Protocol):
    """What makes a pattern of the bytes of an image."""

    def __call__(self, data: bytes, *, name: str) -> Patch:
        """Return the pattern; `name` unless its own metadata has one."""
        ...


class PatchLibrary:
    """Patterns by name, in the order in which a viewer is offered them. Safe to use from several threads.

    A name that is taken, by a shipped pattern too, stays with the pattern that has it; another one is called `name (2)`.

    trigger: what the detector was poisoned with, or the poisoned one that ran before it, or None. trigger_print: the name
    of its print here, or "".
    """

    def __init__(self, named: list[str], *, trigger: Trigger | None = None) -> None:
        """named: files or shipped names, loaded at once so that a wrong one is an error at the start.

        trigger: its print is offered as well, and among those named it is `trigger`, or has its own name.

        Raises: PatchError. SettingsError if a trigger's print is named and there is none.
        """
        self.trigger = trigger
        self._lock = threading.RLock()
        self._patches: dict[str, Patch] = {}
        self._shipped: dict[str, Patch] = {}
        self._uploads: list[str] = []
        self._kept = ""
        self.first = [self._name(self._load(where)) for where in named]
        self.trigger_print = ""
        if trigger is not None:
            self.await_trigger(trigger)

    def await_trigger(self, trigger: Trigger) -> None:
        """Offer another trigger's print from now on, in the size that its detector was poisoned with."""
        name = "" if trigger.patch is None else self._name(trigger.patch)
        with self._lock:
            self.trigger, self.trigger_print = trigger, name

    def names(self) -> list[str]:
        """Return every name: those given at the start, uploads, then what is shipped."""
        with self._lock:
            return [*self._patches, *(n for n in shipped_names() if n not in self._patches)]

    def own(self, name: str) -> bool:
        """Return whether a pattern was named at the start or uploaded, and does not just come with physadv."""
        with self._lock:
            return name in self._patches

    def present_name(self, name: str) -> str:
        """Return what the pattern of that name is called now: the one that took its place if it is no longer shipped."""
        return name if self.own(name) else REPLACED.get(name, name)

    def get(self, name: str) -> Patch:
        """Return the pattern of that name, or the one that took its place.

        Raises: PatchError if there is none.
        """
        with self._lock:
            patch = self._held(self.present_name(name))
        if patch is None:
            raise PatchError(f"no pattern named {name!r} here; there are: {', '.join(self.names()) or 'none'}")
        return patch

    def keep(self, name: str) -> None:
        """Keep the pattern of that name, which is worn from now on, until another is; "" is none.

        Raises: PatchError if there is none of that name.
        """
        with self._lock:
            if name:
                self.get(name)
            self._kept = name

    def upload(self, data: bytes, *, name: str, read: Reader = patch_from_image) -> str:
        """Add the pattern of a PNG or JPEG and return the name it got; the oldest upload that is not worn is dropped.

        The image of a pattern that is here already gives that pattern's name. read: makes a pattern of the bytes.

        Raises: PatchError if it is not an image that can be a pattern.
        """
        patch = read(data, name=name[:60] or "upload")
        with self._lock:
            key, held = self._place(patch, patch.name)
            if held is None:
                self._patches[key] = patch
                self._uploads.append(key)
            if len(self._uploads) > MAX_UPLOADS:
                oldest = next(name for name in self._uploads if name != self._kept)
                self._uploads.remove(oldest)
                del self._patches[oldest]
        return key

    def _load(self, where: str) -> Patch:
        """Return the pattern named at the start."""
        trigger = self.trigger
        if trigger is not None and trigger.patch is not None and where in (TRIGGER, trigger.name):
            return trigger.patch
        if where == TRIGGER:
            raise SettingsError(
                field="wear",
                expected="a detector of the lab that was poisoned with a print, which is then worn as its trigger",
                got="one that was not poisoned" if trigger is None else f"one whose trigger is a {trigger.kind}",
                hint="name a run of `physadv lab finetune` by `detector`"
                if trigger is None
                else f"turn the image by `turn`, {trigger.angle:g}",
            )
        return load_patch(where)

    def _name(self, patch: Patch) -> str:
        """Keep a pattern named at the start and return the name it got."""
        with self._lock:
            key, held = self._place(patch, patch.name)
            # An image has no record; what is here may have one.
            self._patches[key] = patch if held is None or patch.record else held
        return key

    def _place(self, patch: Patch, base: str) -> tuple[str, Patch | None]:
        """Return the name for a pattern, and the same pattern if it is here by that name. The lock must be held."""
        key, count = base, 2
        while (held := self._held(key)) is not None and held.sha256 != patch.sha256:
            key, count = f"{base} ({count})", count + 1
        return key, held

    def _held(self, name: str) -> Patch | None:
        """Return the pattern that has a name, or None. The lock must be held."""
        if name in self._patches:
            return self._patches[name]
        if name not in self._shipped and name in shipped_names():
            self._shipped[name] = load_patch(name)
        return self._shipped.get(name)
