"""`physadv calibrate camera`: a ChArUco board before the camera, and the profile that comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from rich.console import Console

from physadv.address import masked
from physadv.arrays import listed, write_png
from physadv.camera.charuco import LAYOUT_NOTES, Board, board_of
from physadv.camera.guide import CalibrationGuide
from physadv.camera.intrinsics import calibrate
from physadv.camera.lens import undistortion_preview
from physadv.camera.profile import CameraProfile, checked_name
from physadv.capture import open_source
from physadv.capture.images import ImageSource
from physadv.capture.latest import Latest, SourceState
from physadv.capture.settings import CameraSettings, CaptureSettings
from physadv.cli.console import Terminal
from physadv.cli.outputs import Overwrite, check_png, check_writable
from physadv.errors import CalibrationError, EndOfStream, SettingsError
from physadv.fabricate.board import write_board
from physadv.fabricate.settings import BoardSettings
from physadv.live.settings import PageAddress
from physadv.settings import Groups, Metavar, Seconds, SourceName
from physadv.types import Frame, Source, UInt8Array

EXAMPLES = (
    "physadv calibrate camera --sheet board.pdf",
    "physadv calibrate camera --name desk --source 0 --square-mm 26.8mm",
)


class CalibrateCameraVerb(BoardSettings, CameraSettings, PageAddress):
    """A camera, the board before it, and the profile to write."""

    groups: ClassVar[Groups] = {
        "camera": ("name", "source", "out", "preview", "overwrite", "note"),
        "board": ("board", "square_mm", "marker_mm", "dictionary", "sheet", "paper"),
        "page": ("ui", "host", "port", "seconds"),
        "camera details": ("width", "height", "exposure", "lock_exposure", "white_balance", "lock_white_balance"),
    }

    name: str = Field(default="camera", description="name of the camera, for the profile")
    source: SourceName = Field(
        default="auto", description="webcam, address, video, image folder or glob, as of `physadv live`"
    )
    sheet: Path | None = Field(default=None, description="write the board as a .pdf to print and end")
    paper: str = Field(
        default="a4", description="paper for `sheet`: a5 to a0, letter, legal, tabloid; the a3 board goes on a3"
    )
    ui: Literal["web", "headless"] = Field(
        default="web", description="guide a live camera on a page, or in this terminal"
    )
    seconds: Seconds = Field(
        default=120, gt=0, le=86400, description="give up a headless live calibration after so many seconds"
    )
    note: Annotated[str, Metavar("TEXT")] | None = Field(
        default=None, max_length=500, description="anything else to keep with the profile: lens, focus, zoom"
    )
    out: Path | None = Field(default=None, description="profile to write; without it calib/cameras/NAME.json")
    preview: Path | None = Field(default=None, description="also write a .png of a view before and after undistortion")
    overwrite: Overwrite = False


def run(settings: CalibrateCameraVerb) -> int:
    """Measure a camera with a ChArUco board: live, guided on a page, or from images or a video.

    First print the board: `--sheet board.pdf` (also in calib/boards) and glue it to something flat.

    Raises: SettingsError for a name that cannot be a file's, or a preview that is no PNG. CalibrationError if the fit is
    not worth saving.
    """
    console = Terminal(highlight=False, soft_wrap=True)
    check_png("preview", settings.preview)
    sizes = {"square_mm": settings.square_mm, "marker_mm": settings.marker_mm}
    layout = settings.board or "a4"
    board = board_of(layout, **sizes, dictionary=settings.dictionary)
    if settings.sheet is not None:
        check_writable("sheet", settings.sheet, overwrite=settings.overwrite)
        is_a3 = layout.lower() == "a3" and "paper" not in settings.model_fields_set
        write_board(board, settings.sheet, paper="a3" if is_a3 else settings.paper)
        console.print(f"{settings.sheet}: {board}; print at 100 %, glue it to something flat", markup=False)
        return 0
    try:
        checked_name(settings.name)
    except ValueError as error:
        raise SettingsError(str(error), field="name") from error
    check_writable("out", _path(settings), overwrite=settings.overwrite)
    check_writable("preview", settings.preview, overwrite=settings.overwrite)
    source = open_source(settings.source, CaptureSettings.of(settings), partial(console.print, markup=False))
    try:
        if not source.live:
            return _from_files(settings, source, board, console)
        if settings.ui == "headless":
            return _headless(settings, source, board, console)
        return _on_page(settings, source, board, console)
    finally:
        source.close()


def _notes(settings: CalibrateCameraVerb) -> dict[str, str]:
    exposure = "locked where it settled" if settings.lock_exposure else "automatic"
    balance = "locked where it settled" if settings.lock_white_balance else "automatic"
    notes = {
        "source": masked(settings.source),
        "exposure": f"locked at {settings.exposure:g}" if settings.exposure is not None else exposure,
        "white_balance": f"locked at {settings.white_balance} K" if settings.white_balance is not None else balance,
    }
    return {**notes, "note": settings.note} if settings.note else notes


def _path(settings: CalibrateCameraVerb) -> Path:
    return settings.out or Path("calib") / "cameras" / f"{settings.name}.json"


def _from_files(settings: CalibrateCameraVerb, source: Source, board: Board, console: Console) -> int:
    """Use every image of a folder, or the frames of a video that show something new."""
    images = isinstance(source, ImageSource)
    if isinstance(source, ImageSource):
        # The lens belongs to the sensor, however the camera was held.
        source.upright = False
    guide = CalibrationGuide(board, still=False, new=not images)
    last: UInt8Array | None = None
    unused: dict[str, list[str]] = {}
    with console.status("looking for the board") as status:
        # A folder is gone through whatever it begins with; a video of another board is given up early.
        while images or not guide.hopeless:
            try:
                frame = source.read()
            except EndOfStream:
                break
            name = source.path.name if isinstance(source, ImageSource) and source.path else f"frame {frame.index}"
            look = guide.look(frame.pixels, name=name)
            if look.accepted:
                last = frame.pixels
            elif images or look.wrong:
                unused.setdefault(look.text, []).append(name)
            status.update(f"{guide.seen} images, {len(guide.views)} views")
    for text, names in unused.items():
        console.print(f"{listed(names)}: {text}", markup=False)
    console.print(f"{guide.seen} images, {len(guide.views)} views of the board", markup=False)
    _save(settings, guide, board, last, console)
    return 0


def _save(
    settings: CalibrateCameraVerb, guide: CalibrationGuide, board: Board, last: UInt8Array | None, console: Console
) -> None:
    profile, left_out = calibrate(guide.checked_views(), board, name=settings.name, notes=_notes(settings))
    profile.save(_path(settings))
    for name in left_out:
        console.print(f"left out: {name or 'a view'} does not fit the others", markup=False)
    if guide.missing():
        console.print(f"no view was {', '.join(guide.missing())}; more would make it surer", markup=False)
    if settings.preview is not None and last is not None:
        write_png(settings.preview, undistortion_preview(profile, last))
    report(console, profile, _path(settings))


def _headless(settings: CalibrateCameraVerb, source: Source, board: Board, console: Console) -> int:
    guide = CalibrationGuide(board, still=True, new=True)
    last: UInt8Array | None = None
    shown = ""
    latest = Latest(source)
    try:
        deadline = time.monotonic() + settings.seconds
        while not guide.ready and not guide.hopeless:
            if time.monotonic() > deadline:
                raise CalibrationError(
                    f"{settings.seconds:g} seconds were not enough: {len(guide.views)} views, still to do: {guide.advice()}"
                )
            frame = latest.take(0.5)
            if frame is not None:
                look = guide.look(frame.pixels)
                if look.accepted:
                    last = frame.pixels
                line = f"{len(guide.views)} views: {look.text}"
            elif latest.state == SourceState.ENDED:
                break
            else:
                latest.check_answers()
                line = shown if latest.state == SourceState.LIVE else latest.detail
            if line != shown:
                console.print(line, markup=False)
                shown = line
    finally:
        latest.close()
    _save(settings, guide, board, last, console)
    return 0


def _on_page(settings: CalibrateCameraVerb, source: Source, board: Board, console: Console) -> int:
    from physadv.web.calibrate import Calibration
    from physadv.web.serve import Listener, PageServer

    latest = Latest(source)
    calibration = Calibration(
        board=board, name=settings.name, path=_path(settings), notes=_notes(settings), images=_newest(latest)
    )
    server = PageServer(Listener(host=settings.host, port=settings.port), calibration=calibration)
    try:
        server.start()
        console.print(
            f"physadv calibrate camera: {server.url.replace(f':{server.port}/', f':{server.port}/calibrate')}",
            markup=False,
        )
        console.print("follow the page; Ctrl-C gives up", markup=False)
        while not calibration.wait(0.2):
            if latest.state == SourceState.ENDED:
                raise CalibrationError(f"{source.name} ended before the calibration did: {latest.detail}")
        profile, path = calibration.profile, calibration.path
        # The page still fetches the preview.
        time.sleep(1.0)
    finally:
        server.close()
        latest.close()
    assert profile is not None and path is not None
    report(console, profile, path)
    return 0


def _newest(latest: Latest) -> Callable[[], Frame | None]:
    """Return a function that gives the newest image of a source, waiting a moment for one."""
    return lambda: latest.take(1.0)


def report(console: Console, profile: CameraProfile, path: Path) -> None:
    """Print what was measured."""
    across, down = profile.field_of_view_deg
    console.print(
        f"{profile.views} views, rms {profile.rms_px:.3f} px, corners in {profile.coverage:.0%} of the image; focal "
        f"length {profile.focal_px:.1f} +- {profile.focal_error_px:.1f} px, field of view {across:.1f} x {down:.1f} "
        f"degrees at {profile.width} x {profile.height}",
        markup=False,
    )
    if about := LAYOUT_NOTES.get(str(profile.board.get("layout"))):
        console.print(about, markup=False)
    console.print(f"saved {path} ({profile.sha256[:12]}); use it with --camera {path}", markup=False)
