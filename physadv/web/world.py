"""The simulated world on the page: the worn pattern on the newest image's people, under training's transforms.

Training also crops, scales and mirrors its views; here each shows a whole person as the camera does.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import Field

from physadv.errors import DataError
from physadv.live.demo import Demo
from physadv.live.draw import drawn
from physadv.settings import Settings
from physadv.types import UInt8Array
from physadv.web.context import PageContext
from physadv.web.images import jpeg

VIEWS, SIDE, GAP = 12, 192, 2
# Between two drawings for all viewers: a second, or this many times what the last one took, so that the loop keeps the
# machine.
REST = 4
PAUSE_S = 1.0


class ViewsRequest(Settings):
    """What is to be drawn. strength: of every effect. seed: of the draw. columns: of the grid of views."""

    strength: float = Field(default=0.3, ge=0, le=3)
    seed: int = Field(default=0, ge=0, lt=2**31)
    columns: int = Field(default=6, ge=1, le=VIEWS)


def router(context: PageContext) -> APIRouter:
    """Return `/api/world.jpg`: a grid of views with the people that the bare detector finds in each.

    204 while another is drawn or was a moment ago. `x-hidden`: in how many nobody is found. It answers with a
    DataError where there is no image, no pattern on it, or nobody to wear it.
    """
    out = APIRouter(prefix="/api")
    demo = context.live
    drawing = threading.Lock()
    # One thread for all: the compute library keeps a thread pool for each calling thread.
    pool = ThreadPoolExecutor(1, thread_name_prefix="world")
    rested = 0.0

    @out.get("/world.jpg")
    def world(wanted: Annotated[ViewsRequest, Query()]) -> Response:
        nonlocal rested
        if not drawing.acquire(blocking=False):
            return Response(status_code=204)
        try:
            start = time.monotonic()
            if start < rested:
                return Response(status_code=204)
            views = pool.submit(_views, demo, wanted).result()
            found = [context.camera.ask(view) for view in views]
            data = _sheet(
                [drawn(v, people, skeleton=False) for v, people in zip(views, found, strict=True)], wanted.columns
            )
            end = time.monotonic()
            rested = end + max(PAUSE_S, REST * (end - start))
        finally:
            drawing.release()
        hidden = sum(len(people) == 0 for people in found)
        return Response(data, media_type="image/jpeg", headers={"x-hidden": f"{hidden} of {len(views)}"})

    return out


def _views(demo: Demo, wanted: ViewsRequest) -> list[UInt8Array]:
    shown, controls = demo.latest, demo.controls
    if shown is None or shown.placed is None or not controls.wear:
        raise DataError("simulated world: no pattern is worn; choose one and it is drawn here")
    # Loads torch and kornia: a page without a worn pattern never waits for them.
    from physadv.live.wearing import overlay_of
    from physadv.simulate.views import simulated_views
    from physadv.simulate.world import World

    overlay = overlay_of(demo.library.get(controls.wear), controls.wear_size)
    return simulated_views(
        overlay.patch,
        overlay.placement,
        shown.clean.pixels,
        shown.placed,
        world=World.of(wanted.strength),
        count=VIEWS,
        size=SIDE,
        seed=wanted.seed,
        angle=controls.wear_angle,
        fold=controls.wear_fold,
    )


def _sheet(views: list[UInt8Array], columns: int) -> bytes:
    """Return the views row by row as one JPEG, the last row filled up with black."""
    rows = -(-len(views) // columns)
    step = SIDE + GAP
    sheet = np.zeros((rows * step - GAP, columns * step - GAP, 3), np.uint8)
    for n, view in enumerate(views):
        y, x = n // columns * step, n % columns * step
        sheet[y : y + SIDE, x : x + SIDE] = view
    return jpeg(sheet, 85)
