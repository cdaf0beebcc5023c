"""Videos frame by frame: who was lost, for how long, and what the defence said."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import BlobDetector

from physadv.cli import main
from physadv.defend import parse_pipeline
from physadv.errors import DataError, EndOfStream, SourceError
from physadv.evaluate.scorer import entries
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import finish
from physadv.evaluate.video import Recording, VideoScorer, alarms_per_1000, score_frame
from physadv.live.sidecar import row
from physadv.patch import Patch
from physadv.recording import recording_of
from physadv.simulate.placement import Placement
from physadv.types import Alert, Detections, Detector, Frame
from tests.evaluate.conftest import patch_of, scene_of, worn

SETTINGS = EvaluateSettings(resamples=40)
COVERING, SMALLER = Placement.of(0.5, "area", 1.2), Placement.of(0.5, "area", 0.5)


def score(
    path: Path,
    patches: Sequence[Patch],
    detector: Detector,
    settings: EvaluateSettings = SETTINGS,
    *,
    defend: Sequence[str] = (),
    placement: Placement = COVERING,
    every: int = 1,
    wear_from: float = 0.0,
) -> tuple[list[dict[str, Any]], str]:
    """The rows of a video as results.json has them, and every frame's figures as CSV."""
    listed = entries(patches, worn(patches, placement))
    recording = Recording(path, every, wear_from)
    scorer = VideoScorer(recording, listed, detector, settings, [parse_pipeline(d) for d in defend])
    return [cell.plain() for cell in finish(scorer.scoring())], scorer.table().csv()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Sixty frames: a person for the first forty, then nobody."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for i in range(60):
        scene = scene_of((60 + i, 30, 140 + i, 200)) if i < 40 else scene_of()
        writer.write(np.ascontiguousarray(scene.pixels[..., ::-1]))
    writer.release()
    return path


def test_a_worn_pattern_and_its_controls(clip: Path) -> None:
    cover = patch_of((200, 30, 30), "cover")
    cells, table = score(clip, [cover], BlobDetector(min_conf=0.001))
    by = {c["condition"]: c for c in cells}
    assert by["none"]["n_frames"] == 60 and by["none"]["n_scored"] == 40
    assert by["none"]["share_below"] == 0.0 and by["none"]["longest_invisible_frames"] == 0
    # Forty frames are two blocks of near copies: that nobody was lost in them says little.
    assert by["none"]["ci95"]["share_below"] == pytest.approx([0, 0.6576], abs=1e-3)
    assert by["patch"]["mean_best_conf"] < by["none"]["mean_best_conf"]
    assert len(table.splitlines()) == 1 + 60 * 6
    assert any("no effect" in d or "grey square does as well" in d for d in by["patch"]["doubts"])
    assert any("40 of 60 frames" in d for d in by["patch"]["doubts"])


def test_a_pattern_worn_from_its_second_on_is_scored_from_there_and_persistence_knows_its_wearer(clip: Path) -> None:
    cover = patch_of((200, 30, 30), "cover")

    def held(wear_from: float) -> dict[str, float]:
        cells, _ = score(
            clip,
            [cover],
            BlobDetector(min_conf=0.05),
            SETTINGS.model_copy(update={"conf": 0.9}),
            defend=["persistence:birth=.95+sure=.9+usual=.5"],
            placement=SMALLER,
            wear_from=wear_from,
        )
        (one,) = (c for c in cells if c["condition"] == "patch" and c["defence"] != "none")
        assert one["n_frames"] == 60 and one["n_scored"] == 40 - 10 * wear_from
        # Only ten of the fifty frames in which it could be worn show nobody.
        assert any("of 60 frames" in d for d in one["doubts"]) is (wear_from == 0)
        return {"held": one["share_held"]}

    assert held(0)["held"] == 0
    assert held(2)["held"] > 0.9
    with pytest.raises(DataError, match=r"more than the 9 s of `wear_from`, got 5\.9 s"):
        score(clip, [cover], BlobDetector(), wear_from=9)
    with pytest.raises(
        DataError, match=r"more than the 9 s of `wear_from`, the last frame scored, one in 40, at 4\.0 s"
    ):
        score(clip, [cover], BlobDetector(), wear_from=9, every=40)


class Faces(BlobDetector):
    """Says of everybody where the shoulders are: so many pixels above the lower edge of the box, 36 cm apart."""

    above = 1.0

    def detect(self, frame: Frame) -> Detections:
        found = super().detect(frame)
        points = np.zeros((len(found), 17, 3), np.float32)
        points[:, [5, 6], 2] = 1
        points[:, 5, 0], points[:, 6, 0] = found.xyxy[:, 2], found.xyxy[:, 0]
        # In the first frames the chest is out of sight.
        points[:, [5, 6], 1] = found.xyxy[:, 3, None] - (self.above if frame.index < 10 else 100)
        return replace(found, keypoints=points)


