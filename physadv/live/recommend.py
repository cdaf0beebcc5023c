"""Which pattern fits what the camera sees: by how people stand in the image and by what each pattern's record says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from physadv.camera.lens import PERSON_CM
from physadv.fabricate.advise import CLEARLY, PrintInView, SizeCurve, has_curve
from physadv.patch import Patch
from physadv.simulate.joints import AT_RIM, CUT_OFF, VISIBLE, box_px_per_cm, shoulders_visible, torso_frames
from physadv.simulate.placement import wears
from physadv.types import BoolArray, Detections, Float32Array

# Below this share of the image's height people are small. The built-in sample's street shows them at .38.
SMALL = 0.55
# The share of people that is in the image above which they count as whole.
WHOLE = 0.9
HIPS, KNEES = (11, 12), (13, 14)
# The simplest to make and wear goes first; another is recommended where it is expected to hide `CLEARLY` more people.
EFFORT = ("chest", "portrait", "tshirt", "outfit", "poster")
# Patterns are worn at their own size or, where that is expected to do so much more, so many times as wide: the sample's
# street has people 180 pixels high: `street` hides nobody at its own 36 cm, and most in 12 of 12 images at 48.
WIDER, WORTH_IT = 4 / 3, 0.02
# What is expected of a pattern before anybody was measured, and how many people that counts as: in the framing that it was
# made for, and elsewhere. A curve of eight people says little by itself.
PRIOR_MADE, PRIOR_ELSE, PRIOR_PEOPLE = 0.3, 0.05, 4
# Figures on people held out count as those of so many at most: they are of one size of print.
MOST_HELD_OUT = 20


@dataclass(frozen=True, slots=True)
class View:
    """How a camera sees people, as medians over those who would wear a pattern.

    person_px: height of the whole person in pixels of the detector's input, though part may be cut off. shown: the share of
    that which is in the image. share: the visible height over the image's. height_px: the same in pixels of the image.
    hips, legs: whether most show their hips, and their knees.
    """

    person_px: float
    shown: float
    share: float
    height_px: float
    hips: bool
    legs: bool

    @property
    def framing(self) -> str:
        """Return the framing that patterns for such views are trained in: "street" or "webcam"."""
        return "street" if self.share < SMALL else "webcam"

    @property
    def stands(self) -> bool:
        """Return whether most are whole."""
        return self.legs and self.shown > WHOLE

    @classmethod
    def median(cls, views: Iterable[View]) -> View:
        """Return the medians over views, of which there is one at least."""
        middle = np.median([(v.person_px, v.shown, v.share, v.height_px, v.hips, v.legs) for v in views], axis=0)
        person, shown, share, height, hips, legs = (float(value) for value in middle)
        return cls(person, shown, share, height, hips > 0.5, legs > 0.5)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to wear. width_cm: of the print; None for a texture, which is as large as its wearer. why: one sentence."""

    name: str
    width_cm: float | None
    why: str


def recommended(
    people: Detections, size: tuple[int, int], imgsz: int, patches: Iterable[Patch]
) -> Recommendation | None:
    """Return the pattern to wear for the people of one image (width, height); None where nobody could wear one.

    imgsz: long side of the detector's input. patches: those to choose from; without a size curve or a framing in their
    records they are never chosen.
    """
    view = view_of(people, size, imgsz)
    return None if view is None else recommend(view, patches)


def view_of(people: Detections, size: tuple[int, int], imgsz: int) -> View | None:
    """Return how an image (width, height) without a pattern shows people; None where nobody could wear one."""
    people = people.pick(wears(people, size))
    if not len(people):
        return None
    boxes, points = people.xyxy, people.keypoints
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    at_rim = boxes[:, 3] >= size[1] * (1 - AT_RIM)
    whole = (height > CUT_OFF * width) & ~at_rim
    hips = legs = whole
    if points is not None:
        hips, legs = _seen(points, HIPS), _seen(points, KNEES)
        whole = whole | (legs & (height > CUT_OFF * width) & _seen(points, (15, 16)))
    tall = np.where(whole, height, np.maximum(height, PERSON_CM * _px_per_cm(boxes, points)))
    visible = float(np.median(height))
    return View(
        person_px=float(np.median(tall)) * imgsz / max(size),
        shown=float(np.median(height / tall)),
        share=visible / size[1],
        height_px=visible,
        hips=bool(np.median(hips) >= 0.5),
        legs=bool(np.median(legs) >= 0.5),
    )


def _seen(points: Float32Array, joints: tuple[int, int]) -> BoolArray:
    return np.asarray((points[:, joints, 2] >= VISIBLE).all(1))


def _px_per_cm(boxes: Float32Array, points: Float32Array | None) -> Float32Array:
    """Return (n,) image pixels per centimetre of a body: along the torso where shoulders are seen, else by the box."""
    out = box_px_per_cm(boxes)
    seen = shoulders_visible(points, len(boxes))
    if points is not None and seen.any():
        out[seen] = np.linalg.norm(torso_frames(points[seen])[2], axis=1)
    return out


