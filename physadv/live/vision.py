"""One image's way through the demo: dressed, looked at by the bare and the defended detector, timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from time import perf_counter

import numpy as np

from physadv.defend import Pipeline
from physadv.errors import DefenceError
from physadv.live.draw import drawn
from physadv.live.overlay import Overlay
from physadv.live.settings import Controls
from physadv.live.watch import Guard, Worker
from physadv.live.wearers import Hiding, Wearer
from physadv.types import Detections, Detector, Frame, UInt8Array

# A busy moment of the machine is no fault of a defence: it goes after this many slow images in a row, or when a single
# answer takes this many times the limit.
SLOW_IN_A_ROW = 3
NO_ANSWER = 3


@dataclass(frozen=True)
class Shown:
    """Everything about one image as it is shown. Not slotted: `annotated` is drawn once, when first asked for.

    frame: what the detectors were given, the pattern on. clean: the camera's own image. cut: whether another scene
    begins with it. worn, worn_cm: the pattern that is on and its printed width, or "" and None. people: those of the answer
    that counts who are drawn, defended if a defence is on. bare: those of the undefended answer beside it, or None. top:
    the highest person score before the threshold, of the answer that counts; bare_top: the same without the defence, or
    None. placed: whom the clean detector found before the pattern was put on, or None without one. wearers, bare_wearers:
    the state of each who wears it by the answer and by the bare one, or None. sizes: each person's size and distance as
    text, with a camera profile. lines: written into the image. claims: what certifying defences say is proven. drawn:
    whether the image carries all marks already, of a recording; `bare` is then its left half.
    """

    number: int
    frame: Frame
    clean: Frame
    people: Detections
    bare: Detections | None
    top: float
    bare_top: float | None
    controls: Controls
    defences: tuple[str, ...]
    worn: str
    worn_cm: float | None = None
    cut: bool = False
    placed: Detections | None = None
    wearers: tuple[Wearer, ...] | None = None
    bare_wearers: tuple[Wearer, ...] | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    drawn: bool = False

    @property
    def hiding(self) -> Hiding | None:
        """Return how many wearers are in which state by the answer that counts; None where no pattern is on."""
        return None if self.wearers is None else Hiding.of(self.wearers)

    @property
    def bare_hiding(self) -> Hiding | None:
        """Return the same by the bare answer."""
        return None if self.bare_wearers is None else Hiding.of(self.bare_wearers)

    @cached_property
    def annotated(self) -> UInt8Array:
        """Return what the page shows, (h, w, 3) uint8 RGB: everybody drawn in, right of the bare answer where there is one.

        Two panes are as wide as two images.
        """
        return self.panes(self.lines)

    def panes(self, lines: Sequence[str]) -> UInt8Array:
        """Return the same with other lines in the pane of the answer that counts."""
        pixels, skeleton = self.frame.pixels, self.controls.skeleton
        if self.drawn:
            return pixels
        main = drawn(pixels, self.people, skeleton=skeleton, lines=lines, sizes=self.sizes, wearers=self.wearers or ())
        if self.bare is None:
            return main
        bare = drawn(pixels, self.bare, skeleton=skeleton, lines=("bare",), wearers=self.bare_wearers or ())
        return np.hstack([bare, main])


class SwitchedOff(Exception):
    """Defences that failed, with the reason of each: caught by the loop, which goes on without them."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in reasons.items()))
        self.reasons = reasons


