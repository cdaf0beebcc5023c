"""From colours read to a printer profile: checked fit, printable palette, and the inverse for pre-compensation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from physadv.camera.chart_reading import ChartReading, read_chart
from physadv.camera.colour import ColourMap, Lattice
from physadv.camera.difference import srgb_difference, srgb_to_lab
from physadv.camera.fit import Samples, hold_out
from physadv.camera.lens import Undistorter
from physadv.camera.profile import CameraProfile, Origin, PrinterProfile, rows_of
from physadv.errors import CalibrationError
from physadv.types import Float32Array, UInt8Array

PALETTE = 200
INVERSE_STEPS = 17
# A map that is wrong by more, or hardly better than none, would teach a pattern the wrong colours.
WORST_MEAN, WORST_SHARE = 15.0, 0.9
HARDLY_ANY = 3.0


def printer_profile(
    samples: Samples,
    *,
    printer: str,
    camera: str,
    camera_profile: CameraProfile | None,
    source: dict[str, Any],
    seed: int = 0,
    repeat: float | None = None,
) -> PrinterProfile:
    """Return the profile of a printer seen by a camera, fitted on the samples and checked on held-out groups of them.

    repeat: mean dE2000 between prints of one colour, if known: what no map can explain.

    Raises: CalibrationError if there is too little to fit, or the held-out error is too large to be of use.
    """
    held, model = hold_out(samples, seed=seed)
    table: dict[str, Any] = asdict(held)
    kind = table.pop("kind")
    if held.mean > WORST_MEAN or (held.mean > WORST_SHARE * held.no_map_mean and held.no_map_mean > HARDLY_ANY):
        raise CalibrationError(
            f"the colours do not follow one map: held-out dE2000 {held.mean:.1f} (without a map {held.no_map_mean:.1f}, "
            f"expected under {WORST_MEAN:.0f} and under {WORST_SHARE:.0%} of it); check that photographs and originals "
            "belong together, that exposure and white balance were locked, and that nothing reflects; no profile was saved"
        )
    palette, palette_digital = printable_palette(samples)
    grid = Lattice.nodes(9)
    shown = model.colours(grid).clamp(0, 1)
    darkest = shown[srgb_to_lab(shown)[:, 0].argmin()]
    inverse = invert(model)
    table["precompensated_mean"] = _round_trip(model, inverse, palette)
    if repeat is not None:
        table["repeat_mean"] = repeat
    return PrinterProfile(
        name=f"{printer}+{camera}",
        created=datetime.now(UTC).replace(microsecond=0),
        printer=printer,
        camera=camera,
        camera_sha256=camera_profile.sha256 if camera_profile else None,
        source=Origin.model_validate({**source, "polynomial": kind}),
        map=model.table(),
        held_out={key: round(float(value), 4) for key, value in table.items()},
        palette=rows_of(palette),
        palette_digital=rows_of(palette_digital),
        paper_white=rows_of(model.colours(torch.ones(1, 3)).numpy())[0],
        darkest=rows_of(darkest[None].numpy())[0],
        inverse=rows_of(inverse.numpy()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photograph of the chart: its file's name and hash, and pixels (h, w, 3) uint8 RGB."""

    name: str
    sha256: str
    pixels: UInt8Array


def chart_profile(
    photos: list[Photo],
    *,
    printer: str,
    camera: str,
    camera_profile: CameraProfile | None = None,
    seed: int = 0,
    progress: Callable[[str, ChartReading], None] | None = None,
) -> tuple[PrinterProfile, Samples]:
    """Return the profile that photographs of the chart give, and the colours that were read in them.

    camera_profile: its lens is taken out of the photographs first. progress: called with each name and reading.

    Raises: CalibrationError if a photograph does not show the chart as it should, has another size than the camera's
    profile, or what was read is not worth a profile.
    """
    readings = []
    for photo in photos:
        pixels = photo.pixels
        if camera_profile is not None:
            pixels = Undistorter(camera_profile, (pixels.shape[1], pixels.shape[0])).apply(pixels)
        reading = read_chart(pixels, name=photo.name)
        if progress is not None:
            progress(photo.name, reading)
        readings.append(reading)
    samples = Samples(
        np.concatenate([r.digital for r in readings]),
        np.concatenate([r.seen for r in readings]),
        np.ones(sum(len(r.seen) for r in readings), np.float32),
        np.concatenate([r.colour for r in readings]),
        np.repeat(np.arange(len(readings)), [len(r.seen) for r in readings]).astype(np.int64),
    )
    profile = printer_profile(
        samples,
        printer=printer,
        camera=camera,
        camera_profile=camera_profile,
        source={"kind": "chart", "photos": [{"name": p.name, "sha256": p.sha256} for p in photos]},
        seed=seed,
        repeat=float(np.mean([r.repeat for r in readings])),
    )
    return profile, samples


