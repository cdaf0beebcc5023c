"""A camera on the network that a test can stall, kill and bring back."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np

from physadv.types import UInt8Array

FPS = 20


def image(number: int) -> UInt8Array:
    """A 160 x 120 image that tells its number by the place of a square."""
    out = np.full((120, 160, 3), 60, np.uint8)
    x = number * 5 % 140
    out[50:70, x : x + 20] = 230
    return out


def mpegts(images: int) -> bytes:
    """A transport stream of numbered images, a key frame each ten."""
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 10
        for i in range(images):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image(i), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return target.getvalue()


class NetworkCamera:
    """`/mjpeg` and `/ts` on 127.0.0.1. kind of trouble: `stalled` set, `kill()`, `start()` again on the same port."""

    def __init__(self) -> None:
        self.stalled = threading.Event()
        self.still = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._stop = threading.Event()
        self._number = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.port}/{kind}"

    def start(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind = self.path.strip("/")
                type_ = "multipart/x-mixed-replace; boundary=frame" if kind == "mjpeg" else "video/mp2t"
                self.send_response(200)
                self.send_header("Content-Type", type_)
                self.end_headers()
                try:
                    for data in camera._paced(camera._parts() if kind == "mjpeg" else camera._packets()):
                        self.wfile.write(data)
                except OSError:
                    return

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._stop.clear()
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def kill(self) -> None:
        self._stop.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _paced(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        due = time.monotonic()
        for data in parts:
            while self.stalled.is_set() and not self._stop.is_set():
                time.sleep(0.02)
                due = time.monotonic()
            if self._stop.is_set():
                return
            yield data
            due += 1 / FPS
            time.sleep(max(due - time.monotonic(), 0))

    def _parts(self) -> Iterator[bytes]:
        while True:
            if not self.still.is_set():
                self._number += 1
            ok, jpeg = cv2.imencode(".jpg", image(self._number))
            assert ok
            body = jpeg.tobytes()
            yield b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(body), body)

    def _packets(self) -> Iterator[bytes]:
        data = mpegts(400)
        size = len(data) // 400
        for start in range(0, len(data), size):
            yield data[start : start + size]
