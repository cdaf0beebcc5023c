"""The calibration page: the board in the image, where it was seen, what to show next; and a printer's colours."""

from __future__ import annotations

import base64
import hashlib
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from physadv.camera.charuco import BOARDS, LAYOUT_NOTES, Board, board_of
from physadv.camera.guide import CalibrationGuide, GuideAnswer
from physadv.camera.intrinsics import calibrate
from physadv.camera.lens import undistortion_preview
from physadv.camera.profile import CameraProfile, checked_name
from physadv.errors import CalibrationError
from physadv.fabricate.settings import BoardSettings
from physadv.settings import Settings
from physadv.types import Frame, UInt8Array
from physadv.web.context import PageContext, page
from physadv.web.images import jpeg

SHOWN_WIDTH = 720
MAX_IMAGE = 40_000_000
# How long a look waits for our camera's next frame.
PATIENCE_S, TICK_S = 1.0, 0.02
# As many are kept and read together; one of 40 megapixels is 120 MB in memory.
MAX_PHOTOS = 8


class BoardRequest(BoardSettings):
    """A board as `physadv calibrate camera` takes it; where none is named it is the one before."""

    def of(self, before: Board) -> Board:
        """Return the board that is meant: where none is named `before`, with squares as they were measured.

        Raises: CalibrationError if there can be no such board.
        """
        if self.board is None:
            return before if self.square_mm is None else before.with_square(self.square_mm)
        sizes = {"square_mm": self.square_mm, "marker_mm": self.marker_mm}
        return board_of(self.board, **sizes, dictionary=self.dictionary)


class CalibrationRequest(BoardRequest):
    """What is to be calibrated: the profile's name, and the board that was printed if it is another than before."""

    name: str = Field("camera", min_length=1, max_length=64)


class FinishRequest(Settings):
    """What may have been changed on the page since the beginning: the profile's name, and a square as measured."""

    name: str | None = Field(None, min_length=1, max_length=64)
    square_mm: float | None = Field(None, gt=0, le=1000)


class SheetRequest(BoardRequest):
    """A board to print, and the paper by name."""

    board: str | None = Field("a4", max_length=12)
    paper: str = Field("a4", max_length=12)


class ColourRequest(Settings):
    """The printer whose colours photographs of the chart show. photos: as `Photographs.keep` named them."""

    printer: str = Field("printer", min_length=1, max_length=64)
    camera: str = Field("camera", min_length=1, max_length=64)
    photos: list[str] = Field(min_length=1, max_length=MAX_PHOTOS)


