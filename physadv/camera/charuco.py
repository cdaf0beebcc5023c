"""The ChArUco board: its geometry, its place in an image, and whether it is the board that was named."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, get_args

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
# OpenCV 4.6 moved the markers of boards with an even number of rows to the other colour's squares: "legacy" is the layout
# before, with the top left square white. It is what calib.io prints. With an odd number of rows both are the same.
Layout = Literal["standard", "legacy"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
LAYOUT_NOTES = {
    "legacy": "the board has the legacy layout (OpenCV before 4.6, calib.io): its top left square is white",
    "mixed": "the views show two boards, one of the standard and one of the legacy layout (OpenCV before 4.6); both serve",
}
MIRRORED = (
    "the image is mirrored: the board's markers only read in a mirror, and a mirrored camera cannot be measured; switch "
    "mirroring off in the camera's program or settings, and take the images again"
)


class Board(Settings):
    """A ChArUco board: squares across and down, their side and their markers' side in millimetres.

    Only counts and the ratio of the two sides matter to a camera's calibration: a large board far away
    and a small one near by look the same. Ids run row by row from 0. The layout is found in the images (`Layout`);
    the board that is drawn is the standard one, whose top left square is black.
    """

    columns: int
    rows: int
    square_mm: float
    marker_mm: float
    dictionary: Literal["4x4", "5x5", "6x6", "7x7"] = "5x5"

    def model_post_init(self, _: Any) -> None:
        """Check what the types cannot.

        Raises: CalibrationError for an impossible board.
        """
        if not (3 <= self.columns <= 40 and 3 <= self.rows <= 40 and self.columns * self.rows // 2 <= DICTIONARY_SIZE):
            raise CalibrationError(
                field="board",
                expected=f"3 x 3 squares or more, {2 * DICTIONARY_SIZE} at most",
                got=f"{self.columns} x {self.rows}",
            )
        if not 0.3 * self.square_mm <= self.marker_mm <= 0.92 * self.square_mm or self.square_mm <= 0:
            raise CalibrationError(
                field="marker_mm",
                expected=".3 to .92 of a square",
                got=f"{self.marker_mm:g} in {self.square_mm:g} mm",
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

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Return the layouts that such a board can have, those that look alike counted once."""
        return LAYOUTS if self.rows % 2 == 0 else LAYOUTS[:1]

    def cv(self, layout: Layout = "standard") -> cv2.aruco.CharucoBoard:
        """Return OpenCV's board, in squares (not millimetres)."""
        family = cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary])
        out = cv2.aruco.CharucoBoard((self.columns, self.rows), 1.0, self.marker_mm / self.square_mm, family)
        out.setLegacyPattern(layout == "legacy")
        return out

    def image(self, px_per_square: int, layout: Layout = "standard") -> UInt8Array:
        """Return the board as (h, w) uint8 grey, without a margin."""
        size = (self.columns * px_per_square, self.rows * px_per_square)
        return np.asarray(self.cv(layout).generateImage(size, marginSize=0, borderBits=1), np.uint8)

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
        raise CalibrationError(field="board", expected="a4, a3 or squares across and down such as 7x10", got=repr(text))
    square = square_mm or usual.square_mm
    marker = marker_mm or square * usual.marker_mm / usual.square_mm
    family = dictionary or usual.dictionary
    if family not in DICTIONARIES:
        raise CalibrationError(field="dictionary", expected=f"one of {', '.join(DICTIONARIES)}", got=repr(family))
    values = {"columns": columns, "rows": rows, "square_mm": square, "marker_mm": marker, "dictionary": family}
    return Board.model_validate(values)


@dataclass(frozen=True, slots=True, eq=False)
class BoardView:
    """The board in one image.

    ids: (n,) corners of the chessboard, numbered row by row. corners: (n, 2) float32 pixels. size: (width, height) of the
    image. layout: the board's, or None where the markers seen lie alike in both.
    """

    ids: npt.NDArray[np.int64]
    corners: Float32Array
    size: tuple[int, int]
    name: str = ""
    layout: Layout | None = None


