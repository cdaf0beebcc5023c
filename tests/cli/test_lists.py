"""`physadv defences` and `physadv patterns`: tables for people, JSON for programs."""

import json
from io import StringIO
from pathlib import Path

import pytest
from tiny import tiny_detector

from physadv.cli import main
from physadv.cli.console import Terminal
from physadv.cli.defences import example
from physadv.cli.patterns import first_sentence
from physadv.defend import DEFENCES, PRESETS, parse_pipeline
from physadv.patch import load_patch, shipped_names


def test_every_defence_is_listed_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name, kind in DEFENCES.items() if kind.certifies} == {"objectseeker", "patchcleanser"}
    assert main(["defences"]) == 0
    text = capsys.readouterr().out
    for name, kind in DEFENCES.items():
        row = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert ("certified" if kind.certifies else "empirical") in row
        assert kind.cost.split(";")[0].split(" where")[0][:20] in row
    for preset, means in PRESETS.items():
        assert f"{preset} " in text and means in text


@pytest.mark.parametrize("name", DEFENCES)
def test_the_example_of_a_defence_parses(name: str) -> None:
    assert parse_pipeline(example(name)).defences[0].name == name


def test_parameters_of_one_defence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["defences", "vote"]) == 0
    text = capsys.readouterr().out
    assert "mean, vote" in text and "from 1 to 10" in text
    assert "--defend vote:views=plain+flip+bright+median+merge=vote" in text
    assert main(["defences", "objectseeker", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "certified"
    assert found["parameters"]["lines"] == {
        "type": "integer",
        "range": "from 1 to 30",
        "default": 5,
        "description": "lines each way; each gives two masked views",
    }


def test_a_defence_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["defences", "vot"]) == 2
    assert capsys.readouterr().err == "physadv defences: unknown defence 'vot'; did you mean vote?\n"


def test_a_hardened_detector_is_a_defence_that_costs_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hard").mkdir()
    made = {"detector": {"sha256": "f"}, "parent": {"name": "yolo11n-pose"}, "harden": {"method": "free"}}
    (tmp_path / "hard" / "run.json").write_text(json.dumps(made))
    (tmp_path / "hard" / "detector.pt").write_bytes(b"weights")
    assert main(["defences"]) == 0
    text = capsys.readouterr().out
    assert "--detector hard: yolo11n-pose hardened by free. No evaluation of it is here." in text
    assert main(["defences", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["hardened"]
    assert one["detector"] == "hard"


def test_defences_as_json_and_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["defences", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [d["name"] for d in found["defences"]] == list(DEFENCES)
    assert found["presets"] == PRESETS
    assert main(["defences", "fast"]) == 0
    assert f"--defend {PRESETS['fast']}" in capsys.readouterr().out


def test_shipped_patterns_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["patterns"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in shipped_names())
    assert main(["patterns", "--json"]) == 0
    found = {p["name"]: p for p in json.loads(capsys.readouterr().out)}
    assert list(found) == shipped_names()
    assert len(found) <= 8
    for name, one in found.items():
        patch = load_patch(name)
        said = [one[k] for k in ("target", "framing", "width_mm", "height_mm", "size_curve", "when")]
        # Of a pattern that acts on a condition the curve over that is what counts.
        curve = not patch.when or "size_curve" in patch.record
        assert said == [patch.target, patch.framing, *patch.size_mm, curve, patch.when]
        assert load_patch(one["file"]).sha256 == patch.sha256 and Path(one["card"]).is_file()
        assert one["recommended_for"] and one["framing"]


def test_the_first_sentence_of_a_card(tmp_path: Path) -> None:
    card = tmp_path / "x.md"
    assert first_sentence(card) == ""
    card.write_text("# x\n\nFor people in\nthe street. Not indoors.\n\n* Size")
    assert first_sentence(card) == "For people in the street"


def test_costs_are_measured_on_this_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physadv.detect.load_detector", lambda _, imgsz: tiny_detector(imgsz=imgsz))
    assert main(["defences", "--measure", "--imgsz", "64"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[1:5]] == ["none", *PRESETS]
    assert all(row[-2] == "about" and int(row[-1]) > 0 for row in rows[1:5])
    assert main(["defences", "median", "--measure", "--imgsz", "64", "--json"]) == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert costs.keys() == {"none", "median"} and costs["none"]["ratio"] == 1


class Gone(StringIO):
    """The way to a reader that is no longer there."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_table_whose_reader_went_away_is_left_to_the_commands_edge() -> None:
    with pytest.raises(BrokenPipeError):
        Terminal(file=Gone()).print("a table")
