"""The calibration guide: the board in the picture, a map of where it was seen, and what to show next."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from physadv.arrays import decode_picture
from physadv.camera.charuco import BOARDS, Board, board_of
from physadv.camera.guide import Guide, Look
from physadv.camera.intrinsics import calibrate
from physadv.camera.pictures import comparison, undistortion_preview
from physadv.camera.printing import Photo, chart_profile
from physadv.camera.profile import CameraProfile, checked_name
from physadv.errors import CalibrationError
from physadv.fabricate.board import board_pdf
from physadv.fabricate.colour_chart import chart_pdf
from physadv.settings import Settings
from physadv.types import Frame, UInt8Array
from physadv.web.room import Room, page

SHOWN_WIDTH = 720
MAX_PICTURE = 40_000_000


class Wanted(Settings):
    """What is to be calibrated: the profile's name, and the board that was printed if it is another than before."""

    name: str = Field("camera", min_length=1, max_length=64)
    board: str | None = Field(None, max_length=12)
    square_mm: float | None = Field(None, gt=0, le=1000)
    marker_mm: float | None = Field(None, gt=0, le=1000)


class ColourWanted(Settings):
    """Whose colours a photograph of the chart shows. file: the photograph's own name, for the profile."""

    printer: str = Field("printer", min_length=1, max_length=64)
    camera: str = Field("camera", min_length=1, max_length=64)
    file: str = Field("photograph", min_length=1, max_length=200)


@dataclass
class Desk:
    """One calibration under way; calls may come from several threads.

    path: where the profile goes; None puts it in calib/cameras under its name. pictures: the newest picture of a camera
    on this side, or None where the page's visitor sends pictures of their own.
    """

    board: Board = BOARDS["a4"]
    name: str = "camera"
    path: Path | None = None
    notes: dict[str, str] = field(default_factory=dict)
    pictures: Callable[[], Frame | None] | None = None
    profile: CameraProfile | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._guide = Guide(self.board, still=True, new=True)
        self._last: UInt8Array | None = None

    def wait(self, seconds: float) -> bool:
        """Return whether a profile was saved, after waiting at most so long."""
        return self._done.wait(seconds)

    def start(self, wanted: Wanted) -> dict[str, Any]:
        """Begin anew with another board or name, and return the state.

        Raises: CalibrationError for a board or a name that cannot be.
        """
        board = self.board
        if wanted.board is not None:
            board = board_of(wanted.board, square_mm=wanted.square_mm, marker_mm=wanted.marker_mm)
        try:
            name = checked_name(wanted.name)
        except ValueError as error:
            raise CalibrationError(f"name: {error}") from error
        with self._lock:
            self.board, self.profile, self._last = board, None, None
            if name != self.name:
                self.name, self.path = name, None
            self._guide = Guide(board, still=True, new=True)
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return the guide's state with names and sizes for the page."""
        with self._lock:
            return {
                **self._guide.state(),
                "name": self.name,
                "board": str(self.board),
                "camera": self.pictures is not None,
                "profile": None if self.profile is None else _summary(self.profile),
            }

    def look(self, pixels: UInt8Array) -> tuple[Look, dict[str, Any]]:
        """Return what a picture shows and the page's values for it."""
        with self._lock:
            look = self._guide.look(pixels)
            if look.accepted:
                self._last = pixels
        w, h = pixels.shape[1], pixels.shape[0]
        corners = [] if look.corners is None else (look.corners / np.array([w, h], np.float32)).round(4).tolist()
        told = {"text": look.text, "accepted": look.accepted, "wrong": look.wrong, "corners": corners, "size": [w, h]}
        return look, {**self.state(), **told}

    def finish(self) -> dict[str, Any]:
        """Fit, save and return the state with the profile.

        Raises: CalibrationError if the views do not make a calibration; nothing is saved then.
        """
        with self._lock:
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
        return _jpeg(undistortion_preview(profile, last), 85)


