"""The page, built from parts.

A part is a module here with `router(room: Room) -> APIRouter`. To add a page of your own (printing, calibration):

1. write `physadv/web/<name>.py` with that function: `@router.get("/<name>")` returns `page("<name>.html")` from `room.py`,
   its data goes under `/api/<name>/...`; raise any `PhysadvError` and it becomes `{"error": text}` with status 422, its
   flags replaced by the labels of your fields (`words.LABELS`), and `"field": flag` where it begins with one;
2. put `<name>.html`, `<name>.js` (an ES module) in `static/`; begin the body with `<header class="bar" data-nav></header>`
   and load `/static/base.css` and `/static/nav.js`, which fill the header with the links of `PAGES`; colours and spaces
   are the custom properties of `base.css`; no inline scripts or style attributes (the content policy refuses them);
   `static/dom.js` has `api(path, body)`, `el(tag, props, children)` and `toast(text)`;
3. add its router to `PARTS` (or to `LIVE_PARTS` if it needs the running demo, `room.live`) and its link to `PAGES`.

Everything is behind `Gate`: token, Host, Origin and the bound on bodies hold for new parts without a word.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from physadv.errors import PhysadvError
from physadv.live.demo import Demo
from physadv.live.wardrobe import Wardrobe
from physadv.settings import told
from physadv.web import calibrate, camera, colours, control, files, pictures, world
from physadv.web import print as printing
from physadv.web.gate import Gate
from physadv.web.room import STATIC, Room, page
from physadv.web.words import field_of, on_page

Part = Callable[[Room], APIRouter]
# With or without a running demo.
PARTS: tuple[Part, ...] = (printing.router, calibrate.router, colours.router)
# Only with one.
LIVE_PARTS: tuple[Part, ...] = (pictures.router, control.router, camera.router, files.router, world.router)
# Links in every page's header: path -> title.
PAGES: dict[str, str] = {"/print": "Print", "/show": "True size", "/calibrate": "Calibrate"}
LIVE_PAGES: dict[str, str] = {"/": "Live"}


def build_app(demo: Demo | None, *, token: str = "", desk: object = None, wardrobe: Wardrobe | None = None) -> ASGIApp:
    """Return the ASGI application.

    demo: what it shows; None leaves out the parts that need one. token: see `Gate`. desk, wardrobe: see `Room`.
    """
    app = FastAPI(title="physadv", docs_url=None, redoc_url=None, openapi_url=None)
    room = Room(demo, desk, wardrobe)
    for part in PARTS + (LIVE_PARTS if demo is not None else ()):
        app.include_router(part(room))
    links = {**(LIVE_PAGES if demo is not None else {}), **PAGES}
    app.include_router(_pages(links, with_demo=demo is not None))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(PhysadvError, _told)
    app.add_exception_handler(OSError, _not_written)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    return Gate(app, token=token)


def _pages(links: dict[str, str], *, with_demo: bool) -> APIRouter:
    router = APIRouter()

    @router.get("/api/pages")
    def pages() -> list[dict[str, str]]:
        return [{"path": path, "title": title} for path, title in links.items()]

    @router.get("/favicon.ico")
    def icon() -> Response:
        return page("icon.svg")

    @router.get("/")
    def first() -> Response:
        return page("index.html") if with_demo else RedirectResponse(next(iter(links), "/api/pages"))

    return router


def _told(request: Request, error: Exception) -> JSONResponse:
    return _unfit(request, str(error))


def _unfit(request: Request, text: str) -> JSONResponse:
    """Return what is wrong in the page's words, and the field it is about where the text begins with its flag."""
    field = field_of(text)
    about = {} if field is None else {"field": field}
    return JSONResponse({"error": on_page(text, request.url.path), **about}, status_code=422)


def _not_written(_: Request, error: Exception) -> JSONResponse:
    """Return which file it was and why: 507 where there is no room for it, else 422."""
    assert isinstance(error, OSError)
    status = 507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 422
    return JSONResponse({"error": f"{error.filename or 'file'}: {error.strerror or error}"}, status_code=status)


def _refused(_: Request, error: Exception) -> JSONResponse:
    status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    return JSONResponse({"error": text}, status_code=status)


def _malformed(request: Request, error: Exception) -> JSONResponse:
    details = error.errors() if isinstance(error, RequestValidationError) else []
    # A field lies below "body" or "query".
    return _unfit(request, told([{**d, "loc": d["loc"][1:]} for d in details], kebab=True) or "malformed request")
