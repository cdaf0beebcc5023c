"""Half-plane masking on the live seam: brings people back, certifies over frames, notices that a scene has moved."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from physadv.defend.image import ImageDefence, ImageView
from physadv.defend.masks import FILL, hide_tensor
from physadv.defend.objectseeker import ObjectSeeker
from physadv.defend.patchcleanser import PatchCleanser
from physadv.defend.rolling import BATCH, RollingViews, in_batches
from physadv.errors import DefenceError
from physadv.types import Candidates, Detections, Detector, Float32Array, Frame, UInt8Array
from tests.defend.adversaries import Pure
from tests.detectors import FakeGradient

WIDTH, HEIGHT = 160, 120
PERSON = np.array([60, 20, 100, 110], np.float32)


def shown(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
    """A detector that finds the part of one person that no mask hides, unless a white pixel blinds it."""
    x0, y0, x1, y1 = PERSON.astype(int)
    open_ = ~(image[y0:y1, x0:x1] == FILL).all(2)
    if (image == 255).any() or open_.sum() < 200:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    ys, xs = np.nonzero(open_)
    box = [x0 + xs.min(), y0 + ys.min(), x0 + xs.max() + 1, y0 + ys.max() + 1]
    return np.array([box], np.float32), np.array([0.8], np.float32)


def scene(patch: tuple[int, int] | None = None) -> UInt8Array:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    if patch is not None:
        image[patch[1] : patch[1] + 13, patch[0] : patch[0] + 13] = 255
    return image


def frames(image: UInt8Array, n: int) -> list[Frame]:
    return [Frame(image.copy(), i, 0, i / 10) for i in range(n)]


@pytest.mark.parametrize("per_frame", [0, 1, 2])
def test_a_certified_person_stays_certified_wherever_one_patch_then_is(per_frame: int) -> None:
    defence = ObjectSeeker(per_frame=per_frame, patch=0.008, lines=5)
    guard = defence.guard(Pure(shown))
    # With one view a frame every other one may be looked at again, so that a round takes two frames a view.
    enough = 48 if per_frame == 1 else 12
    for frame in frames(scene(), enough):
        clean = guard.detect(frame)
    assert clean.certified is not None and clean.certified.tolist() == [True]
    assert clean.held is not None and not clean.alerts
    for x, y in ((0, 0), (70, 60), (95, 100), (60, 20), (147, 50), (80, 90)):
        assert len(Pure(shown).detect_batch([scene((x, y))])[0]) == 0
        guard.reset()
        for frame in frames(scene((x, y)), enough):
            out = guard.detect(frame)
        assert len(out.above(0.5)) >= 1 and "uncovered" in {a.kind for a in out.alerts}, (x, y)
        common = np.minimum(out.xyxy[:, 2:], PERSON[2:]) - np.maximum(out.xyxy[:, :2], PERSON[:2])
        assert (common.clip(0).prod(1) >= defence.still * 40 * 90).any()


def test_each_image_of_a_batch_is_judged_by_itself() -> None:
    out = ObjectSeeker().guard(Pure(shown)).detect_batch([scene(), scene((70, 60)), scene()])
    assert [len(d) for d in out][::2] == [1, 1] and len(out[1]) >= 1
    assert not out[0].alerts and out[1].alerts


def test_rolling_looks_at_few_views_a_frame_and_at_all_of_them_in_turn() -> None:
    detector = Pure(shown)
    guard = ObjectSeeker(lines=3, per_frame=2).guard(detector)
    certified = []
    for i, frame in enumerate(frames(scene(), 8)):
        out = guard.detect(frame)
        assert detector.images == 3 * (i + 1)
        certified.append(bool(out.certified is not None and out.certified.all()))
        claim = guard.claim  # type: ignore[attr-defined]
        assert claim.startswith("1 of 1 person certified: no single patch of up to 1 % of the image" if certified[-1] else
                                "nobody in this image is certified")  # fmt: skip
        assert "rolling, assumes a static scene" in claim
    assert certified[-1] and not certified[0]


def test_what_was_seen_before_the_scene_moved_no_longer_counts() -> None:
    guard = ObjectSeeker(lines=3, per_frame=1).guard(Pure(shown))
    for frame in frames(scene(), 14):
        out = guard.detect(frame)
    assert out.certified is not None and out.certified.all()
    moved = np.random.default_rng(0).integers(0, 200, (HEIGHT, WIDTH, 3), np.uint8)
    out = guard.detect(Frame(moved, 14, 0, 1.4))
    assert out.certified is not None and not out.certified.any()
    out = guard.detect(Frame(np.zeros((90, 120, 3), np.uint8), 15, 0, 1.5))
    assert out.certified is not None and not out.certified.any(), "another size begins anew"


def test_a_blind_detector_is_never_certified_live() -> None:
    def only_unmasked(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        if (image == FILL).all(2).any():
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return PERSON[None], np.array([0.9], np.float32)

    guard = ObjectSeeker(per_frame=0, lines=9, still=0.0).guard(Pure(only_unmasked))
    out = guard.detect(frames(scene(), 1)[0])
    assert len(out) == 1 and out.certified is not None and not out.certified.any()


def test_a_round_never_stops_for_views_that_are_looked_at_again() -> None:
    views = RollingViews(6)
    views.begin(scene())
    seen = {v for _ in range(6) for v in views.choose(2, first=[4, 5, 0])}
    assert seen == set(range(6))
    alone = []
    for _ in range(16):
        views.begin(scene())
        alone += views.choose(1, first=[4])
    assert alone.count(4) >= 8 and set(alone) == set(range(6)), "one view a frame: by turns, and the round goes on"
    assert views.choose(9) and len(views.choose(9)) == 6


@pytest.mark.parametrize(("prune", "again"), [(0.6, False), (0.9, True)])
def test_views_are_looked_at_again_by_the_share_that_reports_are_judged_by(prune: float, again: bool) -> None:
    """Masked views show a box of which the whole image's covers 75 %: explained at .6, somebody new at .9."""
    looked: list[bytes] = []

    def shifted(image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        masked = (image == FILL).all(2)
        if masked.any():
            looked.append(masked.tobytes())
        return (PERSON + (np.array([10, 0, 10, 0], np.float32) if masked.any() else 0))[None], np.array(
            [0.8], np.float32
        )

    guard = ObjectSeeker(lines=3, per_frame=2, prune=prune).guard(Pure(shifted))
    for frame in frames(scene(), 6):
        guard.detect(frame)
    assert len(looked) == 12 and (len(set(looked)) < 12) == again


def test_masked_images_are_made_a_batch_at_a_time() -> None:
    detector, made = Pure(shown), []

    def images() -> Iterator[UInt8Array]:
        for i in range(2 * BATCH + 3):
            made.append(detector.images)
            yield scene((i, 0) if i % 2 else None)

    answers = in_batches(detector, images())
    assert [len(a) for a in answers] == [1 - i % 2 for i in range(2 * BATCH + 3)]
    assert made == [i // BATCH * BATCH for i in range(2 * BATCH + 3)]


def test_impossible_parameters_are_said_at_once() -> None:
    with pytest.raises(ValidationError, match="lines"):
        ObjectSeeker(lines=0)
    with pytest.raises(DefenceError, match="larger than the image"):
        ObjectSeeker(patch=0.9, lines=3).guard(Pure(shown)).detect(Frame(np.zeros((64, 256, 3), np.uint8), 0, 0, 0.0))


class Shaken(ImageDefence):
    """An image defence that draws at random."""

    random = True
    name = "shaken"
    title = "random shift"
    paper = "none"

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        return ImageView(np.roll(image, int(rng.integers(4)), 1))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        return images


class Still(Shaken):
    """One that has a seed and draws nothing."""

    random = False
    seed: int = 0


@pytest.mark.parametrize("defence", [ObjectSeeker(), PatchCleanser()])
def test_a_random_defence_underneath_is_refused(defence: ObjectSeeker | PatchCleanser) -> None:
    with pytest.raises(DefenceError, match=f"{defence.name} cannot be combined with shaken"):
        defence.guard(Shaken().guard(Pure(shown)))
    assert defence.guard(Pure(shown)).name == "pure"
    assert defence.guard(Still().guard(Pure(shown))).name == "pure", (
        "what counts is what it says, not that it has a seed"
    )
    unsteady = Pure(shown)
    unsteady.deterministic = False
    with pytest.raises(DefenceError, match=f"{defence.name} cannot be combined with pure"):
        defence.guard(unsteady)


class Bright(FakeGradient):
    """One candidate, as sure as the image is bright."""

    name = "bright"

    def candidates(self, images: torch.Tensor) -> Candidates:
        logit = images.mean((1, 2, 3))[:, None]
        return Candidates(logit, torch.zeros((len(images), 1, 4)))


def test_the_twin_lists_masked_views_with_gradients_outside_the_masks() -> None:
    images = torch.rand((2, 3, 64, 96), requires_grad=True)
    found = ObjectSeeker(lines=3).twin(Bright()).candidates(images)
    assert found.logit.shape == (2, 3) and found.xyxy.shape == (2, 3, 4)
    assert found.logit[0, 0].item() == pytest.approx(images[0].mean().item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(found.logit[:, 1].sum(), images)
    assert 0 < (gradient == 0).float().mean() < 1
    hidden = hide_tensor(images, np.array([[8, 4, 20, 30]]))
    assert torch.allclose(hidden[:, :, 4:30, 8:20], torch.tensor(FILL / 255))
    assert Detections.empty().certified is None
