"""Images and videos in and out: uploaded patterns, their thumbnails, snapshots, recordings."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from physadv.errors import DataError, PatchError
from physadv.fabricate.advise import aspect_of
from physadv.fabricate.body import longest_cm
from physadv.fabricate.units import LARGEST_MM
from physadv.patch import Patch, png_bytes
from physadv.recording import Paths
from physadv.web.context import PageContext
from physadv.web.images import shrunk

MAX_UPLOAD = 10_000_000
THUMBNAIL = 160
TYPES = {".mp4": "video/mp4", ".jsonl": "application/jsonl"}


def router(context: PageContext) -> APIRouter:
    """Return `/api/patches`, `/api/snapshot.png` and `/api/recordings`.

    They answer with a PatchError for an upload that is too large or no pattern, a DataError for what is not there.
    """
    out = APIRouter(prefix="/api")
    demo = context.live

    @out.post("/patches")
    async def upload(request: Request, name: str = "upload") -> dict[str, str]:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > MAX_UPLOAD:
                raise PatchError(f"{name[:60]}: more than {MAX_UPLOAD // 1_000_000} MB; make the image smaller")
        take = partial(demo.library.upload, bytes(data), name=Path(name).stem, read=context.decoder.patch)
        return {"name": await context.decoder.aside(take)}

    @out.get("/patches")
    def patches() -> list[dict[str, Any]]:
        library = demo.library
        return [_described(library.get(name), name, own=library.own(name)) for name in library.names()]

    @out.get("/patches/thumbnail")
    def thumbnail(name: str) -> Response:
        rgba = shrunk(demo.library.get(name).rgba(), THUMBNAIL)
        _, data = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        return Response(data.tobytes(), media_type="image/png")

    @out.get("/patches/image")
    def image(name: str) -> Response:
        return Response(png_bytes(demo.library.get(name)), media_type="image/png")

    @out.get("/snapshot.png")
    def snapshot() -> Response:
        shown = demo.latest
        if shown is None:
            raise DataError("no image has been shown yet")
        _, data = cv2.imencode(".png", cv2.cvtColor(shown.annotated, cv2.COLOR_RGB2BGR))
        head = {"content-disposition": f'attachment; filename="physadv-{shown.frame.index:06d}.png"'}
        return Response(data.tobytes(), media_type="image/png", headers=head)

    @out.get("/recordings")
    def recordings() -> list[dict[str, Any]]:
        recording = demo.state()["recording"]
        running = Path(recording["path"]) if recording["on"] else None
        folder = demo.settings.recordings
        videos = [p for p in folder.glob("*.mp4") if not p.name.endswith(".clean.mp4") and p != running and _own(p)]
        return [_recorded(p) for p in sorted(videos, key=_written_at, reverse=True)[:50]]

    @out.get("/recordings/{name}")
    def recording(name: str) -> Response:
        path = demo.settings.recordings / name
        # The pattern leaves no way out of the folder, and links are not followed.
        if not re.fullmatch(r"[\w][\w.\-]*\.(mp4|jsonl)", name) or not _own(path):
            raise DataError(f"{name}: no such recording")
        return FileResponse(path, media_type=TYPES[path.suffix], filename=name)

    return out


def _described(patch: Patch, name: str, *, own: bool) -> dict[str, Any]:
    return {
        "name": name,
        "own": own,
        "target": patch.target,
        "framing": patch.framing,
        "size_mm": list(patch.size_mm),
        "widest_cm": int(min(longest_cm(patch.target) / aspect_of(patch), LARGEST_MM / 10)),
    }


def _own(path: Path) -> bool:
    """Return whether a file lies in its folder itself, and is no link to one elsewhere."""
    return path.is_file() and not path.is_symlink()


def _written_at(path: Path) -> float:
    """Return when a file was written, or 0 if it is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _recorded(path: Path) -> dict[str, Any]:
    """Return the names of a recording's files: clean is the untouched video, data a line for each image, or None."""
    files = Paths.of(path)
    beside = {"clean": files.clean, "data": files.jsonl}
    return {
        "name": path.name,
        "bytes": path.stat().st_size,
        **{what: file.name if _own(file) else None for what, file in beside.items()},
    }
