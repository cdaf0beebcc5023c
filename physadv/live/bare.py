"""The bare detector as the loop asks it: on threads of its own, before an answer is needed, once for each frame."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from physadv.types import Detections, Detector, Frame

T = TypeVar("T")
# The frame that is processed, without and with the pattern, and two that come next, each with a defence's view of it.
KEPT = 8
# Longer than any pass of the detector: a thread that computes while the interpreter ends can crash it.
CLOSING_S = 2.0


class NoAnswer(TimeoutError):
    """A task that a worker did not end in time."""


class Worker:
    """One thread on which tasks run in order, so that a call which never returns can be left behind.

    The compute library keeps a thread pool for each calling thread, and two pools on the same cores slow each other down:
    bare and defended passes share a worker.
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="detect", daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Return what will have the result of `task`, or its error."""
        future: Future[T] = Future()
        self._tasks.put((task, future))
        return future

    def call(self, task: Callable[[], T], limit_s: float | None = None) -> T:
        """Return what `task` returns, or raise what it raises.

        Raises: NoAnswer if it takes longer than `limit_s`; the worker is then busy and must be left behind.
        """
        future = self.submit(task)
        try:
            return future.result(limit_s)
        except TimeoutError:
            if future.done():
                raise
            raise NoAnswer(f"no answer within {limit_s:g} s") from None

    def close(self, *, wait_s: float = 0.0) -> None:
        """Let the thread end after its tasks; wait for that at most `wait_s` seconds."""
        self._tasks.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(wait_s)

    def _run(self) -> None:
        while (item := self._tasks.get()) is not None:
            task, future = item
            try:
                future.set_result(task())
            except BaseException as error:  # noqa: BLE001 -- handed to whoever waits
                future.set_exception(error)
            # A task holds its frame; this one is done.
            del item, task, future


class BareAnswer(NamedTuple):
    """What the bare detector found in a frame, and how many milliseconds it took."""

    found: Detections
    took_ms: float


class BareAnswers:
    """The bare answers about the frames of the moment: each is asked for once, and may be begun before it is needed.

    For files two frames are looked at side by side, on the detector's `lanes`. Safe to use from several threads.
    """

    def __init__(self, detector: Detector, worker: Worker) -> None:
        """worker: where everything runs but what is looked at side by side."""
        self._detector, self._worker = detector, worker
        self._lanes: list[tuple[Worker, Detector]] = []
        self._turn = 0
        self._begun: OrderedDict[Frame, Future[BareAnswer]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, frame: Frame, *, side_by_side: bool) -> Future[BareAnswer]:
        """Return what will have the answer about a frame; begun now unless it was before.

        side_by_side: whether another frame may be looked at meanwhile; slower for the one, faster for both.
        """
        with self._lock:
            future = self._begun.get(frame)
            if future is None:
                worker, detector = self._next_lane() if side_by_side else (self._worker, self._detector)
                future = self._begun[frame] = worker.submit(partial(_answer, detector, frame))
                while len(self._begun) > KEPT:
                    self._begun.popitem(last=False)
            return future

    def known(self, frame: Frame) -> Detections | None:
        """Return the answer about this very frame if it was begun, as soon as it is there; else None."""
        with self._lock:
            future = self._begun.get(frame)
        return None if future is None else future.result().found

    def change_worker(self, worker: Worker) -> None:
        """Ask on another worker; what was begun on the busy one is begun anew when it is needed."""
        with self._lock:
            self._worker = worker
            self._begun.clear()

    def close(self) -> None:
        """End the threads of the lanes after what they have begun."""
        with self._lock:
            lanes, self._lanes = self._lanes, []
        for worker, _ in lanes:
            worker.close(wait_s=CLOSING_S)

    def _next_lane(self) -> tuple[Worker, Detector]:
        """Return the lanes in turn: which frame is on which does not depend on how fast they are."""
        if not self._lanes:
            lanes = self._detector.lanes()
            if len(lanes) == 1:
                return self._worker, self._detector
            self._lanes = [(Worker(), lane) for lane in lanes]
        self._turn += 1
        return self._lanes[self._turn % len(self._lanes)]


def _answer(detector: Detector, frame: Frame) -> BareAnswer:
    start = perf_counter()
    found = detector.detect(frame)
    return BareAnswer(found, (perf_counter() - start) * 1000)
