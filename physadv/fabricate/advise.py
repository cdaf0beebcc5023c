"""How large to print: from camera, distance and size to detector pixels, and from there to measured attack success.

A pattern's record may hold a size curve (`physadv.evaluate.size_curve` measures it): attack success in cells of three
numbers that camera, distance and print size come down to: how many detector pixels of the person are in the image, how
much of the person that is, and how large the pattern is on the person. Clothes have one size, the body's: only the
distance can change. A print keeps its proportions: the sizes that are advised are its width, with the height beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from physadv.camera.lens import PERSON_CM
from physadv.camera.profile import CameraProfile
from physadv.errors import FabricationError, PatchError
from physadv.fabricate.body import CALLED, TRAINED, check_length, cover_of
from physadv.fabricate.settings import AdviceSettings
from physadv.fabricate.units import size_in_words
from physadv.patch import Patch, load_patch, shipped_names

# A camera is pointed so that a little room is left over the head.
HEADROOM = 0.05
NEAREST_M, FARTHEST_M = 0.5, 30.0
# Two patterns of which one hides so much more of the people can be distinguished by curves of about forty of them.
CLEARLY = 0.1


@dataclass(frozen=True, slots=True)
class Optics:
    """A pinhole camera before a detector. focal_px: in pixels of the full image. imgsz: the detector's long side."""

    width: int
    height: int
    focal_px: float
    imgsz: int = 640

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float, imgsz: int = 640) -> Optics:
        """Return a camera by its horizontal field of view in degrees.

        Raises: FabricationError if a number is impossible.
        """
        if not 5 <= fov_deg <= 160:
            raise FabricationError(field="fov", expected="5 to 160 degrees across the image", got=f"{fov_deg:g}")
        if not 64 <= min(width, height) <= max(width, height) <= 16384:
            raise FabricationError(field="resolution", expected="sides of 64 to 16384 pixels", got=f"{width}x{height}")
        return cls(width, height, width / 2 / math.tan(math.radians(fov_deg) / 2), imgsz)

    @property
    def scale(self) -> float:
        """Return detector pixels per camera pixel."""
        return self.imgsz / max(self.width, self.height)


def optics_of(settings: AdviceSettings) -> Optics:
    """Return the camera that is asked about: a calibrated one, or one by its field of view.

    Raises: FabricationError if a number is impossible. CalibrationError for a profile that is too old or of other images.
    """
    width, height = (int(side) for side in (settings.resolution or "640x480").lower().split("x"))
    if settings.camera is None:
        return Optics.from_fov(width, height, 60.0 if settings.fov is None else settings.fov, settings.imgsz)
    if settings.fov is not None:
        raise FabricationError(
            "given beside `camera`", field="fov", hint="give one of the two; the profile holds the field of view"
        )
    profile = CameraProfile.load(settings.camera)
    profile.check_age()
    if settings.resolution is not None:
        profile.check_size(width, height)
    return Optics(profile.width, profile.height, profile.focal_px, settings.imgsz)


@dataclass(frozen=True, slots=True)
class PrintInView:
    """What the detector is given. person_px: the whole person's height in its pixels, though part may be cut off.

    shown: the share of that height inside the image. side_px: of the pattern (root of its area). relative: that side
    over the person's height.
    """

    person_px: float
    shown: float
    side_px: float
    relative: float

    @property
    def visible_px(self) -> float:
        """Return the person's height inside the image, in detector pixels."""
        return self.person_px * self.shown

    def sides_px(self, aspect: float) -> tuple[float, float]:
        """Return width and height of the print in detector pixels. aspect: height over width."""
        return self.side_px / math.sqrt(aspect), self.side_px * math.sqrt(aspect)


def seen(optics: Optics, *, distance_m: float, side_cm: float, person_cm: float = PERSON_CM) -> PrintInView:
    """Return what the detector sees of a person facing the camera with a print of that side on the chest.

    Raises: FabricationError if distance, size or person are absurd.
    """
    if not 0.2 <= distance_m <= 100:
        raise FabricationError(field="distance", expected="0.2 to 100 m", got=f"{distance_m:g} m")
    if not 1 <= side_cm <= 300:
        raise FabricationError(
            field="size", expected="a print whose area has a root of 1 to 300 cm", got=f"{side_cm:g} cm"
        )
    if not 50 <= person_cm <= 250:
        raise FabricationError(field="person_height", expected="50 to 250 cm", got=f"{person_cm:g} cm")
    per_cm = optics.focal_px / (distance_m * 100) * optics.scale
    room = optics.height * optics.scale * (1 - HEADROOM)
    person = per_cm * person_cm
    return PrintInView(person, min(1.0, room / person), per_cm * side_cm, side_cm / person_cm)


