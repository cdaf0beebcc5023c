"""Which pattern to wear: by how the camera sees people now, of those that come with physadv."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from physadv.patch import Patch
from physadv.simulate.placement import CUT_OFF, wears
from physadv.types import Detections

# How people stand in the image: small and whole; whole and filling it; cut off by its rim.
View = Literal["street", "whole", "webcam"]
# Below this share of the image's height people are small. The built-in sample's street shows them at .38.
SMALL = 0.55
# The view is that of the last seconds: one who sits down or comes near for a moment changes nothing.
OVER_S = 2.0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to wear. width_cm: None for the pattern's own. framing: "street" or "webcam". why: one sentence."""

    name: str
    width_cm: float | None
    framing: str
    why: str


# Measured on the sample at 640 px, images in which more than half of the wearers are hidden: street-v1 at 48 cm 12 of 12
# in the street (36 cm: none), chest-v3 at 60 cm 9 of 12 where people stand whole, chest-v4 at its 48 cm 10 of 12 where
# they are cut off.
BEST: dict[View, Recommendation] = {
    "street": Recommendation(
        "street-v1", 48.0, "street", "People are small here, as in the street that it was trained for."
    ),
    "whole": Recommendation(
        "chest-v3", 60.0, "webcam", "People fill the image from head to foot: a wide print is needed."
    ),
    "webcam": Recommendation("chest-v4", 48.0, "webcam", "People fill the image and are cut off, as before a webcam."),
}
# How wide a pattern is worn where no width is given and its own is too small for most images.
USUAL_CM = {"chest-v3": 60.0, "street-v1": 48.0}


def usual_cm(patch: Patch) -> float | None:
    """Return the width in cm at which a pattern is worn unless another is asked for; None for its own."""
    return USUAL_CM.get(patch.name)


class Viewpoint:
    """How the camera sees people, from image to image. The loop adds; anyone reads."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, bool]] = deque(maxlen=300)

    def cut(self) -> None:
        """Forget the scene before."""
        self._seen.clear()

    def see(self, people: Detections, size: tuple[int, int], at_s: float) -> None:
        """Take the people of an image of (width, height) without a pattern, at a time in seconds."""
        boxes = people.xyxy[wears(people)]
        if not len(boxes):
            return
        height, width = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
        self._seen.append((at_s, float(np.median(height)) / size[1], bool(np.median(height / width) > CUT_OFF)))
        while not 0 <= at_s - self._seen[0][0] <= OVER_S:
            self._seen.popleft()

    @property
    def view(self) -> View | None:
        """Return how people are seen; None while nobody was."""
        # A copy: the loop goes on while a screen asks.
        seen = list(self._seen)
        if not seen:
            return None
        if float(np.median([share for _, share, _ in seen])) < SMALL:
            return "street"
        return "whole" if 2 * sum(whole for _, _, whole in seen) > len(seen) else "webcam"


def objection(patch: Patch, view: View | None) -> str:
    """Return one sentence where a pattern is made for another framing than the camera sees; "" where it is not."""
    if view is None:
        return ""
    best = BEST[view]
    if patch.framing in ("", "mixed", best.framing):
        return ""
    made = "people in the street, small and whole" if patch.framing == "street" else "one who fills the image"
    seen = "people are small" if best.framing == "street" else "people fill the image"
    return f"{patch.name} is made for {made}; here {seen}, and {best.name} does more."
