"""Two evaluations compared: a difference that is there is found, one that is not is not, and nothing is left out unsaid."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.cli import main
from physadv.dataset import LabelledImage
from physadv.errors import DataError
from physadv.evaluate import evaluation
from physadv.evaluate.compare import _chance, compare
from physadv.evaluate.settings import EvaluateSettings
from tests.evaluate.conftest import patch_of, scene_of


def images(count: int) -> list[LabelledImage]:
    return [scene_of((20 + i, 30, 80 + i, 200), (180, 40, 250, 210), name=f"{i}.png") for i in range(count)]


def scored(folder: Path, data: list[LabelledImage], *, scale: float, name: str = "red") -> Path:
    settings = EvaluateSettings(resamples=20, scale=scale, at=0.5)
    results = None
    for update in evaluation(
        patch_of((200, 30, 30), name), data, BlobDetector(min_conf=0.001, smallest=58), settings=settings
    ):
        results = update.results
    assert results is not None
    results.report(folder)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The same twelve images with a large print, which hides everybody, and with a small one, which hides nobody."""
    return scored(tmp_path / "large", images(12), scale=1.9), scored(tmp_path / "small", images(12), scale=0.2)


def test_a_difference_is_found_and_none_is_invented(folders: tuple[Path, Path]) -> None:
    found = compare(*folders)
    of = {(d.labels[0], d.figure): d for d in found.differences}
    hidden = of["red", "hidden"]
    assert hidden.means == (1.0, 0.0) and hidden.real and hidden.p_holm < 0.05 and (hidden.n, hidden.units) == (24, 12)
    assert of["none", "hidden"].value == 0 and of["none", "hidden"].p == 1 and not of["none", "hidden"].real
    assert all(not d.real and d.value == 0 for d in compare(folders[0], folders[0]).differences)


def test_rows_of_one_evaluation_can_be_named(folders: tuple[Path, Path]) -> None:
    (hidden,) = [d for d in compare(f"{folders[0]}:red", f"{folders[1]}:red").differences if d.figure == "hidden"]
    assert hidden.value == 1.0
    none = compare(f"{folders[0]}:red", f"{folders[0]}:none").differences
    assert {d.labels for d in none} == {("red", "none")} and none[0].real
    with pytest.raises(DataError, match="called 'blue'"):
        compare(f"{folders[0]}:blue", folders[1])


def test_patterns_of_two_names_are_compared_and_people_of_one_side_alone_are_counted(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    other = scored(tmp_path / "other", images(9), scale=1.9, name="blue")
    found = compare(folders[1], other)
    assert any(set(d.labels) == {"red", "blue"} and d.n == 18 for d in found.differences)
    assert any("6 people are in one of the two alone" in note for note in found.notes)
    strangers = [scene_of((30, 20, 90, 210), name="new.png")]
    with pytest.raises(DataError, match="no person in common"):
        compare(folders[0], scored(tmp_path / "strangers", strangers, scale=1.9))


def test_few_units_never_make_a_real_difference() -> None:
    rng = np.random.default_rng(0)
    assert _chance(np.ones(3), rng) > 0.1
    assert _chance(np.ones(20), rng) < 0.01
    assert 300 * _chance(np.ones(20), rng, 12_000) < 0.05, "of 300 differences one this large is real"


def test_one_image_says_little_of_others(tmp_path: Path) -> None:
    one = [scored(tmp_path / f"{scale}", images(1), scale=scale) for scale in (1.9, 0.2)]
    (hidden,) = [d for d in compare(*one).differences if (d.labels[0], d.figure) == ("red", "hidden")]
    assert hidden.value == 1 and hidden.ci95 is not None and hidden.ci95[0] < 0.5 and not hidden.real


def test_the_command(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folders[0]), str(folders[1]), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"figure", "value", "ci95", "p_holm", "real", "n"} <= set(rows[0])
    assert main(["compare", str(folders[0]), str(tmp_path)]) == 2
    assert "people.csv" in capsys.readouterr().err
    (folders[1] / "people.csv").write_text("detector\n1\n")
    assert main(["compare", str(folders[0]), str(folders[1])]) == 2
    assert "expected a folder" in capsys.readouterr().err


def test_rows_that_cannot_differ_do_not_cost_the_others_anything(folders: tuple[Path, Path]) -> None:
    found = compare(*folders).differences
    tested = [d for d in found if d.differ]
    assert any(d.labels == ("none", "none") for d in found) and len(tested) < len(found)
    assert max(d.p_holm for d in tested) <= min(1.0, len(tested) * max(d.p for d in tested))
    assert all(d.p_holm == 1 for d in found if not d.differ)
    assert min(d.p_holm for d in tested) == pytest.approx(len(tested) * min(d.p for d in tested))


def test_people_who_are_listed_twice_and_other_thresholds_are_said(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "people.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[1:3]]))
    run = json.loads((folders[1] / "run.json").read_text())
    run["settings"]["conf"] = 0.1
    (folders[1] / "run.json").write_text(json.dumps(run))
    found = compare(*folders)
    assert any("2 rows are of people in images that are there twice" in note for note in found.notes)
    assert any("threshold-differs" in note and "0.25 and 0.1" in note for note in found.notes)
    assert compare(*folders).differences[0].n == 24
