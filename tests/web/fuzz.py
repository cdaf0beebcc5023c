"""Seeded nonsense for the page's server, over real sockets: requests and frames that no browser sends.

`python -m tests.web.fuzz 3000 7` sends 3,000 with the seed 7 and says what is answered with 5xx, logged, or not answered.
"""

import base64
import json
import logging
import os
import random
import re
import select
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, quote_from_bytes

from physadv.live.camera_demo import CameraDemo
from physadv.web.serve import Listener, PageServer
from tests.live.scene import Camera, demo, until
from tests.mutations import ODD, damaged, mistyped
from tests.web.test_page import jpeg, png

JSON = "application/json"


class Call(NamedTuple):
    """A request that works. query, body: plain values, or bytes that are sent in."""

    method: str
    path: str
    query: Mapping[str, Any] = MappingProxyType({})
    body: Any = None


PRINT = {
    "pattern": "webcam",
    "size": "20cm",
    "paper": "a4",
    "sheet": 0,
    "control": None,
    "garment": None,
    "kind": ".pdf",
}
ADVICE = {"pattern": "webcam", "fov": 60.0, "width": 640, "height": 480, "imgsz": 640, "distance": 3.0, "size": 40.0}
CALLS = (
    Call("GET", "/"), Call("GET", "/print"), Call("GET", "/api/pages"), Call("GET", "/static/live.js"),
    Call("GET", "/api/options"), Call("GET", "/api/tour", {"language": "en"}), Call("GET", "/api/state"),
    Call("GET", "/api/patches"),
    Call("GET", "/api/patches/thumbnail", {"name": "webcam"}), Call("GET", "/api/snapshot.png"),
    Call("GET", "/api/recordings"), Call("GET", "/api/recordings/a.mp4"),
    Call("GET", "/api/world.jpg", {"strength": 0.3, "seed": 1, "columns": 4}),
    Call("POST", "/api/controls", body={"conf": 0.4, "defend": "median", "wear": "", "wear_size": 40, "compare": True}),
    Call("POST", "/api/source", body={"spec": "sample"}),
    Call("POST", "/api/detector", body={"name": "yolo11n-pose", "backend": "auto", "imgsz": 640}),
    Call("POST", "/api/beside", body={"names": []}),
    Call("POST", "/api/recording", body={"on": True, "clean": False}),
    Call("POST", "/api/patches", {"name": "mine.png"}, png()),
    Call("GET", "/api/print/options"), Call("POST", "/api/print/profile", {"name": "a.icc"}, bytes(200)),
    Call("POST", "/api/print/size", body=PRINT), Call("POST", "/api/print/advise", body=ADVICE),
    Call("POST", "/api/print/preview", body=PRINT),
    Call("GET", "/api/print/file", {"pattern": "webcam", "size": "9cm", "kind": ".png"}),
    Call("GET", "/api/print/image", {"pattern": "webcam", "kind": "grey"}),
    Call("GET", "/api/calibrate/state"), Call("POST", "/api/calibrate/look", body=jpeg()),
    Call("POST", "/api/calibrate/start", body={"name": "desk", "board": "7x10", "square_mm": 25.0, "dictionary": "5x5"}),
    Call("POST", "/api/calibrate/finish", body={"name": "desk", "square_mm": 25.0}),
    Call("GET", "/api/calibrate/preview.jpg"),
    Call("GET", "/api/calibrate/sheet/board.pdf", {"board": "7x10", "paper": "a4"}),
    Call("POST", "/api/calibrate/photograph", {"file": "chart.jpg"}, jpeg()),
    Call("POST", "/api/calibrate/colour", body={"printer": "p", "camera": "c", "photos": ["0"]}),
)  # fmt: skip
HEADERS = {
    "host": ("[", "[::1", "evil.example", "", "127.0.0.1:99999999", "\xff", "127.0.0.1\t"),
    "origin": ("null", "http://[", "http://evil.example", "\xff"),
    "cookie": ("a", "physadv_token=\xff", '="', "; ;" * 500),
    "authorization": ("Bearer", "Bearer \xff", "Basic x", "\0"),
    "content-type": ("text/plain", "application/json; charset=\xff", "multipart/x; boundary=x", "/", JSON),
    "content-length": ("-1", "0", "7", "9" * 30, "x", "1e9"),
    "transfer-encoding": ("chunked", "gzip", "chunked, chunked"),
    "content-encoding": ("gzip", "br"),
    "range": ("bytes=0-", "bytes=-1", "bytes=9-1", "bytes=" + "0-1," * 200, "lines=1-2", "bytes=0-" + "9" * 40),
    "if-none-match": ("*", '"x"'),
    "if-modified-since": ("yesterday", "Thu, 99 Foo 99999 99:99:99 GMT"),
    "if-range": ("x",),
    "accept-encoding": ("gzip", "\xff"),
    "connection": ("close", "upgrade", "keep-alive, upgrade"),
    "upgrade": ("websocket", "h2c", "\xff"),
    "expect": ("100-continue", "200-ok"),
    "sec-websocket-key": ("x", "", "AAAAAAAAAAAAAAAAAAAAAA=="),
    "sec-websocket-version": ("13", "0", "x"),
    "x": ("y" * 70_000, "\x01"),
}  # fmt: skip
# Values of the right type that make no sense, or ask for too much.
WORDS: tuple[Any, ...] = (
    "1e308cm", "-20cm", "0cm", "0.0001mm", "nan", "inf cm", "3000cm", "1e-320", "99999x99999", "0x0", "1x1",
    "-7x10", "7x10x3", "2x2", "a0", "fit", "letter", ".png", "tshirt", "panels", "dtg", "XXL", "shuffled",
    "smooth", "0", "../webcam", "webcam", "webcam.png", "tshirt", "poster", "median:size=99",
    "lgs:threshold=nan", "vote:a=b+c=d", "median,median,median", "objectseeker", "persistence:x",
    "erase:weights=no", "a" * 64, "é" * 30, "\u2028", "\x1b[31m", "%s%n", "{0}", "$(x)", 0, 1, -1, 7, 31, 4096,
    10**6, 10**9, 0.001, 1e-300, 1e300, 179.99, 180, 360, 2.5,
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get")


def requests(count: int, seed: int) -> Iterator[bytes]:
    """Yield requests as bytes: each begins as one that works."""
    rng = random.Random(seed)
    for _ in range(count):
        call = rng.choice(CALLS)
        yield _request(call, rng)


def _request(call: Call, rng: random.Random) -> bytes:
    headers = {
        "host": "127.0.0.1",
        "connection": "close",
        "content-type": JSON if isinstance(call.body, dict) else "image/png",
    }
    query, body, kind = dict(call.query), call.body, rng.randrange(8)
    method, path = call.method, call.path
    if isinstance(body, dict) and kind < 4:
        (body,) = mistyped(body, 1, rng.randrange(2**31))
        if isinstance(body, dict) and body and rng.random() < 0.5:
            body = {**call.body, rng.choice(list(body)): rng.choice(WORDS), rng.choice(list(body)): rng.choice(WORDS)}
    elif isinstance(body, bytes) and kind < 4:
        (body,) = damaged(body, 1, rng.randrange(2**31))
    elif query and kind < 4:
        query[rng.choice(list(query))] = rng.choice(rng.choice((ODD, WORDS)))
    elif kind == 4:
        path = rng.choice(
            (path + "/", path * 3, path[:-1], "/%00", path + "/..%2f..%2fx", "//" + path, "/" + "a" * 5000, "*")
        )
    elif kind == 5:
        method = rng.choice(METHODS)
    if rng.random() < 0.4:
        name = rng.choice(list(HEADERS))
        headers[name] = rng.choice(HEADERS[name])
    data = b"" if body is None else body if isinstance(body, bytes) else _text(body)
    if data and rng.random() < 0.1:
        (data,) = damaged(data, 1, rng.randrange(2**31))
    headers.setdefault("content-length", str(len(data)))
    asked = path + ("?" + "&".join(f"{_quoted(k)}={_quoted(v)}" for k, v in query.items()) if query else "")
    head = f"{method} {asked} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    raw = head.encode("latin-1", "replace") + b"\r\n" + data
    if kind == 7:
        (raw,) = damaged(raw, 1, rng.randrange(2**31))
    return raw


def _text(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except ValueError:
        # Numbers too long to be written.
        return b'{"conf": ' + b"9" * 5000 + b"}"


def _quoted(value: Any) -> str:
    if isinstance(value, str) and "\udc80" <= value[:1] <= "\udcff":
        return quote_from_bytes(value.encode("utf-8", "surrogateescape"))
    try:
        return quote(str(value), safe="")
    except ValueError:
        return "9" * 5000


def frames(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield what is sent on a web socket once it is open, with the path of the socket."""
    rng = random.Random(seed)
    good = {"/ws/frames": (1, b'{"ack": 3, "seen": true}'), "/ws/camera": (2, struct.pack("<d", 1.0) + jpeg())}
    for _ in range(count):
        path = rng.choice(list(good))
        opcode, payload = good[path]
        out = b""
        for _ in range(rng.randint(1, 3)):
            kind = rng.randrange(6)
            if kind == 0:
                opcode = rng.randrange(16)
            elif kind == 1:
                (payload,) = damaged(payload, 1, rng.randrange(2**31))
            elif kind == 2 and opcode == 1:
                payload = _text(next(mistyped({"ack": 3, "seen": True}, 1, rng.randrange(2**31))))
            elif kind == 3:
                payload = rng.choice((b"", b"\xff\xfe", b"[" * 400, b"x" * 70_000))
            out += _frame(opcode, payload, rng)
        yield path, out if rng.random() < 0.9 else out[: rng.randrange(len(out) + 1)]


def _frame(opcode: int, payload: bytes, rng: random.Random) -> bytes:
    whole, masked = rng.random() < 0.95, rng.random() < 0.97
    length = rng.choice((2**62, 5_000_000, 65_536)) if rng.random() < 0.04 else len(payload)
    first = (0x80 if whole else 0) | opcode | (rng.choice((0, 0x40)) if rng.random() < 0.05 else 0)
    second = 0x80 if masked else 0
    short = bytes([second | length]) if length < 126 else None
    long = struct.pack(">BH", second | 126, length) if length < 65_536 else struct.pack(">BQ", second | 127, length)
    key = rng.randbytes(4) if masked else b""
    mixed = bytes(b ^ key[i % 4] for i, b in enumerate(payload)) if masked else payload
    return bytes([first]) + (short or long) + key + mixed


HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    "sec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n\r\n"
)


def answer(port: int, raw: bytes, *, timeout: float = 20) -> int:
    """Send a request and return the status of its answer, 0 where the server closes without one.

    Raises: TimeoutError if neither comes.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as line:
        try:
            line.sendall(raw)
            # The server may wait for more than was sent: this says that there is none.
            if not select.select([line], [], [], 0.3)[0] and _waits(raw):
                line.shutdown(socket.SHUT_WR)
            head = line.recv(4096)
            line.shutdown(socket.SHUT_WR)
            while line.recv(65536):
                pass
        except TimeoutError:
            raise
        except OSError:
            return 0
    return int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0


def _waits(raw: bytes) -> bool:
    """Return whether a request is not whole, or not clearly so."""
    head, end, body = raw.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d{1,9})\r", head)
    return not end or length is None or int(length[1]) > len(body) or b"chunked" in head or b"Upgrade" in head


def play(port: int, path: str, sent: bytes, *, timeout: float = 20) -> int:
    """Open a socket, send frames, and return its close code, 0 where it ends without one."""
    hello = HANDSHAKE.format(path=path, key=base64.b64encode(bytes(16)).decode()).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as line:
        try:
            line.sendall(hello)
            got = bytearray(line.recv(65536))
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            while data := line.recv(65536):
                got += data
        except TimeoutError:
            raise
        except OSError:
            pass
    return _close_code(bytes(got).partition(b"\r\n\r\n")[2])


def _close_code(data: bytes) -> int:
    at = 0
    while at + 4 <= len(data):
        length, head = data[at + 1] & 127, 2
        if length == 126:
            length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        if data[at] == 0x88:
            return int.from_bytes(data[at + 2 : at + 4], "big") if length >= 2 else 0
        at += head + length
    return 0


class Harmless(CameraDemo):
    """A demo that opens nothing of this machine, whatever a request asks for."""

    def switch_source(self, spec: str) -> str:
        return self._shared.addresses.shown(spec)

    def switch_detector(self, name: str, backend: Any, imgsz: int) -> None:
        pass


@contextmanager
def served(folder: Path, *, token: str = "") -> Iterator[PageServer]:
    """A server of a running demo, all of whose files are in `folder`, which is the current one meanwhile."""
    before = Path.cwd()
    os.chdir(folder)
    running = demo(Camera(fps=10), ui="web", recordings=folder / "recordings")
    running.__class__ = Harmless
    running.start()
    until(lambda: running.latest is not None)
    server = PageServer(Listener(port=0, token=token), running)
    server.start()
    try:
        yield server
    finally:
        server.close()
        running.stop()
        os.chdir(before)


def main(count: int, seed: int) -> int:
    """Send `count` requests and as many frames; return how many of them went wrong."""
    bad, logged = 0, []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: logged.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    seen: dict[tuple[str, int], int] = {}
    with tempfile.TemporaryDirectory() as place, served(Path(place)) as server:
        jobs = [*((answer, (raw,)) for raw in requests(count, seed)), *((play, job) for job in frames(count, seed))]
        for send, job in jobs:
            began = time.monotonic()
            try:
                status = send(server.port, *job)  # type: ignore[operator]
            except TimeoutError:
                status = 599
            took = time.monotonic() - began
            key = (send.__name__, status)
            seen[key] = seen.get(key, 0) + 1
            if status // 100 == 5 or status == 1011 or logged or took > 3:
                bad += 1
                print(f"{status} {took:.1f} s", repr(job)[:600], *(text[-1500:] for text in logged), "", sep="\n")
                logged.clear()
    print(dict(sorted(seen.items())), f"{bad} bad")
    return bad


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2])), 1))
