"""RTSP cameras that know but one way of sending: which one is found out, and what was tried is said."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import av
import pytest

from physadv.capture.settings import CaptureSettings
from physadv.capture.stream import NetworkStream
from physadv.errors import CameraLost
from tests.capture.server import FPS, image


class Camera:
    """An RTSP camera. refusal: its answer to whoever asks for TCP; "" accepts that, and sends nothing."""

    def __init__(self, refusal: str, udp: bool = True) -> None:
        self.refusal, self.udp = refusal, udp
        self.asked: list[str] = []
        self.stop = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self.listener.getsockname()[1]}/cam"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while not self.stop.is_set():
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.converse, args=(client,), daemon=True).start()

    def converse(self, client: socket.socket) -> None:
        gone = threading.Event()
        port = 0
        with client, client.makefile("rb") as lines:
            try:
                while first := lines.readline().decode():
                    head = dict(line.split(": ", 1) for line in iter(lambda: lines.readline().decode().strip(), ""))
                    method, wanted = first.split()[0], head.get("Transport", "")
                    status, more, text = "200 OK", "", ""
                    if method == "DESCRIBE":
                        text = "v=0\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 32\r\na=control:one\r\n"
                        more = f"Content-Type: application/sdp\r\nContent-Length: {len(text)}\r\n"
                    if method == "SETUP":
                        self.asked.append("TCP" if "TCP" in wanted else "multicast" if "multicast" in wanted else "UDP")
                        taken = self.udp and self.asked[-1] == "UDP"
                        status = self.refusal if self.refusal and not taken else "200 OK"
                        port = int(wanted.split("client_port=")[1].split("-")[0]) if taken else 0
                        more = f"Session: 7\r\nTransport: {wanted};server_port=45678-45679\r\n"
                    if method == "PLAY" and port:
                        threading.Thread(target=self.play, args=(port, gone), daemon=True).start()
                    client.sendall(f"RTSP/1.0 {status}\r\nCSeq: {head['CSeq']}\r\n{more}\r\n{text}".encode())
            except OSError:
                pass
            finally:
                gone.set()

    def play(self, port: int, gone: threading.Event) -> None:
        with av.open(f"rtp://127.0.0.1:{port}", "w", format="rtp") as out:
            stream = out.add_stream("mpeg2video", rate=FPS)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 5
            number = 0
            while not gone.wait(1 / FPS) and not self.stop.is_set():
                number += 1
                for packet in stream.encode(av.VideoFrame.from_ndarray(image(number), format="rgb24")):
                    out.mux(packet)


@contextmanager
def camera(refusal: str, udp: bool = True) -> Iterator[Camera]:
    out = Camera(refusal, udp)
    try:
        yield out
    finally:
        out.stop.set()
        out.listener.close()


@pytest.mark.parametrize("refusal", ["461 Unsupported Transport", "400 Bad Request", "501 Not Implemented"])
def test_a_camera_that_sends_by_udp_alone(refusal: str) -> None:
    with camera(refusal) as cam:
        source = NetworkStream(cam.url)
        frames = [source.read() for _ in range(4)]
        source.close()
        assert [f.pixels.shape for f in frames] == [(120, 160, 3)] * 4
        assert cam.asked[0] == "TCP" and cam.asked[-1] == "UDP"
        # Once known, the way is not looked for again.
        cam.asked.clear()
        again = NetworkStream(cam.url)
        again._ways = source._ways
        again.read()
        again.close()
        assert cam.asked == ["UDP"]


def test_a_camera_that_takes_tcp_and_sends_nothing() -> None:
    with camera("") as cam:
        source = NetworkStream(cam.url, CaptureSettings(open_timeout=0.5, read_timeout=0.5))
        with pytest.raises(CameraLost, match=r"for 0\.5 s .*\(tried TCP\)"):
            source.read()
        assert source.read().size == (160, 120)
        source.close()


def test_what_was_tried_is_said() -> None:
    with camera("461 Unsupported Transport", udp=False) as cam:
        source = NetworkStream(cam.url)
        with pytest.raises(CameraLost, match="tried TCP, UDP, UDP multicast"):
            source.read()
        source.close()


def test_a_camera_that_is_not_there_is_not_asked_in_other_ways() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"rtsp://127.0.0.1:{free.getsockname()[1]}/x"
    began = time.monotonic()
    with pytest.raises(CameraLost, match="refused") as raised:
        NetworkStream(url).read()
    assert "tried" not in str(raised.value)
    with pytest.raises(CameraLost, match="known"):
        NetworkStream("rtsp://no-such-host.invalid/x").read()
    assert time.monotonic() - began < 5