def router(room: Room) -> APIRouter:
    """Return the guide's page and calls: start, look (a picture of the visitor's or of our camera), finish, preview."""
    out = APIRouter()
    desk = room.desk if isinstance(room.desk, Desk) else Desk(pictures=_of_demo(room))

    @out.get("/calibrate")
    def guide() -> Response:
        return page("calibrate.html")

    @out.get("/api/calibrate/state")
    def state() -> dict[str, Any]:
        return desk.state()

    @out.post("/api/calibrate/start")
    def start(wanted: Wanted) -> dict[str, Any]:
        return desk.start(wanted)

    @out.post("/api/calibrate/look")
    async def look(request: Request) -> dict[str, Any]:
        data = await request.body()
        pixels = decode_picture(data, name="picture", max_pixels=MAX_PICTURE, error=CalibrationError)
        return (await run_in_threadpool(desk.look, pixels))[1]

    @out.get("/api/calibrate/look")
    def own_look() -> dict[str, Any]:
        frame = desk.pictures() if desk.pictures is not None else None
        if frame is None:
            return {**desk.state(), "text": "waiting for the camera", "accepted": False, "wrong": False, "corners": []}
        _, told = desk.look(frame.pixels)
        return {**told, "picture": _data_url(frame.pixels)}

    @out.post("/api/calibrate/finish")
    def finish() -> dict[str, Any]:
        return desk.finish()

    @out.post("/api/calibrate/colour")
    async def colour(request: Request, wanted: Annotated[ColourWanted, Query()]) -> dict[str, Any]:
        return await run_in_threadpool(colours, await request.body(), wanted)

    @out.get("/api/calibrate/preview.jpg")
    def preview() -> Response:
        data = desk.preview()
        return Response(status_code=404) if data is None else Response(data, media_type="image/jpeg")

    @out.get("/api/calibrate/sheet/{what}.pdf")
    def sheet(what: Literal["board-a4", "board-a3", "colour-chart"]) -> Response:
        data = chart_pdf() if what == "colour-chart" else board_pdf(BOARDS[what[-2:]], paper=what[-2:])
        return Response(data, media_type="application/pdf")

    return out


def colours(data: bytes, wanted: ColourWanted) -> dict[str, Any]:
    """Return what an encoded photograph of the chart told, for the page; the profile is saved in calib/printers.

    The lens of the camera's profile, where there is one of that name, is taken out first.

    Raises: CalibrationError for a name that cannot be a file's, or a photograph that does not give a profile.
    """
    try:
        printer, camera = checked_name(wanted.printer), checked_name(wanted.camera)
    except ValueError as error:
        raise CalibrationError(f"name: {error}") from error
    pixels = decode_picture(data, name=wanted.file, max_pixels=MAX_PICTURE, error=CalibrationError)
    lens = CameraProfile.load(camera) if camera in CameraProfile.known() else None
    if lens is not None:
        lens.check_age()
    photo = Photo(wanted.file, hashlib.sha256(data).hexdigest(), pixels)
    profile, samples = chart_profile([photo], printer=printer, camera=camera, camera_profile=lens)
    profile.save(Path("calib") / "printers" / f"{profile.name}.json")
    return {
        "name": profile.name,
        "sha256": profile.sha256,
        "held_out": profile.held_out,
        "lens": lens is not None,
        "picture": _data_url(comparison(profile, samples)),
    }


def _of_demo(room: Room) -> Callable[[], Frame | None] | None:
    """Return what gives the newest picture of the running demo's camera, or None without a demo.

    None, too, where the demo takes out a lens already: its pictures would tell of a camera that is not there.
    """
    if room.demo is None or room.demo.measure is not None:
        return None
    demo = room.demo

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
    }


def _jpeg(pixels: UInt8Array, quality: int) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def _data_url(pixels: UInt8Array) -> str:
    scale = min(1.0, SHOWN_WIDTH / pixels.shape[1])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(np.asarray(small, np.uint8), 75)).decode()
