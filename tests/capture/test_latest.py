"""Newest wins, and the truth about whether a source lives."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from physadv.capture.latest import Latest, SourceState
from physadv.capture.stream import NetworkStream
from physadv.errors import CameraLost, EndOfStream, SourceError
from physadv.types import Frame
from tests.capture.server import NetworkCamera


class Scripted:
    """A live source whose reads are the steps of a generator: a number is an image of that brightness."""

    live = True
    name = "scripted"

    def __init__(self, steps: Iterator[int | Exception | float]) -> None:
        self.steps = steps
        self.index = 0
        self.closed = threading.Event()

    def read(self) -> Frame:
        for step in self.steps:
            if self.closed.is_set():
                break
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                self.closed.wait(step)
                continue
            self.index += 1
            return Frame(np.full((8, 8, 3), step, np.uint8), self.index - 1, time.monotonic_ns(), self.index / 30)
        raise EndOfStream("scripted: over")

    def close(self) -> None:
        self.closed.set()


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for a condition; return how long it took, and fail if it took longer."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - start


def test_newest_wins_and_the_rest_is_counted() -> None:
    def steps() -> Iterator[int | float]:
        for i in range(50):
            yield i
            yield 0.002
        yield 60.0

    latest = Latest(Scripted(steps()))
    until(lambda: latest.frames == 50, 5)
    frame = latest.take(1)
    assert frame is not None and frame.index == 49
    assert latest.dropped == 49
    assert latest.take(0.01) is None
    latest.close()


def test_end_comes_after_the_last_image() -> None:
    latest = Latest(Scripted(iter([1, 2])))
    until(lambda: latest.state is SourceState.ENDED, 5)
    frame = latest.take(1)
    assert frame is not None and frame.index == 1
    with pytest.raises(EndOfStream):
        latest.take(1)
    latest.close()
    assert latest.state is SourceState.ENDED


def test_a_failure_that_waiting_does_not_mend_ends_it() -> None:
    latest = Latest(Scripted(iter([SourceError("scripted: cut off")])))
    with pytest.raises(SourceError, match="cut off"):
        latest.take(2)
    assert latest.status() == (SourceState.ENDED, "scripted: cut off")
    latest.close()


def test_a_bug_in_a_source_is_not_silent() -> None:
    latest = Latest(Scripted(iter([ZeroDivisionError("oops")])))
    with pytest.raises(SourceError, match="ZeroDivisionError"):
        latest.take(2)
    latest.close()


def test_back_off_grows_and_success_resets_it() -> None:
    lost = CameraLost("scripted: gone")
    times: list[float] = []

    def steps() -> Iterator[int | Exception]:
        for item in (lost, lost, lost, 7, lost, 8):
            times.append(time.monotonic())
            yield item

    latest = Latest(Scripted(steps()), backoff=(0.05, 0.6))
    until(lambda: latest.state is SourceState.ENDED, 5)
    gaps = np.diff(times)
    # A busy machine may make any pause longer, none shorter.
    assert (gaps[:3] >= [0.05, 0.6, 0.6]).all()
    assert gaps[3] < gaps[1], "an image came: no pause before the next read"
    assert 0.05 <= gaps[4] < 0.6, "the pauses begin anew after an image"
    assert latest.losses == 2
    latest.close()


@pytest.mark.alone
def test_states_of_a_loss_are_reported() -> None:
    latest = Latest(
        Scripted(iter([1, 0.3, CameraLost("scripted: pulled out"), 2, 60.0])), stale_after=0.1, backoff=(0.3,)
    )
    until(lambda: latest.state is SourceState.LIVE, 2)
    until(lambda: latest.state is SourceState.STALE, 2)
    assert "no image for" in latest.detail
    until(lambda: latest.state is SourceState.BACKOFF, 2)
    assert "pulled out" in latest.detail and "0.3 s" in latest.detail
    until(lambda: latest.state is SourceState.LIVE, 2)
    latest.close()


def test_one_image_repeated_is_not_life() -> None:
    def steps() -> Iterator[int | float]:
        yield 1
        for _ in range(60):
            yield 0.01
            yield 5
        yield 6
        yield 60.0

    latest = Latest(Scripted(steps()), frozen_after=0.2)
    until(lambda: latest.state is SourceState.STALE, 3)
    assert "repeats one image" in latest.detail
    latest.take(0.1)
    assert latest.take(0.1) is None, "a repeat was handed on while stale"
    until(lambda: latest.state is SourceState.LIVE, 3)
    frame = latest.take(1)
    assert frame is not None and frame.pixels[0, 0, 0] == 6
    latest.close()


@pytest.mark.alone
def test_close_is_quick_and_wakes_the_taker() -> None:
    latest = Latest(Scripted(iter([1, 60.0])))
    latest.take(1)
    seen: list[type[BaseException]] = []

    def wait() -> None:
        try:
            latest.take(30)
        except EndOfStream as error:
            seen.append(type(error))

    taker = threading.Thread(target=wait)
    taker.start()
    start = time.monotonic()
    latest.close()
    taker.join(2)
    assert seen == [EndOfStream]
    assert time.monotonic() - start < 1


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["mjpeg", "ts"])
def test_a_network_camera_stalls_dies_and_comes_back(kind: str) -> None:
    camera = NetworkCamera()
    camera.start()
    latest = Latest(NetworkStream(camera.url(kind)))
    try:
        until(lambda: latest.state is SourceState.LIVE, 5)
        until(lambda: latest.frames > 5, 5)
        camera.stalled.set()
        assert until(lambda: latest.state is SourceState.STALE, 3) < 3
        until(lambda: latest.state is not SourceState.STALE, 3)
        camera.stalled.clear()
        until(lambda: latest.state is SourceState.LIVE, 5)
        camera.kill()
        until(lambda: latest.state is SourceState.BACKOFF, 3)
        time.sleep(1)
        before = latest.frames
        camera.start()
        assert until(lambda: latest.state is SourceState.LIVE and latest.frames > before, 3) < 3
        frame = latest.take(1)
        assert frame is not None and frame.pixels.shape == (120, 160, 3)
    finally:
        latest.close()
        camera.kill()


def test_a_stream_that_nobody_serves() -> None:
    camera = NetworkCamera()
    latest = Latest(NetworkStream(camera.url("mjpeg")))
    until(lambda: latest.state is SourceState.BACKOFF, 4)
    assert "refused" in latest.detail
    assert latest.frames == 0
    latest.close()
