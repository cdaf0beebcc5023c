"""What a run begins from: the shipped pattern of the same case, unless it has seen somebody who is held out."""

import json
from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import write_png
from physadv.attack import run as module
from physadv.attack.parent import AUTO, parent_of, shipped_for
from physadv.attack.people import Picture
from physadv.attack.run import Inputs, train
from physadv.attack.settings import LR, ONWARDS_LR, TrainSettings
from physadv.attack.timing import made_up
from physadv.cli.train import Command
from physadv.detect.tiny import tiny_detector, tiny_gradient
from physadv.detect.weights import EMBEDDED_SHA256
from physadv.patch import load_patch

EMBEDDED = [EMBEDDED_SHA256]


def held_out(*names: str) -> list[Picture]:
    picture = made_up(1)[0]
    return [Picture(name, picture.pixels, picture.boxes, picture.keypoints) for name in names]


def chosen(**settings: object) -> str | None:
    patch = shipped_for(TrainSettings(**settings), EMBEDDED)  # type: ignore[arg-type]
    return None if patch is None else patch.name


def test_it_is_the_newest_shipped_one_made_for_the_same_case() -> None:
    assert chosen(target="chest", framing="street") == "street-v1"
    assert chosen(target="chest", framing="webcam") == "chest-v4"
    assert chosen(target="tshirt", framing="webcam") == "shirt-v2"
    assert chosen(target="poster", framing="street") == "poster-v2"
    assert chosen(target="poster", framing="webcam") is None, "none that is shipped was made for that"


@pytest.mark.parametrize(
    "other",
    [{"goal": "missize"}, {"colours": 6}, {"look_weight": 2.0}, {"size_mm": (360, 180)}],
)
def test_what_wants_another_pattern_begins_from_random_colours(other: dict[str, object]) -> None:
    assert chosen(**other) is None


@pytest.mark.parametrize("victims", [["0" * 64], [*EMBEDDED, "0" * 64]])
def test_a_pattern_against_other_detectors_is_no_start(victims: list[str]) -> None:
    assert shipped_for(TrainSettings(), victims) is None


def test_whoever_is_held_out_was_never_seen() -> None:
    seen = load_patch("street-v1").record["split"]["train"][0]
    said: list[str] = []
    parent, left = parent_of(AUTO, TrainSettings(), EMBEDDED, held_out("new.jpg", seen), said.append)
    assert parent is None and len(left) == 2, "nobody is left out of the scores for a start that was not asked for"
    assert "random colours" in said[0] and "1 of the 2 pictures held out" in said[0]
    parent, left = parent_of(AUTO, TrainSettings(), EMBEDDED, held_out("new.jpg"), said.append)
    assert parent is not None and parent.name == "street-v1" and len(left) == 1
    assert "--start none" in said[1]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for picture in made_up(6):
        write_png(folder / f"{picture.name}.png", picture.pixels)
        height, width = picture.pixels.shape[:2]
        x0, y0, x1, y1 = picture.boxes[0] / np.array([width, height, width, height])
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{picture.name}.txt").write_text(
            f"0 {(x0 + x1) / 2:.4f} {(y0 + y1) / 2:.4f} {x1 - x0:.4f} {y1 - y0:.4f}\n"
        )
    return folder


def test_a_run_goes_on_from_it_and_shows_what_it_began_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_detector", lambda *_, **__: tiny_detector(imgsz=64))
    settings = TrainSettings(steps=1, batch=1, crops=(64,))
    begun: list[str | None] = []

    def trained(name: str, **more: object) -> dict[str, object]:
        inputs = Inputs(images=[str(images)], labels=tmp_path / "labels", cache=tmp_path / "cache", **more)  # type: ignore[arg-type]
        begin = lambda parent: begun.append(None if parent is None else parent.name)  # noqa: E731
        train(settings, inputs, [tiny_gradient()], tmp_path / name, begin=begin)
        return load_patch(tmp_path / name).record | json.loads((tmp_path / name / "run.json").read_text())

    record = trained("onwards", start=AUTO)
    assert record["start"]["name"] == "street-v1" and record["settings"]["lr"] == ONWARDS_LR  # type: ignore[index]
    assert record["controls"]["street"]["start"]["n_people"] == record["controls"]["street"]["none"]["n_people"]  # type: ignore[index]
    # One short step from it: still the same pattern.
    near = np.abs(load_patch(tmp_path / "onwards").pixels.astype(int) - load_patch("street-v1").pixels.astype(int))
    assert near.mean() < 12
    record = trained("random")
    assert record["start"] is None and record["settings"]["lr"] == LR and "start" not in record["controls"]["street"]  # type: ignore[index]
    # A defence's twin is another victim.
    record = trained("through", start=AUTO, through="jpeg")
    assert record["start"] is None
    assert begun == ["street-v1", None, None]


def test_short_runs_begin_from_what_is_shipped_and_long_ones_from_random_colours() -> None:
    def start(**flags: str) -> str | None:
        return Command.model_validate(flags)._start()

    assert start() == AUTO
    assert start(preset="standard") is None
    assert start(start="none") is None
    assert start(preset="strong", start="chest-v1") == "chest-v1"
