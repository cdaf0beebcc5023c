"""`physadv calibrate colour`: print a chart, photograph it, and keep what printer and camera do to colours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from physadv.arrays import IMAGE_SUFFIXES, LeftOut, images_in, read_image, write_png
from physadv.camera.chart_reading import ChartReading
from physadv.camera.fit import Samples
from physadv.camera.pairs import find_pairs, read_pairs
from physadv.camera.printer import Photo, chart_profile, comparison, printer_profile
from physadv.camera.profile import CameraProfile, PrinterProfile, checked_name
from physadv.cli.console import Terminal
from physadv.cli.outputs import Overwrite, check_folder, check_png, check_writable
from physadv.errors import CalibrationError, SettingsError
from physadv.fabricate.colour_chart import write_chart
from physadv.files import sha256_of
from physadv.settings import Folder, Metavar, Settings

PROFILES = Path("calib") / "printers"
EXAMPLES = (
    "physadv calibrate colour --chart chart.pdf",
    "physadv calibrate colour --photo chart.jpg --printer desk-paper --camera desk",
)


class CalibrateColourVerb(Settings):
    """A printer, a camera, photographs of what was printed, and the profile to write."""

    chart: Path | None = Field(default=None, description="write the chart to print (.pdf or .png) and end")
    photo: list[Annotated[Path, Metavar("PATH")]] = Field(
        default=[], description="photograph of the chart, or a folder of them; with `digital` the folder of plates"
    )
    digital: Folder | None = Field(default=None, description="folder of the digital originals of the plates in `photo`")
    printer: str = Field(default="printer", description="name of printer, ink and paper or cloth, for the profile")
    camera: str = Field(
        default="camera",
        description="name of the camera, or its profile by name or path: takes its lens out of photographs of the chart, "
        "and ties the printer's profile to it",
    )
    out: Path | None = Field(
        default=None, description="profile to write; without it calib/printers/PRINTER+CAMERA.json"
    )
    preview: Path | None = Field(default=None, description="also write a .png of colours asked for, predicted and seen")
    overwrite: Overwrite = False
    seed: int = Field(default=0, ge=0, description="chooses what is held out")


def run(settings: CalibrateColourVerb) -> int:
    """Measure what a printer and a camera do to colours: from photographs of our chart, or from pairs of plates.

    First `--chart chart.pdf`, print it, photograph it; then `--photo PHOTO`. Or `--digital DIR --photo DIR` with whole
    cropped plates under the same names.

    Raises: SettingsError for flags that do not fit together. CalibrationError if nothing worth saving comes out.
    """
    console = Terminal(highlight=False, soft_wrap=True)
    check_png("preview", settings.preview)
    if settings.chart is not None:
        check_writable("chart", settings.chart, overwrite=settings.overwrite)
        write_chart(settings.chart)
        console.print(f"{settings.chart}: print at 100 %, photograph the whole sheet, then --photo", markup=False)
        return 0
    if not settings.photo:
        raise SettingsError(
            field="photo", expected="a photograph of the chart", hint="print the chart with `chart=chart.pdf` first"
        )
    _check_name("printer", settings.printer)
    check_writable("out", settings.out, overwrite=settings.overwrite)
    check_writable("preview", settings.preview, overwrite=settings.overwrite)
    if settings.out is None:
        check_folder("out", PROFILES)
    for where in settings.photo:
        if not where.exists():
            raise SettingsError(f"{where}: no such image or folder", field="photo")
    camera = _camera_profile(settings, console)
    fitted = _pairs if settings.digital else _charts
    profile, samples = fitted(settings, camera, console)
    path = settings.out or PROFILES / f"{profile.name}.json"
    profile.save(path)
    if settings.preview is not None:
        write_png(settings.preview, comparison(profile, samples))
    _report(console, profile, path)
    return 0


def _camera_name(settings: CalibrateColourVerb, profile: CameraProfile | None) -> str:
    """Return what the camera is called: by its profile, if there is one, whatever file that is in."""
    return settings.camera if profile is None else profile.name


def _camera_profile(settings: CalibrateColourVerb, console: Console) -> CameraProfile | None:
    """Return the camera's profile, or say that there is none of the name given; a path must hold one."""
    known = CameraProfile.known()
    if not settings.camera.endswith(".json") and settings.camera not in known:
        _check_name("camera", settings.camera)
        if "camera" in settings.model_fields_set:
            console.print(
                f"`camera={settings.camera}`: no camera profile of that name (known: {', '.join(known) or 'none'}), so no "
                "lens is taken out",
                markup=False,
            )
        return None
    profile = CameraProfile.load(settings.camera)
    profile.check_age()
    return profile


