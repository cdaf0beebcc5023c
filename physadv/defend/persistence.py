"""Persistence: people do not cease to exist. They are kept once seen, and missed when they vanish or suddenly fade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from physadv.boxes import area, corners, covered_by, intersection
from physadv.defend.base import Defence, Guarded, Watching
from physadv.defend.tracks import Track, assign
from physadv.errors import DefenceError
from physadv.types import Alert, BoolArray, Detections, Detector, Float32Array, Frame, GradientDetector, UInt8Array

# A longer jump of the source's clock means another scene or source: everybody is forgotten.
JUMP_S = 3.0
# Shown in the first moments, and for as long as nobody was ever seen.
UNKNOWN = Alert(
    "notice",
    "Persistence can only report people it has already seen. It does not know people who wore the pattern from the first "
    "frame.",
)
WARM_UP_S = 2.0
# Only people with this usual score can fade: weaker scores come and go without a pattern.
WELL_SEEN = 0.8
# Frames with a sure detection that make a track worth keeping.
PROVEN_HITS = 3
# Overlap from which a detection continues a track. It is low because the box of a person who wears a pattern often shrinks
# to the upper body.
SAME = 0.3
# Share of a track's box that others cover from which the person counts as hidden behind them: for a coasting track, and for
# an alarm.
HIDDEN, HALF_HIDDEN = 0.6, 0.3


class Persistence(Defence):
    """Tracks with hysteresis: born at one score, kept at a lower one, carried on by motion, missed when they vanish.

    Every detection passes. Tracked people with a score below `birth` are `held`, so that no threshold of the caller up to
    `birth` loses them.

    `usual`, `steady`, `lasting` and `remember` decide how often an alarm is false. They were chosen on 795 clean frames
    of a street camera: with a median of .5, no steadiness and alarms of 8 s, alarms stood in 382 frames; with a median
    of .65 and steadiness one was left, of 43 frames; with these none. People of 50 pixels are found in one frame of
    eight and do seem to vanish (docs/defences.md).
    """

    name = "persistence"
    title = "people seen before are kept, and missed when they vanish"
    cost = "no more passes; under 1 ms a frame"
    paper = "hysteresis thresholds (Canny 1986) over tracks of low-score boxes (Zhang et al., 'ByteTrack', 2022)"
    order: ClassVar[int] = 5
    over_time: ClassVar[bool] = True
    birth: float = Field(default=0.5, gt=0, le=1, description="score from which somebody counts as seen")
    keep: float = Field(default=0.1, gt=0, le=1, description="score down to which somebody seen before is kept")
    sure: float = Field(default=0.25, gt=0, le=1, description="score below which somebody seen before is going missing")
    coast: float = Field(default=1.5, ge=0, le=30, description="seconds that somebody is carried on without any box")
    alarm: float = Field(default=0.4, ge=0.05, le=10, description="seconds somebody must be missing before the alarm")
    lasting: float = Field(
        default=1.0, ge=0, le=30, description="seconds somebody must have been followed to be missed"
    )
    usual: float = Field(default=0.75, ge=0, le=1, description="median score somebody must have had to be missed")
    steady: float = Field(
        default=0.8, ge=0, le=1, description="share of frames in which somebody must have been seen to be missed"
    )
    faded: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="share of the usual score below which somebody well seen has faded; 0: never",
    )
    edge: float = Field(default=0.04, ge=0, le=0.5, description="share of the image at its rim where people may leave")
    remember: float = Field(
        default=4.0, ge=0, le=120, description="seconds an alarm stands unless the person comes back"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Persistence:
        if not self.keep <= self.sure <= self.birth:
            raise ValueError(f"expected keep <= sure <= birth, got {self.keep}, {self.sure}, {self.birth}")
        return self

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that remembers people.

        Raises: DefenceError if the detector does not return scores as low as `keep`.
        """
        if detector.min_conf > self.keep:
            raise DefenceError(
                f"persistence: keep: expected at least the detector's min_conf {detector.min_conf}, got {self.keep}"
            )
        return PersistenceGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the detector itself: attacks train on single images, where memory does nothing."""
        return detector


class PersistenceGuard(Watching[Persistence]):
    """The detector with a memory. `detect` takes the frames of one source in order; `detect_batch` has no memory."""

    def __init__(self, defence: Persistence, inner: Detector) -> None:
        super().__init__(defence, inner)
        self._clear()

    def reset(self) -> None:
        """Forget everybody."""
        super().reset()
        self._clear()

    def _clear(self) -> None:
        self._tracks: list[Track] = []
        self._next = 1
        self._start: float | None = None
        self._last_pts = 0.0
        self._last_index = -1
        self._now = 0.0
        self._anybody = False

    def ahead(self, frame: Frame) -> Frame | None:
        """Return what the inner guard will ask about the frame."""
        return self.inner.ahead(frame) if isinstance(self.inner, Guarded) else None

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the detector's own answers: images in a batch are no sequence."""
        return self.ask_batch(images)

    def respond(self, frame: Frame) -> Detections:
        """Return everybody found, everybody kept, and alerts about everybody missed."""
        found = self.ask(frame)
        now = self._clock(frame)
        identity = self._follow(found, now)
        held = np.zeros(len(found), bool) if found.held is None else found.held.copy()
        for n, track in enumerate(self._by_identity(identity)):
            # From `birth` on no memory is needed, and a page that calls everybody held shows nothing.
            weak = self.defence.keep <= found.score[n] < self.defence.birth
            held[n] |= track is not None and self._proven(track) and weak
        coasting = [
            t for t in self._tracks if t.seen_s < now and self._proven(t) and now - t.seen_s <= self.defence.coast
        ]
        coasting = [t for t in coasting if _inside(t.at(now), frame.size) and not self._covered(t, found, held, now)]
        out = replace(found, held=held, track=np.array(identity, np.int64))
        if coasting:
            boxes, tracks = np.stack([t.at(now) for t in coasting]), np.array([t.identity for t in coasting], np.int64)
            points = np.stack([t.points_at(now) for t in coasting])
            # Score 0: nothing is seen of them now, and only `held` reports them.
            out, _ = out.with_held(boxes, np.zeros(len(coasting), np.float32), points, tracks)
        return replace(out, alerts=(*out.alerts, *self._alerts(found, frame.size, now)))

    def _clock(self, frame: Frame) -> float:
        """Return the seconds watched so far; all is forgotten when the source's clock jumps or runs back."""
        if self._start is None:
            self._start = frame.pts_s
        else:
            step = frame.pts_s - self._last_pts
            # Images in a folder have no clock: they count as 30 a second.
            if step == 0:
                step = (frame.index - self._last_index) / 30
            if frame.index <= self._last_index or not 0 <= step <= JUMP_S:
                self._clear()
                self._start = frame.pts_s
                step = 0.0
            self._now += step
        self._last_pts, self._last_index = frame.pts_s, frame.index
        return self._now

    def _follow(self, found: Detections, now: float) -> list[int]:
        """Return the identity of each detection, or -1, after matching, births and departures."""
        d = self.defence
        usable = np.flatnonzero(found.score >= d.keep)
        some = found.pick(usable)
        identity = [-1] * len(found)
        taken = set()
        for track in self._tracks:
            track.frames += 1
        for row, column in assign(self._tracks, some, now, overlap=SAME):
            self._tracks[row].match(some, column, now, d.sure, d.faded, d.remember)
            identity[int(usable[column])] = self._tracks[row].identity
            taken.add(column)
        for column in range(len(some)):
            if column in taken or some.score[column] < d.birth:
                continue
            points = None if some.keypoints is None else some.keypoints[column]
            track = Track(self._next, some.xyxy[column], float(some.score[column]), now, now, now, points)
            track.history.append(track.score)
            self._tracks.append(track)
            identity[int(usable[column])] = self._next
            self._next += 1
            self._anybody = True
        self._tracks = [
            t for t in self._tracks if now - t.seen_s <= d.coast or (t.alert and now - t.sure_s <= d.remember)
        ]
        return identity

    def _by_identity(self, identity: list[int]) -> list[Track | None]:
        known = {t.identity: t for t in self._tracks}
        return [known.get(i) for i in identity]

    def _proven(self, track: Track) -> bool:
        """Return whether somebody was seen often enough to be remembered."""
        return track.hits >= PROVEN_HITS

    def _covered(self, track: Track, found: Detections, held: BoolArray, now: float) -> bool:
        """Return whether a track is hidden behind somebody else."""
        others = found.xyxy[(found.score >= self.defence.sure) | held]
        return bool(covered_by(track.at(now)[None], others)[0] > HIDDEN)

    def _alerts(self, found: Detections, size: tuple[int, int], now: float) -> list[Alert]:
        d = self.defence
        out = [UNKNOWN] if not self._anybody or now < WARM_UP_S else []
        sure = found.xyxy[found.score >= d.sure]
        for track in self._tracks:
            missing = now - track.sure_s
            if track.alert is None and missing >= d.alarm and not track.hidden:
                if covered_by(track.at(now)[None], sure)[0] > HALF_HIDDEN or not self._must_be_here(track, size):
                    # Behind somebody, or out of the image: explained once and for all.
                    track.hidden = True
                elif self._missed(track):
                    track.alert = Alert("vanished", self._words(track, missing, size, now))
            if track.alert is not None and missing <= d.remember:
                out.append(replace(track.alert, xyxy=corners(track.at(now))))
            elif self._fades(track, sure, size, now):
                out.append(Alert("faded", self._fading(track, now), corners(track.at(now))))
        return out

    def _missed(self, track: Track) -> bool:
        """Return whether somebody was seen with such scores, for so long and so steadily that their absence is an alarm.

        People at the limit of what the detector finds come and go without a pattern.
        """
        d = self.defence
        long = track.sure_s - track.born_s >= d.lasting
        return self._proven(track) and long and track.usual >= d.usual and track.steady >= d.steady

    def _fades(self, track: Track, sure: Float32Array, size: tuple[int, int], now: float) -> bool:
        """Return whether a well-seen person's score has suddenly fallen, with nobody in front and not at the rim."""
        d = self.defence
        if now - track.well_s < d.alarm or not d.faded or track.seen_s != now:
            return False
        if (
            not track.faded
            and track.usual >= WELL_SEEN
            and self._proven(track)
            and track.well_s - track.born_s >= d.lasting
        ):
            # The person's own box, and boxes of their parts, do not count as somebody in front.
            box = track.xyxy[None]
            others = sure[intersection(box, sure)[0] < 0.7 * area(sure)]
            track.faded = bool(covered_by(box, others)[0] <= HALF_HIDDEN) and self._must_be_here(track, size)
        return track.faded

    def _fading(self, track: Track, now: float) -> str:
        return (
            f"person {track.identity} faded without leaving the image: usual confidence {track.usual:.2f}, now "
            f"{track.score:.2f}, for {now - track.well_s:.1f} s"
        )

    def _must_be_here(self, track: Track, size: tuple[int, int]) -> bool:
        """Return whether the last box was clear of the rim and not about to leave within the time of the alarm."""
        width, height = size
        soon = track.xyxy + track.velocity * self.defence.alarm
        rim_x, rim_y = self.defence.edge * width, self.defence.edge * height
        for x1, y1, x2, y2 in (track.xyxy.tolist(), soon.tolist()):
            # Somebody who fills the image touches its rim without leaving: then the centre decides.
            if x2 - x1 > 0.6 * width or y2 - y1 > 0.6 * height:
                inside = rim_x < (x1 + x2) / 2 < width - rim_x and rim_y < (y1 + y2) / 2 < height - rim_y
            else:
                inside = x1 > rim_x and x2 < width - rim_x and y1 > rim_y and y2 < height - rim_y
            if not inside:
                return False
        return True

    def _words(self, track: Track, missing: float, size: tuple[int, int], now: float) -> str:
        x1, y1, x2, y2 = track.xyxy.tolist()
        rim = max(min(x1, y1, size[0] - x2, size[1] - y2), 0)
        below = f"a candidate of {track.score:.2f} is left" if track.seen_s == now else "no candidate is left"
        return (
            f"person {track.identity} vanished without leaving the image: usual confidence {track.usual:.2f}, "
            f"missing for {missing:.1f} s, {rim:.0f} px from the rim, {below}"
        )


def _inside(box: Float32Array, size: tuple[int, int]) -> bool:
    """Return whether more than half of a coasting box is in the image."""
    return bool(covered_by(box[None], np.array([[0, 0, *size]], np.float32))[0] > 0.5)