def recommend(view: View, patches: Iterable[Patch], *, now: str = "") -> Recommendation | None:
    """Return the pattern to wear in such a view: that which is expected to hide most people, the simplest of equals.

    now: name of the pattern that was recommended before; it stays unless another does clearly better.
    """
    found = [(patch, *_worn_at(patch, view)) for patch in patches if _can_be_worn(patch, view)]
    if not found:
        return None
    best = max(share for _, _, share in found)
    equal = [one for one in found if one[2] >= best - CLEARLY]
    patch, width, _ = min(equal, key=lambda one: (one[0].name != now, EFFORT.index(one[0].target), -one[2]))
    return Recommendation(patch.name, None if patch.tiles else width, _why(patch, view))


def usual_cm(patch: Patch) -> float | None:
    """Return the width in cm at which a pattern is worn unless another is asked for; None for its own.

    It is that which its size curve expects most of where it was trained to work.
    """
    view = USUAL_VIEWS.get(patch.framing)
    if view is None or patch.tiles:
        return None
    width, _ = _worn_at(patch, view)
    return None if width == patch.size_mm[0] / 10 else width


# People in the sample's street, and one before a laptop.
USUAL_VIEWS = {
    "street": View(180.0, 1.0, 0.38, 180.0, hips=True, legs=True),
    "webcam": View(900.0, 0.46, 0.9, 430.0, hips=False, legs=False),
}


def _can_be_worn(patch: Patch, view: View) -> bool:
    # One that acts on a condition alone is a thing to be shown, and not what hides most people.
    if patch.when or (not patch.framing and not has_curve(patch)):
        return False
    if patch.target == "outfit":
        # Whoever is seen only to the hips would wear the shirt alone.
        return view.legs
    # A portrait reaches from the chest to the thighs: before a webcam it is made for what is seen of the torso.
    return patch.target != "portrait" or view.hips or patch.framing in ("webcam", "mixed")


def _worn_at(patch: Patch, view: View) -> tuple[float, float]:
    """Return the width in cm at which a pattern is to be worn in a view, and the share of people it is expected to hide."""
    own = patch.size_mm[0] / 10
    # Patterns for webcams are trained on upper bodies. Where whole people fill the built-in sample's image, at 320 pixels
    # `webcam` hides none of 46 and `outfit` 43.
    made = patch.framing in (view.framing, "mixed") and not (patch.framing == "webcam" and view.stands)
    known, people = (PRIOR_MADE, PRIOR_PEOPLE) if made else (PRIOR_ELSE, PRIOR_PEOPLE)
    if made and (held_out := _held_out(patch, view.framing)) is not None:
        share, count = held_out
        known, people = (known * people + share * count) / (people + count), people + count
    if not has_curve(patch):
        return own, known
    curve = _curve_of(patch)
    aspect = patch.size_mm[0] / patch.size_mm[1]
    widest = curve.largest * PERSON_CM * math.sqrt(aspect)

    def hides(width: float) -> float:
        side = width / math.sqrt(aspect) / PERSON_CM
        got = curve.expected(PrintInView(view.person_px, view.shown, side * view.person_px, side))
        return (got.asr * got.people + known * people) / (got.people + people)

    wide = own if curve.one_size else float(math.floor(min(own * WIDER, widest)))
    return (wide, hides(wide)) if wide > own and hides(wide) >= hides(own) + WORTH_IT else (own, hides(own))


def _held_out(patch: Patch, framing: str) -> tuple[float, int] | None:
    """Return the share of people held out that a pattern hides in a framing, and how many count; None if unknown.

    `scripts/ship_pattern.py` keeps both in the record, as `hides`.
    """
    hides = patch.record.get("hides")
    known = hides.get(framing) if isinstance(hides, dict) else None
    share, people = (known.get("share"), known.get("people")) if isinstance(known, dict) else (None, None)
    if not isinstance(share, int | float) or not isinstance(people, int):
        return None
    return float(share), min(people, MOST_HELD_OUT)


@lru_cache(maxsize=32)
def _curve_of(patch: Patch) -> SizeCurve:
    return SizeCurve(patch.record["size_curve"])


def _why(patch: Patch, view: View) -> str:
    """Return one short sentence: what is seen, and why this pattern."""
    if view.framing == "street":
        seen = f"People are small here, about {view.height_px:.0f} pixels high"
    elif view.shown > 0.9:
        seen = "People fill the image from head to foot"
    else:
        seen = f"People fill the image, seen to the {'knees' if view.legs else 'hips' if view.hips else 'chest'}"
    made = patch.framing in (view.framing, "mixed") and (view.framing == "street" or view.shown <= 0.9)
    if not made:
        return f"{seen}: hides more of them than the others do."
    # Of 63 people who show their waist `webcam` hides 86 % at 640 pixels, of 12 cut off at the chest 25 %.
    near = view.framing == "webcam" and not (view.hips or view.legs)
    return f"{seen}: made for that{', and hides more who show their hips' if near else ''}."
