"""The page, built from parts.

A part is a module here with `router(context: PageContext) -> APIRouter`. To add a page of your own (printing, calibration):

1. write `physadv/web/<name>.py` with that function: `@router.get("/<name>")` returns `page("<name>.html")` (`context.py`),
   its data goes under `/api/<name>/...`; raise any `PhysadvError` and it becomes `{"error": text}` with status 422, its
   fields replaced by your labels for them (`words.LABELS`), and `"field": name` where it is about one; on a web socket it
   closes that with its text;
2. put `<name>.html`, `<name>.js` (an ES module) in `static/`; begin the body with `<header class="bar" data-nav></header>`
   and load `/static/base.css` and `/static/nav.js`, which fill the header with the links of `PAGES`; colours and spaces
   are the custom properties of `base.css`; no inline scripts or style attributes (the content policy refuses them);
   `static/dom.js` has `api(path, body)`, `el(tag, props, children)` and `toast(text)`;
3. add its router to `PARTS` (or to `live_parts` if it needs the running demo, `context.live`) and its link to `PAGES`.

Everything is behind `Gate`: token, Host, Origin and the bound on bodies hold for new parts without a word, and a
read-only visitor gets nothing of them unless `gate.py` lists it. `Faults` answers every error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from physadv.errors import PhysadvError
from physadv.live.library import PatchLibrary
from physadv.web import calibrate
from physadv.web import print as printing
from physadv.web.context import STATIC, PageContext, page
from physadv.web.faults import Faults, answered
from physadv.web.gate import Gate, is_viewer

if TYPE_CHECKING:
    from physadv.live.demo import Demo
    from physadv.trial.run import TrialRun

RouterOf = Callable[[PageContext], APIRouter]
# With or without a running demo.
PARTS: tuple[RouterOf, ...] = (printing.router, calibrate.router)
# Links in every page's header: path -> title.
PAGES: dict[str, str] = {"/print": "Print", "/show": "True size", "/calibrate": "Calibrate"}
LIVE_PAGES: dict[str, str] = {"/": "Live"}
TRIAL_PAGES: dict[str, str] = {"/trial": "Trial"}


def live_parts() -> tuple[RouterOf, ...]:
    """Return the parts that need a running demo. They are loaded with one alone: `physadv show` starts without them."""
    from physadv.web import control, detectors, files, look, stream, tour, world

    return (stream.router, control.router, detectors.router, files.router, world.router, look.router, tour.router)


def trial_parts() -> tuple[RouterOf, ...]:
    """Return the parts of a trial: frames and its own page. Nothing else could change what it shows or finds."""
    from physadv.web import stream, trial

    return (stream.router, trial.router)


def build_app(
    demo: Demo | None,
    *,
    token: str = "",
    viewer_token: str = "",
    address: str = "",
    calibration: object = None,
    trial: TrialRun | None = None,
    library: PatchLibrary | None = None,
) -> ASGIApp:
    """Return the ASGI application.

    demo: what it shows; None leaves out the parts that need one. token, viewer_token: see `Gate`. address, calibration,
    trial, library: see `PageContext`.
    """
    app = FastAPI(title="physadv", docs_url=None, redoc_url=None, openapi_url=None)
    context = PageContext(demo, calibration, trial, library, viewer_token, address)
    for part in trial_parts() if trial is not None else PARTS + (live_parts() if demo is not None else ()):
        app.include_router(part(context))
    links = TRIAL_PAGES if trial is not None else {**(LIVE_PAGES if demo is not None else {}), **PAGES}
    app.include_router(_pages(links, with_demo=demo is not None and trial is None))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for kind in (PhysadvError, OSError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answered)
    return Faults(Gate(app, token=token, viewer_token=viewer_token))


def _pages(links: dict[str, str], *, with_demo: bool) -> APIRouter:
    router = APIRouter()

    @router.get("/api/pages")
    def pages(request: Request) -> list[dict[str, str]]:
        return [
            {"path": path, "title": title}
            for path, title in links.items()
            if path in LIVE_PAGES or not is_viewer(request.scope)
        ]

    @router.get("/favicon.ico")
    def icon() -> Response:
        return page("icon.svg")

    @router.get("/")
    def first() -> Response:
        return page("index.html") if with_demo else RedirectResponse(next(iter(links), "/api/pages"))

    return router
