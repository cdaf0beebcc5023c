"""The page of a trial: what is to be done now, and the keys that answer it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from physadv.errors import SettingsError
from physadv.patch import png_bytes
from physadv.settings import Settings
from physadv.trial.guide import Command
from physadv.trial.run import TrialRun
from physadv.web.context import PageContext, page


class TrialCommand(Settings):
    """What somebody pressed."""

    do: Command


class BrowserLocks(Settings):
    """Whether the camera of the device that opened the page holds its exposure and white balance."""

    exposure: bool
    white_balance: bool


def router(context: PageContext) -> APIRouter:
    """Return the page `/trial` and what it asks for below `/api/trial`.

    A picture of an arm that has none is a SettingsError, which the app answers in words.
    """
    out = APIRouter()
    trial = _trial(context)

    @out.get("/trial")
    def trial_page() -> Response:
        return page("trial.html")

    @out.get("/api/trial")
    def state() -> dict[str, Any]:
        return trial.state()

    @out.post("/api/trial")
    def command(wanted: TrialCommand) -> dict[str, Any]:
        trial.guide.ask(wanted.do)
        return trial.state()

    @out.post("/api/trial/locks")
    def locks(found: BrowserLocks) -> dict[str, Any]:
        trial.camera_locked(exposure=found.exposure, white_balance=found.white_balance)
        return trial.state()

    @out.get("/api/trial/picture")
    def picture(arm: str) -> Response:
        worn = next((patch for name, patch in trial.pictures.items() if name == arm), None)
        if worn is None:
            raise SettingsError(field="arm", expected=f"one of {', '.join(trial.pictures)}", got=repr(arm[:40]))
        return Response(png_bytes(worn), media_type="image/png")

    return out


def _trial(context: PageContext) -> TrialRun:
    if context.trial is None:
        raise RuntimeError("this part of the page needs a trial")
    return context.trial
