"""Bounds on what is sent in: bytes of a body, and how deep its JSON is nested, before anything parses it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

# A photograph of a phone at full quality; settings are a few kB.
MAX_BODY, MAX_JSON = 12_000_000, 200_000
# The deepest of ours has 3; Python's own parser and printer give up in the hundreds, wherever that meets them.
MAX_DEPTH = 20
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


async def bounded(headers: Mapping[str, str], receive: Receive) -> Receive:
    """Return `receive` for the app, whose body keeps within its bound whatever length was announced.

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
    """Return `receive` that gives a body read before, then whatever comes after it."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
