"""The colours of a printer: photographs of the chart come in one by one, and a profile comes of all of them."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from physadv.camera.images import comparison
from physadv.camera.printing import Photo, chart_profile
from physadv.camera.profile import CameraProfile
from physadv.errors import CalibrationError
from physadv.settings import Settings
from physadv.types import UInt8Array
from physadv.web.calibrate import MAX_IMAGE, data_url, name_of
from physadv.web.room import Room

# As many are kept and read together; one of 40 megapixels is 120 MB in memory.
MAX_PHOTOS = 8


class ColourWanted(Settings):
    """Whose colours photographs of the chart show. photos: as `Photographs.keep` called them."""

    printer: str = Field("printer", min_length=1, max_length=64)
    camera: str = Field("camera", min_length=1, max_length=64)
    photos: list[str] = Field(min_length=1, max_length=MAX_PHOTOS)


class Photographs:
    """Photographs that were sent in and not read yet, on disk; the oldest makes room for the newest."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="physadv-chart-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._numbers = count()
        self._files: dict[str, tuple[str, Path]] = {}

    def keep(self, name: str, data: bytes) -> str:
        """Return what a photograph is called from now on. name: of its file.

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


def router(room: Room) -> APIRouter:
    """Return the calls that take photographs of the chart and make a profile of them."""
    out = APIRouter(prefix="/api/calibrate")
    photographs = Photographs()

    @out.post("/photograph")
    async def photograph(request: Request, file: Annotated[str, Query(min_length=1, max_length=200)]) -> dict[str, str]:
        return {"photo": await run_in_threadpool(photographs.keep, file, await request.body())}

    @out.post("/colour")
    def colour(wanted: ColourWanted) -> dict[str, Any]:
        return colours(photographs.take(wanted.photos), wanted, decode=room.decoder.image)

    return out


def colours(
    photographs: list[tuple[str, bytes]], wanted: ColourWanted, *, decode: Callable[..., UInt8Array]
) -> dict[str, Any]:
    """Return what photographs of the chart told, for the page; the profile is saved in calib/printers.

    photographs: name and encoded bytes of each. The lens of the camera's profile, where there is one of that name, is
    taken out first, and the printer's profile is tied to it. decode: as `arrays.decode_image`.

    Raises: CalibrationError for a name that cannot be a file's, or photographs that do not give a profile.
    """
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
