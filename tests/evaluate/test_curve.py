"""Patterns over a condition: a cell at each point and on both sides, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.dataset import LabelledImage
from physadv.defend import Defence, Pipeline
from physadv.errors import SettingsError
from physadv.evaluate import evaluate
from physadv.evaluate.curve import Curve
from physadv.evaluate.noticed import noticed
from physadv.evaluate.settings import EvaluateSettings
from physadv.patch import Patch, load_patch
from physadv.types import Alert, Detections, Detector, GradientDetector, UInt8Array


def switch(**settings: object) -> Patch:
    """A pattern whose left half is black, trained upright by its record."""
    pixels = np.full((32, 32, 3), 200, np.uint8)
    record = {"settings": {"framing": "street", "when": "upright", "otherwise": "tilt:90-180", **settings}}
    return Patch("switch", pixels, np.full((32, 32), 255, np.uint8), (360.0, 360.0), "chest", record)


def people(count: int = 3) -> list[LabelledImage]:
    out = []
    for i in range(count):
        pixels = np.full((160, 160, 3), 60, np.uint8)
        box = (40 + 5 * i, 20, 100 + 5 * i, 150)
        draw_person(pixels, box)
        out.append(LabelledImage(f"{i}.jpg", pixels, np.array([box], np.float32), np.zeros((1, 17, 3), np.float32)))
    return out


def test_a_curve_has_a_cell_at_each_point_and_what_needs_both_sides(tmp_path: Path) -> None:
    results = evaluate([switch()], people(), [BlobDetector()], settings=EvaluateSettings(resamples=20), curve="tilt")
    mine = [c for c in results.cells if c.condition == "patch"]
    assert [(c.transform, c.extra["side"]) for c in mine][::4] == [
        ("tilt 0 degrees", "active"), ("tilt 35 degrees", ""), ("tilt 120 degrees", "dormant"), ("dormant", "dormant"),
    ]  # fmt: skip
    assert {c.condition for c in results.cells} == {"none", "grey", "shuffled", "patch"}
    both = next(c for c in mine if c.transform == "active").extra
    assert both["joint_people"] >= 0 and 0 <= both["auc"] <= 1
    titles = [table.title for table in results.tables()]
    assert titles[0].startswith("Tilt, recall .25") and titles[-1].startswith("Both sides")
    report = results.report(tmp_path).read_text()
    assert "gone and seen" in report
    rows = json.loads((tmp_path / "results.json").read_text())
    assert {row["curve"] for row in rows} == {"tilt"} and "auc" in next(r for r in rows if r["transform"] == "active")


class Suspicious(Defence):
    """Says where something white lies, and sees nobody differently."""

    name = "suspicious"
    title = "says where something white lies"
    paper = ""

    def guard(self, detector: Detector) -> Detector:
        class Guarded(BlobDetector):
            def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
                out = []
                for pixels, found in zip(images, super().detect_batch(images), strict=True):
                    y, x = np.nonzero((pixels > 190).all(2))
                    where = (float(x.min()), float(y.min()), float(x.max()), float(y.max())) if len(x) else None
                    said = [] if where is None else [Alert("suspicious", "white", where)]
                    out.append(replace(found, alerts=(*said, Alert("notice", "looked", None))))
                return out

        return Guarded()

    def twin(self, detector: GradientDetector) -> GradientDetector:
        return detector


def test_it_is_scored_what_a_defence_notices_on_both_sides(tmp_path: Path) -> None:
    settings = EvaluateSettings(resamples=20)
    results = evaluate(
        [switch()], people(), [BlobDetector()], settings=settings, curve="tilt", defences=[Pipeline((Suspicious(),))]
    )
    behind = [c for c in results.cells if c.defence != "none"]
    # White prints are noticed wherever they are turned, nothing and grey never: both are darker.
    assert {(c.condition, c.transform): c.extra["noticed"] for c in behind} == {
        ("none", "active"): 0.0, ("grey", "active"): 0.0, ("patch", "active"): 1.0,
        ("none", "dormant"): 0.0, ("grey", "dormant"): 0.0, ("patch", "dormant"): 1.0,
    }  # fmt: skip
    assert next(c for c in behind if c.condition == "patch").extra["noticed_by"] == ["suspicious"]
    titles = [table.title for table in results.tables()]
    assert titles[-1].startswith("What defences notice of it") and titles[-2].startswith("Both sides")
    text = results.report(tmp_path).read_text()
    assert "| suspicious | switch | dormant | 3 | 1.000" in text


def test_an_alert_is_about_those_on_whom_it_lies() -> None:
    image = people(1)[0]
    two = replace(
        image,
        boxes=np.array([[0, 0, 40, 100], [100, 0, 150, 100]], np.float32),
        keypoints=np.zeros((2, 17, 3), np.float32),
    )
    assert noticed(two, [Alert("removed", "", (10, 10, 30, 30))]).tolist() == [True, False]
    assert noticed(two, [Alert("removed", "", (30, 10, 90, 30))]).tolist() == [False, False]
    assert noticed(two, [Alert("probe", "", None)]).tolist() == [True, True]
    assert noticed(two, [Alert("notice", "", None)]).tolist() == [False, False]


def test_the_sides_are_those_of_the_first_pattern_with_a_condition() -> None:
    plain = load_patch("street")
    assert Curve.of("tilt", [plain, switch()]).off == ((-180.0, -90.0), (90.0, 180.0))
    assert Curve.of("tilt", [plain]).when == "upright"
    assert Curve.of("distance", [switch()]).on == ((4.0, 10),)


@pytest.mark.parametrize(("curve", "options", "field"), [
    ("wind", {}, "curve"), ("tilt", {"certify": True, "defences": "objectseeker"}, "certify"),
    ("tilt", {"conditions": "robust"}, "conditions"),
])  # fmt: skip
def test_what_is_not_scored_over_a_condition_is_refused(curve: str, options: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        evaluate([switch()], people(), [BlobDetector()], curve=curve, **options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_clothes_have_no_turn_of_their_own() -> None:
    with pytest.raises(SettingsError, match="worn as clothes"):
        Curve.of("tilt", [replace(switch(), target="tshirt")])
