"""The live image: a web socket on which each viewer acknowledges what it has painted."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, WebSocket

from physadv.errors import SettingsError
from physadv.files import parse_json
from physadv.web.gate import is_viewer
from physadv.web.hub import Hub, Viewer
from physadv.web.room import Room, received
from physadv.web.words import on_page

STATE_EVERY_S = 0.2
MAX_MESSAGE = 500


def router(room: Room) -> APIRouter:
    """Return `/ws/frames`: binary images (see `hub.encode`) and text states out, acknowledgements in.

    What is no acknowledgement is a SettingsError, which ends the socket.
    """
    out = APIRouter()
    hub = Hub(room.live)

    @out.websocket("/ws/frames")
    async def images(socket: WebSocket) -> None:
        await socket.accept()
        viewer = Viewer()
        hub.join(viewer)
        tasks = [asyncio.create_task(_listen(socket, viewer)), asyncio.create_task(_send(socket, viewer, hub, room))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hub.leave(viewer)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        # Each is asked, or asyncio would log that nobody did.
        errors = [task.exception() for task in tasks if not task.cancelled()]
        for error in filter(None, errors):
            raise error

    return out


async def _listen(socket: WebSocket, viewer: Viewer) -> None:
    """Take `{"ack": number}` and `{"seen": bool}` until the viewer leaves.

    Raises: SettingsError for anything else.
    """
    while True:
        message = _parsed(await received(socket, "text"))
        if type(number := message.get("ack")) is int:
            viewer.acknowledge(number)
        if isinstance(seen := message.get("seen"), bool):
            viewer.wants_seen = seen


def _parsed(text: str) -> dict[str, Any]:
    expected = 'expected {"ack": number} or {"seen": true} in JSON'
    if len(text) > MAX_MESSAGE:
        raise SettingsError(f"{expected}, got {len(text):,} characters")
    try:
        message = parse_json(text)
    except ValueError as error:
        raise SettingsError(f"{expected}, got something else") from error
    if not isinstance(message, dict):
        raise SettingsError(f"{expected}, got {type(message).__name__}")
    return message


async def _send(socket: WebSocket, viewer: Viewer, hub: Hub, room: Room) -> None:
    """Send the newest image whenever the viewer is ready for one, and the state a few times a second."""
    next_state = 0.0
    while True:
        now = time.monotonic()
        if now >= next_state:
            next_state = now + STATE_EVERY_S
            state = {**_state(room, hub), "viewer": is_viewer(socket.scope)}
            await socket.send_text(json.dumps(state, separators=(",", ":")))
        packet = viewer.next(hub.packet)
        if packet is not None:
            await socket.send_bytes(packet.data)
            continue
        viewer.wake.clear()
        # Not `wait_for`, which may lose a cancellation that comes together with the wake.
        with suppress(TimeoutError):
            async with asyncio.timeout(max(next_state - time.monotonic(), 0.01)):
                await viewer.wake.wait()


def _state(room: Room, hub: Hub) -> dict[str, Any]:
    demo = room.live
    state = demo.state()
    state["figures"] |= hub.figures()
    state["notices"] = [{**asdict(n), "text": on_page(n.text)} for n in demo.notices.newest()]
    state["patches"] = demo.wardrobe.names()
    return state
