"""What visitors send in is decoded aside: bounded in memory and time, and nobody else waits for it."""

import os
import signal
import struct
import threading
import time
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from physadv.arrays import decode_image
from physadv.errors import CalibrationError, DataError, PatchError
from physadv.live.demo import Demo
from physadv.patch import patch_from_image, png_bytes
from physadv.web.app import build_app
from physadv.web.decoder import WAITING, Decoder
from tests.live.scene import until
from tests.web.test_page import HERE, png


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder()


def pid(decoder: Decoder) -> int:
    assert decoder._process is not None
    return decoder._process.pid


def blank(side: int) -> bytes:
    """A PNG of a few kB with that many pixels across and down."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + 3 * side) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_it_decodes_as_the_program_itself_does(decoder: Decoder) -> None:
    data = png(61, 33)
    seen = decoder.image(data, name="x", max_pixels=10_000)
    assert (seen == decode_image(data, name="x")).all()
    seen[0, 0] = 7
    patch = patch_from_image(png_bytes(patch_from_image(data, name="mine")), name="other")
    got = decoder.patch(png_bytes(patch), name="other")
    assert (got.name, got.sha256, got.size_mm, got.target) == (patch.name, patch.sha256, patch.size_mm, patch.target)


@pytest.mark.parametrize("data", [b"", b"not an image", png()[:60], png(200, 200)])
def test_what_is_no_image_is_said_as_elsewhere(decoder: Decoder, data: bytes) -> None:
    with pytest.raises(DataError) as here:
        decode_image(data, name="x.png", max_pixels=10_000)
    with pytest.raises(CalibrationError) as raised:
        decoder.image(data, name="x.png", max_pixels=10_000, error=CalibrationError)
    assert str(raised.value) == str(here.value)


def test_an_image_that_needs_too_much_memory_is_refused_and_the_next_is_decoded() -> None:
    small = Decoder(memory=60_000_000)
    large, next_one = blank(6000), png()
    assert len(large) < 200_000
    with pytest.raises(DataError, match=r"^x: "):
        small.image(large, name="x", max_pixels=100_000_000)
    assert small.image(next_one, name="x", max_pixels=10_000).shape == (32, 32, 3)


def test_a_decoder_that_takes_too_long_or_dies_is_begun_anew() -> None:
    slow = Decoder(seconds=0.6)
    until(lambda: _decodes(slow), timeout=20)
    os.kill(pid(slow), signal.SIGSTOP)
    with pytest.raises(PatchError, match=r"^mine: decoding it takes more than 0.6 s"):
        slow.patch(png(), name="mine")
    until(lambda: _decodes(slow), timeout=20)
    for dead in (False, True):
        os.kill(pid(slow), signal.SIGSTOP if not dead else signal.SIGKILL)
        if not dead:
            threading.Timer(0.2, partial(os.kill, pid(slow), signal.SIGKILL)).start()
            with pytest.raises(PatchError, match=r"^mine: its decoder gave up"):
                slow.patch(png(), name="mine")
        until(lambda: _decodes(slow), timeout=20)


def _decodes(decoder: Decoder) -> bool:
    try:
        return decoder.image(png(), name="x", max_pixels=10_000).shape == (32, 32, 3)
    except DataError:
        # On a busy machine its start takes longer than we give it here.
        return False


def test_other_requests_go_on_while_one_is_decoded(running: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = threading.Event(), threading.Event()

    def stuck(self: Decoder, data: bytes, *, name: str) -> None:
        entered.set()
        leave.wait(20)
        raise PatchError(f"{name}: released")

    monkeypatch.setattr(Decoder, "patch", stuck)
    with TestClient(build_app(running), base_url=HERE) as client:
        answers: list[int] = []

        def send() -> None:
            answers.append(client.post("/api/patches?name=x", content=png()).status_code)

        threads = [threading.Thread(target=send) for _ in range(WAITING + 3)]
        for thread in threads:
            thread.start()
        assert entered.wait(10)
        before = time.monotonic()
        assert client.get("/api/state").status_code == 200
        assert client.get("/api/options").status_code == 200
        assert time.monotonic() - before < 5
        until(lambda: answers.count(429) == 3)
        leave.set()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [422] * WAITING + [429] * 3


def test_every_way_in_goes_through_it(running: Demo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The one decoder of the web: none of its modules decodes by itself."""
    asked: list[str] = []

    def noted(self: Decoder, data: bytes, *, name: str, **_: object) -> None:
        asked.append(name)
        raise CalibrationError(f"{name}: refused")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Decoder, "image", noted)
    monkeypatch.setattr(Decoder, "patch", noted)
    with TestClient(build_app(running), base_url=HERE) as client:
        jpeg = cv2.imencode(".jpg", np.zeros((20, 20, 3), np.uint8))[1].tobytes()
        client.post("/api/patches?name=mine.png", content=png())
        client.post("/api/calibrate/look", content=jpeg)
        photo = client.post("/api/calibrate/photograph?file=chart.jpg", content=jpeg).json()["photo"]
        client.post("/api/calibrate/colour", json={"photos": [photo]})
    assert asked == ["mine", "image", "chart.jpg"]