def layout_of(views: Sequence[BoardView]) -> Layout | Literal["mixed"]:
    """Return the layout of the board that the views show; "mixed" for two boards, "standard" if no view shows it."""
    seen = {view.layout for view in views} - {None}
    return "mixed" if len(seen) > 1 else "legacy" if "legacy" in seen else "standard"


class WrongBoard(CalibrationError):
    """Markers are in the image, but not where this board has them."""


class BoardFinder:
    """Finds one board in images, in whichever layout it was printed."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._ratio = board.marker_mm / board.square_mm
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_NONE
        boards = {layout: board.cv(layout) for layout in board.layouts}
        self._centre = {layout: _centres_of(cv) for layout, cv in boards.items()}
        self._charuco = {
            layout: cv2.aruco.CharucoDetector(cv, cv2.aruco.CharucoParameters(), parameters)
            for layout, cv in boards.items()
        }
        self._markers = {
            family: cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(number), parameters)
            for family, number in DICTIONARIES.items()
        }
        # The layout of an earlier view, for a view that does not show it.
        self._layout: Layout = "standard"

    @cached_property
    def object_points(self) -> Float32Array:
        """Return (n, 3) chessboard corners in squares, by id; they are the same in every layout."""
        return np.asarray(self.board.cv().getChessboardCorners(), np.float32).reshape(-1, 3)

    def find(self, pixels: UInt8Array, *, name: str = "image") -> BoardView | None:
        """Return the board in an (h, w, 3) or grey uint8 image, or None if too little of it is seen.

        Raises: WrongBoard if markers are seen that do not lie as on this board, the message names a board that fits; or if
        the image is mirrored.
        """
        grey = pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
        numbers, corners = self._seen(grey, self.board.dictionary)
        if len(numbers) < MIN_MARKERS:
            self._refuse_mirrored(grey, self.board.dictionary, len(numbers), name)
            self._refuse_other_dictionary(grey, name)
            return None
        layout, sure, misfit = self._layout_of(numbers, corners)
        if misfit > allowed(corners, self._ratio):
            # Some markers of 4 x 4 cells read as another one in a mirror.
            self._refuse_mirrored(grey, self.board.dictionary, len(numbers), name)
            raise WrongBoard(f"{name}: {self._describe(numbers, corners)}")
        self._layout = layout
        quads, as_cv = list(corners[:, None]), numbers.astype(np.int32)[:, None]
        found, corner_ids, _, _ = self._charuco[layout].detectBoard(grey, markerCorners=quads, markerIds=as_cv)
        if corner_ids is None or len(corner_ids) < MIN_CORNERS:
            return None
        size = (grey.shape[1], grey.shape[0])
        at = np.asarray(found, np.float32).reshape(-1, 2)
        return BoardView(np.asarray(corner_ids).ravel().astype(np.int64), at, size, name, layout if sure else None)

    def _seen(self, grey: UInt8Array, family: str) -> tuple[npt.NDArray[np.int64], Float32Array]:
        """Return the (n,) ids of markers of a family in a grey image, and their (n, 4, 2) corners in pixels."""
        quads, ids, _ = self._markers[family].detectMarkers(grey)
        if not quads:
            return np.zeros(0, np.int64), np.zeros((0, 4, 2), np.float32)
        corners = np.array([np.asarray(q).reshape(4, 2) for q in quads], np.float32)
        return np.asarray(ids).ravel().astype(np.int64), corners

    def _refuse_mirrored(self, grey: UInt8Array, family: str, markers: int, name: str) -> None:
        """Raise WrongBoard if more markers of a family, and enough of them, are seen in a mirror."""
        mirror = np.ascontiguousarray(grey[:, ::-1])
        if len(self._seen(mirror, family)[0]) >= max(MIN_MARKERS, markers + 1):
            raise WrongBoard(f"{name}: {MIRRORED}")

    def _refuse_other_dictionary(self, grey: UInt8Array, name: str) -> None:
        for other in DICTIONARIES:
            if other == self.board.dictionary:
                continue
            if len(self._seen(grey, other)[0]) >= 2 * MIN_MARKERS:
                raise WrongBoard(
                    f"{name}: wrong board: its markers are of the family {other}, not {self.board.dictionary}; use the "
                    "board that was printed, or give its `dictionary`"
                )
            self._refuse_mirrored(grey, other, 2 * MIN_MARKERS - 1, name)

    def _layout_of(self, ids: npt.NDArray[np.int64], corners: Float32Array) -> tuple[Layout, bool, float]:
        """Return the layout that fits the most markers, whether the other one fits worse, and its misfit.

        ids: (n,). corners: (n, 4, 2) pixels. The misfit is how far markers lie from where the board has them, in squares:
        the median over the markers. On a board of an odd number of columns the layouts differ by a shift of one square, but
        for each row's ends: markers that show none of these fit both, and the shift does not matter to a calibration.
        """
        limit = allowed(corners, self._ratio)
        errors = {x: _errors(centre, self._ratio, ids, corners) for x, centre in self._centre.items()}
        fits = {x: int((e <= limit).sum()) for x, e in errors.items()}
        best = max(fits, key=lambda layout: (fits[layout], layout == self._layout))
        return best, list(fits.values()).count(fits[best]) == 1, float(np.median(errors[best]))

    def _describe(self, ids: npt.NDArray[np.int64], corners: Float32Array) -> str:
        other = likely_board(ids, corners, self._ratio)
        fits = (
            f"it fits a board of {other[0]} x {other[1]} squares with markers {other[2]:.2f} of a square"
            if other
            else "no regular board fits it"
        )
        return (
            f"wrong board: its markers do not lie as on {self.board}; {fits}; use the board that was printed, "
            "or say which one it is with `board`, `square_mm` and `marker_mm`"
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
    # A dozen markers spread over the board are as good as all, where no row's ends matter: with an odd number of columns
    # the layouts differ by a shift.
    few = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), 12)).round().astype(int))
    for columns, layout in itertools.product(range(3, 21), LAYOUTS):
        rows = max(-(-2 * (int(ids.max()) + 1) // columns), 3)
        if layout == "legacy" and columns % 2:
            continue
        rows += rows % 2 if layout == "legacy" else 0
        if columns * rows // 2 > DICTIONARY_SIZE or rows > 40:
            continue
        centre = _centres(columns, rows, layout)
        # A wrong marker size is off by a fraction of a square; a wrong width puts markers elsewhere altogether.
        if np.median(_errors(centre, ratio, ids, corners, few)) > 0.3:
            continue
        for r in (ratio, 0.5, 0.6, 0.7, 0.75, 0.8):
            error = float(np.median(_errors(centre, r, ids, corners, few)))
            if error < allowed(corners, r) and (best is None or error < best[0] - 0.01):
                best = (error, columns, rows, r)
    return best[1:] if best else None


@cache
def _centres(columns: int, rows: int, layout: Layout) -> Float32Array:
    return _centres_of(Board(columns=columns, rows=rows, square_mm=10, marker_mm=7).cv(layout))


def _centres_of(board: cv2.aruco.CharucoBoard) -> Float32Array:
    """Return the (n, 2) middles of a board's markers in squares, by id."""
    return np.array([np.asarray(q)[:, :2].mean(0) for q in board.getObjPoints()], np.float32)


def _errors(
    centre: Float32Array,
    ratio: float,
    ids: npt.NDArray[np.int64],
    corners: Float32Array,
    which: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float64]:
    """Return how far markers lie from where the board has them, in squares: (n,), or those of `which`.

    Each is predicted from its four nearest neighbours on the board, an area so small that no lens bends it. Infinity, once,
    for ids that the board does not have, or has once where they are seen twice.
    """
    if len(ids) < MIN_MARKERS or (ids >= len(centre)).any() or len(set(ids.tolist())) < len(ids):
        return np.array([np.inf])
    chosen = range(len(ids)) if which is None else which.tolist()
    return np.array([_error(centre[ids], ratio, corners, k) for k in chosen])


def _error(at: Float32Array, ratio: float, corners: Float32Array, k: int) -> float:
    """Return how far the marker `k` lies from where its four nearest neighbours say, in squares."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * ratio / 2
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
    return max(float(own), float(np.abs(fit.reshape(-1, 2) - corners[near].reshape(-1, 2)).max() / side))
