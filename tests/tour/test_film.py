"""The tour as a video, on a made-up scene: every stop is in it, in its order, and the demo is shown in each state."""

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from tiny import BlobDetector

from physadv.capture.settings import CaptureSettings
from physadv.capture.video_file import VideoFile
from physadv.cli import main
from physadv.errors import EndOfStream, SourceError
from physadv.live.looking import Looking
from physadv.live.shown import Shown
from physadv.tour import film as films
from physadv.tour import fonts, panel
from physadv.tour.figures import TourFigures
from physadv.tour.settings import TourSettings
from physadv.tour.texts import texts_in
from physadv.types import Detections, Frame, UInt8Array
from tests.live.scene import image


class Scene:
    """Stands for a scene of the sample: the made-up person."""

    def __init__(self, settings: CaptureSettings, *, scene: str) -> None:
        self.fps = settings.fps or 12.0

    def image(self, index: int) -> UInt8Array:
        return image(index)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.capture.sample.SampleSource", Scene)
    for name, size in (("WIDTH", 320), ("HEIGHT", 240), ("PICTURE", 120)):
        monkeypatch.setattr(panel, name, size)


def test_every_stop_is_shown_with_its_own_state(small: None, tmp_path: Path) -> None:
    out, told = tmp_path / "tour.mp4", list[str]()
    settings = TourSettings(record=out, step_seconds=0.2)
    blind = Looking(lambda name: name, loader=lambda _: BlobDetector())
    demo = films.record_tour(settings, told.append, detector=BlobDetector(), looking=blind)
    assert not demo.recording_failed
    assert [line.split(":")[0] for line in told if line.startswith("stop")] == [f"stop {n} of 8" for n in range(1, 9)]
    lines = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    states = list(
        dict.fromkeys((line["worn"], line["worn_cm"], line["worn_angle"], tuple(line["defences"])) for line in lines)
    )
    assert states == [
        (None, None, None, ()), ("webcam", 48.0, 0.0, ()), ("outfit", 20.0, 0.0, ()), ("street", 48.0, 0.0, ()),
        ("street", 36.0, 0.0, ()), ("street", 24.0, 0.0, ()), ("street", 48.0, 0.0, ("jpeg",)),
        ("street", 48.0, 0.0, ("median",)), ("street", 48.0, 0.0, ("erase",)), (None, None, None, ("objectseeker",)),
        ("street-switch", 48.0, 0.0, ()), ("street-switch", 48.0, 90.0, ()),
    ]  # fmt: skip
    video = VideoFile(str(out), CaptureSettings())
    sizes = set()
    try:
        while True:
            sizes.add(video.read().size)
    except EndOfStream:
        video.close()
    # Of one pane and of two.
    assert sizes == {(320, 240)}


def test_a_map_is_laid_over_its_person_alone() -> None:
    from physadv.live.looking import PersonLook

    heat = np.zeros((4, 4, 4), np.uint8)
    heat[..., 0], heat[..., 3] = 255, 255
    out = films.with_heat(np.zeros((20, 20, 3), np.uint8), PersonLook(0, (5, 6, 13, 14), heat, 0.9, 1.0))
    assert (out[6:14, 5:13] == (255, 0, 0)).all()
    assert out.sum() == 255 * 64


def test_all_words_stand_within_the_panel_in_both_languages() -> None:
    text = "检测器在看什么，分数从哪里来。" * 30
    lines = panel.wrapped(text, fonts.sized(None, 14), 200)
    assert "".join(lines) == text
    assert not any(line[0] in "，。" for line in lines)
    assert panel.wrapped("a 7\N{NO-BREAK SPACE}% b", fonts.sized(None, 14), 1) == ["a", "7\N{NO-BREAK SPACE}%", "b"]
    caption = panel.Caption(
        "Stop 1", "Title", "word " * 120, "done", ("now",), "word " * 90, "why " * 60, "x", ("a", "b", "c", "d")
    )
    drawn = panel.drawn_caption(caption, fonts.latin_font())
    assert drawn.shape == (panel.HEIGHT - panel.PICTURE, panel.WIDTH, 3)
    assert (drawn[-4:] == panel.GROUND).all()
    assert (drawn != panel.GROUND).any()


def test_without_a_chinese_font_the_words_are_english_and_one_line_says_so(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "font_with", lambda text: None)
    told = list[str]()
    settings = TourSettings(record=tmp_path / "v.mp4", step_seconds=0.05, stop=8, language="zh")
    films.record_tour(settings, told.append, detector=BlobDetector())
    assert "no font here has the characters of 'zh'" in told[0]
    assert told[-1] == "stop 8 of 8: The pattern that waits"
    # A font without them would show boxes.
    latin = fonts.latin_font()
    assert latin is not None and fonts.has_all(latin, "é") and not fonts.has_all(latin, "导览")
    assert fonts.font_with("导览", folders=[str(latin.parent)]) is None


def test_a_film_that_ends_before_the_tour_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short:
        live, name, index = False, "short", 0

        def read(self) -> Frame:
            if self.index >= 5:
                raise EndOfStream("that was the last")
            self.index += 1
            return Frame(image(self.index), self.index, 0, self.index / 10)

        def close(self) -> None:
            pass

    monkeypatch.setattr("physadv.live.camera_demo.open_source", lambda *_: Short())
    with pytest.raises(SourceError, match="ended at stop 1 of the tour"):
        films.record_tour(
            TourSettings(record=tmp_path / "v.mp4", source="short"), lambda _: None, detector=BlobDetector()
        )


def test_a_full_disk_ends_the_tour_with_what_it_has_and_says_so(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("physadv.live.recorder.VideoWriter.write", full)
    told = list[str]()
    demo = films.record_tour(
        TourSettings(record=tmp_path / "tour.mp4", step_seconds=60), told.append, detector=BlobDetector()
    )
    assert demo.recording_failed
    assert "the disk is full" in told[-1], told


def test_no_share_of_wearers_is_shown_where_nobody_is() -> None:
    figures, nobody = TourFigures(), SimpleNamespace(hidden=0, count=0)
    shown = SimpleNamespace(
        clean=SimpleNamespace(pts_s=0.0), hiding=nobody, bare_hiding=None, people=Detections.empty()
    )
    figures.add(cast(Shown, shown))
    assert figures.lines(["hidden", "certified"], texts_in("en")["live"], None, certifies=True) == ["0 people found"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stop", "9"], "--stop: expected at most 8, got '9'"),
        (["--language", "fr"], "--language: expected 'en' or 'zh', got 'fr'"),
        (["--record", "tour.avi"], "--record: expected a file name ending in .mp4"),
        (["--overwrite"], "--overwrite: expected a video by --record"),
        (["--record", "v.mp4", "--source", "browser"], "--source: expected a source without a page"),
        (["--source", "sample:nowhere"], "--source: expected sample, or one of its scenes: sample:whole"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tour", "--port", "0", *words]) == 2
    printed = capsys.readouterr().err.strip()
    assert said in printed and len(printed.splitlines()) == 1, printed
    assert not list(tmp_path.iterdir())
