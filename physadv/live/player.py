"""A recording played: at its own speed or another, paused, frame by frame, from any moment on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from physadv.detect.base import BareDetector
from physadv.errors import EndOfStream, RecordingError
from physadv.types import Detections, Frame, UInt8Array

if TYPE_CHECKING:
    from physadv.live.session import Recorded, Session

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
# Between a frame's reading and its showing lie one slot and one loop: few frames.
REMEMBERED = 64
# Between the last frame of a round, or before a jump, and the next one: presentation times never step back.
STEP_S = 1 / 30


class ReplaySource(BareDetector):
    """A recording played at its own speed: a `Source`, and for the frames it has just given, their `Detector`.

    `play` steers it from any thread. backend, precision, min_conf: a detector's description, here that nothing is detected
    anew.
    """

    live = True
    backend = "recorded"
    precision = ""
    min_conf = 0.0

    def __init__(self, session: Session, *, loop: int = 1, hold: bool = False) -> None:
        """loop: how often it plays; 0 for ever. hold: wait at the end for a jump, rather than raise EndOfStream."""
        self.session = session
        self.name = f"recording {session.video.name}"
        self._loop, self._hold = loop, hold
        self._index = session.index()
        self._condition = threading.Condition()
        self._items = self._index.frames(0)
        self._pending: Recorded | None = None
        self._shown: Recorded | None = None
        # The frame that was shown last, or that was asked for since.
        self._aim = 0
        self._jump: int | None = None
        self._at_once = self._paused = self._ended = self._closed = False
        self._speed = 1.0
        # A moment of the clock and the second of the recording that belongs to it; None before a frame is shown at once.
        self._began: tuple[float, float] | None = None
        self._rounds = self._given = 0
        self._shift_s: float | None = 0.0
        self._last_s = 0.0
        self._recent: deque[tuple[Frame, Recorded]] = deque(maxlen=REMEMBERED)

    def read(self) -> Frame:
        """Return the next frame when it is due; while paused, the one that is asked for.

        Raises: EndOfStream after the last round or `close`. RecordingError or SourceError if a file is damaged.
        """
        while (item := self._due()) is None:
            pass
        if self._shift_s is None:
            self._shift_s = self._last_s + STEP_S - item.frame.pts_s
        self._last_s = item.frame.pts_s + self._shift_s
        frame = replace(item.frame, index=self._given, captured_ns=time.monotonic_ns(), pts_s=self._last_s)
        self._given += 1
        self._recent.append((frame, item))
        return frame

    def close(self) -> None:
        """End at once. Safe to call twice and from another thread."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    # Steering

    def play(
        self,
        *,
        pause: bool | None = None,
        seek_s: float | None = None,
        step: int | None = None,
        speed: float | None = None,
    ) -> None:
        """Pause or go on, go to a second, a number of frames on or back (which pauses), or change the speed."""
        with self._condition:
            if speed is not None:
                self._speed = speed
            if pause is not None:
                self._paused = pause
            if step is not None:
                self._paused = True
            if seek_s is not None:
                self._aim = self._jump = self._index.at(seek_s)
            elif step is not None and len(self._index):
                self._aim = self._jump = min(max(self._aim + step, 0), len(self._index) - 1)
            self._began = None
            self._condition.notify_all()

    def state(self) -> dict[str, Any]:
        """Return where it is, as plain values: seconds, whether it is paused or has ended, speed, how it was recorded."""
        with self._condition:
            seconds, shown = self._index.seconds, self._shown
            line = shown.line if shown is not None else {}
            return {
                "position_s": seconds[self._aim] if seconds else 0.0,
                "duration_s": seconds[-1] if seconds else 0.0,
                "paused": self._paused,
                "ended": self._ended,
                "speed": self._speed,
                "speeds": list(SPEEDS),
                "annotated": self.session.annotated,
                "recorded": {
                    "worn": worn_in(line),
                    "wear_size": line.get("worn_cm"),
                    "defend": ",".join(line.get("defences") or []),
                },
            }

    @property
    def still(self) -> bool:
        """Return whether no frame is due by itself: paused, or at the end."""
        return self._paused or self._ended

    # What was seen

    def recorded(self, frame: Frame) -> Recorded:
        """Return what the recording holds for a frame that `read` gave lately.

        Raises: RecordingError for any other frame.
        """
        for given, item in reversed(self._recent):
            if (given.index, given.captured_ns) == (frame.index, frame.captured_ns):
                return item
        raise RecordingError(f"{self.name}: image {frame.index} is not one that was just played")

    def detect(self, frame: Frame) -> Detections:
        """Return what was seen in a frame that `read` gave lately, boxes in its pixels."""
        return self.recorded(frame).detections

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Raise: a recording knows what was seen in its own frames only.

        Raises: RecordingError.
        """
        raise RecordingError(f"{self.name}: a recording cannot look at {len(images)} other images")

    # Its own thread's

    def _due(self) -> Recorded | None:
        """Return the next frame if it is due; None after waiting for that, or for `play`."""
        with self._condition:
            if self._closed:
                raise EndOfStream(f"{self.name} was closed")
            jump, self._jump = self._jump, None
        if jump is not None:
            self._go(jump)
        if self._pending is None and not self._ended:
            self._pending = self._following()
        with self._condition:
            if self._interrupted():
                return None
            if self._pending is None or (self._paused and not self._at_once):
                self._condition.wait()
                return None
            wait_s = 0.0 if self._at_once else self._wait_s(self._pending.frame.pts_s)
            if wait_s > 0:
                self._condition.wait(wait_s)
                return None
            return self._taken(self._pending)

    def _interrupted(self) -> bool:
        return self._closed or self._jump is not None

    def _wait_s(self, second: float) -> float:
        if self._began is None:
            return 0.0
        moment, from_s = self._began
        return moment + (second - from_s) / self._speed - time.monotonic()

    def _taken(self, item: Recorded) -> Recorded:
        self._pending, self._shown, self._at_once = None, item, False
        self._aim = item.number
        if self._began is None:
            self._began = (time.monotonic(), item.frame.pts_s)
        return item

    def _go(self, number: int) -> None:
        """Make frame `number` the next, to be shown at once; the one that comes next anyway needs no new search."""
        self._at_once = True
        if self._pending is None or self._pending.number != number:
            self._items, self._pending, self._ended = self._index.frames(number), None, False
            self._shift_s, self._began = None, None

    def _following(self) -> Recorded | None:
        """Return the frame that comes next, of the next round if need be; None at the end if that is to be held.

        Raises: EndOfStream at the end, or where there is no frame at all.
        """
        item = next(self._items, None)
        if item is not None:
            return item
        self._rounds += 1
        if not self._loop or self._rounds < self._loop:
            self._items, self._shift_s, self._began = self._index.frames(0), None, None
            item = next(self._items, None)
        if item is None and (not self._hold or not self._given):
            raise EndOfStream(f"{self.name}: that was the end of the recording")
        self._ended = item is None
        return item


def worn_in(line: dict[str, Any]) -> str:
    """Return the name of the pattern that was worn in a line of a sidecar; "" for none."""
    worn = line.get("worn")
    return str(worn.get("name", "")) if isinstance(worn, dict) else worn or ""