class Photographs:
    """Photographs that were sent in and not read yet, on disk; the oldest is dropped for the newest."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="physadv-chart-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._numbers = count()
        self._files: dict[str, tuple[str, Path]] = {}

    def keep(self, name: str, data: bytes) -> str:
        """Keep a photograph and return its key. name: of its file.

        Raises: OSError if it cannot be kept.
        """
        with self._lock:
            key = str(next(self._numbers))
            path = Path(self._folder.name) / key
            path.write_bytes(data)
            self._files[key] = (name, path)
            if len(self._files) > MAX_PHOTOS:
                self._files.pop(next(iter(self._files)))[1].unlink()
        return key

    def take(self, keys: list[str]) -> list[tuple[str, bytes]]:
        """Return names and bytes of photographs, which are not kept any longer.

        Raises: CalibrationError if one is not here any more.
        """
        with self._lock:
            found = [self._files.pop(key) for key in dict.fromkeys(keys) if key in self._files]
            out = [(name, path.read_bytes()) for name, path in found]
            for _, path in found:
                path.unlink()
        if len(out) < len(set(keys)):
            raise CalibrationError("photographs: not all are here any more; choose them again")
        return out


@dataclass
class Calibration:
    """One calibration under way; calls may come from several threads.

    path: where the profile goes; None puts it in calib/cameras under its name. images: the newest frame of a camera
    of this machine, or None where the visitor sends images of their own.
    """

    board: Board = BOARDS["a4"]
    name: str = "camera"
    path: Path | None = None
    notes: dict[str, str] = field(default_factory=dict)
    images: Callable[[], Frame | None] | None = None
    profile: CameraProfile | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._guide = CalibrationGuide(self.board, still=True, new=True)
        self._last: UInt8Array | None = None
        self._handed_ns: int | None = None

    def wait(self, seconds: float) -> bool:
        """Return whether a profile was saved, after waiting at most so long."""
        return self._done.wait(seconds)

    def start(self, wanted: CalibrationRequest) -> dict[str, Any]:
        """Restart with another board or name, and return the state.

        Raises: CalibrationError for a board or a name that cannot be.
        """
        board = wanted.of(self.board)
        with self._lock:
            self._call(wanted.name)
            self.board, self.profile, self._last = board, None, None
            self._guide = CalibrationGuide(board, still=True, new=True)
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return the guide's state with names and sizes for the page."""
        with self._lock:
            return {
                **self._guide.state(),
                "name": self.name,
                "board": str(self.board),
                "square_mm": round(self.board.square_mm, 3),
                "camera": self.images is not None,
                "profile": None if self.profile is None else _summary(self.profile),
            }

    def look(self, pixels: UInt8Array) -> tuple[GuideAnswer, dict[str, Any]]:
        """Return what an image shows and the page's values for it."""
        with self._lock:
            look = self._guide.look(pixels)
            if look.accepted:
                self._last = pixels
        w, h = pixels.shape[1], pixels.shape[0]
        corners = [] if look.corners is None else (look.corners / np.array([w, h], np.float32)).round(4).tolist()
        found = {"text": look.text, "accepted": look.accepted, "wrong": look.wrong, "corners": corners, "size": [w, h]}
        return look, {**self.state(), **found}

    def newest(self) -> Frame | None:
        """Return our camera's newest frame, or None if no new one came within a second.

        One frame looked at twice would pass for a board that is held still.
        """
        deadline = time.monotonic() + PATIENCE_S
        while self.images is not None:
            frame = self.images()
            with self._lock:
                if frame is not None and frame.captured_ns != self._handed_ns:
                    self._handed_ns = frame.captured_ns
                    return frame
            if time.monotonic() > deadline:
                break
            time.sleep(TICK_S)
        return None

    def finish(self, ending: FinishRequest) -> dict[str, Any]:
        """Fit, save and return the state with the profile.

        Raises: CalibrationError for a name that cannot be, or if the views do not make a calibration; nothing is saved
        then.
        """
        with self._lock:
            if ending.name is not None:
                self._call(ending.name)
            if ending.square_mm is not None:
                self.board = self.board.with_square(ending.square_mm)
            views = list(self._guide.checked_views())
            board, name = self.board, self.name
        profile, _ = calibrate(views, board, name=name, notes=self.notes)
        path = self.path or Path("calib") / "cameras" / f"{name}.json"
        profile.save(path)
        with self._lock:
            self.profile, self.path = profile, path
        self._done.set()
        return self.state()

    def preview(self) -> bytes | None:
        """Return a JPEG of the last view before and after undistortion, or None before there is a profile."""
        with self._lock:
            profile, last = self.profile, self._last
        if profile is None or last is None:
            return None
        return jpeg(undistortion_preview(profile, last), 85)

    def _call(self, name: str) -> None:
        """Set the profile's name; with another one it goes to another file."""
        if name_of(name) != self.name:
            self.name, self.path = name, None


def router(context: PageContext) -> APIRouter:
    """Return the page and its calls: start, look (an image of the visitor's or of our camera), finish, preview, colours."""
    out = APIRouter()
    given = context.calibration
    calibration = given if isinstance(given, Calibration) else Calibration(images=_of_demo(context))
    photographs = Photographs()

    @out.get("/calibrate")
    def guide() -> Response:
        return page("calibrate.html")

    @out.get("/api/calibrate/state")
    def state() -> dict[str, Any]:
        return calibration.state()

    @out.post("/api/calibrate/start")
    def start(wanted: CalibrationRequest) -> dict[str, Any]:
        return calibration.start(wanted)

    @out.post("/api/calibrate/look")
    async def look(request: Request) -> dict[str, Any]:
        image = partial(
            context.decoder.image, name="image", max_pixels=MAX_IMAGE, upright=False, error=CalibrationError
        )
        pixels = await context.decoder.aside(partial(image, await request.body()))
        return (await run_in_threadpool(calibration.look, pixels))[1]

    @out.get("/api/calibrate/look")
    def own_look() -> dict[str, Any]:
        frame = calibration.newest()
        if frame is None:
            return {
                **calibration.state(),
                "text": "waiting for the camera",
                "accepted": False,
                "wrong": False,
                "corners": [],
            }
        _, found = calibration.look(frame.pixels)
        return {**found, "image": data_url(frame.pixels)}

    @out.post("/api/calibrate/finish")
    def finish(ending: FinishRequest) -> dict[str, Any]:
        return calibration.finish(ending)

    @out.get("/api/calibrate/preview.jpg")
    def preview() -> Response:
        data = calibration.preview()
        return Response(status_code=404) if data is None else Response(data, media_type="image/jpeg")

    @out.get("/api/calibrate/sheet/board.pdf")
    def board(wanted: Annotated[SheetRequest, Query()]) -> Response:
        # Loads fpdf2, a third of what a page takes to start: only who asks for a sheet waits for it.
        from physadv.fabricate.board import board_pdf

        data = board_pdf(wanted.of(calibration.board), paper=wanted.paper)
        return Response(data, media_type="application/pdf")

    @out.get("/api/calibrate/sheet/{what}.pdf")
    def sheet(what: Literal["board-a4", "board-a3", "colour-chart"]) -> Response:
        from physadv.fabricate.board import board_pdf
        from physadv.fabricate.colour_chart import chart_pdf

        data = chart_pdf() if what == "colour-chart" else board_pdf(BOARDS[what[-2:]], paper=what[-2:])
        return Response(data, media_type="application/pdf")

    @out.post("/api/calibrate/photograph")
    async def photograph(request: Request, file: Annotated[str, Query(min_length=1, max_length=200)]) -> dict[str, str]:
        return {"photo": await run_in_threadpool(photographs.keep, file, await request.body())}

    @out.post("/api/calibrate/colour")
    def colour(wanted: ColourRequest) -> dict[str, Any]:
        return colours(photographs.take(wanted.photos), wanted, decode=context.decoder.image)

    return out


