"""HTTP cameras: a stream of JPEG images (MJPEG), or one image for each request."""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from physadv.address import split_user
from physadv.arrays import decode_image
from physadv.capture.film import MAX_PIXELS, JpegDecoder
from physadv.capture.jpegs import MAX_BYTES, JpegSplitter
from physadv.capture.login import Login
from physadv.capture.settings import CaptureSettings
from physadv.errors import CameraLost, SourceError
from physadv.types import UInt8Array

# How often a camera that gives one image a request is asked, unless `fps` is given: what cheap ones can answer.
SNAPSHOTS_PER_S = 5.0
# As many images in a row of such a camera may be missing or damaged before it counts as lost.
_MISSES = 5
_SNIFFED = 512
_JPEG = b"\xff\xd8\xff"
_PART = re.compile(rb"\s*--[^\n]*\n([^\n]+\n)*?content-type:\s*image/", re.IGNORECASE)
_IMAGE = re.compile(r"image/(jpe?g|pjpeg|png|webp|bmp|x-ms-bmp|tiff|gif|avif|hei[cf])\b")
_PNG = b"\x89PNG\r\n"
# Lists of a video's parts (HLS, DASH) are text too, and what their players ask for.
_PLAYLIST = re.compile(rb"\s*(#EXTM3U|(<\?xml[^>]*>\s*)?<MPD\b)", re.IGNORECASE)
_TEXT = re.compile(r"text/|application/(json|xml|problem|soap)")
# Some cameras give images only to browsers.
_ASK_WITH = {"User-Agent": "Mozilla/5.0 (physadv)", "Accept": "*/*", "Cache-Control": "no-cache"}
# An MP4 file begins with a few short boxes, then comes the index or the images.
_BOXES, _SMALL_BOX = 8, 1 << 20
# In an address these are as they have to be.
_AS_IS = "%/:=&?~+!$,;'@()*[]"


class WebCamera:
    """Asks a camera for images over HTTP, with the name and password of its address if it wants them."""

    def __init__(self, url: str, settings: CaptureSettings) -> None:
        self._settings = settings
        bare, name, password = split_user(url)
        self._url = quote(bare.partition("#")[0], safe=_AS_IS)
        self._limit = Limit()
        self._login = Login(urlsplit(self._url).netloc, name, password) if name is not None else None
        self._opener = _opener(self._url, self._limit, self._login)

    def ask(self) -> Answer | None:
        """Return the answer to a request for the address, None if it holds something else than JPEG images: a video.

        Raises: OSError if there is no answer in time. CameraLost if there are no images in it; SourceError if the
        camera wants a name and password that are not in the address.
        """
        self._limit.begin(self._settings.open_timeout)
        if self._login is not None:
            self._login.begin()
        try:
            request = urllib.request.Request(self._url, headers=_ASK_WITH)
            response = self._opener.open(request, timeout=self._settings.open_timeout)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error) from error
        except urllib.error.URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else CameraLost(str(error.reason)) from error
        except (http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError):
                raise
            # What is no clean HTTP may still be a stream that FFmpeg knows.
            return None
        answer = Answer(response, self._limit, self._settings.read_timeout)
        if answer.look():
            return answer
        answer.close()
        return None

    def images(self, answer: Answer, closed: threading.Event) -> Iterator[tuple[UInt8Array | None, int]]:
        """Yield pixels (h, w, 3) and the monotonic time of their arrival; None in place of a damaged or missing image.

        A camera that gives one image at a request is asked again and again, until `closed`.

        Raises: OSError if the connection breaks off or nothing comes in time. CameraLost or SourceError as `ask` does.
        """
        interval_s = 1 / (self._settings.fps or SNAPSHOTS_PER_S)
        misses = 0
        held: Answer | None = answer
        while True:
            began, came, why = time.monotonic(), False, ""
            try:
                held = held or self.ask()
                if held is None:
                    raise CameraLost("the camera gives no images any more, but something else")
                for pixels, arrived in held.images():
                    came = came or pixels is not None
                    yield pixels, arrived
                if not held.single:
                    return
            except (OSError, CameraLost) as error:
                if held is not None and not held.single:
                    raise
                why = f": {error}"
                yield None, 0
            finally:
                if held is not None:
                    held.close()
            held = None
            misses = 0 if came else misses + 1
            if misses >= _MISSES:
                raise CameraLost(f"no whole image in {misses} requests{why}")
            if closed.wait(max(began + interval_s - time.monotonic(), 0)):
                return

    def index_out_of_reach(self) -> bool:
        """Return whether an MP4 file is there whose index lies at its end, on a server that gives no parts of files.

        Raises: OSError or ValueError if there is no answer.
        """
        self._limit.begin(self._settings.open_timeout)
        request = urllib.request.Request(self._url, headers={**_ASK_WITH, "Range": "bytes=0-"})
        with self._opener.open(request, timeout=self._settings.open_timeout) as response:
            if response.status == http.client.PARTIAL_CONTENT:
                return False
            return _index_is_behind(response)

    def _refused(self, error: urllib.error.HTTPError) -> SourceError:
        if error.code != http.client.UNAUTHORIZED:
            return CameraLost(f"the server answers {error.code} {str(error.reason)[:80]}")
        if self._login is None:
            return SourceError("it asks for a name and password; write them into the address: //NAME:PASSWORD@HOST/")
        return SourceError("it does not take the name and password that are in the address (401 Unauthorized)")


