"""How a pattern is worn when it is scored: in its own framing and sizes, as its record has them, or as is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import ValidationError

from physadv.dataset import LabelledImage
from physadv.evaluate.settings import USUAL_IMGSZ, EvaluateSettings
from physadv.patch import Patch
from physadv.simulate.framing import PlacementSettings
from physadv.simulate.placement import BOX_AT, Framing, Placement, Rule

# Share of its image from which on somebody is before a webcam rather than in the street.
FILLS = 0.25
# What a record's settings say of how a pattern is worn.
HOW_WORN = ("target", "framing", "rule", "scale", "webcam_scale", "at", "size_mm")


@dataclass(frozen=True, slots=True)
class Fit:
    """How one pattern is worn. sizes: long sides at which a detector looks. framing: of its training, "" if unknown."""

    placement: Placement
    sizes: tuple[int, ...]
    framing: Framing | Literal[""] = ""


def own_fit(patch: Patch, *, filling: bool) -> Fit:
    """Return how a pattern was made to be worn. filling: whether people fill their images, as before a webcam.

    That decides where a pattern was trained for both framings, or its record does not say for which; one without a record
    is as large as its print is on a grown-up.
    """
    settings = _trained(patch)
    known = settings is not None
    if settings is None:
        framing: Framing = "webcam" if filling else "street"
        settings = PlacementSettings.model_validate(_values(patch, framing, "area"))
    both = settings.placements()
    placement, sizes = both["webcam" if filling and "webcam" in both else next(iter(both))]
    return Fit(placement, sizes if known else (USUAL_IMGSZ,), settings.framing if known else "")


def fit_of(patch: Patch, asked: EvaluateSettings, *, filling: bool) -> Fit:
    """Return how a pattern is worn where some of it is asked for: the rest is its own."""
    own = own_fit(patch, filling=filling)
    placement, framing = own.placement, own.framing or ("webcam" if filling else "street")
    webcam = framing == "webcam" or (framing == "mixed" and filling)
    rule, scale = asked.rule or placement.rule, asked.scale
    if scale is None and (placement.scale is None or rule != placement.rule):
        settings = PlacementSettings.model_validate(_values(patch, framing, rule))
        scale = settings.webcam_scale if webcam else settings.scale
    if asked.at is not None:
        placement = Placement.of(asked.at, rule, placement.scale if scale is None else scale)
    elif not placement.cloth:
        placement = replace(placement, rule=rule, scale=placement.scale if scale is None else scale)
    elif asked.scale is not None:
        # A texture is worn as clothes, unless a square's size is asked for.
        placement = Placement.of("chest" if webcam else BOX_AT, rule, scale)
    return replace(own, placement=placement, sizes=own.sizes if asked.imgsz is None else (asked.imgsz,))


def share_of_image(people: Sequence[LabelledImage]) -> float:
    """Return the median, over images in which somebody counts, of the share that the largest person has of one."""
    shares = [image.share for image in people if image.counts.any()]
    return float(np.median(shares)) if shares else 0.0


def in_words(placement: Placement) -> str:
    """Return how large a pattern is worn and where, as a report says it."""
    if placement.cloth:
        return "as a T-shirt" if placement.target == "tshirt" else "as T-shirt and trousers"
    places = {"chest": "on the chest", "portrait": "from chest to thighs"}
    where = places.get(placement.target, f"at {placement.at:g}")
    if placement.scale is None:
        return f"{placement.width:g} x {placement.height:g} cm {where}"
    return f"side {placement.scale:g} by {placement.rule} {where}"


def not_own(patch: Patch, placement: Placement, imgsz: int) -> str | None:
    """Return what to say of a pattern that is not scored as it was made to be worn; None where it is, or nobody knows."""
    fits = [own_fit(patch, filling=filling) for filling in (False, True)]
    if not fits[0].framing:
        return (
            f"its record does not say how it is worn: scored {in_words(placement)}, {imgsz} px; `scale`, `at` "
            "and `imgsz` give another"
        )
    same = next((f for f in fits if _alike(f.placement, placement)), None)
    if same is not None and imgsz in same.sizes:
        return None
    own = same or fits[0]
    return (
        f"scored {in_words(placement)}, {imgsz} px; it was made to be worn {in_words(own.placement)} and seen at "
        f"{' and '.join(map(str, own.sizes))} px"
    )


def other_framing(patch: Patch, share: float) -> str | None:
    """Return what to say of a pattern scored on people of another framing; None if they are of its own, or nobody knows.

    share: the median share of an image that its largest person has.
    """
    framing = own_fit(patch, filling=False).framing
    if framing == "webcam" and share <= FILLS:
        return (
            "made for people who fill the image, as before a webcam; here the largest person takes "
            f"{share:.0%} of it (median)"
        )
    if framing == "street" and share > FILLS:
        return (
            f"made for whole people in the street; here the largest person takes {share:.0%} of the image (median), as "
            "before a webcam"
        )
    return None


def _alike(a: Placement, b: Placement) -> bool:
    if a.cloth or b.cloth:
        return a.target == b.target
    same_place = a.target == b.target and (a.target != "poster" or abs(a.at - b.at) < 1e-3)
    return a.rule == b.rule and same_place and abs((a.scale or 0) - (b.scale or 0)) < 1e-3


def _trained(patch: Patch) -> PlacementSettings | None:
    """Return the settings that a pattern's record holds, or None where it holds none that are understood."""
    settings = patch.record.get("settings")
    if not isinstance(settings, dict) or "framing" not in settings:
        return None
    try:
        # No more than is asked about: other versions have other settings of what else there is.
        return PlacementSettings.model_validate({n: settings[n] for n in HOW_WORN if settings.get(n) is not None})
    except ValidationError:
        return None


def _values(patch: Patch, framing: str, rule: Rule) -> dict[str, object]:
    """Return the settings of a run whose print has the pattern's size."""
    return {"target": patch.target, "framing": framing, "rule": rule, "size_mm": patch.size_mm}
