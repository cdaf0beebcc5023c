"""What `physadv evaluate` calls patterns and detectors, which of them it refuses, and what it says of its splits."""

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import BlobDetector, draw_person

from physadv.arrays import write_png
from physadv.cli import main
from physadv.cli.evaluate import run
from physadv.cli.evaluate_flags import EvaluateVerb
from physadv.dataset import split_by_name
from physadv.errors import DataError, DefenceError, SettingsError, WeightsError
from physadv.evaluate.run import Asked, Evaluation, load_patches
from physadv.evaluate.scorer import Scorer
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.evaluate.video import VideoScorer
from physadv.files import shortest_ends
from physadv.patch import Patch, save_patch


def test_two_runs_of_one_name_are_distinguished_by_their_folders(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 3), 128, np.uint8)
    patch = Patch("chest", pixels, np.full((8, 8), 255, np.uint8), (360.0, 360.0))
    for folder in ("a", "b"):
        save_patch(patch, tmp_path / folder / "run")
    given = [str(tmp_path / folder / "run") for folder in ("a", "b")]
    assert [p.name for p in load_patches(given)] == ["a-run", "b-run"]
    files = [f"{g}/patch.safetensors" for g in given]
    named = load_patches(files)
    assert [p.name for p in named] == ["a-run-patch", "b-run-patch"]
    assert [p.sha256 for p in named] == [patch.sha256] * 2
    assert [p.name for p in load_patches(given[:1])] == ["chest"]
    with pytest.raises(SettingsError, match="rename one"):
        load_patches([given[0], given[0]])


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two images of one person each."""
    for i in range(2):
        pixels = np.full((120, 160, 3), 90, np.uint8)
        draw_person(pixels, (50 + 10 * i, 20, 90 + 10 * i, 110))
        write_png(tmp_path / "people" / f"{i}.png", pixels)
    return tmp_path / "people"


@pytest.fixture
def bests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectors that take no time and are called after their files, as those of runs often are: best."""

    def load(*_: Any, **__: Any) -> BlobDetector:
        detector = BlobDetector(min_conf=0.001)
        detector.name = "best"
        return detector

    monkeypatch.setattr("physadv.evaluate.run.load_detector", load)
    monkeypatch.setattr("physadv.evaluate.run.labelling", load)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--video nope.mp4", "--video: there is no 'nope.mp4': expected a video file or a folder of images"),
        ("--images {people} --clean-video nope.avi", "--clean-video: there is no 'nope.avi': expected a video file"),
        ("--video {empty}", "--video: {empty}: the file is empty"),
        ("--images {film}", "--images: expected photographs, got the video '{film}'; give it by --video"),
        ("--images {people} --scale 5", "--scale: expected at most 2, got '5'"),
        ("--images {people} --imgsz 0", "--imgsz: expected at least 32, got '0'"),
        ("--images {people} --min-area 5", "--min-area: expected less than 1, got '5'"),
        ("--images {people} --resamples 0", "--resamples: expected at least 20, got '0'"),
        ("--images {people} --out {people}/report", "--out: {people}/report would lie among the images of {people}"),
        ("--images {people} --device cuda:77", "--device: expected auto, cpu, cuda or mps"),
        (
            "--images {people} --adaptive --defend persistence",
            "--adaptive: persistence does nothing in single images",
        ),
        ("--images {people} --defend erase:weights=none", "--defend: erase: none: no such weights file"),
    ],
)
def test_a_mistake_is_one_line_by_its_flag_before_the_work(
    words: str,
    says: str,
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("physadv.evaluate.run.read_dataset", None)
    (tmp_path / "empty").touch()
    (tmp_path / "film.MP4").touch()
    places = {"people": "people", "empty": "empty", "film": "film.MP4"}
    assert main(["evaluate", *words.format(**places).split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"physadv evaluate: {says.format(**places)}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "film.MP4", "people"]


@pytest.mark.usefixtures("bests")
def test_a_defence_that_cannot_work_is_said_before_anything_is_scored(people: Path, tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"x")
    with pytest.raises(DefenceError, match="not readable as weights"):
        run(EvaluateVerb(images=people, defend=[f"erase:weights={tmp_path / 'torn'}"], imgsz=160, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("bests")
def test_another_evaluation_is_not_written_over(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {"imgsz": 160, "resamples": 20, "out": tmp_path / "out"}
    run(EvaluateVerb(**values, images=people))
    run(EvaluateVerb(**values, images=people))
    monkeypatch.chdir(people)
    with pytest.raises(SettingsError, match="out: scored would lie among the images of"):
        run(EvaluateVerb(**{**values, "images": people, "out": Path("scored")}))
    monkeypatch.chdir(tmp_path)
    others = people.rename(tmp_path / "others")
    for given in ({"images": others}, {"video": others}, {"images": others, "patches": ["webcam"]}):
        with pytest.raises(SettingsError, match="holds an evaluation of no pattern on people; name another folder"):
            run(EvaluateVerb(**values, **given))
    run(EvaluateVerb(**values, images=others, overwrite=True))
    with pytest.raises(SettingsError, match="holds an evaluation of no pattern on others, with another `scale`; name"):
        run(EvaluateVerb(**values, images=others, scale=0.3))
    write_png(others / "0.png", np.zeros((90, 90, 3), np.uint8))
    with pytest.raises(SettingsError, match="holds an evaluation of no pattern on others; name"):
        run(EvaluateVerb(**values, images=others))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["images"] == "others"


def test_an_evaluation_that_is_terminated_says_what_is_kept_and_can_be_made_again(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    argv = ["evaluate", "webcam", "--images", str(people), "--out", str(out), "--resamples", "20"]

    def load(*_: Any, **__: Any) -> BlobDetector:
        return BlobDetector(min_conf=0.001)

    monkeypatch.setattr("physadv.evaluate.run.load_detector", load)
    monkeypatch.setattr("physadv.evaluate.run.labelling", load)
    real = Scorer.scoring

    def terminated(self: Scorer, *words: Any, **more: Any) -> Any:
        if self.cells:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        return real(self, *words, **more)

    monkeypatch.setattr(Scorer, "scoring", terminated)
    assert main(argv) == 130
    assert f"the rows scored until then are in {out / 'results.json'}" in capsys.readouterr().err
    assert len(json.loads((out / "results.json").read_text())) == 1
    assert not list(out.glob(".*"))
    monkeypatch.setattr(Scorer, "scoring", real)
    assert main(argv) == 0
    assert len(json.loads((out / "results.json").read_text())) > 1


@pytest.mark.usefixtures("bests")
def test_a_video_that_is_terminated_in_its_second_round_keeps_the_first(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    # Two patterns of other framings: each is scored at sizes of its own.
    argv = ["evaluate", "webcam", "street", "--video", str(people), "--out", str(out), "--resamples", "20"]
    real, rounds = VideoScorer.scoring, list[int]()

    def terminated(self: VideoScorer) -> Any:
        rounds.append(1)
        if len(rounds) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        return real(self)

    monkeypatch.setattr(VideoScorer, "scoring", terminated)
    assert main(argv) == 130
    assert f"the rows scored until then are in {out / 'results.json'}" in capsys.readouterr().err
    rounds.append(1)
    assert main([*argv, "--overwrite"]) == 0
    rounds[:] = [1]
    assert main([*argv, "--overwrite"]) == 130
    assert "nothing was scored yet" in capsys.readouterr().err


@pytest.mark.usefixtures("bests")
def test_an_evaluation_without_a_folder_of_its_own_finds_a_free_one(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (people / "clip.mov").touch()
    (people / "torn.jpg").touch()
    values: dict[str, Any] = {"imgsz": 160, "resamples": 20}
    run(EvaluateVerb(**values, images=people))
    run(EvaluateVerb(**values, images=people.rename(tmp_path / "others")))
    assert sorted(p.name for p in tmp_path.glob("evaluation*")) == ["evaluation", "evaluation-2"]
    said = "".join(capsys.readouterr())
    for line in ("left out as unreadable: 1 file: ", "torn.jpg", "left out as no images: 1 file: 1 .mov"):
        assert line in said and line in (tmp_path / "evaluation" / "report.md").read_text()


@pytest.mark.usefixtures("bests")
def test_two_detectors_of_one_name_are_distinguished_by_their_folders(people: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {"detector": "a/best.pt, b/best.pt", "imgsz": 160, "resamples": 20}
    run(EvaluateVerb(**values, images=people, out=tmp_path / "images"))
    run(EvaluateVerb(**values, video=people, out=tmp_path / "video"))
    for folder in ("images", "video"):
        cells = json.loads((tmp_path / folder / "results.json").read_text())
        assert [c["detector"] for c in cells] == ["a-best", "b-best"]
        assert all(name in (tmp_path / folder / "report.md").read_text() for name in ("a-best", "b-best"))
        # Asked for 160, these look at images of 640 pixels; which they are, their weights' hashes say.
        assert {c["imgsz"] for c in cells} == {640}
        known = json.loads((tmp_path / folder / "run.json").read_text())["detectors"]
        assert known == [{"name": c["detector"], "sha256": BlobDetector.sha256} for c in cells]
    tables = sorted(p.name for p in (tmp_path / "video").glob("frames-*.csv"))
    assert tables == ["frames-a-best.csv", "frames-b-best.csv"]


@pytest.mark.parametrize("named", ["best.pt,./best.pt", "yolo11n-pose,yolo11n-pose.pt", "best.pt,link.pt", "n.pt,n.pt"])
def test_a_detector_named_twice_is_refused(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pt").touch()
    (tmp_path / "link.pt").symlink_to("best.pt")
    with pytest.raises(SettingsError, match="is named twice"):
        run(EvaluateVerb(images=tmp_path, detector=named))


def test_a_detector_whose_path_has_a_comma_is_one(tmp_path: Path) -> None:
    (tmp_path / "a,b.pt").touch()
    with pytest.raises(WeightsError, match=r"a,b\.pt"):
        run(EvaluateVerb(images=tmp_path, detector=f"{tmp_path}/a,b.pt", trust=True))


@pytest.mark.usefixtures("bests")
@pytest.mark.parametrize(
    ("there", "says"),
    [
        ("train", "adaptive: `score_share` 0.25 leaves nobody of .* to score; raise it"),
        ("score", "adaptive: `score_share` 0.25 leaves nobody of .* to train on; lower it"),
    ],
)
def test_a_split_that_leaves_nobody_is_put_down_to_what_made_it(there: str, says: str, tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(8)]
    train, _ = split_by_name(names, held_out=0.25)
    for name in names:
        pixels = np.full((120, 160, 3), 90, np.uint8)
        if (name in train) == (there == "train"):
            draw_person(pixels, (50, 20, 90, 110))
        write_png(tmp_path / "people" / name, pixels)
    with pytest.raises(DataError, match=says):
        run(EvaluateVerb(images=tmp_path / "people", adaptive=True, defend=["median"], imgsz=160, out=tmp_path / "out"))


@pytest.mark.usefixtures("bests")
@pytest.mark.parametrize(
    ("trained", "flag", "says"),
    [
        (["0.png", "1.png"], "adaptive", "adaptive: .* every image of .* records go before `score_share`"),
        (["0.png", "1.png"], "held_out", "^held_out: the patterns were trained on every image"),
        (["nobody.png"], "adaptive", "adaptive: nobody is in the images .* trained on"),
    ],
)
def test_so_is_the_patterns_own_split(people: Path, trained: list[str], flag: str, says: str, tmp_path: Path) -> None:
    write_png(people / "nobody.png", np.full((120, 160, 3), 90, np.uint8))
    pixels, mask = np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8)
    # Its own images and those of the pattern that it began from count alike.
    record = {"split": {"train": trained[:1]}, "start": {"train": trained[1:]}}
    save_patch(Patch("mine", pixels, mask, (360.0, 360.0), record=record), tmp_path / "run")
    given: dict[str, Any] = {flag: True, "patches": [str(tmp_path / "run")], "defend": ["median"]}
    with pytest.raises(DataError, match=says):
        run(EvaluateVerb(**given, images=people, imgsz=160, out=tmp_path / "out"))


@pytest.mark.usefixtures("bests")
def test_held_out_leaves_exactly_the_images_that_no_pattern_was_trained_on(tmp_path: Path) -> None:
    digests = {}
    for i in range(6):
        pixels = np.full((120, 160, 3), 90 + i, np.uint8)
        draw_person(pixels, (50, 20, 90, 110))
        write_png(tmp_path / "people" / f"{i}.png", pixels)
        digests[f"{i}.png"] = hashlib.sha256(pixels.tobytes()).hexdigest()
    (tmp_path / "labels").mkdir()
    for i in range(6):
        (tmp_path / "labels" / f"{i}.txt").write_text("0 0.4375 0.541667 0.25 0.75")
    splits = [["0.png", "elsewhere.png"], [digests["2.png"], "5.png"]]
    pixels, mask = np.full((8, 8, 3), 128, np.uint8), np.full((8, 8), 255, np.uint8)
    patches = [
        Patch(f"p{i}", pixels, mask, (360.0, 360.0), record={"split": {"train": split, "held_out": ["1.png"]}})
        for i, split in enumerate(splits)
    ]

    def names(**flags: Any) -> list[str]:
        asked = Asked(EvaluateSettings(), patches, [], [], labels=tmp_path / "labels", **flags)
        data, others = finish(Evaluation(asked)._data(tmp_path / "people"))
        assert sorted({s.name for s in others} | {s.name for s in data.images}) == sorted(digests)
        return [s.name for s in data.images]

    assert names() == sorted(digests)
    assert names(held_out=True) == ["1.png", "3.png", "4.png"]


def test_paths_are_distinguished_by_their_shortest_ends() -> None:
    assert shortest_ends(["x/a", "y/b"]) == ["a", "b"]
    assert shortest_ends(["x/a", "y/a"]) == ["x/a", "y/a"]
    assert shortest_ends(["a", "x/a"]) == ["a", "x/a"]
    assert shortest_ends(["x/a", "x/a"]) == ["a", "a"]
    assert shortest_ends([]) == []


@pytest.mark.parametrize("word", ["", ",", " , "])
def test_an_empty_word_for_a_pattern_is_refused(
    word: str, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", word, "--images", str(people), "--out", str(out)]) == 2
    assert "PATTERN: expected one name or path or more, got an empty word" in capsys.readouterr().err
    assert not out.exists()
