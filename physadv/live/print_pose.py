"""How a print lies in a frame: its turn, fold and distance, and on which side of the pattern's condition that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from physadv.patch import Patch
from physadv.simulate.activation import PARAMETERS, Activation
from physadv.simulate.joints import box_px_per_cm
from physadv.types import Float32Array

if TYPE_CHECKING:
    from physadv.live.overlay import Overlay

# `physadv advise`'s usual camera, and that of conditions of distance: degrees across the frame.
USUAL_FOV = 60.0


@dataclass(frozen=True, slots=True)
class PrintPose:
    """How a print lies in a frame.

    name: of the pattern. tilt: degrees clockwise, -180 to 180, as the frame shows it. fold: share of the width that is
    folded away, at the right above 0 and at the left below. distance: metres, by a camera of `USUAL_FOV` unless there is a
    calibrated one. sure: how well the frame's pixels match the pattern, up to 1; 1 where software drew it. corners: four
    (x, y) in pixels of the frame, of the whole print, from its upper left clockwise; () where software drew it.
    """

    name: str
    tilt: float
    fold: float
    distance: float
    sure: float = 1.0
    corners: tuple[tuple[float, float], ...] = ()

    @property
    def values(self) -> dict[str, float]:
        """Return it by the names of the simulated world's parameters."""
        return {"tilt": self.tilt, "fold": self.fold, "distance": self.distance}

    def plain(self) -> dict[str, Any]:
        """Return plain values for a line of a recording and for the page."""
        return {
            "name": self.name,
            "tilt": round(self.tilt, 1),
            "fold": round(self.fold, 3),
            "distance": round(self.distance, 2),
            "sure": round(self.sure, 3),
            "corners": [[round(x, 1), round(y, 1)] for x, y in self.corners],
        }


@dataclass(frozen=True, slots=True)
class ConditionNow:
    """Where a pattern's condition stands in a frame. side: "active", "dormant", or "" for neither, or if that is not known.

    text: the values that it is about, with their units. when: the condition.
    """

    side: str
    text: str
    when: str


def worn_pose(overlay: Overlay, size: tuple[int, int], focal_px: float | None) -> PrintPose | None:
    """Return how software drew a pattern on the nearest of its wearers, or None where nobody wears it, or as clothes.

    size: (width, height) of the frame. focal_px: of a calibrated camera. The distance is that of the wearer, by their box.
    """
    if overlay.patch.tiles or not len(overlay.on):
        return None
    metres = float(_metres(box_px_per_cm(overlay.on), size, focal_px).min())
    return PrintPose(overlay.patch.name, overlay.angle, overlay.fold, metres)


def metres_of(width_px: float, width_cm: float, size: tuple[int, int], focal_px: float | None) -> float:
    """Return how far away a print is that a frame of (width, height) shows so wide."""
    return float(_metres(np.array([width_px / width_cm], np.float32), size, focal_px)[0])


def _metres(px_per_cm: Float32Array, size: tuple[int, int], focal_px: float | None) -> Float32Array:
    # The focal length goes with the longer side, as the detector's input does.
    focal = max(size) / 2 / math.tan(math.radians(USUAL_FOV / 2)) if focal_px is None else focal_px
    return np.asarray(focal / np.maximum(px_per_cm, 1e-3) / 100, np.float32)


def condition_now(patch: Patch, pose: PrintPose | None) -> ConditionNow | None:
    """Return where a pattern's condition stands, or None of one that acts always. pose: how it lies, if that is known."""
    if not patch.when:
        return None
    activation = _activation(patch.when, patch.otherwise)
    values = {} if pose is None else pose.values
    known = [name for name in activation.parameters if name in values]
    said = [PARAMETERS[name].label(((round(values[name], 2),) * 2,)) for name in known]
    return ConditionNow(activation.side_now(values), ", ".join(said), activation.when)


@lru_cache(maxsize=16)
def _activation(when: str, otherwise: str | None) -> Activation:
    return Activation.of(when, otherwise)
