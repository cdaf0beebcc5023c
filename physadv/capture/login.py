"""Log in to HTTP cameras with a name and password: Basic and Digest (RFC 7617, 7616)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import urllib.request
from email.message import Message
from typing import Any

_HASHES = {"": "md5", "MD5": "md5", "SHA": "sha1", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
_FIELD = re.compile(r"(\w+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,]+))")


class Login(urllib.request.BaseHandler):
    """Answers one host; once it has asked, every further request carries the answer from the start."""

    # Before urllib's own refusal.
    handler_order = 490

    def __init__(self, host: str, name: str, password: str) -> None:
        self._host, self._name, self._password = host, name, password
        self._digest: dict[str, str] = {}
        self._basic = False
        self._uses = 0
        self._left = 0

    def begin(self) -> None:
        """Begin a request: one challenge is answered, a second one is a refusal."""
        self._left = 1

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Add the answer to a request for the host, if it has asked before."""
        if request.host == self._host and (self._digest or self._basic):
            answer = self._digest_answer(request) if self._digest else self._basic_answer()
            request.add_unredirected_header("Authorization", answer)
        return request

    https_request = http_request

    def http_error_401(self, req: urllib.request.Request, fp: Any, _code: int, _msg: str, headers: Message) -> Any:
        """Repeat a request with the answer; None if the host has refused it."""
        self._digest, self._basic = _challenge(headers.get_all("WWW-Authenticate") or [])
        if req.host != self._host or not self._left or not (self._digest or self._basic):
            return None
        self._left -= 1
        fp.close()
        return self.parent.open(req, timeout=req.timeout)

    def _basic_answer(self) -> str:
        return "Basic " + base64.b64encode(f"{self._name}:{self._password}".encode()).decode()

    def _digest_answer(self, request: urllib.request.Request) -> str:
        self._uses += 1
        asked, uri = self._digest, request.selector
        algorithm = asked.get("algorithm", "")
        token, count = secrets.token_hex(8), f"{self._uses:08x}"

        def hashed(*parts: str) -> str:
            return hashlib.new(_HASHES[_plain(algorithm)], ":".join(parts).encode()).hexdigest()

        nonce, realm = asked["nonce"], asked.get("realm", "")
        who, what = hashed(self._name, realm, self._password), hashed(request.get_method(), uri)
        if algorithm.lower().endswith("-sess"):
            who = hashed(who, nonce, token)
        fields = {"username": self._name, "realm": realm, "nonce": nonce, "uri": uri}
        bare = {"algorithm": algorithm} if algorithm else {}
        if "auth" in re.split(r"[\s,]+", asked.get("qop", "")):
            fields |= {"response": hashed(who, nonce, count, token, "auth", what), "cnonce": token}
            bare |= {"qop": "auth", "nc": count}
        else:
            fields["response"] = hashed(who, nonce, what)
        if "opaque" in asked:
            fields["opaque"] = asked["opaque"]
        quoted = [f'{key}="{_escaped(value)}"' for key, value in fields.items()]
        return "Digest " + ", ".join(quoted + [f"{key}={value}" for key, value in bare.items()])


def _challenge(headers: list[str]) -> tuple[dict[str, str], bool]:
    """Return the fields of the first Digest challenge that can be answered, {} without one, and whether Basic will do."""
    text = ", ".join(headers)
    for part in re.split(r"(?=\bDigest\s)", text, flags=re.IGNORECASE):
        fields = {key.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for key, quoted, bare in _FIELD.findall(part)}
        if part[:6].lower() == "digest" and "nonce" in fields and _plain(fields.get("algorithm", "")) in _HASHES:
            return fields, False
    return {}, re.search(r"\bbasic\b", text, re.IGNORECASE) is not None


def _plain(algorithm: str) -> str:
    return algorithm.upper().removesuffix("-SESS")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
