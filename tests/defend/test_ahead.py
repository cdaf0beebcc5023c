"""Views that depend on the image alone are made ahead: the detector is asked about them before their frame's turn."""

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.defend import Guarded, parse_pipeline
from physadv.live.inference import DefendedDetector, Inference
from physadv.types import Detections, Frame


class Asked(BlobDetector):
    """A detector that remembers what it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    def detect(self, frame: Frame) -> Detections:
        self.frames.append(frame)
        return super().detect(frame)


def lively(index: int) -> Frame:
    pixels = np.full((480, 640, 3), 150, np.uint8)
    draw_person(pixels, (100 + 4 * index, 100, 180 + 4 * index, 380))
    pixels[200:260, 400:460] = np.random.default_rng(index).integers(0, 256, (60, 60, 3))
    return Frame(pixels, index, 0, index / 30)


@pytest.mark.parametrize("text", ["fast", "lgs:plain=false", "lgs"])
def test_a_view_made_ahead_is_asked_about_and_gives_the_same_answer(text: str) -> None:
    detector = Asked()
    guard = parse_pipeline(text).guard(detector)
    assert isinstance(guard, Guarded)
    frame = lively(0)
    asked = guard.ahead(frame)
    first = guard.detect(frame)
    assert asked is not None and detector.frames[0] is asked
    assert guard.cost_ms > 0
    guard.reset()
    again = guard.detect(frame)
    assert len({id(f) for f in detector.frames}) == len(detector.frames) - (text == "lgs")
    assert first.xyxy.tolist() == again.xyxy.tolist() and len(first) > 0


@pytest.mark.parametrize("text", ["noise", "erase", "objectseeker", "persistence", "lgs,median"])
def test_what_depends_on_more_is_not_made_ahead(text: str) -> None:
    guard = parse_pipeline(text).guard(BlobDetector())
    assert isinstance(guard, Guarded) and guard.ahead(lively(0)) is None


def test_the_loops_inference_begins_views_and_answers_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [lively(n) for n in range(4)]
    plain = parse_pipeline("fast").guard(BlobDetector())
    expected = [plain.detect(f).xyxy.tolist() for f in frames]
    detector = Asked()
    inference = Inference(detector, limit_s=None)
    try:
        inference.use(detector, DefendedDetector(parse_pipeline("fast"), detector))
        inference.begin_view(frames[0])
        found = []
        for frame, coming in zip(frames, [*frames[1:], None], strict=True):
            if coming is not None:
                inference.begin_view(coming)
            found.append(inference.answers(frame, compare=False, stage_ms={})[0].xyxy.tolist())
        assert found == expected and len(detector.frames) == len(frames), "each view is looked at once"
        monkeypatch.setattr("physadv.defend.lgs._gradient", lambda _: 1 / 0)
        inference.begin_view(lively(5))
    finally:
        inference.close()
