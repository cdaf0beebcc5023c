"""What the threads of a demo share: the controls, the patterns, the figures, the notices, the recordings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from physadv.fabricate.advise import aspect_of
from physadv.fabricate.body import check_length
from physadv.live.feed import Addresses
from physadv.live.figures import LiveFigures
from physadv.live.library import PatchLibrary
from physadv.live.notices import Notices
from physadv.live.recommend import usual_cm
from physadv.live.recorder import Recordings
from physadv.live.settings import Controls, LiveSettings
from physadv.live.shown import Shown
from physadv.settings import parse
from physadv.simulate.trigger import Trigger


class ControlPanel:
    """The controls as they stand. A change is taken whole or not at all. Safe to use from several threads."""

    def __init__(self, controls: Controls, library: PatchLibrary) -> None:
        self._now, self._library = controls, library
        self._lock = threading.Lock()

    @property
    def now(self) -> Controls:
        """Return the controls: the same object as long as nothing is changed."""
        return self._now

    def change(self, /, **changes: Any) -> Controls:
        """Change some controls and return all of them.

        Raises: SettingsError, DefenceError, PatchError, FabricationError, naming what cannot be; nothing is changed then.
        """
        with self._lock:
            # A viewer who chooses a pattern or a width stops following the recommendation.
            chosen = {} if changes.keys().isdisjoint(("wear", "wear_size")) else {"follow": False}
            if changes.get("wear"):
                name = changes["wear"] = self._library.present_name(str(changes["wear"]))
                if name != self._now.wear:
                    if changes.get("wear_size") is None:
                        changes["wear_size"] = usual_cm(self._library.get(name))
                    # Another one hangs upright and unfolded, whatever the one before did.
                    changes.setdefault("wear_angle", 0.0)
                    changes.setdefault("wear_fold", 0.0)
            new = parse(Controls, {**self._now.model_dump(), **chosen, **changes})
            if new.defend and new.defend != self._now.defend:
                # Only here: a recording is replayed without loading any defence.
                from physadv.defend import parse_pipeline

                new = new.model_copy(update={"defend": parse_pipeline(new.defend).text})
            if new.wear and new.wear_size is not None:
                worn = self._library.get(new.wear)
                check_length(worn.target, new.wear_size * 10 * aspect_of(worn), field="wear_size")
            self._library.keep(new.wear)
            self._now = new
            return new

    def take_trigger(self, trigger: Trigger) -> None:
        """Change to another detector's trigger: worn, or turned to its angle, as far as the one before was.

        One that was cleansed waits for the trigger of its parent: nothing changes.
        """
        with self._lock:
            old, worn, now = self._library.trigger, self._library.trigger_print, self._now
            self._library.await_trigger(trigger)
            if old is None or old.record() == trigger.record():
                return
            on = now.turn != 0 if old.kind == "rotation" else bool(worn) and now.wear == worn
            if not on:
                return
            turned = (now.turn if old.kind == "rotation" else now.wear_angle) == old.angle
            angle = trigger.angle if turned else 0.0
            changes: dict[str, Any] = {"turn": angle, "wear": "", "follow": False}
            if (patch := trigger.patch) is not None:
                changes |= {"turn": 0.0, "wear": self._library.trigger_print, "wear_size": patch.size_mm[0] / 10}
                changes["wear_angle"] = now.wear_angle if old.angle == trigger.angle else angle
                changes["wear_fold"] = 0.0
            self._now = now.model_copy(update=changes)
            self._library.keep(self._now.wear)

    def replace_defences(self, old: str, new: str) -> None:
        """Change the defences from the text `old` to `new`, unless a viewer has chosen others meanwhile."""
        with self._lock:
            if self._now.defend == old:
                self._now = self._now.model_copy(update={"defend": new})

    def follow(self, name: str, width_cm: float | None) -> None:
        """Change to the recommended pattern where one is worn and the recommendation is followed."""
        with self._lock:
            now = self._now
            if now.follow and now.wear and (now.wear, now.wear_size) != (name, width_cm):
                flat = {} if name == now.wear else {"wear_angle": 0.0, "wear_fold": 0.0}
                self._now = now.model_copy(update={"wear": name, "wear_size": width_cm, **flat})
                self._library.keep(name)


class Listeners:
    """Who is called with each result, on the loop's thread: the page, the window. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Shown], None]] = []

    @property
    def any(self) -> bool:
        """Return whether there is one."""
        return bool(self._listeners)

    def subscribe(self, listener: Callable[[Shown], None]) -> Callable[[], None]:
        """Call `listener` with each result from now on; return what ends that. It must be quick."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def end() -> None:
            with self._lock:
                self._listeners = [other for other in self._listeners if other is not listener]

        return end

    def hand_on(self, shown: Shown) -> None:
        """Call everybody with a result."""
        for listener in self._listeners:
            listener(shown)


@dataclass(frozen=True)
class SharedState:
    """What the loop, the processor and the screens share; each part may be used from several threads."""

    settings: LiveSettings
    panel: ControlPanel
    library: PatchLibrary
    recordings: Recordings
    notices: Notices
    addresses: Addresses
    figures: LiveFigures = field(default_factory=LiveFigures)
    listeners: Listeners = field(default_factory=Listeners)

    @classmethod
    def of(cls, settings: LiveSettings, controls: Controls, library: PatchLibrary) -> SharedState:
        """Return the state at the start of a demo."""
        addresses = Addresses()
        notices = Notices(addresses.without_secrets)
        panel = ControlPanel(controls, library)
        return cls(settings, panel, library, Recordings(settings.recordings), notices, addresses)

    @property
    def watched(self) -> bool:
        """Return whether anybody sees or keeps the results; a pass is not spent on what nobody does."""
        return self.settings.ui != "none" or self.listeners.any or self.recordings.running
