"""Reading pairs of plates: a digital image and a photograph of its print, roughly cropped, turned into colour samples.

Photographs differ in size from their originals, lie a few pixels off, and are compressed. Each is registered on the map's
own first guess of it, and read in small cells where the original is flat, so that an edge never mixes two colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from physadv.arrays import LeftOut, images_in, read_image
from physadv.camera.colour import ColourMap
from physadv.camera.difference import linear_to_srgb, srgb_to_linear
from physadv.camera.fit import WORTH, Samples, differences, fit_map, held_out, split_groups
from physadv.errors import CalibrationError
from physadv.files import normal
from physadv.types import BoolArray, Float32Array, UInt8Array

SIDE = 512
CELL = 8
# The crop is never exact: its rim shows what lies beside the plate.
RIM = 0.04
FLAT = 0.02
MOST_PAIRS, MOST_SAMPLES = 200, 3000
# Farther off than this share of the image is another crop, not a registration error.
FARTHEST = 0.06
ALIKE = 0.35
# Colours between these shares of full are light, not white: a photograph that clips this share of them says nothing
# about the rest.
LIGHT, CLIPPED, WASHED_OUT = (0.6, 0.85), 251, 0.25
# Mean difference between the channels, of 255: below the first an image is grey, above the second it is coloured.
GREY, COLOURED = 2.0, 8.0
# Fewer plates than this are split into blocks to hold some out.
WHOLE_PLATES = 5
BLOCKS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A pair at working size: digital and photo (h, w, 3) uint8 of one shape; photo registered on digital once known."""

    name: str
    digital: UInt8Array
    photo: UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class PairsReading:
    """samples: for the fit, grouped by plate (or block of a plate). used: names. skipped: (name, why). field: brightest
    over darkest common light over the plates. by_plate: whether groups are whole plates.
    """

    samples: Samples
    used: list[str]
    skipped: list[tuple[str, str]]
    uneven: float
    by_plate: bool


def find_pairs(digital: Path, photo: Path) -> tuple[list[tuple[Path, Path]], list[tuple[str, str]]]:
    """Return pairs of files of one name (their endings may differ), and what was left out with the reason.

    Raises: CalibrationError if a folder is missing, or no name is in both.
    """
    for field, folder in (("digital", digital), ("photo", photo)):
        if not folder.is_dir():
            raise CalibrationError(field=field, expected="a folder of images", got=repr(str(folder)))
    left_out = LeftOut()
    originals, prints = _by_name(digital, left_out), _by_name(photo, left_out)
    names = sorted(originals.keys() & prints.keys())
    if not names:
        raise CalibrationError(
            f"no image has the same name as one of `digital`: {len(originals)} in {digital} (such as "
            f"{next(iter(sorted(originals)), 'none')!r}), {len(prints)} in {photo} (such as "
            f"{next(iter(sorted(prints)), 'none')!r})",
            field="photo",
            hint="name a photograph as its original",
        )
    skipped = [(p.name, "has no photograph") for k, p in sorted(originals.items()) if k not in prints]
    skipped += [(p.name, "has no original") for k, p in sorted(prints.items()) if k not in originals]
    skipped += [("files", line.removeprefix("left out ")) for line in left_out.lines()]
    if len(names) > MOST_PAIRS:
        keep = set(np.linspace(0, len(names) - 1, MOST_PAIRS).round().astype(int).tolist())
        skipped.append((f"{len(names) - MOST_PAIRS} pairs", f"{MOST_PAIRS} spread evenly over the names are enough"))
        names = [n for i, n in enumerate(names) if i in keep]
    return [(originals[n], prints[n]) for n in names], skipped


def _by_name(folder: Path, left_out: LeftOut) -> dict[str, Path]:
    """Return the images below a folder by their names there without ending, as they are compared."""
    return {normal(str(p.relative_to(folder).with_suffix(""))).lower(): p for p in images_in(folder, left_out)}


