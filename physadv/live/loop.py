"""The loop: take the newest frame, process it, hand the result to the sinks; slow work runs beside it on other threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from physadv.capture.latest import Latest, SourceState
from physadv.errors import EndOfStream, PhysadvError, RecordingError, SourceError
from physadv.live.feed import Feed
from physadv.live.notices import Notices
from physadv.live.shared import SharedState
from physadv.live.shown import Shown
from physadv.types import Frame

T = TypeVar("T")
TICK_S = 0.1
# Frames of a file that are prepared before the one that is processed: two are looked at at a time. Of a camera none, since
# the newest is to be shown.
AHEAD = 1


class Processor(Protocol):
    """What makes of a frame what is shown: pattern, detector and defences, or what a recording holds."""

    def update(self) -> object:
        """Take over what the controls ask for; called before a frame is taken."""
        ...

    def prepare(self, frame: Frame, *, side_by_side: bool) -> Frame:
        """Return a frame as `process` takes it, and begin what can be done before its turn comes.

        side_by_side: whether the next frame is prepared before this one is processed.
        """
        ...

    def process(self, frame: Frame, number: int) -> Shown | None:
        """Return the result for the `number`th frame shown; None where a defence was switched off over it.

        frame: prepared. Frames come in the order in which they were prepared.
        """
        ...

    def new_scene(self) -> None:
        """Forget what came from earlier frames before the next one: it is from elsewhere."""
        ...

    def state(self, shown: Shown | None) -> dict[str, Any]:
        """Return detector, beside, trigger, defence_ms, defence_costs, framing, recommended, wear_notice and warm_start.

        All plain values. shown: the result shown last.
        """
        ...

    def record(self) -> dict[str, Any]:
        """Return camera, detectors, trigger and worn pattern, for a recording's session."""
        ...

    def close(self) -> None:
        """End its threads. Safe to call twice."""
        ...


class BackgroundTasks:
    """Slow work on threads of its own: opening a source, loading a detector. The loop adopts the results between frames.

    Of several requests of one kind the newest wins. busy: what is being done at this moment, by kind, in words for the
    screen. A failure is a notice.
    """

    def __init__(self, notices: Notices) -> None:
        self.busy: dict[str, str] = {}
        self._notices = notices
        self._lock = threading.Lock()
        self._done: dict[str, tuple[Any, Callable[[Any], None], Callable[[Any], None]]] = {}
        self._newest: dict[str, object] = {}

    def run(
        self,
        kind: str,
        what: str,
        work: Callable[[Callable[[str], None]], T],
        *,
        adopt: Callable[[T], None],
        discard: Callable[[T], None] = lambda _: None,
    ) -> None:
        """Begin some work.

        work: called with what takes a line about how far it is. adopt: called with its result on the loop's thread.
        discard: called with a result that a newer request has made useless.
        """
        token = object()
        with self._lock:
            self.busy[kind] = what
            self._newest[kind] = token

        def run() -> None:
            try:
                value = work(lambda text: self.busy.__setitem__(kind, text))
                with self._lock:
                    current = self._newest.get(kind) is token
                if current:
                    self.post(kind, value, adopt=adopt, discard=discard)
                else:
                    discard(value)
            except PhysadvError as error:
                self._notices.add("error", kind, error.marked)
            except Exception as error:  # noqa: BLE001 -- a thread's error would be lost otherwise
                self._notices.add("error", kind, f"{type(error).__name__}: {error}")
            finally:
                with self._lock:
                    if self._newest.get(kind) is token:
                        self.busy.pop(kind, None)

        threading.Thread(target=run, name=f"switch {kind}", daemon=True).start()

    def post(
        self, kind: str, value: T, *, adopt: Callable[[T], None], discard: Callable[[T], None] = lambda _: None
    ) -> None:
        """Put down a result that is there already."""
        with self._lock:
            unread = self._done.pop(kind, None)
            self._done[kind] = (value, adopt, discard)
        if unread is not None:
            unread[2](unread[0])

    def adopt(self) -> None:
        """Adopt what has been done since the last time. For the loop's thread."""
        with self._lock:
            done, self._done = self._done, {}
        for value, adopt, _ in done.values():
            adopt(value)

    def pending(self, kind: str) -> Any:
        """Return a result that was not adopted yet, or None."""
        with self._lock:
            done = self._done.get(kind)
        return None if done is None else done[0]


