"""Who may come in: tokens for other hosts, Host and Origin against other sites' pages, a bound on bodies."""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, unquote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physadv.live.settings import LOOPBACK
from physadv.web.bodies import bounded
from physadv.web.faults import HEADERS, refuse

COOKIE = "physadv_token"
# A Host header: a name or a bracketed IPv6 address, and perhaps a port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/?#@\\\s]+))(?::\d*)?")
# What a read-only visitor may ask for, by GET or HEAD, and the socket it may listen to. Anything else, also what a new part
# adds, is refused: many a GET computes for seconds or changes what others see.
_VIEWABLE = re.compile(
    r"/|/favicon\.ico|/static/.+|/api/(?:pages|options|state|snapshot\.png|patches(?:/thumbnail|/image)?)"
)
_WATCHABLE = frozenset({"/ws/frames"})
_ROLE = "physadv.role"


class Role(StrEnum):
    """What a visitor may do: everything, or look on only."""

    ALL = "all"
    VIEWER = "viewer"


def is_viewer(scope: Scope) -> bool:
    """Return whether a request or a socket came through a read-only link."""
    return scope.get(_ROLE) is Role.VIEWER


class Gate:
    """ASGI middleware in front of everything, web sockets included.

    token: what a visitor must show, in the address (`?token=`), then by cookie, or as a bearer; "" asks for none and then
    only lets in requests addressed to this machine by its loopback names, so that no other site's page reaches it by a
    name of its own that resolves here. viewer_token: shown in its place it lets a visitor look on, and change nothing;
    "" for no such visitors.
    """

    def __init__(self, app: ASGIApp, *, token: str = "", viewer_token: str = "") -> None:
        self._app = app
        self._tokens = {role: t for role, t in ((Role.ALL, token), (Role.VIEWER, viewer_token)) if token and t}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 401 or 403.

        Raises: HTTPException for a body beyond its bound.
        """
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        asked = self._role_of(_asked(scope))
        role = self._role(asked, headers)
        refusal = self._refusal(scope, headers, role)
        if refusal is not None:
            await refuse(scope, send, *refusal)
            return
        scope = {**scope, _ROLE: role}
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._app(scope, await bounded(headers, receive), self._dressed(send, asked))

    def _refusal(self, scope: Scope, headers: dict[str, str], role: Role | None) -> tuple[int, str] | None:
        # The token comes first: who has none learns nothing else.
        if role is None:
            return 401, "a token is needed: open the address that the demo printed when it started"
        host = headers.get("host", "")
        if not self._tokens and _name(host) not in LOOPBACK:
            return 403, f"this page is served to this machine alone; open it as 127.0.0.1, not {host[:80]!r}"
        # A page of another site can make a visitor's browser send requests here; it cannot hide where they come from.
        origin = headers.get("origin")
        changing = scope["type"] == "websocket" or scope.get("method") not in ("GET", "HEAD", "OPTIONS")
        if changing and origin is not None and _netloc(origin) != host:
            return 403, f"a request from {origin[:80]} is not taken"
        if role is Role.VIEWER and not _looks_on(scope):
            return 403, "this link only looks on; open the demo's full address to change or download anything"
        return None

    def _role(self, asked: Role | None, headers: dict[str, str]) -> Role | None:
        """Return what a visitor may do by a token in the address, as a bearer or by cookie; None without one."""
        if not self._tokens:
            return Role.ALL
        bearer = self._role_of(headers.get("authorization", "").removeprefix("Bearer "))
        return asked or bearer or self._role_of(_cookie(headers))

    def _role_of(self, shown: str) -> Role | None:
        # Every token is compared, each in constant time.
        fits = [r for r, token in self._tokens.items() if hmac.compare_digest(shown.encode(), token.encode())]
        return fits[0] if fits else None

    def _dressed(self, send: Send, asked: Role | None) -> Send:
        """Return `send` with our headers, and the cookie for whoever came with a token in the address."""
        extra = list(HEADERS)
        if asked is not None:
            value = quote(self._tokens[asked], safe="")
            extra.append((b"set-cookie", f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict".encode()))

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {k.lower() for k, _ in message["headers"]}
                message = {**message, "headers": [*message["headers"], *(h for h in extra if h[0] not in given)]}
            await send(message)

        return dressed


def _looks_on(scope: Scope) -> bool:
    """Return whether a request changes nothing and is cheap: the page itself, its images, its state."""
    if scope["type"] == "websocket":
        return scope["path"] in _WATCHABLE
    return scope["method"] in ("GET", "HEAD") and _VIEWABLE.fullmatch(scope["path"]) is not None


def _name(host: str) -> str:
    """Return a Host header without its port and brackets; "" where it is no host."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match else ""


def _netloc(origin: str) -> str | None:
    """Return host and port of an Origin header, or None where it has none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _asked(scope: Scope) -> str:
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]


def _cookie(headers: dict[str, str]) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return unquote(cookie[COOKIE].value) if COOKIE in cookie else ""