@dataclass(frozen=True, slots=True)
class Expected:
    """Attack success that the curve promises: asr and its 95 % interval, and how many people the nearest cells had."""

    asr: float
    low: float
    high: float
    people: int


def has_curve(patch: Patch) -> bool:
    """Return whether a pattern's record holds a size curve."""
    return isinstance(patch.record.get("size_curve"), dict)


class SizeCurve:
    """A measured size curve, read between its cells."""

    def __init__(self, record: dict[str, Any]) -> None:
        """record: the value of `size_curve` in a patch's record.

        Raises: PatchError if it is not what `physadv advise --measure` writes.
        """
        try:
            cells = [
                (float(c["visible_px"]), float(c["shown"]), float(c["relative"]), int(c["n"]), float(c["asr"]),
                 float(c["ci95"][0]), float(c["ci95"][1]))
                for c in record["cells"]
                if int(c["n"]) > 0
            ]  # fmt: skip
            table = np.array(cells, np.float64).reshape(-1, 7)
            if not (
                np.isfinite(table).all() and (table[:, :3] > 0).all() and (np.abs(table[:, 4:] - 0.5) <= 0.5).all()
            ):
                raise ValueError("impossible numbers")
            self.about = {k: v for k, v in record.items() if k != "cells"}
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            raise PatchError(
                f"size_curve: cells do not read ({error!r}); measure again with `physadv advise --measure`"
            ) from error
        if not cells:
            raise PatchError("size_curve: holds no cells; measure again with `physadv advise --measure`")
        self._table = table

    @property
    def largest(self) -> float:
        """Return the largest side measured, over the person's height."""
        return float(self._table[:, 2].max())

    @property
    def one_size(self) -> bool:
        """Return whether it is of clothes, which were measured as large as they are worn."""
        return len(np.unique(self._table[:, 2])) == 1

    def expected(self, view: PrintInView) -> Expected:
        """Return the attack success for a view, interpolated in the logarithms of pixels and sizes, held at the edges.

        Between two shares of the person it is read at the same size of the print against the part that is in the image.
        Below the smallest size measured it falls in proportion to the side; the size of clothes is not looked at.
        """
        shares = np.unique(self._table[:, 1])
        low, high, weight = _between(shares, view.shown)
        columns = [self._at_share(share, view) for share in (shares[low], shares[high])]
        values = columns[0] * (1 - weight) + columns[1] * weight
        fade = 1.0 if self.one_size else min(1.0, view.relative / float(self._table[:, 2].min()))
        asr, bottom, top = _probability(values[:3], values[3]) * (fade, fade, 1.0)
        return Expected(float(asr), float(bottom), float(top), round(float(values[3])))

    def _at_share(self, share: float, view: PrintInView) -> np.ndarray[Any, Any]:
        """Return logits of (asr, low, high) and n among the cells that show this share of the person."""
        rows = self._table[self._table[:, 1] == share]
        # The less of somebody is in the image, the smaller a print hides the rest, and the sooner a large one is cut off
        # itself: chest-v2 hides most people where it is about 0.45 of the visible height, at every share. Read by the
        # whole height, the peaks of two shares would lie beside each other, with too little between them.
        at = math.log(max(view.relative / view.shown * share, 1e-6))
        heights = np.unique(rows[:, 0])
        low, high, weight = _between(np.log(heights), math.log(view.visible_px))
        found = []
        for height in (heights[low], heights[high]):
            line = rows[rows[:, 0] == height]
            line = line[np.argsort(line[:, 2])]
            found.append(np.array([np.interp(at, np.log(line[:, 2]), column) for column in _logits(line)]))
        return np.asarray(found[0] * (1 - weight) + found[1] * weight)