def test_frames_in_which_somebody_shows_no_chest_are_counted(clip: Path) -> None:
    cells, _ = score(clip, [patch_of((200, 30, 30), "p")], Faces(min_conf=0.001), placement=SMALLER)
    for cell in cells:
        assert (cell["n_scored"], cell["unworn_frames"]) == (30, 10) and "no-chest" in cell["doubt_codes"]
        assert any("in 10 of 60 frames up to 1 people show no chest" in doubt for doubt in cell["doubts"])
    with pytest.raises(DataError, match="in 1 of them people do not show the chest"):
        score(clip, [patch_of((200, 30, 30), "p")], Faces(min_conf=0.001), every=60)


def test_a_video_that_was_trained_on_is_doubted(clip: Path) -> None:
    def said(split: list[str]) -> str:
        patch = replace(patch_of((200, 30, 30), "cover"), record={"split": {"train": split}} if split else {})
        cells, _ = score(clip, [patch], BlobDetector(), every=20)
        assert not any("trained on" in d for c in cells for d in c["doubts"] if c["condition"] != "patch")
        return " / ".join(d for c in cells for d in c["doubts"] if c["condition"] == "patch")

    assert "trained on 2 stretches of this video (clip.avi#0, clip.avi#3)" in said(
        ["clip.avi#3", "clip.avi#0", "a.jpg"]
    )
    assert "trained on" not in said(["other.avi#3", "clip.jpg", "camera#stretch1"])
    assert "does not say what it was trained on" in said([])


def test_a_recording_without_patterns_counts_every_frame(clip: Path) -> None:
    (cell,), _ = score(clip, [], BlobDetector(min_conf=0.001))
    assert cell["n_scored"] == 60 and cell["share_below"] == pytest.approx(1 / 3, abs=0.02)
    assert cell["longest_invisible_frames"] == 20 and cell["longest_invisible_s"] == pytest.approx(2.0, abs=0.1)
    assert cell["longest_invisible_from_s"] == pytest.approx(4.0, abs=0.1)
    (thinned,), _ = score(clip, [], BlobDetector(), every=5)
    assert thinned["n_frames"] == 12


class Film:
    """A source of frames with these numbers and times, a person in those that `there` names."""

    name, live = "film", False

    def __init__(self, index: list[int], pts_s: list[float], there: set[int]) -> None:
        self._frames = iter(
            Frame(scene_of(*([(60, 30, 140, 200)] if i in there else [])).pixels, i, 0, at)
            for i, at in zip(index, pts_s, strict=True)
        )

    def read(self) -> Frame:
        frame = next(self._frames, None)
        if frame is None:
            raise EndOfStream("film: that was the last")
        return frame

    def close(self) -> None:
        pass


class Fooled(BlobDetector):
    """Finds nobody where there is red."""

    def detect(self, frame: Frame) -> Detections:
        red = (frame.pixels[..., 0] > 150) & (frame.pixels[..., 1] < 90)
        return Detections.empty() if red.any() else super().detect(frame)


@pytest.mark.parametrize("every", [1, 2])
def test_nobody_is_hidden_while_away_nor_in_frames_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    def longest(index: list[int], pts_s: list[float], there: set[int]) -> tuple[float, ...]:
        monkeypatch.setattr("physadv.evaluate.video.open_source", lambda *_: Film(index, pts_s, there))
        cells, _ = score(Path("film"), [patch_of((200, 30, 30), "red")], Fooled(min_conf=0.001), every=every)
        cell = next(c for c in cells if c["condition"] == "patch")
        assert cell["share_below"] == 1
        return tuple(cell[f"longest_invisible_{what}"] for what in ("frames", "s", "from_s"))

    plain = list(range(0, 60 * every, every))
    tenths = [i / 10 for i in range(60)]
    left, back = set(plain[:20]), set(plain[36:])
    assert longest(plain, tenths, left | back) == pytest.approx((24, 2.4, 3.6))
    gap = plain[:20] + [i + 8 for i in plain[20:]]
    assert longest(gap, tenths, set(gap)) == pytest.approx((40, 4, 2))
    # The rate of a camera falls in the dark: a run's seconds are its own, not those of the average frame.
    slower = [i / 10 for i in range(20)] + [2 + i / 2 for i in range(40)]
    assert longest(plain, slower, left) == pytest.approx((20, 2, 0))
    assert longest(plain, tenths, {plain[7]}) == pytest.approx((1, 0.1, 0.7))


def test_alarms_on_a_clean_video(clip: Path) -> None:
    class Nervous(BlobDetector):
        def detect(self, frame: Frame) -> Detections:
            alerts = (Alert("probe", "a probe vanished"),) if frame.index % 10 == 0 else ()
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), alerts=alerts)

    counted = finish(alarms_per_1000(clip, Nervous()))
    assert counted == {"alarms_per_1000": 100.0, "alarms_by_kind": {"probe": 100.0}, "alarm_frames": 60}


