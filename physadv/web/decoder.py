"""What came over the network is decoded in a process of its own, with bounds of memory and time, off the event loop."""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import numpy as np
from starlette.exceptions import HTTPException

from physadv.arrays import decode_image
from physadv.errors import DataError, PatchError, PhysadvError
from physadv.patch import Patch, patch_from_image
from physadv.types import UInt8Array

T = TypeVar("T")
# What decoding may take beyond the program itself; the bound on an image's pixels leaves it 750 MB.
MEMORY = 1_000_000_000
# A photograph of 40 megapixels takes under a second on an idle core.
SECONDS = 15.0
# An unused process ends itself.
IDLE_S = 60.0
# So many wait to be decoded; a further request is refused, which bounds the memory that is taken.
WAITING = 6
# Larger pieces at a time between the processes.
BUFFER = 1 << 20
# More than the largest image that is taken, 100 megapixels with alpha.
_MOST = 400_000_000


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """What is to be decoded. kind: a key of `KINDS`. name: what errors call it. length: of the bytes that follow."""

    kind: str
    name: str
    length: int
    max_pixels: int | None = None
    upright: bool = True


class Decoder:
    """One process that decodes image after image; started with the first one, and again after a fatal one.

    A file that makes a decoder take all memory, run for minutes or crash ends that process alone. Safe to use from several
    threads, which wait for each other.
    """

    def __init__(self, *, memory: int = MEMORY, seconds: float = SECONDS) -> None:
        self._memory, self._seconds = memory, seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._end: Callable[[], object] = lambda: None
        self._limiter = anyio.CapacityLimiter(1)
        self._waiting = 0

    def image(
        self,
        data: bytes,
        *,
        name: str,
        max_pixels: int,
        upright: bool = True,
        error: type[PhysadvError] = DataError,
    ) -> UInt8Array:
        """Return encoded bytes as `arrays.decode_image` does.

        Raises: `error` as there, or if decoding takes too much memory or time.
        """
        return self._ask(DecodeRequest("image", name, len(data), max_pixels, upright), data, error)[1][0]

    def patch(self, data: bytes, *, name: str) -> Patch:
        """Return a pattern from the bytes of an image, as `patch.patch_from_image` does.

        Raises: PatchError as there, or if decoding takes too much memory or time.
        """
        about, (pixels, mask) = self._ask(DecodeRequest("patch", name, len(data)), data, PatchError)
        return Patch(about["name"], pixels, mask, tuple(about["size_mm"]), about["target"])

    async def aside(self, work: Callable[[], T]) -> T:
        """Return what `work`, which decodes, returns; run on a thread, one after the other, so that other requests go on.

        Raises: HTTPException if too many are waiting. What `work` raises.
        """
        if self._waiting >= WAITING:
            raise HTTPException(429, "too many images are waiting to be decoded; send it again in a moment")
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._waiting -= 1

    def _ask(
        self, request: DecodeRequest, data: bytes, error: type[PhysadvError]
    ) -> tuple[dict[str, Any], list[UInt8Array]]:
        with self._lock:
            line = self._line()
            try:
                _send(line, asdict(request), data)
                about = _head(line)
                arrays = [_array(line, shape) for shape in about.get("shapes", [])]
            except TimeoutError:
                self._end()
                raise error(
                    f"{request.name}: decoding it takes more than {self._seconds:g} s; make it smaller"
                ) from None
            except (OSError, EOFError, ValueError, TypeError, KeyError):
                self._end()
                raise error(f"{request.name}: its decoder gave up: it is damaged, or needs too much memory") from None
        if "error" in about:
            raise error(about["error"])
        return about, arrays

    def _line(self) -> socket.socket:
        """Return the socket to a process that is at work. The lock must be held."""
        if self._socket is None or self._process is None or self._process.poll() is not None:
            self._end()
            self._process, self._socket = _begun(self._memory)
            self._socket.settimeout(self._seconds)
            self._end = weakref.finalize(self, _ended, self._process, self._socket)
        return self._socket


def _begun(memory: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), str(memory)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # libpng and libjpeg write there what is wrong with a client's file.
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the demo alone; this process ends with its socket.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    return process, ours


def _ended(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    line.close()
    process.kill()
    process.wait()


def _send(line: socket.socket, head: dict[str, Any], *bodies: Any) -> None:
    text = json.dumps(head).encode()
    line.sendall(struct.pack("<I", len(text)) + text)
    for body in bodies:
        line.sendall(body)


def _head(line: socket.socket) -> dict[str, Any]:
    (length,) = struct.unpack("<I", _filled(line, bytearray(4)))
    head = json.loads(_filled(line, bytearray(min(length, BUFFER))))
    if not isinstance(head, dict):
        raise ValueError("expected a table")
    return head


def _array(line: socket.socket, shape: list[int]) -> UInt8Array:
    if not 0 < math.prod(shape) <= _MOST:
        raise ValueError(f"expected an image, got {shape}")
    out = np.empty(shape, np.uint8)
    _filled(line, out.data.cast("B"))
    return out


def _filled(line: socket.socket, buffer: Any) -> Any:
    """Return the buffer filled from the socket.

    Raises: EOFError if the other end is closed.
    """
    left = memoryview(buffer)
    while left.nbytes:
        got = line.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]
    return buffer


# The other process


def _image(data: bytes, request: DecodeRequest) -> tuple[dict[str, Any], list[UInt8Array]]:
    assert request.max_pixels is not None
    return {}, [decode_image(data, name=request.name, max_pixels=request.max_pixels, upright=request.upright)]


def _patch(data: bytes, request: DecodeRequest) -> tuple[dict[str, Any], list[UInt8Array]]:
    patch = patch_from_image(data, name=request.name)
    return {"name": patch.name, "size_mm": patch.size_mm, "target": patch.target}, [patch.pixels, patch.mask]


KINDS = {"image": _image, "patch": _patch}


def serve(line: socket.socket) -> None:
    """Decode request after request until the other end is closed or sends nothing for a while."""
    line.settimeout(IDLE_S)
    while True:
        try:
            request = DecodeRequest(**_head(line))
        except (OSError, EOFError):
            return
        data = bytes(_filled(line, bytearray(request.length)))
        try:
            about, arrays = KINDS[request.kind](data, request)
        except (PhysadvError, MemoryError) as error:
            _send(line, {"error": str(error) or f"{request.name}: needs too much memory to decode"})
            continue
        shapes = [array.shape for array in arrays]
        _send(line, {**about, "shapes": shapes}, *(np.ascontiguousarray(a).data.cast("B") for a in arrays))


def limit_memory(more: int) -> None:
    """Let this process take at most `more` bytes beyond what it has; does nothing where the system has no such limit."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    limit_memory(int(sys.argv[2]))
    serve(socket.socket(fileno=int(sys.argv[1])))
