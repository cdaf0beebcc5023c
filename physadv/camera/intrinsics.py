"""Intrinsics and distortion from views of a board: fitted, cleaned of bad views, and refused when they cannot be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import cv2
import numpy as np
import numpy.typing as npt

from physadv.camera.charuco import Board, BoardFinder, BoardView, layout_of
from physadv.camera.profile import CameraProfile
from physadv.errors import CalibrationError
from physadv.types import Float32Array

MIN_VIEWS = 8
# Pixels at a width of 1280; larger images show the same errors larger.
WORST_RMS = 1.0
# Standard deviation of the focal length as a share of it: beyond this the views do not determine it.
VAGUE_FOCAL = 0.01
GRID = (8, 6)
MIN_COVERAGE = 0.3
MIN_TILTED, TILTED_DEG = 2, 12.0


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """How a board lies before the camera.

    x, y: its middle as a share of the image. size: its diagonal over the image's. yaw, pitch: degrees by which it is
    turned about the vertical and the horizontal, 0 facing the camera.
    """

    x: float
    y: float
    size: float
    yaw: float
    pitch: float

    @property
    def tilt(self) -> float:
        """Return how far from facing the camera it is, in degrees."""
        return float(np.hypot(self.yaw, self.pitch))


def pose_of(
    view: BoardView,
    finder: BoardFinder,
    matrix: npt.NDArray[np.float64] | None = None,
    distortion: npt.NDArray[np.float64] | None = None,
) -> Pose:
    """Return the pose of a board; without intrinsics a usual lens (55 degrees across) is assumed.

    Raises: CalibrationError if the corners do not determine it.
    """
    w, h = view.size
    if matrix is None:
        matrix = np.array([[0.96 * w, 0, w / 2], [0, 0.96 * w, h / 2], [0, 0, 1]])
    ok, rotation, translation = cv2.solvePnP(
        finder.object_points[view.ids], view.corners, matrix, distortion, flags=cv2.SOLVEPNP_IPPE
    )
    if not ok:
        raise CalibrationError(f"{view.name}: the board's corners do not determine its pose")
    turn = np.asarray(cv2.Rodrigues(np.asarray(rotation))[0])
    board = finder.board
    outline = np.array(
        [[0, 0, 0], [board.columns, 0, 0], [board.columns, board.rows, 0], [0, board.rows, 0]], np.float64
    )
    # Without distortion: far outside the image its polynomial runs wild.
    corners = np.asarray(cv2.projectPoints(outline, rotation, translation, matrix, None)[0]).reshape(4, 2)
    normal = turn[:, 2]
    middle = corners.mean(0)
    diagonal = float(np.linalg.norm(corners[2] - corners[0]) + np.linalg.norm(corners[3] - corners[1])) / 2
    sign = 1.0 if normal[2] >= 0 else -1.0
    yaw, pitch = np.degrees(np.arcsin(np.clip(sign * normal[:2], -1, 1)))
    return Pose(float(middle[0] / w), float(middle[1] / h), diagonal / float(np.hypot(w, h)), float(yaw), float(pitch))


def coverage_of(views: Sequence[BoardView]) -> npt.NDArray[np.int64]:
    """Return (6, 8) counts of corners seen in each cell of the image, all views together."""
    out = np.zeros((GRID[1], GRID[0]), np.int64)
    for view in views:
        w, h = view.size
        x = np.clip((view.corners[:, 0] / w * GRID[0]).astype(int), 0, GRID[0] - 1)
        y = np.clip((view.corners[:, 1] / h * GRID[1]).astype(int), 0, GRID[1] - 1)
        np.add.at(out, (y, x), 1)
    return out


def calibrate(
    views: Sequence[BoardView], board: Board, *, name: str, notes: dict[str, str] | None = None
) -> tuple[CameraProfile, list[str]]:
    """Return the camera's profile and the names of views that were left out because they did not fit the others.

    Source: Zhang, "A flexible new technique for camera calibration", PAMI 2000, as OpenCV does it.

    Raises: CalibrationError if there are too few views, of different sizes, too alike, or the fit is bad; it says what to
    do. Nothing is worth saving then.
    """
    if len(views) < MIN_VIEWS:
        raise CalibrationError(
            f"too few views of the board: expected {MIN_VIEWS} or more, got {len(views)}; show the board left, right, "
            "high, low, near, far and tilted both ways"
        )
    sizes = {view.size for view in views}
    if len(sizes) > 1:
        found = ", ".join(f"{w} x {h}" for w, h in sorted(sizes))
        raise CalibrationError(f"the images are of different sizes ({found}); take all with one setting of the camera")
    _check_last_row(views, board)
    finder = BoardFinder(board)
    size = views[0].size
    kept = list(views)
    fit = _fit(kept, finder, size)
    # A blurred or misread view stands out against the rest; a second fit without it shows whether the rest is sound.
    limit = max(3 * float(np.median(fit.per_view)), 0.3)
    good = [view for view, error in zip(kept, fit.per_view, strict=True) if error <= limit]
    left_out = [view.name for view, error in zip(kept, fit.per_view, strict=True) if error > limit]
    if left_out and len(good) >= MIN_VIEWS:
        kept, fit = good, _fit(good, finder, size)
    else:
        left_out = []
    _check_fit(fit, size, len(kept))
    tilted = sum(pose_of(view, finder, fit.matrix, fit.distortion).tilt >= TILTED_DEG for view in kept)
    if tilted < MIN_TILTED:
        raise CalibrationError(
            f"the board faces the camera in all but {tilted} views: focal length and distance cannot be separated; "
            "add views with the board tilted left, right, up and down by 20 to 45 degrees"
        )
    coverage = float((coverage_of(kept) > 0).mean())
    if coverage < MIN_COVERAGE:
        raise CalibrationError(
            f"the board was seen in {coverage:.0%} of the image (expected {MIN_COVERAGE:.0%} or more): the lens's "
            "distortion elsewhere is not known; add views at the edges and corners"
        )
    profile = CameraProfile(
        name=name,
        created=datetime.now(UTC).replace(microsecond=0),
        width=size[0],
        height=size[1],
        matrix=[[round(float(v), 6) for v in row] for row in fit.matrix],
        distortion=[round(float(v), 9) for v in fit.distortion.ravel()],
        rms_px=round(fit.rms, 5),
        focal_error_px=round(fit.focal_error, 5),
        views=len(kept),
        coverage=round(coverage, 4),
        board={**board.model_dump(), "layout": layout_of(kept)},
        notes=notes or {},
    )
    return profile, left_out


def _check_last_row(views: Sequence[BoardView], board: Board) -> None:
    """Raise CalibrationError if the board is shorter than it was said to be.

    The ids of the markers give its width; rows that do not exist are only never seen."""
    row = max(int(view.ids.max()) for view in views) // (board.columns - 1)
    if row < board.rows - 2:
        raise CalibrationError(
            f"wrong board: of {board.rows} rows the last {board.rows - 2 - row} were never seen in "
            f"{len(views)} views; it looks like a board of {board.columns} x {row + 2} squares; use the board "
            "that was printed, or say which one it is with `board`"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    rms: float
    matrix: npt.NDArray[np.float64]
    distortion: npt.NDArray[np.float64]
    focal_error: float
    per_view: npt.NDArray[np.float64]


def _fit(views: Sequence[BoardView], finder: BoardFinder, size: tuple[int, int]) -> _Fit:
    points: list[Float32Array] = [finder.object_points[view.ids] for view in views]
    try:
        rms, matrix, distortion, _, _, deviations, _, per_view = cv2.calibrateCameraExtended(
            points, [view.corners.reshape(-1, 1, 2) for view in views], size, np.eye(3), np.zeros(5)
        )
    except cv2.error as error:
        raise CalibrationError(
            "the views do not determine the camera (the board lies the same way in all); tilt it differently"
        ) from error
    deviation = np.asarray(deviations, np.float64).ravel()
    return _Fit(
        float(rms),
        np.asarray(matrix, np.float64),
        np.asarray(distortion, np.float64).ravel(),
        float(np.hypot(deviation[0], deviation[1]) / np.sqrt(2)),
        np.asarray(per_view, np.float64).ravel(),
    )


def _check_fit(fit: _Fit, size: tuple[int, int], views: int) -> None:
    worst = WORST_RMS * max(1.0, size[0] / 1280)
    if not np.isfinite(fit.rms) or fit.rms > worst:
        raise CalibrationError(
            f"bad fit: corners are off by {fit.rms:.2f} px rms over {views} views (expected under {worst:.2f}): a bent "
            "board, motion blur, autofocus or zoom between images; glue the board to something flat, hold it still, "
            "lock focus"
        )
    focal = float(fit.matrix[0, 0] + fit.matrix[1, 1]) / 2
    if (
        not np.isfinite(fit.focal_error)
        or fit.focal_error > VAGUE_FOCAL * focal
        or not 0.5 < fit.matrix[0, 0] / fit.matrix[1, 1] < 2
    ):
        raise CalibrationError(
            f"the focal length is uncertain ({focal:.0f} +- {fit.focal_error:.0f} px, expected within {VAGUE_FOCAL:.0%}); "
            "add views with the board near and tilted left, right, up and down by 20 to 45 degrees"
        )