def _logits(line: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Return logits of asr, low, high, and n; half a person is added on both sides, so that none is infinite."""
    n = line[:, 3]
    out = []
    for column in (line[:, 4], line[:, 5], line[:, 6]):
        p = (column * n + 0.5) / (n + 1)
        out.append(np.log(p / (1 - p)))
    return [*out, n]


def _probability(logit: np.ndarray[Any, Any], n: float) -> np.ndarray[Any, Any]:
    """Return shares of people; the halves that `_logits` added are taken away again, so that a cell reads as itself."""
    return np.clip(((n + 1) / (1 + np.exp(-logit)) - 0.5) / n, 0.0, 1.0)


def _between(points: np.ndarray[Any, Any], value: float) -> tuple[int, int, float]:
    """Return the neighbours of `value` among rising points and the weight of the upper one, held at the ends."""
    if value <= points[0]:
        return 0, 0, 0.0
    if value >= points[-1]:
        return len(points) - 1, len(points) - 1, 0.0
    high = int(np.searchsorted(points, value, side="right"))
    low = high - 1
    return low, high, float((value - points[low]) / (points[high] - points[low]))


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice before a print. expected: at the size and distance asked for.

    enough: whether that reaches `wanted`. smallest_cm: the smallest width that does at this distance, or None if none does
    that was measured. farthest_m: the farthest distance at which this size does, or None. text: all of it, in words.
    """

    view: PrintInView
    expected: Expected
    enough: bool
    smallest_cm: float | None
    farthest_m: float | None
    text: str

    @property
    def hopeless(self) -> bool:
        """Return whether no size and no distance would do."""
        return not self.enough and self.smallest_cm is None and self.farthest_m is None


def aspect_of(patch: Patch) -> float:
    """Return the height of a print of this pattern over its width."""
    return patch.size_mm[1] / patch.size_mm[0]


def width_cm(patch: Patch, asked_cm: float | None) -> float:
    """Return the width that advice is about: as asked, or the pattern's own.

    Raises: FabricationError if a width is asked for of clothes, which have their own.
    """
    if asked_cm is not None and patch.tiles:
        raise FabricationError(
            f"{patch.name} is worn as a whole {CALLED[TRAINED[patch.target]]}, as large as its wearer",
            field="size",
            hint="leave the size out",
        )
    return patch.size_mm[0] / 10 if asked_cm is None else asked_cm


def placed(patch: Patch, width_cm: float, person_cm: float, shown: float) -> str:
    """Return what a print of this width covers of whoever stands and sits, in words; of clothes nothing.

    shown: the share of the body in the image.

    Raises: FabricationError if it hangs on its wearer and is too long for that.
    """
    if patch.tiles:
        return ""
    size_mm = width_cm * 10, width_cm * 10 * aspect_of(patch)
    check_length(patch.target, size_mm[1], field="size", person_cm=person_cm)
    cover = cover_of(patch, size_mm, person_cm)
    part = cover.shown(shown)
    image = "" if part > 0.99 else f", of which {part:.0%} is in the image"
    text = f"standing it covers {cover.parts}, {cover.top:.0f} to {cover.bottom:.0f} cm below the neck{image}"
    if cover.on_lap >= 1:
        return f"{text}; sitting, its lower {cover.on_lap:.0f} cm lie on the lap"
    return f"{text}; sitting, all of it stays above the lap"


def advise(
    curve: SizeCurve,
    optics: Optics,
    *,
    distance_m: float,
    width_cm: float,
    aspect: float = 1.0,
    person_cm: float = PERSON_CM,
    wanted: float = 0.5,
) -> Advice:
    """Return what to expect at a distance with a print of this width, and what would do instead.

    width_cm: ignored for clothes. aspect: height over width of the pattern. wanted: the share of people, of those
    found without a pattern, to be hidden.

    Raises: FabricationError if a number is absurd.
    """
    if not 0 < wanted < 1:
        raise FabricationError(field="wanted", expected="a share of people above 0 and under 1", got=f"{wanted:g}")

    def at(width: float, distance: float) -> PrintInView:
        return seen(optics, distance_m=distance, side_cm=width * math.sqrt(aspect), person_cm=person_cm)

    view = at(width_cm, distance_m)
    got = curve.expected(view)
    # What was not tried is not promised: the largest width is that of the largest cells.
    largest = math.floor(curve.largest * person_cm / math.sqrt(aspect))
    # A strip five centimetres wide may be no print at all: its area counts.
    widths = np.arange(max(5.0, math.ceil(1 / math.sqrt(aspect))), largest + 0.5)
    smallest = None if curve.one_size else _first(widths, lambda w: curve.expected(at(w, distance_m)).asr >= wanted)
    distances = np.arange(FARTHEST_M, NEAREST_M - 0.01, -0.1)
    farthest = _first(distances, lambda d: curve.expected(at(width_cm, d)).asr >= wanted)
    enough = got.asr >= wanted
    if curve.one_size:
        text = _of_clothes(distance_m, enough, farthest, wanted)
    else:
        text = _sentence(width_cm, aspect, distance_m, enough, smallest, farthest, largest, wanted)
    return Advice(view, got, enough, smallest, farthest, text)


@dataclass(frozen=True, slots=True)
class Instead:
    """Another shipped pattern that is expected to hide more people at the same camera and distance, at its own size."""

    patch: Patch
    width_cm: float
    expected: Expected

    @property
    def text(self) -> str:
        """Return it in words."""
        size = "" if self.patch.tiles else f" at {size_in_words(self.width_cm, aspect_of(self.patch))}"
        got = self.expected
        return (
            f"{self.patch.name}{size} is expected to hide more there: {got.asr:.0%} ({got.low:.0%} to {got.high:.0%}, "
            f"{got.people} people)"
        )


def instead_of(
    patch: Patch, got: Expected, optics: Optics, *, distance_m: float, person_cm: float = PERSON_CM
) -> Instead | None:
    """Return the shipped pattern that is expected to hide most people there, None if none hides clearly more than `patch`.

    got: what `patch` is expected to do. Each is taken at its own size, against the detector of its curve.

    Raises: FabricationError as `seen` does.
    """
    found: list[Instead] = []
    for other in map(load_patch, shipped_names()):
        if other.sha256 == patch.sha256 or other.when or not has_curve(other):
            continue
        width, height = other.size_mm
        view = seen(optics, distance_m=distance_m, side_cm=math.sqrt(width * height) / 10, person_cm=person_cm)
        found.append(Instead(other, width / 10, SizeCurve(other.record["size_curve"]).expected(view)))
    best = max(found, key=lambda one: one.expected.asr, default=None)
    return best if best is not None and best.expected.asr >= got.asr + CLEARLY else None


def _first(values: np.ndarray[Any, Any], does: Callable[[float], bool]) -> float | None:
    return next((round(float(v), 1) for v in values if does(float(v))), None)


def _sentence(
    width_cm: float,
    aspect: float,
    distance_m: float,
    enough: bool,
    smallest: float | None,
    farthest: float | None,
    largest_cm: float,
    wanted: float,
) -> str:
    here, size = f"{distance_m:g} m", size_in_words(width_cm, aspect)
    least = "" if smallest is None else size_in_words(smallest, aspect)
    if enough:
        more = f" up to {farthest:g} m" if farthest is not None and farthest > distance_m + 0.05 else ""
        less = f"; {least} would do at {here}" if smallest is not None and smallest < width_cm - 0.25 else ""
        return f"large enough at {here}: {size} works{more}{less}"
    # Some people cannot be hidden from nearer either, nor by any size: say so instead of a size that is a guess.
    other = f"print at {least}" if smallest is not None else None
    nearer = f"stand at {farthest:g} m" if farthest is not None else None
    if smallest is not None and smallest < width_cm:
        # Near the camera the edges of a large print are cut off, or lie where nothing was trained.
        what = "too large"
    else:
        what = "too small" if other or (farthest is not None and farthest < distance_m) else "not strong enough"
    if other or nearer:
        return f"{what} at {here}: {' or '.join(w for w in (other, nearer) if w)}"
    return (
        f"not strong enough at {here}: no size up to {size_in_words(largest_cm, aspect)}, the largest measured, hides "
        f"{wanted:.0%} of people there, and {size} does at no distance; use another pattern"
    )


def _of_clothes(distance_m: float, enough: bool, farthest: float | None, wanted: float) -> str:
    here = f"{distance_m:g} m"
    if enough:
        return f"works at {here}" + (f", up to {farthest:g} m" if farthest and farthest > distance_m + 0.05 else "")
    if farthest is not None:
        return f"{'too far' if farthest < distance_m else 'not strong enough'} at {here}: stand at {farthest:g} m"
    return f"not strong enough at {here}: hides {wanted:.0%} of people at no distance; use another pattern"
