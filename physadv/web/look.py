"""The layer picker of the live page: what the detector looks at in the nearest person, as often as the page asks."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any

import cv2
from fastapi import APIRouter, Query
from pydantic import Field

from physadv.errors import DataError
from physadv.settings import Settings
from physadv.web.context import PageContext

if TYPE_CHECKING:
    from physadv.live.looking import Looking


class LookWanted(Settings):
    """What is to be looked at. layer: its number; None for all that the head is given."""

    layer: int | None = Field(default=None, title="Layer")


def router(context: PageContext) -> APIRouter:
    """Return `/api/look`, a map of the newest frame, and `/api/look/layers`.

    A frame without people is a DataError, an unknown layer a SettingsError, a detector without gradients a BackendError.
    """
    out = APIRouter(prefix="/api/look")
    # One thread for all: the compute library keeps a thread pool for each calling thread.
    pool = ThreadPoolExecutor(1, thread_name_prefix="look")
    made: list[Looking] = []

    def looking() -> Looking:
        # Loads torch: a page on which nobody looks never waits for it.
        from physadv.live.looking import Looking

        if not made:
            made.append(Looking(lambda name: context.camera.detectors.find(name).where))
        return made[0]

    @out.get("")
    def look(wanted: Annotated[LookWanted, Query()]) -> dict[str, Any]:
        shown = context.camera.latest
        if shown is None:
            raise DataError("no image has come yet")
        found = pool.submit(lambda: looking().look(shown, wanted.layer)).result()
        _, data = cv2.imencode(".png", cv2.cvtColor(found.heat, cv2.COLOR_RGBA2BGRA))
        return {
            "n": found.frame,
            "box": found.xyxy,
            "score": None if found.score is None else round(found.score, 3),
            "ms": round(found.took_ms, 1),
            "image": f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}",
        }

    @out.get("/layers")
    def layers() -> list[dict[str, Any]]:
        name = context.camera.state()["detector"]["spec"]
        found = pool.submit(lambda: looking().layers(name)).result()
        return [{"layer": number, "kind": kind} for number, kind in found]

    return out