def name_of(text: str, *, field: str = "name") -> str:
    """Return `text` if it can name a profile. field: what an error calls it.

    Raises: CalibrationError otherwise.
    """
    try:
        return checked_name(text)
    except ValueError as error:
        raise CalibrationError(str(error), field=field) from error


def colours(
    photographs: list[tuple[str, bytes]], wanted: ColourRequest, *, decode: Callable[..., UInt8Array]
) -> dict[str, Any]:
    """Return the result of photographs of the chart, for the page; the profile is saved in calib/printers.

    photographs: name and encoded bytes of each. The lens of the camera's profile, where there is one of that name, is
    taken out first, and the printer's profile is tied to it. decode: as `arrays.decode_image`.

    Raises: CalibrationError for a name that cannot be a file's, or photographs that do not give a profile.
    """
    # Loads torch and scipy: only who calibrates a printer waits for them.
    from physadv.camera.printer import Photo, chart_profile, comparison

    printer, camera = name_of(wanted.printer, field="printer"), name_of(wanted.camera, field="camera")
    lens = CameraProfile.load(camera) if camera in CameraProfile.known() else None
    if lens is not None:
        lens.check_age()
    photos = []
    for name, data in photographs:
        # As the sensor gave it: the lens that is taken out lies before it.
        pixels = decode(data, name=name, max_pixels=MAX_IMAGE, upright=False, error=CalibrationError)
        photos.append(Photo(name, hashlib.sha256(data).hexdigest(), pixels))
    profile, samples = chart_profile(
        photos, printer=printer, camera=camera if lens is None else lens.name, camera_profile=lens
    )
    profile.save(Path("calib") / "printers" / f"{profile.name}.json")
    return {
        "name": profile.name,
        "sha256": profile.sha256,
        "held_out": profile.held_out,
        "lens": lens is not None,
        "image": data_url(comparison(profile, samples)),
    }


def _of_demo(context: PageContext) -> Callable[[], Frame | None] | None:
    """Return what gives the newest image of the running demo's camera, or None without a demo.

    None, too, where the demo takes out a lens already: its images are not those of the camera itself.
    """
    if context.demo is None or context.demo.undistorts:
        return None
    demo = context.demo

    def newest() -> Frame | None:
        shown = demo.latest
        return None if shown is None else shown.clean

    return newest


def _summary(profile: CameraProfile) -> dict[str, Any]:
    across, down = profile.field_of_view_deg
    return {
        "name": profile.name,
        "sha256": profile.sha256,
        "rms_px": profile.rms_px,
        "focal_px": round(profile.focal_px, 1),
        "focal_error_px": round(profile.focal_error_px, 1),
        "field_of_view_deg": [round(across, 1), round(down, 1)],
        "size": [profile.width, profile.height],
        "views": profile.views,
        "coverage": profile.coverage,
        "layout": LAYOUT_NOTES.get(str(profile.board.get("layout"))),
    }


def data_url(pixels: UInt8Array) -> str:
    """Return an image (h, w, 3) uint8 RGB as an address that holds it, made smaller if it is wide."""
    scale = min(1.0, SHOWN_WIDTH / pixels.shape[1])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(np.asarray(small, np.uint8), 75)).decode()
