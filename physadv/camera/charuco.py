"""The ChArUco board: its geometry, where it is in a picture, and whether it is the board it is said to be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from physadv.errors import CalibrationError
from physadv.settings import Settings
from physadv.types import Float32Array, UInt8Array

# Of each family the smaller dictionaries are the beginnings of the larger, so boards made with those are read, too.
DICTIONARIES = {
    "4x4": cv2.aruco.DICT_4X4_250,
    "5x5": cv2.aruco.DICT_5X5_250,
    "6x6": cv2.aruco.DICT_6X6_250,
    "7x7": cv2.aruco.DICT_7X7_250,
}
DICTIONARY_SIZE = 250
# A marker this far, in squares, from where its neighbours say it is belongs to another board.
MISFIT = 0.08
# Markers are found to about a pixel, which is a good part of a small square: 22 pixels wide, .09 were seen.
FOUND_TO_PX = 1.0
MIN_MARKERS = 4
MIN_CORNERS = 8


class Board(Settings):
    """A ChArUco board: squares across and down, their side and their markers' side in millimetres.

    Only counts and the ratio of the two sides matter to a camera's calibration: a picture does not tell a large board far
    away from a small one near by. Ids run row by row from 0, the top left square is black.
    """

    columns: int
    rows: int
    square_mm: float
    marker_mm: float
    dictionary: Literal["4x4", "5x5", "6x6", "7x7"] = "5x5"

    def model_post_init(self, _: Any) -> None:
        """Check what the types cannot.

        Raises: CalibrationError for a board that cannot be.
        """
        if not (3 <= self.columns <= 40 and 3 <= self.rows <= 40 and self.columns * self.rows // 2 <= DICTIONARY_SIZE):
            raise CalibrationError(
                f"board: expected 3 x 3 squares or more, {2 * DICTIONARY_SIZE} at most, got {self.columns} x {self.rows}"
            )
        if not 0.3 * self.square_mm <= self.marker_mm <= 0.92 * self.square_mm or self.square_mm <= 0:
            raise CalibrationError(
                f"board: expected markers of .3 to .92 of a square, got {self.marker_mm:g} in {self.square_mm:g} mm"
            )

    @property
    def size_mm(self) -> tuple[float, float]:
        """Return width and height in millimetres."""
        return self.columns * self.square_mm, self.rows * self.square_mm

    def with_square(self, square_mm: float) -> Board:
        """Return the board as it came out of a printer: squares of that side in millimetres, markers in proportion.

        Raises: CalibrationError if there can be no such square.
        """
        marker = self.marker_mm * square_mm / self.square_mm
        return Board.model_validate({**self.model_dump(), "square_mm": square_mm, "marker_mm": marker})

    def cv(self) -> cv2.aruco.CharucoBoard:
        """Return OpenCV's board, in squares (not millimetres)."""
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows),
            1.0,
            self.marker_mm / self.square_mm,
            cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary]),
        )

    def picture(self, px_per_square: int) -> UInt8Array:
        """Return the board as (h, w) uint8 grey, without a margin."""
        size = (self.columns * px_per_square, self.rows * px_per_square)
        return np.asarray(self.cv().generateImage(size, marginSize=0, borderBits=1), np.uint8)

    def marker_bits(self, number: int) -> UInt8Array:
        """Return the cells of a marker with its border, 0 black and 255 white."""
        family = cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary])
        return np.asarray(cv2.aruco.generateImageMarker(family, number, family.markerSize + 2), np.uint8)

    def __str__(self) -> str:
        squares = f"{self.columns} x {self.rows} squares of {self.square_mm:g} mm"
        return f"{squares}, {self.dictionary} markers of {self.marker_mm:g} mm"


BOARDS = {
    "a4": Board(columns=7, rows=10, square_mm=25, marker_mm=18),
    "a3": Board(columns=9, rows=13, square_mm=30, marker_mm=22),
}


