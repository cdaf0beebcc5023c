"""The guided tour: its stops as JSON, for the demo as it stands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from physadv.tour.guide import guide, host_of
from physadv.web.context import PageContext
from physadv.web.gate import is_viewer


def router(context: PageContext) -> APIRouter:
    """Return `/api/tour`: see `tour.guide.Guide`. A language that is not there is a SettingsError."""
    out = APIRouter(prefix="/api")

    @out.get("/tour")
    def tour(request: Request, language: str = "en") -> dict[str, Any]:
        return asdict(guide(host_of(context.live, forbidden="viewer" if is_viewer(request.scope) else ""), language))

    return out
