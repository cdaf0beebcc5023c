"""Network addresses: what of them may be shown, and what is wrong in one that cannot be opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from urllib.parse import quote, unquote

from physadv.errors import SourceError

# Protocols by which cameras and web servers send, those first that people mean.
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "tcp", "srt", "rtp")
_URL = re.compile(rf"({'|'.join(SCHEMES)})://", re.IGNORECASE)
# A name that ends like this over HTTP is a finished file, not a camera.
_FILE_URL = re.compile(r"^https?://[^?#]+\.(mp4|mov|m4v|mkv|webm|avi)([?#].*)?$", re.IGNORECASE)
HIDDEN = "***"
# One slash as well: a path object joins the two that an address begins with. A drive's letter is no scheme.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]{1,2}")
_DIALS = re.compile(r"(rtsp|http|rtmp)\w*:", re.IGNORECASE)
_HOST_ENDS = re.compile(r"[/\\?#]")
# Names of secrets as cameras and servers write them, once lower case and without marks: "loginpas", "X-Amz-Signature".
_SECRET = re.compile(
    r"pass|pwd|psw|passwor[dt]|kennwort|senha|clave|secret|token|auth|credential|signature|session|bearer|jwt|pincode|hmac"
    r"|(pas|pw|mdp|key|sig|cred|creds|psk|pin|otp|sid|ticket|digest|hash)\d*$"
)
# Keys of JSON stand in quotes.
_KEY = re.compile(r"([\w%.\[\]+-]+?)[\"']?(=|:(?![/\\])|%3[AaDd])")
# A token that carries its own description, {"alg":... in base64.
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
# Xiongmai cameras part the words of a path by `_`; what follows has to look like a name with a value, as the padding of
# base64 does not.
_NEXT_IN_PATH = re.compile(r"[&;_/?,|][A-Za-z][A-Za-z0-9.-]*=(?=[^=&;])|&")
# What follows a `&` without a `=` may belong to a password in which that stands as it is.
_NEXT_IN_QUERY = re.compile(r"&(?=[^&=]+=|$)")
_SECRET_FOLDER = re.compile(r"(?<=/)(passwor[dt]|passwd|pwd|token|secret|(?:api[_-]?)?key)/([^/?#]+)", re.IGNORECASE)
# A name and password in one value: login=NAME:PASSWORD.
_USER_PAIR = re.compile(r"(?<=[?&;/])(?:user|usr|login|account)\w*=[^&;:/]*(?::|%3A)([^&;]+)", re.IGNORECASE)
_NAMED_PAIR = re.compile(r"[^/?&=#]+:[^/?&=#]*@")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

Span = tuple[int, int]


def is_url(spec: str) -> bool:
    """Return whether `spec` names something on the network."""
    return _URL.match(spec) is not None


def is_file_url(spec: str) -> bool:
    """Return whether `spec` names a finished video file on a web server, to be read whole and in order."""
    return _FILE_URL.match(spec) is not None


def masked(spec: str) -> str:
    """Return what names a source without the secrets in it, for screens, messages and records.

    The user name and password of an address are removed, whatever characters are in them; the values of `password`,
    `token`, `key` and the like, in path or query, become `***`. Where an `@` may belong to a password or to the path it
    counts as the password's: better a name that says too little than one with a secret in it. Paths of files stay.
    """
    begins = _SCHEME.search(spec)
    if begins is None and not _lacks_scheme(spec):
        return spec
    start = begins.end() if begins else 2 * spec.startswith("//")
    # A user name and password end with an `@` and so go whole; a value leaves a mark of where it was.
    cut = _user_end(spec, start)
    spans = [(start, cut, "")] if cut > start else []
    spans += [(a, b, HIDDEN) for a, b in _values(spec, start)]
    if cut == start:
        spans += _within(spec, start)
        spans += _port_in_doubt(spec, start)
    return _without(spec, spans)


def covered(text: str, known: Mapping[str, str]) -> str:
    """Return a text, whoever made it, in which addresses stand as they may be shown. known: address to what is shown of it.

    Libraries put what they were given into their errors. The longest goes first: one may begin with another.
    """
    for spec, shown in sorted(known.items(), key=lambda pair: len(pair[0]), reverse=True):
        text = text.replace(spec, shown)
    return text


def check_address(url: str) -> None:
    """Raise SourceError if an address cannot be right.

    It names the address without its secrets, what is wrong in it and how to mend it.
    """
    wrong = _wrong(url)
    if wrong:
        raise SourceError(f"{masked(url)}: {wrong}")


def meant_as_address(spec: str) -> str:
    """Return what is wrong at the beginning of what was meant as an address and is none, "" for anything else."""
    begins = _SCHEME.match(spec)
    if begins is None:
        return "an address begins with rtsp:// or http://" if _lacks_scheme(spec) else ""
    scheme = begins[0].rstrip(":/\\").lower()
    if scheme in SCHEMES:
        return f"expected {scheme}:// with two slashes"
    if scheme == "file":
        return "of a file expected the path alone, without file://"
    near = get_close_matches(scheme, SCHEMES[:5], 1)
    return f"{scheme}:// is no protocol of cameras; " + (
        f"did you mean {near[0]}://?" if near else "expected rtsp:// or http://"
    )


def doubt(url: str) -> str:
    """Return what may be wrong in an address that could not be opened, to be put behind the reason; "" for most."""
    start = _start(url)
    end, cut = _host_end(url, start), _user_end(url, start)
    if cut > end:
        return f"; if {url[end]!r} stands in the password, {_percent_encode(url[end])}"
    return "; a % of its own in a password is %25" if _BARE_PERCENT.search(url, start, cut) else ""


def split_user(url: str) -> tuple[str, str | None, str]:
    """Return an address without its user name and password, the name (None without one) and the password, decoded."""
    start = _start(url)
    user, at, _ = url[start : _host_end(url, start)].rpartition("@")
    if not at:
        return url, None, ""
    name, _, password = user.partition(":")
    return url[:start] + url[start + len(user) + 1 :], unquote(name), unquote(password)


def _wrong(url: str) -> str | None:
    """Return what is wrong in an address, or None."""
    start = _start(url)
    bad = re.search(r"[\s\x00-\x1f\x7f]", url)
    if bad:
        return f"expected an address without blanks, got {bad[0]!r} in it; in a password or path it is {quote(bad[0])}"
    end, cut = _host_end(url, start), _user_end(url, start)
    host = url[cut if cut <= end else start : end]
    # The other protocols also listen: udp://:1234.
    wrong_host = _wrong_host(host) if host.strip(":0123456789") or _DIALS.match(url) else None
    if cut > end and wrong_host:
        return f"{url[end]!r} stands in the user name or password; {_percent_encode(url[end])}"
    return wrong_host


def _percent_encode(mark: str) -> str:
    return (
        f"percent-encode it there: {mark} is {quote(mark, safe='')} (@ is %40, : is %3A, / is %2F, # is %23, ? is %3F)"
    )


def _start(url: str) -> int:
    begins = _SCHEME.match(url)
    return begins.end() if begins else 0


def _wrong_host(host: str) -> str | None:
    """Return what is wrong in `host` or `host:port`, or None."""
    parts = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([^:]*))?", host)
    if parts is None:
        return "expected host:port; an IPv6 address stands in brackets: [::1]:554"
    name, port = parts[1], parts[2]
    if not name or name == "[]":
        return "expected the camera's name or IP address after ://, got none"
    if name.startswith("[") and not _is_ip(name):
        return "expected an IPv6 address in the brackets"
    if re.fullmatch(r"[\d.]+", name) and not _is_ip(name):
        return f"{name} is no IP address; expected four numbers of 0 to 255"
    if not name.startswith("[") and not re.fullmatch(r"[\w.~-]+", unquote(name)):
        return "expected the camera's name or IP address after ://, got characters that no name has"
    if not name.startswith("[") and any(not 0 < len(part) < 64 for part in name.rstrip(".").split(".")):
        return "expected the camera's name or IP address after ://, got a name with an empty or too long part"
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port[:9]) <= 65535):
        return (
            "expected a port of 1 to 65535 after the last `:` of the host; a name and password stand before it: "
            "//NAME:PASSWORD@HOST:PORT/"
        )
    return None


def _host_end(text: str, start: int) -> int:
    """Return where an address's host and port end and its path begins."""
    found = _HOST_ENDS.search(text, start)
    return found.start() if found else len(text)


