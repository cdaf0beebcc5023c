"""Access: tokens for other hosts, Host and Origin against other sites' pages, bounds on what is sent in."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from enum import StrEnum
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, unquote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physadv.live.settings import LOOPBACK
from physadv.web.faults import HEADERS, refuse

COOKIE = "physadv_token"
# A Host header: a name or a bracketed IPv6 address, and perhaps a port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/?#@\\\s]+))(?::\d*)?")
# What a read-only visitor may ask for, by GET or HEAD, and the socket it may listen to. Anything else, also what a new part
# adds, is refused: many a GET computes for seconds or changes what others see.
_VIEWABLE = re.compile(
    r"/|/favicon\.ico|/static/.+|/api/(?:pages|options|state|tour|snapshot\.png|patches(?:/thumbnail|/image)?)"
)
_WATCHABLE = frozenset({"/ws/frames"})
_ROLE = "physadv.role"
# A photograph of a phone at full quality; settings are a few kB.
MAX_BODY, MAX_JSON = 12_000_000, 200_000
# The deepest of ours has 3; Python's own parser and printer give up in the hundreds, wherever that meets them.
MAX_DEPTH = 20
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


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
        await self._app(scope, await bounded(headers, receive), self._with_headers(send, asked))

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
        if role is Role.VIEWER and not _only_looks(scope):
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

    def _with_headers(self, send: Send, asked: Role | None) -> Send:
        """Return `send` with our headers, and the cookie for a visitor with a token in the address."""
        extra = list(HEADERS)
        if asked is not None:
            value = quote(self._tokens[asked], safe="")
            extra.append((b"set-cookie", f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict".encode()))

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {k.lower() for k, _ in message["headers"]}
                message = {**message, "headers": [*message["headers"], *(h for h in extra if h[0] not in given)]}
            await send(message)

        return sent


def _only_looks(scope: Scope) -> bool:
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


# Bounds on what is sent in: bytes of a body, and how deep its JSON is nested, before anything parses it


async def bounded(headers: Mapping[str, str], receive: Receive) -> Receive:
    """Return `receive` for the app, whose body keeps within its bound even if another length was announced.

    JSON is read here and its nesting looked at; anything else goes on as it comes. headers: names in lower case.

    Raises: HTTPException for a length that is too large, and JSON that is or is nested too deep; for other bodies
    `receive` raises it.
    """
    is_json = _is_json(headers)
    limit = MAX_JSON if is_json else MAX_BODY
    if _announced(headers) > limit:
        raise _too_large(limit)
    receive = _counted(receive, limit)
    if not is_json:
        return receive
    body = await _whole(receive)
    if depth(body) > MAX_DEPTH:
        raise HTTPException(400, f"the JSON is nested more than {MAX_DEPTH} deep")
    return _replayed(body, receive)


def depth(data: bytes) -> int:
    """Return how deep the brackets of a JSON text are nested, its strings left out."""
    deepest = level = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRINGS.sub(b"", data)):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def _is_json(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _announced(headers: Mapping[str, str]) -> int:
    """Return the announced length of a body, 0 where none is, and 10^18 for a number too long to be one."""
    digits = headers.get("content-length", "").lstrip("0")
    if not (digits.isascii() and digits.isdecimal()):
        return 0
    return int(digits) if len(digits) < 19 else 10**18


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limit:,} bytes")


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


async def _whole(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return `receive` that gives a body read before, then what comes after it."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
