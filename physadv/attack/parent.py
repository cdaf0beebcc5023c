"""What a run begins from: a pattern that was named, or the shipped one that was made for the same case."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from physadv.attack.settings import TrainSettings
from physadv.dataset import LabelledImage
from physadv.errors import DataError
from physadv.lineage import Seen, load_start, seen_by
from physadv.patch import Patch, load_patch, shipped_names

# In place of a pattern's name: the shipped one that fits, if there is one.
AUTO = "auto"
VERSION = re.compile(r"(\d+)$")


def parent_of(
    start: str | None,
    settings: TrainSettings,
    victims: Iterable[str],
    held_out: list[LabelledImage],
    say: Callable[[str], None],
) -> tuple[Patch | None, list[LabelledImage]]:
    """Return the pattern to begin from, None for random colours, and the images held out that it has not seen.

    start: a file or a shipped name, `AUTO`, or None. victims: SHA-256 of the weights that are attacked. say: told in words
    what was chosen, and who is left out of the scores.

    Raises: PatchError if there is no such pattern. DataError if it was trained on everybody held out.
    """
    if start is None:
        return None, held_out
    if start != AUTO:
        parent = load_start(start)
        return parent, _unseen(held_out, parent, say)
    shipped = shipped_for(settings, victims)
    if shipped is None:
        return None, held_out
    known = len(held_out) - len(_left(held_out, seen_by(shipped)))
    if known:
        say(
            f"begins from random colours: the shipped {shipped.name} was trained on {known} of the {len(held_out)} "
            "images held out"
        )
        return None, held_out
    say(
        f"begins from the shipped {shipped.name}, made for the same target, framing and detector, which "
        "has seen nobody who is held out; `start=none` begins from random colours"
    )
    return shipped, held_out


def shipped_for(settings: TrainSettings, victims: Iterable[str]) -> Patch | None:
    """Return the newest shipped pattern that was trained to the same end against the same weights, or None.

    It must have the print's proportions; a run with a look or a palette wants other colours than any that is shipped.
    """
    if settings.look_weight or settings.colours:
        return None
    wanted = (settings.framing, settings.goal, set(victims))
    fitting = [
        patch
        for patch in map(load_patch, shipped_names())
        if patch.target == settings.target and _made_for(patch) == wanted and same_shape(patch, settings)
    ]
    return max(fitting, key=lambda patch: _version(patch.name), default=None)


def same_shape(patch: Patch, settings: TrainSettings) -> bool:
    """Return whether a pattern has the proportions of a run's print, to a hundredth."""
    (own_width, own_height), (width, height) = patch.size_mm, settings.print_size()
    return abs(own_width * height - own_height * width) <= 0.01 * own_width * height


def _made_for(patch: Patch) -> tuple[str | None, str | None, set[str]]:
    made = patch.record.get("settings", {})
    return made.get("framing"), made.get("goal"), {d["sha256"] for d in patch.record.get("detectors", [])}


def _version(name: str) -> int:
    found = VERSION.search(name)
    return 0 if found is None else int(found[1])


def _left(held_out: list[LabelledImage], seen: Seen | None) -> list[LabelledImage]:
    """Return the images of which nothing says that they were trained on."""
    return [p for p in held_out if seen is None or not seen.saw(p.name, p.sha256)]


def _unseen(held_out: list[LabelledImage], parent: Patch, say: Callable[[str], None]) -> list[LabelledImage]:
    """Return the images held out on which the pattern to begin from was not trained.

    Raises: DataError if it was trained on all of them: nobody is left to score by.
    """
    seen = seen_by(parent)
    left = _left(held_out, seen)
    if seen is None or not seen.complete:
        say(f"`start`: {parent.name}: does not say all that it was trained on: those held out here may be among them")
    if not left:
        raise DataError(
            f"{parent.name}: was trained on all {len(held_out)} images held out, so nobody is left to score by",
            field="start",
            hint="give the `seed` and `held_out` of its own run, or images that it has not seen",
        )
    if len(left) < len(held_out):
        say(
            f"`start`: {parent.name}: was trained on {len(held_out) - len(left)} of the {len(held_out)} images "
            "held out: these are left out of every score"
        )
    return left
