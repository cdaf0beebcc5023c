"""Guide a person through a calibration: which views are collected, which are missing, what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from physadv.camera.charuco import Board, BoardFinder, BoardView, WrongBoard
from physadv.camera.intrinsics import MIN_VIEWS, Pose, coverage_of, pose_of
from physadv.errors import CalibrationError
from physadv.types import Float32Array, UInt8Array

ENOUGH_VIEWS, ENOUGH_COVERAGE = 12, 0.6
MOST_VIEWS = 60
# Corners of a board held still move less than this share of the image's width from one look to the next.
STILL = 0.003
# Poses closer than this (in shares of the image, tilts as 60 degrees to one) show nothing new.
NEW = 0.12
NEW_CELLS = 4

WANTED: dict[str, tuple[str, Callable[[Pose], bool]]] = {
    "left": ("move the board to the left edge of the image", lambda p: p.x < 0.4),
    "right": ("move the board to the right edge of the image", lambda p: p.x > 0.6),
    "top": ("move the board to the top of the image", lambda p: p.y < 0.42),
    "bottom": ("move the board to the bottom of the image", lambda p: p.y > 0.58),
    "near": ("bring the board nearer, until it fills most of the image", lambda p: p.size > 0.55),
    "far": ("take the board back to half that size", lambda p: p.size < 0.45),
    "turned left": ("turn the board's left side away from the camera", lambda p: p.yaw < -15),
    "turned right": ("turn the board's right side away from the camera", lambda p: p.yaw > 15),
    "tipped back": ("tip the board's upper edge away from the camera", lambda p: p.pitch > 15),
    "tipped forward": ("tip the board's upper edge towards the camera", lambda p: p.pitch < -15),
}


@dataclass(frozen=True, slots=True, eq=False)
class GuideAnswer:
    """What one image showed. text: advice for the person. accepted: whether it is a new view. corners: (n, 2) pixels."""

    text: str
    accepted: bool = False
    wrong: bool = False
    corners: Float32Array | None = None
    pose: Pose | None = None


class CalibrationGuide:
    """Collects views of one board from images as they come.

    still: take a view only once the board has been held still (a live camera). new: take only poses that differ from all
    before (videos and live cameras; separate images are all taken).
    """

    def __init__(self, board: Board, *, still: bool, new: bool) -> None:
        self.board = board
        self.finder = BoardFinder(board)
        self.views: list[BoardView] = []
        self.poses: list[Pose] = []
        self.seen = self.wrong = 0
        self.why_wrong = ""
        self._still, self._new = still, new
        self._before: BoardView | None = None
        self._size: tuple[int, int] | None = None

    def look(self, pixels: UInt8Array, *, name: str = "") -> GuideAnswer:
        """Return what an image (h, w, 3) uint8 RGB shows, and keep it if it is a new view."""
        self.seen += 1
        size = (pixels.shape[1], pixels.shape[0])
        if self._still and self._size not in (None, size):
            # Another camera or mode: the views so far belong to the old one.
            self.views, self.poses = [], []
        self._size = size
        try:
            view = self.finder.find(pixels, name=name)
            pose = pose_of(view, self.finder) if view is not None else None
        except WrongBoard as error:
            self.wrong += 1
            text = str(error).removeprefix(f"{name}: ")
            self.why_wrong = f"{name}: {text}" if name else text
            return GuideAnswer(text, wrong=True)
        except CalibrationError:
            view = pose = None
        before, self._before = self._before, view
        if view is None or pose is None:
            return GuideAnswer("the board is not seen: show it whole, in good light, not too far away")
        if self._still and not _held(before, view):
            return GuideAnswer("hold the board still", corners=view.corners, pose=pose)
        if self._new and not self._tells_more(view, pose):
            return GuideAnswer(self.advice(), corners=view.corners, pose=pose)
        if len(self.views) < MOST_VIEWS:
            self.views.append(view)
            self.poses.append(pose)
        return GuideAnswer(self.advice(), accepted=True, corners=view.corners, pose=pose)

    def missing(self) -> list[str]:
        """Return the names of the poses that no view shows yet."""
        return [name for name, (_, fits) in WANTED.items() if not any(fits(p) for p in self.poses)]

    @property
    def hopeless(self) -> bool:
        """Return whether images have only shown another board, or one in a mirror."""
        return self.wrong >= 3 and not self.views

    @property
    def coverage(self) -> float:
        """Return the share of the image's cells in which corners were seen."""
        return float((coverage_of(self.views) > 0).mean())

    @property
    def ready(self) -> bool:
        """Return whether nothing is missing."""
        return len(self.views) >= ENOUGH_VIEWS and not self.missing() and self.coverage >= ENOUGH_COVERAGE

    def advice(self) -> str:
        """Return what to do next."""
        missing = self.missing()
        if missing:
            return WANTED[missing[0]][0]
        if self.coverage < ENOUGH_COVERAGE:
            return "show the board where the map is still empty"
        if len(self.views) < ENOUGH_VIEWS:
            return f"{ENOUGH_VIEWS - len(self.views)} more views, each a little different"
        return "enough: finish"

    def state(self) -> dict[str, Any]:
        """Return plain values for a page: views, coverage map, poses had and missing, whether it may end."""
        missing = set(self.missing())
        return {
            "views": len(self.views),
            "wanted": ENOUGH_VIEWS,
            "grid": coverage_of(self.views).tolist(),
            "coverage": round(self.coverage, 3),
            "poses": {name: name not in missing for name in WANTED},
            "advice": self.advice(),
            "ready": self.ready,
            "possible": len(self.views) >= MIN_VIEWS,
        }

    def checked_views(self) -> list[BoardView]:
        """Return the views collected.

        Raises: CalibrationError if a fifth of the images with a board, or more, show another one, or one in a mirror.
        """
        if self.hopeless or (self.wrong and self.wrong * 4 >= len(self.views)):
            raise CalibrationError(f"{self.wrong} of {self.seen} images cannot be used: {self.why_wrong}")
        return self.views

    def _tells_more(self, view: BoardView, pose: Pose) -> bool:
        if not self.poses:
            return True
        known = coverage_of(self.views) > 0
        if int(((coverage_of([view]) > 0) & ~known).sum()) >= NEW_CELLS:
            return True
        here, there = _vector(pose), np.stack([_vector(p) for p in self.poses])
        return bool(np.linalg.norm(there - here, axis=1).min() > NEW)


def _vector(pose: Pose) -> Float32Array:
    return np.array([pose.x, pose.y, pose.size, pose.yaw / 60, pose.pitch / 60], np.float32)


def _held(before: BoardView | None, view: BoardView) -> bool:
    if before is None or before.size != view.size:
        return False
    both, one, two = np.intersect1d(before.ids, view.ids, return_indices=True)
    if len(both) < 4:
        return False
    moved = np.linalg.norm(before.corners[one] - view.corners[two], axis=1)
    return bool(np.median(moved) < STILL * view.size[0])