def board_of(
    text: str, *, square_mm: float | None = None, marker_mm: float | None = None, dictionary: str | None = None
) -> Board:
    """Return the board called `a4` or `a3`, or one of `COLUMNSxROWS` squares, with the sizes given in place of the usual.

    Raises: CalibrationError if there is no such board.
    """
    words = text.strip().lower()
    counts = words.split("x")
    if words in BOARDS:
        usual = BOARDS[words]
        columns, rows = usual.columns, usual.rows
    elif len(counts) == 2 and all(c.isdecimal() and len(c) < 4 for c in counts):
        usual = BOARDS["a4"]
        columns, rows = int(counts[0]), int(counts[1])
    else:
        raise CalibrationError(f"--board: expected a4, a3 or squares across and down such as 7x10, got {text!r}")
    square = square_mm or usual.square_mm
    marker = marker_mm or square * usual.marker_mm / usual.square_mm
    family = dictionary or usual.dictionary
    if family not in DICTIONARIES:
        raise CalibrationError(f"--dictionary: expected one of {', '.join(DICTIONARIES)}, got {family!r}")
    values = {"columns": columns, "rows": rows, "square_mm": square, "marker_mm": marker, "dictionary": family}
    return Board.model_validate(values)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The board in one picture.

    ids: (n,) corners of the chessboard, numbered row by row. corners: (n, 2) float32 pixels. size: (width, height) of the
    picture.
    """

    ids: npt.NDArray[np.int64]
    corners: Float32Array
    size: tuple[int, int]
    name: str = ""


class WrongBoard(CalibrationError):
    """Markers are in the picture, but not where this board has them."""


class BoardFinder:
    """Finds one board in pictures."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._cv = board.cv()
        self._centre = np.array([np.asarray(q)[:, :2].mean(0) for q in self._cv.getObjPoints()], np.float32)
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_NONE
        self._markers = cv2.aruco.ArucoDetector(self._cv.getDictionary(), parameters)
        self._charuco = cv2.aruco.CharucoDetector(self._cv, cv2.aruco.CharucoParameters(), parameters)

    @cached_property
    def object_points(self) -> Float32Array:
        """Return (n, 3) chessboard corners in squares, by id."""
        return np.asarray(self._cv.getChessboardCorners(), np.float32).reshape(-1, 3)

    def find(self, pixels: UInt8Array, *, name: str = "picture") -> View | None:
        """Return the board in an (h, w, 3) or grey uint8 picture, or None if too little of it is seen.

        Raises: WrongBoard if markers are seen that do not lie as on this board; the message names a board that fits.
        """
        grey = pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
        quads, ids, _ = self._markers.detectMarkers(grey)
        if ids is None or len(ids) < MIN_MARKERS:
            self._refuse_other_dictionary(grey, name)
            return None
        numbers = np.asarray(ids).ravel().astype(np.int64)
        corners = np.array([np.asarray(q).reshape(4, 2) for q in quads], np.float32)
        misfit = self.misfit(numbers, corners)
        if misfit > allowed(corners, self.board.marker_mm / self.board.square_mm):
            raise WrongBoard(f"{name}: {self._told(numbers, corners)}")
        found, corner_ids, _, _ = self._charuco.detectBoard(grey)
        if corner_ids is None or len(corner_ids) < MIN_CORNERS:
            return None
        size = (grey.shape[1], grey.shape[0])
        at = np.asarray(found, np.float32).reshape(-1, 2)
        return View(np.asarray(corner_ids).ravel().astype(np.int64), at, size, name)

    def _refuse_other_dictionary(self, grey: UInt8Array, name: str) -> None:
        parameters = cv2.aruco.DetectorParameters()
        for other, number in DICTIONARIES.items():
            if other == self.board.dictionary:
                continue
            _, ids, _ = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(number), parameters).detectMarkers(
                grey
            )
            if ids is not None and len(ids) >= 2 * MIN_MARKERS:
                raise WrongBoard(
                    f"{name}: wrong board: its markers are of the family {other}, not {self.board.dictionary}; use the "
                    "board that was printed, or give its --dictionary"
                )

    def misfit(self, ids: npt.NDArray[np.int64], corners: Float32Array) -> float:
        """Return how far markers lie from where this board has them, in squares: the median over the markers.

        ids: (n,). corners: (n, 4, 2) pixels. Each marker is predicted from its four nearest neighbours on the board, an
        area so small that no lens bends it; infinity for ids that the board does not have.
        """
        return _misfit(self._centre, self.board.marker_mm / self.board.square_mm, ids, corners)

    def _told(self, ids: npt.NDArray[np.int64], corners: Float32Array) -> str:
        other = likely_board(ids, corners, self.board.marker_mm / self.board.square_mm)
        fits = (
            f"it fits a board of {other[0]} x {other[1]} squares with markers {other[2]:.2f} of a square"
            if other
            else "no regular board fits it"
        )
        return (
            f"wrong board: its markers do not lie as on {self.board}; {fits}; use the board that was printed, or say which "
            "one it is with --board, --square-mm and --marker-mm"
        )


