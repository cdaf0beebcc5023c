"""The live picture: a web socket on which each viewer acknowledges what it has painted."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from physadv.web.hub import Hub, Viewer
from physadv.web.room import Room
from physadv.web.words import on_page

STATE_EVERY_S = 0.2
MAX_MESSAGE = 500


def router(room: Room) -> APIRouter:
    """Return `/ws/pictures`: binary pictures (see `hub.encode`) and text states out, acknowledgements in."""
    out = APIRouter()
    hub = Hub(room.live)

    @out.websocket("/ws/pictures")
    async def pictures(socket: WebSocket) -> None:
        await socket.accept()
        viewer = Viewer()
        hub.join(viewer)
        listening = asyncio.create_task(_listen(socket, viewer))
        sending = asyncio.create_task(_send(socket, viewer, hub, room))
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hub.leave(viewer)
            for task in (listening, sending):
                task.cancel()
                with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                    await task
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close()

    return out


async def _listen(socket: WebSocket, viewer: Viewer) -> None:
    """Take `{"ack": number}` and `{"seen": bool}` until the viewer leaves or sends anything else."""
    while True:
        text = await socket.receive_text()
        if len(text) > MAX_MESSAGE:
            return
        try:
            message = json.loads(text)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if isinstance(message.get("ack"), int):
            viewer.acknowledge(message["ack"])
        if isinstance(message.get("seen"), bool):
            viewer.wants_seen = message["seen"]


async def _send(socket: WebSocket, viewer: Viewer, hub: Hub, room: Room) -> None:
    """Send the newest picture whenever the viewer is ready for one, and the state a few times a second."""
    next_state = 0.0
    while True:
        now = time.monotonic()
        if now >= next_state:
            next_state = now + STATE_EVERY_S
            await socket.send_text(json.dumps(_state(room, hub), separators=(",", ":")))
        packet = viewer.next(hub.packet)
        if packet is not None:
            await socket.send_bytes(packet.data)
            continue
        viewer.wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(viewer.wake.wait(), max(next_state - time.monotonic(), 0.01))


def _state(room: Room, hub: Hub) -> dict[str, Any]:
    demo = room.live
    state = demo.state()
    state["figures"] |= hub.figures()
    state["notices"] = [{**asdict(n), "text": on_page(n.text)} for n in demo.notices.newest()]
    state["patches"] = demo.wardrobe.names()
    return state