def test_notices_are_no_alarms_and_what_was_removed_is_listed_only(clip: Path) -> None:
    class Talking(BlobDetector):
        def detect(self, frame: Frame) -> Detections:
            some = ("notice",) * 2 + ("removed",) * (frame.index < 30) + ("vanished",) * (frame.index < 3)
            return replace(super().detect(frame), alerts=tuple(Alert(kind, "") for kind in some))

    expected = {"alarms_per_1000": 50.0, "alarms_by_kind": {"removed": 500.0, "vanished": 50.0}}
    assert finish(alarms_per_1000(clip, Talking())) == {**expected, "alarm_frames": 60}
    (cell,), table = score(clip, [], Talking())
    assert {k: cell[k] for k in expected} == expected
    rows = list(csv.DictReader(StringIO(table)))
    assert (rows[0]["alarms"], rows[0]["kinds"]) == ("1", "removed vanished") and rows[40]["alarms"] == "0"


@pytest.mark.parametrize("conf", [0.25, 0.7])
def test_a_person_that_a_defence_holds_is_seen(clip: Path, conf: float) -> None:
    """The detector sees the person for two seconds, then nobody for two more in which the person is still there."""
    here = np.array([[70, 30, 150, 200]], np.float32)

    class Blinking(BlobDetector):
        def detect(self, frame: Frame) -> Detections:
            return super().detect(frame) if frame.index < 20 else Detections.empty(keypoints=True)

    settings = SETTINGS.model_copy(update={"conf": conf})
    cells, _ = score(clip, [], Blinking(), settings, defend=["persistence:coast=30"])
    bare, kept = cells
    assert bare["share_below"] == pytest.approx(2 / 3, abs=0.01) and bare["share_held"] == 0
    assert kept["share_below"] < 0.5 and kept["share_held"] > 0.2
    # Held somewhere else than where the pattern is worn is not seen.
    people = Detections(here, np.ones(1, np.float32))
    for shift, best in ((0, conf), (200, 0.0)):
        held = Detections(here + shift, np.zeros(1, np.float32), held=np.ones(1, bool))
        seen = score_frame(Frame(scene_of().pixels, 0, 0, 0.0), people, held, conf, worn=True)
        assert (seen.best, seen.held) == (best, best > 0)


def test_what_cannot_be_scored_is_said(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(SourceError):
        score(tmp_path / "no.mp4", [], BlobDetector())
    assert recording_of(clip) == clip


@pytest.mark.parametrize("spec", ["0", "/dev/video0", "auto", "sample", "browser", "rtsp://me:secret@cam/1"])
@pytest.mark.parametrize("flag", ["--video", "--clean-video"])
def test_a_camera_which_has_no_end_is_refused(
    spec: str, flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = ["--images", str(tmp_path)] if flag == "--clean-video" else []
    assert main(["evaluate", flag, spec, *images, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "record it first" in line and "secret" not in line
    with pytest.raises(DataError, match="has no end"):
        finish(alarms_per_1000(Path(spec), BlobDetector()))


def test_another_programs_file_of_the_same_name_makes_no_recording(tmp_path: Path) -> None:
    film = tmp_path / "v.mp4"
    film.touch()
    (tmp_path / "v.jsonl").write_text('{"frame": 0, "label": "dog"}\n')
    pq.write_table(pa.table({"embedding": [1.0]}), tmp_path / "v.parquet")
    assert recording_of(film) == film
    (tmp_path / "v.jsonl").write_text(json.dumps(row(Frame(scene_of().pixels, 0, 0, 0.0), Detections.empty(), {})))
    with pytest.raises(DataError, match="record_clean"):
        recording_of(film)


@pytest.mark.parametrize("sidecar", ["v.session.json", "v.jsonl", "v.parquet"])
def test_a_recording_is_scored_without_the_boxes_drawn_in_it(tmp_path: Path, sidecar: str) -> None:
    files = [tmp_path / name for name in ("v.mp4", "V.MP4", sidecar)]
    assert [recording_of(f) for f in files[:2]] == files[:2], "videos that nobody recorded with boxes"
    for name in (sidecar, sidecar.replace("v.", "V.")):
        (tmp_path / name).write_text("")
    for path in files:
        with pytest.raises(DataError, match="record_clean"):
            recording_of(path)
    for name in ("v.clean.mp4", "V.clean.mp4"):
        (tmp_path / name).touch()
    assert [recording_of(f).name for f in files] == ["v.clean.mp4", "V.clean.mp4", "v.clean.mp4"]
    assert recording_of(tmp_path / "v.clean.mp4") == tmp_path / "v.clean.mp4"