class Answer:
    """A camera's answer to one request. single: it holds one image, and the camera is to be asked again."""

    def __init__(self, response: http.client.HTTPResponse, limit: Limit, timeout_s: float) -> None:
        self._response, self._limit, self._timeout_s = response, limit, timeout_s
        self._kind = (response.headers.get("Content-Type") or "").strip().lower()
        # Some servers pack their answer although nobody has asked them to.
        packed = (response.headers.get("Content-Encoding") or "").strip().lower() in ("gzip", "x-gzip", "deflate")
        self._packing = zlib.decompressobj(zlib.MAX_WBITS | 32) if packed else None
        self._first = b""
        self.single = False

    def look(self) -> bool:
        """Return whether it holds JPEG images, or one image of any kind.

        Raises: OSError if the connection breaks off. CameraLost for a web page.
        """
        if self._kind.startswith("multipart/"):
            return self._is_stream()
        # An image or part is known by its beginning; whatever else begins with more than that.
        while len(self._first) < _SNIFFED and not self._begins_as_jpeg() and not _PART.match(self._first):
            if not (chunk := self._chunk(_SNIFFED)):
                break
            self._first += chunk
        if _PART.match(self._first):
            return self._is_stream()
        what = self._is_instead()
        if what:
            raise CameraLost(f"{what}, no images; give the address of the camera's stream itself")
        self.single = self._begins_as_jpeg() or self._first.startswith(_PNG) or _IMAGE.match(self._kind) is not None
        return self.single

    def _begins_as_jpeg(self) -> bool:
        return self._first.lstrip(b"\r\n").startswith(_JPEG)

    def _is_instead(self) -> str:
        """Return what an answer holds that is certainly no image or video, "" if it may be one."""
        if not self._first:
            return "an empty answer is at this address"
        start = self._first.lstrip()[:1]
        if (
            start == b"<"
            and not _PLAYLIST.match(self._first)
            and (b"<html" in self._first.lower() or "html" in self._kind)
        ):
            return "a web page is at this address"
        if _TEXT.match(self._kind) and self._first.isascii() and not _PLAYLIST.match(self._first):
            return f"text ({self._kind.split(';')[0][:40]}) is at this address"
        return ""

    def _is_stream(self) -> bool:
        # A length of what has no end can only be wrong.
        if not self._response.chunked:
            self._response.length = None
        return True

    def images(self) -> Iterator[tuple[UInt8Array | None, int]]:
        """Yield pixels (h, w, 3), None for a damaged image, and the monotonic time of arrival in nanoseconds.

        Raises: OSError if the connection breaks off or no whole image comes in time.
        """
        if self.single and not self._begins_as_jpeg():
            yield self._other_kind()
            return
        splitter, decoder = JpegSplitter(), JpegDecoder()
        self._limit.begin(self._timeout_s)
        for chunk in self._chunks():
            for jpeg in splitter.feed(chunk):
                arrived = time.monotonic_ns()
                pixels = decoder.decode(jpeg)
                yield pixels, arrived
                if self.single and self._response.length is not None:
                    # What follows in one file are previews.
                    return
                if pixels is not None:
                    self._limit.begin(self._timeout_s)
        if rest := splitter.rest():
            yield decoder.decode(rest), time.monotonic_ns()

    def close(self) -> None:
        """Give the connection back. Safe to call twice."""
        self._response.close()

    def _other_kind(self) -> tuple[UInt8Array | None, int]:
        """Return the one image, PNG for instance."""
        self._limit.begin(self._timeout_s)
        data = bytearray()
        for chunk in self._chunks():
            data += chunk
            if len(data) > MAX_BYTES:
                return None, 0
        try:
            return decode_image(bytes(data), name="", max_pixels=MAX_PIXELS, error=SourceError), time.monotonic_ns()
        except SourceError:
            return None, 0

    def _chunks(self) -> Iterator[bytes]:
        if self._first:
            yield self._first
        while chunk := self._chunk(1 << 16):
            yield chunk

    def _chunk(self, at_most: int) -> bytes:
        try:
            if self._packing is None:
                return self._response.read1(at_most)
            while not self._packing.eof:
                packed = self._packing.unconsumed_tail or self._response.read1(at_most)
                if not packed:
                    break
                # A few bytes may stand for gigabytes.
                if plain := self._packing.decompress(packed, 1 << 16):
                    return plain
            return b""
        except (http.client.HTTPException, ValueError, zlib.error) as error:
            raise ConnectionResetError("the connection broke off") from error


