"""A recording shown again: played at any speed, paused, frame by frame, each frame with what was found in it then."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any

from physadv.capture.cuts import Cuts
from physadv.capture.latest import SourceState
from physadv.errors import EndOfStream, RecordingError, SettingsError
from physadv.live.demo import Demo
from physadv.live.feed import feed_of
from physadv.live.library import PatchLibrary
from physadv.live.loop import Loop
from physadv.live.print_pose import ConditionNow, PrintPose
from physadv.live.session import Recorded, Session
from physadv.live.settings import Controls, LiveSettings
from physadv.live.shared import SharedState
from physadv.live.shown import Shown, detector_line
from physadv.live.wearers import reported
from physadv.patch import REPLACED, replacement
from physadv.types import Frame

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
# Between a frame's reading and its showing lie one slot and one loop: few frames.
REMEMBERED = 64
# Between the last frame of a round, or before a jump, and the next one: presentation times never step back.
STEP_S = 1 / 30
# The lowest threshold that can be drawn, and the one where a recording does not say its own.
LOWEST = 0.05


class ReplaySource:
    """A recording played at its own speed: a `Source` that knows what was found in the frames it has just given.

    `play` steers it from any thread.
    """

    live = True

    def __init__(self, session: Session, *, loop: int = 1, hold: bool = False, paused: bool = False) -> None:
        """loop: how often it plays; 0 for ever. hold: wait at the end for a jump, rather than raise EndOfStream.

        paused: give no frame before `play`.
        """
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
        self._at_once = self._ended = self._closed = False
        self._paused = paused
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
                    "wear_angle": line.get("worn_angle"),
                    "wear_fold": line.get("worn_fold"),
                    "wear_lit": line.get("worn_lit"),
                    "defend": ",".join(line.get("defences") or []),
                },
            }

    @property
    def still(self) -> bool:
        """Return whether no frame is due by itself: paused, or at the end."""
        return self._paused or self._ended

    def recorded(self, frame: Frame) -> Recorded:
        """Return what the recording holds for a frame that `read` gave lately.

        Raises: RecordingError for any other frame.
        """
        for given, item in reversed(self._recent):
            if (given.index, given.captured_ns) == (frame.index, frame.captured_ns):
                return item
        raise RecordingError(f"{self.name}: frame {frame.index} is not one that was just played")

    # On the thread that reads

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
    """Return the name of the pattern that is worn in a line of a sidecar; "" for none."""
    worn = line.get("worn")
    return str(worn.get("name", "")) if isinstance(worn, dict) else worn or ""


def pose_in(line: dict[str, Any], key: str) -> PrintPose | None:
    """Return how a print lay in a line of a sidecar; None where it does not say."""
    said = line.get(key)
    if said is None:
        return None
    corners = tuple((x, y) for x, y in said.get("corners") or ())
    return PrintPose(said["name"], said["tilt"], said["fold"], said["distance"], said["sure"], corners)


def condition_in(line: dict[str, Any]) -> ConditionNow | None:
    """Return where a pattern's condition stood in a line of a sidecar; None where it does not say."""
    said = line.get("condition")
    return None if said is None else ConditionNow(said["side"], said["text"], said["when"])