class Loop:
    """Reads, processes and hands on frames, the newest first, on one thread, until it is stopped.

    The sinks are the listeners (the page, the window) and the running recording. latest: the result shown last. error:
    what ended the loop, or None. ended: why the source gives no more frames, or "".
    """

    def __init__(self, feed: Feed, processor: Processor, shared: SharedState) -> None:
        self.feed = feed
        self.tasks = BackgroundTasks(shared.notices)
        self.latest: Shown | None = None
        self.error: BaseException | None = None
        self.ended = ""
        self.stopping = threading.Event()
        self._processor, self._settings = processor, shared.settings
        self._headless = shared.settings.ui == "none"
        self._figures, self._notices, self._recordings = shared.figures, shared.notices, shared.recordings
        self._prepared: deque[Frame] = deque()
        self._dropped_before = 0
        self._listeners = shared.listeners
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether the loop has ended within `timeout` seconds, or was never started."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        """Return whether the thread is at work."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the loop after its present frame, and close what is open. Safe to call twice."""
        self.stopping.set()
        if self._thread.ident is None:
            self._close()
        elif self._thread is not threading.current_thread():
            self._thread.join(timeout=20)

    @property
    def dropped(self) -> int:
        """Return how many frames of live sources were replaced by newer ones before the loop took them."""
        return self._dropped_before + self.feed.dropped

    def change_feed(self, feed: Feed) -> None:
        """Read from another source from the next frame on. For the loop's thread."""
        self._dropped_before = self.dropped
        old, self.feed, self.ended = self.feed, feed, ""
        self._prepared.clear()
        # A camera that hangs in a read takes seconds to close.
        threading.Thread(target=old.close, name="close source", daemon=True).start()
        self._processor.new_scene()
        self._figures.clear_recent()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # noqa: BLE001 -- kept for the caller of `wait`; a thread cannot raise
            self.error = error
        finally:
            self._close()

    def _loop(self) -> None:
        began = time.monotonic()
        while not self.stopping.is_set() and not self._over(began):
            self.tasks.adopt()
            self._processor.update()
            frame = self._next()
            if frame is None:
                continue
            if self._figures.frames == 0:
                # `seconds` counts from the first frame: a camera may take long to wake.
                began = time.monotonic()
            shown = self._processor.process(frame, self._figures.frames)
            if shown is not None:
                if not self._over(began, coming=1):
                    self._begin_newest()
                self._hand_on(shown)

    def _over(self, began: float, coming: int = 0) -> bool:
        """Return whether the limits of the settings are reached. coming: frames that are to be shown yet."""
        want = self._settings
        if want.frames is not None and self._figures.frames + coming >= want.frames:
            return True
        return want.seconds is not None and time.monotonic() - began >= want.seconds

    def _next(self) -> Frame | None:
        """Return the next frame, prepared, or None if none came within a tick; a file's next ones are begun before.

        Raises: as `_take`.
        """
        side_by_side = not self.feed.source.live
        while len(self._prepared) <= AHEAD * side_by_side:
            frame = self._take()
            if frame is None:
                break
            self._prepared.append(self._processor.prepare(frame, side_by_side=side_by_side))
        return self._prepared.popleft() if self._prepared else None

    def _begin_newest(self) -> None:
        """Prepare a camera's newest frame if it is there already: it is looked at while the one before is handed on."""
        if self.feed.source.live and not self.ended:
            # An error is raised again when the frame before has been handed on.
            with suppress(EndOfStream, SourceError):
                frame = self.feed.take(0)
                if frame is not None:
                    self._prepared.append(self._processor.prepare(frame, side_by_side=False))

    def _take(self) -> Frame | None:
        """Return the next frame, or None if none came within a tick.

        Raises: SourceError if the source failed, or never answered, and there is no viewer to choose another.
        """
        if self.ended:
            self.stopping.wait(TICK_S)
            return None
        try:
            frame = self.feed.take(TICK_S)
            # Without a viewer no other source can be chosen.
            if frame is None and self._headless and isinstance(self.feed, Latest):
                self.feed.check_answers()
            return frame
        except (EndOfStream, SourceError) as error:
            # What came before the end is shown first; then the feed says it again.
            if not self._prepared:
                self._end(error)
            return None

    def _end(self, error: EndOfStream | SourceError) -> None:
        """Take note that the source gives no more frames.

        Raises: SourceError if it failed and there is no viewer to choose another.
        """
        self.ended = error.text
        if isinstance(error, EndOfStream):
            if self._headless:
                self.stopping.set()
            return
        if self._headless:
            raise error
        self._notices.add("error", "source", error.marked)

    def _hand_on(self, shown: Shown) -> None:
        self.latest = shown
        self._listeners.hand_on(shown)
        try:
            # A file waits for the encoder, so that every frame is recorded; a camera does not.
            self._recordings.write(shown, wait=not self.feed.source.live)
        except RecordingError as error:
            self._notices.add("error", "recording", error.marked)
        self._figures.add(shown, time.monotonic_ns())

    def _close(self) -> None:
        try:
            self._recordings.stop()
        except RecordingError as error:
            self._notices.add("error", "recording", error.marked)
            if not self._recordings.failed:
                self.error = self.error or error
        self.feed.close()
        self._processor.close()

    def source_state(self) -> tuple[SourceState, str]:
        """Return where the source stands and one sentence about it."""
        if self.ended:
            return SourceState.ENDED, self.ended
        state, detail = self.feed.status()
        # A file that is read to its end has frames that are still to be shown.
        return (SourceState.LIVE, self.feed.name) if state is SourceState.ENDED else (state, detail)