def _user_end(text: str, start: int) -> int:
    """Return where the user name and password end that an address may begin with, or `start` if it has none."""
    at = text.rfind("@") + 1
    if at <= start:
        return start
    end = _host_end(text, start)
    first = text[start:end]
    if "@" not in first and _surely_host(first, colon=":" in text[start:at]):
        return start
    return at


def _surely_host(first: str, *, colon: bool) -> bool:
    """Return whether the start of an address is a host, not a user name; `colon`: something before the last @ has one."""
    name, _, port = (
        (first, "", "") if first.endswith("]") else first.rpartition(":") if ":" in first else (first, "", "")
    )
    if port and not port.isdecimal():
        return False
    return name.lower() == "localhost" or _is_ip(name) or (not colon and "." in name)


def _is_ip(name: str) -> bool:
    try:
        ip_address(name.strip("[]").split("%")[0])
    except ValueError:
        return False
    return True


def _lacks_scheme(spec: str) -> bool:
    """Return whether what looks like a path is an address whose first part was forgotten: name:password@host/..."""
    if spec.startswith("//"):
        return ":" in spec[2:].partition("@")[0].partition("/")[0] and "@" in spec
    if re.match(r"[/~.\\]|[A-Za-z]:[/\\]", spec):
        return False
    first = spec[: _host_end(spec, 0)]
    return ":" in spec[: spec.rfind("@") + 1] or _is_ip(first.split(":")[0])


