"""Patterns over a condition: a cell at each point and on both sides, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.dataset import LabelledImage
from physadv.errors import SettingsError
from physadv.evaluate import evaluate
from physadv.evaluate.curve import Curve
from physadv.evaluate.settings import EvaluateSettings
from physadv.patch import Patch, load_patch


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


def test_the_sides_are_those_of_the_first_pattern_with_a_condition() -> None:
    plain = load_patch("street")
    assert Curve.of("tilt", [plain, switch()]).off == ((-180.0, -90.0), (90.0, 180.0))
    assert Curve.of("tilt", [plain]).when == "upright"
    assert Curve.of("distance", [switch()]).on == ((4.0, 10),)


@pytest.mark.parametrize(("curve", "options", "field"), [
    ("wind", {}, "curve"), ("tilt", {"defences": "median"}, "defend"), ("tilt", {"conditions": "robust"}, "conditions"),
])  # fmt: skip
def test_what_is_not_scored_over_a_condition_is_refused(curve: str, options: dict[str, str], field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        evaluate([switch()], people(), [BlobDetector()], curve=curve, **options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_clothes_have_no_turn_of_their_own() -> None:
    with pytest.raises(SettingsError, match="worn as clothes"):
        Curve.of("tilt", [replace(switch(), target="tshirt")])