class RecordedProcessor:
    """Takes what a recording holds for each frame in place of a detector's answer. See `loop.Processor`."""

    def __init__(self, player: ReplaySource, shared: SharedState) -> None:
        self._player, self._shared = player, shared
        self._cuts = Cuts()
        self._elsewhere = True
        self._before = -1
        self._worn = ""

    def update(self) -> None:
        """Take over nothing: the controls of a recording concern how it is drawn alone."""

    def new_scene(self) -> None:
        """Call the next frame the first of another scene."""
        self._elsewhere = True

    def close(self) -> None:
        """End nothing: it has no threads."""

    def prepare(self, frame: Frame, *, side_by_side: bool) -> Frame:  # noqa: ARG002 -- as `loop.Processor` has it
        """Return the frame as it is: nothing is detected."""
        return frame

    def process(self, frame: Frame, number: int) -> Shown:
        """Return what was shown of the frame when it was recorded, people above the present threshold.

        Raises: RecordingError for a frame that the player has not just given.
        """
        item = self._player.recorded(frame)
        if item.number <= self._before:
            # Another round, or a step back: the notices of later frames are not true yet.
            self._shared.notices.clear()
            self._worn = ""
        self._before = item.number
        worn = worn_in(item.line)
        if worn in REPLACED and worn != self._worn:
            self._shared.notices.add("info", "pattern", replacement(worn))
        self._worn = worn
        cut, self._elsewhere = self._elsewhere or self._cuts.step(frame.pixels) == "cut", False
        controls, found, bare = self._shared.panel.now, item.detections, item.bare
        self._shared.notices.alerts(found.alerts)
        recorded_conf = item.line.get("conf") or 0.0
        conf = max(controls.conf, recorded_conf)
        # The states are of the recorded threshold: with a higher one now the boxes would say otherwise.
        same = conf == recorded_conf
        return Shown(
            number=number,
            frame=frame,
            clean=frame,
            people=reported(found, conf),
            bare=None if bare is None else reported(bare, conf),
            top=float(found.score.max(initial=0.0)),
            bare_top=None if bare is None else float(bare.score.max(initial=0.0)),
            # The threshold that is drawn is the one that the boxes are of.
            controls=controls.model_copy(update={"conf": conf}),
            defences=tuple(item.line.get("defences") or ()),
            worn=worn,
            worn_cm=item.line.get("worn_cm"),
            worn_angle=item.line.get("worn_angle"),
            worn_fold=item.line.get("worn_fold"),
            worn_lit=item.line.get("worn_lit"),
            turned=item.line.get("turned") or 0.0,
            farther=item.line.get("farther") or 1.0,
            worn_pose=pose_in(item.line, "worn_pose"),
            print_found=pose_in(item.line, "print_found"),
            condition=condition_in(item.line),
            detector=item.line.get("detector") or "",
            cut=cut,
            wearers=item.wearers if same else None,
            bare_wearers=item.bare_wearers if same else None,
            beside=tuple(
                replace(
                    other,
                    people=reported(other.people, conf),
                    top=float(other.people.score.max(initial=0.0)),
                    wearers=other.wearers if same else None,
                )
                for other in item.beside
            ),
            lines=(detector_line(self._player.name, "recorded", "", conf),),
            drawn=self._player.session.annotated,
        )

    def state(self, shown: Shown | None) -> dict[str, Any]:  # noqa: ARG002 -- as `loop.Processor` has it
        """Return the recording in place of a detector; nothing is recommended or offered."""
        return {
            "detector": self._detector(),
            "beside": [],
            "trigger": self._trigger(),
            "defence_ms": None,
            "defence_costs": {},
            "framing": "",
            "recommended": None,
            "wear_notice": "",
            # People hidden in a recording stay hidden.
            "warm_start": {"offer": False, "running": False, "text": ""},
        }

    def record(self) -> dict[str, Any]:
        """Return that frames and boxes are a recording's."""
        return {
            "camera": None,
            "detector": {**self._detector(), "sha256": None},
            "beside": [],
            "trigger": self._trigger(),
            "worn": None,
        }

    def _trigger(self) -> dict[str, Any] | None:
        """Return the trigger that the recorded detector waited for, None if its session does not say."""
        began: Any = self._player.session.info.get("session")
        trigger = began.get("trigger") if isinstance(began, dict) else None
        if not isinstance(trigger, dict) or not isinstance(trigger.get("angle"), int | float):
            return None
        return {"name": str(trigger.get("name")), "kind": str(trigger.get("kind")), "angle": trigger["angle"]}

    def _detector(self) -> dict[str, Any]:
        want = self._shared.settings
        name = self._player.name
        return {
            "name": name,
            "spec": want.detector,
            "about": "",
            "backend": "recorded",
            "precision": "",
            "imgsz": want.imgsz,
        }


class Replay(Demo):
    """The demo with a recording in place of camera and detector."""

    recorded = True

    def __init__(self, session: Session, *, loop: int) -> None:
        self.player = ReplaySource(session, loop=loop, hold=True, paused=True)
        settings = LiveSettings(source=str(session.paths.first), conf=_recorded_conf(session))
        shared = SharedState.of(settings, Controls(conf=settings.conf), PatchLibrary([]))
        processor = RecordedProcessor(self.player, shared)
        super().__init__(Loop(feed_of(self.player), processor, shared), processor, shared, source_spec=self.player.name)

    def start(self) -> None:
        """Begin to play."""
        self.player.play(pause=False)
        super().start()

    @property
    def over(self) -> bool:
        """Return whether it has been played as often as was asked for."""
        return bool(self.player.state()["ended"])

    def play(self, **changes: Any) -> dict[str, Any]:
        """Pause, go on, jump, step, or play at another speed, as `ReplaySource.play` does; return where it is then."""
        if changes.get("seek_s") is not None:
            # What is drawn of another moment is forgotten.
            self._processor.new_scene()
        self.player.play(**changes)
        return self.player.state()

    def state(self) -> dict[str, Any]:
        """Return the demo's state, and in `replay` where the recording is; one that is paused is no lost source."""
        state = {**super().state(), "replay": self.player.state()}
        if self.player.still and state["source"]["state"] == SourceState.STALE:
            state["source"] |= {"state": str(SourceState.LIVE), "detail": f"{self.player.name} stands still"}
        return state

    def control(self, /, **changes: Any) -> Controls:
        """Return the controls after the change.

        Raises: SettingsError for a pattern or a defence: they were not there when the people were found.
        """
        for name in ("wear", "defend"):
            if changes.get(name):
                raise SettingsError(
                    "a recording shows what was found then", field=name, hint="use `physadv live --source FILE`"
                )
        return super().control(**changes)


def _recorded_conf(session: Session) -> float:
    """Return the threshold that a recording began with, or the lowest there is where it does not say."""
    began: Any = session.info.get("session")
    controls = began.get("controls") if isinstance(began, dict) else None
    conf = controls.get("conf") if isinstance(controls, dict) else None
    return float(conf) if isinstance(conf, int | float) and LOWEST <= conf <= 1 else LOWEST