def comparison(profile: PrinterProfile, samples: Samples) -> UInt8Array:
    """Return an image of up to 120 colours: each a square of what was asked for, and in it predicted over seen."""
    at = np.linspace(0, len(samples) - 1, min(len(samples), 120)).round().astype(int)
    digital = np.round(samples.digital[at] * 255).astype(np.uint8)
    predicted = profile.colour_map().image(digital[None])[0]
    seen = np.round(samples.seen[at] * 255).astype(np.uint8)
    columns, cell = 15, 48
    out = np.full((math.ceil(len(at) / columns) * cell, columns * cell, 3), 255, np.uint8)
    for k in range(len(at)):
        y, x = k // columns * cell, k % columns * cell
        out[y : y + cell, x : x + cell] = digital[k]
        out[y + 10 : y + cell // 2, x + 10 : x + cell - 10] = predicted[k]
        out[y + cell // 2 : y + cell - 10, x + 10 : x + cell - 10] = seen[k]
    return out


def printable_palette(samples: Samples, *, size: int = PALETTE) -> tuple[Float32Array, Float32Array]:
    """Return up to `size` printable colours (k, 3) as the camera saw them, and the digital colours that gave them.

    Means over samples of nearly one digital colour; of more than `size`, those farthest apart in L*a*b*.
    """
    _, index = np.unique(np.round(samples.digital * 31).astype(int), axis=0, return_inverse=True)
    mass = np.bincount(index.ravel(), samples.weight)[:, None]
    digital, seen = (
        np.stack([np.bincount(index.ravel(), samples.weight * column) for column in values.T], 1) / mass
        for values in (samples.digital, samples.seen)
    )
    lab = srgb_to_lab(torch.from_numpy(seen)).numpy()
    chosen = [int(lab[:, 0].argmax())]
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < min(size, len(lab)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return seen[chosen].astype(np.float32), digital[chosen].astype(np.float32)


def invert(model: ColourMap, *, steps: int = INVERSE_STEPS) -> torch.Tensor:
    """Return (steps**3, 3): the digital colour that comes nearest in L*a*b* to each camera colour of a lattice."""
    target = srgb_to_lab(Lattice.nodes(steps))
    fine = Lattice.nodes(33)
    shown = srgb_to_lab(model.colours(fine))
    _, nearest = cKDTree(shown.numpy()).query(target.numpy())
    # Colours in the middle of a plateau are as good as those at its edge: stay near the start while refining.
    start = fine[torch.from_numpy(np.asarray(nearest))]
    digital = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([digital], lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        off = (srgb_to_lab(model.colours(digital)) - target).square().sum(1)
        loss = (off + 20 * (digital - start).square().sum(1)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            digital.clamp_(0, 1)
    return digital.detach()


def _round_trip(model: ColourMap, inverse: torch.Tensor, palette: Float32Array) -> float:
    """Return the mean dE2000 of printable colours that went through the inverse and the map."""
    steps = round(len(inverse) ** (1 / 3))
    lattice = Lattice(inverse.reshape(steps, steps, steps, 3))
    digital = lattice.apply(torch.from_numpy(palette).T[None, :, :, None])[0, :, :, 0].T
    return float(srgb_difference(model.colours(digital).clamp(0, 1).numpy(), palette).mean())
