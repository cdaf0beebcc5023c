"""Printing, advice before it, and a pattern at true size on a screen."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field, field_validator
from starlette.concurrency import run_in_threadpool

from physadv.camera.profile import NAME, CameraProfile, PrinterProfile
from physadv.controls import control
from physadv.errors import FabricationError
from physadv.fabricate.advise import (
    SizeCurve,
    advise,
    aspect_of,
    has_curve,
    instead_of,
    optics_of,
    placed,
    seen,
    width_cm,
)
from physadv.fabricate.inks import cmyk
from physadv.fabricate.settings import AdviceSettings, PrintSettings
from physadv.fabricate.units import PAPERS
from physadv.patch import REPLACED, Patch, png_bytes
from physadv.settings import form_of
from physadv.web.context import PageContext, page

MAX_PROFILE = 10_000_000
# The oldest is dropped for a new one.
MAX_PROFILES = 8
TYPES = {".pdf": "application/pdf", ".png": "image/png"}


class PrintRequest(PrintSettings):
    """A print as the page asks for it. profile: a CMYK profile that was sent in before. sheet: which one to preview."""

    pattern: str = Field(min_length=1, max_length=300, title="Pattern")
    profile: str | None = Field(default=None, max_length=100)
    sheet: int = Field(default=0, ge=0)
    kind: Literal[".pdf", ".png"] = ".pdf"

    @field_validator("cmyk")
    @classmethod
    def _refuse_path(cls, value: Path | None) -> None:
        if value is not None:
            raise ValueError("expected a profile that is sent in, got a path of this machine")

    @field_validator("printer")
    @classmethod
    def _check_printer(cls, value: str | None) -> str | None:
        return _checked_name(value)


class AdviceRequest(AdviceSettings):
    """A camera, a distance and a print, as `physadv advise` takes them."""

    pattern: str = Field(min_length=1, max_length=300)

    @field_validator("camera")
    @classmethod
    def _check_camera(cls, value: str | None) -> str | None:
        return _checked_name(value)


def _checked_name(value: str | None) -> str | None:
    # Who can reach the page must not choose which of this machine's files are opened.
    if value is not None and not NAME.fullmatch(value):
        raise ValueError(f"expected the name of a profile, got {value[:60]!r}")
    return value


def router(context: PageContext) -> APIRouter:
    """Return the pages `/print` and `/show` and what they ask for below `/api/print`.

    A request with a profile that is too large or gone raises FabricationError, which the app answers in words.
    """
    out = APIRouter()
    patterns = context.patterns()
    profiles: dict[str, Path] = {}
    numbers = count()
    folder = tempfile.TemporaryDirectory(prefix="physadv-icc-", ignore_cleanup_errors=True)

    @out.get("/print")
    def print_page() -> Response:
        return page("print.html")

    @out.get("/show")
    def show_page() -> Response:
        return page("show.html")

    @out.get("/api/print/options")
    def options() -> dict[str, Any]:
        return {
            "patterns": [_described(name, patterns.get(name)) for name in patterns.names()],
            # An address may name one that is no longer shipped.
            "replaced": REPLACED,
            # What the form is made of; the lists below are of this machine.
            "fields": {**form_of(AdviceRequest), **form_of(PrintRequest)},
            "papers": [*PAPERS, "fit"],
            "printers": PrinterProfile.known(),
            "cameras": CameraProfile.known(),
        }

    @out.post("/api/print/profile")
    async def profile(request: Request, name: str = "profile.icc") -> dict[str, str]:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > MAX_PROFILE:
                raise FabricationError(
                    f"{name[:60]} has more than 10 MB", field="cmyk", expected="an ICC profile of a CMYK printer"
                )
        called = Path(name).name[:60]
        path = Path(folder.name) / f"{next(numbers)}.icc"
        about = await run_in_threadpool(_kept, path, bytes(data), called)
        profiles[key := f"{path.stem} {called}"] = path
        if len(profiles) > MAX_PROFILES:
            profiles.pop(next(iter(profiles))).unlink(missing_ok=True)
        return {"profile": key, "about": about}

    @out.post("/api/print/size")
    def size(wanted: PrintRequest) -> dict[str, float]:
        # Loads fpdf2, a third of what a page takes to start: only who prints waits for it.
        from physadv.fabricate.poster import printed_size

        width, height = printed_size(patterns.get(wanted.pattern), _settings(wanted, profiles))
        return {"width_cm": round(width / 10, 2), "height_cm": round(height / 10, 2)}

    @out.post("/api/print/preview")
    def preview(wanted: PrintRequest) -> Response:
        from physadv.fabricate.poster import preview_png

        patch = patterns.get(wanted.pattern)
        data, sheets = preview_png(patch, _settings(wanted, profiles), sheet=wanted.sheet, width=900)
        return Response(data, media_type="image/png", headers={"x-sheets": str(sheets)})

    @out.get("/api/print/file")
    async def file(wanted: Annotated[PrintRequest, Query()]) -> Response:
        return await run_in_threadpool(_file, patterns.get(wanted.pattern), wanted, profiles)

    @out.post("/api/print/advise")
    def advice(question: AdviceRequest) -> dict[str, Any]:
        return _advice(patterns.get(question.pattern), question)

    @out.get("/api/print/image")
    def image(pattern: str, kind: str = "") -> Response:
        patch = patterns.get(pattern)
        shown = control(patch, kind, np.random.default_rng(0)) if kind else patch  # type: ignore[arg-type]
        return Response(png_bytes(shown), media_type="image/png")

    return out


def _described(name: str, patch: Patch) -> dict[str, Any]:
    return {
        "name": name,
        "size_mm": list(patch.size_mm),
        "target": patch.target,
        "sha256": patch.sha256,
        "texture": patch.tiles,
        "curve": has_curve(patch),
    }


def _kept(path: Path, data: bytes, called: str) -> str:
    """Keep a CMYK profile at `path` and return the name in it.

    Raises: FabricationError if it is none, and nothing is kept.
    """
    path.write_bytes(data)
    try:
        return cmyk(path, called=called).name
    except FabricationError:
        path.unlink()
        raise


def _settings(wanted: PrintRequest, profiles: dict[str, Path]) -> PrintSettings:
    """Return the print with the CMYK profile that was sent in.

    Raises: FabricationError if that is gone.
    """
    if wanted.profile is None:
        return wanted
    if wanted.profile not in profiles:
        raise FabricationError("this profile is not here any more", field="cmyk", hint="choose the file again")
    return wanted.model_copy(update={"cmyk": profiles[wanted.profile]})


def _file(patch: Patch, wanted: PrintRequest, profiles: dict[str, Path]) -> Response:
    """Return the print as a download, several files as one zip."""
    from physadv.fabricate.poster import print_patch

    stem = "-".join(re.sub(r"[^\w.-]+", "-", w) for w in (patch.name, wanted.control, wanted.garment) if w)
    with tempfile.TemporaryDirectory(prefix="physadv-print-") as place:
        done = print_patch(patch, _settings(wanted, profiles), Path(place) / f"{stem}{wanted.kind}")
        main = done.paths[0]
        if len(done.paths) == 1:
            return _download(main.read_bytes(), TYPES[wanted.kind], main.name)
        return _download(_zipped(done.paths), "application/zip", f"{stem}.zip")


def _zipped(paths: tuple[Path, ...]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            archive.writestr(zipfile.ZipInfo(path.name, (2024, 1, 1, 0, 0, 0)), path.read_bytes())
    return out.getvalue()


def _download(data: bytes, kind: str, name: str) -> Response:
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    return Response(data, media_type=kind, headers={"content-disposition": f'attachment; filename="{ascii_name}"'})


def _advice(patch: Patch, question: AdviceRequest) -> dict[str, Any]:
    optics = optics_of(question)
    place = {"distance_m": question.distance, "person_cm": question.person_height}
    aspect = aspect_of(patch)
    width = width_cm(patch, question.size)
    view = seen(optics, side_cm=width * aspect**0.5, **place)
    out: dict[str, Any] = {
        "sides_px": None if patch.tiles else [round(side, 1) for side in view.sides_px(aspect)],
        "covers": placed(patch, width, question.person_height, view.shown),
        "person_px": round(view.person_px, 1),
        "shown": round(view.shown, 3),
        "expected": None,
    }
    table = patch.record.get("size_curve")
    if table is None:
        text = f"{patch.name} has no size curve; measure it with physadv advise --measure --images FOLDER"
        return {**out, "text": text, "enough": None}
    found = advise(SizeCurve(table), optics, width_cm=width, aspect=aspect, wanted=question.wanted, **place)
    got = found.expected
    other = instead_of(patch, got, optics, **place)
    expected = {"asr": round(got.asr, 3), "low": round(got.low, 3), "high": round(got.high, 3), "people": got.people}
    return {
        **out,
        "expected": expected,
        "text": found.text if other is None else f"{found.text}. {other.text}",
        "enough": found.enough,
        "smallest_cm": found.smallest_cm,
        "farthest_m": found.farthest_m,
    }
