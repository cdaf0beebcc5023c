"""The detector that runs, and those that look at the same images beside it: what the page offers of them, and takes."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from physadv.live.settings import Backend, LiveSettings
from physadv.settings import Settings
from physadv.web.context import PageContext

FIELDS = LiveSettings.model_fields


class DetectorWanted(Settings):
    """A detector, as `--detector`, `--backend` and `--imgsz` take it."""

    name: str = Field(min_length=1, max_length=500)
    backend: Backend = Field(default="auto", title=FIELDS["backend"].title)
    imgsz: Literal[320, 416, 512, 640, 960, 1280] = Field(default=640, title=FIELDS["imgsz"].title)


class BesideWanted(Settings):
    """Detectors in panes of their own, as `--beside` takes them; none takes the panes away."""

    names: list[str] = Field(max_length=10, title=FIELDS["beside"].title)


def router(context: PageContext) -> APIRouter:
    """Return `/api/detector` and `/api/beside`; one that is not offered is a SettingsError."""
    out = APIRouter(prefix="/api")

    @out.post("/detector")
    def detector(wanted: DetectorWanted) -> dict[str, str]:
        demo = context.camera
        demo.switch_detector(demo.detectors.get(wanted.name).name, wanted.backend, wanted.imgsz)
        return {"loading": wanted.name}

    @out.post("/beside")
    def beside(wanted: BesideWanted) -> dict[str, Any]:
        demo = context.camera
        demo.show_beside([demo.detectors.get(name, field="beside").name for name in wanted.names])
        return {"loading": wanted.names}

    return out
