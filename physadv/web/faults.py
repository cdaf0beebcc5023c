"""One answer to every error for each transport: a status and a line over HTTP, a code and a reason on a web socket."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastapi import Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from physadv.errors import PhysadvError
from physadv.files import printable
from physadv.settings import fault
from physadv.web.words import on_page

LOG = logging.getLogger("physadv.web")
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# What every answer carries.
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]
MAX_TEXT = 500
# A close frame holds 123 bytes of reason.
MAX_REASON = 120
# Close codes: 4000 + an HTTP status for what was refused, and the protocol's own for a fault of ours.
_REFUSED, _OURS = 4000, 1011


class Faults:
    """ASGI middleware outside of everything else: no error gets past it.

    An error of the client's is answered and leaves nothing in the log; whoever has left is not answered. One of ours is
    logged with its traceback and answered with 500, or 1011.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        line = _Line(receive, send)
        try:
            await self._app(scope, line.receive, line.send)
        except Exception as error:
            # The one place where the errors of both transports end.
            if line.gone or isinstance(error, ClientDisconnect | WebSocketDisconnect):
                return
            status, content = explained(error, scope["path"])
            if status == 500:
                LOG.error("%s: %s", scope["path"][:80], type(error).__name__, exc_info=error)
            if scope["type"] == "websocket" or not line.started:
                with suppress(OSError, RuntimeError):
                    await refuse(scope, line.send, status, content["error"])


class _Line:
    """What passes between a client and the app. gone: the client left, or was sent the end."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.started = self.gone = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.gone = self.gone or message["type"] in ("http.disconnect", "websocket.disconnect")
        return message

    async def send(self, message: Message) -> None:
        self.started = self.started or message["type"] == "http.response.start"
        self.gone = self.gone or message["type"] == "websocket.close"
        await self._send(message)


def explained(error: Exception, path: str) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status of an error and what the page gets: `error`, and `field` where it is about one.

    path: of the request, whose page has its own labels for fields.
    """
    if isinstance(error, RequestValidationError):
        return _malformed(error, path)
    if isinstance(error, HTTPException):
        return error.status_code, {"error": printable(str(error.detail), limit=MAX_TEXT)}
    if isinstance(error, PhysadvError):
        return 422, _unfit(error, path)
    if isinstance(error, OSError):
        # 507 where the disk is full.
        status = 507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 422
        text = f"{error.filename or 'file'}: {error.strerror or error}"
        return status, {"error": printable(text, limit=MAX_TEXT)}
    return 500, {"error": f"physadv failed at this: {type(error).__name__}; its log has the details"}


async def answered(connection: Request | WebSocket, error: Exception) -> Response:
    """Return the answer to an error that the app met: FastAPI's one handler for every kind.

    Raises: the error itself on a socket, whose end is `Faults`'.
    """
    if isinstance(connection, WebSocket):
        raise error
    status, content = explained(error, connection.url.path)
    return json_answer(status, content, headers=error.headers if isinstance(error, HTTPException) else None)


def json_answer(status: int, content: Mapping[str, Any], *, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON, whatever characters a client sent that are repeated in it."""
    return Response(json.dumps(content), status, headers, "application/json")


async def refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    """Refuse a request with a status and a line, or end a socket with 4000 + status and a reason."""
    if scope["type"] == "websocket":
        reason = text.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore")
        code = _OURS if status == 500 else _REFUSED + status
        await send({"type": "websocket.close", "code": code, "reason": reason})
        return
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})


def _malformed(error: RequestValidationError, path: str) -> tuple[int, dict[str, Any]]:
    details = error.errors()
    if any(tuple(d["loc"]) == ("body",) and isinstance(d.get("input"), bytes) for d in details):
        return 415, {"error": "expected a body of the type application/json"}
    if any(d["type"] == "json_invalid" for d in details):
        return 400, {"error": "the body is not JSON"}
    # A field lies below "body" or "query".
    return 422, _unfit(fault({**d, "loc": d["loc"][1:]} for d in details), path)


def _unfit(error: PhysadvError, path: str) -> dict[str, Any]:
    """Return what is wrong in the page's words, and the field it is about, without a value, where there is one."""
    field = {} if error.field is None else {"field": error.field.partition("=")[0]}
    return {"error": printable(on_page(error.marked, path), limit=MAX_TEXT), **field}
