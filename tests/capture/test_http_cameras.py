"""Cameras that speak HTTP, as oddly as they do: all that a browser plays plays here, and nothing half is shown."""

import gzip
import hashlib
import io
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from physadv.capture import open_source
from physadv.capture.jpegs import JpegSplitter
from physadv.capture.settings import CaptureSettings
from physadv.errors import CameraLost, SourceError
from physadv.types import Frame
from tests.capture.server import image
from tests.capture.test_film import encode

Serve = Callable[[BaseHTTPRequestHandler], None]


def jpeg(number: int, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", image(number), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def noisy(number: int) -> bytes:
    """A JPEG whose coded lines are long enough to be cut."""
    pixels = np.random.default_rng(number).integers(0, 255, (48, 64), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@contextmanager
def served(serve: Serve) -> Iterator[str]:
    """Yield the address of a server that answers each request with `serve`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            try:
                serve(self)
            except OSError:
                return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/cam"
    finally:
        server.shutdown()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, kind: str | None, *headers: tuple[str, str], code: int = 200) -> None:
    request.send_response(code)
    for header in ([] if kind is None else [("Content-Type", kind)]) + list(headers):
        request.send_header(*header)
    request.end_headers()


def body(request: BaseHTTPRequestHandler, data: bytes, kind: str = "image/jpeg") -> None:
    answer(request, kind, ("Content-Length", str(len(data))))
    request.wfile.write(data)


def read(url: str, count: int, say: Callable[[str], None] = print, **settings: float) -> list[Frame]:
    source = open_source(url, CaptureSettings.model_validate({"read_timeout": 1.0, **settings}), say)
    try:
        return [source.read() for _ in range(count)]
    finally:
        source.close()


def numbers(frames: list[Frame]) -> list[int]:
    """Which images these are."""
    return [round(int(np.argmax(f.pixels[60].mean(1) > 150)) / 5) for f in frames]


def parts(
    *, head: str = "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {size}\r\n\r\n", tail: bytes = b"\r\n"
) -> list[bytes]:
    return [head.format(size=len(jpeg(n))).encode() + jpeg(n) + tail for n in range(1, 7)]


MIXED = "multipart/x-mixed-replace"
FRAMED = f"{MIXED}; boundary=frame"
TYPED = "Content-Type: image/jpeg\r\n\r\n"
# The type of the stream, its parts, and what is sent before them.
STREAMS: dict[str, tuple[str | None, list[bytes], bytes]] = {
    "plain": (FRAMED, parts(), b""),
    "size in the type": (FRAMED, parts(head="--frame\r\nContent-Type: image/jpeg;size={size}\r\n\r\n"), b""),
    "image/jpg": (FRAMED, parts(head="--frame\r\nContent-Type: image/jpg\r\n\r\n"), b""),
    "no length": (FRAMED, parts(head="--frame\r\n" + TYPED), b""),
    "no type": (FRAMED, parts(head="--frame\r\n\r\n"), b""),
    "a wrong length": (FRAMED, parts(head="--frame\r\nContent-Length: 7\r\n\r\n"), b""),
    "boundary in quotes": (f'{MIXED}; boundary="frame"', parts(), b""),
    "boundary with dashes": (f"{MIXED}; boundary=--frame", parts(), b""),
    "boundary with dashes of which more are sent": (f"{MIXED}; boundary=--frame", parts(head="----frame\r\n\r\n"), b""),
    "boundary without dashes": (FRAMED, parts(head="frame\r\n" + TYPED), b""),
    "another boundary than said": (FRAMED, parts(head="--myboundary\r\n" + TYPED), b""),
    "no boundary": (MIXED, parts(head=TYPED), b""),
    "capitals": ("Multipart/X-Mixed-Replace; Boundary=FRAME", parts(head=f"--FRAME\r\n{TYPED.upper()}"), b""),
    "line ends of Unix": (FRAMED, parts(head="--frame\nContent-Type: image/jpeg\n\n", tail=b"\n"), b""),
    "nothing between": (FRAMED, parts(tail=b""), b""),
    "a preamble": (FRAMED, parts(), b"This is a camera.\r\nIt speaks MIME.\r\n\r\n"),
    "multipart/mixed": ("multipart/mixed; boundary=frame", parts(), b""),
    "of no type": (None, parts(), b""),
    "as a download": ("application/octet-stream", parts(), b""),
    "as text": ("text/plain", parts(), b"\r\n"),
    "as video": ("video/x-motion-jpeg", parts(), b""),
    "images one after the other": ("image/jpeg", [jpeg(n) for n in range(1, 7)], b""),
    "padded": (FRAMED, parts(tail=bytes(300) + b"\r\n"), b""),
    "without end marks": (FRAMED, [p.replace(b"\xff\xd9", b"") for p in parts()], b""),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_every_mjpeg_stream_plays(name: str) -> None:
    kind, sent, before = STREAMS[name]

    def serve(request: BaseHTTPRequestHandler) -> None:
        answer(request, kind)
        request.wfile.write(before)
        for part in sent:
            request.wfile.write(part)
        time.sleep(0.3)

    with served(serve) as url:
        assert numbers(read(url, 5)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [1, 7, 1460])
def test_a_stream_in_chunks_and_in_dribs(size: int) -> None:
    def serve(request: BaseHTTPRequestHandler) -> None:
        answer(request, FRAMED, ("Transfer-Encoding", "chunked"))
        data = b"".join(parts()[: 6 if size > 1 else 2])
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            request.wfile.write(b"%x;name=value\r\n%b\r\n" % (len(piece), piece))
        time.sleep(0.3)

    with served(serve) as url:
        assert numbers(read(url, 2)) == [1, 2]


@pytest.mark.parametrize("length", ["0", "10", "99999999"])
def test_the_length_of_what_has_no_end_is_not_believed(length: str) -> None:
    def serve(request: BaseHTTPRequestHandler) -> None:
        answer(request, FRAMED, ("Content-Length", length))
        request.wfile.write(b"".join(parts()))
        time.sleep(0.3)

    with served(serve) as url:
        assert numbers(read(url, 5)) == [1, 2, 3, 4, 5]


CUT: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda data: data[: len(data) // 2],
    "half, with an end mark": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "nearly whole": lambda data: data[: -len(data) // 8],
    "its head alone": lambda data: data[:30],
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("single", [False, True], ids=["stream", "snapshots"])
def test_a_cut_image_is_never_shown(name: str, single: bool) -> None:
    whole = [noisy(n) for n in range(6)]
    sent = [CUT[name](data) if n in (1, 3) else data for n, data in enumerate(whole)]
    asked = iter(sent)

    def serve(request: BaseHTTPRequestHandler) -> None:
        if single:
            data = next(asked)
            # Half an image ends with the connection: its length is of the whole.
            answer(request, "image/jpeg", ("Content-Length", str(max(len(data), len(whole[0])))))
            request.wfile.write(data)
            return
        answer(request, FRAMED)
        for data in sent:
            request.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(data), data)
            )
        time.sleep(0.3)

    said: list[str] = []
    with served(serve) as url:
        frames = read(url, 4, said.append, fps=100.0)
    wanted = [cv2.imdecode(np.frombuffer(whole[n], np.uint8), cv2.IMREAD_COLOR_RGB) for n in (0, 2, 4, 5)]
    for frame, pixels in zip(frames, wanted, strict=True):
        off = float(np.abs(frame.pixels.astype(int) - pixels).mean())
        assert off < 3
    assert [f.index for f in frames] == [0, 2, 4, 5], "an image left out leaves a gap"
    assert any("left out 1 damaged image" in text for text in said)


def test_damaged_images_alone_are_no_life() -> None:
    def serve(request: BaseHTTPRequestHandler) -> None:
        answer(request, FRAMED)
        for _ in range(100):
            request.wfile.write(b"--frame\r\n\r\n" + noisy(1)[:600] + b"\r\n")
            time.sleep(0.02)

    with served(serve) as url, pytest.raises(CameraLost, match=r"no whole image for 0\.3 s"):
        read(url, 1, read_timeout=0.3)


def test_a_splitter_finds_images_wherever_the_bytes_are_parted() -> None:
    thumbnail = jpeg(9, quality=30)
    with_preview = jpeg(2)[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + jpeg(2)[2:]
    progressive = cv2.imencode(".jpg", image(3), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    restarts = cv2.imencode(".jpg", image(4), [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    wanted = [jpeg(1), with_preview, progressive, restarts]
    data = b"--frame\r\n\r\n" + b"\r\n--frame\r\n\r\n".join(wanted) + b"\r\n--frame--"
    rng = np.random.default_rng(3)
    for _ in range(30):
        cuts = [0, *sorted(rng.integers(0, len(data), 20).tolist()), len(data)]
        splitter = JpegSplitter()
        assert [p for a, b in itertools.pairwise(cuts) for p in splitter.feed(data[a:b])] == wanted
        assert splitter.rest() == b""


def test_a_splitter_holds_no_more_than_a_image() -> None:
    splitter = JpegSplitter()
    for _ in range(50):
        assert splitter.feed(bytes(1 << 20)) == []
    assert splitter.feed(jpeg(1)) == [jpeg(1)]


@pytest.mark.parametrize(
    "kind",
    [
        "image/jpeg",
        "image/jpg",
        "application/octet-stream",
        "IMAGE/JPEG; charset=utf-8",
        "image/png",
        "application/png",
        "image/gif",
        "image/avif",
    ],
)
def test_a_camera_of_single_images_is_asked_again_and_again(kind: str) -> None:
    asked: list[float] = []

    def serve(request: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        pixels = image(len(asked))
        ending = next((ending for ending in (".png", ".gif", ".avif") if ending[1:] in kind), ".jpg")
        body(request, cv2.imencode(ending, pixels)[1].tobytes(), kind)

    with served(serve) as url:
        assert numbers(read(f"{url}?camera=1", 4, fps=20)) == [1, 2, 3, 4]
    assert asked[3] - asked[0] > 0.13, "asked more often than the rate says"


def test_a_snapshot_that_is_missing_now_and_then() -> None:
    asked: list[int] = []

    def serve(request: BaseHTTPRequestHandler) -> None:
        asked.append(1)
        if len(asked) % 2 == 0:
            answer(request, "text/plain", ("Content-Length", "0"), code=503)
        else:
            body(request, jpeg(len(asked)))

    with served(serve) as url:
        assert numbers(read(url, 3, fps=50)) == [1, 3, 5]
        asked.clear()
        source = open_source(url, CaptureSettings(fps=50))
        source.read()
        asked[:] = [1, 2]

    with pytest.raises(CameraLost, match="no whole image in 5 requests"):
        while True:
            source.read()


DIGESTS = {
    "MD5": ("md5", 'qop="auth,auth-int", algorithm=MD5'),
    "SHA-256": ("sha256", 'qop="auth", algorithm=SHA-256'),
    "of old": ("md5", ""),
    "session": ("md5", 'qop="auth", algorithm=MD5-sess'),
    "quotes": ("md5", r'opaque="a\"b\\c", qop="auth"'),
}


def digest_is_right(header: str, name: str, asked: str) -> bool:
    """Check an answer by RFC 7616, for the name admin and the password p@ss:w/rd#1."""
    fields = {k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|[^,\s]+)', header)}

    def hashed(*texts: str) -> str:
        return hashlib.new(name, ":".join(texts).encode()).hexdigest()

    who = hashed("admin", "camera", "p@ss:w/rd#1")
    if asked.endswith("-sess"):
        who = hashed(who, fields["nonce"], fields["cnonce"])
    middle = [fields["nc"], fields["cnonce"], "auth"] if "qop" in asked else []
    return (
        fields["response"] == hashed(who, fields["nonce"], *middle, hashed("GET", fields["uri"]))
        and fields["uri"] == "/cam"
    )


@pytest.mark.parametrize("kind", DIGESTS)
def test_a_password_by_digest_for_snapshots(kind: str) -> None:
    hashing, asked = DIGESTS[kind]
    given: list[str | None] = []

    def serve(request: BaseHTTPRequestHandler) -> None:
        header = request.headers.get("Authorization")
        given.append(header)
        if header is None or not digest_is_right(header, hashing, asked):
            challenge = f'Digest realm="camera", nonce="n{len(given)}"' + (f", {asked}" if asked else "")
            answer(
                request, None, ("WWW-Authenticate", 'Basic realm="camera"'), ("WWW-Authenticate", challenge), code=401
            )
        else:
            body(request, jpeg(len(given)))

    with served(serve) as url:
        address = url.replace("//", "//admin:p%40ss%3Aw%2Frd%231@")
        assert numbers(read(address, 3, fps=50)) == [2, 3, 4]
        assert [header is None for header in given] == [True, False, False, False], "asked for once"
        with pytest.raises(SourceError, match="does not take the name and password") as raised:
            read(address.replace("%231", "%232"), 1)
        assert "p@" not in str(raised.value) and "rd#" not in str(raised.value)
    assert not any((header or "").startswith("Basic") for header in given), "the password went out in the clear"


def test_a_password_by_basic_and_only_to_the_camera() -> None:
    elsewhere: list[str | None] = []

    def other(request: BaseHTTPRequestHandler) -> None:
        elsewhere.append(request.headers.get("Authorization"))
        body(request, jpeg(3))

    with served(other) as far:

        def serve(request: BaseHTTPRequestHandler) -> None:
            if request.headers.get("Authorization") == "Basic YWRtaW46cEBzczp3L3JkIzE=":
                answer(request, None, ("Location", far), ("Content-Length", "0"), code=302)
            else:
                answer(request, None, ("WWW-Authenticate", "basic"), ("Content-Length", "0"), code=401)

        with served(serve) as url:
            assert numbers(read(url.replace("//", "//admin:p%40ss%3Aw%2Frd%231@"), 1)) == [3]
            with pytest.raises(SourceError, match="asks for a name and password"):
                read(url, 1)
    assert elsewhere == [None]


def test_a_camera_that_dribbles_its_answer_is_given_up_in_time() -> None:
    def serve(request: BaseHTTPRequestHandler) -> None:
        for _ in range(200):
            request.wfile.write(b"H")
            time.sleep(0.02)

    began = time.monotonic()
    with served(serve) as url, pytest.raises(CameraLost, match=r"no answer for 0\.3 s"):
        read(url, 1, open_timeout=0.3)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("stream", [True, False])
def test_packed_answers_are_unpacked(stream: bool) -> None:
    def serve(request: BaseHTTPRequestHandler) -> None:
        plain = (
            b"".join(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(n) + b"\r\n" for n in (1, 2))
            if stream
            else jpeg(1)
        )
        kind = "multipart/x-mixed-replace; boundary=b" if stream else "image/jpeg"
        packed = gzip.compress(plain)
        answer(request, kind, ("Content-Encoding", "gzip"), ("Content-Length", str(len(packed))))
        request.wfile.write(packed)

    with served(serve) as url:
        assert numbers(read(url, 2, fps=50)) == ([1, 2] if stream else [1, 1])


NO_CAMERA = {
    "page": ("text/html", b"<html>log in</html>", "a web page"),
    "unnamed": ("image/jpeg", b"<!DOCTYPE html><html></html>", "a web page"),
    "json": ("application/json", b'{"error": 1}', r"text \(application/json\)"),
    "text": ("text/plain; charset=utf-8", b"busy", r"text \(text/plain\)"),
    "nothing": ("image/jpeg", b"", "an empty answer"),
}


def test_what_is_no_camera_is_said() -> None:
    def serve(request: BaseHTTPRequestHandler) -> None:
        found = NO_CAMERA.get(request.path.rpartition("/")[2])
        if found:
            body(request, found[1], found[0])
        else:
            answer(request, None, ("Content-Length", "0"), code=404)

    with served(serve) as url:
        for name, (_, _, says) in NO_CAMERA.items():
            with pytest.raises(CameraLost, match=f"{says} is at this address"):
                read(f"{url}/{name}", 1)
        with pytest.raises(CameraLost, match="answers 404"):
            read(url, 1)


def test_a_video_whose_index_a_server_does_not_reach(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("film")
    data = encode(
        folder / "v.mp4", count=60, image=np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    ).read_bytes()

    def serve(request: BaseHTTPRequestHandler) -> None:
        body(request, data, "video/mp4")

    with served(serve) as url:
        for address in (f"{url}.mp4", url):
            with pytest.raises(SourceError, match=r"index lies at its end.*faststart"):
                read(address, 1)


def test_a_film_with_its_index_first_plays_from_any_server() -> None:
    import av

    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"movflags": "faststart+frag_keyframe+empty_moov"}) as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(1, 5):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image(number), format="rgb24")))
        file.mux(stream.encode(None))

    def serve(request: BaseHTTPRequestHandler) -> None:
        body(request, target.getvalue(), "video/mp4")

    with served(serve) as url:
        assert numbers(read(f"{url}.mp4", 4)) == [1, 2, 3, 4]
