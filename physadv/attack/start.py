"""The pattern that a run starts from: one that was named, or the shipped one that was made for the same case."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace

import numpy as np

from physadv.attack.recipe import Recipe
from physadv.attack.settings import AUTO
from physadv.dataset import LabelledImage
from physadv.errors import DataError, PatchError
from physadv.lineage import Seen, load_start, seen_by
from physadv.patch import Patch, Target, load_patch, shipped_names

# Target -> the one whose shipped pattern it may start from where it has none of its own.
INSTEAD: dict[Target, Target] = {"portrait": "chest", "outfit": "tshirt"}


def choose_start(
    start: str | None, recipe: Recipe, weights: Iterable[str], held_out: list[LabelledImage]
) -> Generator[str, None, tuple[Patch | None, list[LabelledImage]]]:
    """Return the pattern to start from, None for random colours, and the held-out images on which it was not trained.

    start: a file or a shipped name, `AUTO`, or None. weights: SHA-256 of the weights that are attacked. Yields notes: what
    was chosen, and which images are left out of the scores.

    Raises: PatchError if there is no such pattern. DataError if it was trained on every held-out image.
    """
    if start is None:
        return None, held_out
    if start != AUTO:
        patch = load_start(start)
        return patch, (yield from _unseen(held_out, patch))
    shipped = shipped_for(recipe, weights)
    if shipped is None:
        yield (
            f"starts from random colours: no shipped pattern was made for `target={recipe.target}`, "
            f"`framing={recipe.framing}`, these detectors and flags"
        )
        return None, held_out
    known = len(held_out) - len(_not_in(seen_by(shipped), held_out))
    if known:
        yield (
            f"starts from random colours: the shipped {shipped.name} was trained on {known} of the {len(held_out)} "
            "held-out images"
        )
        return None, held_out
    made = "the same target," if shipped.target == recipe.target else f"`target={shipped.target}`, the same"
    yield (
        f"starts from the shipped {shipped.name}, made for {made} framing and detector, which was trained on no held-out "
        "image; `start=none` starts from random colours"
    )
    return shipped, held_out


def shipped_for(recipe: Recipe, weights: Iterable[str]) -> Patch | None:
    """Return the shipped pattern that was trained to the same end against the same weights, or None.

    It must have the print's proportions; a run with a look or a palette wants other colours than any that is shipped. Where
    there is none a square for the chest will do for a portrait print, as `fitted` repeats it, and a T-shirt's texture for
    an outfit.
    """
    if recipe.look_weight or recipe.colours:
        return None
    wanted = (recipe.framing, recipe.goal, set(weights))
    # One that acts on a condition begins nothing but its like; without its like any that acts always will do.
    here = [patch for patch in map(load_patch, shipped_names()) if _made_for(patch) == wanted]
    made = [p for p in here if p.when and p.when == recipe.when] or [p for p in here if not p.when]
    fitting = [patch for patch in made if patch.target == recipe.target and same_shape(patch, recipe)]
    if not fitting and recipe.target in INSTEAD:
        fitting = [patch for patch in made if patch.target == INSTEAD[recipe.target]]
    return next(iter(fitting), None)


def fitted(start: Patch, recipe: Recipe) -> Patch:
    """Return a pattern to start from in the shape of a run's portrait print: repeated downwards, cut where that ends.

    A square twice, one above the other, hides more people than 929 steps from random colours do: .063 of 189 people are
    found, beside .095. Of other targets patterns are taken as they are, and fill the print.

    Raises: PatchError if a portrait pattern is to start a print of another shape.
    """
    if same_shape(start, recipe) or "portrait" not in (recipe.target, start.target):
        return start
    (own_width, own_height), (width, height) = start.size_mm, recipe.print_size()
    if recipe.target != "portrait":
        raise PatchError(
            f"{start.name}: a portrait pattern of {own_width:g} x {own_height:g} mm does not fit `target={recipe.target}`, "
            f"{width:g} x {height:g} mm",
            field="start",
            hint="start from another pattern, or train with `target=portrait`",
        )
    rows = max(round(start.pixels.shape[0] * (height / width) / (own_height / own_width)), 1)
    again = np.arange(rows) % start.pixels.shape[0]
    size = (own_width, own_width * height / width)
    return replace(start, pixels=start.pixels[again], mask=start.mask[again], size_mm=size)


def same_shape(patch: Patch, recipe: Recipe) -> bool:
    """Return whether a pattern has the proportions of a run's print, to a hundredth."""
    (own_width, own_height), (width, height) = patch.size_mm, recipe.print_size()
    return abs(own_width * height - own_height * width) <= 0.01 * own_width * height


def _made_for(patch: Patch) -> tuple[str | None, str | None, set[str]]:
    made = patch.record.get("settings", {})
    return made.get("framing"), made.get("goal"), {d["sha256"] for d in patch.record.get("detectors", [])}


def _not_in(seen: Seen | None, held_out: list[LabelledImage]) -> list[LabelledImage]:
    """Return the images of which nothing says that they were trained on."""
    return [p for p in held_out if seen is None or not seen.saw(p.name, p.sha256)]


def _unseen(held_out: list[LabelledImage], start: Patch) -> Generator[str, None, list[LabelledImage]]:
    """Return the held-out images on which the pattern to start from was not trained.

    Raises: DataError if it was trained on all of them: nobody is left to score by.
    """
    seen = seen_by(start)
    left = _not_in(seen, held_out)
    if seen is None or not seen.complete:
        yield f"`start`: {start.name} does not say all that it was trained on: held-out images may be among it"
    if not left:
        raise DataError(
            f"{start.name} was trained on everybody held out ({len(held_out)} images): nobody is left to score by",
            field="start",
            hint="give the `seed` and `held_out` of its own run, or images on which it was not trained",
        )
    if len(left) < len(held_out):
        yield (
            f"`start`: {start.name} was trained on {len(held_out) - len(left)} of the {len(held_out)} held-out images: "
            "these are left out of every score"
        )
    return left
