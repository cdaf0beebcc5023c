"""Defences under watch: one that throws, or takes too long, is stopped with its reason and the demo goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from physadv.defend import Guarded, Pipeline
from physadv.detect.base import WrappedDetector
from physadv.errors import DefenceError
from physadv.types import Detections, Detector, Frame, UInt8Array

T = TypeVar("T")


class Worker:
    """One thread on which every detection runs, so that a call which never returns can be left behind.

    Bare and defended passes share the thread: the compute library keeps a team of its own per calling thread, and two
    teams on the same cores slow each other down.
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="detect", daemon=True).start()

    def call(self, task: Callable[[], T], limit_s: float | None = None) -> T:
        """Return what `task` returns, or raise what it raises.

        Raises: TimeoutError if it takes longer than `limit_s`; the worker is then busy and must be left behind.
        """
        reply: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tasks.put((task, reply))
        try:
            value, error = reply.get(timeout=limit_s)
        except queue.Empty:
            raise TimeoutError(f"no answer within {limit_s:g} s") from None
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (item := self._tasks.get()) is not None:
            task, reply = item
            try:
                reply.put((task(), None))
            except BaseException as error:  # noqa: BLE001 -- handed to the caller, whatever it is
                reply.put((None, error))


class Revocable(WrappedDetector):
    """A detector that stops answering once its user was left behind, so that a slow defence ends at its next question."""

    def __init__(self, inner: Detector) -> None:
        super().__init__(inner)
        self._revoked = False

    def revoke(self) -> None:
        """Answer no more."""
        self._revoked = True

    def detect(self, frame: Frame) -> Detections:
        """Return what the detector says.

        Raises: DefenceError after `revoke`.
        """
        self._check()
        return self.inner.detect(frame)

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return what the detector says of several images.

        Raises: DefenceError after `revoke`.
        """
        self._check()
        return self.inner.detect_batch(images)

    def _check(self) -> None:
        if self._revoked:
            raise DefenceError("this defence was switched off")


class Guard:
    """A pipeline around a detector, ready to be asked. cost_ms: what the last image's defence cost beyond one pass."""

    def __init__(self, pipeline: Pipeline, detector: Detector) -> None:
        self.pipeline = pipeline
        self._detector = detector
        self._gate = Revocable(detector)
        try:
            self._guarded = pipeline.guard(self._gate)
        except DefenceError:
            raise
        except Exception as error:
            raise DefenceError(f"{pipeline}: cannot be set up: {type(error).__name__}: {error}") from error

    @property
    def cost_ms(self) -> float:
        """Return the milliseconds that the last answer took beyond one plain pass."""
        return self._guarded.cost_ms

    @property
    def claims(self) -> tuple[str, ...]:
        """Return what the defences say is proven at this moment, the outermost first; certifying ones alone do."""
        out, level = [], self._guarded
        while isinstance(level, Guarded):
            out.extend([level.claim] if level.claim else [])
            level = level.inner
        return tuple(out)

    def reset(self) -> None:
        """Forget everything that came from earlier images."""
        self._guarded.reset()

    def detect(self, frame: Frame) -> Detections:
        """Return the defended answer."""
        return self._guarded.detect(frame)

    def revoke(self) -> None:
        """Cut the defence off from the detector."""
        self._gate.revoke()

    def culprits(self, frame: Frame) -> dict[str, str]:
        """Return which defences fail on `frame` when they run alone, with the reason; all of them if none does."""
        out = {}
        for defence in self.pipeline.defences:
            try:
                Pipeline((defence,)).guard(self._detector).detect(frame)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is what we look for
                out[defence.name] = f"{type(error).__name__}: {error}"
        return out or {d.name: "fails in this combination" for d in self.pipeline.defences}