def read_pairs(
    pairs: list[tuple[Path, Path]],
    *,
    progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> PairsReading:
    """Return the colour samples of pairs of files, registered, read in flat cells, common uneven light taken out.

    progress: called with (done, total).
    seed: as in `hold_out`.

    Raises: CalibrationError if fewer than half of the photographs can be read and look like their originals.
    """
    plates, skipped = [], []
    for done, (original, photo) in enumerate(pairs):
        try:
            plate, why = load_plate(original, photo)
        except CalibrationError as error:
            plate, why = None, f"or its original cannot be read: {error}"
        if plate is None:
            skipped.append((photo.name, why))
        else:
            plates.append(plate)
        if progress:
            progress(done + 1, len(pairs))
    _refuse_most(skipped, len(pairs))
    first = _guess(plates)
    registered = []
    for plate in plates:
        moved, likeness = register(plate, first)
        if likeness < ALIKE:
            skipped.append(
                (plate.name, f"does not look like its original (correlation {likeness:.2f}{_turned(plate, first)})")
            )
        else:
            registered.append(moved)
    _refuse_most(skipped, len(pairs))
    samples, at = _cells(registered)
    seen, uneven = _flatten(samples, at, seed)
    return PairsReading(
        replace(samples, seen=seen),
        [p.name for p in registered],
        skipped,
        uneven,
        len(registered) >= WHOLE_PLATES,
    )


def load_plate(original: Path, photo: Path) -> tuple[Plate | None, str]:
    """Return a pair at working size, or None and the reason if the two cannot be the same plate.

    Raises: CalibrationError if a file cannot be read.
    """
    one, two = read_image(original, error=CalibrationError), read_image(photo, error=CalibrationError)
    ratio = (one.shape[1] / one.shape[0]) / (two.shape[1] / two.shape[0])
    if not 0.8 < ratio < 1.25:
        size = f"{one.shape[1]} x {one.shape[0]} against {two.shape[1]} x {two.shape[0]}"
        return None, f"has another shape than its original ({size}): crop it to the whole plate"
    scale = SIDE / max(one.shape[:2])
    size_px = (max(round(one.shape[1] * scale), 4 * CELL), max(round(one.shape[0] * scale), 4 * CELL))
    plate = Plate(photo.name, _resize(one, size_px), _resize(two, size_px))
    why = _spoilt(plate)
    return (None, why) if why else (plate, "")


def _spoilt(plate: Plate) -> str:
    """Return why the photograph does not show the colours of its original, or ""."""
    brightest = plate.digital.max(2) / 255
    light = (brightest > LIGHT[0]) & (brightest < LIGHT[1])
    clipped = float((plate.photo.max(2)[light] >= CLIPPED).mean()) if light.mean() > 0.01 else 0.0
    if clipped > WASHED_OUT:
        return f"is over-exposed ({clipped:.0%} of its light colours are clipped): lower the exposure and lock it"
    if _chroma(plate.photo) < GREY and _chroma(plate.digital) > COLOURED:
        return "is grey, its original is not: photograph it in colour"
    return ""


def _chroma(image: UInt8Array) -> float:
    return float((image.max(2).astype(np.int16) - image.min(2)).mean())


def register(plate: Plate, guess: ColourMap) -> tuple[Plate, float]:
    """Return the plate with its photograph moved onto the original, and how alike the two are then, -1 to 1.

    A plate of a single colour needs no registration and counts as alike.

    Source: Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient", 2008.
    """
    want = _grey(guess.image(plate.digital))
    got = _grey(plate.photo)
    if want.std() < 3:
        return plate, 1.0
    h, w = want.shape
    best, best_warp = _likeness(want, got), None
    warp = np.eye(3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    everywhere = np.full(want.shape, 255, np.uint8)
    corners = np.array([[[0, 0]], [[w, 0]], [[w, h]], [[0, h]]], np.float32)
    for motion in (cv2.MOTION_TRANSLATION, cv2.MOTION_AFFINE, cv2.MOTION_HOMOGRAPHY):
        try:
            start = warp if motion == cv2.MOTION_HOMOGRAPHY else warp[:2]
            _, found = cv2.findTransformECC(want, got, start.copy(), motion, criteria, everywhere, 5)
        except cv2.error:
            continue
        full = np.eye(3, dtype=np.float32)
        full[: found.shape[0]] = found
        moved = np.abs(cv2.perspectiveTransform(corners, full) - corners).max() / max(h, w)
        likeness = _likeness(want, _warp(got, full))
        if moved <= FARTHEST and likeness > best + 1e-4:
            best, best_warp, warp = likeness, full, full
    if best_warp is None:
        return plate, best
    return replace(plate, photo=_warp(plate.photo, best_warp)), best


def _warp(image: UInt8Array, matrix: Float32Array) -> UInt8Array:
    h, w = image.shape[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, matrix, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _grey(image: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _likeness(one: UInt8Array, two: UInt8Array) -> float:
    """Return the correlation of two grey images, a little blurred, without their rims."""
    h, w = one.shape
    y, x = round(RIM * h), round(RIM * w)
    a, b = (cv2.GaussianBlur(v, (0, 0), 2)[y : h - y, x : w - x].astype(np.float64).ravel() for v in (one, two))
    if min(a.std(), b.std()) < 0.5:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _turned(plate: Plate, guess: ColourMap) -> str:
    """Return a hint if the photograph fits its original mirrored or upside down."""
    want = _grey(guess.image(plate.digital))
    got = _grey(plate.photo)
    for text, code in (("mirrored", 1), ("turned by 180 degrees", -1), ("upside down and mirrored", 0)):
        if _likeness(want, np.asarray(cv2.flip(got, code), np.uint8)) > 0.6:
            return f"; it is {text}"
    return ""


def _guess(plates: list[Plate]) -> ColourMap:
    """Return a rough colour map from unregistered plates: coarse cells hardly notice a few pixels."""
    coarse = [
        np.stack([cv2.resize(p, (12, 12), interpolation=cv2.INTER_AREA)[1:-1, 1:-1] for p in (pl.digital, pl.photo)])
        for pl in plates
    ]
    both = np.stack(coarse, 1).reshape(2, -1, 3).astype(np.float32) / 255
    n = both.shape[1]
    pick = np.linspace(0, n - 1, min(n, 2000)).astype(int)
    zeros = np.zeros(len(pick), np.int64)
    samples = Samples(both[0][pick], both[1][pick], np.ones(len(pick), np.float32), zeros, zeros)
    return fit_map(samples, "affine", steps=60)


def _cells(plates: list[Plate]) -> tuple[Samples, Float32Array]:
    """Return samples of all plates, balanced over colours, and where on the plate each lies, (n, 2) in [-1, 1]."""
    share = max(MOST_SAMPLES // len(plates), 60)
    parts = [_cells_of(plate, number, share, len(plates)) for number, plate in enumerate(plates)]
    fields = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Samples(*fields[:5]), fields[5]


def _cells_of(plate: Plate, number: int, most: int, plates: int) -> tuple[npt.NDArray[np.generic], ...]:
    h, w = plate.digital.shape[0] // CELL, plate.digital.shape[1] // CELL
    digital = plate.digital[: h * CELL, : w * CELL].astype(np.float32) / 255
    # Flat as seen through a blur: what lies just outside the cell would spill into it.
    low = cv2.erode(digital, np.ones((CELL + 5, CELL + 5)))[CELL // 2 :: CELL, CELL // 2 :: CELL]
    high = cv2.dilate(digital, np.ones((CELL + 5, CELL + 5)))[CELL // 2 :: CELL, CELL // 2 :: CELL]
    rough = (high - low).max(2)[:h, :w]
    blocks = (plate.photo[: h * CELL, : w * CELL].astype(np.float32) / 255).reshape(h, CELL, w, CELL, 3)
    seen = np.median(blocks.transpose(0, 2, 1, 3, 4).reshape(h, w, -1, 3), axis=2)
    colour = digital.reshape(h, CELL, w, CELL, 3).mean((1, 3))
    y, x = np.mgrid[0:h, 0:w]
    at = np.stack([(x + 0.5) / w * 2 - 1, (y + 0.5) / h * 2 - 1], -1).reshape(-1, 2).astype(np.float32)
    inside = np.all(np.abs(at) < 1 - 2 * RIM, axis=1)
    index = _balanced(colour.reshape(-1, 3), rough.ravel(), inside, most)
    weight = 1 / (1 + (rough.ravel()[index] / 0.05) ** 2)
    block = ((at[index] + 1) / 2 * BLOCKS).astype(np.int64) @ np.array([1, BLOCKS])
    group = np.full(len(index), number) if plates >= WHOLE_PLATES else number * BLOCKS**2 + block
    flat = (colour.reshape(-1, 3)[index], seen.reshape(-1, 3)[index].astype(np.float32), weight.astype(np.float32))
    return (*flat, group.astype(np.int64), np.full(len(index), number, np.int64), at[index])


def _balanced(colour: Float32Array, rough: Float32Array, inside: BoolArray, most: int) -> npt.NDArray[np.intp]:
    """Return up to `most` cells: the flattest, dealt out over the colours so that a background does not rule."""
    order = np.flatnonzero(inside)
    order = order[np.argsort(rough[order], kind="stable")]
    flat = int((rough[order] < FLAT).sum())
    # A photograph of a scene has few flat cells; then the flatter third must do.
    order = order[: max(flat, len(order) // 3)]
    _, bins = np.unique((colour[order] * 11.99).astype(int), axis=0, return_inverse=True)
    # The turn of each cell within its own colour: first all colours' flattest, then their second, and so on.
    by_bin = np.argsort(bins.ravel(), kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(bins.ravel()[by_bin])) + 1])
    turn = np.empty(len(order), np.int64)
    turn[by_bin] = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    return order[np.argsort(turn, kind="stable")[:most]]


def common_light(samples: Samples, at: Float32Array) -> npt.NDArray[np.float64]:
    """Return (5, 3): the logarithm of the light that all photographs share, as a quadratic over the plate per channel.

    One lamp and one lens light every plate alike. Fitted in turns with the colour map, to what that leaves unexplained.
    """
    basis = _light_basis(at)
    theta = np.zeros((basis.shape[1], 3))
    light = srgb_to_linear(torch.from_numpy(samples.seen)).double().numpy()
    seen = samples.seen
    for _ in range(2):
        model = fit_map(replace(samples, seen=seen), "multilinear", steps=80)
        with torch.inference_mode():
            shown = srgb_to_linear(model.colours(torch.from_numpy(samples.digital))).double().numpy()
        trust = ((shown > 0.02) & (light > 0.02) & (samples.seen < 0.97)) * samples.weight[:, None]
        ratio = np.log(np.maximum(light, 1e-3) / np.maximum(shown, 1e-3))
        for c in range(3):
            theta[:, c] = _robust(basis, ratio[:, c], trust[:, c].astype(np.float64))
        seen = even(samples.seen, at, theta)
    return theta


def even(seen: Float32Array, at: Float32Array, theta: npt.NDArray[np.float64]) -> Float32Array:
    """Return colours (n, 3) with the light of `common_light` taken out."""
    light = srgb_to_linear(torch.from_numpy(seen)).double() / torch.from_numpy(np.exp(_light_basis(at) @ theta))
    return linear_to_srgb(light).float().numpy()


def _light_basis(at: Float32Array) -> npt.NDArray[np.float64]:
    """Return (n, 5) terms whose mean over the plate is zero."""
    u, v = at.astype(np.float64).T
    return np.stack([u, v, u * u - 1 / 3, u * v, v * v - 1 / 3], 1)


def _light_helps(samples: Samples, at: Float32Array) -> bool:
    """Return whether taking out common light lowers the error on plates that neither it nor the map was fitted to."""
    part = split_groups(samples.group, min(4, len(np.unique(samples.group))), seed=2)
    plain, flat = [], []
    for fold in range(int(part.max()) + 1):
        fitted, rest = samples.pick(part != fold), samples.pick(part == fold)
        plain.append(differences(fit_map(fitted, "multilinear", steps=80), rest))
        theta = common_light(fitted, at[part != fold])
        model = fit_map(replace(fitted, seen=even(fitted.seen, at[part != fold], theta)), "multilinear", steps=80)
        flat.append(differences(model, replace(rest, seen=even(rest.seen, at[part == fold], theta))))
    return float(np.concatenate(flat).mean()) < (1 - WORTH) * float(np.concatenate(plain).mean())


def _flatten(samples: Samples, at: Float32Array, seed: int) -> tuple[Float32Array, float]:
    """Return the colours under even light, and the light's brightest over darkest, or as they are if it does not help.

    Samples that will be held out take no part.
    """
    rest = ~held_out(samples.group, seed=seed)
    fitted = samples.pick(rest)
    if len(np.unique(fitted.group)) < 3 or not _light_helps(fitted, at[rest]):
        return samples.seen, 1.0
    theta = common_light(fitted, at[rest])
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)), -1).reshape(-1, 2).astype(np.float32)
    mean = (_light_basis(grid) @ theta).mean(1)
    return even(samples.seen, at, theta), float(np.exp(mean.max() - mean.min()))


def _robust(
    basis: npt.NDArray[np.float64], target: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return coefficients by least squares that large residuals enter with less weight (Huber)."""
    robust = np.ones_like(target)
    design = np.concatenate([np.ones((len(basis), 1)), basis], 1)
    solved = np.zeros(design.shape[1])
    for _ in range(6):
        w = (weight * robust)[:, None]
        ridge = np.diag([1e-9] + [0.01 * float(w.sum())] * basis.shape[1])
        solved = np.linalg.solve((design * w).T @ design + ridge, (design * w).T @ target)
        off = np.abs(target - design @ solved)
        scale = max(1.4826 * float(np.median(off)), 1e-3)
        robust = np.minimum(1, 1.5 * scale / np.maximum(off, 1e-9))
    return solved[1:]


def _resize(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    shrinks = image.shape[1] >= size[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)  # type: ignore[return-value]


def _refuse_most(skipped: list[tuple[str, str]], total: int) -> None:
    if 2 * len(skipped) > total or len(skipped) == total:
        name, why = skipped[0]
        raise CalibrationError(
            f"{len(skipped)} of {total} photographs cannot be used: {name} {why}; expected whole plates, cropped, upright, "
            "well exposed, under the names of their originals; no profile was saved"
        )
