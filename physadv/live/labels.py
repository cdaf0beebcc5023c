"""Places for labels on an image, so that those of people who stand close do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence

Place = tuple[float, float, float, float]


class Labels:
    """The labels of one image; `static/overlay.js` places them by the same rules."""

    def __init__(self, width: float, height: float) -> None:
        self._width, self._height = width, height
        self._taken: list[Place] = []

    def place(self, box: Sequence[float], width: float, height: float) -> tuple[float, float]:
        """Return the left upper corner for a label of that size: at the box's corners, else down its side, where none is.

        In a crowd that leaves no such place it lies above the box all the same.
        """
        x1, y1, x2, y2 = box
        rows = [y1 - height, y1, y2 - height, y2]
        rows += [y1 + n * height for n in range(1, int((y2 - y1) // height))]
        spots = [(self._inside(x, width), y) for y in rows for x in (x1, x2 - width)]
        free = (spot for spot in spots if self._free(*spot, width, height))
        x, y = next(free, (self._inside(x1, width), min(max(y1 - height, 0), self._height - height)))
        self._taken.append((x, y, x + width, y + height))
        return x, y

    def _inside(self, x: float, width: float) -> float:
        return min(max(x, 0), max(self._width - width, 0))

    def _free(self, x: float, y: float, width: float, height: float) -> bool:
        if y < 0 or y + height > self._height:
            return False
        return not any(x < d and c < x + width and y < f and e < y + height for c, e, d, f in self._taken)
