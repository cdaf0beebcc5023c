"""The visitor's own camera: JPEG images come in on a web socket and become the demo's source."""

from __future__ import annotations

import struct
from contextlib import suppress

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from physadv.capture.browser import BrowserSource
from physadv.errors import SourceError
from physadv.web.decoder import Decoder
from physadv.web.room import Room, received


def router(room: Room) -> APIRouter:
    """Return `/ws/camera`: messages of a float64 (little endian, capture time in ms) and a JPEG; each is answered "ok".

    The newest visitor's camera is the source; one that was sending before is told so and closed. A message that is no
    image is a SourceError, which ends the socket, as does a demo that takes no camera.
    """
    out = APIRouter()
    sending: list[WebSocket] = []
    # One of its own: no photograph that somebody else sends in holds up the images.
    decoder = Decoder()

    @out.websocket("/ws/camera")
    async def camera(socket: WebSocket) -> None:
        await socket.accept()
        for other in sending:
            with suppress(RuntimeError, WebSocketDisconnect):
                await other.close(4409, "another visitor's camera took over")
        sending[:] = [socket]
        try:
            source = _source(room, decoder)
            while True:
                data = await received(socket, "bytes")
                if len(data) < 12:
                    raise SourceError("expected 8 bytes of time and a JPEG image")
                (captured_ms,) = struct.unpack_from("<d", data)
                # A header may be long: it is not read on the event loop.
                await run_in_threadpool(source.push, data[8:], captured_ms)
                await socket.send_text("ok")
        finally:
            if socket in sending:
                sending.remove(socket)

    return out


def _source(room: Room, decoder: Decoder) -> BrowserSource:
    """Return the browser source that is the demo's already, or a new one that becomes it."""
    current = room.live.source
    if isinstance(current, BrowserSource):
        current.decode = decoder.image
        return current
    source = BrowserSource(room.live.settings.capture())
    source.decode = decoder.image
    room.live.take_source(source)
    return source
