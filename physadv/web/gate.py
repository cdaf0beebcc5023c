"""Who may come in: the token for other hosts, Host and Origin against other sites' pages, a bound on bodies."""

from __future__ import annotations

import hmac
import json
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physadv.live.settings import LOOPBACK

COOKIE = "physadv_token"
MAX_BODY = 12_000_000
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


class Gate:
    """ASGI middleware in front of everything, web sockets included.

    token: what a visitor must show, in the address (`?token=`), then by cookie, or as a bearer; "" asks for none and then
    only lets in requests addressed to this machine by its loopback names, so that no other site's page reaches it by a
    name of its own that resolves here.
    """

    def __init__(self, app: ASGIApp, *, token: str = "") -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 401, 403 or 413."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(scope, receive, send, *refusal)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY:
            await _refuse(scope, receive, send, 413, f"the body is larger than {MAX_BODY:,} bytes")
            return
        await self._app(scope, _bounded(receive), self._dressed(scope, send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._token and _name(host) not in LOOPBACK:
            return 403, f"this page is served to this machine alone; open it as 127.0.0.1, not {host!r}"
        # A page of another site can make a visitor's browser send requests here; it cannot hide where they come from.
        origin = headers.get("origin")
        changing = scope["type"] == "websocket" or scope.get("method") not in ("GET", "HEAD", "OPTIONS")
        if changing and origin is not None and urlsplit(origin).netloc != host:
            return 403, f"a request from {origin} is not taken"
        if self._token and not self._known(scope, headers):
            return 401, "a token is needed: open the address that the demo printed when it started"
        return None

    def _known(self, scope: Scope, headers: dict[str, str]) -> bool:
        shown = [headers.get("authorization", "").removeprefix("Bearer "), _asked(scope), _cookie(headers)]
        # Every candidate is compared, each in constant time.
        return sum(hmac.compare_digest(s.encode(), self._token.encode()) for s in shown) > 0

    def _dressed(self, scope: Scope, send: Send) -> Send:
        """Return `send` with our headers, and the cookie for whoever came with the token in the address."""
        extra = list(HEADERS)
        if self._token and _asked(scope):
            extra.append(
                (b"set-cookie", f"{COOKIE}={quote(self._token, safe='')}; Path=/; HttpOnly; SameSite=Strict".encode())
            )

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {k.lower() for k, _ in message["headers"]}
                message = {**message, "headers": [*message["headers"], *(h for h in extra if h[0] not in given)]}
            await send(message)

        return dressed


def _bounded(receive: Receive) -> Receive:
    """Return `receive` that raises once a body grows beyond the bound, whatever length was announced."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY:,} bytes")
        return message

    return bounded


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4000 + status, "reason": text[:100]})
        return
    body = json.dumps({"error": text}).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _name(host: str) -> str:
    """Return a Host header without its port and brackets."""
    return urlsplit(f"//{host}").hostname or ""


def _asked(scope: Scope) -> str:
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]


def _cookie(headers: dict[str, str]) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return unquote(cookie[COOKIE].value) if COOKIE in cookie else ""