def _values(text: str, start: int) -> list[Span]:
    """Return where the values of secrets lie in an address's path and query."""
    query = text.find("?", start)
    spans = []
    for found in _KEY.finditer(text, start):
        if not _SECRET.search(re.sub(r"[\W_]", "", unquote(found[1]).lower())):
            continue
        if 0 <= query < found.start():
            follows = _NEXT_IN_QUERY.search(text, found.end())
        else:
            follows = _NEXT_IN_PATH.search(text, found.end())
        spans.append((found.end(), follows.start() if follows else len(text)))
    spans += [found.span(1) for found in _USER_PAIR.finditer(text, start)]
    spans += [found.span() for found in _JWT.finditer(text, start)]
    return spans + [found.span(2) for found in _SECRET_FOLDER.finditer(text, start)]


def _within(text: str, start: int) -> list[tuple[int, int, str]]:
    """Return what to hide of addresses and of name:password@ in the path or query of another address."""
    spans = [(found.start(), found.end(), "") for found in _NAMED_PAIR.finditer(text, _host_end(text, start))]
    for found in re.finditer(r"[^?&=;]+", text[start:]):
        plain = unquote(unquote(found[0]))
        if "%" in found[0] and _SCHEME.search(plain) and masked(plain) != plain:
            spans.append((start + found.start(), start + found.end(), HIDDEN))
    return spans


def _port_in_doubt(text: str, start: int) -> list[tuple[int, int, str]]:
    """Return what stands in a port's place and is none: it may be the password of an address that lacks its host."""
    end = _host_end(text, start)
    colon = text.find(":", start, end)
    if colon < 0 or text[start] == "[" or text[colon + 1 : end].isdecimal() or colon + 1 == end:
        return []
    return [(colon + 1, end, HIDDEN)]


def _without(text: str, spans: list[tuple[int, int, str]]) -> str:
    """Return a text whose spans, which may overlap, are replaced each by its mark."""
    out, at = "", 0
    for start, end, mark in sorted(spans):
        if end > at and start < end:
            out += text[at:start] + (mark if start >= at else HIDDEN)
            at = end
    return out + text[at:]