class Vision:
    """Detector, pattern and defences as they stand; `look` takes an image through them.

    limit_s: how long a defence may take for one image, or None for as long as it likes (a file without viewers).
    """

    def __init__(self, detector: Detector, *, limit_s: float | None) -> None:
        self.detector = detector
        self.guard: Guard | None = None
        self.worn: Overlay | None = None
        self.defence_ms = 0.0
        self._slow = 0
        self._limit = limit_s
        self._worker = Worker() if limit_s is not None else None

    def dress(self, worn: Overlay | None) -> None:
        """Put a pattern on everybody from the next image on, or take it off."""
        self.worn = worn

    def use(self, detector: Detector, guard: Guard | None) -> None:
        """Change detector and defences from the next image on."""
        if self.guard is not None:
            self.guard.revoke()
        self.detector, self.guard = detector, guard
        self.defence_ms, self._slow = 0.0, 0

    def cut(self) -> None:
        """Forget what came from earlier images: the next one is from elsewhere."""
        if self.worn is not None:
            self.worn.reset()
        if self.guard is not None:
            self.guard.reset()

    def close(self) -> None:
        """Let the worker's thread end."""
        if self._worker is not None:
            self._worker.close()

    def look(
        self, clean: Frame, controls: Controls, *, dressed: bool, placed: Callable[[Detections], None]
    ) -> tuple[Frame, Detections | None, Detections, Detections | None, dict[str, float]]:
        """Return the image given to the detectors, whom it was put on, two answers, ms by stage.

        The wearers are None where no pattern is on. The answers are the one that counts and the bare one beside it, not
        thresholded; the bare one is None without a defence, or where the comparison is switched off. placed: called with
        whom a pattern is about to be put on, and may change which.

        Raises: SwitchedOff if a defence failed or took too long.
        """
        stage: dict[str, float] = {}
        frame, wearers = clean, None
        if self.worn is not None and dressed:
            start = perf_counter()
            wearers = self._bare(clean)
            placed(wearers)
            found = perf_counter()
            frame = clean.with_pixels(self.worn.apply(clean.pixels, wearers, at_s=clean.pts_s))
            stage["place"], stage["wear"] = (found - start) * 1000, (perf_counter() - found) * 1000
        if self.guard is None:
            start = perf_counter()
            people = self._bare(frame)
            stage["detect"] = (perf_counter() - start) * 1000
            return frame, wearers, people, None, stage
        start = perf_counter()
        people = self._defended(self.guard, frame)
        stage["defended"] = (perf_counter() - start) * 1000
        self.defence_ms = self.guard.cost_ms
        if not controls.compare:
            return frame, wearers, people, None, stage
        start = perf_counter()
        bare = self._bare(frame)
        stage["detect"] = (perf_counter() - start) * 1000
        return frame, wearers, people, bare, stage

    def ask(self, pixels: UInt8Array) -> Detections:
        """Return what the bare detector finds in an image (h, w, 3) uint8 RGB of no source's."""
        return self._bare(Frame(pixels, 0, 0, 0.0))

    def cost(self, pipeline: Pipeline, frame: Frame) -> float:
        """Return the milliseconds that defences take for an image beyond one pass: the median of three, after a first one.

        Raises: DefenceError if they cannot work with this detector. TimeoutError if they are far too slow.
        """
        guard = Guard(pipeline, self.detector)
        taken = []
        for number in range(4):
            # Between two of them the loop has its turn.
            again = replace(frame, index=number, pts_s=number / 30)
            if self._worker is None:
                guard.detect(again)
            else:
                self._worker.call(partial(guard.detect, again), self._limit and NO_ANSWER * self._limit)
            taken.append(guard.cost_ms)
        return float(np.median(taken[1:]))

    def _bare(self, frame: Frame) -> Detections:
        if self._worker is None:
            return self.detector.detect(frame)
        return self._worker.call(lambda: self.detector.detect(frame))

    def _defended(self, guard: Guard, frame: Frame) -> Detections:
        start = perf_counter()
        try:
            if self._worker is None:
                return guard.detect(frame)
            longest = self._limit and NO_ANSWER * self._limit
            out = self._worker.call(lambda: guard.detect(frame), longest)
        except TimeoutError:
            guard.revoke()
            self._leave_worker()
            raise SwitchedOff(self._too_slow(guard, f"no answer within {longest:g} s")) from None
        except DefenceError as error:
            raise SwitchedOff(self._reasons(guard, frame, str(error))) from error
        except Exception as error:
            raise SwitchedOff(self._reasons(guard, frame, f"{type(error).__name__}: {error}")) from error
        took = perf_counter() - start
        self._slow = self._slow + 1 if self._limit is not None and took > self._limit else 0
        if self._slow >= SLOW_IN_A_ROW:
            why = f"{took:.1f} s for an image, {self._slow} in a row; the limit is {self._limit:g} s"
            raise SwitchedOff(self._too_slow(guard, why))
        return out

    def _too_slow(self, guard: Guard, why: str) -> dict[str, str]:
        return {d.name: why for d in guard.pipeline.defences}

    def _reasons(self, guard: Guard, frame: Frame, why: str) -> dict[str, str]:
        """Return who is to blame: the only one, or those that fail alone, found by trying each."""
        guard.revoke()
        names = [d.name for d in guard.pipeline.defences]
        if len(names) == 1:
            return {names[0]: why}
        if self._worker is None:
            return guard.culprits(frame)
        try:
            return self._worker.call(lambda: guard.culprits(frame), self._limit)
        except TimeoutError:
            self._leave_worker()
            return dict.fromkeys(names, why)

    def _leave_worker(self) -> None:
        """Go on with a new worker; the busy one's thread ends with what it is doing, if that ever ends."""
        self.close()
        self._worker = Worker()