def _charts(
    settings: CalibrateColourVerb, camera: CameraProfile | None, console: Console
) -> tuple[PrinterProfile, Samples]:
    left_out = LeftOut()
    paths = [p for where in settings.photo for p in (images_in(where, left_out) if where.is_dir() else [where])]
    if not paths:
        raise CalibrationError("; ".join([f"no images in {settings.photo[0]}", *left_out.lines()]), field="photo")
    for line in left_out.lines():
        console.print(line, markup=False)
    photos = _photographs(paths, console)

    def report(name: str, reading: ChartReading) -> None:
        console.print(
            f"{name}: chart found, {reading.cell_px:.0f} pixels a cell; light uneven by {reading.uneven:.2f}, "
            f"taken out; prints of one colour differ by {reading.repeat:.2f} dE2000",
            markup=False,
        )

    with console.status("reading and fitting"):
        return chart_profile(
            photos,
            printer=settings.printer,
            camera=_camera_name(settings, camera),
            camera_profile=camera,
            seed=settings.seed,
            progress=report,
        )


def _photographs(paths: list[Path], console: Console) -> list[Photo]:
    """Return photographs as the sensor gave them: the lens lies before it, and the chart is found any way up.

    Of several, damaged ones are left out by name.
    """
    out = []
    for path in paths:
        try:
            out.append(Photo(path.name, sha256_of(path), read_image(path, upright=False, error=CalibrationError)))
        except CalibrationError as error:
            if path is paths[-1] and not out:
                raise
            console.print(f"left out: {error}", markup=False)
    return out


def _pairs(
    settings: CalibrateColourVerb, camera: CameraProfile | None, console: Console
) -> tuple[PrinterProfile, Samples]:
    assert settings.digital is not None
    if len(settings.photo) != 1 or settings.photo[0].suffix.lower() in IMAGE_SUFFIXES:
        raise SettingsError("with `digital`", field="photo", expected="one folder of photographed plates")
    pairs, alone = find_pairs(settings.digital, settings.photo[0])
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("registering plates", total=len(pairs))
        reading = read_pairs(
            pairs, progress=lambda done, total: bar.update(task, completed=done, total=total), seed=settings.seed
        )
    for name, why in alone + reading.skipped:
        console.print(f"left out: {name} {why}", markup=False)
    held = "whole plates" if reading.by_plate else "blocks of plates (five plates or more would be held out whole)"
    light = f"common light uneven by {reading.uneven:.2f}, taken out" if reading.uneven > 1 else "light taken as even"
    count = "1 pair" if len(reading.used) == 1 else f"{len(reading.used)} pairs"
    console.print(f"{count}, {len(reading.samples)} cells; {light}; held out: {held}", markup=False)
    photos = [{"name": two.name, "sha256": sha256_of(two)} for _, two in pairs if two.name in set(reading.used)]
    with console.status("fitting"):
        profile = printer_profile(
            reading.samples,
            printer=settings.printer,
            camera=_camera_name(settings, camera),
            camera_profile=camera,
            source={"kind": "pairs", "photos": photos},
            seed=settings.seed,
        )
    return profile, reading.samples


def _check_name(field: str, name: str) -> None:
    try:
        checked_name(name)
    except ValueError as error:
        raise SettingsError(str(error), field=field) from error


def _report(console: Console, profile: PrinterProfile, path: Path) -> None:
    held = profile.held_out
    table = Table("held-out dE2000", "mean", "95 %", title=None)
    table.add_row("measured map", f"{held['mean']:.2f}", f"{held['p95']:.2f}")
    table.add_row("no map", f"{held['no_map_mean']:.2f}", f"{held['no_map_p95']:.2f}")
    console.print(table)
    kind = "unknown" if profile.source is None else profile.source.polynomial
    spread = profile.colour_map().covariance.diagonal().sqrt() * 255
    console.print(
        f"n = {held['n']:.0f} held out; {kind} map; spread of the residual (R G B, of 255) "
        f"{spread[0]:.1f} {spread[1]:.1f} {spread[2]:.1f}; {len(profile.palette)} printable colours; pre-compensated "
        f"colours come back within {held['precompensated_mean']:.2f} dE2000",
        markup=False,
    )
    console.print(f"saved {path} ({profile.sha256[:12]}); use it with --printer {path}", markup=False)