def _index_is_behind(mp4: http.client.HTTPResponse) -> bool:
    """Return whether the images of an MP4 file lie before its index."""
    for _ in range(_BOXES):
        size, kind = int.from_bytes(mp4.read(4), "big"), mp4.read(4)
        if kind in (b"mdat", b"moov"):
            return kind == b"mdat"
        if not 8 <= size <= _SMALL_BOX:
            break
        mp4.read(size - 8)
    return False


class Limit:
    """A moment until which something has to have come, over however many reads."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        """Start the time anew."""
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left.

        Raises: TimeoutError if there are none.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _opener(url: str, limit: Limit, login: Login | None) -> urllib.request.OpenerDirector:
    """Return what makes requests: over HTTP alone, redirected ones too, each read of which is bounded by `limit`."""
    out = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        _Http(limit),
        _Https(limit),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ]
    if not _is_near(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler())
    for handler in [*handlers, *([login] if login else [])]:
        out.add_handler(handler)
    return out


def _is_near(host: str) -> bool:
    """Return whether a host is on the local network, to which no proxy leads."""
    try:
        return ip_address(host.split("%")[0]).is_private
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith(".local")


class _Http(urllib.request.HTTPHandler):
    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self._limit = limit

    def http_open(self, req: urllib.request.Request) -> Any:
        def connection(*args: Any, **more: Any) -> http.client.HTTPConnection:
            return _bounded(http.client.HTTPConnection(*args, **more), self._limit)

        return self.do_open(connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self._limit = limit
        # Cameras sign their certificates themselves; FFmpeg, which reads all other streams, does not look at them either.
        self._trusting = ssl.create_default_context()
        self._trusting.check_hostname, self._trusting.verify_mode = False, ssl.CERT_NONE

    def https_open(self, req: urllib.request.Request) -> Any:
        def connection(*args: Any, **more: Any) -> http.client.HTTPConnection:
            return _bounded(http.client.HTTPSConnection(*args, context=self._trusting, **more), self._limit)

        return self.do_open(connection, req)


def _bounded(connection: http.client.HTTPConnection, limit: Limit) -> http.client.HTTPConnection:
    """Return a connection whose every wait is bounded by what is left of `limit`."""
    connect = connection.connect

    def connect_in_time() -> None:
        connection.timeout = limit.left()
        connect()
        connection.sock = _BoundedSocket(connection.sock, limit)

    connection.connect = connect_in_time  # type: ignore[method-assign]
    return connection


class _BoundedSocket:
    """As much of a socket as an HTTP connection uses."""

    def __init__(self, inner: socket.socket, limit: Limit) -> None:
        self._inner, self._limit = inner, limit

    def sendall(self, data: bytes) -> None:
        self._inner.settimeout(self._limit.left())
        self._inner.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReads(self._inner, self._limit), 1 << 16)

    def close(self) -> None:
        self._inner.close()


class _BoundedReads(io.RawIOBase):
    def __init__(self, inner: socket.socket, limit: Limit) -> None:
        super().__init__()
        self._inner, self._limit = inner, limit
        # It keeps the socket open when the connection that made it lets go.
        self._file = inner.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._inner.settimeout(self._limit.left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def unreachable_index(url: str, settings: CaptureSettings) -> str:
    """Return why a film on a web server cannot be played if that is its index, which the server does not let be read."""
    try:
        behind = WebCamera(url, settings).index_out_of_reach()
    except (OSError, SourceError, http.client.HTTPException, ValueError):
        return ""
    if not behind:
        return ""
    return (
        "its index lies at its end, and this server cannot seek (it gives no ranges): download the file and play it "
        "from disk, or write it anew with the index first (ffmpeg -i IN.mp4 -c copy -movflags +faststart OUT.mp4)"
    )
