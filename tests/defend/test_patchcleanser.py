"""Double masking: the answer cannot be turned where it is certified, and blind detectors certify nobody."""

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from pydantic import ValidationError

from physadv.defend.masks import PatchSize, hide, windows
from physadv.defend.patchcleanser import (
    Pair,
    PatchCleanser,
    decide,
    person_certified,
    settle,
)
from physadv.errors import DefenceError
from physadv.types import Float32Array, Frame, UInt8Array
from tests.defend.adversaries import Pure, key


def by_the_paper(n: int, said: dict[Pair, bool]) -> bool:
    """Algorithm 1 of the paper, written out without early exit."""
    votes = [said[i, i] for i in range(n)]
    if len(set(votes)) == 1:
        return votes[0]
    majority = sum(votes) * 2 >= n
    for i in range(n):
        if votes[i] != majority and all(said[min(i, j), max(i, j)] == votes[i] for j in range(n)):
            return votes[i]
    return majority


def answers(said: dict[Pair, bool], pairs: Sequence[Pair]) -> list[bool]:
    return [said[p] for p in pairs]


def test_the_answer_is_the_papers_whatever_the_views_show() -> None:
    n = 3
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    for bits in itertools.product([False, True], repeat=len(pairs)):
        said = dict(zip(pairs, bits, strict=True))
        for batch in (1, 4):
            person, asked = settle(n, partial(answers, said), batch=batch)
            assert person == by_the_paper(n, said)
            assert len(asked) <= len(pairs)
        assert settle(n, partial(answers, said), person_certified)[0] == all(bits)


def test_agreement_in_the_first_round_ends_it() -> None:
    person, asked = settle(9, lambda pairs: [True] * len(pairs))
    assert person and len(asked) == 9
    assert decide(9, {})[1] == [(i, i) for i in range(9)]
    assert person_certified(9, {(0, 0): False}) == (False, [])


def test_no_hostile_detector_or_patch_turns_a_certified_window() -> None:
    """3,000 detectors that know the clean masked views and answer anything else at random, mostly 'nobody'."""
    rng = np.random.default_rng(0)
    certified = 0
    for seed in range(3000):
        width, height, count = int(rng.integers(6, 16)), int(rng.integers(6, 16)), int(rng.integers(2, 4))
        patch = PatchSize(int(rng.integers(1, 5)), int(rng.integers(1, 5)))
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        masks = windows(width, height, patch, count)
        n = len(masks)
        views = {key(hide(image, masks[[i, j]])) for i in range(n) for j in range(i, n)}
        sees = {k: bool(rng.random() < 0.999) for k in views}

        def look(image: UInt8Array, pairs: Sequence[Pair], seed: int = seed, sees: dict[int, bool] = sees,
                 masks: np.ndarray = masks) -> list[bool]:  # fmt: skip
            codes = [key(hide(image, masks[list(p)])) for p in pairs]
            return [sees.get(c, bool(np.random.default_rng([seed, c & 0xFFFFFFFF]).random() < 0.3)) for c in codes]

        if not settle(n, partial(look, image), person_certified)[0]:
            continue
        certified += 1
        x, y = int(rng.integers(1 - patch.width, width)), int(rng.integers(1 - patch.height, height))
        bad = image.copy()
        spot = bad[max(y, 0) : y + patch.height, max(x, 0) : x + patch.width]
        spot[:] = rng.integers(0, 256, spot.shape)
        assert settle(n, partial(look, bad))[0]
    assert certified > 1500


def found(_: UInt8Array) -> tuple[Float32Array, Float32Array]:
    return np.array([[4, 4, 40, 60]], np.float32), np.array([0.9], np.float32)


def nobody(_: UInt8Array) -> tuple[Float32Array, Float32Array]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def only_unmasked(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    return nobody(image) if (image == 114).all(2).any() else found(image)


def test_a_detector_that_is_blind_under_masks_never_certifies_a_person() -> None:
    masks = PatchCleanser().masks(64, 64)

    def shows(detector: Pure, pairs: Sequence[Pair]) -> list[bool]:
        return [
            len(d) > 0
            for d in detector.detect_batch([hide(np.zeros((64, 64, 3), np.uint8), masks[list(p)]) for p in pairs])
        ]

    assert settle(len(masks), partial(shows, Pure(found)), person_certified)[0]
    for blind in (nobody, only_unmasked):
        detector = Pure(blind)
        assert not settle(len(masks), partial(shows, detector), person_certified)[0]
        assert detector.calls == 1, "one batch is enough to refuse"


def hidden_by_white(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    """A detector that a white pixel blinds."""
    return nobody(image) if (image == 255).any() else found(image)


@pytest.mark.parametrize("per_frame", [0, 3])
def test_the_guard_brings_back_people_that_a_patch_hid_and_says_so(per_frame: int) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[20:26, 30:36] = 255
    guard = PatchCleanser(per_frame=per_frame, patch=0.02).guard(Pure(hidden_by_white))
    for i in range(12):
        out = guard.detect(Frame(image, i, 0, 0.0))
    assert len(out) == 1 and out.held is not None and out.held.all()
    assert [a.kind for a in out.alerts] == ["uncovered"]
    batch = guard.detect_batch([image, np.zeros_like(image)])
    assert [len(b) for b in batch] == [1, 1] and [len(b.alerts) for b in batch] == [1, 0]


def test_rolling_certifies_a_window_over_frames_and_says_that_it_rolls() -> None:
    guard = PatchCleanser(per_frame=3).guard(Pure(found))
    image = np.zeros((64, 64, 3), np.uint8)
    claims = []
    for i in range(36):
        guard.detect(Frame(image, i, 0, 0.0))
        claims.append(guard.claim)  # type: ignore[attr-defined]
    assert "still looking" in claims[0] and "window certified" in claims[-1]
    assert all("rolling, assumes a static scene" in c for c in claims)


def test_impossible_windows_and_patches_are_said_at_once() -> None:
    with pytest.raises(ValidationError, match="left < right"):
        PatchCleanser(left=0.6, right=0.4)
    with pytest.raises(DefenceError, match="larger than the image"):
        PatchCleanser(patch=0.9).masks(200, 50)
    with pytest.raises(DefenceError, match="expected 32 x 32"):
        PatchCleanser(left=0.5, right=0.51).window(100, 100)
