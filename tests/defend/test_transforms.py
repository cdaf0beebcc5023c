"""Input transforms: what is found in the changed image comes back to where it is in the frame."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import BlobDetector, BlobGradient, draw_person, tiny_gradient

from physadv.boxes import iou
from physadv.defend import DEFENCES, Pipeline, parse_pipeline
from physadv.defend.geometry import boxes_back, compose, inverse, scaling, shift, turn, warp, warp_tensor
from physadv.defend.image import ImageDefence
from physadv.defend.transforms import BitDepth, Brightness, Flip, Median, Rotate, Stretch
from physadv.defend.vote import Vote, fuse
from physadv.simulate.joints import MIRRORED
from physadv.types import Detections, Float32Array, Frame, UInt8Array

IMAGES = [n for n, d in DEFENCES.items() if issubclass(d, ImageDefence) and n not in ("erase", "blocks", "noise")]


def scene(width: int, height: int, *people: tuple[int, int, int, int]) -> Frame:
    image: UInt8Array = np.full((height, width, 3), 90, np.uint8)
    for box in people:
        draw_person(image, box)
    return Frame(image, 0, 0, 0.0)


def ellipse(image: UInt8Array, xyxy: tuple[int, int, int, int]) -> None:
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]] + 0.5
    x0, y0, x1, y1 = xyxy
    inside = ((x - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 <= 1
    image[inside] = (30, 200, 40)


def alone(text: str) -> Pipeline:
    """Return the pipeline without the look at the unchanged image, which would hide what its own look does."""
    defences = parse_pipeline(text).defences
    return Pipeline(tuple(d.model_copy(update={"plain": False}) if hasattr(d, "plain") else d for d in defences))


@pytest.mark.parametrize("size", [(640, 480), (333, 517), (1280, 720)])
@pytest.mark.parametrize(
    "text",
    ["stretch", "stretch:x=.7;y=1.3", "flip", "flip:axis=vertical", "brightness:gain=1.1", "jpeg:quality=90", "median",
     "bit-depth:bits=6", "resize-pad", "vote:views=plain+flip+stretch"],
)  # fmt: skip
def test_boxes_come_back_exactly(text: str, size: tuple[int, int]) -> None:
    w, h = size
    box = (w // 8, h // 6, w // 3, h // 2)
    found = alone(text).guard(BlobDetector()).detect(scene(w, h, box)).above(0.5)
    # One pixel of the network's image is max(size) / 640 pixels of the frame.
    assert len(found) == 1
    np.testing.assert_allclose(found.xyxy[0], box, atol=1.6 * max(1, max(size) / 640))


@pytest.mark.parametrize("degrees", [-20, -5, 3, 12])
def test_rotation_brings_an_upright_ellipse_back(degrees: float) -> None:
    frame = scene(640, 480)
    image = frame.pixels.copy()
    box = (200, 120, 290, 340)
    ellipse(image, box)
    found = Rotate(degrees=degrees).guard(BlobDetector()).detect(frame.with_pixels(image))
    assert len(found) == 1
    np.testing.assert_allclose(found.xyxy[0], box, atol=3)


def test_nothing_is_lost_at_the_corners_of_a_turned_image() -> None:
    frame = scene(640, 480, (0, 0, 40, 60), (600, 420, 640, 480))
    assert len(Rotate(degrees=15).guard(BlobDetector()).detect(frame)) == 2


def test_a_mirrored_persons_left_is_still_on_the_left() -> None:
    frame = scene(640, 480, (100, 100, 200, 400))
    bare, flipped = BlobDetector().detect(frame), Flip(plain=False).guard(BlobDetector()).detect(frame)
    assert bare.keypoints is not None and flipped.keypoints is not None
    # BlobDetector draws a standing person's keypoints into the mirrored box: read back, left and right trade places.
    expected = bare.keypoints[0, MIRRORED, :2]
    expected[:, 0] = 300 - expected[:, 0]
    np.testing.assert_allclose(flipped.keypoints[0, :, :2], expected, atol=4)


@given(
    a=st.floats(-28, 28), x=st.floats(0.5, 2), y=st.floats(0.5, 2), w=st.floats(5, 200), h=st.floats(5, 200),
    left=st.floats(0, 300), top=st.floats(0, 300),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_boxes_back_undoes_what_an_affine_does_to_ellipses(
    a: float, x: float, y: float, w: float, h: float, left: float, top: float
) -> None:
    forward = compose(turn(a), compose(scaling(x, -y), shift(5, -9)))
    angle = np.linspace(0, 2 * np.pi, 2000)
    rim = np.stack([left + w / 2 * (1 + np.cos(angle)), top + h / 2 * (1 + np.sin(angle))], 1)
    moved = rim @ forward[:, :2].T + forward[:, 2]
    seen = np.array([[*moved.min(0), *moved.max(0)]], np.float32)
    back = boxes_back(forward, seen)[0]
    tolerance = 0.02 * max(w, h) + 0.05
    # A very slim ellipse, turned, hardly shows its width: only the well-conditioned ones are asked back.
    if min(w * x, h * y) * 2.5 >= max(w * x, h * y):
        np.testing.assert_allclose(back, [left, top, left + w, top + h], atol=tolerance)
    np.testing.assert_allclose((back[:2] + back[2:]) / 2, [left + w / 2, top + h / 2], atol=0.05)


def test_warp_and_its_tensor_agree() -> None:
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 256, (12, 16, 3)), 8, 0), 8, 1).astype(np.uint8)
    forward = compose(turn(7), shift(4, 9))
    here = warp(image, forward, (150, 110)).astype(np.float32)
    tensor = torch.from_numpy(image.transpose(2, 0, 1)[None] / 255).float()
    there = warp_tensor(tensor, forward, (150, 110))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(here - there).mean() < 1.5


def test_inverse_undoes() -> None:
    affine = compose(turn(20), compose(scaling(2, -0.5), shift(3, 4)))
    np.testing.assert_allclose(compose(inverse(affine), affine), [[1, 0, 0], [0, 1, 0]], atol=1e-12)


@pytest.mark.parametrize("name", IMAGES)
def test_the_image_shown_is_the_one_the_detector_got(name: str) -> None:
    frame = scene(800, 600, (100, 150, 220, 420))
    given: list[UInt8Array] = []

    class Spy(BlobDetector):
        def detect(self, frame: Frame) -> Detections:
            given.append(frame.pixels)
            return super().detect(frame)

    out = alone(name).guard(Spy()).detect(frame)
    assert out.seen is not None
    assert np.array_equal(out.seen, given[-1])
    assert max(out.seen.shape) == 640
    x, y = 160.0, 285.0
    affine = out.to_seen if out.to_seen is not None else np.eye(2, 3)
    sx, sy = affine[:, :2] @ [x, y] + affine[:, 2]
    r, g, b = (int(v) for v in out.seen[int(sy), int(sx)])
    assert g > r + 60 and g > b + 60


@pytest.mark.parametrize("name", IMAGES)
def test_batches_answer_as_single_images_do(name: str) -> None:
    frames = [scene(320, 240, (20 + 30 * i, 40, 70 + 30 * i, 180)) for i in range(3)]
    guard = parse_pipeline(name).guard(BlobDetector())
    single = [guard.detect(f) for f in frames]
    reset = getattr(guard, "reset", None)
    assert reset is not None
    reset()
    batch = guard.detect_batch([f.pixels for f in frames])
    for a, b in zip(single, batch, strict=True):
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=1e-4)


@pytest.mark.parametrize("name", [*IMAGES, "vote"])
def test_twins_carry_gradients_to_the_image(name: str) -> None:
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = parse_pipeline(name).twin(tiny_gradient()).candidates(images)
    found.logit.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None and torch.isfinite(images.grad).all()
    assert (images.grad.abs().sum((1, 2, 3)) > 0).all()
    assert found.xyxy.shape == (*found.logit.shape, 4)


@pytest.mark.parametrize(
    "defence",
    [
        Brightness(gain=0.9, offset=0.02),
        Median(size=3, plain=False),
        BitDepth(bits=5),
        Flip(plain=False),
        Stretch(x=1.3, plain=False),
    ],
    ids=lambda d: d.name,
)
def test_twins_see_what_the_guard_sees(defence: ImageDefence) -> None:
    frame = scene(640, 480, (192, 96, 320, 352))
    images = torch.from_numpy(frame.pixels.transpose(2, 0, 1)[None] / 255).float()
    bare = BlobGradient().candidates(images)
    twin = defence.twin(BlobGradient()).candidates(images)
    best = twin.xyxy[0, twin.logit[0].argmax()]
    near = bare.xyxy[0, bare.logit[0].argmax()]
    assert twin.logit.max() > 3
    inside = (best[:2] > torch.tensor([150.0, 60.0])) & (best[2:] < torch.tensor([360.0, 390.0]))
    assert inside.all(), (best, near)


def person(x: float, score: float) -> tuple[list[float], float]:
    return [x, 10, x + 40, 110], score


def answers(*people: tuple[list[float], float]) -> Detections:
    ordered = sorted(people, key=lambda p: -p[1])
    return Detections(
        np.array([p[0] for p in ordered], np.float32).reshape(-1, 4), np.array([p[1] for p in ordered], np.float32)
    )


def test_mean_counts_an_absent_answer_as_zero() -> None:
    out = fuse([answers(person(10, 0.8)), answers(person(12, 0.6)), answers()], overlap=0.55)
    assert len(out) == 1
    assert out.score[0] == pytest.approx(1.4 / 3)
    assert 10 < out.xyxy[0, 0] < 12


def test_a_vote_needs_as_many_views_as_it_says() -> None:
    parts = [answers(person(10, 0.8), person(200, 0.9)), answers(person(12, 0.6)), answers(person(11, 0.5))]
    out = fuse(parts, overlap=0.55, agree=2)
    assert len(out) == 1
    assert out.score[0] == pytest.approx(0.6)


def test_two_people_of_one_answer_stay_two() -> None:
    out = fuse([answers(person(10, 0.9), person(22, 0.8)), answers(person(11, 0.9), person(23, 0.8))], overlap=0.55)
    assert len(out) == 2
    boxes: Float32Array = out.xyxy
    assert iou(boxes[:1], boxes[1:])[0, 0] < 0.7


def test_a_vote_finds_people_that_most_views_find() -> None:
    frame = scene(640, 480, (100, 100, 200, 400))
    for merge in ("mean", "vote"):
        out = Vote(merge=merge).guard(BlobDetector()).detect(frame)
        assert len(out.above(0.5)) == 1
