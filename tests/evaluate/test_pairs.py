"""Recordings of several arms compared: who is hidden, by how much more than under a control, and what makes it doubtful."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny import BlobDetector

from physadv.cli import main
from physadv.errors import DataError, SettingsError
from physadv.evaluate import evaluation
from physadv.evaluate.answers import answers_of, prune
from physadv.evaluate.cell import Cell
from physadv.evaluate.metrics import newcombe
from physadv.evaluate.pairs import Pairs, PairScorer
from physadv.evaluate.people_in_time import follow, look_for
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.evaluate.video import Recording
from physadv.files import sha256_of
from physadv.types import Detections, UInt8Array
from tests.evaluate.conftest import scene_of

SETTINGS = EvaluateSettings(resamples=200)
FPS = 10


class Counting(BlobDetector):
    """Counts the images that it is asked about."""

    asked = 0

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        self.asked += len(images)
        return super().detect_batch(images)


def film(path: Path, *, worn: float = 0.0, seconds: int = 12, at: int = 60, light: int = 0, repeat: int = 0) -> Path:
    """A person who walks. worn: share of the seconds in which a print covers them; at: where they start, in pixels."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (320, 240))
    for i in range(seconds * FPS):
        x = at + min(i, repeat or i) // 2
        pixels = scene_of((x, 40, x + 60, 200)).pixels + np.uint8(light)
        if (i // FPS * 7) % 12 < worn * 12:
            pixels[42:198, x + 2 : x + 58] = (200, 30, 30)
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    return path


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The arms none, grey (hides in a sixth of the seconds) and pattern (in five sixths)."""
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "cache"))
    shares = {"none": 0.0, "grey": 1 / 6, "pattern": 5 / 6}
    return {arm: film(tmp_path / f"{arm}.avi", worn=share) for arm, share in shares.items()}


def compared(films: dict[str, Path], detector: BlobDetector | None = None, **changes: Any) -> dict[str, Cell]:
    pairs = Pairs.of([f"{arm}={path}" for arm, path in films.items()])
    scorer = PairScorer(pairs, detector or BlobDetector(min_conf=0.01), SETTINGS.model_copy(update=changes))
    return {cell.condition: cell for cell in finish(scorer.scoring())}


def test_a_pattern_hides_more_than_its_control_and_the_interval_says_so(films: dict[str, Path]) -> None:
    cells = compared(films)
    assert cells["none"]["frame_asr"] == 0 and cells["none"].counted["n_people"] == 1
    assert cells["grey"]["frame_asr"] == pytest.approx(1 / 6, abs=0.01)
    assert cells["pattern"]["frame_asr"] == pytest.approx(5 / 6, abs=0.01)
    found = cells["pattern"].extra
    assert found["asr_above_grey"] == pytest.approx(2 / 3, abs=0.01)
    low, high = found["asr_above_grey_ci95"]
    assert 0.2 < low < 2 / 3 < high <= 1 and not any("not shown to hide" in d for d in cells["pattern"].doubts)
    assert cells["pattern"]["first_seen_s"] and any("order" in d for d in cells["none"].doubts)


def test_two_equal_recordings_do_not_differ(films: dict[str, Path]) -> None:
    cells = compared(films | {"pattern": films["none"]})
    low, high = cells["pattern"].extra["asr_above_none_ci95"]
    assert low <= 0 <= high
    assert any("the same file" in d for d in cells["pattern"].doubts)
    assert any("not shown to hide more people than a grey print" in d for d in cells["pattern"].doubts)


def test_another_threshold_asks_the_detector_nothing(films: dict[str, Path]) -> None:
    first = Counting(min_conf=0.01)
    compared(films, first)
    assert first.asked == 3 * 12 * FPS
    again = Counting(min_conf=0.01)
    assert compared(films, again, conf=0.5)["pattern"]["frame_asr"] == pytest.approx(5 / 6, abs=0.01)
    assert again.asked == 0


def test_a_damaged_memory_of_answers_is_made_anew(films: dict[str, Path], tmp_path: Path) -> None:
    before = compared(films)
    for kept in (tmp_path / "cache" / "answers").iterdir():
        kept.write_bytes(kept.read_bytes()[:100])
    after = compared(films)
    assert {arm: c.figures for arm, c in after.items()} == {arm: c.figures for arm, c in before.items()}


def test_answers_that_cannot_be_known_again_or_kept_are_asked_anew(
    films: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Counting(min_conf=0.01)
    detector.sha256 = None
    for times in (1, 2):
        finish(answers_of(Recording(films["none"]), detector))
        assert detector.asked == times * 12 * FPS
    (tmp_path / "full").write_bytes(b"")
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "full"))
    assert any("not remembered" in note for note in finish(answers_of(Recording(films["none"]), BlobDetector())).notes)


def test_who_steps_aside_is_not_hidden_and_a_chair_is_nobody() -> None:
    person, aside, chair = ([10, 40, 60, 200], [150, 45, 200, 205], [250, 40, 300, 200])
    people = np.array([person], np.float32)
    none = np.zeros((0, 4), np.float32)

    def answer(*boxes: list[int]) -> Detections:
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))

    assert look_for(people, answer(person), 0.25, none)[:2] == ([True], [False])
    assert look_for(people, answer(aside), 0.25, none)[:2] == ([True], [True])
    assert look_for(people, answer(chair), 0.25, np.array([chair], np.float32))[:2] == ([False], [False])
    assert look_for(people, answer([150, 45, 170, 80]), 0.25, none)[:2] == ([False], [False])


def test_who_comes_back_where_they_were_lost_is_one_person(films: dict[str, Path]) -> None:
    whole = finish(answers_of(Recording(films["none"]), BlobDetector()))
    nobody = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    away = tuple(nobody if 4 <= at < 6.5 else found for at, found in zip(whole.pts_s, whole.found, strict=True))
    people, short = follow(replace(whole, found=away), 0.25)
    assert (len(people), short) == (1, 0)
    # Nothing says where they were meanwhile.
    assert not ((people[0].pts_s >= 4) & (people[0].pts_s < 6.5)).any()


def test_frames_that_are_lost_or_repeated_and_another_exposure_are_said(films: dict[str, Path], tmp_path: Path) -> None:
    films["grey"] = film(tmp_path / "still.avi", repeat=50, light=60)
    cells = compared(films)
    assert cells["grey"].extra["frozen_frames"] > 50
    assert any("frames are repeated" in d for d in cells["grey"].doubts)
    assert any("exposure changed: 1." in d for d in cells["grey"].doubts)
    # Seconds in which one arm stands still are left out of all: 51 of its frames are new.
    assert (cells["grey"].counted["n_scored"], cells["none"].counted["n_scored"]) == (51, 60)
    whole = finish(answers_of(Recording(films["none"]), BlobDetector()))
    assert whole.lost == 0
    keep = np.arange(len(whole.pts_s)) % 7 > 1
    assert replace(whole, pts_s=whole.pts_s[keep]).lost == pytest.approx(2 / 7 * len(keep), abs=3)


def test_a_shorter_recording_is_compared_as_far_as_it_goes(films: dict[str, Path], tmp_path: Path) -> None:
    films["pattern"] = film(tmp_path / "short.avi", worn=1.0, seconds=5)
    pairs = Pairs.of([f"{arm}={path}" for arm, path in films.items()])
    scorer = PairScorer(pairs, BlobDetector(min_conf=0.01), SETTINGS)
    cells = finish(scorer.scoring())
    assert {c.counted["n_scored"] for c in cells} == {50}
    assert any("none 7, grey 7" in note for note in scorer.notes)


def test_what_cannot_be_compared_is_refused(films: dict[str, Path], tmp_path: Path) -> None:
    for given, said in (
        ([f"pattern={films['pattern']}"], "arm none"),
        ([f"none={films['none']}"], "arm pattern"),
        (["none=a.avi", "none=b.avi", "pattern=c.avi"], "2 of none, 1 of pattern"),
        (["red=a.avi"], "ARM=VIDEO"),
        (["none"], "ARM=VIDEO"),
    ):
        with pytest.raises(SettingsError, match=said):
            Pairs.of(given)
    nobody = film(tmp_path / "nobody.avi", worn=1.0, seconds=2)
    with pytest.raises(DataError, match="finds nobody"):
        compared(films | {"none": nobody})
    with pytest.raises(SettingsError, match="as they are"):
        evaluation("street", Pairs.of([f"{arm}={path}" for arm, path in films.items()]))


def test_newcombe_has_a_width_where_nothing_differs() -> None:
    low, high = newcombe(1.0, 1.0, 12)
    assert low < 0 < high
    assert newcombe(1.0, 0.0, 12)[0] > 0.5


def test_the_command_writes_rows_and_says_what_does_not_go_together(
    films: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for arm, path in films.items() for word in ("--pair", f"{arm}={path}")]
    assert main(["evaluate", "street", *given]) == 2
    assert "scored as they are" in capsys.readouterr().err
    assert main(["evaluate", "--video", str(films["none"]), *given]) == 2
    assert "one of the four" in capsys.readouterr().err
    assert main(["evaluate", "--pair", f"none={tmp_path / 'no.avi'}", "--pair", f"pattern={films['none']}"]) == 2
    assert "there is no" in capsys.readouterr().err


def test_results_keep_the_differences(films: dict[str, Path], tmp_path: Path) -> None:
    pairs = Pairs.of([f"{arm}={path}" for arm, path in films.items()])
    results = None
    for update in evaluation((), pairs, BlobDetector(min_conf=0.01), settings=SETTINGS):
        results = update.results
    assert results is not None
    report = results.report(tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["condition"] for row in rows] == ["none", "grey", "pattern"]
    assert rows[2]["asr_above_grey_ci95"][0] > 0.2
    made = json.loads((tmp_path / "out" / "run.json").read_text())["recordings"]
    assert set(made) == set(films) and all(len(one) == 64 for (one,) in made.values())
    assert "the pattern against" in report.read_text() and "grey: grey.avi" in report.read_text()
    people = (tmp_path / "out" / "people.csv").read_text()
    assert len(people.splitlines()) == 1 + 3 * 12
    # By which `compare` takes nobody of another recording for them.
    assert f"clip 1 {sha256_of(films['none'])[:12]} second 3" in people


def test_people_are_known_by_place_not_by_number(films: dict[str, Path]) -> None:
    class Another(BlobDetector):
        """Follows people by other boxes."""

        sha256 = "5" * 64

        def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
            return [replace(a, xyxy=a.xyxy + np.float32(9)) for a in super().detect_batch(images)]

    mine, theirs = ({c.case for c in compared(films, d)["none"].cases} for d in (BlobDetector(), Another()))
    assert len(mine) == 1 and next(iter(mine)).startswith("person at 90, 1") and not mine & theirs


def test_remembered_answers_are_bounded(films: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "answers"
    compared(films)
    kept = sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    size = kept[0].stat().st_size
    os.utime(kept[0], ns=(2**62, 2**62))
    prune(folder, 2 * size + size // 2)
    assert sorted(folder.iterdir()) == sorted([kept[0], kept[2]]), "the one that was asked for longest ago is gone"
    prune(folder, 1)
    assert [p.name for p in folder.iterdir()] == [kept[0].name], "what was asked for last stays"
