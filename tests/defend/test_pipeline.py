"""Pipelines: read from text, refused in one clear line, wrapped in the right order."""

import json
import re

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.defend import DEFENCES, PRESETS, parse_pipeline
from physadv.errors import DefenceError
from physadv.types import Detections, Frame, UInt8Array


def test_none_is_the_detector_itself() -> None:
    detector = BlobDetector()
    assert parse_pipeline("").guard(detector) is detector
    assert parse_pipeline("none").guard(detector) is detector


def test_parameters_are_read_and_written_back() -> None:
    pipeline = parse_pipeline("jpeg:quality=40, persistence:keep=.08;birth=.6")
    assert pipeline.text == "jpeg:quality=40,persistence:birth=0.6+keep=0.08"
    assert parse_pipeline(pipeline.text).text == pipeline.text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("vote:agree=2+merge=mean", "vote:merge=mean+agree=2"),
        ("vote:agree=2;merge=mean", "vote:merge=mean+agree=2"),
        ("vote:views=plain+flip+agree=2", "vote:views=plain+flip+agree=2"),
        ("noise:sigma=1e+1+seed=2", "noise:sigma=10.0+seed=2"),
        ("jpeg:quality=+40", "jpeg:quality=40"),
        ("objectseeker:whole-conf=.3 + per-frame=2", "objectseeker:whole_conf=0.3+per_frame=2"),
    ],
)
def test_a_plus_or_a_semicolon_between_parameters(text: str, canonical: str) -> None:
    """No shell takes a plus for its own: what is printed can be typed without quotes."""
    assert parse_pipeline(text).text == canonical
    assert not set(canonical) & set(" ;&|<>()$`\\\"'*?[]#~!{}")
    assert parse_pipeline(canonical).text == canonical


@pytest.mark.parametrize(
    "text",
    ["sharpen", "jpeg:quality=0", "jpeg:quality=nan", "jpeg:colour=3", "jpeg:quality", "median:size=4", "median:size=2.5",
     "jpeg,jpeg", "fast:size=3", "vote:views=plain", "vote:views=plain+upside", "vote:merge=vote;agree=9",
     "persistence:birth=.1;keep=.3", "erase:weights=/nowhere/x.safetensors", "persistence:keep=.01"],
)  # fmt: skip
def test_what_cannot_work_is_said_at_once(text: str) -> None:
    with pytest.raises(DefenceError) as error:
        parse_pipeline(text).guard(BlobDetector())
    assert "\n" not in str(error.value)
    assert re.search(r"expected|should be|once|no parameters|no such|joined", str(error.value)), str(error.value)


def test_every_defence_says_what_it_is_and_offers_its_parameters() -> None:
    for name, defence in DEFENCES.items():
        assert defence.name == name
        assert defence.title and defence.paper and defence.cost
        schema = defence.model_json_schema()
        assert schema["additionalProperties"] is False
        json.dumps(schema)


def test_presets_parse() -> None:
    assert set(PRESETS) == {"fast", "balanced", "certified"}
    for preset in PRESETS:
        assert str(parse_pipeline(preset)) == preset
        assert parse_pipeline(preset).description.startswith(preset)


class Recorder(BlobDetector):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.last: UInt8Array | None = None

    def detect(self, frame: Frame) -> Detections:
        self.last = frame.pixels
        return super().detect(frame)


def test_the_first_named_works_on_the_cameras_image() -> None:
    image: UInt8Array = np.full((480, 640, 3), 100, np.uint8)
    for text, value in (("brightness:gain=2,bit-depth:bits=1", 255), ("bit-depth:bits=1,brightness:gain=2", 0)):
        detector = Recorder()
        parse_pipeline(text).guard(detector).detect(Frame(image, 0, 0, 0.0))
        assert detector.last is not None and int(detector.last[0, 0, 0]) == value


def test_transforms_compose_back_to_the_frame() -> None:
    image: UInt8Array = np.full((480, 640, 3), 90, np.uint8)
    draw_person(image, (100, 100, 200, 400))
    guard = parse_pipeline("persistence,flip,stretch:x=1.4,jpeg:quality=90").guard(BlobDetector())
    out = guard.detect(Frame(image, 0, 0, 0.0)).above(0.5)
    assert len(out) == 1 and out.track is not None
    np.testing.assert_allclose(out.xyxy[0], (100, 100, 200, 400), atol=2)
    assert out.seen is not None and out.to_seen is not None
    corner = out.to_seen[:, :2] @ [100, 100] + out.to_seen[:, 2]
    assert corner[0] > out.seen.shape[1] / 2


def test_cost_is_the_defences_own_time() -> None:
    guard = parse_pipeline("jpeg,persistence").guard(BlobDetector())
    image: UInt8Array = np.full((480, 640, 3), 90, np.uint8)
    guard.detect(Frame(image, 0, 0, 0.0))
    cost = guard.cost_ms
    assert 0 < cost < 1000
