"""Double masking: whether there is a person in a window, an answer that no one patch can change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from physadv.defend.base import Defence, Watching
from physadv.defend.certify import refuse_random
from physadv.defend.masks import MaskedTwin, PatchSize, hide, windows
from physadv.errors import DefenceError
from physadv.types import Alert, Detections, Detector, Frame, GradientDetector, Int64Array, UInt8Array

# The numbers of two masks laid on the window together; twice the same number is one mask.
Pair = tuple[int, int]
Ask = Callable[[Sequence[Pair]], Sequence[bool]]
Question = Callable[[int, Mapping[Pair, bool]], tuple[bool | None, list[Pair]]]
BATCH = 8


def pair(a: int, b: int) -> Pair:
    """Return the two masks in rising order: in either order they hide the same pixels."""
    return (a, b) if a <= b else (b, a)


def decide(masks: int, known: Mapping[Pair, bool]) -> tuple[bool | None, list[Pair]]:
    """Return double masking's answer, or None and the pairs that have to be asked before.

    First round: if all one-mask answers agree, that is the answer. Second round: each mask that differs from the majority
    is laid on again with every other mask; if none of these answers differs from its own, its answer is taken. If all such
    masks fail, the majority's answer is taken. An even split counts as a majority for a person.

    Source: PatchCleanser, Xiang et al., USENIX Security 2022, algorithm 1.
    """
    first = [(i, i) for i in range(masks)]
    if missing := [p for p in first if p not in known]:
        return None, missing
    votes = [known[p] for p in first]
    majority = sum(votes) * 2 >= masks
    for i in (i for i in range(masks) if votes[i] != majority):
        second = [pair(i, j) for j in range(masks)]
        if any(known.get(p, votes[i]) != votes[i] for p in second):
            continue
        if missing := [p for p in second if p not in known]:
            return None, missing
        return votes[i], []
    return majority, []


def person_certified(masks: int, known: Mapping[Pair, bool]) -> tuple[bool | None, list[Pair]]:
    """Return whether a person is certified to be in the window, or None and the pairs that have to be asked before.

    A person is certified if and only if every two-mask answer is "person": `decide` then gives "person" for every image
    that differs from this one by one patch. One answer "nobody" ends the search.

    Source: PatchCleanser, theorem 1.
    """
    if not all(known.values()):
        return False, []
    every = [(i, i) for i in range(masks)] + [(i, j) for i in range(masks) for j in range(i + 1, masks)]
    missing = [p for p in every if p not in known]
    return (None, missing) if missing else (True, [])


def settle(masks: int, ask: Ask, question: Question = decide, *, batch: int = BATCH) -> tuple[bool, dict[Pair, bool]]:
    """Return the answer to `decide` or `person_certified`, and the answers for the pairs that were asked.

    ask: whether a person is found under each of some pairs; it is called for batches until the answer is settled.
    """
    known: dict[Pair, bool] = {}
    while True:
        answer, missing = question(masks, known)
        if answer is not None:
            return answer, known
        pairs = missing[:batch]
        known |= dict(zip(pairs, ask(pairs), strict=True))


class PatchCleanser(Defence):
    """Double masking in one window of the image: reports a person that a patch hides there, and certifies it.

    left, top, right, bottom: the window, as fractions of the image. It must not follow the detections, or a patch could
    move it. count: masks each way. patch: largest patch, as a fraction of the window's area. conf: score from which a
    person counts in a masked view. per_frame: views a frame in live use; 0 settles the answer on every frame.
    """

    name: ClassVar[str] = "patchcleanser"
    title: ClassVar[str] = "double masking: is a person in this window, whatever one patch does"
    cost: ClassVar[str] = "3 more passes a frame live, 9 and more a photograph"
    certifies: ClassVar[bool] = True
    paper: ClassVar[str] = "Xiang et al., PatchCleanser, USENIX Security 2022"
    order: ClassVar[int] = 1

    left: float = Field(default=0.0, ge=0, lt=1, description="left edge of the window, fraction of the width")
    top: float = Field(default=0.0, ge=0, lt=1, description="upper edge, fraction of the height")
    right: float = Field(default=1.0, gt=0, le=1, description="right edge, fraction of the width")
    bottom: float = Field(default=1.0, gt=0, le=1, description="lower edge, fraction of the height")
    count: int = Field(default=3, ge=2, le=6, description="masks each way; k * k views, more when they disagree")
    patch: float = Field(default=0.02, gt=0, lt=1, description="largest patch, fraction of the window's area")
    conf: float = Field(default=0.25, gt=0, lt=1, description="score from which a person counts")
    per_frame: int = Field(
        default=3, ge=0, le=64, description="masked views a frame in live use; 0: as many as it takes"
    )

    @model_validator(mode="after")
    def _a_window(self) -> PatchCleanser:
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError(
                f"window: expected left < right and top < bottom, got {self.left}, {self.top}, {self.right}, {self.bottom}"
            )
        return self

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that also gives an answer for the window.

        Raises: DefenceError if a random defence stands between it and the network.
        """
        return PatchCleanserGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the twin: candidates of the whole image, and of the window under two masks drawn at each call."""
        return MaskedTwin(detector, self._masks_for_twin)

    def _masks_for_twin(self, width: int, height: int, rng: np.random.Generator) -> list[Int64Array]:
        x0, y0, x1, y1 = self.window(width, height)
        masks = self.masks(x1 - x0, y1 - y0) + np.array([x0, y0, x0, y0])
        return [masks[rng.choice(len(masks), 2)] for _ in range(2)]

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the window x0, y0, x1, y1 in whole pixels of an image of that size.

        Raises: DefenceError if it is less than 32 pixels wide or high.
        """
        x0, y0 = round(self.left * width), round(self.top * height)
        x1, y1 = round(self.right * width), round(self.bottom * height)
        if min(x1 - x0, y1 - y0) < 32:
            raise DefenceError(f"patchcleanser: the window is {x1 - x0} x {y1 - y0} pixels; expected 32 x 32 or more")
        return x0, y0, x1, y1

    def masks(self, width: int, height: int) -> Int64Array:
        """Return the masks for a window of that size.

        Raises: DefenceError if the patch is larger than the window.
        """
        return windows(width, height, PatchSize.of_area(self.patch * width * height), self.count)