def allowed(corners: Float32Array, ratio: float) -> float:
    """Return how far, in squares, markers with these corners (n, 4, 2) may lie from where their board has them."""
    side = float(np.median([np.sqrt(max(cv2.contourArea(c), 1.0)) for c in corners])) / ratio
    return MISFIT + FOUND_TO_PX / side


def likely_board(ids: npt.NDArray[np.int64], corners: Float32Array, ratio: float) -> tuple[int, int, float] | None:
    """Return (columns, rows, marker over square) of a board on which markers with these ids lie like this, or None.

    Rows beyond the last marker seen do not show, so the rows are the least that hold the highest id.
    """
    best: tuple[float, int, int, float] | None = None
    for columns in range(3, 21):
        rows = max(-(-2 * (int(ids.max()) + 1) // columns), 3)
        if columns * rows // 2 > DICTIONARY_SIZE or rows > 40:
            continue
        centre = _centres(columns, rows)
        # A wrong marker size is off by a fraction of a square; a wrong width puts markers elsewhere altogether.
        if _misfit(centre, ratio, ids, corners) > 0.3:
            continue
        for r in (ratio, 0.5, 0.6, 0.7, 0.75, 0.8):
            error = _misfit(centre, r, ids, corners)
            if error < allowed(corners, r) and (best is None or error < best[0] - 0.01):
                best = (error, columns, rows, r)
    return best[1:] if best else None


@cache
def _centres(columns: int, rows: int) -> Float32Array:
    board = cv2.aruco.CharucoBoard((columns, rows), 1.0, 0.7, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_250))
    return np.array([np.asarray(q)[:, :2].mean(0) for q in board.getObjPoints()], np.float32)


def _misfit(centre: Float32Array, ratio: float, ids: npt.NDArray[np.int64], corners: Float32Array) -> float:
    if len(ids) < MIN_MARKERS or (ids >= len(centre)).any() or len(set(ids.tolist())) < len(ids):
        return float("inf")
    at = centre[ids]
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * ratio / 2
    errors = []
    # A dozen spread over the board tell as much as all.
    for k in np.unique(np.linspace(0, len(ids) - 1, min(len(ids), 12)).round().astype(int)):
        near = np.argsort(np.linalg.norm(at - at[k], axis=1))[1:5]
        source = (at[near][:, None] + square).reshape(-1, 2)
        matrix, _ = cv2.findHomography(source, corners[near].reshape(-1, 2), 0)
        if np.shape(matrix) != (3, 3):
            return float("inf")
        # Back on the board the error is in squares, whatever the perspective.
        try:
            back = np.linalg.inv(np.asarray(matrix, np.float64))
        except np.linalg.LinAlgError:
            return float("inf")
        seen = cv2.perspectiveTransform(corners[k].reshape(-1, 1, 2).astype(np.float64), back).reshape(-1, 2)
        own = np.abs(seen - at[k] - square).max()
        fit = cv2.perspectiveTransform(source.reshape(-1, 1, 2).astype(np.float64), np.asarray(matrix, np.float64))
        side = np.sqrt(max(cv2.contourArea(corners[k]), 1e-6)) / ratio
        errors.append(max(float(own), float(np.abs(fit.reshape(-1, 2) - corners[near].reshape(-1, 2)).max() / side)))
    return float(np.median(errors))
