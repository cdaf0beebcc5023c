"""Switches, sliders and pickers: what the page may ask for, and what it can change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import Field

from physadv.capture.webcam import cameras
from physadv.live.replay import SPEEDS
from physadv.live.settings import LOOPBACK, Controls
from physadv.settings import Settings, form_of
from physadv.tour.texts import every_text, languages
from physadv.web.context import PageContext
from physadv.web.detectors import DetectorWanted
from physadv.web.gate import is_viewer

if TYPE_CHECKING:
    from physadv.defend import Defence

# What the page says first of each preset: what it does and proves, and its price where none was measured yet.
CARDS = {
    "fast": {
        "title": "Fast",
        "proves": "Turns loud texture down and keeps people it has seen before. Proves nothing.",
        "price": "a few ms a frame",
    },
    "balanced": {
        "title": "Balanced",
        "proves": "Finds pasted patterns, paints them over, and keeps people it has seen before. Proves nothing.",
        "price": "a network of its own",
    },
    "certified": {
        "title": "Certified",
        "proves": "Proves of the people it marks that no one patch of the stated size can hide them.",
        "price": "one more pass",
    },
}


class SourceWanted(Settings):
    """A source, as `--source` takes it."""

    spec: str = Field(min_length=1, max_length=2000)


class RecordingWanted(Settings):
    """Whether to record. clean: the untouched camera video too."""

    on: bool
    clean: bool = False


class ReplayWanted(Settings):
    """How a recording goes on. seek_s: the second to go to. step: to the next frame or back to the one before; pauses."""

    pause: bool | None = None
    seek_s: float | None = Field(default=None, ge=0, le=1e7)
    step: Literal[-1, 1] | None = None
    speed: float | None = Field(default=None, ge=min(SPEEDS), le=max(SPEEDS))


def router(context: PageContext) -> APIRouter:
    """Return the JSON calls under `/api`: options, state, controls, source, recording.

    The state's `viewer` says whether it was asked for by a read-only link, for which every other call is refused.
    """
    out = APIRouter(prefix="/api")
    demo = context.live

    @out.get("/options")
    def options(request: Request) -> dict[str, Any]:
        linked = context.viewer_token and not is_viewer(request.scope)
        # Whoever opened the page as localhost has nothing to hand on in its own address.
        base = context.address if request.url.hostname in LOOPBACK and context.address else "/"
        found = [{"spec": str(c.index), "title": c.name} for c in cameras()]
        builtin = [{"spec": "sample", "title": "built-in sample"}]
        return {
            **(_defences() if not demo.recorded else {"defences": [], "presets": {}, "cards": []}),
            "patches": demo.library.names(),
            # The button's words stand there before anybody has chosen a language.
            "tour": {"label": " · ".join(every_text()["words"]["tour"].values()), "languages": list(languages())},
            "sources": found + builtin,
            "detectors": context.detectors(),
            "fields": {**form_of(Controls), **form_of(DetectorWanted)},
            # To be handed on to whoever may look on only; relative to this page, if others can use its address.
            "viewer_link": f"{base}?token={quote(context.viewer_token)}" if linked else None,
        }

    @out.get("/state")
    def state(request: Request) -> dict[str, Any]:
        return {**demo.state(), "viewer": is_viewer(request.scope)}

    @out.post("/controls")
    def controls(changes: dict[str, Any]) -> dict[str, Any]:
        return demo.control(**changes).model_dump()

    @out.post("/defences/measure")
    def measure() -> dict[str, str]:
        context.camera.measure_costs(tuple(CARDS))
        return {"measuring": ", ".join(CARDS)}

    @out.post("/warm-start")
    def warm_start() -> dict[str, Any]:
        return context.camera.warm_start()

    @out.post("/source")
    def source(wanted: SourceWanted) -> dict[str, str]:
        return {"opening": context.camera.switch_source(wanted.spec)}

    @out.post("/replay")
    def replay(wanted: ReplayWanted) -> dict[str, Any]:
        return context.replay.play(**wanted.model_dump(exclude_none=True))

    @out.post("/recording")
    def recording(wanted: RecordingWanted) -> dict[str, Any]:
        if wanted.on:
            return {"on": True, "name": demo.start_recording(clean=wanted.clean).name}
        path = demo.stop_recording()
        return {"on": False, "name": path.name if path is not None else None}

    return out


def _defences() -> dict[str, Any]:
    """Return every defence as the page's switches need it, with the presets and the cards that stand for them."""
    # Only here: the page of a recording offers no defence and loads none.
    from physadv.defend import PRESETS, known_defences, parse_pipeline

    return {
        "defences": [_described(name, defence) for name, defence in known_defences()[0].items()],
        # As the controls give them back.
        "presets": {name: parse_pipeline(text).text for name, text in PRESETS.items()},
        "cards": [{"defend": name, **CARDS[name]} for name in PRESETS],
    }


def _described(name: str, defence: type[Defence]) -> dict[str, Any]:
    """Return a defence as its switch needs it: title, cost, paper and the JSON schema of its parameters."""
    return {
        "name": name,
        "title": defence.title,
        "cost": defence.cost,
        "paper": defence.paper,
        "about": " ".join((defence.__doc__ or "").split("\n\n")[0].split()),
        "parameters": form_of(defence),
    }