class _Window:
    """The answers for pairs of masks on one window, each with the number of its frame."""

    def __init__(self, defence: PatchCleanser, detector: Detector) -> None:
        self.defence = defence
        self.detector = detector
        self.turn = 0
        self.answers: dict[Pair, tuple[Detections, int]] = {}
        self.person: bool | None = None
        self.certified: bool | None = None

    def known(self, masks: int) -> dict[Pair, bool]:
        """Return the answers that still count: none older than a few rounds of asking them all."""
        rate = self.defence.per_frame or 1
        single, double = 3 * -(-masks // rate), masks * (masks + 1) // rate + 2
        return {
            p: self._shows(people)
            for p, (people, turn) in self.answers.items()
            if self.turn - turn <= (single if p[0] == p[1] else double)
        }

    def settle(self, window: UInt8Array, masks: Int64Array) -> None:
        """Ask until the answer is settled. A certificate would take many more views; it may be refused without them."""
        self.answers.clear()
        self.person, known = settle(len(masks), lambda pairs: self._ask(window, masks, pairs))
        self.certified = person_certified(len(masks), known)[0]

    def step(self, window: UInt8Array, masks: Int64Array) -> None:
        """Ask the next few pairs: those the answer needs, then those the certificate needs, then the oldest."""
        self.turn += 1
        left = self.defence.per_frame
        while left > 0:
            answer, wanted = decide(len(masks), self.known(len(masks)))
            if answer is not None:
                _, wanted = person_certified(len(masks), self.known(len(masks)))
            wanted = (wanted or self._oldest())[:left]
            if not wanted:
                break
            self._ask(window, masks, wanted)
            left -= len(wanted)
        answer, _ = decide(len(masks), self.known(len(masks)))
        self.person = self.person if answer is None else answer
        self.certified = person_certified(len(masks), self.known(len(masks)))[0]

    def best(self) -> Detections | None:
        """Return the best-scored person of the one-mask views, in window pixels, or None."""
        shown = [d for (i, j), (d, _) in self.answers.items() if i == j and self._shows(d)]
        return max(shown, key=lambda d: float(d.score.max())).pick(np.array([0])) if shown else None

    def _oldest(self) -> list[Pair]:
        return [p for p, (_, turn) in sorted(self.answers.items(), key=lambda item: item[1][1]) if turn < self.turn]

    def _ask(self, window: UInt8Array, masks: Int64Array, pairs: Sequence[Pair]) -> list[bool]:
        found = self.detector.detect_batch([hide(window, masks[sorted(set(p))]) for p in pairs])
        self.answers |= {p: (d, self.turn) for p, d in zip(pairs, found, strict=True)}
        return [self._shows(d) for d in found]

    def _shows(self, people: Detections) -> bool:
        return bool((people.score >= self.defence.conf).any())


class PatchCleanserGuard(Watching[PatchCleanser]):
    """The detector behind double masking."""

    def __init__(self, defence: PatchCleanser, inner: Detector) -> None:
        super().__init__(defence, inner)
        refuse_random(self.plain, defence.name)
        self._size = (0, 0)
        self._state = _Window(defence, self.plain)

    @property
    def claim(self) -> str:
        """Return in one sentence what is proven of the window now."""
        d = self.defence
        how = "rolling, assumes a static scene" if d.per_frame else "this frame alone"
        if self._state.certified is None:
            return f"window: still looking at pairs of masks ({how})"
        if not self._state.certified:
            return f"window not certified: some pair of masks hides everyone in it ({how})"
        return (
            f"window certified: no single patch of up to {d.patch * 100:.3g} % of its area can turn the answer "
            f"'a person is in this window' into 'nobody' ({how})"
        )

    def reset(self) -> None:
        """Forget what earlier frames showed."""
        super().reset()
        self._state = _Window(self.defence, self.plain)

    def respond(self, frame: Frame) -> Detections:
        """Return the people of the frame and, if only double masking finds somebody in the window, that person, held."""
        whole = self.ask(frame)
        if frame.size != self._size:
            self._size, self._state = frame.size, _Window(self.defence, self.plain)
        return self._answer(whole, frame.pixels, self._state, rolling=self.defence.per_frame > 0)

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the same for images that are no sequence: each is settled by itself."""
        return [
            self._answer(whole, image, _Window(self.defence, self.plain), rolling=False)
            for whole, image in zip(self.ask_batch(images), images, strict=True)
        ]

    def _answer(self, whole: Detections, image: UInt8Array, state: _Window, *, rolling: bool) -> Detections:
        x0, y0, x1, y1 = self.defence.window(image.shape[1], image.shape[0])
        masks = self.defence.masks(x1 - x0, y1 - y0)
        (state.step if rolling else state.settle)(image[y0:y1, x0:x1], masks)
        middle = (whole.xyxy[:, :2] + whole.xyxy[:, 2:]) / 2
        inside = ((middle >= (x0, y0)) & (middle <= (x1, y1))).all(1) & (whole.score >= self.defence.conf)
        best = state.best()
        if not state.person or inside.any() or best is None:
            return whole
        points = None if best.keypoints is None else best.keypoints + np.array([x0, y0, 0], np.float32)
        out, _ = whole.with_held(best.xyxy + np.array([x0, y0, x0, y0], np.float32), best.score, points)
        text = "a person is in the window by double masking, though the image as a whole shows none there"
        return replace(
            out, alerts=(*out.alerts, Alert("uncovered", text, (float(x0), float(y0), float(x1), float(y1))))
        )
