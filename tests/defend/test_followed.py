"""The eraser in a video: it looks at every n-th image and follows what it found; single images are each looked at."""

from typing import Any

import cv2
import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.arrays import to_tensor
from physadv.defend import erase as erase_module
from physadv.defend import parse_pipeline
from physadv.defend.erase import EraseGuard, PatternEraser
from physadv.defend.erase_network import OpenVinoEraser, TorchEraser
from physadv.defend.followed import LONGEST_S, REACH, FollowedMask
from physadv.types import Detections, Float32Array, Frame, UInt8Array

SIDE = 60
EVERY = 4


def street(left: int, top: int = 90, *, pattern: bool = True, seed: int = 0) -> UInt8Array:
    """Return an image of 320 x 240 with a colourful print, nowhere dark, at a place before a plain wall."""
    y, x = np.mgrid[0:240, 0:320]
    out = np.stack([90 + x // 8, 100 + y // 8, 130 - x // 16], -1).astype(np.uint8)
    if pattern:
        cells = np.random.default_rng(seed).integers(140, 256, (8, 8, 3), np.uint8)
        out[top : top + SIDE, left : left + SIDE] = cv2.resize(cells, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return out


def at(image: UInt8Array, index: int, fps: float = 30.0) -> Frame:
    return Frame(image, index, 0, index / fps)


class Search:
    """Finds the print by its place, which the test knows, and counts how often it was asked."""

    def __init__(self) -> None:
        self.left, self.top, self.asked = 40, 90, 0

    def __call__(self, image: UInt8Array) -> UInt8Array:
        self.asked += 1
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[self.top : self.top + SIDE, self.left : self.left + SIDE] = 255
        return mask


def people(*left: float) -> Detections:
    boxes = np.array([[x, 20, x + 40, 200] for x in left], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(left), 0.9, np.float32))


def test_a_region_is_followed_between_two_searches_and_covers_what_it_covered() -> None:
    search = Search()
    masks = FollowedMask(EVERY, search)
    for index in range(2 * EVERY):
        search.left, search.top = 40 + 9 * index, 90 - 4 * index
        mask = masks.of(image := street(search.left, search.top), at(image, index))
        assert masks.age == index % EVERY
        print_ = mask[search.top : search.top + SIDE, search.left : search.left + SIDE]
        assert (print_ > 0).mean() > 0.99, index
        assert np.count_nonzero(mask) < 1.5 * SIDE**2
    assert search.asked == 2


def test_every_image_of_no_video_is_searched() -> None:
    image = street(40)
    for frames in (
        [Frame(image, n, 0, 0.0) for n in range(3)],
        [at(image, n, fps=0.9 / LONGEST_S) for n in range(3)],
        [at(image, n) for n in (2, 1, 0)],
        [at(i, n) for n, i in enumerate([image, image[:200], image])],
    ):
        search = Search()
        masks = FollowedMask(EVERY, search)
        for frame in frames:
            masks.of(frame.pixels, frame)
        assert search.asked == 3


def test_a_region_that_is_not_found_again_calls_for_a_search_at_once() -> None:
    gone = (street(40 + REACH + SIDE), street(40, pattern=False), street(40, seed=1))
    for image in gone:
        search = Search()
        masks = FollowedMask(EVERY, search)
        masks.of(first := street(40), at(first, 0))
        masks.of(image, at(image, 1))
        assert search.asked == 2


@pytest.mark.parametrize(
    ("then", "asked"), [((30.0, 200.0), 1), ((34.0, 200.0), 1), ((30.0,), 2), ((30.0, 200.0, 100.0), 2)]
)
def test_whoever_appears_or_vanishes_calls_for_a_search(then: tuple[float, ...], asked: int) -> None:
    search = Search()
    masks = FollowedMask(EVERY, search)
    image = street(40)
    for index, who in enumerate([(30.0, 200.0), then]):
        masks.of(image, at(image, index))
        masks.saw(people(*who))
    masks.of(image, at(image, 2))
    assert search.asked == asked


class Marks:
    """A network that is sure of whatever is colourful, counts, and remembers by how much images were enlarged."""

    def __init__(self) -> None:
        self.asked = 0
        self.factors: set[float] = set()

    def confidence(self, image: UInt8Array, enlarge: float) -> Float32Array:
        self.asked += 1
        self.factors.add(enlarge)
        lively = np.ptp(image, axis=2) > 45
        return np.asarray(cv2.blur(lively.astype(np.float32), (25, 25)), np.float32)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Marks:
    marks = Marks()
    monkeypatch.setattr(erase_module, "eraser_for", lambda *_: marks)
    return marks


def test_a_guard_looks_at_every_third_image_of_a_video_and_at_each_of_a_folder_or_batch(network: Marks) -> None:
    guard: Any = PatternEraser().guard(BlobDetector())
    texts = [guard.detect(at(street(40 + 3 * n), n)).alerts[0].text for n in range(6)]
    assert network.asked == 2
    assert ["followed" in t for t in texts] == [False, True, True, False, True, True]
    assert texts[2].endswith("found 2 images before and followed")
    guard.reset()
    for n in range(3):
        guard.detect(Frame(street(40), n, 0, 0.0))
    guard.detect_batch([street(40)] * 3)
    assert network.asked == 8
    one: Any = PatternEraser(every=1).guard(BlobDetector())
    for n in range(3):
        one.detect(at(street(40), n))
    assert network.asked == 11


def test_a_video_gives_the_same_answers_again(network: Marks) -> None:
    guard: Any = parse_pipeline("erase").guard(BlobDetector())
    frames = []
    for n in range(5):
        draw_person(image := street(40 + 5 * n), (200, 40, 260, 220))
        frames.append(at(image, n))

    def run() -> list[Any]:
        guard.reset()
        return [(d.xyxy.tolist(), d.alerts, d.seen.tobytes()) for d in map(guard.detect, frames)]

    assert isinstance(guard, EraseGuard)
    assert run() == run()


def test_the_network_answers_alike_on_every_backend() -> None:
    image = street(40)
    reference = TorchEraser("").confidence(image, 1.5)
    assert reference[100:140, 50:90].mean() > reference[:, 200:].mean()
    same = OpenVinoEraser("", "fp32").confidence(image, 1.5)
    assert same.shape == reference.shape and np.abs(same - reference).max() < 1e-3
    assert np.abs(OpenVinoEraser("", "auto").confidence(image, 1.5) - reference).mean() < 0.02


@pytest.mark.parametrize(("imgsz", "factor"), [(320, 1.5), (416, 1.5), (512, 1.25), (640, 1.0), (1280, 1.0)])
def test_a_guard_and_the_twin_enlarge_by_the_detectors_input(imgsz: int, factor: float, network: Marks) -> None:
    detector = BlobDetector()
    detector.imgsz = imgsz
    PatternEraser().guard(detector).detect(at(street(40), 0))
    assert network.factors == {factor}
    sized = parse_pipeline("balanced").at_size(imgsz)
    assert str(sized) == "balanced" and isinstance(sized.defences[0], PatternEraser)
    assert sized.defences[0].enlarge == factor
    assert PatternEraser(enlarge=0.8).at_size(imgsz).enlarge == 0.8


def test_the_twin_removes_what_the_guard_removes() -> None:
    image = np.asarray(cv2.resize(street(40), (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)
    sized = PatternEraser().at_size(640)
    grid = sized.suspicion(to_tensor(image)[None])
    (mine,) = sized.located([image], grid)
    theirs = sized.searched(image, TorchEraser(""))
    assert theirs.any() and np.count_nonzero(mine != theirs) < 0.02 * np.count_nonzero(theirs)
