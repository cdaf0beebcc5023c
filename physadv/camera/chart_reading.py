"""Read a photographed colour chart: find it, sample its cells, and take out uneven light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from physadv.camera.chart import (
    CELL_MM,
    COLUMNS,
    CORNER_NAMES,
    DICTIONARY,
    MARKERS,
    ROWS,
    chart,
    marker_corners_mm,
)
from physadv.camera.difference import linear_to_srgb, srgb_difference, srgb_to_linear
from physadv.errors import CalibrationError
from physadv.types import Float32Array, UInt8Array

# With fewer pixels across a cell, blur from its neighbours reaches its middle.
SMALLEST_CELL_PX = 9.0
# A straight sheet seen through a decent lens keeps its markers this close to one perspective, in cells.
BENT_CELLS = 0.3
# Share of clipped pixels at which a marker that is not found is washed out rather than cut off.
WASHED_OUT = 0.4
CLIPPED, TOO_DARK = 251 / 255, 70 / 255
# Two prints of one colour may differ by this much dE2000 after flattening; beyond it there is a shadow or a reflection.
UNEVEN = 6.0
# Brightest over darkest light: beyond this the dark parts are too dark to be brought back.
STEEP = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class ChartReading:
    """What one photograph shows of the chart.

    digital, seen: (n, 3) float32 in [0, 1], one row a cell, the light flattened. colour: (n,) which of the chart's colours.
    repeat: mean dE2000 between prints of one colour. uneven: the brightest over the darkest light on the sheet. cell_px:
    size of a cell. corners: (4, 2) pixels of the chart's outer marker corners, for drawing.
    """

    digital: Float32Array
    seen: Float32Array
    colour: npt.NDArray[np.int64]
    repeat: float
    uneven: float
    cell_px: float
    corners: Float32Array


def read_chart(pixels: UInt8Array, *, name: str = "photograph") -> ChartReading:
    """Return what a photograph (h, w, 3) uint8 RGB shows of the colour chart.

    Raises: CalibrationError saying what is wrong and what to do: no chart, cut or covered, mirrored, too small, bent, over-
    or under-exposed, in uneven light.
    """
    matrix = find_chart(pixels, name=name)
    cell_px = _cell_px(matrix)
    if cell_px < SMALLEST_CELL_PX:
        raise CalibrationError(
            f"{name}: the chart is too small in the image ({cell_px:.1f} pixels a cell, expected "
            f"{SMALLEST_CELL_PX:.0f}); move closer until it fills the image, or take a larger image"
        )
    sheet = chart()
    index = sheet.cell.ravel()
    raw = _sample(pixels, matrix, sheet.centres_mm())
    digital = (sheet.colours[index] / 255).astype(np.float32)
    _check_exposure(digital, raw, name)
    seen, uneven = flatten(raw, index, sheet.centres_mm())
    repeat = _repeat(seen, index)
    if uneven > STEEP:
        raise CalibrationError(
            f"{name}: the light on the sheet falls to 1/{uneven:.0f} (expected 1/{STEEP:.0f} at most): a shadow or a lamp "
            "too near; light it evenly from the side and photograph it again"
        )
    if repeat > UNEVEN:
        raise CalibrationError(
            f"{name}: prints of one colour differ by {repeat:.1f} dE2000 over the sheet (expected under {UNEVEN:.0f}): "
            "a shadow, a reflection or something on the chart; light it evenly from the side and photograph it again"
        )
    corners = np.stack([marker_corners_mm(number)[k] for k, (number, _, _) in enumerate(MARKERS)])
    return ChartReading(digital, seen, index, repeat, uneven, cell_px, _to_pixels(matrix, corners))


def find_chart(pixels: UInt8Array, *, name: str) -> npt.NDArray[np.float64]:
    """Return the (3, 3) homography from millimetres on the sheet to pixels.

    Raises: CalibrationError if the chart is not there, cut off, covered, mirrored, not flat, or there twice.
    """
    found = _markers(pixels)
    ids = [number for number, _ in found]
    if len(set(ids)) < len(ids):
        raise CalibrationError(f"{name}: more than one colour chart is in the image; show one")
    if len(ids) < 4:
        if len(_markers(np.ascontiguousarray(pixels[:, ::-1]))) > len(ids):
            raise CalibrationError(
                f"{name}: the chart is mirrored; turn off the camera's mirror view (or print it unmirrored) and take it "
                "again"
            )
        if not ids:
            raise CalibrationError(
                f"{name}: no colour chart found; print one with `physadv calibrate colour --chart chart.pdf` and "
                "photograph the whole sheet, sharp, with its four corner markers"
            )
        if float((pixels.max(2) >= 253).mean()) > WASHED_OUT:
            raise CalibrationError(
                f"{name}: over-exposed: most of the image is clipped and corner markers are washed out; lower the "
                "exposure by a stop or two, lock it, and photograph the chart again"
            )
        missing = ", ".join(CORNER_NAMES[number] for number, _, _ in MARKERS if number not in ids)
        raise CalibrationError(
            f"{name}: the chart is cut off or covered: its {missing} corner marker is not in the image (or blurred); "
            "photograph the whole sheet"
        )
    target = np.concatenate([corners for _, corners in found])
    source = np.concatenate([marker_corners_mm(number) for number in ids])
    fitted, _ = cv2.findHomography(source, target, 0)
    if fitted is None:
        raise CalibrationError(f"{name}: the chart's corners lie on a line; photograph it from the front")
    matrix = np.array(fitted, np.float64)
    off = float(np.linalg.norm(_to_pixels(matrix, source) - target, axis=1).max()) / max(_cell_px(matrix), 1e-6)
    if off > BENT_CELLS:
        raise CalibrationError(
            f"{name}: the chart's corners do not lie in one plane (off by {off:.2f} cells, expected under "
            f"{BENT_CELLS}); lay the sheet flat, step back from a wide-angle lens, or give its profile with "
            "`camera`"
        )
    return matrix


def flatten(seen: Float32Array, index: npt.NDArray[np.int64], at_mm: Float32Array) -> tuple[Float32Array, float]:
    """Return the colours under even light, and the ratio of the brightest to the darkest light on the sheet.

    seen: (n, 3) in [0, 1]. index: (n,), cells of one index were printed in one colour. at_mm: (n, 2). The light's logarithm
    is a cubic with a fourth-order radial term over the sheet, per channel; how strongly a tone answers to light is fitted
    along, as the camera's tone curve is unknown. Repeated colours decide alone, so the map plays no part.
    """
    light = srgb_to_linear(torch.from_numpy(seen).double()).numpy()
    log = np.log(np.maximum(light, 0.003))
    level = np.cbrt(np.maximum(light, 0.003))
    weight = np.where(seen > 0.97, 0.02, np.clip(light / 0.03, 0.02, 1))
    u, v = ((at_mm - at_mm.mean(0)) / np.abs(at_mm - at_mm.mean(0)).max()).T
    basis = np.stack([u, v, u * u, u * v, v * v, u**3, u * u * v, u * v * v, v**3, (u * u + v * v) ** 2], 1)
    basis = basis - basis.mean(0)
    out, fields = np.empty_like(light), np.empty_like(light)
    for c in range(3):
        theta, slope = _field(log[:, c], level[:, c], weight[:, c], basis, index)
        fields[:, c] = basis @ theta
        # Where the answer to light differs by tone, half-tones are the reference.
        out[:, c] = np.exp(log[:, c] - fields[:, c] * (1 + slope * (level[:, c] - 0.6)))
    out = np.where(light <= 0.003, light, out)
    flat = linear_to_srgb(torch.from_numpy(out)).float().numpy()
    return flat, float(np.exp(fields.mean(1).max() - fields.mean(1).min()))


def _field(
    log: npt.NDArray[np.float64],
    level: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    basis: npt.NDArray[np.float64],
    index: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], float]:
    """Return (coefficients of the light's logarithm, how its effect grows with the tone), by robust least squares."""
    slope, robust = 0.0, np.ones_like(log)
    theta = np.zeros(basis.shape[1])
    for _ in range(6):
        w = weight * robust
        answer = 1 + slope * (level - 0.6)
        design = _centred(basis * answer[:, None], index, w)
        target = _centred(log[:, None], index, w)[:, 0]
        ridge = 1e-3 * np.eye(basis.shape[1]) * w.sum() / len(w)
        theta = np.linalg.solve((design * w[:, None]).T @ design + ridge, (design * w[:, None]).T @ target)
        field = basis @ theta
        grown = _centred((field * (level - 0.6))[:, None], index, w)[:, 0]
        plain = _centred(field[:, None], index, w)[:, 0]
        power = float((w * grown * grown).sum())
        slope = float(np.clip((w * grown * (target - plain)).sum() / max(power, 1e-9), -1, 1)) if power > 1e-4 else 0.0
        off = np.abs(target - design @ theta)
        scale = max(1.4826 * float(np.median(off)), 1e-3)
        robust = np.minimum(1, 2 * scale / np.maximum(off, 1e-9))
    return theta, slope


def _centred(
    values: npt.NDArray[np.float64], index: npt.NDArray[np.int64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return values (n, k) less the weighted mean of their index's rows."""
    total = np.zeros((int(index.max()) + 1, values.shape[1]))
    np.add.at(total, index, values * weight[:, None])
    mass = np.bincount(index, weight)
    return values - (total / np.maximum(mass, 1e-12)[:, None])[index]


def _markers(pixels: UInt8Array) -> list[tuple[int, Float32Array]]:
    """Return (id, (4, 2) corners in pixels) of the chart's markers in an image."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(DICTIONARY), parameters)
    best: list[tuple[int, Float32Array]] = []
    # Very large images hold texture that hides a marker's outline; a smaller copy shows it again.
    for side in (4096, 1600):
        scale = min(1.0, side / max(grey.shape))
        small = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        corners, ids, _ = detector.detectMarkers(small)
        numbers = [int(number) for number in ids.ravel()] if ids is not None else []
        pairs = zip(numbers, corners, strict=True)
        found = [
            (number, ((np.asarray(quad).reshape(4, 2) + 0.5) / scale - 0.5).astype(np.float32))
            for number, quad in pairs
            if number in CORNER_NAMES
        ]
        if len(found) > len(best):
            best = found
        if len(best) >= 4 or scale == 1:
            break
    return best


def _to_pixels(matrix: npt.NDArray[np.float64], at_mm: npt.NDArray[np.floating]) -> Float32Array:
    return (
        cv2.perspectiveTransform(at_mm.reshape(-1, 1, 2).astype(np.float64), matrix).reshape(-1, 2).astype(np.float32)
    )


def _cell_px(matrix: npt.NDArray[np.float64]) -> float:
    """Return the side in pixels of the smallest cell."""
    centres = chart().centres_mm().reshape(ROWS, COLUMNS, 2)[[0, 0, -1, -1], [0, -1, 0, -1]]
    half = CELL_MM / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    quads = _to_pixels(matrix, (centres[:, None] + half).reshape(-1, 2)).reshape(4, 4, 2)
    return float(min(np.sqrt(cv2.contourArea(q)) for q in quads))


def _sample(pixels: UInt8Array, matrix: npt.NDArray[np.float64], centres: Float32Array) -> Float32Array:
    """Return (n, 3) in [0, 1]: the trimmed mean over the middle of each cell."""
    line = np.linspace(-0.28, 0.28, 11) * CELL_MM
    offset = np.stack(np.meshgrid(line, line), -1).reshape(1, -1, 2)
    at = _to_pixels(matrix, (centres[:, None] + offset).reshape(-1, 2)).reshape(len(centres), -1, 2)
    values = cv2.remap(pixels, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ordered = np.sort(values.astype(np.float32), axis=1)
    trim = ordered.shape[1] // 5
    return (ordered[:, trim:-trim].mean(1) / 255).astype(np.float32)


def _check_exposure(digital: Float32Array, seen: Float32Array, name: str) -> None:
    grey = np.ptp(digital, axis=1) == 0
    light = grey & (digital[:, 0] > 0.74) & (digital[:, 0] < 0.9)
    white = grey & (digital[:, 0] == 1)
    if (np.median(seen[light], axis=0) >= CLIPPED).any():
        channel = ("red", "green", "blue")[int(np.median(seen[light], axis=0).argmax())]
        raise CalibrationError(
            f"{name}: over-exposed: light grey is already clipped in {channel}; lower the exposure by a stop or two, "
            "lock it, and photograph the chart again"
        )
    if np.median(seen[white], axis=0).max() < TOO_DARK:
        raise CalibrationError(
            f"{name}: under-exposed: white paper reads {np.median(seen[white], axis=0).max() * 255:.0f} of 255 (expected "
            f"{TOO_DARK * 255:.0f} or more); add light or exposure, lock it, and photograph the chart again"
        )


def _repeat(seen: Float32Array, index: npt.NDArray[np.int64]) -> float:
    order = np.argsort(index, kind="stable")
    same = index[order][1:] == index[order][:-1]
    return float(srgb_difference(seen[order][1:][same], seen[order][:-1][same]).mean())
