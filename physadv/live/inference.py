"""Detector and defences under watch: a defence that throws, or takes too long, is stopped and the demo goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter

from physadv.defend import Guarded, Pipeline
from physadv.defend.costs import TURN, Cost, measure_costs
from physadv.detect.base import WrappedDetector
from physadv.errors import DefenceError
from physadv.live.bare import CLOSING_S, BareAnswers, NoAnswer, Worker
from physadv.types import Detections, Detector, Frame, UInt8Array

# A busy moment of the machine is no fault of a defence: it goes after this many slow frames in a row, or when a single
# answer takes this many times the limit.
SLOW_IN_A_ROW = 3
NO_ANSWER = 3
# A defence may search one frame in three and follow what it found in the others: its cost is that of some in a row.
COST_OVER = 12
# Turns in which a defence is measured beside the bare detector, of which the first is not counted.
COST_TURNS = 4


class SwitchedOff(Exception):
    """Defences that failed, with the reason of each: caught by the loop, which goes on without them."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in reasons.items()))
        self.reasons = reasons


class RevocableDetector(WrappedDetector):
    """A detector that stops answering once it is revoked, so that a slow defence left behind ends at its next question.

    known: what returns the answer about a frame where there is one already, else None: a defence that looks at the bare
    frame beside its own view takes it from there. asked: the frames that were asked about, until somebody clears it.
    """

    def __init__(self, inner: Detector) -> None:
        super().__init__(inner)
        self.known: Callable[[Frame], Detections | None] = _nothing_known
        self.asked: set[Frame] = set()
        self._revoked = False

    def revoke(self) -> None:
        """Answer no more."""
        self._revoked = True

    def detect(self, frame: Frame) -> Detections:
        """Return the detector's answer.

        Raises: DefenceError after `revoke`.
        """
        self._check()
        self.asked.add(frame)
        found = self.known(frame)
        return self.inner.detect(frame) if found is None else found

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the detector's answers to several images.

        Raises: DefenceError after `revoke`.
        """
        self._check()
        return self.inner.detect_batch(images)

    def _check(self) -> None:
        if self._revoked:
            raise DefenceError("this defence was switched off")


def _nothing_known(_: Frame) -> None:
    return None


class DefendedDetector:
    """A pipeline of defences around a detector, that can be cut off from it.

    asks_bare, asks_views: whether the last answer took a look at the very frame, as it came, and at views of it.
    """

    def __init__(self, pipeline: Pipeline, detector: Detector) -> None:
        """Raises: DefenceError if the defences cannot work with this detector."""
        self.pipeline = pipeline
        self.asks_bare, self.asks_views = False, True
        self._detector = detector
        self._revocable = RevocableDetector(detector)
        try:
            self._guarded = pipeline.guard(self._revocable)
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
        """Forget everything that came from earlier frames."""
        self._guarded.reset()

    def detect(self, frame: Frame) -> Detections:
        """Return the defended answer."""
        self._revocable.asked.clear()
        out = self._guarded.detect(frame)
        asked = self._revocable.asked
        self.asks_bare, self.asks_views = frame in asked, bool(asked - {frame})
        asked.clear()
        return out

    def ahead(self, frame: Frame) -> Frame | None:
        """Return what the detector will be asked about a frame that comes soon, if the defences can say it before."""
        try:
            return self._guarded.ahead(frame) if isinstance(self._guarded, Guarded) else None
        except Exception:  # noqa: BLE001 -- it fails again when the frame is processed, and is switched off there
            return None

    def take_known(self, known: Callable[[Frame], Detections | None]) -> None:
        """Take the bare answer about a frame from there where it is known."""
        self._revocable.known = known

    def revoke(self) -> None:
        """Cut the defences off from the detector."""
        self._revocable.revoke()

    def culprits(self, frame: Frame) -> dict[str, str]:
        """Return which defences fail on `frame` when they run alone, with the reason; all of them if none does."""
        out = {}
        for defence in self.pipeline.defences:
            try:
                Pipeline((defence,)).guard(self._detector).detect(frame)
            except Exception as error:  # noqa: BLE001 -- any failure is what is looked for
                out[defence.name] = f"{type(error).__name__}: {error}"
        return out or {d.name: "fails in this combination" for d in self.pipeline.defences}


class Inference:
    """The detector and the defences as they stand, each answer bounded in time.

    limit_s: how long a defence may take for one frame, or None for as long as it likes (a file without viewers).
    others: detectors that look at the same frames, for panes of their own.
    side_by_side: whether the frames are a file's, of which two are looked at at a time; of a camera each answer is to come
    as soon as it can.
    """

    def __init__(self, detector: Detector, *, limit_s: float | None) -> None:
        self.detector = detector
        self.defended: DefendedDetector | None = None
        self._costs_ms: deque[float] = deque(maxlen=COST_OVER)
        self._slow = 0
        self._limit = limit_s
        self._worker = Worker()
        self._bare = BareAnswers(detector, self._worker)
        self.others: tuple[Detector, ...] = ()
        self._beside: tuple[BareAnswers, ...] = ()
        self._placing: BareAnswers | None = None
        self.side_by_side = False

    def stand_beside(self, detectors: Sequence[Detector], *, placing: int | None = None) -> None:
        """Ask other detectors about the same frames, from the next one on.

        placing: number of the one that finds who is to wear a pattern, None for the one that counts.
        """
        for answers in self._beside:
            answers.close()
        # On the same thread as the others: two pools on the same cores would slow each other down.
        self.others = tuple(detectors)
        self._beside = tuple(BareAnswers(detector, self._worker) for detector in detectors)
        self._placing = None if placing is None else self._beside[placing]

    def begin_beside(self, frame: Frame) -> None:
        """Begin the answers of the other detectors about a frame."""
        for answers in self._beside:
            answers.begin(frame, side_by_side=False)

    def beside(self, frame: Frame, stage_ms: dict[str, float]) -> list[Detections]:
        """Return what the other detectors find in a frame, not thresholded.

        stage_ms: gets how long each took, as `beside 1` and so on.
        """
        out = []
        for number, answers in enumerate(self._beside, 1):
            answer = answers.begin(frame, side_by_side=False).result()
            stage_ms[f"beside {number}"] = answer.took_ms
            out.append(answer.found)
        return out

    def use(self, detector: Detector, defended: DefendedDetector | None) -> None:
        """Change detector and defences from the next frame on."""
        if self.defended is not None:
            self.defended.revoke()
        if detector is not self.detector:
            self._bare.close()
            self._bare = BareAnswers(detector, self._worker)
        self.detector, self.defended = detector, defended
        if defended is not None:
            defended.take_known(self._bare.known)
        self._slow = 0
        self._costs_ms.clear()

    @property
    def defence_ms(self) -> float:
        """Return what the last defended answers took beyond one plain pass: their mean."""
        costs = list(self._costs_ms)
        return sum(costs) / len(costs) if costs else 0.0

    def reset(self) -> None:
        """Forget what came from earlier frames: another scene begins."""
        if self.defended is not None:
            self.defended.reset()

    def close(self) -> None:
        """Let the threads end. Safe to call twice."""
        for answers in (self._bare, *self._beside):
            answers.close()
        self._worker.close(wait_s=CLOSING_S)

    def prepare(self, frame: Frame, *, worn: bool, compare: bool) -> None:
        """Begin what will be asked about a frame that is processed soon.

        worn: whether a pattern is put on, where people are found in it; else a defence works meanwhile. compare: whether
        the bare answer is to be shown beside the defended one.
        """
        if worn and self._placing is not None:
            self._placing.begin(frame, side_by_side=self.side_by_side)
        elif worn or self.needs_bare(compare=compare):
            self.begin(frame, alone=worn)
        if not worn:
            self.begin_view(frame)

    def begin(self, frame: Frame, *, alone: bool) -> None:
        """Begin the bare answer about a frame that is processed soon.

        alone: whether nothing goes on before it is there. A camera's frame is then looked at as fast as can be; else by
        one lane beside the defence, which looks at views of it meanwhile.
        """
        beside = self.defended is not None and self.defended.asks_views and not alone
        self._bare.begin(frame, side_by_side=self.side_by_side or beside)

    def begin_view(self, frame: Frame) -> None:
        """Begin the answer about what the defences make of a frame that is processed soon, where that is known before."""
        asked = None if self.defended is None else self.defended.ahead(frame)
        if asked is not None:
            self._bare.begin(asked, side_by_side=self.side_by_side)

    def needs_bare(self, *, compare: bool) -> bool:
        """Return whether the bare answer about a frame is needed for itself, or best begun beside the defended one.

        compare: whether it is to be shown beside the defended one.
        """
        return self.defended is None or compare or (self.defended.asks_bare and self.defended.asks_views)

    def bare(self, frame: Frame, stage_ms: dict[str, float] | None = None) -> Detections:
        """Return the undefended answer, not thresholded. stage_ms: gets how long it took as `detect`."""
        answer = self._bare.begin(frame, side_by_side=self.side_by_side).result()
        if stage_ms is not None:
            stage_ms["detect"] = answer.took_ms
        return answer.found

    def place(self, frame: Frame, stage_ms: dict[str, float]) -> Detections:
        """Return who is to wear a pattern in a frame without one, not thresholded. stage_ms: gets the time as `place`."""
        answer = (self._placing or self._bare).begin(frame, side_by_side=self.side_by_side).result()
        stage_ms["place"] = answer.took_ms
        return answer.found

    def answer(self, frame: Frame, stage_ms: dict[str, float] | None = None) -> Detections:
        """Return the answer that counts, not thresholded: the defended one where a defence is on.

        stage_ms: gets how long it took as `defended`, or `detect` without a defence.

        Raises: SwitchedOff if a defence failed or took too long.
        """
        defended = self.defended
        if defended is None:
            return self.bare(frame, stage_ms)

        def detect() -> tuple[Detections, float]:
            start = perf_counter()
            return defended.detect(frame), perf_counter() - start

        # What stands before it on that thread, as the passes of detectors beside it, is none of the defence's time.
        self._worker.call(_nothing)
        try:
            out, took = self._worker.call(detect, self._no_answer_s)
        except NoAnswer as error:
            defended.revoke()
            self._leave_worker()
            raise SwitchedOff(_too_slow(defended, str(error))) from None
        except DefenceError as error:
            raise SwitchedOff(self._reasons(defended, frame, str(error))) from error
        except Exception as error:
            raise SwitchedOff(self._reasons(defended, frame, f"{type(error).__name__}: {error}")) from error
        if stage_ms is not None:
            stage_ms["defended"] = took * 1000
        self._costs_ms.append(defended.cost_ms)
        self._slow = self._slow + 1 if self._limit is not None and took > self._limit else 0
        if self._slow >= SLOW_IN_A_ROW:
            why = f"{took:.1f} s for a frame, {self._slow} in a row; the limit is {self._limit:g} s"
            raise SwitchedOff(_too_slow(defended, why))
        return out

    def answers(
        self, frame: Frame, *, compare: bool, stage_ms: dict[str, float]
    ) -> tuple[Detections, Detections | None]:
        """Return the answer that counts and the bare one beside it, not thresholded.

        The bare one is None without a defence, or where `compare` is not asked for. stage_ms: gets the duration of each.

        Raises: SwitchedOff if a defence failed or took too long.
        """
        if self.defended is None:
            return self.answer(frame, stage_ms), None
        if self.needs_bare(compare=compare):
            # Beside the defence's own work, which waits for it where it looks at the bare frame too.
            self.begin(frame, alone=False)
        people = self.answer(frame, stage_ms)
        return people, self.bare(frame, stage_ms) if compare else None

    def cost(self, pipeline: Pipeline, frame: Frame) -> Cost:
        """Return what defences cost on a frame, again and again: on the detector's thread, in turns with the bare one.

        Raises: DefenceError if they cannot work with this detector. NoAnswer if they are far too slow.
        """
        again = [replace(frame, index=number, pts_s=number / 30) for number in range(COST_TURNS * TURN)]
        # Between two images the loop has its turn.
        run = partial(self._worker.call, limit_s=self._no_answer_s)
        return measure_costs({pipeline.text: pipeline}, self.detector, again, run=run)[pipeline.text]

    @property
    def _no_answer_s(self) -> float | None:
        return self._limit and NO_ANSWER * self._limit

    def _reasons(self, defended: DefendedDetector, frame: Frame, why: str) -> dict[str, str]:
        """Return which defence failed: the only one, or those that fail alone, found by trying each."""
        defended.revoke()
        names = [d.name for d in defended.pipeline.defences]
        if len(names) == 1:
            return {names[0]: why}
        try:
            return self._worker.call(lambda: defended.culprits(frame), self._limit)
        except NoAnswer:
            self._leave_worker()
            return dict.fromkeys(names, why)

    def _leave_worker(self) -> None:
        """Go on with a new worker; the busy one's thread ends with its present task, if that ever ends."""
        self._worker.close()
        self._worker = Worker()
        for answers in (self._bare, *self._beside):
            answers.change_worker(self._worker)


def _nothing() -> None:
    pass


def _too_slow(defended: DefendedDetector, why: str) -> dict[str, str]:
    return {d.name: why for d in defended.pipeline.defences}


@contextmanager
def timed(stage_ms: dict[str, float], name: str) -> Iterator[None]:
    """Write how many milliseconds the block takes into `stage_ms`."""
    start = perf_counter()
    yield
    stage_ms[name] = (perf_counter() - start) * 1000
